//===- PlanDialect.cpp - types and attributes of the plan dialect -----------===//

#include "mhc/Dialect/Plan/IR/PlanDialect.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::plan;

#include "mhc/Dialect/Plan/IR/PlanDialect.cpp.inc"
#include "mhc/Dialect/Plan/IR/PlanEnums.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "mhc/Dialect/Plan/IR/PlanTypes.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "mhc/Dialect/Plan/IR/PlanAttributes.cpp.inc"

void PlanDialect::initialize() {
  registerTypes();
  registerAttributes();
  addOperations<
#define GET_OP_LIST
#include "mhc/Dialect/Plan/IR/PlanOps.cpp.inc"
      >();
}

void PlanDialect::registerTypes() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "mhc/Dialect/Plan/IR/PlanTypes.cpp.inc"
      >();
}

void PlanDialect::registerAttributes() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "mhc/Dialect/Plan/IR/PlanAttributes.cpp.inc"
      >();
}

//===----------------------------------------------------------------------===//
// Affine expressions
//===----------------------------------------------------------------------===//

namespace {
/// An expression under construction: terms in the order of their names.
struct Terms {
  std::map<std::string, int64_t> coefficients;
  int64_t constant = 0;

  ExprAttr get(MLIRContext *context) const {
    SmallVector<StringAttr> symbols;
    SmallVector<int64_t> values;
    for (const auto &[name, value] : coefficients)
      if (value) {
        symbols.push_back(StringAttr::get(context, name));
        values.push_back(value);
      }
    return ExprAttr::get(context, symbols, values, constant);
  }
};

Terms termsOf(ExprAttr expr) {
  Terms terms;
  for (auto [symbol, value] : llvm::zip(expr.getSymbols(), expr.getCoefficients()))
    terms.coefficients[symbol.str()] = value;
  terms.constant = expr.getConstant();
  return terms;
}
} // namespace

ExprAttr ExprAttr::constant(MLIRContext *context, int64_t value) { return get(context, {}, {}, value); }

ExprAttr ExprAttr::symbol(MLIRContext *context, StringRef name) {
  return get(context, {StringAttr::get(context, name)}, {1}, 0);
}

ExprAttr ExprAttr::plus(ExprAttr other) const {
  Terms sum = termsOf(*this);
  for (const auto &[name, value] : termsOf(other).coefficients)
    if (llvm::AddOverflow(sum.coefficients[name], value, sum.coefficients[name]))
      return {};
  if (llvm::AddOverflow(sum.constant, other.getConstant(), sum.constant))
    return {};
  return sum.get(getContext());
}

ExprAttr ExprAttr::times(int64_t factor) const {
  Terms product = termsOf(*this);
  for (auto &[name, value] : product.coefficients)
    if (llvm::MulOverflow(value, factor, value))
      return {};
  if (llvm::MulOverflow(product.constant, factor, product.constant))
    return {};
  return product.get(getContext());
}

ExprAttr ExprAttr::dividedBy(int64_t divisor) const {
  if (divisor <= 0)
    return {};
  Terms quotient = termsOf(*this);
  for (auto &[name, value] : quotient.coefficients) {
    if (value % divisor)
      return {};
    value /= divisor;
  }
  if (quotient.constant % divisor)
    return {};
  quotient.constant /= divisor;
  return quotient.get(getContext());
}

std::optional<int64_t> ExprAttr::evaluate(const llvm::StringMap<int64_t> &values) const {
  int64_t sum = getConstant();
  for (auto [symbol, coefficient] : llvm::zip(getSymbols(), getCoefficients())) {
    auto found = values.find(symbol.getValue());
    int64_t product;
    if (found == values.end() || llvm::MulOverflow(coefficient, found->second, product) ||
        llvm::AddOverflow(sum, product, sum))
      return std::nullopt;
  }
  return sum;
}

std::string ExprAttr::str() const {
  std::string text;
  for (auto [symbol, coefficient] : llvm::zip(getSymbols(), getCoefficients())) {
    text += text.empty() ? "" : " + ";
    if (coefficient != 1)
      text += std::to_string(coefficient) + " * ";
    text += symbol.str();
  }
  if (text.empty() || getConstant())
    text += (text.empty() ? "" : " + ") + std::to_string(getConstant());
  return text;
}

void ExprAttr::print(AsmPrinter &printer) const { printer << "<" << str() << ">"; }

/// term (+ term)*, where a term is an integer, a symbol, or integer * symbol.
Attribute ExprAttr::parse(AsmParser &parser, Type) {
  if (parser.parseLess())
    return {};
  Terms terms;
  do {
    SMLoc loc = parser.getCurrentLocation();
    int64_t coefficient = 1;
    std::string symbol;
    OptionalParseResult integer = parser.parseOptionalInteger(coefficient);
    if (integer.has_value() && failed(*integer))
      return {};
    if (integer.has_value() ? succeeded(parser.parseOptionalStar()) : true)
      if (parser.parseKeywordOrString(&symbol))
        return {};
    int64_t &target = symbol.empty() ? terms.constant : terms.coefficients[symbol];
    if (llvm::AddOverflow(target, coefficient, target)) {
      parser.emitError(loc, "expected coefficients of 64 bits");
      return {};
    }
  } while (succeeded(parser.parseOptionalPlus()));
  if (parser.parseGreater())
    return {};
  return terms.get(parser.getContext());
}

LogicalResult ExprAttr::verify(function_ref<InFlightDiagnostic()> emitError, ArrayRef<StringAttr> symbols,
                               ArrayRef<int64_t> coefficients, int64_t) {
  if (symbols.size() != coefficients.size())
    return emitError() << "expected a coefficient for each symbol";
  for (size_t i = 1; i < symbols.size(); ++i)
    if (symbols[i - 1].getValue() >= symbols[i].getValue())
      return emitError() << "expected symbols in alphabetical order, once each";
  if (llvm::is_contained(coefficients, 0))
    return emitError() << "expected coefficients other than zero";
  return success();
}
