//===- MhcVjp.cpp - the vector-Jacobian products of the ops -----------------===//
//
// One method an op (DifferentiableOpInterface::buildVjp). `mhc-differentiate` adds the parts of each value and rounds.
//
//===----------------------------------------------------------------------===//

#include "mhc/Dialect/Mhc/IR/MhcOps.h"

using namespace mlir;
using namespace mlir::mhc;

using Gradients = ArrayRef<Value>;
using Parts = MutableArrayRef<Value>;

/// The type of an unrounded gradient of `value`.
static RankedTensorType gradientType(Value value) {
  return withElementType(value.getType(), computeTypeOf(value.getContext(), value.getType()));
}

/// The type of a coefficient's unrounded gradient: the streams say what arithmetic is in, since coefficients may be rounded.
static RankedTensorType coefficientGradient(Value coefficient, Value x) {
  return withElementType(coefficient.getType(), computeTypeOf(x.getContext(), x.getType()));
}

/// The narrow gradient's type of a value that is in the compute type already.
static Type sameType(Value value) { return value.getType(); }

void ExpandOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  parts[0] = ReadoutOp::create(c.builder, c.loc, gradientType(getX()), g[0], getScaleAttr());
}
void ReadoutOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  parts[0] = ExpandOp::create(c.builder, c.loc, gradientType(getX()), g[0], getScaleAttr());
}
void AggregateOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  Value x = c.primal(getX()), h = c.primal(getHPre());
  auto op = AggregateVjpOp::create(c.builder, c.loc, TypeRange{gradientType(getX()), coefficientGradient(getHPre(), getX())}, x, h, g[0]);
  parts[0] = op.getDx();
  parts[1] = op.getDhPre();
}
void CombineOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  parts[0] = CombineDxOp::create(c.builder, c.loc, gradientType(getX()), c.primal(getHRes()), g[0]);
  auto op = CombineVjpOp::create(c.builder, c.loc, TypeRange{gradientType(getF()), coefficientGradient(getHPost(), getX()), coefficientGradient(getHRes(), getX())}, c.primal(getX()),
                                           c.primal(getF()), c.primal(getHPost()), g[0]);
  for (auto [part, result] : llvm::zip(parts.drop_front(), op.getResults()))
    part = result;
}
void ExternalLayerOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  if (Value du = c.cotangent(getU()))
    parts[0] = ExternalLayerOp::create(c.builder, c.loc, du.getType(), g[0], du);
  parts[1] = g[0];
}

void RmsOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  parts[0] = RmsVjpOp::create(c.builder, c.loc, gradientType(getX()), c.primal(getX()), c.primal(getR()), g[0]);
}
void ProjectionOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  parts[0] = ProjectionDxOp::create(c.builder, c.loc, gradientType(getV()), g[0], c.primal(getPhi()), getTransposedAttr(), getInterleavedAttr());
  parts[1] = ProjectionDwOp::create(c.builder, c.loc, gradientType(getPhi()), c.primal(getV()), g[0], getTransposedAttr(), getInterleavedAttr());
}
void FoldGainOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  Type compute = cast<ShapedType>(getResult().getType()).getElementType();
  auto op = FoldGainVjpOp::create(c.builder, c.loc, TypeRange{withElementType(getPhi().getType(), compute), withElementType(getGain().getType(), compute)}, c.primal(getPhi()),
                                  c.primal(getGain()), g[0], getTransposedAttr());
  parts[0] = op.getDphi();
  parts[1] = op.getDgain();
}
void DivideOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  auto op = DivideVjpOp::create(c.builder, c.loc, TypeRange{sameType(getM()), sameType(getR())}, c.primal(getM()), c.primal(getR()), g[0], getEpsAttr());
  parts[0] = op.getDm();
  parts[1] = op.getDr();
}
void SelectOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  parts[0] = SelectVjpOp::create(c.builder, c.loc, sameType(getX()), g[0], getIndicesAttr());
}
void AffineOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  auto op = AffineVjpOp::create(c.builder, c.loc, TypeRange{sameType(getY()), gradientType(getAlpha()), gradientType(getBias())}, c.primal(getY()),
                                          c.primal(getAlpha()), g[0], getGroupsAttr(), getStaticGroupsAttr());
  for (auto [part, result] : llvm::zip(parts, op.getResults()))
    part = result;
}
void ActivationOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  parts[0] = ActivationVjpOp::create(c.builder, c.loc, sameType(getZ()), c.primal(getZ()), g[0], getKindAttr(), getScaleAttr());
}
void ProjectOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  parts[0] = ProjectVjpOp::create(c.builder, c.loc, sameType(getZ()), c.primal(getZ()), g[0], getManifoldAttr());
}
void ConstantRowsOp::buildVjp(VjpContext &, Gradients, Parts) {}

