//===- MhcRowPrograms.cpp - how the ops compute a row -----------------------===//
//
// One method an op (RowOpInterface::buildRow), in the primitives of the row program; every target generates its kernels from these.
//
//===----------------------------------------------------------------------===//

#include "mhc/Dialect/Mhc/IR/MhcOps.h"
#include "mhc/Dialect/Mhc/IR/MhcRowOps.h"

#include "ScalarBuilder.h"

using namespace mlir;
using namespace mlir::mhc;

namespace {
using Scalar = ScalarBuilder;
Scalar scalar(RowContext &c, OpBuilder &b, Location loc) { return {b, loc, c.compute}; }

WideType wideOf(Type t) { return cast<WideType>(t); }
WideType wideOf(Value v) { return wideOf(v.getType()); }
/// The compute type's version of a wide value's type.
Type unrounded(RowContext &c, Value v) { return c.wide(wideOf(v).getStreams(), wideOf(v).getChannels()); }

Value squares(RowContext &c, Value x) {
  return c.map(x, unrounded(c, x), [&](OpBuilder &b, Location l, ValueRange v) { return scalar(c, b, l).mul(v[0], v[0]); });
}

/// Root mean square of a group from its sum of squares: sqrt(sum / count + eps).
Value rootMean(Scalar s, Value sum, int64_t count, double eps) { return s.sqrt(s.add(s.div(sum, s.constant(count)), s.constant(eps))); }

/// 1 / r of each group; r = sqrt(mean + eps), or sqrt(mean) + eps.
Value inverseRootMean(RowContext &c, Value sum, int64_t groups, int64_t count, double eps, bool rootPlusEps) {
  return c.narrowCode(sum, c.narrow({groups}), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    SmallVector<Value> out;
    for (Value x : v) {
      Value r = rootPlusEps ? s.add(rootMean(s, x, count, 0), s.constant(eps)) : rootMean(s, x, count, eps);
      out.push_back(s.div(s.constant(1), r));
    }
    return out;
  })[0];
}

/// The gain as wide values of x's shape, or one stream that is shared.
Value gainOf(RowContext &c, Value gain, Value x, bool interleaved) {
  auto shaped = cast<ShapedType>(gain.getType());
  int64_t channels = wideOf(x).getChannels(), streams = shaped.getNumElements() / channels;
  Type type = WideType::get(gain.getContext(), streams, channels, shaped.getElementType());
  return RowLoadOp::create(c.builder, c.loc, type, Access::uniform, c.parameter(gain), Value(), 1, interleaved && streams > 1);
}

Value multiply(RowContext &c, Value x, Value y) {
  return c.map({x, y}, unrounded(c, x), [&](OpBuilder &b, Location l, ValueRange v) { return scalar(c, b, l).mul(v[0], v[1]); });
}

/// x / y, 0 where y is 0.
Value quotientOrZero(Scalar s, Value x, Value y) {
  Value zero = s.constant(0), isZero = arith::CmpFOp::create(s.b, s.loc, arith::CmpFPredicate::OEQ, y, zero);
  return s.select(isZero, zero, s.div(x, s.select(isZero, s.constant(1), y)));
}
} // namespace

//===----------------------------------------------------------------------===//
// Topology
//===----------------------------------------------------------------------===//

/// A wide value in the result's element type; only for values that are exact in it.
static Value exactIn(RowContext &c, Value value, Value tensor) {
  Type type = rowTypeOf(tensor.getType());
  return value.getType() == type ? value : RowCastOp::create(c.builder, c.loc, type, value).getResult();
}

void ExpandOp::buildRow(RowContext &c) {
  double factor = getScale().convertToDouble();
  Value x = c.input(getX());
  auto type = cast<WideType>(rowTypeOf(getResult().getType()));
  Value y = c.map(x, c.wide(type.getStreams(), type.getChannels()), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    return factor == 1 ? v[0] : s.mul(v[0], s.constant(factor));
  });
  c.setResult(0, exactIn(c, y, getResult()));
}

void ReadoutOp::buildRow(RowContext &c) {
  Value x = c.input(getX());
  int64_t n = wideOf(x).getStreams();
  Value ones = c.constantNarrow(SmallVector<double>(n, 1.0), {1, n});
  Value sum = c.mix(ones, x, c.wide(1, wideOf(x).getChannels()));
  double factor = getScale().convertToDouble();
  c.setResult(0, factor == 1 ? sum : c.map(sum, sum.getType(), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    return s.mul(v[0], s.constant(factor));
  }));
}

