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
  return CastOp::create(b, loc, withElementType(value.getType(), element), value);
}

SmallVector<int64_t> iota(int64_t from, int64_t count) {
  SmallVector<int64_t> out;
  for (int64_t i = 0; i < count; ++i)
    out.push_back(from + i);
  return out;
}

FloatAttr number(OpBuilder &b, double value) { return b.getF64FloatAttr(value); }

/// z of the concatenated mappings (pre, post, res), [T, 2n + columns].
Value logits(OpBuilder &b, CoefficientsOp op, Type compute) {
  Location loc = op.getLoc();
  ConnectionAttr c = op.getConnection();
  int64_t n = c.getStreams(), m = c.phiColumns();
  SmallVector<int64_t> groups{n, n, c.biasSize() - 2 * n}, staticGroups;
  bool anyDynamic = false;
  for (auto [group, mapping] : llvm::enumerate(std::array{c.getPre(), c.getPost(), c.getRes()})) {
    if (mapping != Mapping::dynamic_mapping)
      staticGroups.push_back(group);
    else
      anyDynamic |= groups[group] != 0;
  }
  Type flat = narrowTensor({c.biasSize()}, compute);
  // Where nothing depends on x, neither norm nor projection is there.
  if (!anyDynamic) {
    Value none = ConstantRowsOp::create(b, loc, flat, op.getX(), SmallVector<double>(c.biasSize(), 0.0));
    return AffineOp::create(b, loc, flat, none, op.getAlpha(), op.getBias(), groups, staticGroups);
  }
  auto x = cast<RankedTensorType>(op.getX().getType());
  UnitAttr unit = b.getUnitAttr(), interleaved = c.getInterleaved() && !c.isHc() ? unit : UnitAttr();
  Value normed = RmsNormOp::create(b, loc, withElementType(x, compute), op.getX(), op.getGain(), c.getEps(), c.isHc() ? unit : UnitAttr(),
                                   c.getRootPlusEps() ? unit : UnitAttr(), op.getGain() ? interleaved : UnitAttr());
  Value y = ProjectionOp::create(b, loc, narrowTensor({c.isHc() ? n : 1, m}, compute), normed, op.getPhi(), c.getPhiTransposed() ? unit : UnitAttr(), interleaved);
  if (c.isHc()) {
    // y[i] = (pre, post, res of every output) of stream i; the order of bias is pre, post, res as stored.
    auto tanh = ActivationKindAttr::get(b.getContext(), ActivationKind::tanh);
    y = ActivationOp::create(b, loc, y.getType(), y, tanh, number(b, 1.0), number(b, 0.0));
    SmallVector<int64_t> order;
    for (int64_t column : {0, 1})
      for (int64_t i = 0; i < n; ++i)
        order.push_back(i * m + column);
    order.resize(2 * n + n * n);
    for (int64_t o = 0; o < n; ++o)
      for (int64_t i = 0; i < n; ++i)
        order[2 * n + c.resIndex(o, i)] = i * m + 2 + o;
    y = SelectOp::create(b, loc, flat, y, order);
  }
  return AffineOp::create(b, loc, flat, y, op.getAlpha(), op.getBias(), groups, staticGroups);
}

