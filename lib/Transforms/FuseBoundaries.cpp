//===- FuseBoundaries.cpp - everything between two layers becomes one -------===//
//
// Three steps: `sink` moves cheap ops to where their large results are read; clusters are the connected row ops of one segment; `rebuild` computes a stream again
// inside a kernel that reads what it is made of anyway.
//
//===----------------------------------------------------------------------===//

#include "GroupCuts.h"

#include "mhc/Transforms/Decision.h"
#include "mhc/Analysis/Rows.h"
#include "mhc/Transforms/Passes.h"

#include "mlir/Analysis/TopologicalSortUtils.h"
#include "mlir/IR/Dominance.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/CSE.h"
#include "llvm/ADT/EquivalenceClasses.h"

namespace mlir::mhc {
#define GEN_PASS_DEF_FUSEBOUNDARIESPASS
#include "mhc/Transforms/Passes.h.inc"

namespace {

constexpr StringLiteral passName = "mhc-fuse-boundaries";

/// On arguments of backward functions (mhc-differentiate): gradients that the caller gives.
constexpr StringLiteral cotangentAttr = "mhc.cotangent";

/// Sublayers that one kernel computes one after the other: backward, where it computes them again. Between them there is no layer that would cut the kernel; but each adds reductions over
/// the row, for which the kernel goes over it once more, and a kernel of one is forward's own (docs/design/ir.md has the measurement).
constexpr int64_t recomputedSublayers = 1;

using Ops = llvm::SetVector<Operation *>;

int64_t separateTraffic(const Ops &ops) {
  int64_t bytes = 0;
  for (Operation *op : ops) {
    Ops alone;
    alone.insert(op);
    bytes += kernelTraffic(alone).total();
  }
  return bytes;
}

/// Wide bytes a token that the cluster touches: what its row takes on chip.
int64_t rowOnChip(const Ops &ops) {
  int64_t bytes = 0;
  for (Value v : externalInputs(ops))
    if (hasRows(v.getType()) && !isNarrow(v.getType()))
      bytes += rowBytes(v.getType());
  for (Value v : externalResults(ops))
    if (hasRows(v.getType()) && !isNarrow(v.getType()))
      bytes += rowBytes(v.getType());
  return bytes;
}

class Segments {
public:
  /// `groups`: backward is cut so that each of its boundaries is a kernel for a group of blocks.
  Segments(Block &block, bool groups) : block(block), groups(groups), domains(block) {
    for (Operation &op : block)
      segments[&op] = earliest(&op);
    sink();
  }

  bool fusible(Operation *op) const { return isRowOp(op) && domains.of(op); }
  /// Whether `op` may be in the kernel of `def`, whose result it reads.
  bool mayFollow(Operation *op, Operation *def) const {
    return fusible(op) && fusible(def) && domains.of(op) == domains.of(def) && !looksUp(op, def) && !runsBefore(def, op) && !standsApart(op, def);
  }
  /// A boundary of backward in a group has no warps for the iterations of coefficients, nor registers for one more stream: what is computed again goes in front of it.
  bool runsBefore(Operation *a, Operation *b) const { return groups && a->hasAttr(recomputedMark) && !b->hasAttr(recomputedMark); }
  /// Whether `op` reads another row of a result of `def` than its own: then that is whole before the kernel starts.
  static bool looksUp(Operation *op, Operation *def) {
    bool found = false;
    op->walk([&](RowOpInterface row) {
      for (OpOperand &operand : row->getOpOperands())
        found |= operand.get().getDefiningOp() == def && row.operandUse(operand.getOperandNumber()) == OperandUse::lookup;
    });
    return found;
  }
  int64_t of(Operation *op) const { return segments.lookup(op); }
  bool together(Operation *a, Operation *b) const {
    return !looksUp(b, a) && fusible(a) && fusible(b) && segments.lookup(a) == segments.lookup(b) && domains.of(a) == domains.of(b);
  }

