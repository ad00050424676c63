//===- MhcOps.h - the tensor ops of the mhc dialect -------------------------===//
#ifndef MHC_DIALECT_MHC_IR_MHCOPS_H
#define MHC_DIALECT_MHC_IR_MHCOPS_H

#include "mhc/Dialect/Mhc/IR/MhcDialect.h"

#include "mlir/Interfaces/ControlFlowInterfaces.h"

#define GET_OP_CLASSES
#include "mhc/Dialect/Mhc/IR/MhcTopologyOps.h.inc"
#define GET_OP_CLASSES
#include "mhc/Dialect/Mhc/IR/MhcManifoldOps.h.inc"
#define GET_OP_CLASSES
#include "mhc/Dialect/Mhc/IR/MhcLayerOps.h.inc"
#define GET_OP_CLASSES
#include "mhc/Dialect/Mhc/IR/MhcRoutingOps.h.inc"
#define GET_OP_CLASSES
#include "mhc/Dialect/Mhc/IR/MhcOptimizerOps.h.inc"
#define GET_OP_CLASSES
#include "mhc/Dialect/Mhc/IR/MhcMonitorOps.h.inc"

namespace mlir::mhc {
/// A coefficient as it is applied: rounded to the connection's coefficient type, if it has one.
Value applied(OpBuilder &b, Location loc, Value coefficient, ConnectionAttr connection);
} // namespace mlir::mhc

#endif // MHC_DIALECT_MHC_IR_MHCOPS_H