void expand(CoefficientsOp op) {
  OpBuilder b(op);
  Location loc = op.getLoc();
  ConnectionAttr c = op.getConnection();
  int64_t n = c.getStreams();
  Value z = logits(b, op, cast<ShapedType>(op.getHPre().getType()).getElementType());
  auto constant = [&](Value like, ArrayRef<double> values) { return ConstantRowsOp::create(b, loc, like.getType(), op.getX(), values).getResult(); };
  auto gate = [&](Value like, int64_t first, FloatAttr scale, FloatAttr offset) -> Value {
    Value part = SelectOp::create(b, loc, like.getType(), z, iota(first, n));
    if (c.isHc())
      return part;
    auto sigmoid = ActivationKindAttr::get(b.getContext(), ActivationKind::sigmoid);
    return ActivationOp::create(b, loc, part.getType(), part, sigmoid, scale, offset);
  };
  Value pre = c.getPre() == Mapping::fixed_mapping ? constant(op.getHPre(), SmallVector<double>(n, 1.0 / n))
                                                   : gate(op.getHPre(), 0, number(b, 1.0), c.getPreEps() ? c.getPreEps() : number(b, 0.0));
  Value post = c.getPost() == Mapping::fixed_mapping ? constant(op.getHPost(), SmallVector<double>(n, 1.0))
                                                     : gate(op.getHPost(), n, c.getPostScale(), number(b, 0.0));
  Value res;
  if (c.getManifold().columns(n) == 0 || c.getRes() == Mapping::fixed_mapping) {
    SmallVector<double> identity(n * n, 0.0);
    for (int64_t i = 0; i < n; ++i)
      identity[i * n + i] = 1.0;
    res = constant(op.getHRes(), identity);
  } else {
    SmallVector<int64_t> order;
    for (int64_t o = 0; o < n; ++o)
      for (int64_t i = 0; i < n; ++i)
        order.push_back(2 * n + c.resIndex(o, i));
    res = SelectOp::create(b, loc, op.getHRes().getType(), z, order);
    if (!c.isHc())
      res = ProjectOp::create(b, loc, res.getType(), res, /*radius=*/Value(), c.getManifold());
  }
  op.replaceAllUsesWith(ValueRange{pre, post, res});
  op.erase();
}

void expand(SublayerOp op) {
  OpBuilder b(op);
  Location loc = op.getLoc();
  Value x = op.getX(), u = x, pre = op.getHPre();
  auto type = cast<RankedTensorType>(x.getType());
  Type compute = computeTypeOf(op.getContext(), type);
  CoefficientsOp coefficients;
  std::optional<ConnectionAttr> connection = op.getConnection();
  if (connection) {
    int64_t n = connection->getStreams();
    OperandRange parameters = op.getParameters();
    coefficients = CoefficientsOp::create(b, loc, TypeRange{narrowTensor({n}, compute), narrowTensor({n}, compute), narrowTensor({n, n}, compute)}, x,
                                          parameters[0], parameters[1], parameters[2], connection->getNormWeight() ? parameters[3] : Value(), *connection);
    auto flat = RankedTensorType::get({ShapedType::kDynamic, type.getShape().back()}, compute);
    if (!pre)
      pre = coefficients.getHPre();
    u = rounded(b, loc, AggregateOp::create(b, loc, flat, x, applied(b, loc, pre, *connection)), type);
  }
  Block &body = op.getBody().front();
  Operation *yield = body.getTerminator();
  Value f = yield->getOperand(0);
  body.getArgument(0).replaceAllUsesWith(u);
  if (f == body.getArgument(0))
    f = u;
  for (auto [result, value] : llvm::zip(op.getExtras(), yield->getOperands().drop_front()))
    result.replaceAllUsesWith(value);
  yield->erase();
  op->getBlock()->getOperations().splice(op->getIterator(), body.getOperations());
  Value next;
  if (coefficients) {
    if (connection->getFBias())
      f = AddBiasOp::create(b, loc, withElementType(f.getType(), compute), f, op.getParameters().back());
    next = CombineOp::create(b, loc, withElementType(type, compute), x, f, applied(b, loc, coefficients.getHPost(), *connection),
                             applied(b, loc, coefficients.getHRes(), *connection));
    if (op.getHPreNext())
      op.getHPreNext().replaceAllUsesWith(coefficients.getHPre());
    if (op.getHRes())
      op.getHRes().replaceAllUsesWith(coefficients.getHRes());
  } else {
    next = SumOp::create(b, loc, withElementType(type, compute), ValueRange{x, f});
  }
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
