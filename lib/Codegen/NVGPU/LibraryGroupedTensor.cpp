//===- LibraryGroupedTensor.cpp - tiles by tensor cores ---------------------===//
//
// mma.sync m16n8k16 of bf16 into fp32, from compute capability 8.0 on. A warp makes 64 x 64 elements; a block has two
// warps along the rows and two or four along the columns. Steps of 32 summed elements pass through a ring of 4 stages
// in shared memory, which cp.async fills 3 steps ahead; the registers of the next 16 are loaded (ldmatrix) while the
// present ones are multiplied. One barrier a step: after it everyone sees the next stage, and nobody reads the one
// before any more, which is filled next.
//
// A stage holds a factor as memory does, in rows of 64 bytes (32 summed elements) or of the whole tile (a row for each
// summed element; ldmatrix transposes those). Chunks of 16 bytes are swapped within a row by exclusive or with the
// row's number, so that the 8 rows of an ldmatrix, and the chunks of a copy, meet each bank once.
//
// Where rows of memory are no multiples of 16 bytes the copies are of 8 or 4 bytes, or single elements through
// registers: the same kernel, slower. What is not there is filled with zeros.
//
// A tile of 128 x 256 takes 384 elements of either factor for 32768 products a summed element: 85 operations a byte
// that the L2 cache gives; 128 x 128 takes 64 (and wastes nothing where columns are no multiple of 256).
//
//===----------------------------------------------------------------------===//

#include "LibraryGrouped.h"

