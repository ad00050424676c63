//===- CpuPack.cpp - copies of parameters in the order that products want ---===//
//
// Products with lanes on columns want a parameter as [K, M], project_t wants it as [M, K], with rows that do not lie a power of two apart (they would
// meet in a few sets of the cache). A parameter that lies otherwise is copied at the start of the call; a large one block by block, so that the stack
// stays small. Targets of outer products are summed in such a copy and written at the end.
//
//===----------------------------------------------------------------------===//

#include "CpuEmitter.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace mlir::mhc::cpu {

/// Bytes of the stack that one whole copy, and all of them, may take.
static constexpr int64_t copyLimit = 2 << 20, copiesLimit = 3 << 20;

std::pair<Value, bool> CpuEmitter::weightOf(Operation *op) {
  if (auto project = dyn_cast<RowProjectOp>(op))
    return {project.getWeight(), project.getTransposed()};
  if (auto projectT = dyn_cast<RowProjectTOp>(op))
    return {projectT.getWeight(), projectT.getTransposed()};
  auto outer = cast<RowOuterTokensOp>(op);
  return {outer.getTarget(), outer.getTransposed()};
}

/// With fewer columns than lanes most of a vector would be idle. Channels that alternate with streams make no lanes.
bool CpuEmitter::lanesAreColumns(Operation *op) {
  auto [weight, transposed] = weightOf(op);
  return !transposed || op->hasAttr("interleaved") || cast<MemRefType>(weight.getType()).getDimSize(0) >= vectorLanes;
}

int64_t CpuEmitter::interleavedStreams(Operation *op, const Shape &shape) { return op->hasAttr("interleaved") ? shape.inGroup : 1; }

/// Rows of a whole copy in [M, K] order are a cache line longer.
int64_t CpuEmitter::packStride(int64_t k) { return k + 64 / bytesOf(compute); }

/// Whole copies, before the first tile.
void CpuEmitter::emitWholePacks() {
  int64_t used = 0;
  kernel.getBody().walk([&](Operation *op) {
    if (!isa<RowProjectOp, RowProjectTOp, RowOuterTokensOp>(op))
      return;
    bool byRows = isa<RowProjectTOp>(op);
    auto [weight, transposed] = weightOf(op);
    auto type = cast<MemRefType>(weight.getType());
    if (!byRows && (!transposed || !lanesAreColumns(op)))
      return;
    int64_t columns = type.getDimSize(transposed ? 0 : 1), k = type.getNumElements() / columns;
    int64_t count = byRows ? columns * packStride(k) : columns * k;
    if (wholePacks.count({weight, byRows}) || count * bytesOf(compute) > copyLimit || used + count * bytesOf(compute) > copiesLimit)
      return;
    used += count * bytesOf(compute);
    loc = op->getLoc();
    Value memory = pointer(weight), copy = stack(count * bytesOf(compute)), zero = i64(0);
    wholePacks[{weight, byRows}] = copy;
    if (isa<RowOuterTokensOp>(op))
      fillZero(copy, compute, count);
    else if (!byRows)
      transpose(memory, zero, k, i64(columns), i64(k), copy, zero, columns);
    else if (op->hasAttr("interleaved"))
      gatherRows(cast<RowProjectTOp>(op), copy);
    else if (!transposed)
      transpose(memory, zero, columns, i64(k), i64(columns), copy, zero, packStride(k));
    else
      copyRows(memory, zero, k, copy, zero, packStride(k), columns, k);
  });
}

/// A whole copy in [M, K] order, streams by channels, of a parameter whose rows are channels by streams.
void CpuEmitter::gatherRows(RowProjectTOp op, Value copy) {
  Shape shape = shapeOf(op.getWeight(), op.getTransposed(), op.getResult().getType());
  Value memory = pointer(op.getWeight());
  int64_t length = op.getResult().getType().getChannels(), stride = packStride(shape.k);
  loop(i64(0), i64(shape.inGroup), 1, [&](Value s) {
    if (!op.getTransposed())
      return transpose(memory, mul(s, shape.columns), shape.inGroup * shape.columns, i64(length), i64(shape.columns), copy, mul(s, length), stride);
    loop(i64(0), i64(shape.columns), 1, [&](Value m) {
      loop(i64(0), i64(length), 1, [&](Value c) {
        store(load(compute, memory, add(add(mul(m, shape.k), mul(c, shape.inGroup)), s)), copy, add(add(mul(m, stride), mul(s, length)), c));
      });
    });
  });
}

