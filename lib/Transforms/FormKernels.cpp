//===- FormKernels.cpp - row ops become kernels and launches ----------------===//

#include "mhc/Analysis/Rows.h"
#include "mhc/Dialect/Mhc/IR/MhcRowOps.h"
#include "mhc/Transforms/Passes.h"

#include "llvm/ADT/StringMap.h"

namespace mlir::mhc {
#define GEN_PASS_DEF_FORMKERNELSPASS
#include "mhc/Transforms/Passes.h.inc"

namespace {

/// Ops on parameters alone whose first dimension then counts as rows: casts of weights.
bool isParameterMap(Operation *op) {
  return isa<CastOp, ScaleOp>(op) && !hasRows(op->getOperand(0).getType()) && !hasRows(op->getResult(0).getType());
}

/// Writes a list of row ops as one kernel.
class Former : public RowContext {
public:
  Former(OpBuilder &b, Location loc, Type compute, ArrayRef<Operation *> ops, ArrayRef<Value> outside)
      : RowContext(b, loc, compute), ops(ops), outside(outside), byRows(isParameterMap(ops[0])) {}

  KernelOp form(StringRef name) {
    llvm::SetVector<Operation *> set(ops.begin(), ops.end());
    auto kernel = KernelOp::create(builder, loc, name, compute, builder.getStrArrayAttr({}), ArrayRef<int64_t>{0, 0, 0}, ScheduleAttr(), StringAttr());
    Block *block = builder.createBlock(&kernel.getBody());
    SmallVector<Value> inputs = usedInputs();
    for (Value v : inputs)
      arguments[v] = block->addArgument(memoryType(v.getType()), loc);
    SmallVector<Value> outputs, sums;
    for (Value v : outside)
      (hasRows(v.getType()) || byRows ? outputs : sums).push_back(v);
    for (Value v : outputs)
      arguments[v] = block->addArgument(memoryType(v.getType()), loc);
    for (Value v : sums)
      arguments[v] = block->addArgument(memoryType(v.getType()), loc);
    // A sum that nobody reads still needs a place in its op's row program; it is dropped below.
    SmallVector<Value> unused;
    for (Operation *op : ops)
      for (Value v : op->getResults())
        if (!hasRows(v.getType()) && !byRows && !arguments.count(v)) {
          arguments[v] = block->addArgument(memoryType(v.getType()), loc);
          unused.push_back(v);
        }
    builder.setInsertionPointToEnd(block);
    for (Operation *op : ops) {
      current = op;
      cast<RowOpInterface>(op).buildRow(*this);
    }
    for (Value v : outputs)
      RowStoreOp::create(builder, loc, values.at(v), arguments.at(v), isInterleaved(v.getType()));
    for (Value v : unused) {
      auto argument = cast<BlockArgument>(arguments.at(v));
      for (Operation *user : llvm::make_early_inc_range(argument.getUsers()))
        user->erase();
      block->eraseArgument(argument.getArgNumber());
    }
    eraseDead(*block);
    bool position = false;
    kernel.walk([&](RowLoadOp load) { position |= load.getAccess() == Access::position; });
    if (position)
      kernel.setIntsAttr(builder.getStrArrayAttr({"S"}));
    kernel.setSegments({(int64_t)inputs.size(), (int64_t)outputs.size(), (int64_t)sums.size()});
    launchInputs = inputs;
    launchResults = outputs;
    launchResults.append(sums);
    return kernel;
  }

  SmallVector<Value> launchInputs, launchResults;

  // RowContext.
  Value input(Value operand) override {
    Value &value = values[operand];
    if (!value) {
      Type type = byRows ? Type(WideType::get(builder.getContext(), 1, parameterRow(operand.getType()), elementType(operand))) : rowTypeOf(operand.getType());
      OpBuilder::InsertionGuard guard(builder);
      value = RowLoadOp::create(builder, loc, type, Access::row, arguments.at(operand), Value(), 1, isInterleaved(operand.getType()));
    }
    return value;
  }
  Value parameter(Value operand) override { return arguments.at(operand); }
  Value reduction(unsigned result) override { return arguments.at(current->getResult(result)); }
  void setResult(unsigned result, Value value) override {
    Value v = current->getResult(result);
    Type element = elementType(v);
    Type have = isa<WideType>(value.getType()) ? cast<WideType>(value.getType()).getElementType() : cast<NarrowType>(value.getType()).getElementType();
    assert(have == element && "only casts round");
    (void)have, (void)element;
    values[v] = value;
  }

private:
  static Type elementType(Value v) { return cast<ShapedType>(v.getType()).getElementType(); }

  /// Elements of a row of a parameter that is mapped row by row.
  static int64_t parameterRow(Type type) {
    auto shaped = cast<ShapedType>(type);
    return shaped.getRank() == 1 ? shaped.getDimSize(0) : shaped.getNumElements() / shaped.getDimSize(0);
  }

  MemRefType memoryType(Type type) {
    auto shaped = cast<ShapedType>(type);
    if (byRows)
      return MemRefType::get({ShapedType::kDynamic, parameterRow(type)}, shaped.getElementType());
    return MemRefType::get(memoryShape(type), shaped.getElementType());
  }

  /// Values from outside, without those that give the number of rows only (unless nothing else does).
  SmallVector<Value> usedInputs() {
    llvm::SetVector<Value> read, counted;
    llvm::SetVector<Value> inside;
    for (Operation *op : ops)
      inside.insert_range(op->getResults());
    for (Operation *op : ops)
      for (OpOperand &operand : op->getOpOperands()) {
        if (inside.contains(operand.get()))
          continue;
        bool counts = isa<ConstantRowsOp, TokenWeightOp>(op) && operand.getOperandNumber() == 0;
        (counts ? counted : read).insert(operand.get());
      }
    return read.takeVector();
  }

  void eraseDead(Block &block) {
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
      if (op.use_empty() && op.getNumResults() && !isa<RowYieldOp>(op))
        op.erase();
  }

  SmallVector<Operation *> ops;
  SmallVector<Value> outside;
  bool byRows;
  Operation *current = nullptr;
  llvm::DenseMap<Value, Value> values, arguments;
};

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

    SmallVector<Type> types;
    for (Operation *inner : ops) {
      llvm::append_range(types, inner->getOperandTypes());
      llvm::append_range(types, inner->getResultTypes());
    }
    Operation *position = ops.back()->getParentOp() == op ? op : ops.back();
    OpBuilder b(op->getContext());
    ModuleOp module = getOperation();
    b.setInsertionPointToEnd(module.getBody());
    Former former(b, b.getUnknownLoc(), computeTypeOf(op->getContext(), types), ops, outside);
    KernelOp kernel = former.form("_");
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
    for (Value v : former.launchResults)
      results.push_back(v.getType());
    auto launch = LaunchOp::create(b, position->getLoc(), results, FlatSymbolRefAttr::get(kernel.getSymNameAttr()), former.launchInputs, b.getStringAttr(placeOf(ops)));
    for (auto [from, to] : llvm::zip(former.launchResults, launch.getResults())) {
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