void AggregateOp::buildRow(RowContext &c) {
  Value x = c.input(getX());
  c.setResult(0, c.mix(c.input(getHPre()), x, c.wide(1, wideOf(x).getChannels())));
}

void AggregateVjpOp::buildRow(RowContext &c) {
  Value x = c.input(getX()), du = c.input(getDu());
  c.setResult(0, c.mix(c.input(getHPre()), du, unrounded(c, x)));
  c.setResult(1, c.dot(du, x));
}

void CombineOp::buildRow(RowContext &c) {
  Value x = c.input(getX()), f = c.input(getF());
  Value written = c.mix(c.input(getHPost()), f, unrounded(c, x));
  c.setResult(0, c.mix(c.input(getHRes()), x, unrounded(c, x), written));
}

void CombineDxOp::buildRow(RowContext &c) {
  Value g = c.input(getGradient());
  c.setResult(0, c.mix(c.input(getHRes()), g, unrounded(c, g), {}, /*transposed=*/true));
}

void CombineVjpOp::buildRow(RowContext &c) {
  Value x = c.input(getX()), f = c.input(getF()), g = c.input(getGradient());
  c.setResult(0, c.mix(c.input(getHPost()), g, unrounded(c, f), {}, /*transposed=*/true));
  c.setResult(1, c.dot(g, f));
  c.setResult(2, c.dot(g, x));
}

//===----------------------------------------------------------------------===//
// Parts of coefficients
//===----------------------------------------------------------------------===//

void RmsOp::buildRow(RowContext &c) {
  Value x = c.input(getX());
  int64_t groups = rowElements(getR().getType());
  Value sum = c.reduceAdd(squares(c, x), groups);
  c.setResult(0, c.narrowCode(sum, c.narrow({groups}), [&](OpBuilder &b, Location l, ValueRange v) {
    return llvm::map_to_vector<6>(v, [&](Value each) { return rootMean(scalar(c, b, l), each, wideOf(x).getNumElements() / groups, getEps().convertToDouble()); });
  })[0]);
}

void RmsVjpOp::buildRow(RowContext &c) {
  Value x = c.input(getX());
  int64_t groups = rowElements(getR().getType()), count = wideOf(x).getNumElements() / groups;
  Value factor = c.narrowCode({c.input(getR()), c.input(getDr())}, c.narrow({groups}), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    SmallVector<Value> out;
    for (int64_t g = 0; g < groups; ++g)
      out.push_back(quotientOrZero(s, v[groups + g], s.mul(v[g], s.constant(count))));
    return out;
  })[0];
  c.setResult(0, multiply(c, x, factor));
}

void ProjectionOp::buildRow(RowContext &c) {
  Type type = rowTypeOf(getResult().getType(), c.compute);
  c.setResult(0, RowProjectOp::create(c.builder, c.loc, type, c.input(getV()), c.parameter(getPhi()), getTransposed(), getInterleaved()));
}
void ProjectionDxOp::buildRow(RowContext &c) {
  Type type = rowTypeOf(getDv().getType(), c.compute);
  c.setResult(0, RowProjectTOp::create(c.builder, c.loc, type, c.input(getDm()), c.parameter(getPhi()), getTransposed(), getInterleaved()));
}
void ProjectionDwOp::buildRow(RowContext &c) {
  RowOuterTokensOp::create(c.builder, c.loc, c.input(getV()), c.input(getDm()), c.reduction(0), getTransposed(), getInterleaved());
}

// A row is one of phi's: all columns of a k, whose gain is a number of the row, or all k of a column, with the whole gain beside it.
static OperandUse foldedUse(unsigned index, bool transposed) { return index == 1 && transposed ? OperandUse::lookup : OperandUse::row; }
static Value foldedGain(RowContext &c, Value gain, Value phi, bool transposed) { return transposed ? gainOf(c, gain, phi, false) : c.input(gain); }

OperandUse FoldGainOp::operandUse(unsigned index) { return foldedUse(index, getTransposed()); }
bool FoldGainOp::isSum(unsigned) { return false; }
void FoldGainOp::buildRow(RowContext &c) {
  Value phi = c.input(getPhi());
  c.setResult(0, multiply(c, phi, foldedGain(c, getGain(), phi, getTransposed())));
}
OperandUse FoldGainVjpOp::operandUse(unsigned index) { return foldedUse(index, getTransposed()); }
bool FoldGainVjpOp::isSum(unsigned result) { return result == 1 && getTransposed(); }
void FoldGainVjpOp::buildRow(RowContext &c) {
  Value phi = c.input(getPhi()), g = c.input(getGradient());
  c.setResult(0, multiply(c, g, foldedGain(c, getGain(), g, getTransposed())));
  if (getTransposed())
    RowSumTokensOp::create(c.builder, c.loc, multiply(c, phi, g), c.reduction(1));
  else
    c.setResult(1, c.dot(phi, g));
}

