//===- GroupCuts.cpp - what boundaries in groups leave to others ------------===//

#include "GroupCuts.h"

#include "mhc/Analysis/GroupSlice.h"
#include "mhc/Dialect/Mhc/IR/MhcRowOps.h"

#include "mlir/IR/BuiltinOps.h"

#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace mlir::mhc;

SmallVector<TargetAttr> mhc::targetsOf(Operation *op) {
  auto module = op->getParentOfType<ModuleOp>();
  auto targets = module ? module->getAttrOfType<ArrayAttr>("mhc.targets") : ArrayAttr();
  if (!targets || targets.empty())
    return {TargetAttr::getDefault(op->getContext())};
  return llvm::to_vector(targets.getAsRange<TargetAttr>());
}

bool mhc::hasGangs(Operation *op) {
  return llvm::any_of(targetsOf(op), [](TargetAttr target) { return target.getGangSize() > 1; });
}

bool mhc::hasGangs(Operation *op, Type streams) {
  auto type = dyn_cast<RankedTensorType>(streams);
  return type && type.getRank() == 3 && type.getElementType().isBF16() && llvm::any_of(targetsOf(op), [&](TargetAttr target) {
           return GangSlice::fits(type.getDimSize(1), type.getDimSize(2), target.getGangSize());
         });
}

/// The op that gives `value`, before it was rounded.
static Operation *unroundedDef(Value value) {
  Operation *def = value.getDefiningOp();
  return isa_and_nonnull<CastOp>(def) ? def->getOperand(0).getDefiningOp() : def;
}

/// The norm that a layer begins with needs sums over the row that the boundary has just aggregated: one more exchange between the blocks of a group, which
/// would wait for it. Where a target has the boundary in groups (clusters, or rings in memory), the norm is a kernel of its own, for two units more.
static bool normsAlone(Operation *op) {
  if (!isa<RmsNormOp>(op) || op->hasAttr(rebuiltMark) || op->hasAttr(recomputedMark))
    return false;
  auto aggregate = dyn_cast_or_null<AggregateOp>(unroundedDef(op->getOperand(0)));
  auto type = aggregate ? dyn_cast<RankedTensorType>(aggregate.getX().getType()) : RankedTensorType();
  if (!type || type.getRank() != 3 || !type.getElementType().isBF16())
    return false;
  int64_t n = type.getDimSize(1), columns = n * n + 2 * n;
  return llvm::any_of(targetsOf(op), [&](TargetAttr target) {
    return target.getClusterSize() > 1 && GroupSlice::choose(n, type.getDimSize(2), columns, target.getClusterSize(), target.getGangSize() > 1);
  });
}

/// Whether the streams are projected by boundaries in groups of blocks.
static bool isProjectedInGroups(Value x) {
  return llvm::any_of(x.getUsers(), [&](Operation *user) {
    auto gradient = dyn_cast<ProjectionDwOp>(user);
    return gradient && gradient.getV() == x && hasGangs(user, x.getType());
  });
}

static bool looksUp(Operation *op) {
  auto row = dyn_cast<RowOpInterface>(op);
  return row && llvm::any_of(op->getOpOperands(), [&](OpOperand &operand) { return row.operandUse(operand.getOperandNumber()) == OperandUse::lookup; });
}

/// Itself, or as the factor in front of it, whose product is not rounded.
static bool feedsLookup(Operation *op) { return looksUp(op) || (isa<ScaleOp>(op) && llvm::any_of(op->getUsers(), looksUp)); }

static bool isBf16(Value value) {
  auto type = dyn_cast<ShapedType>(value.getType());
  return type && type.getElementType().isBF16();
}

/// Whether an op that `test` holds for gives `value`, but for sums, factors and rounding.
static bool comesFrom(Value value, function_ref<bool(Operation *)> test) {
  llvm::SmallSetVector<Operation *, 8> open;
  open.insert(value.getDefiningOp());
  for (size_t i = 0; i < open.size(); ++i) {
    Operation *def = open[i];
    if (def && test(def))
      return true;
    if (isa_and_nonnull<CastOp, ScaleOp, SumOp>(def))
      for (Value operand : def->getOperands())
        open.insert(operand.getDefiningOp());
  }
  return false;
}

bool mhc::standsApart(Operation *op, Operation *def) {
  if (normsAlone(op))
    return true;
  for (Value value : op->getOperands()) {
    if (value.getDefiningOp() != def)
      continue;
    // Streams that are all the same row, which is read by its number in a table (embedding) or waits for sums over it (the last norm's gradient).
    if (hasGangs(op, value.getType()) && isa_and_nonnull<ExpandOp>(unroundedDef(value)))
      return true;
    // The gradient of the embedding: its row is shorter than the ones that a block stores.
    if (isa<ReadoutOp>(op) && hasGangs(op, value.getType()) && !isa_and_nonnull<CombineOp>(unroundedDef(value)))
      return true;
    // What experts have computed lies in rows of their own; so does what their gradients begin with.
    if (isa<CombineOp, CombineVjpOp>(op) && op->getOperand(1) == value && hasGangs(op, op->getOperand(0).getType()) && comesFrom(value, looksUp))
      return true;
    if (feedsLookup(op) && isBf16(value) && comesFrom(value, [](Operation *from) { return isa<CombineVjpOp>(from) && hasGangs(from, from->getOperand(0).getType()); }))
      return true;
    // du is the gradient of the norm that the layer begins with, which needs sums over the row before the boundary can begin.
    if (auto vjp = dyn_cast<AggregateVjpOp>(op); vjp && vjp.getDu() == value && isProjectedInGroups(vjp.getX()) && isa_and_nonnull<RmsNormVjpOp>(unroundedDef(value)))
      return true;
  }
  return false;
}
