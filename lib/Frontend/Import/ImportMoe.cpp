//===- ImportMoe.cpp - routers, experts, kinds moe_router and moe_layer -----===//

#include "ImportInternal.h"

using namespace mlir;
using namespace mlir::mhc;

//===----------------------------------------------------------------------===//
// The parts, for all kinds
//===----------------------------------------------------------------------===//

static Score scoreOf(::mhc::Score score) {
  switch (score) {
  case ::mhc::Score::softmaxBeforeTopk:
    return Score::softmax_before_topk;
  case ::mhc::Score::softmaxAfterTopk:
    return Score::softmax_after_topk;
  case ::mhc::Score::sigmoid:
    return Score::sigmoid;
  case ::mhc::Score::sqrtSoftplus:
    return Score::sqrt_softplus;
  }
  llvm_unreachable("score");
}

/// Without a length of its own a call is one sequence, and its loss that of the micro-batch.
static bool isOfSequences(const ::mhc::BalanceLoss &loss, const MoeConfig &config) {
  return loss.kind == ::mhc::BalanceLoss::switchLoss && loss.scope == ::mhc::BalanceLoss::sequence && config.sequenceLength;
}

static ArrayAttr lossesOf(OpBuilder &b, const MoeConfig &config) {
  SmallVector<Attribute> list;
  for (const ::mhc::BalanceLoss &loss : config.router->losses) {
    BalanceKind kind = loss.kind == ::mhc::BalanceLoss::top1 ? BalanceKind::top1
                       : loss.kind == ::mhc::BalanceLoss::z  ? BalanceKind::z
                       : isOfSequences(loss, config)         ? BalanceKind::switch_sequence
                                                             : BalanceKind::switch_step;
    list.push_back(BalanceAttr::get(b.getContext(), kind, b.getF64FloatAttr(loss.weight), kind == BalanceKind::top1 ? b.getF64FloatAttr(loss.tau) : FloatAttr()));
  }
  return b.getArrayAttr(list);
}

/// [1] to [3] of math.md 3: the losses, from sums over the logits and the experts' shares.
static void addLosses(FunctionImporter &f, Location loc, const MoeConfig &config, Value previous, Routing &routing) {
  OpBuilder &b = f.b;
  Type compute = config.compute, i64 = b.getI64Type();
  int64_t E = config.experts;
  auto vector = [&](Type type, int64_t size) { return RankedTensorType::get({size}, type); };
  Value stepShare, ownShare, sequenceShares;
  if (previous) {
    auto load = ExpertLoadOp::create(b, loc, vector(compute, E), vector(i64, E), routing.counts, previous);
    stepShare = load.getShare();
    routing.total = load.getTotal();
  }
  ArrayAttr losses = lossesOf(b, config);
  if (losses.empty() || !config.balanced)
    return;
  SmallVector<Value> shares;
  SmallVector<Type> types{vector(compute, 1)};
  for (auto [loss, attribute] : llvm::zip(config.router->losses, losses.getAsRange<BalanceAttr>())) {
    for (int64_t size : attribute.statistics(E))
      types.push_back(vector(compute, size));
    if (attribute.getKind() == BalanceKind::switch_sequence && !sequenceShares)
      sequenceShares = SequenceLoadOp::create(b, loc, f.rows({E}, compute), routing.index, *config.sequenceLength);
    if (attribute.getKind() != BalanceKind::switch_step)
      continue;
    bool step = loss.scope == ::mhc::BalanceLoss::globalBatch;
    if (!step && !ownShare)
      ownShare = ExpertLoadOp::create(b, loc, vector(compute, E), vector(i64, E), routing.counts, Value()).getShare();
    shares.push_back(step ? stepShare : ownShare);
  }
  auto sums = RouterStatisticsOp::create(b, loc, types, routing.logits, sequenceShares, losses, config.sequenceLength.value_or(0));
  SmallVector<Value> operands(sums.getSums());
  operands.append(shares);
  routing.losses = BalanceLossOp::create(b, loc, vector(compute, losses.size()), operands, losses, E);
}

