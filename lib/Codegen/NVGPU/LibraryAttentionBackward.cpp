//===- LibraryAttentionBackward.cpp - gradients of attention ----------------===//
//
// With P = softmax(S), taken again from the scores and forward's log-sum-exps, and delta = rowsum(dout * out):
//   dV = P^T dout     dS = scale P (dout V^T - delta)     dQ = dS K     dK = dS^T Q
// Two kernels, each with its sums in registers: one has 64 queries of a head and walks over the keys (dQ), the other
// 64 keys of a key-value head and walks over the heads that share it and their queries (dK, dV). The scores are taken
// in both; in return every sum has one order and is rounded once.
//
//===----------------------------------------------------------------------===//

#include "LibraryAttention.h"

namespace mlir::mhc::nvgpu {

/// mhc_attention_delta_<type>_<value_dim>(dout, out, delta; rows): a warp has one row [value_dim].
void AttentionKernel::delta(StringRef name) {
  constexpr int64_t warps = threads / warpSize;
  begin(name, 3, 1, {warps, threads, 0});
  Value dout = argument(0), out = argument(1), result = argument(2), rows = argument(3);
  Value r = add(mul(widen64(blockIndex), warps), widen64(shiftRight(thread, 5))), laneOf = bitAnd(thread, warpSize - 1);
  when(less(r, rows), [&] {
    Value start = mul(r, valueDim);
    Value left = address(dout, element, start), right = address(out, element, start);
    Value sum = loop(laneOf, i32(valueDim), i32(warpSize), f32(0.0), [&](Value c, ValueRange carried) {
                  Value x = loadWide(address(left, element, c), element);
                  Value y = loadWide(address(right, element, c), element);
                  return SmallVector<Value>{LLVM::FMAOp::create(b, loc, x, y, carried.front())};
                }).front();
    for (int64_t distance = warpSize / 2; distance > 0; distance /= 2)
      sum = addFloat(sum, shuffle(sum, distance));
    when(compare(arith::CmpIPredicate::eq, laneOf, i32(0)), [&] { store(sum, address(result, compute, r), 4); });
  });
  end();
}

/// mhc_attention_dq_<type>_<head_dim>_<value_dim>(q, k, v, dout, lse, delta, dq; ..)
void AttentionKernel::gradientOfQueries(StringRef name) {
  beginTiles(name, 7);
  Value q = argument(0), k = argument(1), v = argument(2), dout = argument(3), lse = argument(4), deltas = argument(5);
  Value kvHead = divide(head, divide(heads, kvHeads)), first = mul(tile, side);
  Rows queries = rowsOf(q, head, heads, headDim, first), upstream = rowsOf(dout, head, heads, valueDim, first);
  // Rows beyond the sequence are not stored; their numbers may be anything.
  SmallVector<Value> logSums, means;
  for (int64_t i = 0; i < each; ++i) {
    Value token = min(add(first, widen64(row(i))), sub(length, i64(1)));
    Value place = add(mul(add(sequenceStart, token), heads), head);
    logSums.push_back(load(compute, address(lse, compute, place), 4));
    means.push_back(load(compute, address(deltas, compute, place), 4));
  }
  SmallVector<Value> sums(sumsOf(headDim), f32(0.0));
  sums = loop(i64(0), add(tile, 1), i64(1), sums, [&](Value keyTile, ValueRange carried) {
    SmallVector<Value> now = llvm::to_vector_of<Value>(carried);
    Value start = mul(keyTile, side), diagonal = compare(arith::CmpIPredicate::eq, keyTile, tile);
    Rows keys = rowsOf(k, kvHead, kvHeads, headDim, start);
    Tile weights = scores(queries, keys);
    Tile products = scores(upstream, rowsOf(v, kvHead, kvHeads, valueDim, start));
    for (int64_t i = 0; i < each; ++i)
      for (int64_t j = 0; j < each; ++j) {
        Value &weight = weights[i * each + j];
        Value p = expOf(subtract(multiply(weight, scale), logSums[i]));
        Value slope = multiply(multiply(p, subtract(products[i * each + j], means[i])), scale);
        weight = select(both(diagonal, less(row(i), column(j))), f32(0.0), slope);
      }
    storeWeights(weights);
    accumulate(keys, Mask::upToRow, diagonal, now);
    return now;
  });
  storeSums(rowsOf(argument(6), head, heads, headDim, first), sums);
  end();
}

/// mhc_attention_dkv_<type>_<head_dim>_<value_dim>(q, k, v, dout, lse, delta, dk, dv; ..): rows of the tiles are keys,
/// columns queries.
void AttentionKernel::gradientOfKeys(StringRef name) {
  beginTiles(name, 8);
  Value q = argument(0), k = argument(1), v = argument(2), dout = argument(3), lse = argument(4), deltas = argument(5);
  Value group = divide(heads, kvHeads), first = mul(tile, side);
  Rows keys = rowsOf(k, head, kvHeads, headDim, first), values = rowsOf(v, head, kvHeads, valueDim, first);
  SmallVector<Value> sums(sumsOf(headDim) + sumsOf(valueDim), f32(0.0));
  // Heads and the tiles of their queries, from the diagonal on, in one loop.
  Value queryTiles = sub(tileCount, tile);
  sums = loop(i64(0), mul(group, queryTiles), i64(1), sums, [&](Value step, ValueRange carried) {
    SmallVector<Value> now = llvm::to_vector_of<Value>(carried);
    Value ofHead = add(mul(head, group), divide(step, queryTiles)), past = remainder(step, queryTiles);
    Value start = mul(add(tile, past), side), diagonal = compare(arith::CmpIPredicate::eq, past, i64(0));
    Rows queries = rowsOf(q, ofHead, heads, headDim, start), upstream = rowsOf(dout, ofHead, heads, valueDim, start);
    Tile weights = scores(keys, queries), masked;
    SmallVector<Value> means;
    for (int64_t j = 0; j < each; ++j) {
      Value token = min(add(start, widen64(column(j))), sub(length, i64(1)));
      Value place = add(mul(add(sequenceStart, token), heads), ofHead);
      Value logSum = load(compute, address(lse, compute, place), 4);
      means.push_back(load(compute, address(deltas, compute, place), 4));
      Value beyond = compare(arith::CmpIPredicate::sge, column(j), queries.valid);
      for (int64_t i = 0; i < each; ++i) {
        // The loops run column by column, the tile lies row by row.
        Value &weight = weights[i * each + j];
        Value off = arith::OrIOp::create(b, loc, beyond, both(diagonal, less(column(j), row(i))));
        weight = select(off, f32(0.0), expOf(subtract(multiply(weight, scale), logSum)));
        masked.push_back(off);
      }
    }
    storeWeights(weights);
    accumulate(upstream, Mask::fromRowOn, diagonal, MutableArrayRef(now).drop_front(sumsOf(headDim)));
    Tile products = scores(values, upstream);
    for (int64_t j = 0; j < each; ++j)
      for (int64_t i = 0; i < each; ++i) {
        Value &weight = weights[i * each + j];
        Value slope = multiply(multiply(weight, subtract(products[i * each + j], means[j])), scale);
        weight = select(masked[j * each + i], f32(0.0), slope);
      }
    storeWeights(weights);
    accumulate(queries, Mask::fromRowOn, diagonal, MutableArrayRef(now).take_front(sumsOf(headDim)));
    return now;
  });
  storeSums(rowsOf(argument(6), head, kvHeads, headDim, first), ArrayRef(sums).take_front(sumsOf(headDim)));
  storeSums(rowsOf(argument(7), head, kvHeads, valueDim, first), ArrayRef(sums).drop_front(sumsOf(headDim)));
  end();
}

} // namespace mlir::mhc::nvgpu
