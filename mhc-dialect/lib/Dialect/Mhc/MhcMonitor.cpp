//===- MhcMonitor.cpp - ops of monitors: verifiers and row programs ---------===//

#include "mhc/Dialect/Mhc/IR/MhcOps.h"
#include "mhc/Dialect/Mhc/IR/MhcRowOps.h"

#include "ScalarBuilder.h"

using namespace mlir;
using namespace mlir::mhc;

#define GET_OP_CLASSES
#include "mhc/Dialect/Mhc/IR/MhcMonitorOps.cpp.inc"

namespace {
using Scalar = ScalarBuilder;
/// Of the step's scalars (docs/design/package.md).
constexpr int64_t inverseTokens = 10, scalarCount = 64;

Scalar scalar(RowContext &c, OpBuilder &b, Location loc) { return {b, loc, c.compute}; }
RankedTensorType tensor(Value v) { return cast<RankedTensorType>(v.getType()); }
WideType wideOf(Value v) { return cast<WideType>(v.getType()); }
Type unrounded(RowContext &c, Value v) { return c.wide(wideOf(v).getStreams(), wideOf(v).getChannels()); }

using NarrowCode = function_ref<SmallVector<Value>(Scalar, ValueRange)>;
Value narrow(RowContext &c, ValueRange inputs, Type result, NarrowCode code) {
  return c.narrowCode(inputs, result, [&](OpBuilder &b, Location l, ValueRange v) { return code(scalar(c, b, l), v); })[0];
}
/// One of the scalars, the same for every token.
Value scalarOf(RowContext &c, Value scalars, int64_t slot) {
  Value all = c.uniform(scalars, NarrowType::get(scalars.getContext(), {rowElements(scalars.getType())}, tensor(scalars).getElementType()));
  return narrow(c, all, c.narrow({1}), [&](Scalar, ValueRange v) { return SmallVector<Value>{v[slot]}; });
}
Value meanOf(RowContext &c, Value sum, int64_t count) {
  return narrow(c, sum, c.narrow({1}), [&](Scalar s, ValueRange v) { return SmallVector<Value>{s.div(v[0], s.constant(count))}; });
}
} // namespace

//===----------------------------------------------------------------------===//
// Row programs
//===----------------------------------------------------------------------===//

void MeanTokensOp::buildRow(RowContext &c) {
  Value x = c.input(getX());
  int64_t size = rowElements(getX().getType());
  // Each term is scaled, not the sum: a reduction ends the kernel.
  Value terms = narrow(c, {x, scalarOf(c, getScalars(), inverseTokens)}, c.narrow({size}), [&](Scalar s, ValueRange v) {
    return llvm::map_to_vector(v.take_front(size), [&](Value each) { return s.mul(each, v[size]); });
  });
  RowSumTokensOp::create(c.builder, c.loc, terms, c.reduction(0));
}

void MeanSquaresOp::buildRow(RowContext &c) {
  Value x = c.input(getX());
  int64_t size = rowElements(getX().getType());
  if (isa<WideType>(x.getType())) {
    Value squares = c.map(x, unrounded(c, x), [&](OpBuilder &b, Location l, ValueRange v) { return scalar(c, b, l).mul(v[0], v[0]); });
    return c.setResult(0, meanOf(c, c.reduceAdd(squares, 1), size));
  }
  c.setResult(0, narrow(c, x, c.narrow({1}), [&](Scalar s, ValueRange v) {
    SmallVector<Value> squares = llvm::map_to_vector(v, [&](Value each) { return s.mul(each, each); });
    return SmallVector<Value>{s.div(s.sum(squares), s.constant(size))};
  }));
}

void OutlierShareOp::buildRow(RowContext &c) {
  Value x = c.input(getX());
  int64_t size = rowElements(getX().getType());
  double deviations = getDeviations().convertToDouble();
  Type type = unrounded(c, x);
  Value same = c.map(x, type, [&](OpBuilder &, Location, ValueRange v) { return v[0]; });
  Value mean = meanOf(c, c.reduceAdd(same, 1), size);
  auto distance = [&](Scalar s, ValueRange v) {
    Value d = s.sub(v[0], v[1]);
    return s.mul(d, d);
  };
  Value squares = c.map({x, mean}, type, [&](OpBuilder &b, Location l, ValueRange v) { return distance(scalar(c, b, l), v); });
  Value limit = narrow(c, c.reduceAdd(squares, 1), c.narrow({1}), [&](Scalar s, ValueRange v) { return SmallVector<Value>{s.mul(v[0], s.constant(deviations * deviations / size))}; });
  Value far = c.map({x, mean, limit}, type, [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    return s.select(s.less(v[2], distance(s, v)), s.constant(1), s.constant(0));
  });
  c.setResult(0, meanOf(c, c.reduceAdd(far, 1), size));
}

