//===- LibraryAttention.cpp - tiles of attention, forward -------------------===//

#include "LibraryAttention.h"

#include "mlir/Dialect/Math/IR/Math.h"

#include <numeric>

namespace mlir::mhc::nvgpu {

//===----------------------------------------------------------------------===//
// The block
//===----------------------------------------------------------------------===//

/// Integer arguments of all kernels on tiles: length, heads, kv_heads, scale (bits of an f32), and the number of heads
/// that blocks are counted by. Tiles are counted from the last on: with a causal mask those of queries take longest.
void AttentionKernel::beginTiles(StringRef name, int64_t pointers) {
  begin(name, pointers, 5, {side, threads, tiles * tileWords * 4});
  threadX = bitAnd(thread, grid - 1);
  threadY = shiftRight(thread, llvm::Log2_64(grid));
  length = argument(pointers);
  heads = argument(pointers + 1);
  kvHeads = argument(pointers + 2);
  scale = arith::BitcastOp::create(b, loc, compute, narrow32(argument(pointers + 3)));
  Value blockHeads = argument(pointers + 4), block = widen64(blockIndex);
  tileCount = divide(add(length, side - 1), i64(side));
  Value perSequence = mul(tileCount, blockHeads), inSequence = remainder(block, perSequence);
  head = divide(inSequence, tileCount);
  tile = sub(sub(tileCount, i64(1)), remainder(inSequence, tileCount));
  sequenceStart = mul(divide(block, perSequence), length);
}

AttentionKernel::Rows AttentionKernel::rowsOf(Value pointer, Value ofHead, Value all, int64_t dim, Value first) {
  Value start = add(mul(add(sequenceStart, first), all), ofHead);
  Rows rows;
  rows.base = address(pointer, element, mul(start, dim));
  rows.stride = mul(all, dim);
  rows.valid = narrow32(min(i64(side), sub(length, first)));
  rows.dim = dim;
  return rows;
}

Value AttentionKernel::tileAt(int64_t slot, Value ofRow, int64_t column) {
  return address(address(shared, compute, mul(ofRow, pitch)), compute, slot * tileWords + column);
}

void AttentionKernel::loadChunk(const Rows &rows, int64_t from, int64_t slot) {
  width = std::gcd<int64_t>(4, rows.dim); // neighbours that memory gives at once
  int64_t perRow = side / width, rowsAtOnce = std::max<int64_t>(1, threads / perRow);
  Value x = mul(bitAnd(thread, perRow - 1), width), y = shiftRight(thread, llvm::Log2_64(perRow));
  Value zero = floatConstant(0.0);
  for (int64_t first = 0; first < side; first += rowsAtOnce) {
    Value r = add(y, first), inside = less(r, rows.valid);
    if (rows.dim - from < side)
      inside = both(inside, less(x, i32(rows.dim - from)));
    Value loaded = guarded(inside, zero, [&] {
      Value place = address(rows.base, element, mul(widen64(r), rows.stride));
      return loadWide(address(address(place, element, x), element, from), element);
    });
    store(loaded, address(tileAt(slot, r, 0), compute, x), width * 4);
  }
  width = 1;
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

AttentionKernel::Tile AttentionKernel::scores(const Rows &a, const Rows &bRows) {
  Type four = VectorType::get({4}, compute);
  Tile sums(each * each, f32(0.0));
  for (int64_t from = 0; from < a.dim; from += side) {
    barrier(); // nobody reads the operands of before
    loadChunk(a, from, 0);
    loadChunk(bRows, from, 1);
    barrier();
    int64_t channels = llvm::alignTo(std::min(side, a.dim - from), 4);
    sums = loop(i32(0), i32(channels), i32(4), sums, [&](Value d, ValueRange carried) {
      Tile next = llvm::to_vector_of<Value>(carried), left, right;
      for (int64_t i = 0; i < each; ++i) {
        left.push_back(load(four, address(tileAt(0, row(i), 0), compute, d), 16));
        right.push_back(load(four, address(tileAt(1, column(i), 0), compute, d), 16));
      }
      for (int64_t n = 0; n < 4; ++n)
        for (int64_t i = 0; i < each; ++i)
          for (int64_t j = 0; j < each; ++j) {
            Value &sum = next[i * each + j];
            sum = LLVM::FMAOp::create(b, loc, lane(left[i], n), lane(right[j], n), sum);
          }
      return next;
    });
  }
  return sums;
}

/// Seen by the threads of a row after the barrier that every product begins with.
void AttentionKernel::storeWeights(ArrayRef<Value> weights) {
  for (int64_t i = 0; i < each; ++i)
    for (int64_t j = 0; j < each; ++j)
      store(weights[i * each + j], address(tileAt(2, row(i), 0), compute, column(j)), 4);
}

/// One chunk of channels, whose tokens lie in operand 0.
AttentionKernel::Tile AttentionKernel::multiplyChunk(Mask mask, bool masked, ValueRange sums) {
  Type four = VectorType::get({4}, compute);
  Value x = mul(threadX, each);
  return loop(i32(0), i32(side), i32(4), sums, [&](Value t, ValueRange carried) {
    Tile next = llvm::to_vector_of<Value>(carried), weights, tokens;
    for (int64_t i = 0; i < each; ++i)
      weights.push_back(load(four, address(tileAt(2, row(i), 0), compute, t), 16));
    for (int64_t n = 0; n < 4; ++n)
      tokens.push_back(load(four, address(tileAt(0, add(t, n), 0), compute, x), 16));
    for (int64_t n = 0; n < 4; ++n)
      for (int64_t i = 0; i < each; ++i) {
        Value counts;
        if (masked) {
          auto order = mask == Mask::upToRow ? arith::CmpIPredicate::sle : arith::CmpIPredicate::sge;
          counts = compare(order, add(t, n), row(i));
        }
        for (int64_t j = 0; j < each; ++j) {
          Value &sum = next[i * each + j];
          Value more = LLVM::FMAOp::create(b, loc, lane(weights[i], n), lane(tokens[n], j), sum);
          sum = masked ? select(counts, more, sum) : more;
        }
      }
    return next;
  });
}

void AttentionKernel::accumulate(const Rows &rows, Mask mask, Value diagonal, MutableArrayRef<Value> sums) {
  for (int64_t from = 0; from < rows.dim; from += side) {
    barrier();
    loadChunk(rows, from, 0);
    barrier();
    MutableArrayRef<Value> chunk = sums.slice(from / side * each * each, each * each);
    Tile before(chunk);
    SmallVector<Type> types(before.size(), compute);
    auto both = scf::IfOp::create(b, loc, types, diagonal, /*withElseRegion=*/true);
    for (bool masked : {true, false}) {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(masked ? both.thenBlock() : both.elseBlock());
      scf::YieldOp::create(b, loc, multiplyChunk(mask, masked, before));
    }
    llvm::copy(both.getResults(), chunk.begin());
  }
}

void AttentionKernel::storeSums(const Rows &rows, ArrayRef<Value> sums) {
  width = std::gcd<int64_t>(each, rows.dim);
  Value x = mul(threadX, each);
  for (int64_t i = 0; i < each; ++i)
    when(less(row(i), rows.valid), [&] {
      Value start = address(address(rows.base, element, mul(widen64(row(i)), rows.stride)), element, x);
      for (int64_t from = 0; from < rows.dim; from += side)
        for (int64_t j = 0; j < each; j += width) {
          Value value = vectorOf(sums.slice(from / side * each * each + i * each + j, width));
          auto write = [&] { storeWide(value, address(start, element, from + j), element); };
          if (rows.dim - from < side)
            when(less(x, i32(rows.dim - from - j)), write);
          else
            write();
        }
    });
  width = 1;
}

Value AttentionKernel::expOf(Value x) { return math::ExpOp::create(b, loc, x); }

Value AttentionKernel::overRow(Value value, bool isMax) {
  for (int64_t distance = grid / 2; distance > 0; distance /= 2) {
    Value other = shuffle(value, distance);
    value = isMax ? Value(arith::MaxNumFOp::create(b, loc, value, other)) : addFloat(value, other);
  }
  return value;
}

//===----------------------------------------------------------------------===//
// Forward
//===----------------------------------------------------------------------===//

/// mhc_attention_<type>_<head_dim>_<value_dim>(q, k, v, out, lse; ..): a block has 64 queries of one head. The softmax
/// is taken online: with each tile of keys the row's maximum grows, and what was summed so far shrinks by it.
void AttentionKernel::forward(StringRef name) {
  beginTiles(name, 5);
  Value q = argument(0), k = argument(1), v = argument(2), out = argument(3), lse = argument(4);
  Value group = divide(heads, kvHeads), kvHead = divide(head, group), first = mul(tile, side);
  Rows queries = rowsOf(q, head, heads, headDim, first);
  Value infinity = f32(-std::numeric_limits<double>::infinity());

  // maxima, sums of exponentials, sums of values. A maximum starts at a finite number: a row of -inf alone then has
  // sum 0, and a later tile may still have something.
  SmallVector<Value> state(each, f32(-3.0e38));
  state.append(each + sumsOf(valueDim), f32(0.0));
  state = loop(i64(0), add(tile, 1), i64(1), state, [&](Value keyTile, ValueRange carried) {
    SmallVector<Value> now = llvm::to_vector_of<Value>(carried);
    MutableArrayRef<Value> maxima = MutableArrayRef(now).take_front(each);
    MutableArrayRef<Value> sums = MutableArrayRef(now).slice(each, each);
    MutableArrayRef<Value> values = MutableArrayRef(now).drop_front(2 * each);
    Value start = mul(keyTile, side), diagonal = compare(arith::CmpIPredicate::eq, keyTile, tile);
    Tile tileOf = scores(queries, rowsOf(k, kvHead, kvHeads, headDim, start));
    for (int64_t i = 0; i < each; ++i) {
      Value most = maxima[i];
      for (int64_t j = 0; j < each; ++j) {
        Value &score = tileOf[i * each + j];
        Value masked = both(diagonal, less(row(i), column(j)));
        score = select(masked, infinity, multiply(score, scale));
        most = arith::MaxNumFOp::create(b, loc, most, score);
      }
      most = overRow(most, /*isMax=*/true);
      Value shrink = expOf(subtract(maxima[i], most)), sum = f32(0.0);
      for (int64_t j = 0; j < each; ++j) {
        Value &score = tileOf[i * each + j];
        score = expOf(subtract(score, most));
        sum = addFloat(sum, score);
      }
      sums[i] = LLVM::FMAOp::create(b, loc, sums[i], shrink, overRow(sum, /*isMax=*/false));
      maxima[i] = most;
      for (int64_t c = 0; c < sumsOf(valueDim); c += each * each)
        for (int64_t j = 0; j < each; ++j)
          values[c + i * each + j] = multiply(values[c + i * each + j], shrink);
    }
    storeWeights(tileOf);
    accumulate(rowsOf(v, kvHead, kvHeads, valueDim, start), Mask::upToRow, diagonal, values);
    return now;
  });

  Rows results = rowsOf(out, head, heads, valueDim, first);
  Tile values = llvm::to_vector(llvm::drop_begin(state, 2 * each));
  for (int64_t i = 0; i < each; ++i) {
    Value most = state[i], sum = state[each + i];
    for (int64_t c = 0; c < sumsOf(valueDim); c += each * each)
      for (int64_t j = 0; j < each; ++j) {
        Value &value = values[c + i * each + j];
        value = arith::DivFOp::create(b, loc, value, sum);
      }
    Value writes = both(less(row(i), results.valid), compare(arith::CmpIPredicate::eq, threadX, i32(0)));
    when(writes, [&] {
      Value place = add(mul(add(add(sequenceStart, first), widen64(row(i))), heads), head);
      store(addFloat(most, math::LogOp::create(b, loc, sum)), address(lse, compute, place), 4);
    });
  }
  storeSums(results, values);
  end();
}

bool emitAttentionKernel(OpBuilder &builder, gpu::GPUModuleOp target, StringRef name, NameParts parts) {
  if (parts.front() != "attention")
    return false;
  parts = parts.drop_front();
  StringRef part = parts.empty() || parseElement(builder, parts.front()) ? "" : parts.front();
  parts = parts.drop_front(part.empty() ? 0 : 1);
  SmallVector<int64_t, 2> sizes;
  for (StringRef word : parts.drop_front(parts.empty() ? 0 : 1))
    if (int64_t size = 0; !word.getAsInteger(10, size) && size >= 1 && size <= maxHeadDim)
      sizes.push_back(size);
  bool isDelta = part == "delta";
  if (parts.empty() || !parseElement(builder, parts.front()) || sizes.size() + 1 != parts.size() ||
      sizes.size() != (isDelta ? 1 : 2))
    return false;
  AttentionKernel kernel(builder, target, parseElement(builder, parts.front()), sizes.front(), sizes.back());
  if (part.empty())
    kernel.forward(name);
  else if (isDelta)
    kernel.delta(name);
  else if (part == "dq")
    kernel.gradientOfQueries(name);
  else if (part == "dkv")
    kernel.gradientOfKeys(name);
  else
    return false;
  return true;
}

} // namespace mlir::mhc::nvgpu
