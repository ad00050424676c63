//===- MhcOptimizer.cpp - ops of optimizers: verifiers and row programs -----===//

#include "mhc/Dialect/Mhc/IR/MhcOps.h"
#include "mhc/Dialect/Mhc/IR/MhcRowOps.h"

#include "ScalarBuilder.h"

using namespace mlir;
using namespace mlir::mhc;

using Scalar = ScalarBuilder;

static Scalar scalar(RowContext &c, OpBuilder &b, Location loc) { return {b, loc, c.compute}; }
/// The compute type's version of a wide value's type.
static Type unrounded(RowContext &c, Value v) {
  auto type = cast<WideType>(v.getType());
  return c.wide(type.getStreams(), type.getChannels());
}
static Value multiply(RowContext &c, Value x, Value y) {
  return c.map({x, y}, unrounded(c, x), [&](OpBuilder &b, Location l, ValueRange v) { return scalar(c, b, l).mul(v[0], v[1]); });
}

//===----------------------------------------------------------------------===//
// Directions
//===----------------------------------------------------------------------===//

void MomentumOp::buildRow(RowContext &c) {
  Value m = c.input(getM());
  SmallVector<Value> inputs{m, c.input(getG())};
  if (getFactor())
    inputs.push_back(c.uniform(getFactor(), c.narrow({1})));
  double mu = getMu().convertToDouble();
  for (unsigned result : {0u, 1u})
    c.setResult(result, c.map(inputs, unrounded(c, m), [&](OpBuilder &b, Location l, ValueRange x) {
      Scalar s = scalar(c, b, l);
      Value g = getFactor() ? s.mul(x[1], x[2]) : x[1];
      Value next = s.add(s.mul(s.constant(mu), x[0]), g);
      if (result == 1 && getNesterov())
        next = s.add(s.mul(s.constant(mu), next), g);
      return getFactor() ? s.select(s.less(x[2], s.constant(0)), x[0], next) : next;
    }));
}

void AdamDirectionOp::buildRow(RowContext &c) {
  Value m = c.input(getM());
  auto scalarType = NarrowType::get(getContext(), {rowElements(getScalars().getType())}, cast<ShapedType>(getScalars().getType()).getElementType());
  SmallVector<Value> inputs{m, c.input(getV()), c.input(getG())};
  Value scalars = c.uniform(getScalars(), scalarType);
  for (int64_t i : {1, 2, 6, 7, 8, 11, 12})
    inputs.push_back(c.narrowCode(scalars, c.narrow({1}), [&](OpBuilder &, Location, ValueRange v) { return SmallVector<Value>{v[i]}; })[0]);
  if (getFactor())
    inputs.push_back(c.uniform(getFactor(), c.narrow({1})));
  for (unsigned result : {0u, 1u, 2u})
    c.setResult(result, c.map(inputs, unrounded(c, m), [&](OpBuilder &b, Location l, ValueRange x) {
      Scalar s = scalar(c, b, l);
      Value factor = getFactor() ? x[10] : Value(), zero = s.constant(0);
      Value m = x[0], v = x[1], g = factor ? s.mul(x[2], factor) : x[2];
      Value s1 = x[3], s2 = x[4], b1 = x[5], b2 = x[6], eps = x[7], rest1 = x[8], rest2 = x[9];
      Value m1 = s.add(s.mul(b1, m), s.mul(rest1, g)), v1 = s.add(s.mul(b2, v), s.mul(rest2, s.mul(g, g)));
      Value skip = factor ? s.less(factor, zero) : Value();
      auto unlessSkipped = [&](Value old, Value now) { return skip ? s.select(skip, old, now) : now; };
      if (result == 1)
        return unlessSkipped(m, m1);
      if (result == 2)
        return unlessSkipped(v, v1);
      Value adam = s.div(s.mul(m1, s1), s.add(s.sqrt(s.mul(v1, s2)), eps));
      return unlessSkipped(zero, s.select(s.equal(v1, zero), zero, adam));
    }));
}

//===----------------------------------------------------------------------===//
// Steps
//===----------------------------------------------------------------------===//

/// radius / (sqrt(n2) + eps), or radius / sqrt(n2 + eps^2); 0 where the divisor is 0.
static Value normScale(Scalar s, Value n2, Value radius, double eps, bool inside) {
  Value zero = s.constant(0), one = s.constant(1);
  Value above = s.select(s.less(n2, zero), zero, n2); // differences of roundings, where all cancels
  Value root = inside ? s.sqrt(eps ? s.add(above, s.constant(eps * eps)) : above) : s.sqrt(above);
  if (!inside && eps)
    root = s.add(root, s.constant(eps));
  Value none = s.equal(root, zero);
  Value scale = s.select(none, zero, s.div(radius ? radius : one, s.select(none, one, root)));
  // A norm that is no number, or is none of fp32, makes all NaN; it would make all 0.
  return s.add(scale, s.sub(n2, n2));
}

