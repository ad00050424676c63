//===- Pipelines.cpp - the phases of a compilation --------------------------===//

#include "mhc/Pipelines/Pipelines.h"
#include "mhc/Differentiate/Passes.h"
#include "mhc/Planning/Passes.h"
#include "mhc/Transforms/Passes.h"

#include "mlir/Pass/PassRegistry.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace mlir::mhc;

static constexpr Phase phases[] = {Phase::import,  Phase::optimize, Phase::differentiate, Phase::fuse,
                                   Phase::kernels, Phase::plan,     Phase::package};

ArrayRef<Phase> mlir::mhc::allPhases() { return phases; }

StringRef mlir::mhc::phaseName(Phase phase) {
  switch (phase) {
  case Phase::import:
    return "import";
  case Phase::optimize:
    return "optimize";
  case Phase::differentiate:
    return "differentiate";
  case Phase::fuse:
    return "fuse";
  case Phase::kernels:
    return "kernels";
  case Phase::plan:
    return "plan";
  case Phase::package:
    return "package";
  }
  return "";
}

std::optional<Phase> mlir::mhc::parsePhase(StringRef name) {
  for (Phase phase : phases)
    if (phaseName(phase) == name)
      return phase;
  return std::nullopt;
}

std::string mlir::mhc::listPhases() {
  SmallVector<StringRef> names = llvm::map_to_vector(phases, phaseName);
  return llvm::join(names, ", ");
}

/// The order of the passes is part of the design: backward is derived from the reordered forward program, recomputation
/// is decided before there is a backward pass to do it in, and fusion sees forward and backward alike.
void mlir::mhc::buildPhase(OpPassManager &pm, Phase phase, const PhaseOptions &options) {
  switch (phase) {
  case Phase::import:
  case Phase::package:
    break;
  case Phase::optimize: {
    OpPassManager &functions = pm.nest<func::FuncOp>();
    // Recompute blocks are made of whole sublayers' ops, which exist once topology is expanded; the norm's new place
    // decides what such a block recomputes.
    functions.addPass(createExpandTopologyPass());
    // Weights: what spans a matrix is written out before matrices are cut into parts, so that one pass over the parts serves several of its sums.
    functions.addPass(createExpandNewtonSchulzPass());
    functions.addPass(createExpandSpheresPass());
    functions.addPass(createSplitRowsPass());
    if (options.reorder)
      functions.addPass(createReorderNormAfterMatmulPass());
    if (options.recomputeBlock >= 0) {
      InsertRecomputeBoundariesPassOptions recompute;
      recompute.block = options.recomputeBlock;
      functions.addPass(createInsertRecomputeBoundariesPass(recompute));
    }
    break;
  }
  case Phase::differentiate:
    pm.addPass(createDifferentiatePass());
    break;
  case Phase::fuse: {
    OpPassManager &functions = pm.nest<func::FuncOp>();
    // Boundaries take in the small ops beside them, coefficients what then is left over; without boundaries all small
    // ops are left over.
    if (options.fuseBoundaries) {
      FuseBoundariesPassOptions boundaries;
      boundaries.rebuild = options.rebuild;
      functions.addPass(createFuseBoundariesPass(boundaries));
    }
    if (options.fuseCoefficients)
      functions.addPass(createFuseCoefficientsPass());
    break;
  }
  case Phase::kernels:
    pm.addPass(createFormKernelsPass());
    break;
  case Phase::plan:
    pm.addPass(createPlanPass());
    if (options.rowBlock) {
      BlockRowsPassOptions blocks;
      blocks.rows = options.rowBlock;
      blocks.minRowBytes = options.rowBlockBytes;
      pm.addPass(createBlockRowsPass(blocks));
    }
    break;
  }
  VerifyPhasePassOptions verify;
  verify.phase = phaseName(phase).str();
  pm.addPass(createVerifyPhasePass(verify));
}

namespace {
template <Phase phase> void registerPhase() {
  // The registry keeps references to its texts.
  static const std::string name = ("mhc-phase-" + phaseName(phase)).str(),
                           description = ("the passes of phase " + phaseName(phase)).str();
  PassPipelineRegistration<PhaseOptions>(
      name, description, [](OpPassManager &pm, const PhaseOptions &options) { buildPhase(pm, phase, options); });
}
} // namespace

void mlir::mhc::registerPhasePipelines() {
  registerPipelinesPasses();
  registerPhase<Phase::import>();
  registerPhase<Phase::optimize>();
  registerPhase<Phase::differentiate>();
  registerPhase<Phase::fuse>();
  registerPhase<Phase::kernels>();
  registerPhase<Phase::plan>();
}
