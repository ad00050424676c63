//===- KernelFormer.cpp - row ops as one kernel -----------------------------===//

#include "mhc/Analysis/KernelFormer.h"

using namespace mlir;
using namespace mlir::mhc;

namespace {

/// Whether the kernel gives a row of it, and no sum over all.
bool isRowResult(Value v) { return hasRows(v.getType()) || !cast<RowOpInterface>(v.getDefiningOp()).isSum(cast<OpResult>(v).getResultNumber()); }

/// Ops on parameters alone whose first dimension then counts as rows: casts of weights.
bool isParameterMap(Operation *op) {
  return llvm::none_of(op->getOperandTypes(), hasRows) && llvm::any_of(op->getResults(), [](Value v) { return !hasRows(v.getType()) && isRowResult(v); });
}

/// Writes a list of row ops as one kernel.
class Former : public RowContext {
public:
  Former(OpBuilder &b, Location loc, Type compute, ArrayRef<Operation *> ops, ArrayRef<Value> outside)
      : RowContext(b, loc, compute), ops(ops), outside(outside), byRows(isParameterMap(ops[0])) {}

  FormedKernel form() {
    auto kernel = KernelOp::create(builder, loc, "_", compute, builder.getStrArrayAttr({}), ArrayRef<int64_t>{0, 0, 0}, ScheduleAttr(), StringAttr());
    Block *block = builder.createBlock(&kernel.getBody());
    SmallVector<Value> inputs = usedInputs();
    for (Value v : inputs)
      arguments[v] = block->addArgument(memoryType(v), loc);
    SmallVector<Value> outputs, sums;
    for (Value v : outside)
      (isRowResult(v) ? outputs : sums).push_back(v);
    for (Value v : outputs)
      arguments[v] = block->addArgument(memoryType(v), loc);
    for (Value v : sums)
      arguments[v] = block->addArgument(memoryType(v), loc);
    // A sum that nobody reads still needs a place in its op's row program; it is dropped below.
    SmallVector<Value> unused;
    for (Operation *op : ops)
      for (Value v : op->getResults())
        if (!isRowResult(v) && !arguments.count(v)) {
          arguments[v] = block->addArgument(memoryType(v), loc);
          unused.push_back(v);
        }
    builder.setInsertionPointToEnd(block);
    for (Operation *op : ops) {
      current = op;
      loc = op->getLoc(); // for messages about what an op's row program became
      cast<RowOpInterface>(op).buildRow(*this);
    }
    loc = kernel.getLoc();
    for (Value v : outputs)
      RowStoreOp::create(builder, loc, values.at(v), arguments.at(v), isInterleaved(v.getType()));
    for (Value v : unused) {
      auto argument = cast<BlockArgument>(arguments.at(v));
      for (Operation *user : llvm::make_early_inc_range(argument.getUsers()))
        user->erase();
      block->eraseArgument(argument.getArgNumber());
    }
    eraseDead(*block);
    // What nothing reads is not passed, unless nothing else tells the number of rows.
    bool rows = !outputs.empty() || llvm::any_of(inputs, [&](Value v) { return readsRows(arguments.at(v)); });
    for (size_t i = inputs.size(); i-- > 0;) {
      bool counts = !rows && (hasRows(inputs[i].getType()) || byRows);
      rows |= counts;
      if (counts || !block->getArgument(i).use_empty())
        continue;
      block->eraseArgument(i);
      inputs.erase(inputs.begin() + i);
    }
    bool position = false;
    kernel.walk([&](RowLoadOp load) { position |= needsLength(load); });
    if (position)
      kernel.setIntsAttr(builder.getStrArrayAttr({"S"}));
    kernel.setSegments({(int64_t)inputs.size(), (int64_t)outputs.size(), (int64_t)sums.size()});
    FormedKernel formed{kernel, inputs, outputs};
    formed.results.append(sums);
    return formed;
  }