static Value divisor(Scalar s, Value r, const APFloat &eps) { return eps.isZero() ? r : s.add(r, s.constant(eps.convertToDouble())); }

void DivideOp::buildRow(RowContext &c) {
  int64_t groups = rowElements(getR().getType());
  c.setResult(0, c.narrowCode({c.input(getM()), c.input(getR())}, rowTypeOf(getResult().getType(), c.compute), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    int64_t total = v.size() - groups, columns = total / groups;
    SmallVector<Value> out;
    for (int64_t i = 0; i < total; ++i)
      out.push_back(s.div(v[i], divisor(s, v[total + i / columns], getEps())));
    return out;
  })[0]);
}
void DivideVjpOp::buildRow(RowContext &c) {
  int64_t groups = rowElements(getR().getType()), total = rowElements(getM().getType()), columns = total / groups;
  auto results = c.narrowCode({c.input(getM()), c.input(getR()), c.input(getGradient())},
                              {rowTypeOf(getDm().getType(), c.compute), rowTypeOf(getDr().getType(), c.compute)}, [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    ValueRange m = v.take_front(total), d = v.drop_front(total + groups);
    SmallVector<Value> out, r;
    for (Value each : v.slice(total, groups))
      r.push_back(divisor(s, each, getEps()));
    for (int64_t i = 0; i < total; ++i)
      out.push_back(s.div(d[i], r[i / columns]));
    for (int64_t g = 0; g < groups; ++g) {
      Value sum;
      for (int64_t j = 0; j < columns; ++j) {
        Value term = s.mul(d[g * columns + j], m[g * columns + j]);
        sum = sum ? s.add(sum, term) : term;
      }
      out.push_back(s.neg(s.div(sum, s.mul(r[g], r[g]))));
    }
    return out;
  });
  c.setResult(0, results[0]);
  c.setResult(1, results[1]);
}

void SelectOp::buildRow(RowContext &c) {
  c.setResult(0, c.narrowCode(c.input(getX()), rowTypeOf(getResult().getType(), c.compute), [&](OpBuilder &, Location, ValueRange v) {
    SmallVector<Value> out;
    for (int64_t i : getIndices())
      out.push_back(v[i]);
    return out;
  })[0]);
}
void SelectVjpOp::buildRow(RowContext &c) {
  c.setResult(0, c.narrowCode(c.input(getGradient()), rowTypeOf(getDx().getType(), c.compute), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    SmallVector<Value> out(rowElements(getDx().getType()));
    for (auto [k, i] : llvm::enumerate(getIndices()))
      out[i] = out[i] ? s.add(out[i], v[k]) : v[k];
    for (Value &value : out)
      if (!value)
        value = s.constant(0);
    return out;
  })[0]);
}

void AffineOp::buildRow(RowContext &c) {
  int64_t m = rowElements(getY().getType()), g = getGroups().size();
  Value alpha = c.uniform(getAlpha(), c.narrow({g})), bias = c.uniform(getBias(), c.narrow({m}));
  c.setResult(0, c.narrowCode({c.input(getY()), alpha, bias}, rowTypeOf(getResult().getType(), c.compute), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    SmallVector<Value> out;
    for (int64_t group = 0, j = 0; group < g; ++group)
      for (int64_t end = j + getGroups()[group]; j < end; ++j)
        out.push_back(llvm::is_contained(getStaticGroups(), group) ? v[m + g + j] : s.add(s.mul(v[m + group], v[j]), v[m + g + j]));
    return out;
  })[0]);
}
void AffineVjpOp::buildRow(RowContext &c) {
  int64_t m = rowElements(getY().getType()), g = getGroups().size();
  Value dz = c.input(getGradient());
  auto results = c.narrowCode({c.input(getY()), c.uniform(getAlpha(), c.narrow({g})), dz}, {rowTypeOf(getDy().getType(), c.compute), c.narrow({g})},
                              [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    SmallVector<Value> out, sums;
    for (int64_t group = 0, j = 0; group < g; ++group) {
      Value sum = s.constant(0);
      if (llvm::is_contained(getStaticGroups(), group)) {
        out.append(getGroups()[group], sum);
        sums.push_back(sum);
        j += getGroups()[group];
        continue;
      }
      for (int64_t end = j + getGroups()[group]; j < end; ++j) {
        out.push_back(s.mul(v[m + group], v[m + g + j]));
        sum = s.add(sum, s.mul(v[m + g + j], v[j]));
      }
      sums.push_back(sum);
    }
    out.append(sums);
    return out;
  });
  c.setResult(0, results[0]);
  RowSumTokensOp::create(c.builder, c.loc, results[1], c.reduction(1));
  RowSumTokensOp::create(c.builder, c.loc, dz, c.reduction(2));
}

