//===- ImportMonitor.cpp - what a run of a language model is watched by -----===//
//
// The forward pass once more, with a few numbers of each sublayer as its results, and what a step did to the weights. docs/metrics.md defines each number, docs/design/monitors.md says why it is done so.
//
//===----------------------------------------------------------------------===//

#include "ImportInternal.h"

using namespace mlir;
using namespace mlir::mhc;

/// From where on an element stands out of its token, in standard deviations (math.md 2.4).
constexpr double outlierDeviations = 5.0;
/// The slot of the scalars that says where products of mixing matrices begin (docs/design/package.md).
constexpr int64_t firstSublayer = 21;

SmallVector<NamedAttribute> mlir::mhc::arenaRange(OpBuilder &b, StringRef arena, int64_t begin, std::optional<int64_t> rows) {
  SmallVector<NamedAttribute> attributes{b.getNamedAttr("mhc.state", b.getStringAttr(arena)), b.getNamedAttr("mhc.begin", b.getI64IntegerAttr(begin))};
  if (rows)
    attributes.push_back(b.getNamedAttr("mhc.rows", b.getI64IntegerAttr(*rows)));
  return attributes;
}

//===----------------------------------------------------------------------===//
// Entry monitor
//===----------------------------------------------------------------------===//

ModelMonitor::ModelMonitor(FunctionImporter &f, const ::mhc::LanguageModel &model) : f(f), b(f.b), model(model) {
  scalars = ScalarsOp::create(b, f.place("monitor"), RankedTensorType::get({64}, b.getF32Type()));
}

RankedTensorType ModelMonitor::vector(int64_t size) { return RankedTensorType::get({size}, b.getF32Type()); }
Type ModelMonitor::number() { return narrowTensor({1}, b.getF32Type()); }

Outcome ModelMonitor::part(Value value, const Twine &name, int64_t index, int64_t count) {
  return {value,
          {b.getNamedAttr("mhc.name", b.getStringAttr(name)), b.getNamedAttr("mhc.slice", b.getI64IntegerAttr(index)), b.getNamedAttr("mhc.slices", b.getI64IntegerAttr(count))}};
}

Value ModelMonitor::mean(Location loc, Value x) { return MeanTokensOp::create(b, loc, vector(rowElements(x.getType())), x, scalars); }

Outcome ModelMonitor::attentionZ(Location loc, Value lse, int64_t block) {
  return part(mean(loc, MeanSquaresOp::create(b, loc, number(), lse)), "attention_z", block, model.numHiddenLayers);
}

Outcome ModelMonitor::routerZ(Location loc, Value logits, int64_t block) {
  // A router's z-loss of weight 1 is the Z itself.
  int64_t experts = rowElements(logits.getType());
  ArrayAttr loss = b.getArrayAttr({BalanceAttr::get(b.getContext(), BalanceKind::z, b.getF64FloatAttr(1.0), FloatAttr())});
  auto sums = RouterStatisticsOp::create(b, loc, SmallVector<Type>{vector(1), vector(1)}, logits, /*shares=*/Value(), loss, /*length=*/0);
  return part(BalanceLossOp::create(b, loc, vector(1), SmallVector<Value>(sums.getSums()), loss, experts), "router_z", block, ::mhc::expertBlocks(model));
}

SmallVector<Outcome> ModelMonitor::row(Location loc, StringRef what, Value x, int64_t sublayer) {
  Value squares = mean(loc, MeanSquaresOp::create(b, loc, number(), x));
  Value outliers = mean(loc, OutlierShareOp::create(b, loc, number(), x, b.getF64FloatAttr(outlierDeviations)));
  int64_t count = 2 * model.numHiddenLayers;
  return {part(SquareRootOp::create(b, loc, vector(1), squares), what + "_rms", sublayer, count), part(outliers, what + "_outliers", sublayer, count)};
}

SmallVector<Outcome> ModelMonitor::mixing(Location loc, Value res, int64_t sublayer) {
  left = left ? SumOp::create(b, loc, number(), ValueRange{left, ConstantRowsOp::create(b, loc, number(), res, ArrayRef<double>{-1.0})}).getResult()
              : TokenWeightOp::create(b, loc, number(), res, scalars, b.getDenseI64ArrayAttr({firstSublayer}), b.getF64FloatAttr(1.0)).getResult();
  product = ComposeOp::create(b, loc, res.getType(), res, left, product);
  SmallVector<Outcome> outcomes;
  int64_t count = 2 * model.numHiddenLayers;
  for (auto [name, matrix] : {std::pair<StringRef, Value>("mixing", res), std::pair<StringRef, Value>("composite", product)}) {
    Value gains = MixingGainsOp::create(b, loc, narrowTensor({3}, b.getF32Type()), matrix);
    outcomes.push_back(part(mean(loc, gains), name + "_gains", sublayer, count));
    outcomes.push_back(part(mean(loc, matrix), name + "_mean", sublayer, count));
  }
  return outcomes;
}

//===----------------------------------------------------------------------===//
// Entry weight_change
//===----------------------------------------------------------------------===//

void mlir::mhc::importWeightChange(FunctionImporter &f, const ::mhc::ParameterArena &arena) {
  OpBuilder &b = f.b;
  Type f32 = b.getF32Type();
  f.begin("weight_change", {});
  // The change itself is summed up: in fp32 the angle between weights before and after would drown in the rounding of their product.
  for (const ::mhc::WeightMatrices &watched : ::mhc::weightMatrices(arena)) {
    Location loc = f.place(watched.name);
    RankedTensorType rows = f.rows({watched.elements}, f32);
    auto range = [&](StringRef name) { return f.argument(rows, arenaRange(b, name, watched.offset, watched.count)); };
    Value now = range("parameters"), before = range("previous");
    Value negative = ScaleOp::create(b, loc, rows, before, b.getF64FloatAttr(-1.0));
    Value change = SumOp::create(b, loc, rows, ValueRange{now, negative});
    Type number = narrowTensor({1}, f32);
    auto gram = GramOp::create(b, loc, TypeRange{number, number, number}, before, change);
    f.result(gram.getXx(), "squares." + watched.name);
    f.result(gram.getXy(), "product." + watched.name);
    f.result(gram.getYy(), "change." + watched.name);
  }
  f.end();
}
