//===- NVPTX.cpp - from emitted kernels to PTX ------------------------------===//

#include "mhc/Target/NVPTX.h"
#include "../LLVMCodegen.h"

#include "mhc/Codegen/Passes.h"

#include "mlir/Conversion/GPUToNVVM/GPUToNVVMPass.h"
#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace mlir::mhc;

/// PTX ISA 7.0 is the first with bf16 (sm_80). sm_90a takes 8.6, the first with bulk copies into shared::cta. No entry
/// goes beyond 9.0. setmaxnreg, by which roles share registers, is of the chips with an a.
static constexpr NVPTXChip chips[] = {
    {"sm_80", "+ptx70", false}, {"sm_86", "+ptx71", false}, {"sm_89", "+ptx78", false},  {"sm_90", "+ptx86", false},
    {"sm_90a", "+ptx86", true}, {"sm_100", "+ptx86", false}, {"sm_100a", "+ptx86", true}, {"sm_120", "+ptx87", false},
};

std::optional<NVPTXChip> mlir::mhc::lookupNVPTXChip(StringRef name) {
  for (const NVPTXChip &chip : chips)
    if (chip.name == name)
      return chip;
  return std::nullopt;
}

std::string mlir::mhc::listNVPTXChips() {
  return llvm::join(llvm::map_range(chips, [](const NVPTXChip &chip) { return chip.name; }), ", ");
}

void mlir::mhc::buildNVPTXLoweringPipeline(OpPassManager &pm) {
  pm.addPass(createExpandMathPass({/*target=*/"nvptx"}));
  pm.addPass(createConvertVectorToSCFPass());
  pm.addPass(createHoistAllocasPass());
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  pm.addPass(createSCFToControlFlowPass());
  pm.addPass(memref::createExpandStridedMetadataPass());
  pm.addPass(createLowerAffinePass());
  ConvertGpuOpsToNVVMOpsOptions gpu;
  gpu.useBarePtrCallConv = true;
  gpu.indexBitwidth = 64;
  pm.addPass(createConvertGpuOpsToNVVMOps(gpu));
  pm.addPass(createConvertVectorToLLVMPass());
  pm.addPass(createConvertNVVMToLLVMPass());
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
  pm.addPass(createRepairNVVMPass());
}

/// Calls that would need libdevice or another module, or nothing. Asked before code generation, where it can be said
/// which op made them.
static LogicalResult checkCalls(gpu::GPUModuleOp module) {
  WalkResult result = module.walk([](LLVM::LLVMFuncOp function) {
    if (!function.isExternal() || function.getSymName().starts_with("llvm."))
      return WalkResult::advance();
    function.emitError() << "GPU code calls '" << function.getSymName() << "', which no one defines";
    return WalkResult::interrupt();
  });
  return failure(result.wasInterrupted());
}

FailureOr<std::string> mlir::mhc::emitPtx(gpu::GPUModuleOp module, StringRef chipName) {
  std::optional<NVPTXChip> chip = lookupNVPTXChip(chipName);
  if (!chip)
    return module.emitError() << "expected a chip out of " << listNVPTXChips() << ", but got '" << chipName << "'";
  PassManager pm(module.getContext(), gpu::GPUModuleOp::getOperationName());
  buildNVPTXLoweringPipeline(pm);
  if (failed(pm.run(module)) || failed(checkCalls(module)))
    return failure();

  Location loc = module.getLoc();
  std::unique_ptr<llvm::TargetMachine> machine =
      createTargetMachine("nvptx64-nvidia-cuda", chip->name, chip->features, loc);
  if (!machine)
    return failure();
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> code = translateFor(module, context, *machine);
  if (!code || failed(optimizeModule(*code, *machine, loc)))
    return failure();
  FailureOr<std::string> ptx = generateCode(*code, *machine, llvm::CodeGenFileType::AssemblyFile, loc);
  if (failed(ptx))
    return failure();
  // Intrinsics that the backend lowers to a call show up only here.
  for (StringRef call : {".extern .func", "__nv_"})
    if (size_t at = StringRef(*ptx).find(call); at != StringRef::npos)
      return module.emitError() << "GPU code calls a function that no one defines: "
                                << StringRef(*ptx).substr(at).split('\n').first;
  return ptx;
}