void DescendOp::buildRow(RowContext &c) {
  Value w = c.input(getW()), o = c.input(getO());
  Value step = c.narrowCode({c.dot(o, o), c.input(getRadius()), c.input(getRate())}, c.narrow({1}), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    return SmallVector<Value>{s.mul(v[2], normScale(s, v[0], v[1], 0, false))};
  })[0];
  c.setResult(0, c.map({w, o, step}, unrounded(c, w), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    return s.sub(v[0], s.mul(v[2], v[1]));
  }));
}

double ProjectOp::getWeightEps() {
  FloatAttr eps = cast<SphereAttr>(getManifold()).getEps();
  return eps ? eps.getValueAsDouble() : 0;
}

void ProjectOp::buildWeightRow(RowContext &c) {
  Value z = c.input(getZ());
  Value scale = c.narrowCode({c.dot(z, z), c.input(getRadius())}, c.narrow({1}), [&](OpBuilder &b, Location l, ValueRange v) {
    return SmallVector<Value>{normScale(scalar(c, b, l), v[0], v[1], getWeightEps(), true)};
  })[0];
  c.setResult(0, multiply(c, z, scale));
}

void AddScaledOp::buildRow(RowContext &c) {
  Value x = c.input(getX());
  c.setResult(0, c.map({x, c.input(getY()), c.input(getW())}, unrounded(c, x), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    Value none = s.equal(v[2], s.constant(0));
    return s.select(none, v[0], s.add(v[0], s.mul(v[2], v[1])));
  }));
}

void GuardOp::buildRow(RowContext &c) {
  Value value = c.input(getValue());
  c.setResult(0, c.map({value, c.input(getOld()), c.uniform(getFactor(), c.narrow({1}))}, unrounded(c, value), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    return s.select(s.less(v[2], s.constant(0)), v[1], v[0]);
  }));
}

//===----------------------------------------------------------------------===//
// Norms of parts
//===----------------------------------------------------------------------===//

void GramOp::buildRow(RowContext &c) {
  Value x = c.input(getX()), y = c.input(getY());
  c.setResult(0, c.dot(x, x));
  c.setResult(1, c.dot(x, y));
  c.setResult(2, c.dot(y, y));
}
void RowSumOp::buildRow(RowContext &c) {
  Value x = c.input(getX());
  bool rounded = x.getType() != unrounded(c, x);
  c.setResult(0, c.reduceAdd(rounded ? RowCastOp::create(c.builder, c.loc, unrounded(c, x), x).getResult() : x, 1));
}

void ProductOp::buildRow(RowContext &c) {
  SmallVector<Value> values = llvm::map_to_vector(getValues(), [&](Value v) { return c.input(v); });
  Type type = rowTypeOf(getResult().getType(), c.compute);
  auto product = [&](OpBuilder &b, Location l, ValueRange v) {
    Value all = v[0];
    for (Value x : v.drop_front())
      all = scalar(c, b, l).mul(all, x);
    return all;
  };
  if (isa<WideType>(type)) {
    c.setResult(0, c.map(values, type, product));
    return;
  }
  size_t size = cast<NarrowType>(type).getNumElements();
  c.setResult(0, c.narrowCode(values, type, [&](OpBuilder &b, Location l, ValueRange v) {
    SmallVector<Value> out;
    for (size_t e = 0; e < size; ++e) {
      SmallVector<Value> each;
      for (size_t k = e; k < v.size(); k += size)
        each.push_back(v[k]);
      out.push_back(product(b, l, each));
    }
    return out;
  })[0]);
}

void NormScaleOp::buildRow(RowContext &c) {
  SmallVector<Value> inputs{c.input(getN2())};
  if (getRadius())
    inputs.push_back(c.input(getRadius()));
  c.setResult(0, c.narrowCode(inputs, c.narrow({1}), [&](OpBuilder &b, Location l, ValueRange v) {
    return SmallVector<Value>{normScale(scalar(c, b, l), v[0], v.size() > 1 ? v[1] : Value(), getEps().convertToDouble(), getInside())};
  })[0]);
}

//===----------------------------------------------------------------------===//
// Verifiers
//===----------------------------------------------------------------------===//

