//===- Host.h - code for the CPU --------------------------------------------===//
//
// From scheduled and emitted kernels (llvm.func over scf, arith, math, vector and memref.alloca) to an ELF shared
// object, in process. The object has no undefined symbols but memcpy and memset: neither libm nor compiler-rt.
//
//===----------------------------------------------------------------------===//
#ifndef MHC_TARGET_HOST_H
#define MHC_TARGET_HOST_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/PassManager.h"

#include <string>

namespace mlir::mhc {

/// Adds the passes that take a module of emitted kernels to the LLVM dialect.
void buildHostLoweringPipeline(OpPassManager &pm);

enum class HostOutput { object, assembly, llvm };

struct HostOptions {
  /// A processor as LLVM names it, or `native`.
  std::string cpu = "x86-64-v3";
  HostOutput emit = HostOutput::object;
};

/// Translates a module in the LLVM dialect, optimizes it and gives the bytes (the text) asked for. Public functions are
/// exported, private ones become local. The same module gives the same bytes.
FailureOr<std::string> emitHostObject(ModuleOp module, const HostOptions &options = {});

/// Links one object into a shared object and gives its bytes. Errors, undefined symbols among them, are reported at
/// `loc`.
FailureOr<std::string> linkHostSharedObject(StringRef object, Location loc);

} // namespace mlir::mhc

#endif // MHC_TARGET_HOST_H
