//===- Passes.td - passes that write code ----------------------*- tablegen -*-===//
//
// Doors for mhc-opt to what Host.h and NVPTX.h offer; mhc-compile calls the functions.
//
//===----------------------------------------------------------------------===//
#ifndef MHC_TARGET_PASSES
#define MHC_TARGET_PASSES

include "mlir/Pass/PassBase.td"

def WriteHostPass : Pass<"mhc-write-host", "::mlir::ModuleOp"> {
  let summary = "write host code of a module in the LLVM dialect to a file";
  let options = [
    Option<"cpu", "cpu", "std::string", /*default=*/"\"x86-64-v3\"", "processor, or native">,
    Option<"emit", "emit", "std::string", /*default=*/"\"assembly\"", "llvm, assembly, object or shared">,
    Option<"output", "output", "std::string", /*default=*/"\"-\"", "the file">];
}

def WritePtxPass : Pass<"mhc-write-ptx", "::mlir::gpu::GPUModuleOp"> {
  let summary = "lower the kernels of a gpu.module and write their PTX or cubin to a file";
  let options = [
    Option<"chip", "chip", "std::string", /*default=*/"\"sm_90a\"", "the chip">,
    Option<"emit", "emit", "std::string", /*default=*/"\"ptx\"", "ptx, cubin, or log (what ptxas says)">,
    Option<"output", "output", "std::string", /*default=*/"\"-\"", "the file">];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::NVVM::NVVMDialect"];
}

#endif // MHC_TARGET_PASSES
