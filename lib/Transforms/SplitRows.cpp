//===- SplitRows.cpp - rows that are too long for one thread ----------------===//
//
// A row of a stack of weights is a whole matrix. Rows are what threads and blocks share out, so long ones are cut: elementwise ops work on the parts, with each matrix's numbers repeated for its parts, and
// sums over a row become sums over the parts and then over the parts' sums, in an order that the row's length fixes.
//
//===----------------------------------------------------------------------===//

#include "mhc/Analysis/KernelFormer.h"
#include "mhc/Transforms/Decision.h"
#include "mhc/Transforms/Passes.h"

#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace mlir::mhc {
#define GEN_PASS_DEF_SPLITROWSPASS
#include "mhc/Transforms/Passes.h.inc"

namespace {

constexpr StringLiteral passName = "mhc-split-rows";
/// Shorter parts than this cost more than they bring, unless a row has no better divisor.
constexpr int64_t leastPart = 16;

bool isLongRow(Value v, int64_t limit) {
  Type type = v.getType();
  return hasRows(type) && !isNarrow(type) && !isInterleaved(type) && cast<RankedTensorType>(type).getRank() == 2 && rowElements(type) > limit;
}

struct SplitRowsPass : impl::SplitRowsPassBase<SplitRowsPass> {
  using SplitRowsPassBase::SplitRowsPassBase;

  void runOnOperation() override {
    if (part < 1) {
      getOperation().emitError("expected parts of at least 1 element, but got ") << part.getValue();
      return signalPassFailure();
    }
    if (getOperation().isDeclaration())
      return;
    Block &block = getOperation().getBody().front();
    for (Operation &op : llvm::make_early_inc_range(block))
      if (isa<RowOpInterface>(op))
        split(&op);
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
      if (isa<ViewOp>(op) && isOpTriviallyDead(&op))
        op.erase();
  }

  /// The largest divisor of a row that is a part's most at most; those that whole vectors cover are preferred. The row itself where it has none.
  int64_t partOf(int64_t row) {
    int64_t best = 0, even = 0;
    for (int64_t each = std::min<int64_t>(part, row); each >= leastPart; --each)
      if (row % each == 0) {
        best = best ? best : each;
        even = even || each % 64 ? even : each;
      }
    if (even >= best / 4 && even)
      return even;
    return best ? best : row;
  }

  static Value viewAs(OpBuilder &b, Location loc, Value v, Type type) {
    while (auto view = v.getDefiningOp<ViewOp>())
      v = view.getValue();
    return v.getType() == type ? v : ViewOp::create(b, loc, type, v).getResult();
  }
  static Type rowsOf(Value like, int64_t elements) { return RankedTensorType::get({ShapedType::kDynamic, elements}, cast<ShapedType>(like.getType()).getElementType()); }

  void split(Operation *op) {
    int64_t row = 0;
    for (Value v : llvm::concat<Value>(op->getOperands(), op->getResults()))
      if (isLongRow(v, part)) {
        if (row && row != rowElements(v.getType()))
          return;
        row = rowElements(v.getType());
      }
    if (!row || onlyCounts(op) || meetsStreams(op))
      return;
    int64_t elements = partOf(row), parts = row / elements;
    if (parts == 1)
      return refuse(op, row, "a row of " + Twine(row) + " elements has no divisor from " + Twine(leastPart) + " to " + Twine(part.getValue()));
    if (isa<DotRowsOp, GramOp, RowSumOp>(op))
      sumParts(op, elements, parts);
    else if (isElementwiseOp(op))
      mapParts(op, elements, parts);
    else
      refuse(op, row, "the op is neither elementwise nor a sum over the row");
  }

  static void refuse(Operation *op, int64_t row, const Twine &reason) {
    emitDecision(op->getLoc(), passName, op->getName().stripDialect(), op, false, reason);
  }

