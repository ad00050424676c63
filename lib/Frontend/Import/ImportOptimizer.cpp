//===- ImportOptimizer.cpp - optimizer steps --------------------------------===//
//
// A step of one optimizer on a stack of weights, for kind optimizer and for the update of a model. Rows are whole matrices where the optimizer knows matrices.
//
//===----------------------------------------------------------------------===//

#include "ImportInternal.h"

using namespace mlir;
using namespace mlir::mhc;
using ::mhc::OptimizerKind;

namespace {

/// Slots of the step's scalars (docs/design/package.md).
constexpr int64_t rateSlot = 0;

class StepBuilder {
public:
  StepBuilder(FunctionImporter &f, Location loc, const WeightStep &step, const WeightValues &in) : b(f.b), loc(loc), step(step), in(in), like(in.w.getType()) {}

  WeightResults build() {
    switch (step.rule.optimizer) {
    case OptimizerKind::adamw: {
      auto op = AdamwOp::create(b, loc, TypeRange{like, like, like}, in.w, in.g, in.states[0], in.states[1], in.factor, in.scalars, unit(step.rule.decay != 0), number(step.rule.rate));
      return {op.getWNext(), {op.getMNext(), op.getVNext()}};
    }
    case OptimizerKind::adamh: {
      auto op = AdamDirectionOp::create(b, loc, TypeRange{like, like, like}, in.states[0], in.states[1], in.g, in.scalars, in.factor);
      return {onSphere(op.getD()), {op.getMNext(), op.getVNext()}};
    }
    case OptimizerKind::muon:
    case OptimizerKind::muonh: {
      auto op = MomentumOp::create(b, loc, TypeRange{like, like}, in.states[0], in.g, in.factor, number(step.momentum), unit(step.nesterov));
      Value o = NewtonSchulzOp::create(b, loc, like, op.getU(), b.getI64IntegerAttr(step.rows), b.getI64IntegerAttr(step.columns), number(step.newtonSchulzEps));
      return {step.rule.isSphere() ? onSphere(o) : decayed(o), {op.getMNext()}};
    }
    }
    llvm_unreachable("optimizer");
  }

private:
  FloatAttr number(double value) { return b.getF64FloatAttr(value); }
  UnitAttr unit(bool set) { return set ? b.getUnitAttr() : UnitAttr(); }
  /// A product of scalars, for each row of `of`.
  Value rate(Value of, ArrayRef<int64_t> slots, double factor) {
    Type type = narrowTensor({1}, cast<ShapedType>(like).getElementType());
    return TokenWeightOp::create(b, loc, type, of, in.scalars, b.getDenseI64ArrayAttr(slots), number(factor));
  }
  Value guarded(Value now, Value before) { return in.factor ? GuardOp::create(b, loc, now.getType(), now, before, in.factor).getResult() : now; }

  /// w - decay w - rate o.
  Value decayed(Value o) {
    Value w = in.w;
    if (step.rule.decay != 0)
      w = AddScaledOp::create(b, loc, like, w, w, rate(w, step.decaySlots, -step.rule.decay));
    w = AddScaledOp::create(b, loc, like, w, o, rate(w, {rateSlot}, -step.rule.rate));
    return guarded(w, in.w);
  }

  /// A step of rate times the radius along `o`, and back to the radius; rows are what has one norm.
  Value onSphere(Value o) {
    Value w = in.w;
    Type type = like;
    if (step.matricesOfNorm != 1) {
      type = RankedTensorType::get({ShapedType::kDynamic, step.matricesOfNorm * rowElements(like)}, cast<ShapedType>(like).getElementType());
      w = ViewOp::create(b, loc, type, w);
      o = ViewOp::create(b, loc, type, o);
    }
    Value y = DescendOp::create(b, loc, type, w, o, in.radius, rate(w, {rateSlot}, step.rule.rate));
    auto sphere = cast<ManifoldAttrInterface>(Attribute(SphereAttr::get(b.getContext(), FloatAttr(), FloatAttr())));
    Value h = guarded(ProjectOp::create(b, loc, type, y, in.radius, sphere), w);
    return type == like ? h : ViewOp::create(b, loc, like, h).getResult();
  }

  OpBuilder &b;
  Location loc;
  const WeightStep &step;
  const WeightValues &in;
  Type like;
};

} // namespace

WeightResults mlir::mhc::buildWeightStep(FunctionImporter &f, Location loc, const WeightStep &step, const WeightValues &values) {
  return StepBuilder(f, loc, step, values).build();
}

void mlir::mhc::importOptimizer(FunctionImporter &f, const ::mhc::OptimizerStepKind &kind) {
  OpBuilder &b = f.b;
  Type f32 = b.getF32Type();
  int64_t total = 1;
  for (int64_t size : kind.shape)
    total *= size;
  WeightStep step;
  step.rule.optimizer = kind.optimizer;
  step.rule.decay = kind.weightDecay != 0 ? 1 : 0;
  step.decaySlots = {rateSlot, 5};
  int64_t matrices = 1;
  if (step.rule.isMuon() || kind.normOfEach()) {
    matrices = kind.shape.size() == 3 ? kind.shape[0] : 1;
    step.rows = kind.shape[kind.shape.size() - 2];
    step.columns = kind.shape.back();
    if (!kind.normOfEach())
      step.matricesOfNorm = matrices;
  }
  step.momentum = kind.betas[0];
  step.newtonSchulzEps = kind.eps;
  step.nesterov = kind.nesterov;

  f.begin("step", {});
  Location loc = f.place("optimizer");
  auto argument = [&](StringRef name, Type type, int64_t rows) {
    return f.argument(type, {b.getNamedAttr("mhc.name", b.getStringAttr(name)), b.getNamedAttr("mhc.rows", b.getI64IntegerAttr(rows))});
  };
  RankedTensorType weight = f.rows({total / matrices}, f32);
  WeightValues in;
  in.w = argument("w", weight, matrices);
  in.g = argument("g", weight, matrices);
  SmallVector<StringRef> names = step.rule.isMuon() ? SmallVector<StringRef>{"momentum"} : SmallVector<StringRef>{"exp_avg", "exp_avg_sq"};
  for (StringRef name : names)
    in.states.push_back(argument(name, weight, matrices));
  if (step.rule.isSphere())
    in.radius = argument("radius", narrowTensor({1}, f32), kind.normOfEach() ? matrices : 1);
  in.scalars = ScalarsOp::create(b, loc, RankedTensorType::get({64}, f32));
  WeightResults out = buildWeightStep(f, loc, step, in);
  f.result(out.w, "w");
  for (auto [name, state] : llvm::zip(names, out.states))
    f.result(state, name);
  f.end();
}
