//===- SimpleEmitter.cpp - the kernel, tiles, memory ------------------------===//

#include "SimpleEmitter.h"

#include "mhc/Codegen/Passes.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <numeric>

namespace mlir::mhc::nvgpu {

/// Shared memory that every chip has for one block (sm_80: 163 KiB).
static constexpr int64_t sharedLimit = 160 * 1024;

SimpleEmitter::SimpleEmitter(OpBuilder &builder, KernelOp kernel, gpu::GPUModuleOp target)
    : GpuBuilder(builder, kernel.getLoc(), kernel.getCompute()), kernel(kernel), target(target) {
  ScheduleAttr schedule = *kernel.getSchedule();
  tile = schedule.getTile();
  threads = schedule.getThreads();
  warps = threads / warpSize;
}

LogicalResult SimpleEmitter::check() {
  if (!compute.isF32())
    return kernel.emitOpError("expected compute type f32, but got ") << compute << " (GPU kernels have no other)";
  if (!llvm::isPowerOf2_64(tile) || !llvm::isPowerOf2_64(threads) || threads < warpSize || threads > 1024 ||
      tile > threads)
    return kernel.emitOpError(
               "expected powers of two, 32 to 1024 threads and a tile of at most as many tokens, but got ")
           << *kernel.getSchedule();
  for (BlockArgument argument : kernel.getBlock().getArguments()) {
    Type element = cast<MemRefType>(argument.getType()).getElementType();
    if (!element.isF32() && !element.isBF16() && !element.isInteger(32))
      return kernel.emitOpError("expected memory of f32, bf16 or i32 in a GPU kernel, but got ") << argument.getType();
  }
  WalkResult result = kernel.getBody().walk([&](Operation *op) {
    auto load = dyn_cast<RowLoadOp>(op);
    if (load && needsLength(load) && !llvm::is_contained(kernel.getInts(), b.getStringAttr("S"))) {
      op->emitOpError("expected an int \"S\" of the kernel, which its accesses go by");
      return WalkResult::interrupt();
    }
    Value weight = isa<RowProjectOp>(op)    ? cast<RowProjectOp>(op).getWeight()
                   : isa<RowProjectTOp>(op) ? cast<RowProjectTOp>(op).getWeight()
                                            : Value();
    if (weight && !cast<MemRefType>(weight.getType()).getElementType().isF32()) {
      op->emitOpError("expected a parameter of f32, but got ") << weight.getType();
      return WalkResult::interrupt();
    }
    return WalkResult::advance();
  });
  return failure(result.wasInterrupted());
}

//===----------------------------------------------------------------------===//
// The kernel
//===----------------------------------------------------------------------===//

LogicalResult SimpleEmitter::run() {
  if (failed(check()))
    return failure();
  MLIRContext *context = b.getContext();
  Type global = LLVM::LLVMPointerType::get(context, 1), int64 = b.getI64Type();
  Block &block = kernel.getBlock();
  SmallVector<Type> types(block.getNumArguments(), global);
  types.append(1 + kernel.getInts().size(), int64);

  b.setInsertionPointToEnd(target.getBody());
  auto function = LLVM::LLVMFuncOp::create(b, loc, kernel.getSymName(),
                                           LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(context), types));
  function->setAttr(NVVM::NVVMDialect::getKernelFuncAttrName(), b.getUnitAttr());
  function->setAttr(NVVM::NVVMDialect::getMaxntidAttrName(), b.getDenseI32ArrayAttr({int32_t(threads)}));
  Block *entry = function.addEntryBlock(b);
  b.setInsertionPointToStart(entry);

