//===- FormKernels.cpp - row ops become kernels and launches ----------------===//

#include "mhc/Analysis/KernelFormer.h"
#include "mhc/Analysis/Rows.h"
#include "mhc/Dialect/Mhc/IR/MhcRowOps.h"
#include "mhc/Transforms/Passes.h"

#include "llvm/ADT/StringMap.h"

namespace mlir::mhc {
#define GEN_PASS_DEF_FORMKERNELSPASS
#include "mhc/Transforms/Passes.h.inc"

namespace {

/// The names of all places in a location, joined.
void collectPlaces(Location loc, llvm::SetVector<StringRef> &places) {
  if (auto named = dyn_cast<NameLoc>(loc))
    places.insert(named.getName().getValue());
  else if (auto fused = dyn_cast<FusedLoc>(loc))
    for (Location part : fused.getLocations())
      collectPlaces(part, places);
}

std::string placeOf(ArrayRef<Operation *> ops) {
  llvm::SetVector<StringRef> places;
  std::string verbs;
  llvm::SetVector<StringRef> kinds;
  for (Operation *op : ops) {
    collectPlaces(op->getLoc(), places);
    if (!isa<CastOp, SelectOp, SumOp>(op))
      kinds.insert(op->getName().stripDialect());
  }
  std::string text = llvm::join(places.getArrayRef().take_front(3), ", ");
  if (places.size() > 3)
    text += ", ..";
  text += ": ";
  text += llvm::join(kinds.getArrayRef().take_front(6), ", ");
  if (kinds.size() > 6)
    text += ", ..";
  if (kinds.empty())
    text += ops[0]->getName().stripDialect();
  return text;
}

struct FormKernelsPass : impl::FormKernelsPassBase<FormKernelsPass> {
  /// Kernels by their text without the name.
  llvm::StringMap<KernelOp> known;
  llvm::StringMap<unsigned> counters;
  SymbolTable *symbols = nullptr;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    SymbolTable table(module);
    symbols = &table;
    for (KernelOp kernel : module.getOps<KernelOp>())
      known[text(kernel)] = kernel;
    for (auto function : module.getOps<func::FuncOp>()) {
      if (function.isDeclaration())
        continue;
      // Fusion has respected it; from here on f is simply the argument.
      for (auto layer : llvm::make_early_inc_range(function.getBody().front().getOps<ExternalLayerOp>())) {
        layer.replaceAllUsesWith(layer.getF());
        layer.erase();
      }
      SmallVector<Operation *> ops;
      for (Operation &op : function.getBody().front())
        if (isRowOp(&op))
          ops.push_back(&op);
      llvm::SmallPtrSet<Operation *, 16> done;
      for (Operation *op : ops)
        if (!done.contains(op))
          form(op, done);
    }
    known.clear();
    counters.clear();
  }

  static std::string text(KernelOp kernel) {
    std::string out;
    llvm::raw_string_ostream os(out);
    StringAttr name = kernel.getSymNameAttr();
    kernel.setSymName("_");
    kernel->print(os, OpPrintingFlags().useLocalScope());
    kernel.setSymNameAttr(name);
    return out;
  }

  void form(Operation *op, llvm::SmallPtrSetImpl<Operation *> &done) {
    done.insert(op);
    SmallVector<Operation *> ops;
    SmallVector<Value> outside, replaced;
    std::string kind;
    if (auto fusion = dyn_cast<FusionOp>(op)) {
      kind = fusion.getKind().str();
      Block &body = fusion.getBody().front();
      for (Operation &inner : body.without_terminator())
        ops.push_back(&inner);
      for (auto [yielded, result] : llvm::zip(body.getTerminator()->getOperands(), fusion.getResults())) {
        if (result.use_empty())
          continue;
        outside.push_back(yielded);
        replaced.push_back(result);
      }
    } else {
      // Sums over parameters are the plan's: the first part is written, others are added to it.
      if (isa<SumOp>(op) && !hasRows(op->getResult(0).getType()))
        return;
      kind = op->getName().stripDialect().str();
      ops.push_back(op);
      Operation *last = op;
      if (op->getNumResults() == 1 && op->hasOneUse() && !isa<CastOp>(op))
        if (auto cast = dyn_cast<CastOp>(*op->user_begin()); cast && cast->getBlock() == op->getBlock() && !done.contains(cast)) {
          ops.push_back(cast);
          done.insert(cast);
          last = cast;
        }
      for (Value v : last->getResults())
        if (!v.use_empty())
          outside.push_back(v);
      replaced = outside;
    }
    if (outside.empty()) {
      if (isa<FusionOp>(op))
        op->erase();
      else
        for (Operation *unused : llvm::reverse(ops))
          unused->erase();
      return;
    }

    Operation *position = ops.back()->getParentOp() == op ? op : ops.back();
    OpBuilder b(op->getContext());
    ModuleOp module = getOperation();
    b.setInsertionPointToEnd(module.getBody());
    FormedKernel formed = formKernel(b, ops, outside);
    KernelOp kernel = formed.kernel;
    std::string key = text(kernel);
    if (auto it = known.find(key); it != known.end()) {
      kernel.erase();
      kernel = it->second;
    } else {
      std::string name;
      do
        name = kind + "_" + std::to_string(counters[kind]++);
      while (symbols->lookup(name));
      kernel.setSymName(name);
      symbols->insert(kernel);
      known[key] = kernel;
    }
    b.setInsertionPoint(position);
    SmallVector<Type> results;
    for (Value v : formed.results)
      results.push_back(v.getType());
    auto launch = LaunchOp::create(b, position->getLoc(), results, FlatSymbolRefAttr::get(kernel.getSymNameAttr()), formed.inputs, b.getStringAttr(placeOf(ops)));
    for (auto [from, to] : llvm::zip(formed.results, launch.getResults())) {
      Value old = replaced[llvm::find(outside, from) - outside.begin()];
      old.replaceAllUsesWith(to);
    }
    if (isa<FusionOp>(op))
      op->erase();
    else
      for (Operation *inner : llvm::reverse(ops))
        inner->erase();
  }
};

} // namespace
} // namespace mlir::mhc
