//===- PlanPass.cpp - functions of kernel launches become plans -------------===//

#include "EntryBuilder.h"
#include "mhc/Planning/Passes.h"

#include "llvm/ADT/StringSet.h"
#include "llvm/Support/JSON.h"

namespace mlir::mhc {
#define GEN_PASS_DEF_PLANPASS
#include "mhc/Planning/Passes.h.inc"

namespace {

constexpr llvm::StringLiteral lossFunction = "loss_and_gradients", updateFunction = "update", stepEntry = "train_step";

struct PlanPass : impl::PlanPassBase<PlanPass> {
  using PlanPassBase::PlanPassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    func::FuncOp loss, update;
    SmallVector<func::FuncOp> functions(module.getOps<func::FuncOp>());
    for (func::FuncOp func : functions) {
      if (func.getName() == lossFunction)
        loss = func;
      if (func.getName() == updateFunction)
        update = func;
      else if (!func->hasAttr("mhc.entry")) {
        func.emitOpError("expected an entry point (attribute 'mhc.entry') or @update");
        return signalPassFailure();
      }
    }
    SmallVector<plan::EntryOp> entries;
    for (func::FuncOp func : functions) {
      if (func == update)
        continue;
      EntryBuilder builder(module, func.getName(), symbolsOf(func), func.getLoc());
      if (failed(clearCounts(builder, func)))
        return signalPassFailure();
      if (failed(builder.emitFunction(func, EntryBuilder::Results::caller)))
        return signalPassFailure();
      entries.push_back(builder.finish());
      if (Attribute floor = func->getAttr("mhc.floor"))
        entries.back()->setAttr("mhc.floor", floor);
    }
    if (loss && update && failed(buildTrainStep(loss, update)))
      return signalPassFailure();
    for (func::FuncOp func : functions)
      func.erase();
    // Kernels that only dead code launched.
    SymbolTable symbols(module);
    llvm::StringSet<> launched;
    module.walk([&](plan::LaunchOp launch) { launched.insert(launch.getKernel()); });
    for (KernelOp kernel : llvm::make_early_inc_range(module.getOps<KernelOp>()))
      if (!launched.contains(kernel.getSymName()))
        kernel.erase();
  }

  ArrayAttr symbolsOf(func::FuncOp func) {
    auto symbols = func->getAttrOfType<ArrayAttr>("mhc.symbols");
    return symbols ? symbols : ArrayAttr::get(&getContext(), {});
  }

  /// Counts of experts start at zero with every step.
  LogicalResult clearCounts(EntryBuilder &builder, func::FuncOp func) {
    bool counts = llvm::any_of(llvm::seq<unsigned>(0, func.getNumArguments()), [&](unsigned i) {
      auto arena = func.getArgAttrOfType<StringAttr>(i, "mhc.state");
      return arena && arena.getValue() == "expert_counts";
    });
    if (!counts)
      return success();
    FailureOr<int64_t> elements = arenaElements("expert_counts");
    if (succeeded(elements))
      builder.fillState("expert_counts", *elements, 0);
    return elements;
  }

  /// The size of one of the model's arenas, which the manifest tells.
  FailureOr<int64_t> arenaElements(StringRef name) {
    auto text = getOperation()->getAttrOfType<StringAttr>("mhc.manifest");
    if (!text)
      return getOperation().emitOpError("expected attribute 'mhc.manifest' of a module with @update");
    llvm::Expected<llvm::json::Value> manifest = llvm::json::parse(text.getValue());
    if (!manifest)
      return getOperation().emitOpError("expected JSON in attribute 'mhc.manifest', but got: ")
             << llvm::toString(manifest.takeError());
    if (const llvm::json::Object *object = manifest->getAsObject())
      if (const llvm::json::Object *arenas = object->getObject("arenas"))
        if (std::optional<int64_t> elements = arenas->getInteger(name))
          return *elements;
    return getOperation().emitOpError("expected 'arenas.") << name << "' in attribute 'mhc.manifest'";
  }

  LogicalResult buildTrainStep(func::FuncOp loss, func::FuncOp update) {
    FailureOr<int64_t> elements = arenaElements("parameters");
    if (failed(elements))
      return failure();
    EntryBuilder builder(getOperation(), stepEntry, symbolsOf(loss), loss.getLoc());
    if (failed(clearCounts(builder, loss)))
      return failure();
    builder.fillState("gradients", *elements, 0);
    builder.fillScalar(lossSlot, 0);
    builder.fillScalar(crossEntropySlot, 0);
    builder.beginLoop("micro_batches");
    if (failed(builder.emitFunction(loss, EntryBuilder::Results::accumulate)))
      return failure();
    builder.endLoop();
    if (failed(builder.emitFunction(update, EntryBuilder::Results::state)))
      return failure();
    builder.finish();
    return success();
  }
};
} // namespace
} // namespace mlir::mhc