void CastOp::buildVjp(VjpContext &, Gradients g, Parts parts) { parts[0] = g[0]; }
void SumOp::buildVjp(VjpContext &, Gradients g, Parts parts) {
  for (Value &part : parts)
    part = g[0];
}
void ScaleOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  parts[0] = ScaleOp::create(c.builder, c.loc, gradientType(getValue()), g[0], getFactorAttr());
}
void RmsNormOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  Value gain = getGain() ? c.primal(getGain()) : Value();
  auto op = RmsNormVjpOp::create(c.builder, c.loc, gradientType(getX()), gain ? gradientType(getGain()) : Type(), c.primal(getX()), gain, g[0],
                                           getEpsAttr(), getPerStreamAttr(), getRootPlusEpsAttr(), getInterleavedAttr());
  parts[0] = op.getDx();
  if (gain)
    parts[1] = op.getDgain();
}
void AddBiasOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  Value df = g[0];
  if (df.getType() != getX().getType())
    df = CastOp::create(c.builder, c.loc, getX().getType(), df);
  parts[0] = df;
  parts[1] = SumTokensOp::create(c.builder, c.loc, gradientType(getBias()), df);
}
void RopeOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  parts[0] = RopeOp::create(c.builder, c.loc, gradientType(getX()), g[0], c.primal(getCos()), c.primal(getSin()), getHeads(), !getInverse());
}
void SliceOp::buildVjp(VjpContext &c, Gradients g, Parts parts) { parts[0] = PadOp::create(c.builder, c.loc, gradientType(getX()), g[0], getFirstAttr()); }
void ConcatOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  int64_t first = 0;
  for (auto [part, value] : llvm::zip(parts, getValues())) {
    Type type = withElementType(value.getType(), cast<ShapedType>(g[0].getType()).getElementType());
    part = SliceOp::create(c.builder, c.loc, type, g[0], first);
    first += cast<WideType>(rowTypeOf(value.getType())).getStreams();
  }
}
void RepeatOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  assert(!isNarrow(getX().getType()) && "what parts of matrices share is not differentiated");
  auto row = cast<WideType>(rowTypeOf(getX().getType()));
  auto view = RankedTensorType::get({ShapedType::kDynamic, getTimes() * row.getStreams(), row.getChannels()}, cast<ShapedType>(g[0].getType()).getElementType());
  parts[0] = SumStreamsOp::create(c.builder, c.loc, gradientType(getX()), ViewOp::create(c.builder, c.loc, view, g[0]));
}
void ScaleRowsOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  parts[0] = ScaleRowsOp::create(c.builder, c.loc, gradientType(getX()), g[0], c.primal(getW()));
  parts[1] = DotRowsOp::create(c.builder, c.loc, gradientType(getW()), g[0], c.primal(getX()));
}
void SwigluOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  auto op = SwigluVjpOp::create(c.builder, c.loc, TypeRange{gradientType(getGate()), gradientType(getUp())}, c.primal(getGate()), c.primal(getUp()), g[0]);
  parts[0] = op.getDgate();
  parts[1] = op.getDup();
}
void EmbeddingOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  parts[1] = EmbeddingVjpOp::create(c.builder, c.loc, gradientType(getTable()), c.primal(getTokens()), g[0]);
}
void CrossEntropyOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  parts[0] = CrossEntropyVjpOp::create(c.builder, c.loc, gradientType(getLogits()), c.primal(getLogits()), c.primal(getTargets()), g[0]);
}
void TokenWeightOp::buildVjp(VjpContext &, Gradients, Parts) {}
void WeightedSumOp::buildVjp(VjpContext &c, Gradients, Parts parts) {
  // The loss itself: its gradient is 1, and each token's is the weight.
  parts[0] = c.primal(getWeight());
}

void ViewOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  auto type = cast<RankedTensorType>(getValue().getType());
  Type element = cast<ShapedType>(g[0].getType()).getElementType();
  parts[0] = ViewOp::create(c.builder, c.loc, withElementType(type, element), g[0]);
}
void LinearOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  // Unrounded: where x has no other use, `mhc-differentiate` lets the matmul round its result itself.
  parts[0] = LinearDxOp::create(c.builder, c.loc, gradientType(getX()), g[0], c.primal(getW()));
  parts[1] = LinearDwOp::create(c.builder, c.loc, gradientType(getW()), c.primal(getX()), g[0]);
}
void AttentionOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  Value q = c.primal(getQ()), k = c.primal(getK()), v = c.primal(getV());
  auto op = AttentionVjpOp::create(c.builder, c.loc, TypeRange{q.getType(), k.getType(), v.getType()}, q, k, v, c.primal(getResult()), c.primal(getLse()),
                                             g[0], getHeadsAttr(), getKvHeadsAttr(), getScaleAttr());
  for (auto [part, result] : llvm::zip(parts, op.getResults()))
    part = result;
}
