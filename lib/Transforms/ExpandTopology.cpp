//===- ExpandTopology.cpp - sublayers and coefficients into their parts -----===//

#include "mhc/Dialect/Mhc/IR/MhcOps.h"
#include "mhc/Transforms/Passes.h"

#include "mlir/IR/PatternMatch.h"

namespace mlir::mhc {
#define GEN_PASS_DEF_EXPANDTOPOLOGYPASS
#include "mhc/Transforms/Passes.h.inc"

namespace {

Value rounded(OpBuilder &b, Location loc, Value value, Type like) {
  Type element = cast<ShapedType>(like).getElementType();
  if (cast<ShapedType>(value.getType()).getElementType() == element)
    return value;
  return b.create<CastOp>(loc, withElementType(value.getType(), element), value);
}

SmallVector<int64_t> iota(int64_t from, int64_t count) {
  SmallVector<int64_t> out;
  for (int64_t i = 0; i < count; ++i)
    out.push_back(from + i);
  return out;
}

/// z of the concatenated mappings (pre, post, res), [T, 2n + columns].
Value logits(OpBuilder &b, CoefficientsOp op, Type compute) {
  auto activation = [&](ActivationKind kind) { return ActivationKindAttr::get(b.getContext(), kind); };
  Location loc = op.getLoc();
  ConnectionAttr c = op.getConnection();
  int64_t n = c.getStreams(), m = c.phiColumns();
  auto x = cast<RankedTensorType>(op.getX().getType());
  Value normed = b.create<RmsNormOp>(loc, withElementType(x, compute), op.getX(), Value(), c.getEps(), c.isHc() ? b.getUnitAttr() : UnitAttr());
  Value y = b.create<ProjectionOp>(loc, narrowTensor({c.isHc() ? n : 1, m}, compute), normed, op.getPhi(), c.getPhiTransposed());
  SmallVector<int64_t> groups{n, n, c.biasSize() - 2 * n};
  Type flat = narrowTensor({c.biasSize()}, compute);
  if (c.isHc()) {
    // y[i] = (pre, post, res of every output) of stream i; the order of bias is pre, post, res[o, i].
    y = b.create<ActivationOp>(loc, y.getType(), y, activation(ActivationKind::tanh), b.getF64FloatAttr(1.0), b.getF64FloatAttr(0.0));
    SmallVector<int64_t> order;
    for (int64_t column : {0, 1})
      for (int64_t i = 0; i < n; ++i)
        order.push_back(i * m + column);
    for (int64_t o = 0; o < n; ++o)
      for (int64_t i = 0; i < n; ++i)
        order.push_back(i * m + 2 + o);
    y = b.create<SelectOp>(loc, flat, y, order);
  }
  return b.create<AffineOp>(loc, flat, y, op.getAlpha(), op.getBias(), groups);
}

void expand(CoefficientsOp op) {
  OpBuilder b(op);
  Location loc = op.getLoc();
  ConnectionAttr c = op.getConnection();
  int64_t n = c.getStreams();
  Type compute = cast<ShapedType>(op.getHPre().getType()).getElementType();
  Value z = logits(b, op, compute);
  Value pre = b.create<SelectOp>(loc, op.getHPre().getType(), z, iota(0, n));
  Value post = b.create<SelectOp>(loc, op.getHPost().getType(), z, iota(n, n));
  if (!c.isHc()) {
    auto sigmoid = ActivationKindAttr::get(b.getContext(), ActivationKind::sigmoid);
    pre = b.create<ActivationOp>(loc, pre.getType(), pre, sigmoid, b.getF64FloatAttr(1.0), b.getF64FloatAttr(0.0));
    post = b.create<ActivationOp>(loc, post.getType(), post, sigmoid, c.getPostScale(), b.getF64FloatAttr(0.0));
  }
  Value res;
  if (c.getManifold().columns(n) == 0) {
    SmallVector<double> identity(n * n, 0.0);
    for (int64_t i = 0; i < n; ++i)
      identity[i * n + i] = 1.0;
    res = b.create<ConstantRowsOp>(loc, op.getHRes().getType(), op.getX(), identity);
  } else {
    res = b.create<SelectOp>(loc, op.getHRes().getType(), z, iota(2 * n, n * n));
    if (!c.isHc())
      res = b.create<ProjectOp>(loc, res.getType(), res, c.getManifold());
  }
  op.replaceAllUsesWith(ValueRange{pre, post, res});
  op.erase();
}

void expand(SublayerOp op) {
  OpBuilder b(op);
  Location loc = op.getLoc();
  Value x = op.getX(), u = x;
  auto type = cast<RankedTensorType>(x.getType());
  Type compute = computeTypeOf(op.getContext(), type);
  CoefficientsOp coefficients;
  if (std::optional<ConnectionAttr> connection = op.getConnection()) {
    int64_t n = connection->getStreams();
    coefficients = b.create<CoefficientsOp>(loc, TypeRange{narrowTensor({n}, compute), narrowTensor({n}, compute), narrowTensor({n, n}, compute)}, x,
                                            op.getParameters()[0], op.getParameters()[1], op.getParameters()[2], *connection);
    auto flat = RankedTensorType::get({ShapedType::kDynamic, type.getShape().back()}, compute);
    u = rounded(b, loc, b.create<AggregateOp>(loc, flat, x, coefficients.getHPre()), type);
  }
  Block &body = op.getBody().front();
  Operation *yield = body.getTerminator();
  Value f = yield->getOperand(0);
  body.getArgument(0).replaceAllUsesWith(u);
  if (f == body.getArgument(0))
    f = u;
  yield->erase();
  op->getBlock()->getOperations().splice(op->getIterator(), body.getOperations());
  Value next;
  if (coefficients)
    next = b.create<CombineOp>(loc, withElementType(type, compute), x, f, coefficients.getHPost(), coefficients.getHRes());
  else
    next = b.create<SumOp>(loc, withElementType(type, compute), ValueRange{x, f});
  op.getResult().replaceAllUsesWith(rounded(b, loc, next, type));
  op.erase();
}

struct ExpandTopologyPass : impl::ExpandTopologyPassBase<ExpandTopologyPass> {
  void runOnOperation() override {
    SmallVector<SublayerOp> sublayers;
    getOperation().walk([&](SublayerOp op) { sublayers.push_back(op); });
    for (SublayerOp op : sublayers)
      expand(op);
    SmallVector<CoefficientsOp> coefficients;
    getOperation().walk([&](CoefficientsOp op) { coefficients.push_back(op); });
    for (CoefficientsOp op : coefficients)
      expand(op);
  }
};

} // namespace
} // namespace mlir::mhc
