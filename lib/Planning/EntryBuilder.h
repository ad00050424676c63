//===- EntryBuilder.h - plans from functions --------------------------------===//
#ifndef MHC_LIB_PLANNING_ENTRYBUILDER_H
#define MHC_LIB_PLANNING_ENTRYBUILDER_H

#include "mhc/Dialect/Mhc/IR/MhcOps.h"
#include "mhc/Dialect/Mhc/IR/MhcRowOps.h"
#include "mhc/Dialect/Plan/IR/PlanDialect.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSwitch.h"

namespace mlir::mhc {

/// Slots of the scalars buffer that commands write (docs/design/package.md).
enum ScalarSlot : int64_t { sumOfSquaresSlot = 16, clipFactorSlot = 17, lossSlot = 18, crossEntropySlot = 19 };

/// Builds one plan.entry out of one function, or of several one after the other.
class EntryBuilder {
public:
  EntryBuilder(ModuleOp module, StringRef name, ArrayAttr symbols, Location loc);

  /// Where a function's results go.
  enum class Results {
    caller,     ///< outputs, gradients and states, written
    accumulate, ///< gradients and scalars, added to what is there: a micro-batch of train_step
    state       ///< states and scalars, written: the update
  };
  LogicalResult emitFunction(func::FuncOp func, Results results);

  /// Commands of train_step around its functions.
  void fillState(StringRef arena, int64_t elements, double value);
  void fillScalar(int64_t slot, double value);
  void beginLoop(StringRef count);
  void endLoop();

  /// Sets the live ranges. The builder is done.
  plan::EntryOp finish();

private:
  /// What a value is written to instead of a temporary of its own.
  struct Destination {
    std::optional<unsigned> result; ///< the function's result, or
    Value sum;                      ///< the static mhc.sum that the value is a part of
    bool accumulate = false;        ///< with `result`: add to what is there
  };

  llvm::DenseSet<Operation *> computedAgain();
  LogicalResult checkTypes();

  // What each value is written to (Destinations.cpp).
  LogicalResult assignDestinations();
  void assignResult(unsigned index, Value root);
  void assignParts(SumOp sum);
  bool isUpdatedInPlaceSafely(unsigned result, Value root);
  bool accumulates(unsigned result);
  /// True for results that are there for callers alone (`mhc.caller`), where there is none.
  bool isDropped(unsigned result);

  // Buffers.
  struct BufferSpec {
    plan::BufferKind kind;
    Type elementType;
    plan::ExprAttr size;
    StringRef name = {}, tensor = {}, arena = {};
    std::optional<int64_t> slice = {}, slices = {}, begin = {};
  };
  Value makeBuffer(const BufferSpec &spec, Location loc);
  /// The buffer of the same memory, made at the first call.
  Value sharedBuffer(const BufferSpec &spec, Location loc);
  FailureOr<Value> argumentBuffer(BlockArgument argument);
  FailureOr<Value> resultBuffer(unsigned index, Type elementType, plan::ExprAttr size);
  /// The buffer that holds a value.
  FailureOr<Value> use(Value value);
  /// The buffer that a value of `size` elements is to be written to, by its destination or as a temporary. `accumulate`
  /// is null where the producer cannot accumulate.
  FailureOr<Value> define(Value value, plan::ExprAttr size, bool *accumulate);

  // Commands.
  LogicalResult emit(Operation &op);
  LogicalResult emitLaunch(LaunchOp op);
  LogicalResult emitGemm(Operation &op, Value a, Value b, Value result, plan::ExprAttr m, plan::ExprAttr n,
                         plan::ExprAttr k, bool transA, bool transB);
  LogicalResult emitMatmul(MatmulOp op);
  LogicalResult emitAttention(AttentionOp op);
  LogicalResult emitAttentionVjp(AttentionVjpOp op);
  LogicalResult emitSplitTokens(SplitTokensOp op);
  LogicalResult emitEmbeddingVjp(EmbeddingVjpOp op);
  LogicalResult emitDispatch(DispatchOp op);
  LogicalResult emitGroupedMatmul(GroupedMatmulOp op);
  LogicalResult emitGroupedOuter(GroupedOuterOp op);
  LogicalResult emitExpertLoad(ExpertLoadOp op);
  LogicalResult emitSequenceLoad(SequenceLoadOp op);
  LogicalResult emitUpdateBias(UpdateBiasOp op);
  LogicalResult emitSum(SumOp op);
  LogicalResult emitRopeTable(RopeTableOp op);
  LogicalResult emitReturn(func::ReturnOp op);

  // Expressions.
  plan::ExprAttr constant(int64_t value) { return plan::ExprAttr::constant(module.getContext(), value); }
  plan::ExprAttr symbol(StringRef name) { return plan::ExprAttr::symbol(module.getContext(), name); }
  bool hasSymbol(StringRef name);
  plan::ExprAttr sizeOf(Value buffer) { return buffer.getDefiningOp<plan::BufferOp>().getSize(); }
  /// Rows of a value: its buffer's size over its row's elements.
  FailureOr<plan::ExprAttr> rowsOf(Value value);
  FailureOr<plan::ExprAttr> launchRows(LaunchOp op, KernelOp kernel, ArrayRef<Value> inputs);
  StringAttr placeOf(Operation *op);

  ModuleOp module;
  SymbolTable symbolTable;
  plan::EntryOp entry;
  OpBuilder builder; ///< of commands
  Operation *lastBuffer = nullptr;
  llvm::StringMap<Value> shared; ///< buffers of memory outside the arena

  // Of the function at hand.
  func::FuncOp func;
  Results mode = Results::caller;
  DenseMap<Value, Value> buffers; ///< by root value
  llvm::MapVector<Value, Destination> destinations;
  DenseMap<unsigned, bool> direct; ///< results that their producer writes
};

/// A value without the views around it.
Value rootOf(Value value);

} // namespace mlir::mhc

#endif // MHC_LIB_PLANNING_ENTRYBUILDER_H
