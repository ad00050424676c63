//===- LLVMCodegen.cpp - from an LLVM module to code, guarded ---------------===//

#include "LLVMCodegen.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Target/LLVMIR/Export.h"

#include "llvm/Analysis/TargetLibraryInfo.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/MC/MCSubtargetInfo.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/CrashRecoveryContext.h"
#include "llvm/Support/ErrorHandling.h"
#include "llvm/Support/SaveAndRestore.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Transforms/Scalar/LoopIdiomRecognize.h"

#include <mutex>

using namespace mlir;
using namespace mlir::mhc;

static void initializeTargets() {
  static std::once_flag once;
  std::call_once(once, [] {
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
  });
}

/// No function of libm or libc may appear in what we make, save the two that every process has: passes must not form
/// memmove or bcmp, say.
static llvm::TargetLibraryInfoImpl makeLibraryInfo(const llvm::Triple &triple) {
  llvm::TargetLibraryInfoImpl info(triple);
  info.disableAllFunctions();
  if (triple.isX86()) {
    info.setAvailable(llvm::LibFunc_memcpy);
    info.setAvailable(llvm::LibFunc_memset);
  }
  return info;
}

/// Runs `body`; an abort of LLVM inside becomes a diagnostic. The handlers are process-wide, hence one at a time.
static LogicalResult runGuarded(function_ref<void()> body, StringRef what, Location loc) {
  static std::mutex mutex;
  std::lock_guard<std::mutex> lock(mutex);
  std::string reason;
  llvm::CrashRecoveryContext::Enable();
  bool ok;
  {
    // The handler keeps LLVM's words from stderr; LLVM aborts after it, and the context catches that.
    llvm::ScopedFatalErrorHandler handler(
        [](void *data, const char *message, bool) { *static_cast<std::string *>(data) = message; }, &reason);
    llvm::CrashRecoveryContext context;
    ok = context.RunSafely(body);
  }
  llvm::CrashRecoveryContext::Disable();
  if (ok)
    return success();
  return emitError(loc) << what << " failed" << (reason.empty() ? "" : ": ") << reason;
}

std::unique_ptr<llvm::TargetMachine> mlir::mhc::createTargetMachine(StringRef tripleName, StringRef cpu,
                                                                    StringRef features, Location loc) {
  initializeTargets();
  std::string error;
  llvm::Triple triple(tripleName);
  const llvm::Target *target = llvm::TargetRegistry::lookupTarget(triple, error);
  if (!target) {
    emitError(loc) << "no code generator for '" << tripleName << "': " << error;
    return nullptr;
  }
  std::unique_ptr<llvm::MCSubtargetInfo> subtarget(target->createMCSubtargetInfo(triple, "", ""));
  if (!subtarget || !subtarget->isCPUStringValid(cpu)) {
    emitError(loc) << "unknown processor '" << cpu << "' for '" << tripleName << "'";
    return nullptr;
  }
  return std::unique_ptr<llvm::TargetMachine>(target->createTargetMachine(triple, cpu, features, llvm::TargetOptions(),
                                                                          llvm::Reloc::PIC_, std::nullopt,
                                                                          llvm::CodeGenOptLevel::Aggressive));
}

std::unique_ptr<llvm::Module> mlir::mhc::translateFor(Operation *op, llvm::LLVMContext &context,
                                                      llvm::TargetMachine &machine) {
  std::unique_ptr<llvm::Module> module = translateModuleToLLVMIR(op, context, "kernels");
  if (!module) {
    op->emitError("translation to LLVM IR failed");
    return nullptr;
  }
  module->setTargetTriple(machine.getTargetTriple());
  module->setDataLayout(machine.createDataLayout());
  for (llvm::Function &function : *module)
    function.setDoesNotThrow();
  return module;
}