void ActivationOp::buildRow(RowContext &c) {
  c.setResult(0, c.narrowCode(c.input(getZ()), rowTypeOf(getResult().getType(), c.compute), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    SmallVector<Value> out;
    for (Value z : v) {
      Value h = getKind() == ActivationKind::sigmoid ? s.sigmoid(z) : s.tanh(z);
      if (getScale().convertToDouble() != 1)
        h = s.mul(s.constant(getScale().convertToDouble()), h);
      if (!getOffset().isZero())
        h = s.add(h, s.constant(getOffset().convertToDouble()));
      out.push_back(h);
    }
    return out;
  })[0]);
}
void ActivationVjpOp::buildRow(RowContext &c) {
  c.setResult(0, c.narrowCode({c.input(getZ()), c.input(getGradient())}, rowTypeOf(getDz().getType(), c.compute), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    SmallVector<Value> out;
    for (size_t i = 0, e = v.size() / 2; i < e; ++i) {
      Value slope;
      if (getKind() == ActivationKind::sigmoid) {
        // sigmoid(z) sigmoid(-z): exact in the tail, where 1 - sigmoid(z) is not.
        slope = s.mul(s.sigmoid(v[i]), s.sigmoid(s.neg(v[i])));
      } else {
        Value t = s.tanh(v[i]);
        slope = s.sub(s.constant(1), s.mul(t, t));
      }
      if (getScale().convertToDouble() != 1)
        slope = s.mul(s.constant(getScale().convertToDouble()), slope);
      out.push_back(s.mul(slope, v[e + i]));
    }
    return out;
  })[0]);
}

/// Streams of an [T, n, n] tensor.
static int64_t matrixStreams(Value tensor) { return cast<ShapedType>(tensor.getType()).getShape().back(); }

void ProjectOp::buildRow(RowContext &c) {
  if (getRadius())
    return buildWeightRow(c);
  int64_t n = matrixStreams(getH());
  c.setResult(0, c.narrowCode(c.input(getZ()), rowTypeOf(getH().getType(), c.compute), [&](OpBuilder &b, Location l, ValueRange v) {
    return getManifold().buildForward(b, l, n, v);
  })[0]);
}
void ProjectVjpOp::buildRow(RowContext &c) {
  int64_t n = matrixStreams(getDz());
  c.setResult(0, c.narrowCode({c.input(getZ()), c.input(getGradient())}, rowTypeOf(getDz().getType(), c.compute), [&](OpBuilder &b, Location l, ValueRange v) {
    return getManifold().buildBackward(b, l, n, v.take_front(n * n), v.drop_front(n * n));
  })[0]);
}

OperandUse ConstantRowsOp::operandUse(unsigned) { return OperandUse::count; }
void ConstantRowsOp::buildRow(RowContext &c) {
  SmallVector<double> values(getValues());
  c.setResult(0, c.constantNarrow(values, cast<NarrowType>(rowTypeOf(getResult().getType())).getShape()));
}

//===----------------------------------------------------------------------===//
// Layers
//===----------------------------------------------------------------------===//

bool CastOp::isSum(unsigned) { return false; }
void CastOp::buildRow(RowContext &c) {
  Value v = c.input(getValue());
  Type type = rowTypeOf(getResult().getType());
  if (auto wide = dyn_cast<WideType>(v.getType())) // a parameter's rows are what the kernel makes of them
    type = WideType::get(getContext(), wide.getStreams(), wide.getChannels(), cast<ShapedType>(getResult().getType()).getElementType());
  c.setResult(0, v.getType() == type ? v : RowCastOp::create(c.builder, c.loc, type, v).getResult());
}

