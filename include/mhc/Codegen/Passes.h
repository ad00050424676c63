//===- Passes.h - passes from kernels to code -------------------------------===//
#ifndef MHC_CODEGEN_PASSES_H
#define MHC_CODEGEN_PASSES_H

#include "mhc/Dialect/Mhc/IR/MhcDialect.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

#include <optional>
#include <string>
#include <vector>

namespace mlir::mhc {

/// Replaces all kernels (scheduled, family cpu) by functions of the package's CPU ABI, and adds mhc_sum_partials_f32 and _f64.
LogicalResult emitCpuKernels(ModuleOp module);

/// Emits all kernels of a module (scheduled, families simple and group) into a gpu.module, as kernels of the package's GPU ABI, and adds mhc_sum_partials_f32 and mhc_sum_all_partials_f32.
/// The module's own kernels stay.
LogicalResult emitGpuKernels(ModuleOp source, gpu::GPUModuleOp target);

/// Emits one of the kernels behind library commands (attention, tokens, ..) by its name, unless it is there already.
LogicalResult emitLibraryKernel(StringRef name, gpu::GPUModuleOp target);
/// The names of those that the commands of a module's plans need on a GPU, sorted; without what GPUs have no code for.
std::vector<std::string> listLibraryKernels(ModuleOp module);
/// What of a plan's command GPUs have no code for ("'attention' on f64"); empty if nothing.
std::string whyNotOnGpu(Operation *command);

/// Erases kernels, and the plans and entries that name them: what is left of a module is code.
void keepCode(ModuleOp module);

/// How an emitted kernel is launched.
struct GpuLaunch {
  int64_t tile;    ///< tokens that a block takes at a time
  int64_t threads; ///< of a block
  int64_t shared;  ///< bytes of dynamic shared memory of a block
  /// Blocks of a cluster, which has the tile together; the grid is as many clusters as the device holds at a time.
  int64_t cluster = 1;
  /// Arguments of which the kernel takes tensor maps, in this order behind its other parameters (docs/design/package.md).
  SmallVector<int64_t> maps = {};
  int64_t mapChannels = 0; ///< of a stream in their rows
  int64_t boxes = 1;       ///< of 64 channels that a tensor map's box has, of all streams
  bool interleaved = false; ///< their rows are [C, streams]: to the maps one stream, whose boxes are as many times more
};
void setGpuLaunch(LLVM::LLVMFuncOp function, GpuLaunch launch);
/// What the emission of a kernel said; nullopt for functions of other origin.
std::optional<GpuLaunch> getGpuLaunch(LLVM::LLVMFuncOp function);

#define GEN_PASS_DECL
#include "mhc/Codegen/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "mhc/Codegen/Passes.h.inc"

} // namespace mlir::mhc

#endif // MHC_CODEGEN_PASSES_H