LogicalResult mlir::mhc::optimizeModule(llvm::Module &module, llvm::TargetMachine &machine, Location loc) {
  return runGuarded(
      [&] {
        // The pass that makes memcpy of loops makes memmove too, and does not ask whether it is there.
        llvm::SaveAndRestore noMemmove(llvm::DisableLIRP::Memcpy, true);
        llvm::LoopAnalysisManager loops;
        llvm::FunctionAnalysisManager functions;
        llvm::CGSCCAnalysisManager sccs;
        llvm::ModuleAnalysisManager modules;
        // Kernels arrive as the vector code that their schedule means: the loop and SLP vectorisers find nothing in them but take a third of the
        // time, and unrolling what was not unrolled on purpose only makes more of it.
        llvm::PipelineTuningOptions tuning;
        tuning.LoopVectorization = tuning.SLPVectorization = tuning.LoopInterleaving = tuning.LoopUnrolling = false;
        llvm::PassBuilder builder(&machine, tuning);
        functions.registerPass([&] { return llvm::TargetLibraryAnalysis(makeLibraryInfo(machine.getTargetTriple())); });
        builder.registerModuleAnalyses(modules);
        builder.registerCGSCCAnalyses(sccs);
        builder.registerFunctionAnalyses(functions);
        builder.registerLoopAnalyses(loops);
        builder.crossRegisterProxies(loops, functions, sccs, modules);
        builder.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O3).run(module, modules);
      },
      "optimization", loc);
}

FailureOr<std::string> mlir::mhc::generateCode(llvm::Module &module, llvm::TargetMachine &machine,
                                               llvm::CodeGenFileType type, Location loc) {
  llvm::SmallString<0> code;
  bool supported = true;
  LogicalResult ran = runGuarded(
      [&] {
        llvm::raw_svector_ostream stream(code);
        llvm::legacy::PassManager passes;
        passes.add(new llvm::TargetLibraryInfoWrapperPass(makeLibraryInfo(machine.getTargetTriple())));
        supported = !machine.addPassesToEmitFile(passes, stream, nullptr, type);
        if (supported)
          passes.run(module);
      },
      (Twine("code generation for ") + machine.getTargetCPU()).str(), loc);
  if (failed(ran))
    return failure();
  if (!supported)
    return emitError(loc) << "this output is not supported for " << machine.getTargetCPU();
  return std::string(code);
}

void mlir::mhc::hoistAllocas(Operation *root) {
  SmallVector<memref::AllocaOp> allocas;
  root->walk([&](memref::AllocaOp op) {
    if (op->getOperands().empty())
      allocas.push_back(op);
  });
  // Inserted in front in reverse order, they keep their own.
  for (memref::AllocaOp op : llvm::reverse(allocas))
    if (auto function = op->getParentOfType<FunctionOpInterface>())
      op->moveBefore(&function.getFunctionBody().front(), function.getFunctionBody().front().begin());
}

namespace {
struct HoistAllocasPass : PassWrapper<HoistAllocasPass, OperationPass<>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(HoistAllocasPass)
  StringRef getName() const override { return "HoistAllocasPass"; }
  void runOnOperation() override { hoistAllocas(getOperation()); }
};

struct RepairNVVMPass : PassWrapper<RepairNVVMPass, OperationPass<>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(RepairNVVMPass)
  StringRef getName() const override { return "RepairNVVMPass"; }
  void runOnOperation() override {
    getOperation()->walk([](Operation *op) {
      if (auto global = dyn_cast<LLVM::GlobalOp>(op); global && global.getSymName().starts_with("__dynamic_shmem__")) {
        global.setLinkage(LLVM::Linkage::External);
        global.setAlignment(1024);
      }
      Attribute annotation = op->removeDiscardableAttr("llvm.loop_annotation");
      if (!annotation)
        return;
      if (auto branch = dyn_cast<LLVM::BrOp>(op))
        branch.setLoopAnnotationAttr(cast<LLVM::LoopAnnotationAttr>(annotation));
      else if (auto branch = dyn_cast<LLVM::CondBrOp>(op))
        branch.setLoopAnnotationAttr(cast<LLVM::LoopAnnotationAttr>(annotation));
    });
  }
};
} // namespace

std::unique_ptr<Pass> mlir::mhc::createRepairNVVMPass() { return std::make_unique<RepairNVVMPass>(); }
std::unique_ptr<Pass> mlir::mhc::createHoistAllocasPass() { return std::make_unique<HoistAllocasPass>(); }