/// Targets that were summed in copies, after the last tile.
void CpuEmitter::emitWholeUnpacks() {
  for (auto &[key, copy] : wholePacks) {
    if (cast<BlockArgument>(key.first).getArgNumber() < kernel.getNumInputs() + kernel.getNumOutputs())
      continue;
    auto type = cast<MemRefType>(key.first.getType());
    int64_t columns = type.getDimSize(0), k = type.getDimSize(1);
    transpose(copy, i64(0), columns, i64(k), i64(columns), pointer(key.first), i64(0), k);
  }
}

/// Memory for the block's slice, if `op` needs a copy and has no whole one.
void CpuEmitter::planBlockPack(Operation *op) {
  bool byRows = isa<RowProjectTOp>(op);
  auto [weight, transposed] = weightOf(op);
  if (wholePacks.count({weight, byRows}) || (!byRows && (!transposed || !lanesAreColumns(op))))
    return;
  auto type = cast<MemRefType>(weight.getType());
  int64_t columns = type.getDimSize(transposed ? 0 : 1), inGroup = type.getNumElements() / columns / channels;
  blockPacks[op] = phaseStack(columns * inGroup * copyStride * bytesOf(compute));
}

/// Fills the block's slice; `back`: adds nothing, writes a target's slice to where it came from.
void CpuEmitter::emitBlockPack(Operation *op, bool back) {
  Value copy = blockPacks.lookup(op);
  if (!copy)
    return;
  loc = op->getLoc();
  auto [weight, transposed] = weightOf(op);
  auto type = cast<MemRefType>(weight.getType());
  int64_t columns = type.getDimSize(transposed ? 0 : 1), k = type.getNumElements() / columns, inGroup = k / channels;
  Value memory = pointer(weight), size = sub(blockEnd, blockStart);
  bool byRows = isa<RowProjectTOp>(op);
  if (op->hasAttr("interleaved")) {
    loop(i64(0), i64(inGroup), 1, [&](Value s) {
      loop(i64(0), size, 1, [&](Value c) {
        Value row = add(mul(add(blockStart, c), inGroup), s), to = add(mul(s, copyStride), c);
        loop(i64(0), i64(columns), 1, [&](Value m) {
          Value there = transposed ? add(mul(m, k), row) : add(mul(row, columns), m);
          Value here = byRows ? add(mul(m, inGroup * copyStride), to) : add(mul(to, columns), m);
          if (back)
            store(load(compute, copy, here), memory, there);
          else
            store(load(compute, memory, there), copy, here);
        });
      });
    });
    return;
  }
  loop(i64(0), i64(inGroup), 1, [&](Value s) {
    Value from = add(mul(s, channels), blockStart), to = mul(s, copyStride);
    if (byRows && transposed)
      loop(i64(0), i64(columns), 1, [&](Value m) {
        loop(i64(0), size, 1, [&](Value c) {
          store(load(compute, memory, add(add(mul(m, k), from), c)), copy, add(add(mul(m, inGroup * copyStride), to), c));
        });
      });
    else if (byRows)
      transpose(memory, mul(from, columns), columns, size, i64(columns), copy, to, inGroup * copyStride);
    else if (!back)
      transpose(memory, from, k, i64(columns), size, copy, mul(to, columns), columns);
    else
      transpose(copy, mul(to, columns), columns, size, i64(columns), memory, from, k);
  });
}

/// Base and index of row (s, c) of a parameter in [K, M] order; c counts from the row's start.
std::pair<Value, Value> CpuEmitter::columnsOf(Operation *op, const Shape &shape, Value s, Value c) {
  Value weight = weightOf(op).first;
  if (Value copy = blockPacks.lookup(op))
    return {copy, mul(add(mul(s, copyStride), sub(c, blockStart)), shape.columns)};
  Value copy = lanesAreColumns(op) ? wholePacks.lookup({weight, false}) : Value();
  int64_t alternating = interleavedStreams(op, shape);
  Value row = alternating > 1 ? add(mul(c, alternating), s) : add(mul(s, channels), c);
  return {copy ? copy : pointer(weight), mul(row, shape.columns)};
}

/// Base and index of channel (s, c) of column m of a parameter in [M, K] order; c counts from the block's start.
std::pair<Value, Value> CpuEmitter::rowsOf(Operation *op, const Shape &shape, Value m, Value s, Value c) {
  if (Value copy = blockPacks.lookup(op))
    return {copy, add(mul(add(mul(m, shape.inGroup), s), copyStride), c)};
  Value copy = wholePacks.lookup({weightOf(op).first, true});
  return {copy, add(add(mul(m, packStride(shape.k)), mul(s, channels)), add(blockStart, c))};
}

