//===- GangLaunch.h - how groups of blocks without a cluster are launched -===//
#ifndef MHC_CODEGEN_GANGLAUNCH_H
#define MHC_CODEGEN_GANGLAUNCH_H

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

#include <optional>

namespace mlir::mhc {

/// Beside a kernel's GpuLaunch: `group` blocks have a tile together without a cluster, and exchange through memory of their own. The grid is as many
/// groups as the device holds, all of which run at a time; partials are one a group.
struct GangLaunch {
  int64_t group;
  int64_t workspace; ///< bytes of that memory, a group; it is set to 0xff before a launch
};
void setGangLaunch(LLVM::LLVMFuncOp function, GangLaunch launch);
/// What the emission of a kernel said; nullopt for all others.
std::optional<GangLaunch> getGangLaunch(LLVM::LLVMFuncOp function);

} // namespace mlir::mhc

#endif // MHC_CODEGEN_GANGLAUNCH_H
