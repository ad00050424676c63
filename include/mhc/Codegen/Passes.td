//===- Passes.td - passes from kernels to code -----------------*- tablegen -*-===//
#ifndef MHC_CODEGEN_PASSES
#define MHC_CODEGEN_PASSES

include "mlir/Pass/PassBase.td"

def ScheduleKernelsPass : Pass<"mhc-schedule-kernels", "::mlir::ModuleOp"> {
  let summary = "cut kernels into phases at their reductions";
  let options = [Option<"family", "family", "std::string", /*default=*/"\"cpu\"", "schedule family: cpu or simple">];
  let dependentDialects = ["::mlir::mhc::MhcDialect"];
}

#endif // MHC_CODEGEN_PASSES
