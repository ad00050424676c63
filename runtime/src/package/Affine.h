//===- Affine.h - sizes that depend on run-time symbols ------------*- C++ -*-===//
#ifndef MHCRT_PACKAGE_AFFINE_H
#define MHCRT_PACKAGE_AFFINE_H

#include "base/Json.h"

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace mhcrt {

using Symbols = std::map<std::string, int64_t>;

/// constant + sum of coefficient * symbol.
struct Affine {
  int64_t constant = 0;
  std::vector<std::pair<std::string, int64_t>> terms;

  static Affine parse(const JsonView &json);
  /// Checked for overflow; an unbound symbol is an error.
  int64_t evaluate(const Symbols &symbols, const std::string &what) const;
  std::string text() const;
};

} // namespace mhcrt

#endif // MHCRT_PACKAGE_AFFINE_H
