//===- Passes.h --------------------------------------------------------------===//
#ifndef MHC_TRANSFORMS_PASSES_H
#define MHC_TRANSFORMS_PASSES_H

#include "mhc/Dialect/Mhc/IR/MhcDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace mlir::mhc {

#define GEN_PASS_DECL
#include "mhc/Transforms/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "mhc/Transforms/Passes.h.inc"

} // namespace mlir::mhc

#endif // MHC_TRANSFORMS_PASSES_H