void SumOp::buildRow(RowContext &c) {
  SmallVector<Value> values;
  for (Value value : getValues())
    values.push_back(c.input(value));
  Type type = rowTypeOf(getResult().getType(), c.compute);
  if (isa<WideType>(type)) {
    c.setResult(0, c.map(values, type, [&](OpBuilder &b, Location l, ValueRange v) {
      Value sum = v[0];
      for (Value x : v.drop_front())
        sum = scalar(c, b, l).add(sum, x);
      return sum;
    }));
    return;
  }
  int64_t size = cast<NarrowType>(type).getNumElements();
  c.setResult(0, c.narrowCode(values, type, [&](OpBuilder &b, Location l, ValueRange v) {
    SmallVector<Value> out(v.take_front(size));
    for (size_t k = size; k < v.size(); ++k)
      out[k % size] = scalar(c, b, l).add(out[k % size], v[k]);
    return out;
  })[0]);
}

bool ScaleOp::isSum(unsigned) { return false; }
void ScaleOp::buildRow(RowContext &c) {
  Value x = c.input(getValue());
  Type type = isa<WideType>(x.getType()) ? unrounded(c, x) : rowTypeOf(getResult().getType(), c.compute);
  double factor = getFactor().convertToDouble();
  if (isa<WideType>(type)) {
    c.setResult(0, c.map(x, type, [&](OpBuilder &b, Location l, ValueRange v) {
      Scalar s = scalar(c, b, l);
      return s.mul(v[0], s.constant(factor));
    }));
    return;
  }
  c.setResult(0, c.narrowCode(x, type, [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    SmallVector<Value> out;
    for (Value e : v)
      out.push_back(s.mul(e, s.constant(factor)));
    return out;
  })[0]);
}

void AddBiasOp::buildRow(RowContext &c) {
  Value x = c.input(getX());
  c.setResult(0, c.map({x, gainOf(c, getBias(), x, false)}, unrounded(c, x),
                       [&](OpBuilder &b, Location l, ValueRange v) { return scalar(c, b, l).add(v[0], v[1]); }));
}
void SumTokensOp::buildRow(RowContext &c) { RowSumTokensOp::create(c.builder, c.loc, c.input(getX()), c.reduction(0)); }

void RmsNormOp::buildRow(RowContext &c) {
  Value x = c.input(getX());
  int64_t groups = getPerStream() ? wideOf(x).getStreams() : 1;
  Value sum = c.reduceAdd(squares(c, x), groups);
  SmallVector<Value> inputs{x, inverseRootMean(c, sum, groups, wideOf(x).getNumElements() / groups, getEps().convertToDouble(), getRootPlusEps())};
  if (getGain())
    inputs.push_back(gainOf(c, getGain(), x, getInterleaved()));
  c.setResult(0, c.map(inputs, unrounded(c, x), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    Value y = s.mul(v[0], v[1]);
    return v.size() > 2 ? s.mul(y, v[2]) : y;
  }));
}

void RmsNormVjpOp::buildRow(RowContext &c) {
  Value x = c.input(getX()), dy = c.input(getGradient());
  int64_t groups = getPerStream() ? wideOf(x).getStreams() : 1, count = wideOf(x).getNumElements() / groups;
  Value squareSum = c.reduceAdd(squares(c, x), groups);
  Value inverse = inverseRootMean(c, squareSum, groups, count, getEps().convertToDouble(), getRootPlusEps());
  SmallVector<Value> inputs{x, dy};
  if (getGain())
    inputs.push_back(gainOf(c, getGain(), x, getInterleaved()));
  Type type = unrounded(c, x);
  Value products = c.map(inputs, type, [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    Value d = v.size() > 2 ? s.mul(v[1], v[2]) : v[1];
    return s.mul(d, v[0]);
  });
  // mean(dxh x) / (r^2 q)
  Value along = c.narrowCode({c.reduceAdd(products, groups), inverse, squareSum}, c.narrow({groups}), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    SmallVector<Value> out;
    for (int64_t g = 0; g < groups; ++g) {
      Value inv = v[groups + g], part = s.mul(v[g], inv);
      part = getRootPlusEps() ? quotientOrZero(s, s.mul(part, inv), rootMean(s, v[2 * groups + g], count, 0)) : s.mul(part, s.mul(inv, inv));
      out.push_back(s.div(part, s.constant(count)));
    }
    return out;
  })[0];
  inputs.append({inverse, along});
  c.setResult(0, c.map(inputs, type, [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    Value d = getGain() ? s.mul(v[1], v[2]) : v[1];
    return s.sub(s.mul(d, v[v.size() - 2]), s.mul(v[0], v[v.size() - 1]));
  }));
  if (getGain()) {
    Value term = c.map({x, dy, inverse}, type, [&](OpBuilder &b, Location l, ValueRange v) {
      Scalar s = scalar(c, b, l);
      return s.mul(v[1], s.mul(v[0], v[2]));
    });
    bool shared = cast<ShapedType>(getGain().getType()).getNumElements() != wideOf(x).getNumElements();
    RowSumTokensOp::create(c.builder, c.loc, term, c.reduction(1), getInterleaved() && !shared);
  }
}

