//===- CpuEmitter.cpp - function, tiles, memory and rounding ----------------===//

#include "CpuEmitter.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace mlir::mhc::cpu {

CpuEmitter::CpuEmitter(OpBuilder &builder, KernelOp kernel)
    : CpuBuilder(builder, kernel.getLoc(), kernel.getCompute()), kernel(kernel) {
  ScheduleAttr schedule = *kernel.getSchedule();
  tile = schedule.getTile();
  vectorLanes = schedule.getNumber("vector");
  channelBlock = schedule.getNumber("channel_block");
}

//===----------------------------------------------------------------------===//
// The function
//===----------------------------------------------------------------------===//

LogicalResult CpuEmitter::run() {
  MLIRContext *context = b.getContext();
  Type pointerType = LLVM::LLVMPointerType::get(context), int64 = b.getI64Type();
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(context), {pointerType, pointerType, int64, int64, int64});
  b.setInsertionPoint(kernel);
  auto function = LLVM::LLVMFuncOp::create(b, loc, kernel.getSymName(), type);
  Block *entry = function.addEntryBlock(b);
  b.setInsertionPointToStart(entry);
  Value arguments = entry->getArgument(0), partial = entry->getArgument(4);
  ints = entry->getArgument(1);

  stackSize = i64(0).getDefiningOp();
  arena = LLVM::AllocaOp::create(b, loc, pointerType, b.getI8Type(), stackSize->getResult(0), /*alignment=*/64);
  allocas = arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(0)); // a place to insert at
  rows = load(int64, ints, i64(0));
  int64_t firstReduction = kernel.getNumInputs() + kernel.getNumOutputs();
  for (auto [i, argument] : llvm::enumerate(kernel.getBlock().getArguments())) {
    Value base = load(pointerType, arguments, i64(i));
    if ((int64_t)i >= firstReduction) {
      int64_t count = cast<MemRefType>(argument.getType()).getNumElements();
      base = address(base, compute, mul(partial, count));
      fillZero(base, compute, count);
    }
    pointers.push_back(base);
  }

  emitWholePacks();
  LogicalResult status = success();
  loop(entry->getArgument(2), entry->getArgument(3), tile, [&](Value start) {
    tileStart = start;
    valid = min(i64(tile), sub(entry->getArgument(3), start));
    for (Operation &op : kernel.getBlock()) {
      auto phase = cast<PhaseOp>(op);
      phaseBytes = 0;
      if (succeeded(status))
        status = phase.getRole() == PhaseRole::wide ? emitWidePhase(phase) : emitNarrowPhase(phase);
      arenaBytes = std::max(arenaBytes, phaseBytes);
    }
  });
  loc = kernel.getLoc();
  emitWholeUnpacks();
  cast<arith::ConstantOp>(stackSize).setValueAttr(b.getI64IntegerAttr(std::max<int64_t>(arenaBytes, 64)));
  LLVM::ReturnOp::create(b, loc, ValueRange{});
  return status;
}

Value CpuEmitter::stack(int64_t bytes) {
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPoint(allocas);
  return LLVM::AllocaOp::create(b, loc, LLVM::LLVMPointerType::get(b.getContext()), b.getI8Type(), i64(bytes), /*alignment=*/64);
}

Value CpuEmitter::phaseStack(int64_t bytes) {
  Value base = address(arena, b.getI8Type(), i64(phaseBytes));
  phaseBytes += (bytes + 63) / 64 * 64;
  return base;
}

