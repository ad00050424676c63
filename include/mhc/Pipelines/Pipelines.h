//===- Pipelines.h - the phases of a compilation ----------------------------===//
#ifndef MHC_PIPELINES_PIPELINES_H
#define MHC_PIPELINES_PIPELINES_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassOptions.h"

#include <optional>
#include <vector>

namespace mlir::mhc {

/// The phases, in their order. `mhc-compile --compile-to`, `--compile-from` and `--dump-phases-to`, pipelines
/// `mhc-phase-<name>` and the tests go by these names.
enum class Phase { import, optimize, differentiate, fuse, kernels, plan, package };

StringRef phaseName(Phase phase);
std::optional<Phase> parsePhase(StringRef name);
ArrayRef<Phase> allPhases();
/// "import, optimize, ..." for messages.
std::string listPhases();

/// What a user may switch off, or decide in a pass's stead.
struct PhaseOptions : PassPipelineOptions<PhaseOptions> {
  Option<bool> reorder{*this, "reorder", llvm::cl::desc("move norms behind matmuls"), llvm::cl::init(true)};
  Option<int64_t> recomputeBlock{
      *this, "recompute-block",
      llvm::cl::desc("sublayers of a recomputed block; 0: by the memory formula; -1: no recomputation"),
      llvm::cl::init(0)};
  Option<int64_t> rowBlock{*this, "row-block", llvm::cl::desc("rows of a block of very large rows; 0: no blocks"),
                           llvm::cl::init(4096)};
  Option<int64_t> rowBlockBytes{*this, "row-block-bytes", llvm::cl::desc("bytes from which a row is very large"),
                                llvm::cl::init(65536)};
  Option<bool> fuseCoefficients{*this, "fuse-coefficients", llvm::cl::desc("fuse the small ops of a token"),
                                llvm::cl::init(true)};
  Option<bool> fuseBoundaries{*this, "fuse-boundaries", llvm::cl::desc("fuse what stands between two layers"),
                              llvm::cl::init(true)};
  Option<bool> rebuild{*this, "rebuild", llvm::cl::desc("rebuild streams in backward kernels instead of reading them"),
                       llvm::cl::init(true)};
};

/// Adds the passes of a phase and the check behind it. `import` and `package` have none but the check: a description,
/// and a file, are no IR.
void buildPhase(OpPassManager &pm, Phase phase, const PhaseOptions &options);

/// Registers `mhc-phase-<name>` and `mhc-verify-phase`.
void registerPhasePipelines();

#define GEN_PASS_DECL
#include "mhc/Pipelines/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "mhc/Pipelines/Passes.h.inc"

} // namespace mlir::mhc

#endif // MHC_PIPELINES_PIPELINES_H
