//===- Passes.h - passes that write code ------------------------------------===//
#ifndef MHC_TARGET_PASSES_H
#define MHC_TARGET_PASSES_H

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace mlir::mhc {

#define GEN_PASS_DECL
#include "mhc/Target/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "mhc/Target/Passes.h.inc"

/// Registers `mhc-host-lowering` and `mhc-nvptx-lowering`, the pipelines before the passes that write.
void registerTargetPipelines();

/// The conversions and translations that code generation takes from the registry. A missing one leaves ops unconverted
/// without a word.
void registerTargetInterfaces(DialectRegistry &registry);

} // namespace mlir::mhc

#endif // MHC_TARGET_PASSES_H
