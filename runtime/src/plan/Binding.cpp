#include "plan/Binding.h"
#include "base/Checked.h"

#include <algorithm>

namespace mhcrt {
namespace {

void checkType(const std::string &name, const TensorInfo &info, DType expected) {
  if (info.type != mhcrt::name(expected))
    fail(name, ": expected type ", mhcrt::name(expected), ", but got ", info.type);
}

/// 1 <= S <= max_position_embeddings and B >= 1 (math.md 5).
void checkLimits(const Manifest &manifest, const Entry &entry, const Symbols &symbols) {
  if (!manifest.isLanguageModel())
    return;
  bool hasTokens = false;
  for (const TensorSpec &input : entry.inputs)
    hasTokens |= input.name == "tokens";
  if (!hasTokens)
    return;
  auto length = symbols.find("S"), rows = symbols.find("B");
  if (length != symbols.end() && (length->second < 1 || length->second > manifest.maxPositions))
    fail("tokens: expected sequences of 1 to max_position_embeddings = ", manifest.maxPositions, " positions, but got ",
         length->second);
  if (rows != symbols.end() && rows->second < 1)
    fail("tokens: expected at least 1 sequence (of at most max_position_embeddings = ", manifest.maxPositions,
         " positions), but got ", rows->second);
}

void checkMultiples(const Entry &entry, const Symbols &symbols) {
  for (const auto &[symbol, number] : entry.multiples)
    if (symbols.at(symbol) % number)
      fail("expected '", symbol, "' to be a multiple of ", number, " (sequence_length), but got ", symbols.at(symbol));
}

void addDerived(const Entry &entry, Symbols &symbols) {
  for (const DerivedSymbol &derived : entry.derived) {
    int64_t product = 1;
    for (const std::string &factor : derived.factors) {
      auto value = symbols.find(factor);
      if (value == symbols.end())
        fail("no input binds the symbol '", factor, "'");
      product = checkedMultiply(product, value->second, "symbol '" + derived.symbol + "'");
    }
    symbols[derived.symbol] = product;
  }
}

} // namespace

std::vector<int64_t> evaluateShape(const TensorSpec &spec, const Symbols &symbols) {
  std::vector<int64_t> shape;
  for (const Affine &dimension : spec.shape) {
    shape.push_back(dimension.evaluate(symbols, spec.name));
    if (shape.back() < 0)
      fail(spec.name, ": expected dimensions of at least 0, but got ", shape.back());
  }
  return shape;
}

Symbols bindInputs(const Manifest &manifest, const Entry &entry, const TensorInfos &inputs) {
  // Which tensors there are, and their types.
  std::map<std::string, bool> known;
  for (const TensorSpec &spec : entry.inputs) {
    known[spec.name] = true;
    auto found = inputs.find(spec.name);
    if (found == inputs.end() && spec.optional)
      continue;
    if (found == inputs.end())
      fail(spec.name, ": this input of entry '", entry.name, "' is missing");
    checkType(spec.name, found->second, spec.dtype);
  }
  if (entry.parameters)
    for (const ModelTensor &tensor : manifest.tensors) {
      known[tensor.name] = true;
      auto found = inputs.find(tensor.name);
      if (found == inputs.end())
        fail(tensor.name, ": this parameter is missing among the inputs of entry '", entry.name, "'");
      checkType(tensor.name, found->second, DType::F32);
      if (found->second.shape != tensor.shape)
        fail(tensor.name, ": expected shape ", shapeText(tensor.shape), ", but got ", shapeText(found->second.shape));
    }
  for (const auto &[name, info] : inputs)
    if (!known.count(name))
      fail(name, ": entry '", entry.name, "' has no such input");

  // A symbol takes its value from the first dimension in which it stands alone.
  Symbols symbols;
  std::string negative;
  for (const TensorSpec &spec : entry.inputs) {
    if (spec.optional && !inputs.count(spec.name))
      continue;
    const std::vector<int64_t> &shape = inputs.at(spec.name).shape;
    if (shape.size() != spec.shape.size())
      fail(spec.name, ": expected ", spec.shape.size(), " dimensions, but got shape ", shapeText(shape));
    for (size_t d = 0; d < shape.size(); ++d) {
      const Affine &dimension = spec.shape[d];
      if (dimension.terms.size() != 1 || dimension.terms[0].second != 1 || symbols.count(dimension.terms[0].first))
        continue;
      int64_t value = checkedAdd(shape[d], -dimension.constant, spec.name);
      if (value < 0 && negative.empty())
        negative = concat(spec.name, ": expected dimension ", d, " to be at least ", dimension.constant, ", but got ",
                          shape[d]);
      symbols[dimension.terms[0].first] = value;
    }
  }
  checkLimits(manifest, entry, symbols);
  if (!negative.empty())
    fail(negative);
  addDerived(entry, symbols);
  for (const std::string &symbol : entry.symbols)
    if (!symbols.count(symbol))
      fail("entry '", entry.name, "': no input binds the symbol '", symbol, "'");

  checkMultiples(entry, symbols);
  for (const TensorSpec &spec : entry.inputs) {
    if (spec.optional && !inputs.count(spec.name))
      continue;
    const std::vector<int64_t> &shape = inputs.at(spec.name).shape;
    std::vector<int64_t> expected = evaluateShape(spec, symbols);
    if (shape != expected)
      fail(spec.name, ": expected shape ", shapeText(expected), ", but got ", shapeText(shape));
  }
  return symbols;
}

Symbols bindValues(const Manifest &manifest, const Entry &entry, Symbols values) {
  Symbols symbols;
  for (const std::string &symbol : entry.symbols) {
    auto found = values.find(symbol);
    if (found == values.end())
      fail("entry '", entry.name, "' needs a value of '", symbol, "'");
    if (found->second < 0)
      fail("expected a value of '", symbol, "' of at least 0, but got ", found->second);
    symbols[symbol] = found->second;
  }
  checkLimits(manifest, entry, symbols);
  checkMultiples(entry, symbols);
  addDerived(entry, symbols);
  return symbols;
}

Symbols bindTokens(const Manifest &manifest, const Entry &entry, int64_t rows, int64_t columns) {
  Entry inputs = entry;
  inputs.parameters = false;
  inputs.inputs.erase(std::remove_if(inputs.inputs.begin(), inputs.inputs.end(), [](auto &spec) { return spec.scalar >= 0; }), inputs.inputs.end());
  return bindInputs(manifest, inputs, {{"tokens", {"i32", {rows, columns}}}});
}

} // namespace mhcrt
