//===- MhcDialect.h - the mhc dialect, its types and attributes -------------===//
#ifndef MHC_DIALECT_MHC_IR_MHCDIALECT_H
#define MHC_DIALECT_MHC_IR_MHCDIALECT_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "mhc/Dialect/Mhc/IR/MhcDialect.h.inc"
#include "mhc/Dialect/Mhc/IR/MhcEnums.h.inc"

#include "mhc/Dialect/Mhc/IR/MhcInterfaces.h"

#define GET_TYPEDEF_CLASSES
#include "mhc/Dialect/Mhc/IR/MhcTypes.h.inc"

#define GET_ATTRDEF_CLASSES
#include "mhc/Dialect/Mhc/IR/MhcAttributes.h.inc"

#endif // MHC_DIALECT_MHC_IR_MHCDIALECT_H
