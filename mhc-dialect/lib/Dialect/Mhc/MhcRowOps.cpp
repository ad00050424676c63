//===- MhcRowOps.cpp - verifiers of kernels and their primitives ------------===//

#include "mhc/Dialect/Mhc/IR/MhcRowOps.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace mlir::mhc;

#define GET_OP_CLASSES
#include "mhc/Dialect/Mhc/IR/MhcRowOps.cpp.inc"

static int64_t numElements(Type value) {
  if (auto wide = dyn_cast<WideType>(value))
    return wide.getNumElements();
  return cast<NarrowType>(value).getNumElements();
}

static Type elementType(Type value) {
  if (auto wide = dyn_cast<WideType>(value))
    return wide.getElementType();
  return cast<NarrowType>(value).getElementType();
}

LogicalResult KernelOp::verify() {
  Block &block = getBlock();
  ArrayRef<int64_t> segments = getSegments();
  if (segments.size() != 3 || llvm::any_of(segments, [](int64_t s) { return s < 0; }) || segments[0] + segments[1] + segments[2] != (int64_t)block.getNumArguments())
    return emitOpError("expected three segments that add up to ") << block.getNumArguments() << " arguments"; // C1
  if (!getCompute().isF32() && !getCompute().isF64())
    return emitOpError("expected compute type f32 or f64, but got ") << getCompute();
  for (auto [i, type] : llvm::enumerate(block.getArgumentTypes())) {
    auto memref = dyn_cast<MemRefType>(type);
    if (!memref || !memref.getLayout().isIdentity() || !isRowsOrParameter(memref))
      return emitOpError("expected argument ") << i << " to be a memref, dynamic in its first dimension at most, but got " << type; // C2
    bool reduction = (int64_t)i >= segments[0] + segments[1];
    if (reduction && (!memref.hasStaticShape() || memref.getElementType() != getCompute()))
      return emitOpError("expected reduction ") << i << " of static shape and type " << getCompute() << ", but got " << type; // C3
  }
  if (std::optional<ScheduleAttr> schedule = getSchedule()) {
    if (llvm::any_of(block, [](Operation &op) { return !isa<PhaseOp>(op); }))
      return emitOpError("expected a scheduled kernel to be made of phases"); // C4
    if (schedule->getTile() < 1)
      return emitOpError("expected a schedule of at least one token, but got ") << *schedule;
  }
  return success();
}

LogicalResult RowLoadOp::verify() {
  auto source = cast<MemRefType>(getSource().getType());
  bool gather = getAccess() == Access::gather;
  if (gather != bool(getIndex()))
    return emitOpError("expected an index with gather, and with gather alone"); // C2
  int64_t have = mhc::rowElements(source);
  if (getDivisorAttr().getInt() < (getAccess() == Access::sequence ? 0 : 1))
    return emitOpError("expected a divisor of at least 1, but got ") << getDivisorAttr().getInt(); // C3
  if (getElementAttr().getInt() < 0 || getElementAttr().getInt() >= (gather ? getIndex().getType().getNumElements() : 1))
    return emitOpError("expected an element of the index, but got ") << getElementAttr().getInt(); // C4
  if ((getAccess() == Access::row || getAccess() == Access::shared || getAccess() == Access::sequence) && source.hasStaticShape())
    return emitOpError("expected an argument with rows, but got ") << source;
  if (getAccess() == Access::uniform && !source.hasStaticShape())
    return emitOpError("expected a parameter of static shape, but got ") << source;
  if ((gather || getAccess() == Access::position) && source.hasStaticShape())
    have /= source.getDimSize(0);
  if (numElements(getResult().getType()) != have)
    return emitOpError("expected ") << have << " elements, but got " << getResult().getType(); // C1
  if (elementType(getResult().getType()) != source.getElementType())
    return emitOpError("expected element type ") << source.getElementType() << ", but got " << getResult().getType();
  return success();
}

