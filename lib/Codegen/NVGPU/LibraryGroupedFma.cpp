//===- LibraryGroupedFma.cpp - tiles by multiply-adds -----------------------===//
//
// f32: a block of 256 threads (16 x 16) makes 128 x 128 elements, each thread 8 x 8 of them, rows 4 y + i and 64 + 4 y
// + i, columns alike. Steps of 16 summed elements pass through two buffers of shared memory, in rows of one summed
// element each; the next step's loads are under way while the present one is multiplied.
//
//===----------------------------------------------------------------------===//

#include "LibraryGrouped.h"

namespace mlir::mhc::nvgpu {

/// Row of memory, from the operand's beginning, of this thread's chunk `i`. 4 chunks make a row along the sum, 32 one
/// along the result.
Value GroupedFmaKernel::chunkRow(const Operand &operand, int64_t i) {
  int64_t perRow = (operand.alongSum ? step : operand.extent) / chunk;
  return add(shiftRight(thread, llvm::Log2_64(perRow)), i * threads / perRow);
}

Value GroupedFmaKernel::chunkStart(const Operand &operand) {
  return mul(bitAnd(thread, (operand.alongSum ? step : operand.extent) / chunk - 1), chunk);
}

/// This thread's elements of the step that begins at `from`: [chunks][4].
GroupedFmaKernel::Tile GroupedFmaKernel::fetch(const Operand &operand, const Sum &sum, Value from) {
  Tile values;
  Value start = chunkStart(operand);
  for (int64_t i = 0; i < chunks; ++i) {
    Value row = chunkRow(operand, i);
    Value place = address(address(operand.base, element, mul(widen64(row), operand.stride)), element, start);
    place = address(place, element, mul(widen64(from), operand.alongSum ? 1 : operand.stride));
    width = accessWidth(operand.stride);
    for (int64_t j = 0; j < chunk; j += width) {
      // Also a step that is whole may be none: the one after the last.
      Value isHere = isThere(operand, {sum.length, /*isWhole=*/false}, from, row, add(start, j));
      Value loaded = guarded(isHere, floatConstant(0.0), [&] { return loadWide(address(place, element, j), element); });
      for (int64_t e = 0; e < width; ++e)
        values.push_back(lane(loaded, e));
    }
    width = 1;
  }
  return values;
}

/// Writes them into the operand's half of a buffer.
void GroupedFmaKernel::keep(const Operand &operand, ArrayRef<Value> values, Value buffer) {
  Value start = chunkStart(operand);
  for (int64_t i = 0; i < chunks; ++i) {
    Value row = chunkRow(operand, i);
    ArrayRef<Value> four = values.slice(i * chunk, chunk);
    if (!operand.alongSum) {
      store(vectorOf(four), address(buffer, compute, add(mul(row, pitch), start)), 16);
      continue;
    }
    for (int64_t j = 0; j < chunk; ++j)
      store(four[j], address(address(buffer, compute, add(mul(start, pitch), row)), compute, j * pitch), 4);
  }
}

/// By quarters of a step: the compiler would fetch too far ahead in a longer stretch, and run out of registers.
void GroupedFmaKernel::multiplyStep(Value buffer, MutableArrayRef<Value> sums) {
  constexpr int64_t quarter = step / 4;
  Type four = VectorType::get({4}, compute);
  Value y = mul(shiftRight(thread, 4), 4), x = mul(bitAnd(thread, 15), 4);
  Tile made = loop(i32(0), i32(step), i32(quarter), Tile(sums), [&](Value from, ValueRange carried) {
    Tile next = llvm::to_vector_of<Value>(carried);
    Value start = address(buffer, compute, mul(from, pitch));
    for (int64_t s = 0; s < quarter; ++s) {
      Tile left, right;
      for (int64_t half = 0; half < 2; ++half) {
        Value l = load(four, address(address(start, compute, y), compute, s * pitch + 64 * half), 16);
        Value r = load(four, address(address(start, compute, x), compute, operandWords + s * pitch + 64 * half), 16);
        for (int64_t e = 0; e < 4; ++e) {
          left.push_back(lane(l, e));
          right.push_back(lane(r, e));
        }
      }
      for (int64_t i = 0; i < 8; ++i)
        for (int64_t j = 0; j < 8; ++j)
          next[i * 8 + j] = LLVM::FMAOp::create(b, loc, left[i], right[j], next[i * 8 + j]);
    }
    return next;
  });
  llvm::copy(made, sums.begin());
}

GroupedFmaKernel::Tile GroupedFmaKernel::multiply(const Operand &x, const Operand &y, const Sum &sum) {
  auto bufferAt = [&](Value words) { return address(shared, compute, words); };
  auto keepBoth = [&](ArrayRef<Value> values, Value words) {
    keep(x, values.take_front(chunks * chunk), bufferAt(words));
    keep(y, values.drop_front(chunks * chunk), bufferAt(add(words, operandWords)));
    barrier();
  };
  auto fetchBoth = [&](Value from) {
    Tile values = fetch(x, sum, from);
    llvm::append_range(values, fetch(y, sum, from));
    return values;
  };
  keepBoth(fetchBoth(i32(0)), i32(0));
  Tile carried(64, f32(0.0));
  carried.push_back(i32(0));
  carried = loop(i32(0), sum.length, i32(step), carried, [&](Value from, ValueRange state) {
    Tile sums(state.drop_back());
    Value words = state.back(), others = sub(i32(bufferWords), words);
    Tile next = fetchBoth(add(from, step));
    multiplyStep(bufferAt(words), sums);
    keepBoth(next, others);
    sums.push_back(others);
    return sums;
  });
  carried.pop_back();
  return carried;
}

void GroupedFmaKernel::forEachRow(ArrayRef<Value> sums, function_ref<void(Value, ArrayRef<Neighbours>)> visit) {
  Value y = mul(shiftRight(thread, 4), 4), x = mul(bitAnd(thread, 15), 4);
  for (int64_t i = 0; i < 8; ++i) {
    SmallVector<Neighbours> pieces;
    for (int64_t half = 0; half < 2; ++half)
      pieces.push_back({add(x, 64 * half), Tile(sums.slice(i * 8 + 4 * half, 4))});
    visit(add(y, i % 4 + i / 4 * 64), pieces);
  }
}

} // namespace mlir::mhc::nvgpu
