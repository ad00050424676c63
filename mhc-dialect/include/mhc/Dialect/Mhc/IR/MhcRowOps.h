//===- MhcRowOps.h - the row program: kernels and their primitives ----------===//
#ifndef MHC_DIALECT_MHC_IR_MHCROWOPS_H
#define MHC_DIALECT_MHC_IR_MHCROWOPS_H

#include "mhc/Dialect/Mhc/IR/MhcDialect.h"

#define GET_OP_CLASSES
#include "mhc/Dialect/Mhc/IR/MhcRowOps.h.inc"

namespace mlir::mhc {
/// Whether the row that a load reads depends on the run-time length S.
inline bool needsLength(RowLoadOp load) { return load.getAccess() == Access::position || (load.getAccess() == Access::sequence && load.getDivisor() == 0); }
} // namespace mlir::mhc

#endif // MHC_DIALECT_MHC_IR_MHCROWOPS_H
