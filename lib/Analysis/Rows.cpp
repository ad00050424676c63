//===- Rows.cpp - which ops share their rows, and what they move ------------===//

#include "mhc/Analysis/KernelFormer.h"

#include "mlir/Analysis/TopologicalSortUtils.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"

using namespace mlir;
using namespace mlir::mhc;

bool mhc::isRowOp(Operation *op) { return isa<RowOpInterface, FusionOp>(op); }

bool mhc::isNarrowOp(Operation *op) {
  auto row = dyn_cast<RowOpInterface>(op);
  auto rows = [](Value v) { return hasRows(v.getType()); };
  if (!row || (llvm::none_of(op->getOperands(), rows) && llvm::none_of(op->getResults(), rows)))
    return false;
  auto narrow = [](Value v) { return !hasRows(v.getType()) || isNarrow(v.getType()); };
  auto read = [&](OpOperand &operand) {
    OperandUse use = row.operandUse(operand.getOperandNumber());
    return use == OperandUse::count || (use == OperandUse::row && narrow(operand.get())); // what is looked up in tables is no coefficient
  };
  return llvm::all_of(op->getOpOperands(), read) && llvm::all_of(op->getResults(), narrow);
}

//===----------------------------------------------------------------------===//
// RowDomains
//===----------------------------------------------------------------------===//

namespace {
/// Domain keys: tokens times `numerator / denominator`, both small; a known number of rows; tables get numbers of their own.
constexpr int64_t counted = int64_t(1) << 60;
int64_t scaled(int64_t domain, int64_t numerator, int64_t denominator) {
  if (domain & counted) {
    int64_t g = std::gcd(numerator, denominator), rows = domain & ~counted;
    return rows % (denominator / g) ? 0 : counted | (rows / (denominator / g) * (numerator / g));
  }
  int64_t n = (domain >> 24) * numerator, d = (domain & 0xffffff) * denominator;
  int64_t g = std::gcd(n, d);
  return (n / g) << 24 | (d / g);
}
constexpr int64_t tokens = (int64_t(1) << 24) | 1;
} // namespace

RowDomains::RowDomains(Block &block) {
  int64_t own = int64_t(1) << 56;
  auto function = dyn_cast_or_null<func::FuncOp>(block.getParentOp());
  for (BlockArgument argument : block.getArguments()) {
    if (!hasRows(argument.getType()))
      continue;
    auto rows = function ? function.getArgAttrOfType<IntegerAttr>(argument.getArgNumber(), "mhc.rows") : IntegerAttr();
    bool state = function && function.getArgAttr(argument.getArgNumber(), "mhc.state");
    // Ranges of arenas, and weights, have a number of rows that is known.
    domains[argument] = rows ? counted | rows.getInt() : state ? ++own : tokens;
  }
  for (Operation &op : block) {
    int64_t domain = 0;
    if (auto view = dyn_cast<ViewOp>(op)) {
      domain = scaled(domains.lookup(view.getValue()), rowElements(view.getValue().getType()), rowElements(view.getResult().getType()));
    } else if (isa<RopeTableOp>(op)) {
      domain = ++own;
    } else {
      domain = of(&op);
      if (!domain)
        domain = tokens;
    }
    for (Value result : op.getResults())
      if (hasRows(result.getType()))
        domains[result] = domain;
  }
}

int64_t RowDomains::of(Operation *op) const {
  int64_t found = 0;
  auto meet = [&](int64_t domain) { found = found ? found : domain; };
  auto visit = [&](Value v) {
    if (hasRows(v.getType()))
      meet(domains.lookup(v));
  };
  op->walk([&](Operation *inner) {
    auto row = dyn_cast<RowOpInterface>(inner);
    for (OpOperand &operand : inner->getOpOperands())
      if (!row || row.operandUse(operand.getOperandNumber()) != OperandUse::lookup)
        visit(operand.get());
    if (auto repeat = dyn_cast<RepeatOp>(inner))
      if (int64_t domain = domains.lookup(repeat.getX()))
        meet(scaled(domain, repeat.getTimes(), 1));
  });
  if (!found)
    llvm::for_each(op->getResults(), visit);
  return found;
}

//===----------------------------------------------------------------------===//
// Traffic
//===----------------------------------------------------------------------===//

SmallVector<Value> mhc::externalInputs(const llvm::SetVector<Operation *> &ops) {
  llvm::SetVector<Value> inputs;
  for (Operation *op : ops)
    op->walk([&](Operation *inner) {
      for (Value v : inner->getOperands()) {
        Operation *def = v.getDefiningOp();
        bool inside = false;
        for (Operation *o = def; o; o = o->getParentOp())
          inside |= ops.contains(o);
        if (!inside)
          inputs.insert(v);
      }
    });
  return inputs.takeVector();
}

SmallVector<Value> mhc::externalResults(const llvm::SetVector<Operation *> &ops) {
  SmallVector<Value> results;
  for (Operation *op : ops)
    for (Value v : op->getResults())
      if (llvm::any_of(v.getUsers(), [&](Operation *user) {
            for (Operation *o = user; o; o = o->getParentOp())
              if (ops.contains(o))
                return false;
            return true;
          }))
        results.push_back(v);
  return results;
}

Traffic mhc::kernelTraffic(const llvm::SetVector<Operation *> &ops) {
  SmallVector<Operation *> ordered(ops.begin(), ops.end());
  llvm::sort(ordered, [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
  // The kernel itself says what it moves.
  OwningOpRef<ModuleOp> scratch = ModuleOp::create(UnknownLoc::get(ops[0]->getContext()));
  OpBuilder b(scratch->getBodyRegion());
  return kernelTraffic(formKernel(b, ordered, externalResults(ops)).kernel);
}

//===----------------------------------------------------------------------===//
// Fusion
//===----------------------------------------------------------------------===//

FusionOp mhc::makeFusion(const llvm::SetVector<Operation *> &ops, StringRef kind) {
  SmallVector<Operation *> ordered(ops.begin(), ops.end());
  llvm::sort(ordered, [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
  SmallVector<Value> results = externalResults(ops);
  SmallVector<Type> types;
  SmallVector<Location> locations;
  for (Value v : results)
    types.push_back(v.getType());
  for (Operation *op : ordered)
    locations.push_back(op->getLoc());
  OpBuilder b(ordered.back());
  auto fusion = FusionOp::create(b, FusedLoc::get(b.getContext(), locations), types, kind);
  Block *body = b.createBlock(&fusion.getBody());
  for (Operation *op : ordered)
    op->moveBefore(body, body->end());
  b.setInsertionPointToEnd(body);
  YieldOp::create(b, fusion.getLoc(), results);
  for (auto [from, to] : llvm::zip(results, fusion.getResults()))
    from.replaceUsesWithIf(to, [&](OpOperand &use) { return use.getOwner()->getBlock() != body; });
  // Uses inside other fusions' bodies count as outside as well; the block's order is mended as a whole.
  sortTopologically(fusion->getBlock());
  return fusion;
}

void mhc::dissolveFusions(Block &block) {
  for (auto fusion : llvm::make_early_inc_range(block.getOps<FusionOp>())) {
    Block &body = fusion.getBody().front();
    Operation *yield = body.getTerminator();
    fusion.replaceAllUsesWith(yield->getOperands());
    yield->erase();
    block.getOperations().splice(fusion->getIterator(), body.getOperations());
    fusion.erase();
  }
}
