//===- MhcRoutingVjp.cpp - the VJPs of the ops of mixtures of experts -------===//

#include "mhc/Dialect/Mhc/IR/MhcOps.h"

using namespace mlir;
using namespace mlir::mhc;

using Gradients = ArrayRef<Value>;
using Parts = MutableArrayRef<Value>;

/// The type of an unrounded gradient of `value`.
static RankedTensorType gradientType(Value value) { return withElementType(value.getType(), computeTypeOf(value.getContext(), value.getType())); }

void RouteOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  if (g[0])
    parts[0] = RouteVjpOp::create(c.builder, c.loc, getLogits().getType(), c.primal(getLogits()), c.primal(getIndex()), g[0], getScoreAttr(), getNormalizeAttr(), getSqrtGateAttr(), getScaleAttr());
}

void RouterStatisticsOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  if (llvm::any_of(g.drop_front(), [](Value gradient) { return gradient != nullptr; }))
    parts[0] = RouterStatisticsVjpOp::create(c.builder, c.loc, getLogits().getType(), c.primal(getLogits()), getShares() ? c.primal(getShares()) : Value(), g.drop_front(), getLosses(), getLength());
}

void BalanceLossOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  SmallVector<Value> operands;
  for (Value sum : getSums())
    operands.push_back(c.primal(sum));
  operands.push_back(g[0]);
  SmallVector<Type> types;
  int64_t experts = getExperts();
  for (auto loss : getLosses().getAsRange<BalanceAttr>())
    for (int64_t size : loss.statistics(experts))
      types.push_back(RankedTensorType::get({size}, cast<ShapedType>(getResult().getType()).getElementType()));
  auto op = BalanceLossVjpOp::create(c.builder, c.loc, types, operands, getLosses(), experts);
  for (auto [part, result] : llvm::zip(parts.drop_front(), op.getResults())) // the shares carry no gradient
    part = result;
}

void TotalLossOp::buildVjp(VjpContext &c, Gradients, Parts parts) {
  // The loss itself: gradient 1.
  Value scalars = c.primal(getScalars());
  for (auto [part, operand] : llvm::zip(parts.drop_front(), getOperands().drop_front()))
    part = LossScaleOp::create(c.builder, c.loc, operand.getType(), scalars);
}

void GatherRowsOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  parts[0] = CombineRowsOp::create(c.builder, c.loc, gradientType(getX()), g[0], c.primal(getReverse()), Value(), Value(), Value());
}

void CombineRowsOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  Value weight = c.primal(getWeight()), y = c.primal(getY());
  Value slots = ViewOp::create(c.builder, c.loc, narrowTensor({1}, cast<ShapedType>(weight.getType()).getElementType()), weight);
  parts[0] = CombineRowsDyOp::create(c.builder, c.loc, gradientType(getY()), g[0], slots, c.primal(getGather()), c.primal(getOrder()));
  parts[2] = CombineRowsDwOp::create(c.builder, c.loc, weight.getType(), g[0], y, c.primal(getReverse()));
}

void GroupedMatmulOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  // Unrounded: `mhc-differentiate` lets the product round its result itself where it is only rounded.
  Value x = c.primal(getX()), offsets = c.primal(getOffsets());
  parts[0] = GroupedMatmulOp::create(c.builder, c.loc, gradientType(getX()), g[0], c.primal(getW()), offsets, !getTransposed());
  parts[1] = GroupedOuterOp::create(c.builder, c.loc, gradientType(getW()), getTransposed() ? g[0] : x, getTransposed() ? x : g[0], offsets);
}

void LinearDxOp::buildVjp(VjpContext &c, Gradients g, Parts parts) {
  parts[0] = LinearOp::create(c.builder, c.loc, gradientType(getDy()), g[0], c.primal(getW()));
  parts[1] = LinearDwOp::create(c.builder, c.loc, gradientType(getW()), g[0], c.primal(getDy()));
}
