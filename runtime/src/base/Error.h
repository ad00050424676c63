//===- Error.h - failures -----------------------------------------*- C++ -*-===//
//
// The runtime's own code throws Error; the C API and main() are the only places that catch it. Messages are lower
// case, without a final period, and name the thing that is wrong: "bias: expected shape [24], but got [23]".
//
//===----------------------------------------------------------------------===//
#ifndef MHCRT_BASE_ERROR_H
#define MHCRT_BASE_ERROR_H

#include <sstream>
#include <stdexcept>
#include <string>

namespace mhcrt {

/// What the user gave is wrong, or the machine cannot do it: exit code 1.
class Error : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

/// The command line is wrong: exit code 2.
class UsageError : public Error {
public:
  using Error::Error;
};

template <typename... Parts> std::string concat(const Parts &...parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

template <typename... Parts> [[noreturn]] void fail(const Parts &...parts) { throw Error(concat(parts...)); }

} // namespace mhcrt

#endif // MHCRT_BASE_ERROR_H
