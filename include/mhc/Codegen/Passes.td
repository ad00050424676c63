//===- Passes.td - passes from kernels to code -----------------*- tablegen -*-===//
#ifndef MHC_CODEGEN_PASSES
#define MHC_CODEGEN_PASSES

include "mlir/Pass/PassBase.td"

def ScheduleKernelsPass : Pass<"mhc-schedule-kernels", "::mlir::ModuleOp"> {
  let summary = "cut kernels into phases at their reductions";
  let options = [Option<"family", "family", "std::string", /*default=*/"\"cpu\"", "schedule family: cpu or simple">];
  let dependentDialects = ["::mlir::mhc::MhcDialect"];
}

def ExpandMathPass : Pass<"mhc-expand-math"> {
  let summary = "write math functions out in arithmetic that the target has";
  let description = [{
    Host code may not call libm, and GPU code must not depend on libdevice being there. So `math.*` ops, and the rounding of f64 to bf16, are written out
    for scalars and vectors of f32 and f64 (`nvptx`: f32 alone). An op that the target has no expansion of is an error.
  }];
  let options = [Option<"target", "target", "std::string", /*default=*/"\"cpu\"", "cpu or nvptx">];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::vector::VectorDialect",
                           "::mlir::LLVM::LLVMDialect", "::mlir::NVVM::NVVMDialect"];
}

#endif // MHC_CODEGEN_PASSES
