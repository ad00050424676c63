//===- InsertRecomputeBoundaries.cpp - blocks of sublayers to recompute -----===//

#include "GroupCuts.h"

#include "mhc/Transforms/Decision.h"
#include "mhc/Dialect/Mhc/IR/MhcOps.h"
#include "mhc/Transforms/Passes.h"

namespace mlir::mhc {
#define GEN_PASS_DEF_INSERTRECOMPUTEBOUNDARIESPASS
#include "mhc/Transforms/Passes.h.inc"

namespace {

constexpr StringLiteral passName = "mhc-insert-recompute-boundaries";

/// Elements a token that Eq. 20 counts for blocks of `block` of L sublayers of n streams of C channels.
int64_t keptElements(int64_t n, int64_t C, int64_t L, int64_t block) { return n * C * ((L + block - 1) / block) + (n + 2) * C * block; }

/// Ops of the topology, and the norm that F begins with: cheap beside the memory that their results take. The projection and the norm of the streams
/// are kept: a few numbers a token, which cost a pass over phi and whose last bits depend on the kernel that sums them. So the coefficients, and the
/// streams after them, have the bits that they had in forward. Groups of blocks have the coefficients kept, too: their wide code loads them, and what is
/// computed again is rows alone.
bool isRecomputed(Operation *op, bool groups) {
  if (groups && llvm::all_of(op->getResultTypes(), [](Type type) { return hasRows(type) && isNarrow(type); }))
    return false;
  if (isa<DivideOp, SelectOp, AffineOp, ActivationOp, ProjectOp, ConstantRowsOp, AggregateOp, AddBiasOp, CombineOp>(op))
    return true;
  // Casts and the leading norm follow what they read; coefficients are cheap.
  if (isa<CastOp>(op) && hasRows(op->getResult(0).getType()) && isNarrow(op->getResult(0).getType()))
    return true;
  if (isa<CastOp, RmsNormOp>(op) && hasRows(op->getResult(0).getType()))
    if (Operation *def = op->getOperand(0).getDefiningOp())
      return isa<AggregateOp, CombineOp, RmsNormOp>(def) ? isRecomputed(def, groups) : isa<CastOp>(def) && isRecomputed(def, groups);
  return false;
}

struct InsertRecomputeBoundariesPass : impl::InsertRecomputeBoundariesPassBase<InsertRecomputeBoundariesPass> {
  using InsertRecomputeBoundariesPassBase::InsertRecomputeBoundariesPassBase;

  void runOnOperation() override {
    func::FuncOp function = getOperation();
    if (!function->hasAttr("mhc.vjp") || block < 0 || function.isDeclaration())
      return;
    // A sublayer ends with its combine, or the cast of it.
    SmallVector<CombineOp> combines;
    for (auto op : function.getBody().front().getOps<CombineOp>())
      combines.push_back(op);
    if (combines.size() < 2)
      return;
    auto x = cast<RankedTensorType>(combines[0].getX().getType());
    int64_t n = x.getShape()[1], C = x.getShape()[2], L = combines.size();
    // Without recomputation every sublayer keeps x, u and RMSNorm(u).
    int64_t everything = (n + 2) * C * L, bytes = x.getElementTypeBitWidth() / 8;
    int64_t chosen = block;
    if (budget > 0) {
      // The fewest recomputed sublayers: the smallest block that fits.
      chosen = 0;
      for (int64_t candidate = 1; candidate <= L && !chosen; ++candidate)
        if (keptElements(n, C, L, candidate) <= budget)
          chosen = candidate;
      if (!chosen) {
        emitDecision(function.getLoc(), passName, "recompute blocks", function, false,
                     "no block size keeps at most " + Twine(budget.getValue()) + " elements a token");
        return;
      }
    } else if (!chosen) {
      chosen = 1;
      for (int64_t candidate = 2; candidate <= L; ++candidate)
        if (keptElements(n, C, L, candidate) < keptElements(n, C, L, chosen))
          chosen = candidate;
      if (keptElements(n, C, L, chosen) >= everything) {
        emitDecision(function.getLoc(), passName, "recompute blocks", function, false,
                     Twine(L) + " sublayers keep " + Twine(everything) + " elements a token; with blocks of " + Twine(chosen) + " it would be " +
                         Twine(keptElements(n, C, L, chosen)),
                     DecisionFigures{everything * bytes, keptElements(n, C, L, chosen) * bytes, 0});
        return;
      }
    }
    chosen = std::min(chosen, L);
    emitDecision(function.getLoc(), passName, "recompute blocks", function, true,
                 "blocks of " + Twine(chosen) + " of " + Twine(L) + " sublayers keep n C ceil(L / L_r) + (n + 2) C L_r = " +
                     Twine(keptElements(n, C, L, chosen)) + " elements a token",
                 DecisionFigures{everything * bytes, keptElements(n, C, L, chosen) * bytes, (L - (L + chosen - 1) / chosen) * 2 * n * (n + 1) * C});
    wrapAll(combines, chosen);
  }

