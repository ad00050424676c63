//===- ExpandNewtonSchulz.cpp - the iterations as matmuls -------------------===//

#include "mhc/Dialect/Mhc/IR/MhcOps.h"
#include "mhc/Transforms/Decision.h"
#include "mhc/Transforms/Passes.h"

namespace mlir::mhc {
#define GEN_PASS_DEF_EXPANDNEWTONSCHULZPASS
#include "mhc/Transforms/Passes.h.inc"

namespace {

/// (a, b, c) of each iteration: X = a X + (b A + c A A) X.
constexpr double coefficients[][3] = {
    {4.0848, -6.8946, 2.9270}, {3.9505, -6.3029, 2.6377}, {3.7418, -5.5913, 2.3037}, {2.8769, -3.1427, 1.2046}, {2.8366, -3.0525, 1.2012}};

struct ExpandNewtonSchulzPass : impl::ExpandNewtonSchulzPassBase<ExpandNewtonSchulzPass> {
  void runOnOperation() override {
    SmallVector<NewtonSchulzOp> ops;
    getOperation().walk([&](NewtonSchulzOp op) { ops.push_back(op); });
    for (NewtonSchulzOp op : ops)
      expand(op);
  }

  /// bf16 where GPUs alone run the program: their tensor cores give 15 times the rate of fp32 there, and the iterations correct what rounding disturbs.
  Type elementType(NewtonSchulzOp op) {
    Type own = cast<ShapedType>(op.getU().getType()).getElementType();
    auto targets = op->getParentOfType<ModuleOp>()->getAttrOfType<ArrayAttr>("mhc.targets");
    bool gpus = targets && !targets.empty() && llvm::all_of(targets.getAsRange<TargetAttr>(), [](TargetAttr target) { return target.getName() != "cpu"; });
    return gpus && own.isF32() ? BFloat16Type::get(op.getContext()) : own;
  }

  void expand(NewtonSchulzOp op) {
    OpBuilder b(op);
    Location loc = op.getLoc();
    int64_t rows = op.getRows(), columns = op.getColumns(), side = std::min(rows, columns);
    Type own = cast<ShapedType>(op.getU().getType()).getElementType(), element = elementType(op);
    auto rounded = [&](Value v) -> Value {
      Type type = withElementType(v.getType(), element);
      return v.getType() == type ? v : CastOp::create(b, loc, type, v).getResult();
    };
    Value u = rounded(op.getU());
    auto number = narrowTensor({1}, own);
    Value squares = DotRowsOp::create(b, loc, number, u, u);
    Value scale = NormScaleOp::create(b, loc, number, squares, Value(), op.getEpsAttr(), UnitAttr());
    Value x = rounded(ScaleRowsOp::create(b, loc, op.getU().getType(), u, scale));

    auto square = RankedTensorType::get({ShapedType::kDynamic, side * side}, element);
    auto product = [&](Type type, Value l, Value r, Value plus, std::array<int64_t, 3> mnk, bool transL, bool transR, double alpha, double beta) -> Value {
      auto unit = [&](bool set) { return set ? b.getUnitAttr() : UnitAttr(); };
      return MatmulOp::create(b, loc, type, l, r, plus, b.getI64IntegerAttr(mnk[0]), b.getI64IntegerAttr(mnk[1]), b.getI64IntegerAttr(mnk[2]), unit(transL), unit(transR),
                              b.getF64FloatAttr(alpha), b.getF64FloatAttr(beta));
    };
    bool tall = rows > columns;
    int64_t longer = std::max(rows, columns);
    for (auto [first, second, third] : coefficients) {
      Value a = product(square, x, x, {}, {side, side, longer}, tall, !tall, 1, 0);
      Value p = product(square, a, a, a, {side, side, side}, false, false, third, second);
      x = tall ? product(x.getType(), x, p, x, {rows, columns, side}, false, false, 1, first) : product(x.getType(), p, x, x, {rows, columns, side}, false, false, 1, first);
    }
    emitDecision(loc, "mhc-expand-newton-schulz", "newton_schulz", op, true,
                 Twine("15 batched matmuls of ") + (tall ? "X^T X" : "X X^T") + " of " + Twine(side) + " x " + Twine(side) + " in " + (element.isBF16() ? "bf16" : "the weights' type"));
    replaceUses(b, op.getResult(), x);
    op.erase();
  }

  /// Steps read rounded rows as they are: widening them once for all would write them once more.
  static void replaceUses(OpBuilder &b, Value from, Value to) {
    if (from.getType() == to.getType())
      return from.replaceAllUsesWith(to);
    Value wide;
    for (OpOperand &use : llvm::make_early_inc_range(from.getUses())) {
      Operation *user = use.getOwner();
      if (auto view = dyn_cast<ViewOp>(user)) {
        Type type = withElementType(view.getResult().getType(), cast<ShapedType>(to.getType()).getElementType());
        replaceUses(b, view.getResult(), ViewOp::create(b, view.getLoc(), type, to));
        view.erase();
      } else if (isa<DescendOp, AddScaledOp>(user)) {
        use.set(to);
      } else {
        wide = wide ? wide : CastOp::create(b, user->getLoc(), from.getType(), to).getResult();
        use.set(wide);
      }
    }
  }
};

} // namespace
} // namespace mlir::mhc
