//===- NVPTX.h - code for NVIDIA GPUs ---------------------------------------===//
//
// From a gpu.module of emitted kernels to PTX, in process, and from PTX to a cubin by ptxas where one is installed.
//
//===----------------------------------------------------------------------===//
#ifndef MHC_TARGET_NVPTX_H
#define MHC_TARGET_NVPTX_H

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/ADT/StringMap.h"

#include <optional>
#include <string>

namespace mlir::mhc {

/// What code generation needs to know of a chip.
struct NVPTXChip {
  StringRef name;
  /// LLVM's feature for the PTX ISA that is written. Newer than the chip's first one only where instructions need it,
  /// so that old drivers load it.
  StringRef features;
  /// Clusters, bulk copies and what else schedule family group is made of.
  bool clusters;
};

/// The chip's entry, or nullopt where no code can be made for it.
std::optional<NVPTXChip> lookupNVPTXChip(StringRef name);
/// The names of all chips, for messages.
std::string listNVPTXChips();

/// Adds the passes that take a gpu.module of emitted kernels to the LLVM dialect (the manager is one of gpu.module).
void buildNVPTXLoweringPipeline(OpPassManager &pm);

/// Lowers the module's kernels (in place) and gives the PTX of `chip`. The same module gives the same bytes.
FailureOr<std::string> emitPtx(gpu::GPUModuleOp module, StringRef chip);

struct AssembledPtx {
  /// noAssembler: no ptxas on PATH, in $CUDA_HOME/bin or in /usr/local/cuda/bin, or one that does not know the chip.
  enum class Status { ok, noAssembler, failed } status;
  std::string cubin;
  /// What ptxas said: of each kernel registers, shared memory and spills; or why it failed.
  std::string log;
};

/// Assembles PTX for a chip. Nothing is reported as a diagnostic: the caller decides whether a missing assembler is an
/// error.
AssembledPtx assemblePtx(StringRef ptx, StringRef chip);

/// What ptxas said of a kernel.
struct AssembledKernel {
  int64_t registers = 0, spilled = 0; ///< of a thread; bytes of spill stores and loads
};
llvm::StringMap<AssembledKernel> readAssemblerLog(StringRef log);

} // namespace mlir::mhc

#endif // MHC_TARGET_NVPTX_H
