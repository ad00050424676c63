//===- ExpandSpheres.cpp - steps on spheres as norms and scalings -----------===//
//
// A weight that is moved and brought back to its sphere would be read three times: for the direction's norm, for the norm of what the step leads to, and to be written. But the norm of a sum
// is a polynomial in the weights' and the direction's products, which one pass gives all together.
//
//===----------------------------------------------------------------------===//

#include "mhc/Dialect/Mhc/IR/MhcOps.h"
#include "mhc/Transforms/Decision.h"
#include "mhc/Transforms/Passes.h"

namespace mlir::mhc {
#define GEN_PASS_DEF_EXPANDSPHERESPASS
#include "mhc/Transforms/Passes.h.inc"

namespace {

constexpr StringLiteral passName = "mhc-expand-spheres";

struct ExpandSpheresPass : impl::ExpandSpheresPassBase<ExpandSpheresPass> {
  void runOnOperation() override {
    SmallVector<ProjectOp> projects;
    SmallVector<DescendOp> steps;
    getOperation().walk([&](ProjectOp op) {
      if (op.getRadius())
        projects.push_back(op);
    });
    for (ProjectOp op : projects)
      expand(op);
    getOperation().walk([&](DescendOp op) { steps.push_back(op); });
    for (DescendOp op : steps) {
      OpBuilder b(op);
      auto number = cast<RankedTensorType>(op.getRate().getType());
      Value squares = DotRowsOp::create(b, op.getLoc(), number, op.getO(), op.getO());
      op.replaceAllUsesWith(moved(b, op, lengthOf(b, op, squares)));
      op.erase();
    }
  }

  /// What the direction is multiplied with: -rate radius / ||o||, 0 where ||o|| is.
  static Value lengthOf(OpBuilder &b, DescendOp op, Value squares) {
    Type number = op.getRate().getType();
    Value scale = NormScaleOp::create(b, op.getLoc(), number, squares, op.getRadius(), b.getF64FloatAttr(0.0), UnitAttr());
    Value length = ProductOp::create(b, op.getLoc(), number, ValueRange{op.getRate(), scale});
    return ScaleOp::create(b, op.getLoc(), number, length, b.getF64FloatAttr(-1.0));
  }
  static Value moved(OpBuilder &b, DescendOp op, Value length) {
    return AddScaledOp::create(b, op.getLoc(), op.getResult().getType(), op.getW(), op.getO(), length);
  }

  void expand(ProjectOp op) {
    OpBuilder b(op);
    Location loc = op.getLoc();
    auto number = cast<RankedTensorType>(op.getRadius().getType());
    auto step = op.getZ().getDefiningOp<DescendOp>();
    bool alone = step && step->hasOneUse();
    int64_t row = rowBytes(op.getZ().getType());
    Value z = op.getZ(), squares;
    if (alone) {
      // ||w + s o||^2 = ||w||^2 + 2 s <w, o> + s^2 ||o||^2
      auto gram = GramOp::create(b, loc, TypeRange{number, number, number}, step.getW(), step.getO());
      Value s = lengthOf(b, step, gram.getYy());
      Value twice = ScaleOp::create(b, loc, number, ProductOp::create(b, loc, number, ValueRange{s, gram.getXy()}), b.getF64FloatAttr(2.0));
      Value last = ProductOp::create(b, loc, number, ValueRange{s, s, gram.getYy()});
      squares = SumOp::create(b, loc, number, ValueRange{gram.getXx(), twice, last});
      z = moved(b, step, s);
    } else {
      squares = DotRowsOp::create(b, loc, number, z, z);
    }
    emitDecision(loc, passName, "sphere", op, alone,
                 alone  ? "the norm after the step comes from the products of weights and direction: they are read twice, not three times"
                 : step ? "the weights after the step have other uses, and are written before they are projected"
                        : "what is projected is no step",
                 DecisionFigures{alone ? 6 * row : 3 * row, alone ? 5 * row : 3 * row, alone ? 4 * (row / 4) : 0});
    Value scale = NormScaleOp::create(b, loc, number, squares, op.getRadius(), b.getF64FloatAttr(op.getWeightEps()), b.getUnitAttr());
    op.replaceAllUsesWith(ScaleRowsOp::create(b, loc, op.getH().getType(), z, scale).getResult());
    op.erase();
    if (alone)
      step.erase();
  }
};

} // namespace
} // namespace mlir::mhc