  SmallVector<Ops> clusters() {
    llvm::EquivalenceClasses<Operation *> classes;
    for (Operation &op : block) {
      if (!fusible(&op))
        continue;
      classes.insert(&op);
      forEachOperandDef(&op, [&](Operation *def) {
        if (together(def, &op))
          classes.unionSets(def, &op);
      });
      // Ops that read one row share its read.
      for (Value v : op.getOperands())
        if (hasRows(v.getType()) && !isNarrow(v.getType()))
          for (Operation *user : v.getUsers())
            if (user->getBlock() == &block && user->isBeforeInBlock(&op) && together(user, &op) && !runsBefore(user, &op) && !runsBefore(&op, user))
              classes.unionSets(user, &op);
    }
    SmallVector<Ops> out;
    llvm::DenseMap<Operation *, size_t> index;
    for (Operation &op : block) {
      if (!classes.contains(&op))
        continue;
      auto [it, inserted] = index.try_emplace(classes.getLeaderValue(&op), out.size());
      if (inserted)
        out.emplace_back();
      out[it->second].insert(&op);
    }
    return out;
  }

private:
  void forEachOperandDef(Operation *op, function_ref<void(Operation *)> visit) {
    op->walk([&](Operation *inner) {
      for (Value v : inner->getOperands())
        if (Operation *def = v.getDefiningOp(); def && def->getBlock() == &block)
          visit(def);
    });
  }

  /// The segment of what is computed from parameters alone (rounded weights, a gain folded into phi): in front of all rows, as the parameters are.
  static constexpr int64_t parameterSegment = -1;
  bool isOnParameters(Operation *op) {
    bool found = !op->hasTrait<OpTrait::IsTerminator>() && llvm::none_of(op->getOperandTypes(), hasRows) && llvm::none_of(op->getResultTypes(), hasRows);
    forEachOperandDef(op, [&](Operation *def) { found &= segments.lookup(def) == parameterSegment; });
    return found;
  }

  /// One more than any operand's whose op cannot be in the same kernel: no path leaves a segment and returns.
  int64_t earliest(Operation *op) {
    if (isOnParameters(op))
      return parameterSegment;
    int64_t segment = 0, sublayers = 0;
    bool projects = false, dots = false;
    forEachOperandDef(op, [&](Operation *def) {
      bool same = mayFollow(op, def);
      int64_t least = segments.lookup(def) + (same ? 0 : 1);
      if (least > segment) {
        sublayers = 0;
        projects = dots = false;
      }
      segment = std::max(segment, least);
      if (least == segment && same) {
        sublayers = std::max(sublayers, recomputed.lookup(def));
        projects |= projected.contains(def);
        dots |= multiplied.contains(def);
      }
    });
    if (isa<CombineOp>(op) && ++sublayers > recomputedSublayers) {
      ++segment;
      sublayers = 1;
    }
    if (isa<CombineOp, CombineVjpOp>(op) && projects) {
      ++segment;
      sublayers = isa<CombineOp>(op);
      projects = false;
    }
    if (isa<AffineVjpOp>(op) && dots) {
      ++segment;
      sublayers = 0;
      projects = dots = false;
      deferred.insert(op);
    }
    const bool isNarrowCode = op->getNumResults() && llvm::all_of(op->getResultTypes(), [](Type type) { return hasRows(type) && isNarrow(type); });
    if (isNarrowCode && llvm::any_of(op->getOperands(), [&](Value v) { return deferred.contains(v.getDefiningOp()); }))
      deferred.insert(op);
    recomputed[op] = sublayers;
    if (dots || (isa<CombineVjpOp>(op) && groups))
      multiplied.insert(op);
    if (projects || (isa<ProjectionOp>(op) && groups))
      projected.insert(op);
    return segment;
  }

  /// Whether another op than `but` reads the rows of `v` in that segment.
  bool readsRows(int64_t segment, Value v, Operation *but) const {
    return llvm::any_of(v.getUsers(), [&](Operation *user) {
      Operation *at = block.findAncestorOpInBlock(*user);
      return at != but && fusible(at) && segments.lookup(at) == segment && domains.of(at) == domains.of(but);
    });
  }

