//===- Rows.cpp - which ops share their rows, and what they move ------------===//

#include "mhc/Analysis/Rows.h"

#include "mlir/Analysis/TopologicalSortUtils.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace mlir::mhc;

bool mhc::isRowOp(Operation *op) { return isa<RowOpInterface, FusionOp>(op); }

/// All ops in a fusion, or the op itself.
static void forEachRowOp(Operation *op, function_ref<void(Operation *)> visit) {
  if (auto fusion = dyn_cast<FusionOp>(op)) {
    for (Operation &inner : fusion.getBody().front())
      if (isa<RowOpInterface>(inner))
        visit(&inner);
    return;
  }
  visit(op);
}

bool mhc::isNarrowOp(Operation *op) {
  if (!isRowOp(op))
    return false;
  bool narrow = true;
  forEachRowOp(op, [&](Operation *inner) {
    // Operands that give the number of rows only are not read.
    bool like = isa<ConstantRowsOp, TokenWeightOp>(inner);
    for (Value v : like ? ValueRange(inner->getResults()) : ValueRange(inner->getOperands()))
      narrow &= !hasRows(v.getType()) || isNarrow(v.getType());
    for (Value v : inner->getResults())
      narrow &= !hasRows(v.getType()) || isNarrow(v.getType());
    // Gathers and tables are no coefficients.
    narrow &= !isa<EmbeddingOp, RopeOp, ClipFactorOp>(inner);
  });
  return narrow;
}

//===----------------------------------------------------------------------===//
// RowDomains
//===----------------------------------------------------------------------===//

namespace {
/// Domain keys: tokens times `numerator / denominator`, both small; arenas and tables get numbers of their own.
int64_t scaled(int64_t domain, int64_t numerator, int64_t denominator) {
  int64_t n = (domain >> 24) * numerator, d = (domain & 0xffffff) * denominator;
  int64_t g = std::gcd(n, d);
  return (n / g) << 24 | (d / g);
}
constexpr int64_t tokens = (int64_t(1) << 24) | 1;
} // namespace

RowDomains::RowDomains(Block &block) {
  int64_t own = int64_t(1) << 56;
  auto function = dyn_cast_or_null<func::FuncOp>(block.getParentOp());
  for (BlockArgument argument : block.getArguments()) {
    if (!hasRows(argument.getType()))
      continue;
    bool state = function && function.getArgAttr(argument.getArgNumber(), "mhc.state");
    // Ranges of arenas have as many rows as their range: two ranges of one size may share a kernel, that is not needed.
    domains[argument] = state ? ++own : tokens;
  }
  for (Operation &op : block) {
    int64_t domain = 0;
    if (auto view = dyn_cast<ViewOp>(op)) {
      domain = scaled(domains.lookup(view.getValue()), rowElements(view.getValue().getType()), rowElements(view.getResult().getType()));
    } else if (isa<RopeTableOp>(op)) {
      domain = ++own;
    } else {
      domain = of(&op);
      if (!domain)
        domain = tokens;
    }
    for (Value result : op.getResults())
      if (hasRows(result.getType()))
        domains[result] = domain;
  }
}

int64_t RowDomains::of(Operation *op) const {
  int64_t found = 0;
  auto visit = [&](Value v) {
    if (hasRows(v.getType()) && !v.getDefiningOp<RopeTableOp>())
      if (int64_t domain = domains.lookup(v))
        found = found ? found : domain;
  };
  op->walk([&](Operation *inner) { llvm::for_each(inner->getOperands(), visit); });
  if (!found)
    llvm::for_each(op->getResults(), visit);
  return found;
}

//===----------------------------------------------------------------------===//
// Traffic
//===----------------------------------------------------------------------===//

SmallVector<Value> mhc::externalInputs(const llvm::SetVector<Operation *> &ops) {
  llvm::SetVector<Value> inputs;
  for (Operation *op : ops)
    op->walk([&](Operation *inner) {
      for (Value v : inner->getOperands()) {
        Operation *def = v.getDefiningOp();
        bool inside = false;
        for (Operation *o = def; o; o = o->getParentOp())
          inside |= ops.contains(o);
        if (!inside)
          inputs.insert(v);
      }
    });
  return inputs.takeVector();
}

SmallVector<Value> mhc::externalResults(const llvm::SetVector<Operation *> &ops) {
  SmallVector<Value> results;
  for (Operation *op : ops)
    for (Value v : op->getResults())
      if (llvm::any_of(v.getUsers(), [&](Operation *user) {
            for (Operation *o = user; o; o = o->getParentOp())
              if (ops.contains(o))
                return false;
            return true;
          }))
        results.push_back(v);
  return results;
}

Traffic mhc::kernelTraffic(const llvm::SetVector<Operation *> &ops) {
  Traffic traffic;
  // Operands that give the number of rows only are not read.
  llvm::SmallPtrSet<Value, 8> read;
  for (Operation *op : ops)
    op->walk([&](Operation *inner) {
      for (OpOperand &operand : inner->getOpOperands())
        if (!(isa<ConstantRowsOp, TokenWeightOp>(inner) && operand.getOperandNumber() == 0))
          read.insert(operand.get());
    });
  for (Value v : externalInputs(ops)) {
    if (!read.contains(v))
      continue;
    if (hasRows(v.getType()))
      traffic.read += rowBytes(v.getType());
    else if (llvm::any_of(ops, [&](Operation *op) { return isa<EmbeddingOp>(op) && op->getOperand(1) == v; }))
      traffic.read += rowBytes(v.getType()) / cast<ShapedType>(v.getType()).getDimSize(0);
  }
  for (Value v : externalResults(ops))
    if (hasRows(v.getType()))
      traffic.written += rowBytes(v.getType());
  return traffic;
}

//===----------------------------------------------------------------------===//
// Fusion
//===----------------------------------------------------------------------===//

FusionOp mhc::makeFusion(const llvm::SetVector<Operation *> &ops, StringRef kind) {
  SmallVector<Operation *> ordered(ops.begin(), ops.end());
  llvm::sort(ordered, [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
  SmallVector<Value> results = externalResults(ops);
  SmallVector<Type> types;
  SmallVector<Location> locations;
  for (Value v : results)
    types.push_back(v.getType());
  for (Operation *op : ordered)
    locations.push_back(op->getLoc());
  OpBuilder b(ordered.back());
  auto fusion = FusionOp::create(b, FusedLoc::get(b.getContext(), locations), types, kind);
  Block *body = b.createBlock(&fusion.getBody());
  // A fusion inside a fusion is dissolved: the outer kernel says it all.
  for (Operation *op : ordered) {
    auto inner = dyn_cast<FusionOp>(op);
    if (!inner) {
      op->moveBefore(body, body->end());
      continue;
    }
    Block &innerBody = inner.getBody().front();
    Operation *yield = innerBody.getTerminator();
    SmallVector<Value> yielded(yield->getOperands());
    yield->erase();
    body->getOperations().splice(body->end(), innerBody.getOperations());
    for (auto [from, to] : llvm::zip(inner.getResults(), yielded)) {
      llvm::replace(results, Value(from), to);
      from.replaceAllUsesWith(to);
    }
    inner.erase();
  }
  b.setInsertionPointToEnd(body);
  YieldOp::create(b, fusion.getLoc(), results);
  for (auto [from, to] : llvm::zip(results, fusion.getResults()))
    from.replaceUsesWithIf(to, [&](OpOperand &use) { return use.getOwner()->getBlock() != body; });
  // Uses inside other fusions' bodies count as outside as well; the block's order is mended as a whole.
  sortTopologically(fusion->getBlock());
  return fusion;
}