//===----------------------------------------------------------------------===//
// Parts of rows
//===----------------------------------------------------------------------===//

static Value streamsOf(RowContext &c, Value x, int64_t first, int64_t count) {
  WideType type = wideOf(x);
  if (count == type.getStreams())
    return x;
  return RowStreamsOp::create(c.builder, c.loc, WideType::get(x.getContext(), count, type.getChannels(), type.getElementType()), x, first);
}
/// The value in the compute type.
static Value widened(RowContext &c, Value x) {
  Type type = unrounded(c, x);
  return x.getType() == type ? x : RowCastOp::create(c.builder, c.loc, type, x).getResult();
}
/// Values of the compute type, empty ones (null) left out.
static Value concatOf(RowContext &c, ArrayRef<Value> values) {
  SmallVector<Value> parts;
  int64_t streams = 0;
  for (Value value : values)
    if (value) {
      parts.push_back(value);
      streams += wideOf(value).getStreams();
    }
  if (parts.size() == 1)
    return parts[0];
  WideType type = wideOf(parts[0]);
  return RowConcatOp::create(c.builder, c.loc, WideType::get(type.getContext(), streams, type.getChannels(), type.getElementType()), parts);
}

void SliceOp::buildRow(RowContext &c) { c.setResult(0, streamsOf(c, c.input(getX()), getFirst(), wideOf(rowTypeOf(getResult().getType())).getStreams())); }
void PadOp::buildRow(RowContext &c) {
  Value x = widened(c, c.input(getX()));
  int64_t before = getFirst(), after = wideOf(rowTypeOf(getResult().getType())).getStreams() - wideOf(x).getStreams() - before;
  auto zeros = [&](int64_t streams) {
    if (!streams)
      return Value();
    return c.map({}, c.wide(streams, wideOf(x).getChannels()), [&](OpBuilder &b, Location l, ValueRange) { return scalar(c, b, l).constant(0); });
  };
  c.setResult(0, concatOf(c, {zeros(before), x, zeros(after)}));
}
void ConcatOp::buildRow(RowContext &c) {
  c.setResult(0, concatOf(c, llvm::map_to_vector(getValues(), [&](Value v) { return c.input(v); })));
}
OperandUse RepeatOp::operandUse(unsigned) { return OperandUse::lookup; }
void RepeatOp::buildRow(RowContext &c) {
  c.setResult(0, RowLoadOp::create(c.builder, c.loc, rowTypeOf(getResult().getType()), Access::shared, c.parameter(getX()), Value(), getTimes(), false));
}
void SumStreamsOp::buildRow(RowContext &c) {
  Value x = c.input(getX());
  int64_t m = wideOf(rowTypeOf(getResult().getType())).getStreams();
  SmallVector<Value> groups;
  for (int64_t first = 0; first < wideOf(x).getStreams(); first += m)
    groups.push_back(streamsOf(c, x, first, m));
  c.setResult(0, c.map(groups, c.wide(m, wideOf(x).getChannels()), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    Value sum = v[0];
    for (Value each : v.drop_front())
      sum = s.add(sum, each);
    return sum;
  }));
}

void ScaleRowsOp::buildRow(RowContext &c) {
  c.setResult(0, multiply(c, c.input(getX()), c.input(getW())));
}
void DotRowsOp::buildRow(RowContext &c) { c.setResult(0, c.dot(c.input(getX()), c.input(getY()))); }

OperandUse RopeOp::operandUse(unsigned index) { return index == 0 ? OperandUse::row : OperandUse::lookup; }
void RopeOp::buildRow(RowContext &c) {
  Value x = c.input(getX());
  int64_t g = wideOf(x).getChannels(), turned = rowElements(getCos().getType()) / g, kept = wideOf(x).getStreams() - 2 * turned;
  Type type = c.wide(turned, g);
  auto table = [&](Value v) { return RowLoadOp::create(c.builder, c.loc, type, Access::position, c.parameter(v), Value(), getHeads(), false).getResult(); };
  Value cos = table(getCos()), sin = table(getSin());
  Value first = streamsOf(c, x, kept, turned), second = streamsOf(c, x, kept + turned, turned);
  // (a cos - b sin, b cos + a sin); inverse: the other sign of sin
  auto turn = [&](Value along, Value across, bool minus) {
    return c.map({along, across, cos, sin}, type, [&](OpBuilder &b, Location l, ValueRange v) {
      Scalar s = scalar(c, b, l);
      Value x = s.mul(v[0], v[2]), y = s.mul(v[1], v[3]);
      return minus ? s.sub(x, y) : s.add(x, y);
    });
  };
  Value stays = kept ? widened(c, streamsOf(c, x, 0, kept)) : Value();
  c.setResult(0, concatOf(c, {stays, turn(first, second, !getInverse()), turn(second, first, getInverse())}));
}

