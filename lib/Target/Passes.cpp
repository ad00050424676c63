//===- Passes.cpp - passes that write code ----------------------------------===//

#include "mhc/Target/Passes.h"
#include "mhc/Target/Host.h"
#include "mhc/Target/NVPTX.h"

#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/FuncToLLVM/ConvertFuncToLLVM.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Conversion/MemRefToLLVM/MemRefToLLVM.h"
#include "mlir/Conversion/NVVMToLLVM/NVVMToLLVM.h"
#include "mlir/Conversion/UBToLLVM/UBToLLVM.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVM.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/GPU/GPUToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/NVVM/NVVMToLLVMIRTranslation.h"

#include "llvm/Support/raw_ostream.h"

namespace mlir::mhc {
#define GEN_PASS_DEF_WRITEHOSTPASS
#define GEN_PASS_DEF_WRITEPTXPASS
#include "mhc/Target/Passes.h.inc"

namespace {
LogicalResult writeFile(StringRef path, StringRef text, Location loc) {
  std::error_code error;
  llvm::raw_fd_ostream stream(path, error);
  if (error)
    return emitError(loc) << "could not write '" << path << "': " << error.message();
  stream << text;
  stream.flush();
  if (!stream.has_error())
    return success();
  error = stream.error();
  stream.clear_error();
  return emitError(loc) << "could not write '" << path << "': " << error.message();
}

struct WriteHostPass : impl::WriteHostPassBase<WriteHostPass> {
  using WriteHostPassBase::WriteHostPassBase;
  void runOnOperation() override {
    Location loc = getOperation().getLoc();
    HostOptions options;
    options.cpu = cpu;
    if (emit == "llvm")
      options.emit = HostOutput::llvm;
    else if (emit == "assembly")
      options.emit = HostOutput::assembly;
    else if (emit != "object" && emit != "shared") {
      emitError(loc) << "expected emit to be llvm, assembly, object or shared, but got '" << emit << "'";
      return signalPassFailure();
    }
    FailureOr<std::string> code = emitHostObject(getOperation(), options);
    if (succeeded(code) && emit == "shared")
      code = linkHostSharedObject(*code, loc);
    if (failed(code) || failed(writeFile(output, *code, loc)))
      signalPassFailure();
  }
};

struct WritePtxPass : impl::WritePtxPassBase<WritePtxPass> {
  using WritePtxPassBase::WritePtxPassBase;
  void runOnOperation() override {
    Location loc = getOperation().getLoc();
    FailureOr<std::string> code = emitPtx(getOperation(), chip);
    if (failed(code))
      return signalPassFailure();
    if (emit == "cubin" || emit == "log") {
      AssembledPtx assembled = assemblePtx(*code, chip);
      if (assembled.status != AssembledPtx::Status::ok) {
        emitError(loc) << assembled.log;
        return signalPassFailure();
      }
      code = emit == "log" ? assembled.log : assembled.cubin;
    } else if (emit != "ptx") {
      emitError(loc) << "expected emit to be ptx, cubin or log, but got '" << emit << "'";
      return signalPassFailure();
    }
    if (failed(writeFile(output, *code, loc)))
      signalPassFailure();
  }
};
} // namespace

void registerTargetPipelines() {
  PassPipelineRegistration<>("mhc-host-lowering", "take emitted host kernels to the LLVM dialect",
                             buildHostLoweringPipeline);
  PassPipelineRegistration<>("mhc-nvptx-lowering", "take emitted kernels in gpu.modules to the LLVM dialect",
                             [](OpPassManager &pm) { buildNVPTXLoweringPipeline(pm.nest<gpu::GPUModuleOp>()); });
}

void registerTargetInterfaces(DialectRegistry &registry) {
  arith::registerConvertArithToLLVMInterface(registry);
  cf::registerConvertControlFlowToLLVMInterface(registry);
  registerConvertFuncToLLVMInterface(registry);
  registerConvertMathToLLVMInterface(registry);
  registerConvertMemRefToLLVMInterface(registry);
  registerConvertNVVMToLLVMInterface(registry);
  ub::registerConvertUBToLLVMInterface(registry);
  vector::registerConvertVectorToLLVMInterface(registry);
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  registerNVVMDialectTranslation(registry);
  registerGPUDialectTranslation(registry);
}

} // namespace mlir::mhc
