#include "Options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

namespace mhcrt {

Options::Options(const std::vector<std::string> &arguments, std::initializer_list<const char *> flags,
                 std::initializer_list<const char *> values) {
  auto has = [](std::initializer_list<const char *> list, const std::string &name) {
    return std::any_of(list.begin(), list.end(), [&](const char *item) { return name == item; });
  };
  bool onlyWords = false;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string &argument = arguments[i];
    if (onlyWords || argument.size() < 2 || argument.rfind("--", 0) != 0) {
      words.push_back(argument);
      continue;
    }
    if (argument == "--") {
      onlyWords = true;
      continue;
    }
    size_t equals = argument.find('=');
    std::string name = argument.substr(2, equals == std::string::npos ? std::string::npos : equals - 2), value;
    if (has(flags, name)) {
      if (equals != std::string::npos)
        throw UsageError("option '--" + name + "' takes no value");
    } else if (has(values, name)) {
      if (equals != std::string::npos)
        value = argument.substr(equals + 1);
      else if (i + 1 < arguments.size())
        value = arguments[++i];
      else
        throw UsageError("option '--" + name + "' needs a value");
      if (value.empty())
        throw UsageError("option '--" + name + "' needs a value");
    } else {
      throw UsageError("unknown option '--" + name + "'");
    }
    if (!given.emplace(name, value).second)
      throw UsageError("option '--" + name + "' is given twice");
  }
}

std::optional<std::string> Options::value(const char *name) const {
  auto found = given.find(name);
  if (found == given.end())
    return std::nullopt;
  return found->second;
}

std::string Options::value(const char *name, const std::string &otherwise) const {
  return value(name).value_or(otherwise);
}

std::string Options::required(const char *name) const {
  auto found = value(name);
  if (!found)
    throw UsageError(std::string("option '--") + name + "' is missing");
  return *found;
}

std::optional<int64_t> Options::integer(const char *name, int64_t least) const {
  auto text = value(name);
  if (!text)
    return std::nullopt;
  int64_t number = 0;
  auto [end, code] = std::from_chars(text->data(), text->data() + text->size(), number);
  if (code != std::errc() || end != text->data() + text->size() || number < least)
    throw UsageError(concat("--", name, ": expected an integer of at least ", least, ", but got '", *text, "'"));
  return number;
}

std::optional<double> Options::number(const char *name) const {
  auto text = value(name);
  if (!text)
    return std::nullopt;
  char *end = nullptr;
  double number = std::strtod(text->c_str(), &end);
  if (*end || !std::isfinite(number))
    throw UsageError(concat("--", name, ": expected a number, but got '", *text, "'"));
  return number;
}

} // namespace mhcrt