  /// Rows next to streams are tokens', and belong to a boundary, which a cut would take apart.
  static bool meetsStreams(Operation *op) {
    auto hasStreams = [](Operation *other) {
      return other && llvm::any_of(llvm::concat<Value>(other->getOperands(), other->getResults()), [](Value v) {
        return hasRows(v.getType()) && !isNarrow(v.getType()) && cast<RankedTensorType>(v.getType()).getRank() == 3;
      });
    };
    return llvm::any_of(op->getOperands(), [&](Value v) { return hasStreams(v.getDefiningOp()); }) || llvm::any_of(op->getUsers(), hasStreams);
  }

  /// True if the op reads no row: it only counts them.
  static bool onlyCounts(Operation *op) {
    auto row = cast<RowOpInterface>(op);
    return llvm::none_of(op->getOpOperands(), [&](OpOperand &operand) { return hasRows(operand.get().getType()) && row.operandUse(operand.getOperandNumber()) != OperandUse::count; });
  }

  /// All results are wide, and each element depends on the same element of the operands: the op's own kernel says so.
  static bool isElementwiseOp(Operation *op) {
    if (!llvm::all_of(op->getResults(), [](Value v) { return hasRows(v.getType()) && !isNarrow(v.getType()); }))
      return false;
    OwningOpRef<ModuleOp> scratch = ModuleOp::create(op->getLoc());
    OpBuilder b(scratch->getBodyRegion());
    KernelOp kernel = formKernel(b, op, SmallVector<Value>(op->getResults())).kernel;
    bool counts = kernel.getBody().walk([](RowChannelOp) { return WalkResult::interrupt(); }).wasInterrupted();
    return isElementwise(kernel) && !counts;
  }

  /// The op's operands for the parts.
  IRMapping operandsOfParts(OpBuilder &b, Operation *op, int64_t elements, int64_t parts) {
    IRMapping map;
    for (Value v : op->getOperands()) {
      if (isLongRow(v, part))
        map.map(v, viewAs(b, op->getLoc(), v, rowsOf(v, elements)));
      else if (hasRows(v.getType()) && !map.contains(v))
        map.map(v, repeated(b, op, v, elements, parts));
    }
    return map;
  }

  /// A matrix's number for each of its parts; what is the same for all is made for the parts at once.
  Value repeated(OpBuilder &b, Operation *op, Value v, int64_t elements, int64_t parts) {
    if (Operation *def = v.getDefiningOp(); def && isa<RowOpInterface>(def) && onlyCounts(def)) {
      IRMapping map;
      for (Value like : def->getOperands())
        if (isLongRow(like, part))
          map.map(like, viewAs(b, op->getLoc(), like, rowsOf(like, elements)));
      return b.clone(*def, map)->getResult(cast<OpResult>(v).getResultNumber());
    }
    return RepeatOp::create(b, op->getLoc(), v.getType(), v, parts);
  }

  void mapParts(Operation *op, int64_t elements, int64_t parts) {
    OpBuilder b(op);
    IRMapping map = operandsOfParts(b, op, elements, parts);
    Operation *copy = b.clone(*op, map);
    for (auto [from, to] : llvm::zip(op->getResults(), copy->getResults())) {
      Type type = from.getType();
      to.setType(rowsOf(from, elements));
      Value back = ViewOp::create(b, op->getLoc(), type, to);
      from.replaceAllUsesWith(back);
    }
    op->erase();
  }

  void sumParts(Operation *op, int64_t elements, int64_t parts) {
    OpBuilder b(op);
    IRMapping map = operandsOfParts(b, op, elements, parts);
    Operation *copy = b.clone(*op, map);
    for (auto [from, to] : llvm::zip(op->getResults(), copy->getResults())) {
      Value sums = viewAs(b, op->getLoc(), to, rowsOf(to, parts));
      from.replaceAllUsesWith(RowSumOp::create(b, op->getLoc(), from.getType(), sums).getResult());
    }
    op->erase();
  }
};

} // namespace
} // namespace mlir::mhc
