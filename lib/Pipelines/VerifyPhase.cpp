//===- VerifyPhase.cpp - what holds between phases --------------------------===//

#include "mhc/Dialect/Mhc/IR/MhcOps.h"
#include "mhc/Dialect/Mhc/IR/MhcRowOps.h"
#include "mhc/Dialect/Plan/IR/PlanDialect.h"
#include "mhc/Pipelines/Pipelines.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace mlir::mhc {
#define GEN_PASS_DEF_VERIFYPHASEPASS
#include "mhc/Pipelines/Passes.h.inc"

namespace {

bool isMhc(Operation *op) { return isa_and_nonnull<MhcDialect>(op->getDialect()); }

/// Null, or why an op may not be there at the end of the phase.
const char *whyNot(Operation *op, Phase phase) {
  bool planned = phase >= Phase::plan, kernels = phase >= Phase::kernels;
  if (isa<KernelOp>(op))
    return kernels ? nullptr : "kernels come in phase 'kernels'";
  if (isa_and_nonnull<plan::PlanDialect>(op->getDialect()))
    return planned ? nullptr : "plans come in phase 'plan'";
  if (planned)
    return "kernels and plans are all that is left";
  if (!isMhc(op))
    return nullptr;
  if (kernels) {
    if (auto sum = dyn_cast<SumOp>(op))
      return hasRows(sum.getResult().getType()) ? "rows are summed by kernels" : nullptr;
    return isa<LaunchOp, MatmulOp, LinearOp, LinearDxOp, LinearDwOp, AttentionOp, AttentionVjpOp, EmbeddingVjpOp, SplitTokensOp,
               ViewOp, RopeTableOp, ScalarsOp, ZerosOp>(op)
               ? nullptr
               : "launches and library ops are all that is left";
  }
  if (isa<LaunchOp>(op))
    return "launches come in phase 'kernels'";
  auto project = dyn_cast<ProjectOp>(op);
  if ((isa<SublayerOp, CoefficientsOp, NewtonSchulzOp, DescendOp>(op) || (project && project.getRadius())) && phase >= Phase::optimize)
    return "phase 'optimize' expands it";
  if (isa<RecomputeOp, KeepOp>(op) && phase != Phase::optimize)
    return phase < Phase::optimize ? "recomputation is decided in phase 'optimize'"
                                   : "phase 'differentiate' dissolves it";
  if (isa<FusionOp>(op) && phase != Phase::fuse)
    return "fusions are made in phase 'fuse'";
  return nullptr;
}

struct VerifyPhasePass : impl::VerifyPhasePassBase<VerifyPhasePass> {
  using VerifyPhasePassBase::VerifyPhasePassBase;

  void runOnOperation() override {
    std::optional<Phase> which = parsePhase(phase);
    if (!which) {
      getOperation().emitError("expected phase ") << listPhases() << ", but got '" << phase << "'";
      return signalPassFailure();
    }
    WalkResult result = getOperation()->walk<WalkOrder::PreOrder>([&](Operation *op) -> WalkResult {
      if (op == getOperation())
        return WalkResult::advance();
      if (const char *reason = whyNot(op, *which))
        return op->emitOpError("expected no such op after phase '") << phase << "': " << reason;
      // The inside of kernels and plans is what their own verifiers say.
      return isa<KernelOp, plan::EntryOp>(op) ? WalkResult::skip() : WalkResult::advance();
    });
    if (result.wasInterrupted())
      signalPassFailure();
    markAllAnalysesPreserved();
  }
};
} // namespace
} // namespace mlir::mhc