namespace mlir::mhc::nvgpu {

/// One factor's way through shared memory.
struct GroupedTensorKernel::Factor {
  Operand operand;
  int64_t offset;         ///< of its part in a stage, bytes
  int64_t rowBytes, rows; ///< of the part in shared memory
  int64_t chunksPerRow, rowsAtOnce;
  Value row, column;    ///< i32: where this thread's copies begin (row; first element in it)
  Value source, target; ///< the place of that in memory, and in a stage (i32, bytes)
  Value fragmentRow;    ///< i32, bytes: where this lane's rows of a fragment begin in a stage
  Value fragmentChunk;  ///< i32: number of its chunk in the first fragment
  int64_t blocks;       ///< fragments along the result
  bool isLeft;
  bool transposes() const { return !operand.alongSum; }
};

int64_t GroupedTensorKernel::tileColumns() const { return llvm::alignTo(n, 256) == llvm::alignTo(n, 128) ? 256 : 128; }

GpuLaunch GroupedTensorKernel::launch() const {
  return {tileColumns(), tileRows / warpTile * tileColumns() / warpTile * warpSize, stages * stageBytes()};
}

//===----------------------------------------------------------------------===//
// From memory to shared memory
//===----------------------------------------------------------------------===//

GroupedTensorKernel::Factor GroupedTensorKernel::prepare(const Operand &operand, bool isLeft) {
  Factor factor;
  factor.operand = operand;
  factor.isLeft = isLeft;
  factor.offset = isLeft ? 0 : tileRows * step * 2;
  factor.rowBytes = (operand.alongSum ? step : operand.extent) * 2;
  factor.rows = operand.alongSum ? operand.extent : step;
  factor.chunksPerRow = factor.rowBytes / 16;
  factor.rowsAtOnce = launch().threads / factor.chunksPerRow;
  factor.blocks = warpTile / 16;
  // Rows that are 4 chunks long lie two to a line of all banks.
  auto swap = [&](Value row) { return factor.chunksPerRow == 4 ? bitAnd(shiftRight(row, 1), 3) : bitAnd(row, 7); };
  factor.row = shiftRight(thread, llvm::Log2_64(factor.chunksPerRow));
  Value number = bitAnd(thread, factor.chunksPerRow - 1);
  factor.column = mul(number, chunk);
  factor.source = address(operand.base, element, add(mul(widen64(factor.row), operand.stride), widen64(factor.column)));
  factor.target = add(add(mul(factor.row, factor.rowBytes), mul(xorBits(number, swap(factor.row)), 16)), factor.offset);
  // ldmatrix takes the address of a row of 8 elements from each lane, for four matrices of 8 x 8: the left factor's are
  // in the order (rows, sum) = 00 10 01 11, the right one's (columns, sum) = 00 01 10 11.
  bool lowLanesFirst = isLeft == operand.alongSum;
  Value third = bitAnd(shiftRight(laneOf, 3), 1), fourth = shiftRight(laneOf, 4);
  Value row = add(bitAnd(laneOf, 7), mul(lowLanesFirst ? third : fourth, 8));
  Value warpStart = isLeft ? warpRow : warpColumn; // a multiple of 64: leaves the swapped bits alone
  factor.fragmentRow = add(mul(add(row, operand.alongSum ? warpStart : i32(0)), factor.rowBytes), factor.offset);
  if (!operand.alongSum)
    factor.fragmentRow = add(factor.fragmentRow, mul(warpStart, 2));
  factor.fragmentChunk = xorBits(lowLanesFirst ? fourth : third, swap(row));
  return factor;
}

/// Copies step `number` of the factor into the stage at `slot` (bytes).
void GroupedTensorKernel::fetch(const Factor &factor, const Sum &sum, Value number, Value slot) {
  Value from = mul(number, step);
  Value source =
      address(factor.source, element, mul(widen64(from), factor.operand.alongSum ? 1 : factor.operand.stride));
  Value target = address(shared, b.getI8Type(), add(slot, factor.target));
  for (int64_t first = 0; first < factor.rows; first += factor.rowsAtOnce)
    fetchChunk(factor, sum, from, add(factor.row, first), address(source, element, first * factor.operand.stride),
               address(target, b.getI8Type(), first * factor.rowBytes));
}

void GroupedTensorKernel::fetchChunk(const Factor &factor, const Sum &sum, Value from, Value row, Value source,
                                     Value target) {
  const int64_t each = accessWidth(factor.operand.stride);
  Type i16Type = b.getIntegerType(16);
  for (int64_t i = 0; i < chunk; i += each) {
    Value place = address(source, element, i), to = address(target, element, i);
    Value isHere = isThere(factor.operand, sum, from, row, add(factor.column, i));
    if (each == 1) {
      auto value = [&] { return load(i16Type, place, 2); };
      Value zero = arith::ConstantOp::create(b, loc, b.getI16IntegerAttr(0));
      store(isHere ? guarded(isHere, zero, value) : value(), to, 2);
      continue;
    }
    // A copy of no bytes reads nothing and writes zeros.
    Value bytes = isHere ? select(isHere, i32(each * 2), i32(0)) : Value();
    auto cache = each == chunk ? NVVM::LoadCacheModifierKind::CG : NVVM::LoadCacheModifierKind::CA;
    NVVM::CpAsyncOp::create(b, loc, to, place, each * 2, cache, bytes);
  }
}

//===----------------------------------------------------------------------===//
// From shared memory to the sums
//===----------------------------------------------------------------------===//

void GroupedTensorKernel::loadFragment(const Factor &factor, Value slot, int64_t part, int64_t block, Tile &registers) {
  bool alongSum = factor.operand.alongSum;
  Value number = xorBits(factor.fragmentChunk, i32(2 * (alongSum ? part : block)));
  Value place = add(factor.fragmentRow, mul(number, 16));
  place = address(shared, b.getI8Type(), add(slot, place));
  place = address(place, b.getI8Type(), (alongSum ? block : part) * 16 * factor.rowBytes);
  Type i32Type = b.getI32Type();
  auto words = LLVM::LLVMStructType::getLiteral(b.getContext(), SmallVector<Type>(4, i32Type));
  auto shape = NVVM::LdStMatrixShapeAttr::get(b.getContext(), 8, 8);
  Value loaded = NVVM::LdMatrixOp::create(b, loc, words, place, /*num=*/4,
                                          factor.transposes() ? NVVM::MMALayout::col : NVVM::MMALayout::row, shape,
                                          NVVM::LdStMatrixEltType::B16);
  for (int64_t i = 0; i < 4; ++i)
    registers.push_back(LLVM::ExtractValueOp::create(b, loc, loaded, i));
}

GroupedTensorKernel::Tile GroupedTensorKernel::loadFragments(ArrayRef<Factor> factors, Value slot, int64_t part) {
  Tile registers;
  for (const Factor &factor : factors)
    for (int64_t block = 0; block < factor.blocks; ++block)
      loadFragment(factor, slot, part, block, registers);
  return registers;
}

/// Sums of a warp: [4 blocks of 16 rows][8 blocks of 8 columns][4 of a lane].
void GroupedTensorKernel::multiplyFragments(ArrayRef<Value> fragments, MutableArrayRef<Value> sums) {
  constexpr int64_t blocks = warpTile / 16;
  ArrayRef<Value> left = fragments.take_front(4 * blocks), right = fragments.drop_front(4 * blocks);
  auto result = LLVM::LLVMStructType::getLiteral(b.getContext(), SmallVector<Type>(4, compute));
  for (int64_t i = 0; i < blocks; ++i)
    for (int64_t j = 0; j < 2 * blocks; ++j) {
      MutableArrayRef<Value> sum = sums.slice((i * 2 * blocks + j) * 4, 4);
      Value made = NVVM::MmaOp::create(b, loc, result, left.slice(4 * i, 4), right.slice(2 * j, 2), ValueRange(sum),
                                       ArrayRef<int64_t>{16, 8, 16}, std::nullopt, std::nullopt,
                                       std::array{NVVM::MMATypes::bf16, NVVM::MMATypes::bf16},
                                       std::array{NVVM::MMALayout::row, NVVM::MMALayout::col});
      for (int64_t e = 0; e < 4; ++e)
        sum[e] = LLVM::ExtractValueOp::create(b, loc, made, e);
    }
}

GroupedTensorKernel::Tile GroupedTensorKernel::multiply(const Operand &x, const Operand &y, const Sum &sum) {
  constexpr int64_t parts = step / 16;
  const int64_t ring = stages * stageBytes();
  laneOf = bitAnd(thread, warpSize - 1);
  // Warps of the first rows are neighbours: each of a multiprocessor's four parts has some of them.
  Value warp = shiftRight(thread, 5);
  const int64_t warpColumns = tileColumns() / warpTile;
  warpRow = mul(shiftRight(warp, llvm::Log2_64(warpColumns)), warpTile);
  warpColumn = mul(bitAnd(warp, warpColumns - 1), warpTile);
  const std::array factors = {prepare(x, /*isLeft=*/true), prepare(y, /*isLeft=*/false)};
  Value steps = shiftRight(add(sum.length, step - 1), llvm::Log2_64(step));
  auto fetchStep = [&](Value number, Value slot) {
    when(less(number, steps), [&] {
      for (const Factor &factor : factors)
        fetch(factor, sum, number, slot);
    });
    NVVM::CpAsyncCommitGroupOp::create(b, loc); // also of nothing: groups are counted
  };
  auto nextStage = [&] {
    NVVM::CpAsyncWaitGroupOp::create(b, loc, stages - 2);
    barrier();
  };
  auto after = [&](Value slot) {
    Value next = add(slot, stageBytes());
    return select(compare(arith::CmpIPredicate::eq, next, i32(ring)), i32(0), next);
  };

  for (int64_t s = 0; s + 1 < stages; ++s)
    fetchStep(i32(s), i32(s * stageBytes()));
  nextStage();
  const int64_t sumCount = warpTile * warpTile / warpSize;
  auto multiplyAll = [&] {
    Tile carried(sumCount, f32(0.0));
    llvm::append_range(carried, loadFragments(factors, i32(0), 0));
    const int64_t fragmentCount = carried.size() - sumCount;
    carried.push_back(i32(0));                           // the stage that is multiplied
    carried.push_back(i32((stages - 1) * stageBytes())); // the one that is filled
    carried = loop(i32(0), steps, i32(1), carried, [&](Value number, ValueRange state) {
      Tile sums(state.take_front(sumCount)), fragments(state.slice(sumCount, fragmentCount));
      Value slot = state[sumCount + fragmentCount], filled = state.back(), next = after(slot);
      for (int64_t part = 0; part < parts; ++part) {
        bool isLast = part + 1 == parts;
        if (isLast)
          nextStage();
        Tile following = loadFragments(factors, isLast ? next : slot, (part + 1) % parts);
        if (part == 0)
          fetchStep(add(number, stages - 1), filled);
        multiplyFragments(fragments, sums);
        fragments = following;
      }
      llvm::append_range(sums, fragments);
      sums.push_back(next);
      sums.push_back(after(filled));
      return sums;
    });
    carried.truncate(sumCount);
    return carried;
  };
  // A warp all of whose rows are missing copies, and leaves the tensor cores to the others.
  auto copyAll = [&] {
    loop(i32(0), steps, i32(1), i32((stages - 1) * stageBytes()), [&](Value number, ValueRange filled) {
      fetchStep(add(number, stages - 1), filled.front());
      nextStage();
      return SmallVector<Value>{after(filled.front())};
    });
    return Tile(sumCount, f32(0.0));
  };
  Tile sums;
  if (x.valid) {
    auto yield = [&](Tile values) { scf::YieldOp::create(b, loc, values); };
    auto both = scf::IfOp::create(
        b, loc, less(warpRow, x.valid), [&](OpBuilder &, Location) { yield(multiplyAll()); },
        [&](OpBuilder &, Location) { yield(copyAll()); });
    sums = llvm::to_vector_of<Value>(both.getResults());
  } else {
    sums = multiplyAll();
  }
  NVVM::CpAsyncWaitGroupOp::create(b, loc, 0);
  return sums;
}

/// A lane has two neighbours in rows g and g + 8 of each block of 16 x 8.
void GroupedTensorKernel::forEachRow(ArrayRef<Value> sums, function_ref<void(Value, ArrayRef<Neighbours>)> visit) {
  constexpr int64_t blocks = warpTile / 16;
  Value row = add(warpRow, shiftRight(laneOf, 2)), column = add(warpColumn, mul(bitAnd(laneOf, 3), 2));
  for (int64_t i = 0; i < blocks; ++i)
    for (int64_t half = 0; half < 2; ++half) {
      SmallVector<Neighbours> pieces;
      for (int64_t j = 0; j < 2 * blocks; ++j)
        pieces.push_back({add(column, 8 * j), Tile(sums.slice((i * 2 * blocks + j) * 4 + 2 * half, 2))});
      visit(add(row, i * 16 + half * 8), pieces);
    }
}

} // namespace mlir::mhc::nvgpu
