//===- MhcInterfaces.cpp - tensors with rows, the row context ---------------===//

#include "mhc/Dialect/Mhc/IR/MhcInterfaces.h"
#include "mhc/Dialect/Mhc/IR/MhcOps.h"
#include "mhc/Dialect/Mhc/IR/MhcRowOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace mlir::mhc;

bool mhc::isRowsOrParameter(Type type) {
  auto shaped = cast<ShapedType>(type);
  if (!shaped.hasRank() || shaped.getRank() < 1)
    return false;
  for (auto [i, dim] : llvm::enumerate(shaped.getShape()))
    if (dim == 0 || (ShapedType::isDynamic(dim) && i != 0))
      return false;
  return true;
}

bool mhc::hasRows(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor && tensor.getRank() >= 1 && tensor.isDynamicDim(0);
}

bool mhc::isNarrow(Type type) {
  auto tensor = cast<RankedTensorType>(type);
  return tensor.getRank() == 1 || isa_and_nonnull<NarrowEncodingAttr>(tensor.getEncoding());
}

bool mhc::isInterleaved(Type type) { return isa_and_nonnull<InterleavedEncodingAttr>(cast<RankedTensorType>(type).getEncoding()); }

SmallVector<int64_t> mhc::memoryShape(Type type) {
  SmallVector<int64_t> shape(cast<RankedTensorType>(type).getShape());
  if (isInterleaved(type))
    std::swap(shape[shape.size() - 2], shape.back());
  return shape;
}

int64_t mhc::rowElements(Type type) {
  int64_t count = 1;
  for (int64_t dim : cast<ShapedType>(type).getShape())
    if (!ShapedType::isDynamic(dim))
      count *= dim;
  return count;
}

int64_t mhc::rowBytes(Type type) { return rowElements(type) * (cast<ShapedType>(type).getElementTypeBitWidth() / 8); }

Type mhc::rowTypeOf(Type type, Type elementType) {
  auto tensor = cast<RankedTensorType>(type);
  if (!elementType)
    elementType = tensor.getElementType();
  ArrayRef<int64_t> shape = tensor.getShape().drop_front();
  if (isNarrow(type)) {
    SmallVector<int64_t> dims(shape);
    if (dims.empty())
      dims.push_back(1);
    return NarrowType::get(type.getContext(), dims, elementType);
  }
  int64_t streams = 1;
  for (int64_t dim : shape.drop_back())
    streams *= dim;
  return WideType::get(type.getContext(), streams, shape.back(), elementType);
}

Type mhc::computeTypeOf(MLIRContext *context, TypeRange types) {
  for (Type type : types)
    if (auto shaped = dyn_cast<ShapedType>(type); shaped && shaped.getElementType().isF64())
      return Float64Type::get(context);
  return Float32Type::get(context);
}

RankedTensorType mhc::narrowTensor(ArrayRef<int64_t> shape, Type elementType) {
  SmallVector<int64_t> dims{ShapedType::kDynamic};
  dims.append(shape.begin(), shape.end());
  return RankedTensorType::get(dims, elementType, NarrowEncodingAttr::get(elementType.getContext()));
}

RankedTensorType mhc::withElementType(Type like, Type elementType) {
  auto tensor = cast<RankedTensorType>(like);
  return RankedTensorType::get(tensor.getShape(), elementType, tensor.getEncoding());
}

int64_t mhc::defaultFlopsPerRow(Operation *op) {
  int64_t elements = 0;
  for (Value operand : op->getOperands())
    if (hasRows(operand.getType()))
      elements += rowElements(operand.getType());
  return 2 * elements;
}

//===----------------------------------------------------------------------===//
// RowContext
//===----------------------------------------------------------------------===//

Type RowContext::wide(int64_t streams, int64_t channels) { return WideType::get(builder.getContext(), streams, channels, compute); }
Type RowContext::narrow(ArrayRef<int64_t> shape) { return NarrowType::get(builder.getContext(), shape, compute); }

Value RowContext::uniform(Value operand, Type type) {
  return RowLoadOp::create(builder, loc, type, Access::uniform, parameter(operand), Value(), 1, false);
}

/// The scalar type in which an operand's elements arrive in a region.
static Type scalarType(Type row, Type compute) {
  auto narrow = dyn_cast<NarrowType>(row);
  return narrow && narrow.getElementType().isInteger() ? narrow.getElementType() : compute;
}

Value RowContext::map(ValueRange inputs, Type result, function_ref<Value(OpBuilder &, Location, ValueRange)> code) {
  auto op = RowMapOp::create(builder, loc, result, inputs);
  Block *block = builder.createBlock(&op.getBody());
  for (Value input : inputs)
    block->addArgument(scalarType(input.getType(), compute), loc);
  Value value = code(builder, loc, block->getArguments());
  RowYieldOp::create(builder, loc, value);
  builder.setInsertionPointAfter(op);
  return op.getResult();
}

SmallVector<Value> RowContext::narrowCode(ValueRange inputs, TypeRange results, ScalarCode code) {
  auto op = RowNarrowOp::create(builder, loc, results, inputs);
  Block *block = builder.createBlock(&op.getBody());
  for (Value input : inputs)
    for (int64_t i = 0, e = cast<NarrowType>(input.getType()).getNumElements(); i < e; ++i)
      block->addArgument(scalarType(input.getType(), compute), loc);
  SmallVector<Value> values = code(builder, loc, block->getArguments());
  RowYieldOp::create(builder, loc, values);
  builder.setInsertionPointAfter(op);
  return SmallVector<Value>(op.getResults());
}

Value RowContext::constantNarrow(ArrayRef<double> values, ArrayRef<int64_t> shape) {
  return narrowCode({}, narrow(shape), [&](OpBuilder &b, Location l, ValueRange) {
    SmallVector<Value> constants;
    for (double value : values)
      constants.push_back(arith::ConstantOp::create(b, l, b.getFloatAttr(compute, value)));
    return constants;
  })[0];
}

Value RowContext::mix(Value matrix, Value streams, Type result, Value init, bool transposed) {
  return RowMixOp::create(builder, loc, result, matrix, streams, init, transposed);
}

Value RowContext::dot(Value lhs, Value rhs) {
  int64_t l = cast<WideType>(lhs.getType()).getStreams(), r = cast<WideType>(rhs.getType()).getStreams();
  return RowDotOp::create(builder, loc, narrow({l, r}), lhs, rhs);
}

Value RowContext::reduceAdd(Value value, int64_t groups) { return RowReduceOp::create(builder, loc, narrow({groups}), ReduceKind::add, value); }
Value RowContext::reduceMax(Value value) { return RowReduceOp::create(builder, loc, narrow({1}), ReduceKind::max, value); }
