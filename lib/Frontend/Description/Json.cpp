//===- Json.cpp - JSON text to a tree that knows its places ---------------===//

#include "Json.h"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <string_view>
#include <unordered_set>

namespace mhc::json {

namespace {

bool isDigit(char c) { return c >= '0' && c <= '9'; }
bool isLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

std::string hex(unsigned char c) {
  char buffer[8];
  std::snprintf(buffer, sizeof buffer, "0x%02x", c);
  return buffer;
}

/// Bytes of the UTF-8 character that begins at `s[i]`; 0 if it is none. Overlong forms, surrogates and what is above
/// U+10FFFF are none.
size_t utf8Length(std::string_view s, size_t i) {
  auto byte = [&](size_t k) { return i + k < s.size() ? static_cast<unsigned char>(s[i + k]) : 0u; };
  auto continues = [&](size_t k, unsigned low = 0x80, unsigned high = 0xBF) {
    return i + k < s.size() && byte(k) >= low && byte(k) <= high;
  };
  unsigned c = byte(0);
  if (c < 0x80)
    return 1;
  if (c >= 0xC2 && c <= 0xDF)
    return continues(1) ? 2 : 0;
  if (c >= 0xE0 && c <= 0xEF)
    return continues(1, c == 0xE0 ? 0xA0 : 0x80, c == 0xED ? 0x9F : 0xBF) && continues(2) ? 3 : 0;
  if (c >= 0xF0 && c <= 0xF4)
    return continues(1, c == 0xF0 ? 0x90 : 0x80, c == 0xF4 ? 0x8F : 0xBF) && continues(2) && continues(3) ? 4 : 0;
  return 0;
}

void appendUtf8(std::string &out, uint32_t code) {
  auto put = [&](uint32_t byte) { out += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

/// Recursive descent; every function returns false once `error` is set.
class Parser {
public:
  explicit Parser(std::string_view text) : text(text) {}

  std::optional<ParseError> run(Value &out) {
    skipSpace();
    if (value(out, 0)) {
      skipSpace();
      if (!atEnd())
        fail(unexpected("the end of the text"));
    }
    return std::move(error);
  }

private:
  std::string_view text;
  size_t next = 0, lineStart = 0;
  unsigned line = 1;
  std::optional<ParseError> error;

  bool atEnd() const { return next >= text.size(); }
  char peek() const { return atEnd() ? '\0' : text[next]; }
  bool startsWith(std::string_view word) const { return text.substr(next, word.size()) == word; }
  Position here() const { return {line, static_cast<unsigned>(next - lineStart + 1)}; }

  bool fail(std::string message, std::string note = "") {
    if (!error)
      error = ParseError{here(), std::move(message), std::move(note)};
    return false;
  }

  std::string unexpected(const std::string &wanted) const {
    std::string got;
    if (atEnd()) {
      got = "the text ends";
    } else if (startsWith("//") || startsWith("/*") || peek() == '#') {
      return "comments are not allowed in a description";
    } else if (startsWith("\xEF\xBB\xBF")) {
      got = "got a byte order mark";
    } else if (static_cast<unsigned char>(peek()) < 0x20 || static_cast<unsigned char>(peek()) >= 0x7F) {
      got = "got byte " + hex(static_cast<unsigned char>(peek()));
    } else if (isLetter(peek())) {
      size_t end = next;
      while (end < text.size() && isLetter(text[end]))
        ++end;
      got = "got '" + printable(std::string(text.substr(next, end - next))) + "'";
    } else {
      got = std::string("got '") + peek() + "'";
    }
    return "expected " + wanted + ", but " + got;
  }

  void skipSpace() {
    for (; !atEnd(); ++next) {
      char c = text[next];
      if (c == '\n') {
        ++line;
        lineStart = next + 1;
      } else if (c != ' ' && c != '\t' && c != '\r') {
        return;
      }
    }
  }

  bool value(Value &out, unsigned depth) {
    out.at = here();
    switch (peek()) {
    case '{':
      return object(out, depth + 1);
    case '[':
      return array(out, depth + 1);
    case '"':
      out.kind = Value::Kind::string;
      return string(out.text);
    case 't':
      return word("true", out, Value::Kind::boolean);
    case 'f':
      return word("false", out, Value::Kind::boolean);
    case 'n':
      return word("null", out, Value::Kind::null);
    default:
      if (peek() == '-' || isDigit(peek()))
        return number(out);
      return fail(unexpected("a value"), peek() == '\'' ? "strings stand in double quotes" : "");
    }
  }

  bool word(std::string_view spelling, Value &out, Value::Kind kind) {
    if (!startsWith(spelling) || (next + spelling.size() < text.size() && isLetter(text[next + spelling.size()])))
      return fail(unexpected("a value"));
    next += spelling.size();
    out.kind = kind;
    out.boolean = spelling == "true";
    return true;
  }

  bool number(Value &out) {
    size_t begin = next;
    auto digits = [&] {
      if (!isDigit(peek()))
        return fail(unexpected("a digit"));
      while (isDigit(peek()))
        ++next;
      return true;
    };
    if (peek() == '-')
      ++next;
    if (peek() == '0')
      ++next; // no digit may follow: 012 is no JSON
    else if (!digits())
      return false;
    if (isDigit(peek()))
      return fail("a number must not begin with 0");
    if (peek() == '.') {
      ++next;
      if (!digits())
        return false;
    }
    if (peek() == 'e' || peek() == 'E') {
      ++next;
      if (peek() == '+' || peek() == '-')
        ++next;
      if (!digits())
        return false;
    }
    out.kind = Value::Kind::number;
    out.text = text.substr(begin, next - begin);
    return true;
  }

  bool fourHexDigits(uint32_t &code) {
    code = 0;
    for (int i = 0; i < 4; ++i, ++next) {
      char c = peek();
      uint32_t digit = isDigit(c)             ? c - '0'
                       : c >= 'a' && c <= 'f' ? c - 'a' + 10
                       : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                              : 16;
      if (digit == 16)
        return fail(unexpected("four hexadecimal digits after \\u"));
      code = code * 16 + digit;
    }
    return true;
  }

  bool escape(std::string &out) {
    ++next; // the backslash
    static constexpr std::string_view from = "\"\\/bfnrt", to = "\"\\/\b\f\n\r\t";
    char c = peek();
    if (!atEnd() && from.find(c) != std::string_view::npos) {
      out += to[from.find(c)];
      ++next;
      return true;
    }
    if (c != 'u')
      return fail("unknown escape in a string");
    ++next;
    uint32_t code, low;
    if (!fourHexDigits(code))
      return false;
    if (code >= 0xD800 && code <= 0xDBFF) {
      if (!startsWith("\\u"))
        return fail("expected the second half of a surrogate pair");
      next += 2;
      if (!fourHexDigits(low))
        return false;
      if (low < 0xDC00 || low > 0xDFFF)
        return fail("expected the second half of a surrogate pair");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (code >= 0xDC00 && code <= 0xDFFF) {
      return fail("the second half of a surrogate pair stands alone");
    }
    appendUtf8(out, code);
    return true;
  }

  bool string(std::string &out) {
    ++next; // the quote
    while (true) {
      if (atEnd())
        return fail("expected '\"' at the end of a string, but the text ends");
      char c = peek();
      if (c == '"') {
        ++next;
        return true;
      }
      if (c == '\\') {
        if (!escape(out))
          return false;
        continue;
      }
      if (static_cast<unsigned char>(c) < 0x20)
        return fail("expected '\"' at the end of a string, but got byte " + hex(static_cast<unsigned char>(c)));
      size_t length = utf8Length(text, next);
      if (length == 0)
        return fail("invalid UTF-8: byte " + hex(static_cast<unsigned char>(c)));
      out.append(text.substr(next, length));
      next += length;
    }
  }

  bool tooDeep(unsigned depth) {
    return depth > maxDepth && !fail("nested deeper than " + std::to_string(maxDepth) + " levels");
  }

  bool array(Value &out, unsigned depth) {
    if (tooDeep(depth))
      return false;
    out.kind = Value::Kind::array;
    ++next;
    skipSpace();
    if (peek() == ']') {
      ++next;
      return true;
    }
    while (true) {
      out.elements.emplace_back();
      if (!value(out.elements.back(), depth))
        return false;
      skipSpace();
      if (peek() == ']') {
        ++next;
        return true;
      }
      if (peek() != ',')
        return fail(unexpected("',' or ']'"));
      ++next;
      skipSpace();
    }
  }

  bool object(Value &out, unsigned depth) {
    if (tooDeep(depth))
      return false;
    out.kind = Value::Kind::object;
    std::unordered_set<std::string> seen;
    ++next;
    skipSpace();
    if (peek() == '}') {
      ++next;
      return true;
    }
    while (true) {
      if (peek() != '"')
        return fail(unexpected("a key in double quotes"));
      Position at = here();
      std::string key;
      if (!string(key))
        return false;
      if (!seen.insert(key).second) {
        error = ParseError{at, "duplicate key '" + printable(key) + "'", ""};
        for (const Member &member : out.members)
          if (member.key == key)
            error->note = "first given at line " + std::to_string(member.at.line);
        return false;
      }
      skipSpace();
      if (peek() != ':')
        return fail(unexpected("':' after key '" + printable(key) + "'"));
      ++next;
      skipSpace();
      out.members.push_back(Member{std::move(key), at, Value()});
      if (!value(out.members.back().value, depth))
        return false;
      skipSpace();
      if (peek() == '}') {
        ++next;
        return true;
      }
      if (peek() != ',')
        return fail(unexpected("',' or '}'"));
      ++next;
      skipSpace();
    }
  }
};

} // namespace

bool Value::isInteger() const { return kind == Kind::number && text.find_first_of(".eE") == std::string::npos; }

std::optional<int64_t> Value::asInteger() const {
  int64_t result = 0;
  auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), result);
  if (!isInteger() || status != std::errc() || end != text.data() + text.size())
    return std::nullopt;
  return result;
}

std::optional<double> Value::asDouble() const {
  // from_chars, since strtod goes by the locale. It reports underflow like overflow, and both are refused: 1e-400 would
  // silently be 0.
  double result = 0;
  auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), result);
  if (kind != Kind::number || status != std::errc() || end != text.data() + text.size() || !std::isfinite(result))
    return std::nullopt;
  return result;
}

std::string Value::describe() const {
  switch (kind) {
  case Kind::null:
    return "null";
  case Kind::boolean:
    return boolean ? "true" : "false";
  case Kind::number:
    return printable(text);
  case Kind::string:
    return "\"" + printable(text) + "\"";
  case Kind::array:
    return "an array";
  case Kind::object:
    return "an object";
  }
  return "";
}

std::string printable(const std::string &text, size_t limit) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (out.size() >= limit)
      return out + "...";
    unsigned char c = text[i];
    size_t length = c < 0x20 || c == 0x7F ? 0 : utf8Length(text, i);
    if (length == 0) {
      out += "\\x" + hex(c).substr(2);
      ++i;
    } else {
      out += text.substr(i, length);
      i += length;
    }
  }
  return out;
}

std::optional<ParseError> parse(const std::string &text, Value &out) { return Parser(text).run(out); }

} // namespace mhc::json