void CpuEmitter::copyRows(Value from, Value fromOrigin, int64_t fromStride, Value to, Value toOrigin, int64_t toStride, int64_t rows, int64_t count) {
  int64_t whole = count / vectorLanes * vectorLanes;
  loop(i64(0), i64(rows), 1, [&](Value r) {
    Value source = add(fromOrigin, mul(r, fromStride)), target = add(toOrigin, mul(r, toStride));
    loop(i64(0), i64(whole), vectorLanes, [&](Value i) { store(load(vector(compute, vectorLanes), from, add(source, i)), to, add(target, i)); });
    for (int64_t i = whole; i < count; ++i)
      store(load(compute, from, add(source, i)), to, add(target, i));
  });
}

/// to[j][i] = from[i][j] for i < rows, j < columns: squares of vectors, and the edges one by one.
void CpuEmitter::transpose(Value from, Value fromOrigin, int64_t fromStride, Value rows, Value columns, Value to, Value toOrigin, int64_t toStride) {
  int64_t lanes = vectorLanes;
  Value wholeRows = b.createOrFold<arith::AndIOp>(loc, rows, i64(-lanes)), wholeColumns = b.createOrFold<arith::AndIOp>(loc, columns, i64(-lanes));
  auto source = [&](Value i, Value j) { return add(add(fromOrigin, mul(i, fromStride)), j); };
  auto target = [&](Value i, Value j) { return add(add(toOrigin, mul(j, toStride)), i); };
  auto single = [&](Value i, Value j) { store(load(compute, from, source(i, j)), to, target(i, j)); };
  loop(i64(0), wholeRows, lanes, [&](Value i) {
    loop(i64(0), wholeColumns, lanes, [&](Value j) {
      SmallVector<Value> square;
      for (int64_t r = 0; r < lanes; ++r)
        square.push_back(load(vector(compute, lanes), from, source(add(i, r), j)));
      transposeSquare(square);
      for (int64_t r = 0; r < lanes; ++r)
        store(square[r], to, target(i, add(j, r)));
    });
  });
  loop(i64(0), wholeRows, 1, [&](Value i) { loop(wholeColumns, columns, 1, [&](Value j) { single(i, j); }); });
  loop(wholeRows, rows, 1, [&](Value i) { loop(i64(0), columns, 1, [&](Value j) { single(i, j); }); });
}

/// In the shuffles that AVX has: inside pieces of 128 bits first, then the pieces.
void CpuEmitter::transposeSquare(SmallVectorImpl<Value> &rows) {
  int64_t lanes = rows.size(), piece = 16 / bytesOf(compute);
  auto exchange = [&](int64_t distance, function_ref<int64_t(int64_t, int64_t)> mask) {
    SmallVector<Value> next(lanes);
    for (int64_t r = 0; r < lanes; ++r)
      if (!(r & distance))
        for (int64_t high = 0; high < 2; ++high) {
          auto picked = llvm::map_to_vector(llvm::seq<int64_t>(0, lanes), [&](int64_t lane) { return mask(lane, high); });
          next[r + high * distance] = vector::ShuffleOp::create(b, loc, rows[r], rows[r + distance], picked);
        }
    rows.assign(next.begin(), next.end());
  };
  // Interleave: units of `distance` elements of a piece, in turn from the two rows.
  for (int64_t distance = 1; distance < piece; distance *= 2)
    exchange(distance, [&](int64_t lane, int64_t high) {
      int64_t units = piece / distance, unit = lane % piece / distance;
      return lane / piece * piece + (unit / 2 + high * units / 2) * distance + lane % distance + (unit % 2) * lanes;
    });
  // With pieces of four, the first step left columns 0 and 1 in even rows, 2 and 3 in odd ones.
  if (piece == 4)
    for (int64_t group = 0; group < lanes; group += 4)
      std::swap(rows[group + 1], rows[group + 2]);
  for (int64_t distance = piece; distance < lanes; distance *= 2)
    exchange(distance, [&](int64_t lane, int64_t high) { return (lane & ~distance) + high * distance + (lane & distance ? lanes : 0); });
}

/// [R][elements] copy of the narrow factor, once a phase: then lanes can be columns.
void CpuEmitter::transposeNarrow(RowOuterTokensOp op) {
  int64_t count = op.getNarrow().getType().getNumElements();
  Value copy = phaseStack(count * tile * bytesOf(compute));
  lateMemory[op] = copy;
  loop(i64(0), i64(count), 1, [&](Value e) {
    loop(i64(0), valid, 1, [&](Value t) { store(narrowAt(op.getNarrow(), e, t), copy, add(mul(t, count), e)); });
  });
}

} // namespace mlir::mhc::cpu
