//===- Json.h - JSON text to a tree that knows its places -----------------===//
//
// A description's errors name line and column, and some of its rules are about spelling (integers are written without
// fraction or exponent), which the usual trees of a JSON library have forgotten. So descriptions are read by this
// reader: strict JSON (RFC 8259), nothing beside it, every key and value with its position, numbers as written.
//
//===----------------------------------------------------------------------===//
#ifndef MHC_LIB_FRONTEND_DESCRIPTION_JSON_H
#define MHC_LIB_FRONTEND_DESCRIPTION_JSON_H

#include "mhc/Frontend/Description.h"

namespace mhc::json {

struct Member;

struct Value {
  enum class Kind { null, boolean, number, string, array, object };
  Kind kind = Kind::null;
  Position at;
  bool boolean = false;
  std::string text; ///< A string's contents; a number as it is written.
  std::vector<Value> elements;
  std::vector<Member> members;

  /// A number without fraction and exponent.
  bool isInteger() const;
  /// The value of a number; nothing if it does not fit the type.
  std::optional<int64_t> asInteger() const;
  std::optional<double> asDouble() const;
  /// For "but got ...": short, on one line, whatever the text holds.
  std::string describe() const;
};

struct Member {
  std::string key;
  Position at;
  Value value;
};

struct ParseError {
  Position at;
  std::string message, note;
};

/// Reads a whole text. Refused: comments, duplicate keys, text after the value, invalid UTF-8, nesting above
/// `maxDepth`.
std::optional<ParseError> parse(const std::string &text, Value &out);

constexpr unsigned maxDepth = 64;

/// `text` on one line for a message: control characters escaped, long ones cut.
std::string printable(const std::string &text, size_t limit = 60);

} // namespace mhc::json

#endif // MHC_LIB_FRONTEND_DESCRIPTION_JSON_H