  Type i32Type = b.getI32Type();
  thread = NVVM::ThreadIdXOp::create(b, loc, i32Type);
  laneOf = bitAnd(thread, warpSize - 1);
  warp = shiftRight(thread, 5);
  Value blockIndex = NVVM::BlockIdXOp::create(b, loc, i32Type), blocks = NVVM::GridDimXOp::create(b, loc, i32Type);
  shared = sharedMemory(target);
  rows = entry->getArgument(block.getNumArguments());
  for (auto [i, name] : llvm::enumerate(kernel.getInts()))
    if (cast<StringAttr>(name).getValue() == "S")
      length = entry->getArgument(block.getNumArguments() + 1 + i);
  int64_t firstReduction = kernel.getNumInputs() + kernel.getNumOutputs();
  for (auto [i, argument] : llvm::enumerate(block.getArguments())) {
    auto type = cast<MemRefType>(argument.getType());
    function.setArgAttr(i, LLVM::LLVMDialect::getAlignAttrName(), b.getI64IntegerAttr(argumentAlignment(type)));
    Value base = entry->getArgument(i);
    if (int64_t(i) >= firstReduction)
      base = address(base, compute, mul(widen64(blockIndex), type.getNumElements()));
    pointers.push_back(base);
  }
  allocas = arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(0)); // a place to insert at
  zeroPartials();

  LogicalResult status = success();
  loop(mul(widen64(blockIndex), tile), rows, mul(widen64(blocks), tile), [&](Value start) {
    tileStart = start;
    valid = arith::TruncIOp::create(b, loc, i32Type, min(i64(tile), sub(rows, start)));
    for (Operation &op : block) {
      auto phase = cast<PhaseOp>(op);
      if (succeeded(status))
        status = phase.getRole() == PhaseRole::wide ? emitWidePhase(phase) : emitNarrowPhase(phase);
    }
    barrier(); // before the next tile overwrites shared memory
  });
  LLVM::ReturnOp::create(b, loc, ValueRange{});
  if (failed(status))
    return failure();
  int64_t bytes = sharedRows * tile * 4;
  if (bytes > sharedLimit)
    return kernel.emitOpError("expected at most ")
           << sharedLimit << " bytes of narrow values for a tile of " << tile << " tokens, but got " << bytes;
  setGpuLaunch(function, {tile, threads, bytes});
  return success();
}

/// The block's own slices of the partials.
void SimpleEmitter::zeroPartials() {
  int64_t first = kernel.getNumInputs() + kernel.getNumOutputs();
  if (kernel.getNumReductions() == 0)
    return;
  for (BlockArgument argument : kernel.getBlock().getArguments().drop_front(first)) {
    int64_t count = cast<MemRefType>(argument.getType()).getNumElements();
    int64_t each = count % 4 ? 1 : 4;
    width = each;
    Value zero = floatConstant(0.0);
    loop(mul(widen64(thread), each), i64(count), i64(threads * each),
         [&](Value i) { store(zero, address(pointer(argument), compute, i), 4 * each); });
  }
  barrier();
}

//===----------------------------------------------------------------------===//
// Memory of wide code
//===----------------------------------------------------------------------===//

Value SimpleEmitter::rowOf(RowLoadOp load, const Token &at, function_ref<Value(Value)> index) {
  switch (load.getAccess()) {
  case Access::uniform:
    return i64(0);
  case Access::row:
    return at.row;
  case Access::shared:
    return arith::DivUIOp::create(b, loc, at.row, i64(load.getDivisor()));
  case Access::sequence:
    return arith::DivUIOp::create(b, loc, at.row, load.getDivisor() ? i64(load.getDivisor()) : length);
  case Access::gather:
    return widen64(index(load.getIndex()));
  case Access::position: {
    Value row = at.row;
    if (load.getDivisor() != 1)
      row = arith::DivUIOp::create(b, loc, row, i64(load.getDivisor()));
    return arith::RemUIOp::create(b, loc, row, length);
  }
  }
  llvm_unreachable("all kinds of access are above");
}

/// What a load of wide values takes: a row, also where the argument's first dimension is known (a table that is gathered
/// from), or the whole of a uniform argument.
static MemRefType loadedType(RowLoadOp load) {
  auto type = cast<MemRefType>(load.getSource().getType());
  if (type.hasStaticShape() && load.getAccess() != Access::uniform)
    return MemRefType::get(type.getShape().drop_front(), type.getElementType());
  return type;
}

/// Finds, once a token, the row that a load or store of wide values reaches.
void SimpleEmitter::locate(Operation *op, Token &at) {
  if (auto load = dyn_cast<RowLoadOp>(op); load && isa<WideType>(load.getResult().getType())) {
    MemRefType type = loadedType(load);
    Value row = rowOf(load, at, [&](Value narrow) { return narrowAt(narrow, load.getElement(), at.local); });
    Value offset = load.getAccess() == Access::uniform ? row : mul(row, rowElements(type));
    at.pointers[op] = address(pointer(load.getSource()), type.getElementType(), offset);
  } else if (auto store = dyn_cast<RowStoreOp>(op); store && isa<WideType>(store.getValue().getType())) {
    auto type = cast<MemRefType>(store.getTarget().getType());
    at.pointers[op] = address(pointer(store.getTarget()), type.getElementType(), mul(at.row, rowElements(type)));
  }
}

