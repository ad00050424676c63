//===- FuseCoefficients.cpp - the small per-token ops become one ------------===//

#include "mhc/Transforms/Decision.h"
#include "mhc/Analysis/Rows.h"
#include "mhc/Transforms/Passes.h"

#include "llvm/ADT/EquivalenceClasses.h"

namespace mlir::mhc {
#define GEN_PASS_DEF_FUSECOEFFICIENTSPASS
#include "mhc/Transforms/Passes.h.inc"

namespace {

constexpr StringLiteral passName = "mhc-fuse-coefficients";

struct FuseCoefficientsPass : impl::FuseCoefficientsPassBase<FuseCoefficientsPass> {
  void runOnOperation() override {
    if (getOperation().isDeclaration())
      return;
    SmallVector<Block *> blocks{&getOperation().getBody().front()};
    getOperation().walk([&](RecomputeOp op) { blocks.push_back(&op.getBody().front()); });
    for (Block *block : blocks)
      fuse(*block);
  }

  void fuse(Block &block) {
    // Two narrow ops may be one kernel when no path from one to the other goes through an op that is not narrow: equal depth in such ops, as in fuse-boundaries.
    RowDomains domains(block);
    llvm::DenseMap<Operation *, int64_t> depth;
    llvm::EquivalenceClasses<Operation *> classes;
    for (Operation &op : block) {
      bool narrow = isNarrowOp(&op);
      int64_t level = 0;
      op.walk([&](Operation *inner) {
        for (Value v : inner->getOperands())
          if (Operation *def = v.getDefiningOp(); def && def->getBlock() == &block)
            level = std::max(level, depth.lookup(def) + (narrow == isNarrowOp(def) ? 0 : 1));
      });
      depth[&op] = level;
      if (!narrow)
        continue;
      classes.insert(&op);
      for (Value v : op.getOperands())
        if (Operation *def = v.getDefiningOp(); def && def->getBlock() == &block && isNarrowOp(def) && depth[def] == level && domains.of(def) == domains.of(&op))
          classes.unionSets(def, &op);
    }
    SmallVector<llvm::SetVector<Operation *>> groups;
    llvm::DenseMap<Operation *, size_t> groupOf;
    for (Operation &op : block) {
      if (!classes.contains(&op))
        continue;
      Operation *leader = classes.getLeaderValue(&op);
      auto [it, inserted] = groupOf.try_emplace(leader, groups.size());
      if (inserted)
        groups.emplace_back();
      groups[it->second].insert(&op);
    }
    for (auto &group : groups) {
      if (group.size() < 2)
        continue;
      int64_t before = 0;
      for (Operation *op : group) {
        llvm::SetVector<Operation *> alone;
        alone.insert(op);
        before += kernelTraffic(alone).total();
      }
      Traffic after = kernelTraffic(group);
      size_t count = group.size();
      FusionOp fusion = makeFusion(group, "coefficients");
      emitDecision(fusion.getLoc(), passName, "coefficients", fusion, true, Twine(count) + " small ops become one launch", DecisionFigures{before, after.total(), 0});
    }
  }
};

} // namespace
} // namespace mlir::mhc
