//===- Import.h - from a description to IR ----------------------------------===//
#ifndef MHC_FRONTEND_IMPORT_H
#define MHC_FRONTEND_IMPORT_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

namespace mhc {
struct Description;
}

namespace mlir::mhc {

/// Builds the module of a description that was parsed and of which `findUnsupported` found nothing: the functions of its entry points, forward only, with what
/// is to be differentiated marked by attributes (docs/design/ir.md).
OwningOpRef<ModuleOp> importDescription(const ::mhc::Description &description, MLIRContext &context);

} // namespace mlir::mhc

#endif // MHC_FRONTEND_IMPORT_H