void MixingGainsOp::buildRow(RowContext &c) {
  int64_t n = tensor(getH()).getShape().back();
  c.setResult(0, narrow(c, c.input(getH()), c.narrow({3}), [&](Scalar s, ValueRange h) {
    Value gains[2], deviation;
    auto raise = [&](Value &most, Value value) { most = most ? s.max(most, value) : value; };
    for (int64_t along : {0, 1}) // rows, columns
      for (int64_t k = 0; k < n; ++k) {
        SmallVector<Value> line;
        for (int64_t j = 0; j < n; ++j)
          line.push_back(h[along ? j * n + k : k * n + j]);
        Value sum = s.sum(line);
        raise(gains[along], s.abs(sum));
        raise(deviation, s.abs(s.sub(sum, s.constant(1))));
      }
    for (Value each : h)
      raise(deviation, s.neg(each));
    return SmallVector<Value>{gains[0], gains[1], deviation};
  }));
}

void ComposeOp::buildRow(RowContext &c) {
  int64_t n = tensor(getH()).getShape().back();
  SmallVector<Value> inputs{c.input(getH()), c.input(getLeft())};
  if (getP())
    inputs.push_back(c.input(getP()));
  c.setResult(0, narrow(c, inputs, c.narrow({n, n}), [&](Scalar s, ValueRange v) {
    ValueRange h = v.take_front(n * n), p = v.drop_front(n * n + 1);
    Value before = s.less(s.constant(0), v[n * n]);
    SmallVector<Value> out;
    for (int64_t o = 0; o < n; ++o)
      for (int64_t i = 0; i < n; ++i) {
        Value sum = p.empty() ? h[o * n + i] : Value();
        for (int64_t k = 0; k < n && !p.empty(); ++k)
          sum = sum ? s.fma(h[o * n + k], p[k * n + i], sum) : s.mul(h[o * n + k], p[k * n + i]);
        out.push_back(s.select(before, s.constant(o == i), sum));
      }
    return out;
  }));
}

void SquareRootOp::buildRow(RowContext &c) {
  int64_t size = tensor(getX()).getNumElements();
  Value x = c.uniform(getX(), NarrowType::get(getContext(), {size}, tensor(getX()).getElementType()));
  Value roots = narrow(c, x, c.narrow({size}), [&](Scalar s, ValueRange v) { return llvm::map_to_vector(v, [&](Value each) { return s.sqrt(each); }); });
  RowSumTokensOp::create(c.builder, c.loc, roots, c.reduction(0));
}

//===----------------------------------------------------------------------===//
// Verifiers
//===----------------------------------------------------------------------===//

static LogicalResult expect(Operation *op, bool holds, const Twine &message) { return holds ? success() : op->emitOpError(message); }
static bool isNarrowRow(Value v, int64_t elements) { return hasRows(v.getType()) && isNarrow(v.getType()) && rowElements(v.getType()) == elements; }
static bool isSquare(Value v) {
  ArrayRef<int64_t> shape = tensor(v).getShape();
  return shape.size() == 3 && shape[1] == shape[2] && hasRows(v.getType()) && isNarrow(v.getType());
}
static bool areScalars(Value v) { return tensor(v).hasStaticShape() && tensor(v).getNumElements() == scalarCount; }

LogicalResult MeanTokensOp::verify() {
  if (!tensor(getResult()).hasStaticShape() || !isNarrowRow(getX(), tensor(getResult()).getNumElements()))
    return emitOpError("expected narrow rows of as many elements as the result"); // C1
  return expect(*this, areScalars(getScalars()), "expected 64 scalars"); // C2
}
LogicalResult MeanSquaresOp::verify() { return expect(*this, hasRows(getX().getType()) && isNarrowRow(getResult(), 1), "expected rows, and one narrow element a row"); }
LogicalResult OutlierShareOp::verify() {
  if (!hasRows(getX().getType()) || isNarrow(getX().getType()) || !isNarrowRow(getResult(), 1))
    return emitOpError("expected wide rows, and one narrow element a row"); // C1
  return expect(*this, getDeviations().convertToDouble() > 0, "expected a number of deviations above 0"); // C2
}
LogicalResult MixingGainsOp::verify() {
  if (!isSquare(getH()))
    return emitOpError("expected narrow square matrices, but got ") << getH().getType(); // C1
  return expect(*this, isNarrowRow(getResult(), 3), "expected three narrow elements a row"); // C2
}
LogicalResult ComposeOp::verify() {
  if (!isSquare(getH()))
    return emitOpError("expected narrow square matrices, but got ") << getH().getType(); // C1
  if (tensor(getResult()).getShape() != tensor(getH()).getShape() || !isSquare(getResult()) || (getP() && (tensor(getP()).getShape() != tensor(getH()).getShape() || !isSquare(getP()))))
    return emitOpError("expected the product and the result to have h's shape"); // C2
  return expect(*this, isNarrowRow(getLeft(), 1), "expected one narrow element a row"); // C3
}
LogicalResult SquareRootOp::verify() {
  return expect(*this, tensor(getX()).hasStaticShape() && tensor(getResult()).hasStaticShape() && tensor(getX()).getNumElements() == tensor(getResult()).getNumElements(),
                "expected static shapes of as many elements");
}