void SwigluOp::buildRow(RowContext &c) {
  Value gate = c.input(getGate());
  c.setResult(0, c.map({gate, c.input(getUp())}, unrounded(c, gate), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    return s.mul(s.mul(v[0], s.sigmoid(v[0])), v[1]);
  }));
}
void SwigluVjpOp::buildRow(RowContext &c) {
  Value gate = c.input(getGate()), up = c.input(getUp()), dy = c.input(getGradient());
  c.setResult(0, c.map({gate, up, dy}, unrounded(c, gate), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    Value sig = s.sigmoid(v[0]);
    Value slope = s.mul(sig, s.add(s.constant(1), s.mul(v[0], s.sub(s.constant(1), sig))));
    return s.mul(s.mul(v[2], v[1]), slope);
  }));
  c.setResult(1, c.map({gate, dy}, unrounded(c, gate), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    return s.mul(v[1], s.mul(v[0], s.sigmoid(v[0])));
  }));
}

OperandUse EmbeddingOp::operandUse(unsigned index) { return index == 0 ? OperandUse::row : OperandUse::lookup; }
void EmbeddingOp::buildRow(RowContext &c) {
  Type type = rowTypeOf(getResult().getType(), cast<ShapedType>(getTable().getType()).getElementType());
  Value row = RowLoadOp::create(c.builder, c.loc, type, Access::gather, c.parameter(getTable()), c.input(getTokens()), 1, false);
  c.setResult(0, row);
}

namespace {
struct Softmax {
  Value top, sum;
};
} // namespace
static Softmax softmaxParts(RowContext &c, Value logits) {
  Value top = c.reduceMax(logits);
  Value e = c.map({logits, top}, unrounded(c, logits), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    return s.exp(s.sub(v[0], v[1]));
  });
  return {top, c.reduceAdd(e, 1)};
}

/// 1 where the channel is the target.
static Value isTarget(OpBuilder &b, Location l, Value target) {
  return arith::CmpIOp::create(b, l, arith::CmpIPredicate::eq, RowChannelOp::create(b, l, b.getI32Type()), target);
}

void CrossEntropyOp::buildRow(RowContext &c) {
  Value logits = c.input(getLogits()), target = c.input(getTargets());
  Softmax parts = softmaxParts(c, logits);
  Value chosen = c.reduceAdd(c.map({logits, target}, unrounded(c, logits), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    return s.select(isTarget(b, l, v[1]), v[0], s.constant(0));
  }), 1);
  c.setResult(0, c.narrowCode({parts.top, parts.sum, chosen}, c.narrow({1}), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    return SmallVector<Value>{s.add(math::LogOp::create(b, l, v[1]), s.sub(v[0], v[2]))};
  })[0]);
}

void CrossEntropyVjpOp::buildRow(RowContext &c) {
  Value logits = c.input(getLogits()), target = c.input(getTargets());
  Softmax parts = softmaxParts(c, logits);
  Value inverse = c.narrowCode(parts.sum, c.narrow({1}), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    return SmallVector<Value>{s.div(s.constant(1), v[0])};
  })[0];
  c.setResult(0, c.map({logits, parts.top, inverse, target, c.input(getGradient())}, unrounded(c, logits), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    Value p = s.mul(s.exp(s.sub(v[0], v[1])), v[2]);
    Value hit = s.select(isTarget(b, l, v[3]), s.constant(1), s.constant(0));
    return s.mul(v[4], s.sub(p, hit));
  }));
}

//===----------------------------------------------------------------------===//
// Loss and training
//===----------------------------------------------------------------------===//

/// scalars[i] as narrow<1> values.
static Value pickScalars(RowContext &c, Value scalars, ArrayRef<int64_t> indices, bool product) {
  int64_t size = rowElements(scalars.getType());
  Value all = c.uniform(scalars, NarrowType::get(scalars.getContext(), {size}, cast<ShapedType>(scalars.getType()).getElementType()));
  return c.narrowCode(all, c.narrow({product ? 1 : (int64_t)indices.size()}), [&](OpBuilder &b, Location l, ValueRange v) {
    SmallVector<Value> out;
    for (int64_t i : indices)
      if (product && !out.empty())
        out[0] = scalar(c, b, l).mul(out[0], v[i]);
      else
        out.push_back(v[i]);
    return out;
  })[0];
}