static RankedTensorType tensor(Value v) { return cast<RankedTensorType>(v.getType()); }
/// Wide rows of one stream.
static bool isWideRow(Value v) {
  Type type = v.getType();
  return hasRows(type) && !isNarrow(type) && !isInterleaved(type) && tensor(v).getShape().back() == rowElements(type);
}
static bool isNumber(Value v) { return hasRows(v.getType()) && isNarrow(v.getType()) && rowElements(v.getType()) == 1; }
/// One shape of wide rows of one stream; element types may differ.
static bool areAlike(ValueRange values) {
  return llvm::all_of(values, [&](Value v) { return isWideRow(v) && tensor(v).getShape() == tensor(values[0]).getShape(); });
}
static LogicalResult expect(Operation *op, bool holds, const Twine &message) { return holds ? success() : op->emitOpError(message); }

LogicalResult MomentumOp::verify() {
  if (!areAlike({getM(), getG(), getMNext(), getU()}))
    return emitOpError("expected rows of one shape"); // C1
  double mu = getMu().convertToDouble();
  return expect(*this, mu >= 0 && mu < 1, "expected mu from 0 to below 1"); // C2
}
LogicalResult AdamDirectionOp::verify() {
  return expect(*this, areAlike({getM(), getV(), getG(), getD(), getMNext(), getVNext()}), "expected rows of one shape"); // C1
}
LogicalResult NewtonSchulzOp::verify() {
  int64_t rows = getRowsAttr().getInt(), columns = getColumnsAttr().getInt();
  if (rows < 1 || columns < 1 || getEps().isNegative())
    return emitOpError("expected at least one row and column, and eps of at least 0"); // C2
  return expect(*this, isWideRow(getU()) && getU().getType() == getResult().getType() && rows <= rowElements(getU().getType()) && rowElements(getU().getType()) % rows == 0 &&
                           rowElements(getU().getType()) / rows == columns,
                "expected rows of " + Twine(rows) + " x " + Twine(columns) + " elements, and one type in and out"); // C1
}
LogicalResult MatmulOp::verify() {
  SmallVector<Value> values{getA(), getB(), getResult()};
  if (getC())
    values.push_back(getC());
  for (Value v : values)
    if (!isa<FloatType>(tensor(v).getElementType()))
      return emitOpError("expected floating-point elements, but got ") << v.getType(); // C2
  if (!getC() && !getBeta().isZero())
    return emitOpError("expected beta 0 without c"); // C2
  auto is = [](Value v, IntegerAttr rows, IntegerAttr columns) {
    int64_t r = rows.getInt(), c = columns.getInt(), count = rowElements(v.getType());
    return isWideRow(v) && r >= 1 && c >= 1 && r <= count && count % r == 0 && count / r == c;
  };
  return expect(*this, is(getA(), getMAttr(), getKAttr()) && is(getB(), getKAttr(), getNAttr()) && is(getResult(), getMAttr(), getNAttr()) && (!getC() || is(getC(), getMAttr(), getNAttr())),
                "expected rows of m*k, k*n and m*n elements"); // C1
}
LogicalResult DescendOp::verify() {
  if (!areAlike({getW(), getO(), getResult()}))
    return emitOpError("expected w, o and the result to have one shape of one stream"); // C1
  return expect(*this, isNumber(getRadius()) && isNumber(getRate()), "expected one narrow radius and rate a row"); // C2
}
LogicalResult AddScaledOp::verify() {
  if (!areAlike({getX(), getY(), getResult()}))
    return emitOpError("expected x, y and the result to have one shape of one stream"); // C1
  return expect(*this, isNumber(getW()), "expected one narrow weight a row"); // C2
}
LogicalResult GuardOp::verify() {
  if (!areAlike({getValue(), getOld(), getResult()}))
    return emitOpError("expected rows of one shape"); // C1
  return expect(*this, tensor(getFactor()).hasStaticShape() && tensor(getFactor()).getNumElements() == 1, "expected a factor of one element"); // C2
}
LogicalResult GramOp::verify() {
  if (!areAlike({getX(), getY()}))
    return emitOpError("expected x and y of one stream, of one shape"); // C1
  return expect(*this, isNumber(getXx()) && isNumber(getXy()) && isNumber(getYy()), "expected one narrow element a row of each product"); // C2
}
LogicalResult RowSumOp::verify() { return expect(*this, isWideRow(getX()) && isNumber(getResult()), "expected wide rows of one stream, and one narrow element a row"); }
LogicalResult ProductOp::verify() {
  bool same = !getValues().empty();
  for (Value v : getValues())
    same &= tensor(v).getShape() == tensor(getResult()).getShape() && tensor(v).getEncoding() == tensor(getResult()).getEncoding();
  return expect(*this, same, "expected operands of the result's shape"); // C1
}
LogicalResult NormScaleOp::verify() {
  if (!isNumber(getN2()) || !isNumber(getResult()) || (getRadius() && !isNumber(getRadius())))
    return emitOpError("expected one narrow element a row"); // C1
  return expect(*this, !getEps().isNegative(), "expected eps of at least 0"); // C2
}