void CpuEmitter::fillZero(Value base, Type element, int64_t count) {
  int64_t whole = count / vectorLanes * vectorLanes;
  if (whole)
    loop(i64(0), i64(whole), vectorLanes, [&](Value i) { store(zeros(vector(element, vectorLanes)), base, i); });
  for (int64_t i = whole; i < count; ++i)
    store(zeros(element), base, i64(i));
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

Value CpuEmitter::rowOffset(RowLoadOp op, Value t) {
  auto source = cast<MemRefType>(op.getSource().getType());
  int64_t elements = 1;
  for (int64_t dim : source.getShape().drop_front())
    elements *= dim;
  Value row;
  if (Value memory = positionMemory.lookup(op))
    return load(b.getI64Type(), memory, t);
  switch (op.getAccess()) {
  case Access::uniform:
    return i64(0);
  case Access::row:
    row = add(tileStart, t);
    break;
  case Access::shared:
    row = arith::DivUIOp::create(b, loc, add(tileStart, t), i64(op.getDivisor()));
    break;
  case Access::gather:
    row = arith::ExtSIOp::create(b, loc, b.getI64Type(), narrowAt(op.getIndex(), i64(op.getElement()), t));
    break;
  case Access::sequence:
    row = arith::DivUIOp::create(b, loc, add(tileStart, t), op.getDivisor() ? i64(op.getDivisor()) : sequenceLength());
    break;
  case Access::position: {
    row = add(tileStart, t);
    if (op.getDivisor() != 1)
      row = arith::DivUIOp::create(b, loc, row, i64(op.getDivisor()));
    row = arith::RemUIOp::create(b, loc, row, sequenceLength());
    break;
  }
  }
  return mul(row, elements);
}

Value CpuEmitter::sequenceLength() {
  int64_t place = 1 + llvm::find(kernel.getInts(), b.getStringAttr("S")) - kernel.getInts().begin();
  return load(b.getI64Type(), ints, i64(place));
}

Value CpuEmitter::loadStream(RowLoadOp op, int64_t stream) {
  WideType type = cast<WideType>(op.getResult().getType());
  Type element = memoryType(type.getElementType());
  if (op.getInterleaved()) {
    if (stream == 0)
      interleavedLoads[op] =
          loadInterleaved(element, pointer(op.getSource()), add(rowOffset(op, token), mul(chunk, type.getStreams())), type.getStreams());
    return interleavedLoads[op][stream];
  }
  Value index = add(add(rowOffset(op, token), stream * type.getChannels()), chunk);
  return load(lanes(element), pointer(op.getSource()), index);
}

void CpuEmitter::storeStreams(RowStoreOp op, ArrayRef<Value> stored) {
  WideType type = cast<WideType>(op.getValue().getType());
  Value row = mul(add(tileStart, token), type.getNumElements());
  if (op.getInterleaved())
    return storeInterleaved(stored, pointer(op.getTarget()), add(row, mul(chunk, type.getStreams())));
  for (auto [stream, vector] : llvm::enumerate(stored))
    store(vector, pointer(op.getTarget()), add(add(row, stream * type.getChannels()), chunk));
}

/// Vectors of one length one after the other, the last repeated up to a power of two.
static Value concatenate(OpBuilder &b, Location loc, ArrayRef<Value> vectors) {
  SmallVector<Value> left(vectors);
  left.resize(llvm::PowerOf2Ceil(left.size()), left.back());
  while (left.size() > 1) {
    SmallVector<Value> next;
    int64_t length = cast<VectorType>(left[0].getType()).getNumElements();
    auto all = llvm::to_vector(llvm::seq<int64_t>(0, 2 * length));
    for (size_t i = 0; i < left.size(); i += 2)
      next.push_back(vector::ShuffleOp::create(b, loc, left[i], left[i + 1], all));
    left = std::move(next);
  }
  return left[0];
}

SmallVector<Value> CpuEmitter::loadInterleaved(Type element, Value base, Value index, int64_t streams) {
  SmallVector<Value> pieces, vectors;
  for (int64_t i = 0; i < streams; ++i)
    pieces.push_back(load(lanes(element), base, add(index, i * width)));
  if (width == 1)
    return pieces;
  Value all = concatenate(b, loc, pieces);
  for (int64_t s = 0; s < streams; ++s) {
    auto picked = llvm::map_to_vector(llvm::seq<int64_t>(0, width), [&](int64_t lane) { return lane * streams + s; });
    vectors.push_back(vector::ShuffleOp::create(b, loc, all, all, picked));
  }
  return vectors;
}

void CpuEmitter::storeInterleaved(ArrayRef<Value> vectors, Value base, Value index) {
  int64_t streams = vectors.size();
  Value all = width == 1 ? Value() : concatenate(b, loc, vectors);
  for (int64_t i = 0; i < streams; ++i) {
    Value piece = vectors[i];
    if (all) {
      auto picked = llvm::map_to_vector(llvm::seq<int64_t>(i * width, (i + 1) * width), [&](int64_t k) { return k % streams * width + k / streams; });
      piece = vector::ShuffleOp::create(b, loc, all, all, picked);
    }
    store(piece, base, add(index, i * width));
  }
}

Value CpuEmitter::channel() {
  Value first = splat(arith::TruncIOp::create(b, loc, b.getI32Type(), chunk));
  if (width == 1)
    return first;
  auto numbers = llvm::to_vector(llvm::seq<int32_t>(0, width));
  auto type = cast<VectorType>(lanes(b.getI32Type()));
  Value steps = arith::ConstantOp::create(b, loc, DenseElementsAttr::get(type, ArrayRef<int32_t>(numbers)));
  return arith::AddIOp::create(b, loc, first, steps);
}

//===----------------------------------------------------------------------===//
// Rounding
//===----------------------------------------------------------------------===//

/// `like`'s shape with another element type.
static Type reshaped(Value like, Type element) {
  if (auto type = dyn_cast<VectorType>(like.getType()))
    return type.clone(element);
  return element;
}

/// bf16 to f32 as one byte shuffle inside pieces of 128 bits: the eight elements stand in both pieces (a load can put them there), and zeros come in
/// below each. Written as extension and shift it takes the back end a shuffle across pieces and a shift.
Value CpuEmitter::widenBytes(Value stored) {
  Type i8 = b.getI8Type();
  Value bytes = vector::BitCastOp::create(b, loc, VectorType::get({2 * width}, i8), stored);
  Value zero = zeros(VectorType::get({4 * width}, i8));
  SmallVector<int64_t> twice, spread;
  for (int64_t piece = 0; piece < width / 4; ++piece)
    for (int64_t byte = 0; byte < 16; ++byte) {
      twice.push_back(piece / 2 * 16 + byte);
      int64_t element = piece % 2 * 4 + byte / 4;
      spread.push_back(byte % 4 < 2 ? 4 * width : piece * 16 + element * 2 + byte % 2);
    }
  Value both = vector::ShuffleOp::create(b, loc, bytes, bytes, twice);
  return vector::BitCastOp::create(b, loc, VectorType::get({width}, b.getF32Type()), vector::ShuffleOp::create(b, loc, both, zero, spread));
}

/// The upper halves of 32-bit words, likewise: shuffled together inside pieces, then the pieces' halves.
Value CpuEmitter::upperHalves(Value words) {
  Value bytes = vector::BitCastOp::create(b, loc, VectorType::get({4 * width}, b.getI8Type()), words);
  SmallVector<int64_t> gather, halves;
  for (int64_t piece = 0; piece < width / 4; ++piece) {
    for (int64_t byte = 0; byte < 16; ++byte)
      gather.push_back(piece * 16 + byte % 8 / 2 * 4 + 2 + byte % 2);
    halves.push_back(piece * 2);
  }
  Value gathered = vector::ShuffleOp::create(b, loc, bytes, bytes, gather);
  Value quads = vector::BitCastOp::create(b, loc, VectorType::get({width / 2}, b.getI64Type()), gathered);
  return vector::BitCastOp::create(b, loc, VectorType::get({width}, b.getIntegerType(16)), vector::ShuffleOp::create(b, loc, quads, quads, halves));
}

Value CpuEmitter::widen(Value stored, Type elementType) {
  Type f32 = reshaped(stored, b.getF32Type()), wanted = reshaped(stored, compute);
  Value value = stored;
  if (elementType.isBF16() && isa<VectorType>(f32) && width % 8 == 0) {
    value = widenBytes(stored);
  } else if (elementType.isBF16()) {
    Type i32 = reshaped(stored, b.getI32Type());
    Value shift = arith::ConstantOp::create(b, loc, cast<TypedAttr>(
        isa<VectorType>(i32) ? Attribute(DenseElementsAttr::get(cast<ShapedType>(i32), b.getI32IntegerAttr(16))) : Attribute(b.getI32IntegerAttr(16))));
    value = arith::ShLIOp::create(b, loc, arith::ExtUIOp::create(b, loc, i32, stored), shift);
    value = arith::BitcastOp::create(b, loc, f32, value);
  }
  int64_t have = getElementTypeOrSelf(value.getType()).getIntOrFloatBitWidth(), want = compute.getIntOrFloatBitWidth();
  if (have < want)
    return arith::ExtFOp::create(b, loc, wanted, value);
  if (have > want)
    return arith::TruncFOp::create(b, loc, wanted, value);
  return value;
}

CpuEmitter::Rounded CpuEmitter::round(Value computed, Type elementType) {
  if (!elementType.isBF16()) { // f32 <-> f64
    Value stored = compute.isF64() ? Value(arith::TruncFOp::create(b, loc, reshaped(computed, elementType), computed))
                                   : Value(arith::ExtFOp::create(b, loc, reshaped(computed, elementType), computed));
    return {stored, widen(stored, elementType)};
  }
  Type f32 = reshaped(computed, b.getF32Type()), i32 = reshaped(computed, b.getI32Type()), i16 = reshaped(computed, b.getIntegerType(16));
  auto constant = [&](int32_t value) -> Value {
    Attribute attr = b.getI32IntegerAttr(value);
    if (auto type = dyn_cast<VectorType>(i32))
      attr = DenseElementsAttr::get(type, attr);
    return arith::ConstantOp::create(b, loc, cast<TypedAttr>(attr));
  };
  Value bits;
  if (compute.isF64()) {
    // Rounding twice would be wrong at ties. So f32 by rounding to odd: toward zero, with the last bit set if anything was lost; then bf16.
    Value nearest = arith::TruncFOp::create(b, loc, f32, computed), back = arith::ExtFOp::create(b, loc, computed.getType(), nearest);
    Value above = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OGT, math::AbsFOp::create(b, loc, back), math::AbsFOp::create(b, loc, computed));
    Value inexact = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::ONE, back, computed);
    bits = arith::BitcastOp::create(b, loc, i32, nearest);
    bits = arith::SelectOp::create(b, loc, above, arith::SubIOp::create(b, loc, bits, constant(1)), bits);
    bits = arith::SelectOp::create(b, loc, inexact, arith::OrIOp::create(b, loc, bits, constant(1)), bits);
  } else {
    bits = arith::BitcastOp::create(b, loc, i32, computed);
  }
  // Half an ulp less one, and one more if the kept part is odd: ties go to even. A NaN must not become infinity or zero by this: it gets all bits.
  Value odd = arith::AndIOp::create(b, loc, arith::ShRUIOp::create(b, loc, bits, constant(16)), constant(1));
  Value up = arith::AddIOp::create(b, loc, arith::AddIOp::create(b, loc, bits, constant(0x7fff)), odd);
  Value nan = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::UNO, computed, computed);
  Value word = arith::OrIOp::create(b, loc, up, arith::ExtSIOp::create(b, loc, i32, nan));
  Value stored = isa<VectorType>(i32) && width % 8 == 0
                     ? upperHalves(word)
                     : Value(arith::TruncIOp::create(b, loc, i16, arith::ShRUIOp::create(b, loc, word, constant(16))));
  Value widened = arith::BitcastOp::create(b, loc, f32, arith::AndIOp::create(b, loc, word, constant(-65536)));
  if (compute.isF64())
    widened = arith::ExtFOp::create(b, loc, computed.getType(), widened);
  return {stored, widened};
}

Value CpuEmitter::any(Value condition) {
  if (!isa<VectorType>(condition.getType()))
    return condition;
  Value real = arith::AndIOp::create(b, loc, condition, validLanes);
  return vector::ReductionOp::create(b, loc, vector::CombiningKind::OR, real);
}

} // namespace mlir::mhc::cpu