Routing mlir::mhc::importRouting(FunctionImporter &f, Location loc, const MoeConfig &config, Value x, Value router, bool routerTransposed, Value bias, Value previous, Value scalars) {
  OpBuilder &b = f.b;
  const ::mhc::Router &r = *config.router;
  int64_t E = config.experts, k = config.topk;
  Routing routing;
  Type logits = f.rows({E}, config.compute);
  routing.logits = routerTransposed ? LinearDxOp::create(b, loc, logits, x, router).getResult() : LinearOp::create(b, loc, logits, x, router).getResult();
  Type index = narrowTensor({k}, b.getI32Type());
  UnitAttr unit = b.getUnitAttr();
  bool phased = !config.phases.empty();
  auto route = RouteOp::create(b, loc, TypeRange{narrowTensor({k}, config.compute), index}, routing.logits, bias, phased ? scalars : Value(),
                               ScoreAttr::get(b.getContext(), scoreOf(r.score)), b.getI64IntegerAttr(r.groupCount), b.getI64IntegerAttr(r.groupsChosen), r.normalize ? unit : UnitAttr(),
                               r.sqrtGate ? unit : UnitAttr(), b.getF64FloatAttr(r.scale), b.getDenseI64ArrayAttr(config.phases));
  routing.weight = route.getWeight();
  routing.index = route.getIndex();
  Type i32 = b.getI32Type(), slots = RankedTensorType::get({ShapedType::kDynamic}, i32);
  auto vector = [&](int64_t size) { return RankedTensorType::get({size}, i32); };
  auto dispatch = DispatchOp::create(b, loc, TypeRange{vector(E), vector(E + 1), slots, slots, index, vector(1)}, routing.index, r.capacityFactor ? b.getF64FloatAttr(*r.capacityFactor) : FloatAttr());
  routing.counts = dispatch.getCounts();
  routing.offsets = dispatch.getOffsets();
  routing.gather = dispatch.getGather();
  routing.order = dispatch.getOrder();
  routing.reverse = dispatch.getReverse();
  routing.dropped = dispatch.getDropped();
  addLosses(f, loc, config, previous, routing);
  return routing;
}

Value mlir::mhc::importExperts(FunctionImporter &f, Location loc, const MoeConfig &config, const Routing &routing, Value x, const ExpertMatrices &w, Value shared) {
  OpBuilder &b = f.b;
  Type element = config.element, compute = config.compute;
  int64_t C = cast<ShapedType>(x.getType()).getShape().back(), I = config.width;
  auto product = [&](Value rows, Value matrix, int64_t columns) -> Value {
    return GroupedMatmulOp::create(b, loc, f.rows({columns}, element), rows, matrix, routing.offsets, w.transposed ? b.getUnitAttr() : UnitAttr());
  };
  Value slots = GatherRowsOp::create(b, loc, f.rows({C}, element), x, routing.gather, routing.reverse);
  Value gate = product(slots, w.gate, I), up = product(slots, w.up, I);
  Value hidden = f.rounded(loc, SwigluOp::create(b, loc, f.rows({I}, compute), gate, up), element);
  Value out = product(hidden, w.down, C);
  Type unrounded = f.rows({C}, compute);
  Value y = CombineRowsOp::create(b, loc, unrounded, out, routing.reverse, routing.weight, routing.gather, routing.order);
  if (shared) {
    y = SumOp::create(b, loc, unrounded, ValueRange{y, shared});
    if (config.router->sqrtGate)
      y = ScaleOp::create(b, loc, unrounded, y, b.getF64FloatAttr(std::sqrt(0.5)));
  }
  return f.rounded(loc, y, element);
}

//===----------------------------------------------------------------------===//
// moe_router, moe_layer
//===----------------------------------------------------------------------===//

