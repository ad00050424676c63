//===- MhcRowOps.h - the row program: kernels and their primitives ----------===//
#ifndef MHC_DIALECT_MHC_IR_MHCROWOPS_H
#define MHC_DIALECT_MHC_IR_MHCROWOPS_H

#include "mhc/Dialect/Mhc/IR/MhcDialect.h"

#define GET_OP_CLASSES
#include "mhc/Dialect/Mhc/IR/MhcRowOps.h.inc"

#endif // MHC_DIALECT_MHC_IR_MHCROWOPS_H