std::pair<Value, int64_t> SimpleEmitter::chunkAddress(Operation *op, MemRefType type, int64_t stream) {
  Type element = type.getElementType();
  if (op->hasAttr("interleaved")) { // the chunk is one channel
    int64_t streams = rowElements(type) / channels;
    Value place = address(token->pointers.lookup(op), element, add(mul(chunk, streams), stream));
    return {place, bytesOf(element)};
  }
  Value place = address(address(token->pointers.lookup(op), element, chunk), element, stream * channels);
  return {place, std::gcd(argumentAlignment(type), width * bytesOf(element))};
}

Value SimpleEmitter::loadStream(RowLoadOp op, int64_t stream) {
  MemRefType type = loadedType(op);
  auto [place, alignment] = chunkAddress(op, type, stream);
  return load(storedType(type.getElementType()), place, alignment);
}

void SimpleEmitter::storeStreams(RowStoreOp op, ArrayRef<Value> stored) {
  for (auto [stream, value] : llvm::enumerate(stored)) {
    auto [place, alignment] = chunkAddress(op, cast<MemRefType>(op.getTarget().getType()), stream);
    store(value, place, alignment);
  }
}

Value SimpleEmitter::narrowScalar(Value narrow, int64_t element) { return narrowAt(narrow, element, token->local); }

Value SimpleEmitter::channel() {
  if (width == 1)
    return chunk;
  SmallVector<Value> numbers;
  for (int64_t i = 0; i < width; ++i)
    numbers.push_back(add(chunk, i));
  return vectorOf(numbers);
}

template <typename Shape>
static Shape makeShape(Value weight, bool transposed, bool interleaved, WideType wide) {
  auto type = cast<MemRefType>(weight.getType());
  int64_t k = type.getDimSize(transposed ? 1 : 0), columns = type.getDimSize(transposed ? 0 : 1);
  int64_t channels = wide.getChannels(), inGroup = k / channels;
  return {k, columns, wide.getNumElements() / k, inGroup, interleaved ? 1 : channels, interleaved ? inGroup : 1};
}
SimpleEmitter::Shape SimpleEmitter::shapeOf(RowProjectOp op) {
  return makeShape<Shape>(op.getWeight(), op.getTransposed(), op.getInterleaved(), op.getValue().getType());
}
SimpleEmitter::Shape SimpleEmitter::shapeOf(RowProjectTOp op) {
  return makeShape<Shape>(op.getWeight(), op.getTransposed(), op.getInterleaved(), op.getResult().getType());
}
SimpleEmitter::Shape SimpleEmitter::shapeOf(RowOuterTokensOp op) {
  return makeShape<Shape>(op.getTarget(), op.getTransposed(), op.getInterleaved(), op.getValue().getType());
}

/// Rows of a [K, M] parameter are read in pieces of up to four columns, as alignment allows.
SmallVector<Value> SimpleEmitter::loadColumns(Value weight, const Shape &shape, int64_t stream, int64_t j,
                                              int64_t column, int64_t count, Value more) {
  auto type = cast<MemRefType>(weight.getType());
  int64_t step = shape.channelStride * shape.columns; // from channel to channel
  int64_t first = stream * shape.streamStride * shape.columns + j * step + column;
  Value base = address(pointer(weight), compute, mul(widen64(chunk), step));
  if (more)
    base = address(base, compute, more);
  SmallVector<Value> values;
  while (count > 0) {
    int64_t alignment = std::gcd(std::gcd(argumentAlignment(type), width * step * 4), first * 4);
    int64_t piece = std::min<int64_t>(alignment / 4, llvm::bit_floor(uint64_t(count)));
    Type vector = piece == 1 ? compute : Type(VectorType::get({piece}, compute));
    Value loaded = load(vector, address(base, compute, first), alignment);
    for (int64_t i = 0; i < piece; ++i)
      values.push_back(lane(loaded, i));
    first += piece;
    count -= piece;
  }
  return values;
}

Value SimpleEmitter::loadWeight(Value weight, const Shape &shape, int64_t stream, int64_t column) {
  auto type = cast<MemRefType>(weight.getType());
  Value base = address(pointer(weight), compute, mul(chunk, shape.channelStride));
  int64_t row = std::gcd<int64_t>(16, shape.k * 4);
  return load(lanes(compute), address(base, compute, column * shape.k + stream * shape.streamStride),
              shape.channelStride > 1 ? 4 : std::gcd(std::gcd(argumentAlignment(type), row), width * 4));
}

LogicalResult SimpleEmitter::emitOther(Operation *op) {
  if (!isa<RowReduceOp, RowDotOp>(op))
    return op->emitOpError("expected wide code in a wide phase");
  emitReduction(op);
  return success();
}

} // namespace mlir::mhc::nvgpu