OperandUse TokenWeightOp::operandUse(unsigned index) { return index == 0 ? OperandUse::count : OperandUse::row; }
void TokenWeightOp::buildRow(RowContext &c) {
  Value product = pickScalars(c, getScalars(), getIndices(), true);
  double factor = getFactor().convertToDouble();
  c.setResult(0, factor == 1 ? product : c.narrowCode(product, c.narrow({1}), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    return SmallVector<Value>{s.mul(s.constant(factor), v[0])};
  })[0]);
}

void WeightedSumOp::buildRow(RowContext &c) {
  Value product = c.narrowCode({c.input(getValue()), c.input(getWeight())}, c.narrow({1}), [&](OpBuilder &b, Location l, ValueRange v) {
    return SmallVector<Value>{scalar(c, b, l).mul(v[0], v[1])};
  })[0];
  RowSumTokensOp::create(c.builder, c.loc, product, c.reduction(0));
}

void SumSquaresOp::buildRow(RowContext &c) {
  RowSumTokensOp::create(c.builder, c.loc, c.reduceAdd(squares(c, c.input(getValue())), 1), c.reduction(0));
}

void ClipFactorOp::buildRow(RowContext &c) {
  Value sum = c.uniform(getSumSquares(), c.narrow({1})), clip = pickScalars(c, getScalars(), {4}, false);
  Value factor = c.narrowCode({sum, clip}, c.narrow({1}), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    Value norm = s.sqrt(v[0]);
    Value clipped = s.select(s.less(v[1], norm), s.div(v[1], norm), s.constant(1));
    // Finite: below infinity; a comparison with NaN is false.
    Value finite = s.less(norm, s.constant(std::numeric_limits<double>::infinity()));
    return SmallVector<Value>{s.select(finite, clipped, s.constant(-1))};
  })[0];
  RowSumTokensOp::create(c.builder, c.loc, factor, c.reduction(0));
}

void AdamwOp::buildRow(RowContext &c) {
  Value w = c.input(getW()), g = c.input(getG()), m = c.input(getM()), v = c.input(getV());
  SmallVector<Value> inputs{w, g, m, v};
  for (int64_t i : {0, 1, 2, 5, 6, 7, 8, 11, 12})
    inputs.push_back(pickScalars(c, getScalars(), {i}, false));
  if (getFactor())
    inputs.push_back(c.uniform(getFactor(), c.narrow({1})));
  Type type = unrounded(c, w);
  // Each result is a map of its own over the same operands; common code is merged when the phase is lowered.
  auto step = [&](unsigned result) {
    return c.map(inputs, type, [&](OpBuilder &b, Location l, ValueRange x) {
      Scalar s = scalar(c, b, l);
      Value factor = getFactor() ? x[13] : Value();
      Value w = x[0], g = factor ? s.mul(x[1], factor) : x[1], m = x[2], v = x[3];
      Value lr = x[4], s1 = x[5], s2 = x[6], decay = x[7], b1 = x[8], b2 = x[9], eps = x[10], rest1 = x[11], rest2 = x[12], zero = s.constant(0);
      if (!getRate().isExactlyValue(1.0))
        lr = s.mul(lr, s.constant(getRate().convertToDouble()));
      Value skip = factor ? s.less(factor, zero) : Value();
      auto unlessSkipped = [&](Value old, Value now) { return skip ? s.select(skip, old, now) : now; };
      Value m1 = s.add(s.mul(b1, m), s.mul(rest1, g));
      Value v1 = s.add(s.mul(b2, v), s.mul(rest2, s.mul(g, g)));
      if (result == 1)
        return unlessSkipped(m, m1);
      if (result == 2)
        return unlessSkipped(v, v1);
      Value adam = s.div(s.mul(m1, s1), s.add(s.sqrt(s.mul(v1, s2)), eps));
      Value still = s.equal(v1, zero); // not where it is NaN
      Value w1 = getDecayed() ? s.sub(w, s.mul(s.mul(lr, decay), w)) : w;
      w1 = s.sub(w1, s.mul(lr, s.select(still, zero, adam)));
      return unlessSkipped(w, w1);
    });
  };
  for (unsigned result : {0u, 1u, 2u})
    c.setResult(result, step(result));
}