LogicalResult RowStoreOp::verify() {
  auto target = cast<MemRefType>(getTarget().getType());
  if (elementType(getValue().getType()) != target.getElementType())
    return emitOpError("expected element type ") << target.getElementType() << ", but got " << getValue().getType(); // C1
  if (numElements(getValue().getType()) != mhc::rowElements(target))
    return emitOpError("expected ") << mhc::rowElements(target) << " elements, but got " << getValue().getType(); // C2
  return success();
}

LogicalResult RowCastOp::verify() {
  Type from = getValue().getType(), to = getResult().getType();
  bool same = isa<WideType>(from) == isa<WideType>(to) && numElements(from) == numElements(to);
  if (auto wide = dyn_cast<WideType>(from))
    same = same && cast<WideType>(to).getStreams() == wide.getStreams();
  if (!same)
    return emitOpError("expected the shape to stay, but got ") << from << " and " << to; // C1
  return success();
}

LogicalResult RowStreamsOp::verify() {
  WideType from = getValue().getType(), to = getResult().getType();
  if (from.getChannels() != to.getChannels() || from.getElementType() != to.getElementType())
    return emitOpError("expected channels and element type to stay, but got ") << from << " and " << to; // C1
  int64_t first = getFirst(), most = from.getStreams() - to.getStreams();
  if (first < 0 || first > most)
    return emitOpError("expected ") << to.getStreams() << " of " << from.getStreams() << " streams, but got them from " << first; // C2
  return success();
}

LogicalResult RowConcatOp::verify() {
  WideType to = getResult().getType();
  int64_t streams = 0;
  for (Value value : getValues()) {
    auto from = cast<WideType>(value.getType());
    if (from.getChannels() != to.getChannels() || from.getElementType() != to.getElementType())
      return emitOpError("expected operands of ") << to.getChannels() << " channels of " << to.getElementType() << ", but got " << from; // C1
    streams += from.getStreams();
  }
  if (streams != to.getStreams())
    return emitOpError("expected streams that add up to ") << to.getStreams() << ", but got " << streams; // C2
  return success();
}

LogicalResult PhaseOp::verify() {
  Block &block = getBody().front();
  auto yield = dyn_cast<RowYieldOp>(block.back());
  if (!yield || yield.getOperandTypes() != getResultTypes())
    return emitOpError("expected the block to yield the results"); // C2
  for (Operation &op : block.without_terminator()) {
    bool wide = llvm::any_of(llvm::concat<const Type>(llvm::to_vector(op.getOperandTypes()), llvm::to_vector(op.getResultTypes())),
                             [](Type type) { return isa<WideType>(type); });
    // Parameters and indices may be loaded where they are read.
    bool narrow = isa<RowNarrowOp>(op) || (isa<RowStoreOp, RowSumTokensOp>(op) && !wide);
    if (getRole() == PhaseRole::wide ? narrow : wide)
      return op.emitOpError("expected no such op in a ") << stringifyPhaseRole(getRole()) << " phase"; // C1
  }
  return success();
}

/// What a value of a row is to scalar code: i32 for indices, the kernel's compute type for the rest.
static bool isScalarOf(Type scalar, Type row) { return elementType(row).isInteger() ? scalar == elementType(row) : isa<FloatType>(scalar); }

LogicalResult RowMapOp::verify() {
  WideType result = getResult().getType();
  Block &block = getBody().front();
  if (block.getNumArguments() != getInputs().size())
    return emitOpError("expected one region argument for each operand");
  for (auto [argument, input] : llvm::zip(block.getArguments(), getInputs()))
    if (!isScalarOf(argument.getType(), input.getType()))
      return emitOpError("expected a scalar of ") << input.getType() << ", but got " << argument.getType();
  if (!isa<RowYieldOp>(block.back()) || block.back().getNumOperands() != 1 || !isa<FloatType>(block.back().getOperand(0).getType()))
    return emitOpError("expected the region to yield one floating-point scalar");
  for (Value input : getInputs()) {
    if (auto wide = dyn_cast<WideType>(input.getType())) {
      if (wide.getChannels() != result.getChannels() || (wide.getStreams() != 1 && wide.getStreams() != result.getStreams()))
        return emitOpError("expected an operand of ") << result << "'s shape or of one stream, but got " << wide;
    } else {
      int64_t count = cast<NarrowType>(input.getType()).getNumElements();
      if (count != 1 && count != result.getStreams())
        return emitOpError("expected one scalar, or one for each stream, but got ") << input.getType();
    }
  }
  return success();
}

