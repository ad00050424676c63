#include "base/Json.h"

#include <set>

namespace mhcrt {

Json parseJson(std::string_view text, const std::string &source) {
  constexpr int deepest = 64;
  std::vector<std::set<std::string>> keys; // of the objects that are open
  auto check = [&](int depth, Json::parse_event_t event, Json &parsed) {
    switch (event) {
    case Json::parse_event_t::object_start:
      keys.emplace_back();
      [[fallthrough]];
    case Json::parse_event_t::array_start:
      if (depth >= deepest)
        fail(source, ": expected at most ", deepest, " levels of nesting");
      break;
    case Json::parse_event_t::object_end:
      keys.pop_back();
      break;
    case Json::parse_event_t::key:
      if (!keys.back().insert(parsed.get_ref<const std::string &>()).second)
        fail(source, ": duplicate key '", parsed.get_ref<const std::string &>(), "'");
      break;
    default:
      break;
    }
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), check);
  } catch (const Json::exception &problem) {
    // nlohmann's text begins with "[json.exception.parse_error.101] "
    std::string message = problem.what();
    size_t end = message.find("] ");
    fail(source, ": ", end == std::string::npos ? message : message.substr(end + 2));
  }
}

void JsonView::mismatch(const char *expected) const {
  std::string got = value->dump(-1, ' ', false, Json::error_handler_t::replace);
  if (got.size() > 60)
    got = got.substr(0, 60) + "...";
  fail(where, ": expected ", expected, ", but got ", got);
}

void JsonView::object() const {
  if (!value->is_object())
    mismatch("an object");
}

JsonView JsonView::at(const char *key) const {
  object();
  auto found = value->find(key);
  if (found == value->end())
    fail(where, ": '", key, "' is missing");
  return JsonView(*found, where + "." + key);
}

std::optional<JsonView> JsonView::find(const char *key) const {
  object();
  auto found = value->find(key);
  if (found == value->end())
    return std::nullopt;
  return JsonView(*found, where + "." + key);
}

size_t JsonView::size() const {
  if (!value->is_array())
    mismatch("an array");
  return value->size();
}

JsonView JsonView::operator[](size_t index) const {
  return JsonView((*value)[index], where + "[" + std::to_string(index) + "]");
}

int64_t JsonView::integer(int64_t least, int64_t most) const {
  if (!value->is_number_integer() ||
      (value->is_number_unsigned() && value->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)))
    mismatch("a 64-bit integer");
  int64_t result = value->get<int64_t>();
  if (result < least || result > most)
    mismatch(concat("an integer from ", least, " to ", most).c_str());
  return result;
}

double JsonView::number() const {
  if (!value->is_number())
    mismatch("a number");
  return value->get<double>();
}

bool JsonView::boolean() const {
  if (!value->is_boolean())
    mismatch("true or false");
  return value->get<bool>();
}

const std::string &JsonView::string() const {
  if (!value->is_string())
    mismatch("a string");
  return value->get_ref<const std::string &>();
}

void JsonView::only(std::initializer_list<const char *> keys) const {
  object();
  for (const auto &[key, member] : value->items()) {
    bool known = false;
    for (const char *candidate : keys)
      known |= key == candidate;
    if (!known)
      fail(where, ": unknown field '", key, "'");
  }
}

} // namespace mhcrt