  /// Moves ops whose result is larger than what is read for them alone to the segment of their earliest user, users first.
  void sink() {
    for (Operation &op : llvm::reverse(block)) {
      if (!fusible(&op) || op.use_empty())
        continue;
      int64_t latest = std::numeric_limits<int64_t>::max();
      for (Operation *user : op.getUsers()) {
        Operation *at = block.findAncestorOpInBlock(*user);
        if (isa<ProjectionDwOp>(at) && deferred.contains(&op))
          continue; // comes along
        latest = std::min(latest, segments.lookup(at) - (mayFollow(at, &op) ? 0 : 1));
      }
      if (op.hasAttr(recomputedMark)) {
        // As in `earliest`, counted from the other end.
        int64_t after = 0;
        for (Operation *user : op.getUsers())
          if (Operation *at = block.findAncestorOpInBlock(*user); segments.lookup(at) == latest)
            after = std::max(after, following.lookup(at));
        after += isa<CombineOp>(op);
        if (after > recomputedSublayers && latest > segments[&op]) {
          --latest;
          after = isa<CombineOp>(op);
        }
        following[&op] = after;
      }
      if (latest <= segments[&op])
        continue;
      if (deferred.contains(&op)) {
        if (latest == std::numeric_limits<int64_t>::max())
          continue; // phi's gradient alone takes it
        segments[&op] = latest;
        for (Operation *user : op.getUsers())
          if (isa<ProjectionDwOp>(user))
            segments[user] = std::max(segments[user], latest);
        continue;
      }
      if (op.hasAttr(rebuiltMark) || op.hasAttr(recomputedMark)) {
        segments[&op] = latest;
        continue;
      }
      int64_t read = 0, written = 0;
      // Groups of blocks load coefficients that wide code takes; to compute them there every block would have to.
      bool staysNarrow = groups && llvm::all_of(op.getResultTypes(), [](Type type) { return hasRows(type) && isNarrow(type); });
      auto row = dyn_cast<RowOpInterface>(op);
      for (OpOperand &operand : op.getOpOperands())
        // Tables lie in memory anyway, and rows that the later segment reads are read once.
        if ((!row || row.operandUse(operand.getOperandNumber()) == OperandUse::row) && (staysNarrow || !readsRows(latest, operand.get(), &op)))
          read += hasRows(operand.get().getType()) ? rowBytes(operand.get().getType()) : 0;
      for (Value v : op.getResults())
        written += hasRows(v.getType()) ? rowBytes(v.getType()) : 0;
      if (written > read)
        segments[&op] = latest;
    }
  }

  Block &block;
  bool groups;
  RowDomains domains;
  llvm::DenseMap<Operation *, int64_t> segments;
  /// Ops that follow a projection in their segment, on targets that have boundaries in clusters: the coefficients come from an exchange, and rows that wait for them are a kernel of their
  /// own, unless a layer stands between. So a recomputed sublayer is cut as forward is.
  llvm::DenseSet<Operation *> projected;
  /// Ops that follow products of rows with the gradient that their segment stores, on the same targets. The gradients of coefficients that follow from these alone (`delayed`, fixed pre
  /// mappings) belong to the next boundary, which has the rows to multiply them with and need not wait for them: these are deferred, with phi's gradient.
  llvm::DenseSet<Operation *> multiplied, deferred;
  /// Recomputed sublayers in front of an op in its segment.
  llvm::DenseMap<Operation *, int64_t> recomputed;
  /// Recomputed sublayers from an op to the end of its segment.
  llvm::DenseMap<Operation *, int64_t> following;
};

struct FuseBoundariesPass : impl::FuseBoundariesPassBase<FuseBoundariesPass> {
  using FuseBoundariesPassBase::FuseBoundariesPassBase;

  void runOnOperation() override {
    func::FuncOp function = getOperation();
    if (function.isDeclaration() || !function.getOps<RecomputeOp>().empty())
      return; // not differentiated yet
    Block &block = function.getBody().front();
    const bool groups = hasGangs(function);
    // What mhc-fuse-coefficients made is a part of something larger here; what stays alone it makes again.
    dissolveFusions(block);
    noteFloor(function);
    if (rebuild)
      for (Ops &cluster : Segments(block, groups).clusters())
        rebuildStreams(cluster);
    repeatBiases(block, Segments(block, groups));
    for (Ops &cluster : Segments(block, groups).clusters())
      fuse(cluster);
    if (groups)
      runLate(block);
  }

  /// A row plus a bias is not rounded: where several kernels read it, each adds the bias to the row, which has half the bytes of the sum.
  static void repeatBiases(Block &block, const Segments &segments) {
    for (AddBiasOp op : llvm::to_vector(block.getOps<AddBiasOp>())) {
      if (rowBytes(op.getResult().getType()) <= rowBytes(op->getOperand(0).getType()))
        continue;
      llvm::DenseMap<int64_t, Operation *> copies;
      copies[segments.of(op)] = op;
      for (OpOperand &use : llvm::make_early_inc_range(op->getUses())) {
        Operation *user = block.findAncestorOpInBlock(*use.getOwner());
        if (!segments.fusible(user))
          continue;
        Operation *&copy = copies[segments.of(user)];
        if (!copy) {
          OpBuilder b(op);
          copy = b.clone(*op);
        }
        if (copy != op)
          use.set(copy->getResult(0));
      }
      if (op->use_empty())
        op->erase();
    }
  }