namespace {
class MoeKindImporter {
public:
  MoeKindImporter(FunctionImporter &f, const ::mhc::MoeRouterKind &kind) : f(f), b(f.b), kind(kind) {
    config.router = &kind.router;
    config.experts = kind.numExperts;
    config.topk = kind.numExpertsPerTok;
    config.sequenceLength = kind.sequenceLength;
    config.width = kind.moeIntermediateSize;
    config.element = f.elementType(kind.dtype);
    config.compute = kind.dtype == ::mhc::Dtype::fp64 ? b.getF64Type() : b.getF32Type();
  }

  void importForward() {
    func::FuncOp function = f.begin("forward", {"T"});
    function->setAttr("mhc.vjp", b.getStringAttr("backward"));
    int64_t C = kind.hiddenSize, E = config.experts, I = config.width;
    Location loc = f.place(kind.layer ? "moe_layer" : "moe_router");
    auto matrix = [&](StringRef name, ArrayRef<int64_t> shape, Type type) { return f.argument(name, RankedTensorType::get(shape, type), ("d" + name).str()); };
    Value x = f.argument("x", f.rows({C}, config.element), "dx"), router = matrix("router", {C, E}, config.compute), bias, previous;
    if (kind.router.expertBiasRate)
      bias = f.argument("expert_bias", RankedTensorType::get({E}, config.compute));
    if (needsPreviousCounts(kind.router))
      previous = f.argument("previous_counts", RankedTensorType::get({E}, b.getI64Type()));
    Routing routing = importRouting(f, loc, config, x, router, /*routerTransposed=*/true, bias, previous, Value());
    if (kind.layer) {
      Type element = config.element;
      ExpertMatrices experts{matrix("w_gate", {E, C, I}, element), matrix("w_up", {E, C, I}, element), matrix("w_down", {E, I, C}, element), /*transposed=*/false};
      Value shared;
      if (int64_t s = kind.nSharedExperts * I)
        shared = sharedExpert(loc, x, matrix("shared_gate", {C, s}, element), matrix("shared_up", {C, s}, element), matrix("shared_down", {s, C}, element), s);
      f.result(importExperts(f, loc, config, routing, x, experts, shared), "y", "dy");
      f.result(routing.index, "index");
      f.result(routing.weight, "weight");
      f.result(routing.counts, "counts");
    } else {
      f.result(routing.logits, {b.getNamedAttr("mhc.name", b.getStringAttr("logits")), b.getNamedAttr("mhc.result_gradient", b.getStringAttr("dlogits"))});
      f.result(routing.index, "index");
      f.result(routing.weight, "weight", "dweight");
      f.result(routing.counts, "counts");
      f.result(routing.offsets, "offsets");
      f.result(routing.gather, "gather");
      f.result(routing.reverse, "reverse");
    }
    if (routing.losses)
      f.result(routing.losses, "losses", "dlosses");
    f.end();
  }

  void importUpdateBias() {
    f.begin("update_bias", {});
    Type bias = RankedTensorType::get({config.experts}, config.compute), counts = RankedTensorType::get({config.experts}, b.getI32Type());
    Value before = f.argument("expert_bias", bias), c = f.argument("counts", counts);
    f.result(UpdateBiasOp::create(b, f.place("update_bias"), bias, before, c, Value(), b.getF64FloatAttr(*kind.router.expertBiasRate)), "expert_bias");
    f.end();
  }

private:
  Value sharedExpert(Location loc, Value x, Value gate, Value up, Value down, int64_t width) {
    auto product = [&](Value rows, Value w) -> Value {
      return LinearDxOp::create(b, loc, f.rows({cast<ShapedType>(w.getType()).getDimSize(1)}, config.element), rows, w);
    };
    Value y = SwigluOp::create(b, loc, f.rows({width}, config.compute), product(x, gate), product(x, up));
    return product(f.rounded(loc, y, config.element), down);
  }

  FunctionImporter &f;
  OpBuilder &b;
  const ::mhc::MoeRouterKind &kind;
  MoeConfig config;
};
} // namespace

void mlir::mhc::importMoe(FunctionImporter &f, const ::mhc::MoeRouterKind &kind) {
  MoeKindImporter importer(f, kind);
  importer.importForward();
  if (kind.router.expertBiasRate)
    importer.importUpdateBias();
}