  /// The last op of a sublayer: its combine, or the cast of it.
  static Operation *end(CombineOp op) {
    if (op->hasOneUse())
      if (auto cast = dyn_cast<CastOp>(*op->user_begin()))
        return cast;
    return op;
  }

  void wrapAll(ArrayRef<CombineOp> combines, int64_t size) {
    // The first block begins with the first op that reads the streams; all bounds are taken before anything moves.
    CombineOp leading = combines[0];
    Operation *from = nullptr;
    for (Operation &op : *leading->getBlock())
      if (!from && llvm::is_contained(op.getOperands(), leading.getX()))
        from = &op;
    SmallVector<std::pair<Operation *, Operation *>> bounds;
    for (size_t last = size; ; last += size) {
      Operation *stop = end(combines[std::min(last, combines.size()) - 1]);
      bounds.push_back({from, stop});
      if (last >= combines.size())
        break;
      from = stop->getNextNode();
    }
    for (auto [first, last] : bounds)
      wrap(first, last);
  }

  /// Wraps the ops from `from` to `stop`.
  void wrap(Operation *from, Operation *stop) {
    Block *block = from->getBlock();
    SmallVector<Operation *> inside;
    for (Operation *op = from; op != stop; op = op->getNextNode())
      inside.push_back(op);
    inside.push_back(stop);
    llvm::SmallPtrSet<Operation *, 32> set(inside.begin(), inside.end());
    SmallVector<Value> results;
    for (Operation *op : inside)
      for (Value v : op->getResults())
        if (llvm::any_of(v.getUsers(), [&](Operation *user) { return !set.contains(user); }))
          results.push_back(v);
    OpBuilder b(block, std::next(stop->getIterator()));
    SmallVector<Type> types;
    for (Value v : results)
      types.push_back(v.getType());
    auto region = RecomputeOp::create(b, stop->getLoc(), types);
    Block *body = b.createBlock(&region.getBody());
    for (auto [from, to] : llvm::zip(results, region.getResults()))
      from.replaceUsesWithIf(to, [&](OpOperand &use) { return !set.contains(use.getOwner()); });
    for (Operation *op : inside)
      op->moveBefore(body, body->end());
    b.setInsertionPointToEnd(body);
    YieldOp::create(b, region.getLoc(), results);
    const bool groups = llvm::any_of(inside, [](Operation *op) { return isa<CombineOp>(op) && hasGangs(op, op->getOperand(0).getType()); });
    for (Operation *op : inside) {
      if (isRecomputed(op, groups))
        continue;
      b.setInsertionPointAfter(op);
      for (Value v : op->getResults()) {
        if (v.use_empty())
          continue;
        auto keep = KeepOp::create(b, op->getLoc(), v.getType(), v);
        v.replaceAllUsesExcept(keep.getResult(), keep);
      }
    }
  }
};

} // namespace
} // namespace mlir::mhc
