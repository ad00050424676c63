//===- Passes.h - passes from kernels to code -------------------------------===//
#ifndef MHC_CODEGEN_PASSES_H
#define MHC_CODEGEN_PASSES_H

#include "mhc/Dialect/Mhc/IR/MhcDialect.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace mlir::mhc {

#define GEN_PASS_DECL
#include "mhc/Codegen/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "mhc/Codegen/Passes.h.inc"

} // namespace mlir::mhc

#endif // MHC_CODEGEN_PASSES_H