  /// Kernels that only compute again run right before what reads their results first, or these would live for longer.
  static void runLate(Block &block) {
    auto isRecomputed = [](Operation &op) { return op.hasAttr(recomputedMark); };
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block))) {
      auto fusion = dyn_cast<FusionOp>(op);
      if (fusion ? !llvm::all_of(fusion.getBody().front().without_terminator(), isRecomputed) : !isRecomputed(op))
        continue;
      Operation *first = nullptr;
      for (Operation *user : op.getUsers())
        if (Operation *at = block.findAncestorOpInBlock(*user); !first || at->isBeforeInBlock(first))
          first = at;
      if (first)
        op.moveBefore(first);
    }
  }

  /// Bytes of rows a token that an entry of row ops alone must move, whatever its kernels, targets and recomputed blocks are: those of its boundaries, each as one kernel that rebuilds streams
  /// where that saves bytes. In backward what forward has computed is not counted, though the entry may compute it again.
  static void noteFloor(func::FuncOp function) {
    if (!isRowsAlone(function))
      return;
    // Either way to cut backward.
    int64_t bytes = std::min(boundaryBytes(function, /*groups=*/false), boundaryBytes(function, /*groups=*/true));
    if (bytes)
      function->setAttr("mhc.floor", IntegerAttr::get(IntegerType::get(function.getContext(), 64), bytes));
  }

  static int64_t boundaryBytes(func::FuncOp function, bool groups) {
    OwningOpRef<func::FuncOp> clone = function.clone(); // outside of the module, and so of its targets
    Block &block = clone->getBody().front();
    // What blocks compute again is what forward has computed.
    block.walk([](Operation *op) { op->removeAttr(recomputedMark); });
    IRRewriter rewriter(function.getContext());
    DominanceInfo dominance(clone.get());
    eliminateCommonSubExpressions(rewriter, dominance, clone.get());
    for (Ops &cluster : Segments(block, groups).clusters())
      rebuildStreams(cluster, /*always=*/true);
    SmallVector<bool> given = llvm::map_to_vector(llvm::seq<unsigned>(0, block.getNumArguments()), [&](unsigned i) { return bool(clone->getArgAttr(i, cotangentAttr)); });
    const bool isBackward = llvm::is_contained(given, true);
    llvm::DenseSet<Operation *> asked; // what depends on a gradient that is given
    for (Operation &op : block)
      if (!isBackward || llvm::any_of(op.getOperands(), [&](Value v) {
            auto argument = dyn_cast<BlockArgument>(v);
            return argument ? given[argument.getArgNumber()] : asked.contains(v.getDefiningOp());
          }))
        asked.insert(&op);
    int64_t bytes = 0;
    for (const Ops &cluster : Segments(block, groups).clusters())
      if (llvm::any_of(cluster, [&](Operation *op) { return asked.contains(op); }))
        bytes += rowOnChip(cluster);
    return bytes;
  }

  /// Row ops of one row count, and layers outside.
  static bool isRowsAlone(func::FuncOp function) {
    Block &block = function.getBody().front();
    RowDomains domains(block);
    int64_t domain = 0;
    for (Operation &op : block) {
      bool rows = llvm::any_of(op.getOperandTypes(), hasRows) || llvm::any_of(op.getResultTypes(), hasRows);
      if (!rows || op.hasTrait<OpTrait::IsTerminator>() || isa<ExternalLayerOp>(op))
        continue;
      if (!isRowOp(&op) || !domains.of(&op) || (domain && domains.of(&op) != domain))
        return false;
      domain = domains.of(&op);
    }
    return domain != 0;
  }

  static bool contains(const Ops &ops, llvm::function_ref<bool(Operation *)> test) {
    bool found = false;
    for (Operation *op : ops)
      op->walk([&](Operation *inner) { found |= test(inner); });
    return found;
  }

  void fuse(Ops &cluster) {
    if (cluster.size() < 2)
      return;
    bool boundary = contains(cluster, [](Operation *op) { return isa<CombineOp, AggregateOp, CombineVjpOp, CombineDxOp, AggregateVjpOp, ReadoutOp, ExpandOp>(op); });
    StringRef kind = boundary ? "boundary" : "chain";
    int64_t before = separateTraffic(cluster), after = kernelTraffic(cluster).total();
    Location loc = cluster.back()->getLoc();
    int64_t row = rowOnChip(cluster), limit = onChipBytes(cluster[0]);
    if (row > limit) {
      emitDecision(loc, passName, kind, cluster[0], false,
                   "the row takes " + Twine(row) + " bytes, a unit of the target keeps " + Twine(limit) + " on chip", DecisionFigures{before, after, 0});
      return;
    }
    if (after > before) {
      emitDecision(loc, passName, kind, cluster[0], false, "one kernel would move more", DecisionFigures{before, after, 0});
      return;
    }
    size_t count = cluster.size();
    FusionOp fusion = makeFusion(cluster, kind);
    emitDecision(fusion.getLoc(), passName, kind, fusion, true,
                 Twine(count) + " ops of one segment become one kernel; its row of " + Twine(row) + " bytes fits on chip", DecisionFigures{before, after, 0});
  }

  /// On-chip bytes of a unit: the least of the targets.
  static int64_t onChipBytes(Operation *op) {
    int64_t least = std::numeric_limits<int64_t>::max();
    for (TargetAttr target : targetsOf(op))
      least = std::min(least, target.getOnChipBytes());
    return least;
  }

  /// Whether moving `bytes` takes longer than `flops` operations, on one of the targets at least: accelerators gain more by it than processors lose.
  static bool paysOff(Operation *op, int64_t bytes, int64_t flops) {
    return llvm::any_of(targetsOf(op), [&](TargetAttr target) {
      return double(bytes) * double(target.getFmaRate()) > double(flops) * double(target.getCopyRate());
    });
  }

  /// A stream x' = cast(combine(x, f, ..)) that this cluster reads, while it also reads x and f: computing it again saves the read.
  static void rebuildStreams(Ops &cluster, bool always = false) {
    SmallVector<Value> inputs = externalInputs(cluster);
    for (Value v : inputs) {
      auto cast = v.getDefiningOp<CastOp>();
      auto combine = (cast ? cast.getValue() : v).getDefiningOp<CombineOp>();
      if (!combine || cluster.contains(combine))
        continue;
      // Forward clusters follow their combine in its own segment; what is left here reads the stream later.
      auto reads = [&](Value w) { return llvm::is_contained(inputs, w); };
      if (!reads(combine.getX()))
        continue;
      int64_t n = shapeOf(v)[1], channels = shapeOf(v)[2];
      DecisionFigures figures{rowBytes(v.getType()), 0, 2 * n * (n + 1) * channels};
      for (Value operand : combine->getOperands())
        if (!reads(operand))
          figures.bytesAfter += rowBytes(operand.getType());
      bool less = figures.bytesAfter < figures.bytesBefore;
      bool taken = less && (always || paysOff(cluster[0], figures.bytesBefore - figures.bytesAfter, figures.flopsAdded));
      if (!always)
        emitDecision(cluster.back()->getLoc(), passName, "rebuild", cluster[0], taken,
                     taken  ? "the kernel reads x and f of the sublayer before anyway: x' is computed again on chip"
                     : less ? "the target reads x' in less time than it takes to compute it again"
                            : "the kernel would have to read more to compute x' again than x' itself",
                     figures);
      if (!taken)
        continue;
      OpBuilder b(cluster[0]);
      Operation *first = cluster[0];
      for (Operation *op : cluster)
        if (op->isBeforeInBlock(first))
          first = op;
      b.setInsertionPoint(first);
      // In a group, a boundary takes the x' that it rebuilds itself, though what is computed again is not its own.
      const bool own = hasGangs(combine, combine->getOperand(0).getType());
      Operation *sum = b.clone(*combine);
      sum->setAttr(rebuiltMark, b.getUnitAttr());
      if (own)
        sum->removeAttr(recomputedMark);
      Value again = sum->getResult(0);
      if (cast) {
        auto copy = mlir::cast<CastOp>(b.clone(*cast));
        copy->setAttr(rebuiltMark, b.getUnitAttr());
        if (own)
          copy->removeAttr(recomputedMark);
        copy->setOperand(0, again);
        again = copy.getResult();
      }
      for (Operation *op : cluster)
        op->walk([&](Operation *inner) { inner->replaceUsesOfWith(v, again); });
      // Narrow operands may come later in the block than the cluster's first op.
      sortTopologically(first->getBlock());
    }
  }
  static ArrayRef<int64_t> shapeOf(Value v) { return mlir::cast<ShapedType>(v.getType()).getShape(); }
};

} // namespace
} // namespace mlir::mhc
