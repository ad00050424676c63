//===- Json.h - strict reading of JSON that may be hostile ---------*- C++ -*-===//
#ifndef MHCRT_BASE_JSON_H
#define MHCRT_BASE_JSON_H

#include "base/Error.h"

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace mhcrt {

using Json = nlohmann::json;

/// Refuses duplicate keys and nesting deeper than 64. `source` stands in front of every message.
Json parseJson(std::string_view text, const std::string &source);

/// A JSON value and its path ("plan.json: targets.cpu.kernels[2].tile"), which every error names.
class JsonView {
public:
  JsonView(const Json &value, std::string path) : value(&value), where(std::move(path)) {}

  const std::string &path() const { return where; }
  const Json &json() const { return *value; }

  JsonView at(const char *key) const;
  std::optional<JsonView> find(const char *key) const;
  bool has(const char *key) const { return find(key).has_value(); }
  size_t size() const; ///< of an array
  JsonView operator[](size_t index) const;
  /// Members of an object in order of their names.
  template <typename Function> void members(Function &&function) const {
    object();
    for (const auto &[key, member] : value->items())
      function(key, JsonView(member, where + "." + key));
  }

  bool isObject() const { return value->is_object(); }
  bool isArray() const { return value->is_array(); }
  bool isNull() const { return value->is_null(); }
  bool isString() const { return value->is_string(); }
  bool isInteger() const { return value->is_number_integer(); }
  int64_t integer(int64_t least = INT64_MIN, int64_t most = INT64_MAX) const;
  double number() const;
  bool boolean() const;
  const std::string &string() const;
  /// An object that has no other keys than these.
  void only(std::initializer_list<const char *> keys) const;

private:
  void object() const;
  [[noreturn]] void mismatch(const char *expected) const;

  const Json *value;
  std::string where;
};

} // namespace mhcrt

#endif // MHCRT_BASE_JSON_H
