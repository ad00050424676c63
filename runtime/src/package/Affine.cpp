#include "package/Affine.h"
#include "base/Checked.h"

namespace mhcrt {

Affine Affine::parse(const JsonView &json) {
  Affine result;
  if (json.isInteger()) {
    result.constant = json.integer();
    return result;
  }
  if (!json.isObject())
    fail(json.path(), ": expected an integer or an object of coefficients, but got ", json.json().dump());
  json.members([&](const std::string &key, const JsonView &member) {
    int64_t coefficient = member.integer();
    if (key == "1")
      result.constant = coefficient;
    else if (coefficient != 0)
      result.terms.emplace_back(key, coefficient);
  });
  return result;
}

int64_t Affine::evaluate(const Symbols &symbols, const std::string &what) const {
  int64_t value = constant;
  for (const auto &[symbol, coefficient] : terms) {
    auto found = symbols.find(symbol);
    if (found == symbols.end())
      fail(what, ": no input binds the symbol '", symbol, "'");
    value = checkedAdd(value, checkedMultiply(coefficient, found->second, what), what);
  }
  return value;
}

std::string Affine::text() const {
  std::string result;
  for (const auto &[symbol, coefficient] : terms)
    result += (result.empty() ? "" : " + ") + (coefficient == 1 ? "" : std::to_string(coefficient) + " ") + symbol;
  if (constant != 0 || result.empty())
    result += (result.empty() ? "" : " + ") + std::to_string(constant);
  return result;
}

} // namespace mhcrt
