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

/// The narrow gradient's type of a value: coefficients are in the compute type already.
static Type sameType(Value value) { return value.getType(); }

void ExpandOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  parts[0] = c.builder.create<ReadoutOp>(c.loc, gradientType(getX()), g[0], getScaleAttr());
}
void ReadoutOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  parts[0] = c.builder.create<ExpandOp>(c.loc, gradientType(getX()), g[0], getScaleAttr());
}
void AggregateOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  Value x = c.primal(getX()), h = c.primal(getHPre());
  auto op = c.builder.create<AggregateVjpOp>(c.loc, TypeRange{gradientType(getX()), sameType(getHPre())}, x, h, g[0]);
  parts[0] = op.getDx();
  parts[1] = op.getDhPre();
}
void CombineOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  parts[0] = c.builder.create<CombineDxOp>(c.loc, gradientType(getX()), c.primal(getHRes()), g[0]);
  auto op = c.builder.create<CombineVjpOp>(c.loc, TypeRange{gradientType(getF()), sameType(getHPost()), sameType(getHRes())}, c.primal(getX()),
                                           c.primal(getF()), c.primal(getHPost()), g[0]);
  for (auto [part, result] : llvm::zip(parts.drop_front(), op.getResults()))
    part = result;
}
void ExternalLayerOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  if (Value du = c.cotangent(getU()))
    parts[0] = c.builder.create<ExternalLayerOp>(c.loc, du.getType(), g[0], du);
  parts[1] = g[0];
}

void RmsOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  parts[0] = c.builder.create<RmsVjpOp>(c.loc, gradientType(getX()), c.primal(getX()), c.primal(getR()), g[0]);
}
void ProjectionOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  parts[0] = c.builder.create<ProjectionDxOp>(c.loc, gradientType(getV()), g[0], c.primal(getPhi()), getTransposedAttr());
  parts[1] = c.builder.create<ProjectionDwOp>(c.loc, gradientType(getPhi()), c.primal(getV()), g[0], getTransposedAttr());
}
void DivideOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  auto op = c.builder.create<DivideVjpOp>(c.loc, TypeRange{sameType(getM()), sameType(getR())}, c.primal(getM()), c.primal(getR()), g[0]);
  parts[0] = op.getDm();
  parts[1] = op.getDr();
}
void SelectOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  parts[0] = c.builder.create<SelectVjpOp>(c.loc, sameType(getX()), g[0], getIndicesAttr());
}
void AffineOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  auto op = c.builder.create<AffineVjpOp>(c.loc, TypeRange{sameType(getY()), gradientType(getAlpha()), gradientType(getBias())}, c.primal(getY()),
                                          c.primal(getAlpha()), g[0], getGroupsAttr());
  for (auto [part, result] : llvm::zip(parts, op.getResults()))
    part = result;
}
void ActivationOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  parts[0] = c.builder.create<ActivationVjpOp>(c.loc, sameType(getZ()), c.primal(getZ()), g[0], getKindAttr(), getScaleAttr());
}
void ProjectOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  parts[0] = c.builder.create<ProjectVjpOp>(c.loc, sameType(getZ()), c.primal(getZ()), g[0], getManifoldAttr());
}
void ConstantRowsOp::buildVjp(VjpContext &, Gradients, Parts) {}

void CastOp::buildVjp(VjpContext &, Gradients g, Parts parts) { parts[0] = g[0]; }
void SumOp::buildVjp(VjpContext &, Gradients g, Parts parts) {
  for (Value &part : parts)
    part = g[0];
}
void ScaleOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  parts[0] = c.builder.create<ScaleOp>(c.loc, gradientType(getValue()), g[0], getFactorAttr());
}
void RmsNormOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  Value gain = getGain() ? c.primal(getGain()) : Value();
  auto op = c.builder.create<RmsNormVjpOp>(c.loc, gradientType(getX()), gain ? gradientType(getGain()) : Type(), c.primal(getX()), gain, g[0],
                                           getEpsAttr(), getPerStreamAttr());
  parts[0] = op.getDx();
  if (gain)
    parts[1] = op.getDgain();
}
void RopeOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  parts[0] = c.builder.create<RopeOp>(c.loc, gradientType(getX()), g[0], c.primal(getCos()), c.primal(getSin()), getHeads(), !getInverse());
}
void SwigluOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  auto op = c.builder.create<SwigluVjpOp>(c.loc, TypeRange{gradientType(getGate()), gradientType(getUp())}, c.primal(getGate()), c.primal(getUp()), g[0]);
  parts[0] = op.getDgate();
  parts[1] = op.getDup();
}
void EmbeddingOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  parts[1] = c.builder.create<EmbeddingVjpOp>(c.loc, gradientType(getTable()), c.primal(getTokens()), g[0]);
}
void CrossEntropyOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  parts[0] = c.builder.create<CrossEntropyVjpOp>(c.loc, gradientType(getLogits()), c.primal(getLogits()), c.primal(getTargets()), g[0]);
}
void TokenWeightOp::buildVjp(VjpContext &, Gradients, Parts) {}
void WeightedSumOp::buildVjp(VjpContext &c, Gradients, Parts parts) {
  // The loss itself: its gradient is 1, and each token's is the weight.
  parts[0] = c.primal(getWeight());
}

void ViewOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  auto type = cast<RankedTensorType>(getValue().getType());
  Type element = cast<ShapedType>(g[0].getType()).getElementType();
  parts[0] = c.builder.create<ViewOp>(c.loc, withElementType(type, element), g[0]);
}
void LinearOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  // Unrounded: where x has no other use, `mhc-differentiate` lets the matmul round its result itself.
  parts[0] = c.builder.create<LinearDxOp>(c.loc, gradientType(getX()), g[0], c.primal(getW()));
  parts[1] = c.builder.create<LinearDwOp>(c.loc, gradientType(getW()), c.primal(getX()), g[0]);
}
void AttentionOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  Value q = c.primal(getQ()), k = c.primal(getK()), v = c.primal(getV());
  auto op = c.builder.create<AttentionVjpOp>(c.loc, TypeRange{q.getType(), k.getType(), v.getType()}, q, k, v, c.primal(getResult()), c.primal(getLse()),
                                             g[0], getHeadsAttr(), getKvHeadsAttr(), getScaleAttr());
  for (auto [part, result] : llvm::zip(parts, op.getResults()))
    part = result;
}
