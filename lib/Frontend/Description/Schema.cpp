//===- Schema.cpp - typed access to a description with exact errors -------===//

#include "Schema.h"

#include <algorithm>

namespace mhc {

void Reader::fail(Position at, std::string message, std::string note) {
  if (!error)
    error = DescriptionError{"", at, std::move(message), std::move(note)};
}

//===----------------------------------------------------------------------===//
// Suggestions
//===----------------------------------------------------------------------===//

/// Insertions, deletions, substitutions and swaps of neighbours that lead from `a` to `b`.
static size_t editDistance(const std::string &a, const std::string &b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j)
    last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

std::string nearestWord(const std::string &word, const std::vector<std::string> &candidates) {
  std::string best;
  size_t bestDistance = std::max<size_t>(1, (word.size() + 1) / 3) + 1;
  if (word.size() > 100)
    return best;
  for (const std::string &candidate : candidates) {
    size_t distance = editDistance(word, candidate);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

std::string listWords(const std::vector<std::string> &words) {
  std::string out;
  for (size_t i = 0; i < words.size(); ++i)
    out += (i == 0 ? "'" : i + 1 == words.size() ? " or '" : ", '") + words[i] + "'";
  return out;
}

//===----------------------------------------------------------------------===//
// Fields
//===----------------------------------------------------------------------===//

Object::Object(Reader &reader, const json::Value *value, std::string path, Position fallback)
    : reader(reader), path(std::move(path)), value(value), place(value ? value->at : fallback) {
  if (!value)
    return;
  if (value->kind != json::Value::Kind::object) {
    mistake(*value, this->path, "an object");
    this->value = nullptr;
    return;
  }
  for (const json::Member &member : value->members)
    reader.positions[join(member.key.c_str())] = member.at;
}

std::string Object::join(const char *key) const { return path.empty() ? key : path + "." + key; }

const json::Value *Object::find(const char *key) const {
  if (value)
    for (const json::Member &member : value->members)
      if (member.key == key)
        return &member.value;
  return nullptr;
}

Position Object::at(const char *key) const {
  if (value)
    for (const json::Member &member : value->members)
      if (member.key == key)
        return member.at;
  return place;
}

void Object::only(std::initializer_list<const char *> known,
                  std::initializer_list<std::pair<const char *, const char *>> elsewhere) {
  if (!value || failed())
    return;
  std::vector<std::string> names(known.begin(), known.end());
  for (const json::Member &member : value->members) {
    if (std::find(names.begin(), names.end(), member.key) != names.end())
      continue;
    std::string field = "'" + json::printable(path.empty() ? member.key : path + "." + member.key, 120) + "'";
    for (const auto &[key, place] : elsewhere)
      if (member.key == key)
        return reader.fail(member.at, field + " does not apply here", "it is a field of " + std::string(place));
    std::string near = nearestWord(member.key, names);
    return reader.fail(member.at, "unknown field " + field,
                       near.empty() ? "expected " + listWords(names) : "did you mean '" + near + "'?");
  }
}

void Object::require(std::initializer_list<const char *> keys, const std::string &why) {
  for (const char *key : keys)
    if (!has(key))
      reader.fail(place, "missing field " + quoted(key) + (why.empty() ? "" : ": " + why));
}

void Object::refuse(const char *key, const std::string &why) {
  if (has(key))
    failAt(key, quoted(key) + " " + why);
}

void Object::mistake(const json::Value &value, const std::string &where, const std::string &wanted, std::string note) {
  reader.fail(value.at,
              (where.empty() ? "" : "'" + where + "': ") + "expected " + wanted + ", but got " + value.describe(),
              std::move(note));
}

bool Object::integer(const json::Value &value, const std::string &where, int64_t &out, int64_t min, int64_t max) {
  std::string wanted = "an integer";
  if (max != std::numeric_limits<int64_t>::max())
    wanted += " from " + std::to_string(min) + " to " + std::to_string(max);
  else if (min != std::numeric_limits<int64_t>::min())
    wanted += " of at least " + std::to_string(min);
  if (value.kind == json::Value::Kind::number && !value.isInteger()) {
    mistake(value, where, wanted, "integers are written without fraction and exponent");
    return false;
  }
  std::optional<int64_t> result = value.kind == json::Value::Kind::number ? value.asInteger() : std::nullopt;
  if (!result || *result < min || *result > max) {
    mistake(value, where, wanted, value.isInteger() && !result ? "it does not fit into 64 bits" : "");
    return false;
  }
  out = *result;
  return true;
}

bool Object::number(const json::Value &value, const std::string &where, double &out, const Interval &range) {
  if (value.kind != json::Value::Kind::number) {
    mistake(value, where, range.text);
    return false;
  }
  std::optional<double> result = value.asDouble();
  if (!result || *result < -interval::huge || *result > interval::huge) {
    mistake(value, where, range.text, "it is out of the range of fp32");
    return false;
  }
  if (*result < range.min || *result > range.max || (range.open && *result == range.min) ||
      (range.below && *result == range.max)) {
    mistake(value, where, range.text);
    return false;
  }
  out = *result;
  return true;
}

void Object::read(const char *key, int64_t &out, int64_t min, int64_t max) {
  if (const json::Value *value = find(key))
    integer(*value, join(key), out, min, max);
}

void Object::read(const char *key, std::optional<int64_t> &out, int64_t min, bool nullable) {
  const json::Value *value = find(key);
  int64_t result;
  if (!value)
    return;
  if (nullable && value->kind == json::Value::Kind::null)
    out.reset();
  else if (integer(*value, join(key), result, min, std::numeric_limits<int64_t>::max()))
    out = result;
}

void Object::read(const char *key, double &out, const Interval &range) {
  if (const json::Value *value = find(key))
    number(*value, join(key), out, range);
}

void Object::read(const char *key, std::optional<double> &out, const Interval &range, bool nullable) {
  const json::Value *value = find(key);
  double result;
  if (!value)
    return;
  if (nullable && value->kind == json::Value::Kind::null)
    out.reset();
  else if (number(*value, join(key), result, range))
    out = result;
}

void Object::read(const char *key, bool &out) {
  const json::Value *value = find(key);
  if (!value)
    return;
  if (value->kind != json::Value::Kind::boolean)
    return mistake(*value, join(key), "true or false");
  out = value->boolean;
}

void Object::noteElements(const json::Value &array, const std::string &where) {
  for (size_t i = 0; i < array.elements.size(); ++i)
    reader.positions[where + "[" + std::to_string(i) + "]"] = array.elements[i].at;
}

void Object::read(const char *key, std::vector<double> &out, const Interval &range) {
  const json::Value *value = find(key);
  if (!value)
    return;
  if (value->kind != json::Value::Kind::array)
    return mistake(*value, join(key), "a list of numbers");
  noteElements(*value, join(key));
  out.clear();
  for (size_t i = 0; i < value->elements.size(); ++i) {
    double element = 0;
    if (!number(value->elements[i], join(key) + "[" + std::to_string(i) + "]", element, range))
      return;
    out.push_back(element);
  }
}

void Object::read(const char *key, std::vector<int64_t> &out, int64_t min, int64_t max) {
  const json::Value *value = find(key);
  if (!value)
    return;
  if (value->kind != json::Value::Kind::array)
    return mistake(*value, join(key), "a list of integers");
  noteElements(*value, join(key));
  out.clear();
  for (size_t i = 0; i < value->elements.size(); ++i) {
    int64_t element = 0;
    if (!integer(value->elements[i], join(key) + "[" + std::to_string(i) + "]", element, min, max))
      return;
    out.push_back(element);
  }
}

std::optional<size_t> Object::chooseWord(const json::Value &value, const char *key,
                                         const std::vector<std::string> &words) {
  std::string wanted = words.size() == 1 ? "'" + words[0] + "'" : "one of " + listWords(words);
  if (value.kind == json::Value::Kind::string) {
    auto it = std::find(words.begin(), words.end(), value.text);
    if (it != words.end())
      return it - words.begin();
    std::string near = nearestWord(value.text, words);
    mistake(value, join(key), wanted, near.empty() ? "" : "did you mean '" + near + "'?");
  } else {
    mistake(value, join(key), wanted);
  }
  return std::nullopt;
}

Object Object::object(const char *key) { return Object(reader, find(key), join(key), at(key)); }

std::vector<Object> Object::objects(const char *key) {
  std::vector<Object> out;
  const json::Value *value = find(key);
  if (!value)
    return out;
  if (value->kind != json::Value::Kind::array) {
    mistake(*value, join(key), "a list of objects");
    return out;
  }
  noteElements(*value, join(key));
  for (size_t i = 0; i < value->elements.size() && !failed(); ++i)
    out.emplace_back(reader, &value->elements[i], join(key) + "[" + std::to_string(i) + "]");
  return out;
}

} // namespace mhc
