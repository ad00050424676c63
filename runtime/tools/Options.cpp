#include "Options.h"
#include "base/ThreadPool.h"

#include <algorithm>
#include <charconv>
#include <filesystem>

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

template <typename Number>
std::optional<Number> Options::parse(const char *name, Number least, Number most, const char *what) const {
  auto text = value(name);
  if (!text)
    return std::nullopt;
  Number number = 0;
  auto [end, code] = std::from_chars(text->data(), text->data() + text->size(), number);
  bool inside = number >= least && number <= most; // not so for NaN
  if (code != std::errc() || end != text->data() + text->size() || !inside)
    throw UsageError(concat("--", name, ": expected ", what, " from ", least, " to ", most, ", but got '", *text, "'"));
  return number;
}

std::optional<int64_t> Options::integer(const char *name, int64_t least, int64_t most) const {
  return parse(name, least, most, "an integer");
}

std::optional<double> Options::number(const char *name, double least, double most) const {
  return parse(name, least, most, "a number");
}

std::map<std::string, int64_t> Options::symbols(const char *name) const {
  std::map<std::string, int64_t> symbols;
  auto text = value(name);
  if (!text)
    return symbols;
  for (size_t begin = 0; begin <= text->size();) {
    size_t end = std::min(text->find(',', begin), text->size());
    std::string item = text->substr(begin, end - begin), symbol = item.substr(0, item.find('='));
    if (symbol.empty() || symbol.size() == item.size())
      throw UsageError(concat("--", name, ": expected SYMBOL=VALUE, but got '", item, "'"));
    const char *to = item.data() + item.size();
    int64_t number = 0;
    auto [last, code] = std::from_chars(item.data() + symbol.size() + 1, to, number);
    if (code != std::errc() || last != to || number < 0)
      throw UsageError(
          concat("--", name, ": expected an integer from 0 to ", INT64_MAX, " after '=', but got '", item, "'"));
    if (!symbols.emplace(symbol, number).second)
      throw UsageError(concat("--", name, ": '", symbol, "' is given twice"));
    begin = end + 1;
  }
  return symbols;
}

int64_t Options::threads() const { return integer("threads", 1, mostThreads).value_or(0); }

std::string jsonText(const Json &json) { return json.dump(2, ' ', false, Json::error_handler_t::replace); }

void refuseOverwriting(const std::string &name, const std::string &output, const std::string &inputName,
                       const std::string &input) {
  std::error_code code; // of files that are not there
  if (output == input || std::filesystem::equivalent(output, input, code))
    throw UsageError(name + ": '" + output + "' is the file of " + inputName + " and would be overwritten");
}

void refuseInside(const std::string &name, const std::string &output, const std::string &inputName,
                  const std::string &input) {
  std::error_code code;
  if (!std::filesystem::is_directory(input, code))
    return;
  const std::filesystem::path folder = std::filesystem::weakly_canonical(input, code), file = std::filesystem::weakly_canonical(output, code);
  if (std::mismatch(folder.begin(), folder.end(), file.begin(), file.end()).first == folder.end())
    throw UsageError(name + ": '" + output + "' lies in the folder of " + inputName + ", all of whose files are input");
}

} // namespace mhcrt
