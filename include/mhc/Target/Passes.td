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
  let description = [{
    The module is translated to LLVM IR, optimized for the processor and written as text or as an object; `shared` links it and refuses undefined symbols other than `memcpy` and `memset`.
    No function of libm or libc comes into the code.

    ```mlir
    llvm.func @scale(%p: !llvm.ptr, %x: f32) {
      %0 = llvm.load %p : !llvm.ptr -> f32
      %1 = llvm.fmul %0, %x : f32
      llvm.store %1, %p : f32, !llvm.ptr
      llvm.return
    }
    ```
    is written as
    ```
    ...
    scale:
    vmulss (%rdi), %xmm0, %xmm0
    vmovss %xmm0, (%rdi)
    retq
    ...
    ```
  }];
  let options = [
    Option<"cpu", "cpu", "std::string", /*default=*/"\"x86-64-v3\"", "processor, or native">,
    Option<"emit", "emit", "std::string", /*default=*/"\"assembly\"", "llvm, assembly, object or shared">,
    Option<"output", "output", "std::string", /*default=*/"\"-\"", "the file">];
}

def WritePtxPass : Pass<"mhc-write-ptx", "::mlir::gpu::GPUModuleOp"> {
  let summary = "lower the kernels of a gpu.module and write their PTX or cubin to a file";
  let description = [{
    The pipeline `mhc-nvptx-lowering` is run first. A function that no one defines (libdevice's among them) is an error; cubins need `ptxas`.

    ```mlir
    gpu.module @kernels {
      llvm.func @clear(%p: !llvm.ptr<1>) attributes {nvvm.kernel} {
        %0 = llvm.mlir.constant(0.0 : f32) : f32
        llvm.store %0, %p : f32, !llvm.ptr<1>
        llvm.return
      }
    }
    ```
    is written as
    ```
    ...
    .target sm_90a
    ...
    .visible .entry clear(
    ...
    st.global.b32 [%rd1], 0;
    ret;
    ...
    ```
  }];
  let options = [
    Option<"chip", "chip", "std::string", /*default=*/"\"sm_90a\"", "the chip">,
    Option<"emit", "emit", "std::string", /*default=*/"\"ptx\"", "ptx, cubin, or log (what ptxas says)">,
    Option<"output", "output", "std::string", /*default=*/"\"-\"", "the file">];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::NVVM::NVVMDialect"];
}

#endif // MHC_TARGET_PASSES
