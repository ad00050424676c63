//===- MhcInterfaces.h - what the passes go by ------------------------------===//
#ifndef MHC_DIALECT_MHC_IR_MHCINTERFACES_H
#define MHC_DIALECT_MHC_IR_MHCINTERFACES_H

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/OpDefinition.h"

namespace mlir::mhc {

enum class Access : uint32_t;
class WideType;
class NarrowType;

//===----------------------------------------------------------------------===//
// Tensors with rows
//===----------------------------------------------------------------------===//

/// At least one dimension, none of size 0, dynamic in the first at most: what everything below relies on.
bool isRowsOrParameter(Type shaped);
/// True if the tensor has a row for each token (its first dimension is dynamic).
bool hasRows(Type tensor);
/// True if its rows are narrow: encoding `#mhc.narrow`, or no dimension but the tokens'.
bool isNarrow(Type tensor);
/// True if its rows [n, C] lie in memory as [C, n]: encoding `#mhc.interleaved`.
bool isInterleaved(Type tensor);
/// Its shape in memory.
SmallVector<int64_t> memoryShape(Type tensor);
/// The row of a tensor with rows: `!mhc.wide` or `!mhc.narrow` with the given element type (null: the tensor's own).
Type rowTypeOf(Type tensor, Type elementType = {});
/// Elements of one row.
int64_t rowElements(Type tensor);
/// Bytes of one row (of the whole, for a static shape).
int64_t rowBytes(Type tensor);
/// f64 if any of the types holds f64, else f32.
Type computeTypeOf(MLIRContext *context, TypeRange types);
/// A narrow tensor type [T, shape...].
RankedTensorType narrowTensor(ArrayRef<int64_t> shape, Type elementType);
/// `like` with another element type.
RankedTensorType withElementType(Type like, Type elementType);

//===----------------------------------------------------------------------===//
// Contexts of the interface methods
//===----------------------------------------------------------------------===//

/// What a row op's row takes of an operand with rows.
enum class OperandUse {
  row,    ///< the same row
  lookup, ///< another row, or one of a table: the operand is whole before the kernel starts, and its number of rows is its own
  count,  ///< nothing, it tells how many rows there are
};

/// Where an op writes its row. Values are `!mhc.wide` or `!mhc.narrow`; kernel formation implements it.
class RowContext {
public:
  RowContext(OpBuilder &builder, Location loc, Type compute) : builder(builder), loc(loc), compute(compute) {}
  virtual ~RowContext() = default;

  OpBuilder &builder;
  Location loc;
  Type compute;

  /// The row of an operand with rows.
  virtual Value input(Value operand) = 0;
  /// The kernel's argument for an operand of static shape (or a table with rows of its own).
  virtual Value parameter(Value operand) = 0;
  /// The kernel's argument for a result of static shape, a sum over the tokens.
  virtual Value reduction(unsigned result) = 0;
  /// States a result with rows.
  virtual void setResult(unsigned result, Value value) = 0;

  // Shorthands for the primitives.
  Type wide(int64_t streams, int64_t channels);
  Type narrow(ArrayRef<int64_t> shape);
  Value uniform(Value operand, Type type);
  using ScalarCode = function_ref<SmallVector<Value>(OpBuilder &, Location, ValueRange)>;
  Value map(ValueRange inputs, Type result, function_ref<Value(OpBuilder &, Location, ValueRange)> code);
  SmallVector<Value> narrowCode(ValueRange inputs, TypeRange results, ScalarCode code);
  Value constantNarrow(ArrayRef<double> values, ArrayRef<int64_t> shape);
  Value mix(Value matrix, Value streams, Type result, Value init = {}, bool transposed = false);
  Value dot(Value lhs, Value rhs);
  Value reduceAdd(Value value, int64_t groups);
  Value reduceMax(Value value);
};

/// What an op's VJP may ask for; `mhc-differentiate` implements it.
class VjpContext {
public:
  VjpContext(OpBuilder &builder, Location loc) : builder(builder), loc(loc) {}
  virtual ~VjpContext() = default;
  OpBuilder &builder;
  Location loc;
  /// `value` of the forward pass as the backward pass may use it.
  virtual Value primal(Value value) = 0;
  /// The gradient of a returned value that the caller gives, null if there is none.
  virtual Value cotangent(Value value) = 0;
};

/// A guess from the operands' sizes: two operations an element read.
int64_t defaultFlopsPerRow(Operation *op);

} // namespace mlir::mhc

#include "mhc/Dialect/Mhc/IR/MhcAttrInterfaces.h.inc"
#include "mhc/Dialect/Mhc/IR/MhcOpInterfaces.h.inc"

#endif // MHC_DIALECT_MHC_IR_MHCINTERFACES_H
