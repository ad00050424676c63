//===- LLVMCodegen.h - from an LLVM module to code, guarded -----------------===//
#ifndef MHC_LIB_TARGET_LLVMCODEGEN_H
#define MHC_LIB_TARGET_LLVMCODEGEN_H

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Operation.h"
#include "mlir/Pass/Pass.h"

#include "llvm/IR/Module.h"
#include "llvm/Support/CodeGen.h"
#include "llvm/Target/TargetMachine.h"

#include <memory>
#include <string>

namespace mlir::mhc {

/// A machine of the triple for O3, or nullptr (after a diagnostic at `loc`) where LLVM knows no such triple or
/// processor.
std::unique_ptr<llvm::TargetMachine> createTargetMachine(StringRef triple, StringRef cpu, StringRef features,
                                                         Location loc);

/// Translates an op in the LLVM dialect for a machine; nullptr (after a diagnostic) on failure. Kernels never throw,
/// which is said here for all.
std::unique_ptr<llvm::Module> translateFor(Operation *op, llvm::LLVMContext &context, llvm::TargetMachine &machine);

/// Runs O3 on the module.
LogicalResult optimizeModule(llvm::Module &module, llvm::TargetMachine &machine, Location loc);

/// Gives object or assembly of the module. What LLVM reports as a fatal error (an instruction that the chip lacks)
/// becomes a diagnostic.
FailureOr<std::string> generateCode(llvm::Module &module, llvm::TargetMachine &machine, llvm::CodeGenFileType type,
                                    Location loc);

/// Moves buffers of static shape to the entry block of their function. In a loop an alloca would grow the stack with
/// each turn, and LLVM turns only those of the entry block into registers.
void hoistAllocas(Operation *root);

/// A pass that does so.
std::unique_ptr<Pass> createHoistAllocasPass();

/// Repairs what MLIR 22 leaves behind in NVVM code: loop annotations, which the branches carry where nobody reads them,
/// and the global of `gpu.dynamic_shared_memory`, which must be external to be dynamic.
std::unique_ptr<Pass> createRepairNVVMPass();

} // namespace mlir::mhc

#endif // MHC_LIB_TARGET_LLVMCODEGEN_H
