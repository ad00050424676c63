//===- Host.cpp - from emitted kernels to an object for the CPU -------------===//

#include "mhc/Target/Host.h"
#include "../LLVMCodegen.h"

#include "mhc/Codegen/Passes.h"

#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/Passes.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVMPass.h"
#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Transforms/Passes.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/TargetParser/Host.h"

using namespace mlir;
using namespace mlir::mhc;

static constexpr StringLiteral hostTriple = "x86_64-unknown-linux-gnu";

void mlir::mhc::buildHostLoweringPipeline(OpPassManager &pm) {
  pm.addPass(createExpandMathPass({/*target=*/"cpu"}));
  // LLVM would call compiler-rt to round to bf16; the expansion is integer code, which vectorizes.
  arith::ArithExpandOpsPassOptions expand;
  expand.includeBf16 = true;
  pm.addPass(arith::createArithExpandOpsPass(expand));
  pm.addPass(createConvertVectorToSCFPass());
  pm.addPass(createHoistAllocasPass());
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  pm.addPass(createSCFToControlFlowPass());
  pm.addPass(memref::createExpandStridedMetadataPass());
  pm.addPass(createLowerAffinePass());
  ConvertVectorToLLVMPassOptions vector;
  vector.x86Vector = true;
  pm.addPass(createConvertVectorToLLVMPass(vector));
  pm.addPass(createConvertMathToLLVMPass());
  pm.addPass(createFinalizeMemRefToLLVMConversionPass());
  pm.addPass(createArithToLLVMConversionPass());
  pm.addPass(createUBToLLVMConversionPass());
  pm.addPass(createConvertControlFlowToLLVMPass());
  ConvertFuncToLLVMPassOptions function;
  function.useBarePtrCallConv = true;
  pm.addPass(createConvertFuncToLLVMPass(function));
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
}

FailureOr<std::string> mlir::mhc::emitHostObject(ModuleOp module, const HostOptions &options) {
  Location loc = module.getLoc();
  std::string cpu = options.cpu, features;
  if (cpu == "native") {
    cpu = llvm::sys::getHostCPUName().str();
    SmallVector<std::string> list;
    for (auto &[name, has] : llvm::sys::getHostCPUFeatures())
      list.push_back((Twine(has ? "+" : "-") + name).str());
    llvm::sort(list);
    features = llvm::join(list, ",");
  }
  std::unique_ptr<llvm::TargetMachine> machine = createTargetMachine(hostTriple, cpu, features, loc);
  if (!machine)
    return failure();
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> code = translateFor(module, context, *machine);
  if (!code)
    return failure();
  for (auto function : module.getOps<LLVM::LLVMFuncOp>())
    if (!function.isExternal() && SymbolTable::getSymbolVisibility(function) == SymbolTable::Visibility::Private)
      code->getFunction(function.getSymName())->setLinkage(llvm::GlobalValue::InternalLinkage);
  if (failed(optimizeModule(*code, *machine, loc)))
    return failure();
  if (options.emit == HostOutput::llvm) {
    std::string text;
    llvm::raw_string_ostream stream(text);
    code->print(stream, nullptr);
    return text;
  }
  return generateCode(*code, *machine,
                      options.emit == HostOutput::object ? llvm::CodeGenFileType::ObjectFile
                                                         : llvm::CodeGenFileType::AssemblyFile,
                      loc);
}
