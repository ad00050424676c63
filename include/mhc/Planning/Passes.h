//===- Passes.h - from kernels to the plan ----------------------------------===//
#ifndef MHC_PLANNING_PASSES_H
#define MHC_PLANNING_PASSES_H

#include "mhc/Dialect/Plan/IR/PlanDialect.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace mlir::mhc {

#define GEN_PASS_DECL
#include "mhc/Planning/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "mhc/Planning/Passes.h.inc"

} // namespace mlir::mhc

#endif // MHC_PLANNING_PASSES_H
