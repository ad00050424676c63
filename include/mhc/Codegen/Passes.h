//===- Passes.h - passes from kernels to code -------------------------------===//
#ifndef MHC_CODEGEN_PASSES_H
#define MHC_CODEGEN_PASSES_H

#include "mhc/Dialect/Mhc/IR/MhcDialect.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace mlir::mhc {

/// Replaces all kernels (scheduled, family cpu) by functions of the package's CPU ABI, and adds mhc_sum_partials_f32 and _f64.
LogicalResult emitCpuKernels(ModuleOp module);

#define GEN_PASS_DECL
#include "mhc/Codegen/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "mhc/Codegen/Passes.h.inc"

} // namespace mlir::mhc

#endif // MHC_CODEGEN_PASSES_H