LogicalResult RowMixOp::verify() {
  int64_t outs = getResult().getType().getStreams(), ins = getStreams().getType().getStreams();
  if (getMatrix().getType().getNumElements() != outs * ins)
    return emitOpError("expected a matrix of ") << outs * ins << " elements, but got " << getMatrix().getType();
  if (getResult().getType().getChannels() != getStreams().getType().getChannels())
    return emitOpError("expected as many channels in as out");
  if (getInit() && (getInit().getType().getStreams() != outs || getInit().getType().getChannels() != getResult().getType().getChannels()))
    return emitOpError("expected init of the result's shape, but got ") << getInit().getType();
  return success();
}

LogicalResult RowDotOp::verify() {
  WideType l = getLhs().getType(), r = getRhs().getType();
  if (l.getChannels() != r.getChannels())
    return emitOpError("expected operands of as many channels, but got ") << l << " and " << r;
  if (getResult().getType().getNumElements() != l.getStreams() * r.getStreams())
    return emitOpError("expected a result of ") << l.getStreams() * r.getStreams() << " elements, but got " << getResult().getType();
  return success();
}

LogicalResult RowReduceOp::verify() {
  int64_t count = getResult().getType().getNumElements();
  if (count != 1 && count != getValue().getType().getStreams())
    return emitOpError("expected one result, or one for each stream, but got ") << getResult().getType();
  return success();
}

/// Shared by the three ops that pair a wide value with a [K, M] parameter.
static LogicalResult verifyProjection(Operation *op, WideType wide, NarrowType narrow, MemRefType weight, bool transposed) {
  if (!weight.hasStaticShape() || weight.getRank() != 2)
    return op->emitOpError("expected a parameter of two static dimensions, but got ") << weight;
  int64_t k = weight.getDimSize(transposed ? 1 : 0), m = weight.getDimSize(transposed ? 0 : 1);
  if (wide.getNumElements() % k || narrow.getNumElements() != wide.getNumElements() / k * m)
    return op->emitOpError("expected groups of ") << k << " elements and " << m << " columns, but got " << wide << " and " << narrow;
  if (k % wide.getChannels())
    return op->emitOpError("expected groups of whole streams");
  if (weight.getElementType() != narrow.getElementType())
    return op->emitOpError("expected a parameter of ") << narrow.getElementType() << ", but got " << weight;
  return success();
}

LogicalResult RowProjectOp::verify() {
  return verifyProjection(*this, getValue().getType(), getResult().getType(), cast<MemRefType>(getWeight().getType()), getTransposed());
}
LogicalResult RowProjectTOp::verify() {
  return verifyProjection(*this, getResult().getType(), getValue().getType(), cast<MemRefType>(getWeight().getType()), getTransposed());
}
LogicalResult RowOuterTokensOp::verify() {
  return verifyProjection(*this, getValue().getType(), getNarrow().getType(), cast<MemRefType>(getTarget().getType()), getTransposed());
}

LogicalResult RowNarrowOp::verify() {
  int64_t inputs = 0, results = 0;
  for (Value input : getInputs())
    inputs += cast<NarrowType>(input.getType()).getNumElements();
  for (Type type : getResultTypes())
    results += cast<NarrowType>(type).getNumElements();
  Block &block = getBody().front();
  if (block.getNumArguments() != inputs)
    return emitOpError("expected ") << inputs << " region arguments, but got " << block.getNumArguments();
  if (!isa<RowYieldOp>(block.back()) || block.back().getNumOperands() != results)
    return emitOpError("expected the region to yield ") << results << " scalars";
  return success();
}

LogicalResult RowSumTokensOp::verify() {
  int64_t target = mhc::rowElements(getTarget().getType()), have = numElements(getValue().getType());
  auto wide = dyn_cast<WideType>(getValue().getType());
  if (target != have && !(wide && target == wide.getChannels()))
    return emitOpError("expected a target of as many elements as ") << getValue().getType();
  return success();
}
