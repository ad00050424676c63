//===- ReorderNormAfterMatmul.cpp - RMSNorm(v) phi becomes (v phi) / r ------===//

#include "mhc/Dialect/Mhc/IR/MhcOps.h"
#include "mhc/Transforms/Passes.h"

#include "mhc/Transforms/Decision.h"

namespace mlir::mhc {
#define GEN_PASS_DEF_REORDERNORMAFTERMATMULPASS
#include "mhc/Transforms/Passes.h.inc"

namespace {

constexpr StringLiteral passName = "mhc-reorder-norm-after-matmul";

struct ReorderNormAfterMatmulPass : impl::ReorderNormAfterMatmulPassBase<ReorderNormAfterMatmulPass> {
  void missed(Operation *op, StringRef reason) {
    emitDecision(op->getLoc(), passName, "norm before matmul", op, false, reason);
  }

  void rewrite(ProjectionOp op) {
    if (auto cast = op.getV().getDefiningOp<CastOp>(); cast && cast.getValue().getDefiningOp<RmsNormOp>())
      return missed(op, "a cast stands between norm and matmul: reordering would move a rounding");
    auto norm = op.getV().getDefiningOp<RmsNormOp>();
    if (!norm)
      return;
    int64_t row = rowElements(norm.getX().getType()), channels = cast<ShapedType>(norm.getX().getType()).getShape().back();
    int64_t columns = rowElements(op.getResult().getType());
    int64_t k = cast<ShapedType>(op.getPhi().getType()).getDimSize(op.getTransposed() ? 1 : 0);
    if (k != (norm.getPerStream() ? channels : row))
      return missed(op, "the norm's groups are not the matmul's");
    for (Operation *user : norm.getResult().getUsers())
      if (!isa<ProjectionOp>(user))
        return missed(op, "the normalised row has other uses and must be written all the same");
    bool folds = bool(norm.getGain());
    if (folds && (norm.getInterleaved() != op.getInterleaved() || cast<ShapedType>(norm.getGain().getType()).getRank() != 1))
      return missed(op, "the gain's elements do not lie as phi's");
    if (columns >= row)
      return missed(op, "dividing the columns afterwards costs as much as normalising the row");

    OpBuilder b(op);
    Type compute = cast<ShapedType>(op.getResult().getType()).getElementType();
    // With a gain, RMSNorm(v) phi = (v diag(g) phi) / r: it is multiplied into phi once, and no row knows of it.
    Value phi = op.getPhi();
    if (folds) {
      Type type = withElementType(phi.getType(), computeTypeOf(b.getContext(), {phi.getType(), norm.getGain().getType()}));
      phi = FoldGainOp::create(b, op.getLoc(), type, phi, norm.getGain(), op.getTransposed());
    }
    Value m = ProjectionOp::create(b, op.getLoc(), op.getResult().getType(), norm.getX(), phi, op.getTransposed(), op.getInterleaved());
    bool plus = norm.getRootPlusEps();
    FloatAttr zero = b.getF64FloatAttr(0.0);
    Value r = RmsOp::create(b, op.getLoc(), narrowTensor({row / k}, compute), norm.getX(), plus ? zero : norm.getEpsAttr());
    Value q = DivideOp::create(b, op.getLoc(), op.getResult().getType(), m, r, plus ? norm.getEpsAttr() : zero);
    // Before: the norm reads the row and writes it in the compute type, the matmul reads that. After: both read the row, or share one read.
    int64_t before = rowBytes(norm.getX().getType()) + 2 * rowBytes(norm.getResult().getType()), after = 2 * rowBytes(norm.getX().getType());
    emitDecision(op.getLoc(), passName, "norm after matmul", op, true,
                 "the norm is one scalar for each of " + Twine(row / k) + " group(s): " + Twine(columns) + " columns are divided in place of " + Twine(row) + " elements" +
                     (folds ? "; the gain of " + Twine(k) + " elements is folded into phi" : ""),
                 DecisionFigures{before, after, columns - row});
    op.replaceAllUsesWith(q);
    op.erase();
    if (norm->use_empty())
      norm.erase();
  }

  void runOnOperation() override {
    SmallVector<ProjectionOp> projections;
    getOperation().walk([&](ProjectionOp op) { projections.push_back(op); });
    for (ProjectionOp op : projections)
      rewrite(op);
  }
};

} // namespace
} // namespace mlir::mhc