  // RowContext.
  Value input(Value operand) override {
    Value &value = values[operand];
    if (!value) {
      Type type = byRows ? parameterRow(operand) : rowTypeOf(operand.getType());
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
  /// True if the argument has a row for each token, and it is read.
  static bool readsRows(Value argument) {
    return llvm::any_of(argument.getUsers(), [](Operation *user) {
      auto load = dyn_cast<RowLoadOp>(user);
      return load && load.getAccess() == Access::row;
    });
  }
  static Type elementType(Value v) { return cast<ShapedType>(v.getType()).getElementType(); }

  /// The row of a parameter that is mapped row by row, along its last dimension: beside matrices, a vector has a number for each row.
  Type parameterRow(Value v) {
    auto shaped = cast<ShapedType>(v.getType());
    if (shaped.getRank() < cast<ShapedType>(ops[0]->getOperand(0).getType()).getRank())
      return NarrowType::get(builder.getContext(), {1}, shaped.getElementType());
    return WideType::get(builder.getContext(), 1, shaped.getShape().back(), shaped.getElementType());
  }
  /// Whether a map of parameters takes it whole, or sums it up.
  bool isWhole(Value v) {
    auto result = dyn_cast<OpResult>(v);
    if (result && llvm::is_contained(ops, result.getOwner()))
      return !isRowResult(v);
    return llvm::any_of(ops, [&](Operation *op) {
      return llvm::any_of(op->getOpOperands(), [&](OpOperand &operand) {
        return operand.get() == v && cast<RowOpInterface>(op).operandUse(operand.getOperandNumber()) == OperandUse::lookup;
      });
    });
  }

  MemRefType memoryType(Value v) {
    Type element = elementType(v);
    if (!byRows || isWhole(v))
      return MemRefType::get(memoryShape(v.getType()), element);
    Type row = parameterRow(v);
    return MemRefType::get({ShapedType::kDynamic, isa<NarrowType>(row) ? 1 : cast<WideType>(row).getChannels()}, element);
  }

  /// Values from outside, without those that give the number of rows only (unless nothing else does).
  SmallVector<Value> usedInputs() {
    llvm::SetVector<Value> read, inside;
    for (Operation *op : ops)
      inside.insert_range(op->getResults());
    for (Operation *op : ops)
      for (OpOperand &operand : op->getOpOperands()) {
        if (inside.contains(operand.get()))
          continue;
        if (cast<RowOpInterface>(op).operandUse(operand.getOperandNumber()) != OperandUse::count)
          read.insert(operand.get());
      }
    return read.takeVector();
  }

  void eraseDead(Block &block) {
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
      if (op.use_empty() && op.getNumResults())
        op.erase();
  }

  SmallVector<Operation *> ops;
  SmallVector<Value> outside;
  bool byRows;
  Operation *current = nullptr;
  llvm::DenseMap<Value, Value> values, arguments;
};

} // namespace

FormedKernel mlir::mhc::formKernel(OpBuilder &b, ArrayRef<Operation *> ops, ArrayRef<Value> outside) {
  SmallVector<Type> types;
  for (Operation *op : ops) {
    llvm::append_range(types, op->getOperandTypes());
    llvm::append_range(types, op->getResultTypes());
  }
  return Former(b, b.getUnknownLoc(), computeTypeOf(b.getContext(), types), ops, outside).form();
}

/// Bytes of a token's row of an argument; 0 for parameters, sums and tables that all tokens share.
static int64_t rowTraffic(KernelOp kernel, unsigned index) {
  BlockArgument argument = kernel.getBlock().getArgument(index);
  auto type = cast<MemRefType>(argument.getType());
  int64_t row = rowElements(type) * (type.getElementTypeBitWidth() / 8);
  for (Operation *user : argument.getUsers()) {
    auto load = dyn_cast<RowLoadOp>(user);
    if (load && load.getAccess() == Access::shared)
      return row / load.getDivisor();
    if (load && load.getAccess() == Access::sequence)
      return 0;
    if (load && load.getAccess() == Access::gather)
      return type.hasStaticShape() ? row / type.getDimSize(0) : row;
    if (!type.hasStaticShape() && (isa<RowStoreOp>(user) || (load && load.getAccess() == Access::row)))
      return row;
  }
  return 0;
}

bool mlir::mhc::isElementwise(KernelOp kernel) {
  return llvm::all_of(kernel.getBlock(), [](Operation &op) {
    auto load = dyn_cast<RowLoadOp>(op);
    bool loads = load && (load.getAccess() == Access::row || load.getAccess() == Access::uniform || load.getAccess() == Access::shared);
    return isa<RowMapOp, RowCastOp, RowStoreOp, RowNarrowOp>(op) || loads;
  });
}

bool mlir::mhc::updatesInPlace(KernelOp kernel) {
  // Values that need a whole row's sum: what is wide and depends on one belongs to a later pass over the row, which would read what the pass before has written.
  llvm::DenseSet<Value> late;
  auto isWide = [](Value v) { return isa<WideType>(v.getType()); };
  for (Operation &op : kernel.getBlock()) {
    auto load = dyn_cast<RowLoadOp>(op);
    bool loads = load && (load.getAccess() == Access::row || load.getAccess() == Access::uniform || load.getAccess() == Access::shared);
    if (!loads && !isa<RowMapOp, RowCastOp, RowStoreOp, RowNarrowOp, RowReduceOp, RowDotOp>(op))
      return false;
    bool wide = llvm::any_of(op.getOperands(), isWide) || llvm::any_of(op.getResults(), isWide);
    bool depends = llvm::any_of(op.getOperands(), [&](Value v) { return late.contains(v); });
    if (wide && depends)
      return false;
    if (depends || isa<RowReduceOp, RowDotOp>(op))
      late.insert_range(op.getResults());
  }
  return true;
}

Traffic mlir::mhc::kernelTraffic(KernelOp kernel) {
  Traffic traffic;
  for (int64_t i = 0, e = kernel.getNumInputs() + kernel.getNumOutputs(); i < e; ++i)
    (i < kernel.getNumInputs() ? traffic.read : traffic.written) += rowTraffic(kernel, i);
  return traffic;
}
