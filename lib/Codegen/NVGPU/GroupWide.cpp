//===- GroupWide.cpp - wide code of family group ----------------------------===//
//
// A warp has two tokens of the tile, a thread four channels of each box: 8 bytes of a row, without conflicts under the swizzle of 128 bytes.
//
// Of interleaved streams four channels are one or two pieces of 16 bytes, which a thread takes apart and puts together in registers. Eight lanes read two boxes of 64 elements
// where a piece is half of what a thread has: so that they do not meet, those of the second one take the second half first. Their vectors have channels 2, 3, 0, 1 then, of
// rows of one stream and of parameters too.
//
//===----------------------------------------------------------------------===//

#include "GroupEmitter.h"

namespace mlir::mhc::nvgpu {

static constexpr int64_t chunkChannels = 4, lanesOfToken = GroupPlan::boxChannels / chunkChannels;

void GroupEmitter::takeTokens(Value warpInRole) {
  local = add(mul(warpInRole, 2), shiftRight(laneOf, 4));
  inBox = bitAnd(laneOf, lanesOfToken - 1);
  // 16-byte piece p of token t lies at place p ^ (t mod 8) of its 128 bytes.
  Value piece = arith::XOrIOp::create(b, loc, shiftRight(inBox, 1), bitAnd(local, 7));
  Value inPiece = mul(bitAnd(inBox, 1), 8);
  swizzled = add(mul(local, 128), add(mul(piece, 16), inPiece));
  if (!plan.interleaved)
    return;
  const int64_t pieces = plan.interleaved / 2, threads = lanesOfToken / plan.interleaved; // of a thread; of a box of 64 elements
  Value boxOfThread = divide(inBox, threads), first = mul(remainder(inBox, threads), pieces);
  if (pieces == 2) {
    Value second = bitAnd(boxOfThread, 1);
    first = add(first, second);
    turns = equal(second, 1);
  }
  swizzledPiece = add(add(mul(boxOfThread, GroupPlan::boxBytes), mul(local, 128)), mul(exclusiveOr(first, bitAnd(local, 7)), 16));
}

/// The channels of one stream as memory has them, from how the thread has them, or back.
Value GroupEmitter::inOrder(Value vector) {
  if (!plan.interleaved || !turns)
    return vector;
  int64_t count = cast<VectorType>(vector.getType()).getNumElements();
  SmallVector<Value> parts;
  for (int64_t i = 0; i < count; ++i)
    parts.push_back(select(turns, lane(vector, (i + count / 2) % count), lane(vector, i)));
  return vectorOf(parts);
}

/// Where the thread has its chunk of stream `stream` of a value that lies from `home`.
Value GroupEmitter::rowPlace(Value base, int64_t home, Value wide, int64_t stream) {
  int64_t streams = cast<WideType>(wide.getType()).getStreams();
  return bytes(bytes(homeAt(base, home), add(mul(box, streams * GroupPlan::boxBytes), stream * GroupPlan::boxBytes)), swizzled);
}

Value GroupEmitter::piecePlace(Value base, int64_t home, int64_t piece) {
  return bytes(bytes(homeAt(base, home), mul(box, plan.interleaved * GroupPlan::boxBytes)), exclusiveOr(swizzledPiece, i32(16 * piece)));
}

/// The thread's four channels of each stream of an interleaved row.
SmallVector<Value> GroupEmitter::loadApart(Value base, int64_t home) {
  SmallVector<Value> words; // [channel][two streams]
  for (int64_t piece = 0; piece < plan.interleaved / 2; ++piece) {
    Value four = load(VectorType::get({4}, b.getI32Type()), piecePlace(base, home, piece), 16);
    for (int64_t i = 0; i < 4; ++i)
      words.push_back(lane(four, i));
  }
  return takeApart(words, plan.interleaved);
}

void GroupEmitter::storeTogether(ArrayRef<Value> streams, Value base, int64_t home) {
  SmallVector<Value> words = putTogether(streams, chunkChannels);
  for (int64_t piece = 0; piece < plan.interleaved / 2; ++piece)
    store(vectorOf(ArrayRef(words).slice(4 * piece, 4)), piecePlace(base, home, piece), 16);
}

/// The thread's channels of the present box in the token's row of an argument.
Value GroupEmitter::globalRow(Value argument, int64_t stream) {
  auto type = cast<MemRefType>(argument.getType());
  Value first = add(add(sliceStart, mul(box, GroupPlan::boxChannels)), add(mul(inBox, chunkChannels), stream * plan.channels));
  Value index = widen64(first);
  if (!type.hasStaticShape())
    index = add(index, mul(token64, rowElements(type)));
  return address(pointers[cast<BlockArgument>(argument).getArgNumber()], type.getElementType(), index);
}

Value GroupEmitter::loadStream(RowLoadOp op, int64_t stream) {
  if (op.getAccess() == Access::uniform)
    return inOrder(load(lanes(compute), globalRow(op.getSource(), stream), 16));
  Value same = op.getResult();
  if (inSecond) { // what the first phase stored to or loaded from this memory
    plan.first.walk([&](Operation *inner) {
      if (auto store = dyn_cast<RowStoreOp>(inner); store && store.getTarget() == op.getSource())
        same = store.getValue();
    });
    if (same == op.getResult())
      for (RowLoadOp load : plan.rowLoads)
        if (load.getSource() == op.getSource())
          same = load.getResult();
  }
  Type element = cast<WideType>(op.getResult().getType()).getElementType();
  auto passing = plan.passing.find(same);
  bool kept = passing == plan.passing.end();
  Value base = kept ? stageBase : passingBase;
  int64_t home = kept ? plan.homes.lookup(same) : passing->second;
  if (!isInterleaved(same))
    return inOrder(load(storedType(element), rowPlace(base, home, same, stream), 8));
  if (stream == 0)
    apart = loadApart(base, home);
  return apart[stream];
}

/// What has a home is stored from there, by the projection warps.
void GroupEmitter::storeStreams(RowStoreOp op, ArrayRef<Value> stored) {
  if (!inSecond && plan.homes.count(op.getValue()))
    return;
  when(live, [&] {
    for (auto [stream, value] : llvm::enumerate(stored))
      store(inOrder(value), globalRow(op.getTarget(), stream), 8);
  });
}

Value GroupEmitter::channel() {
  Value first = add(add(sliceStart, mul(box, GroupPlan::boxChannels)), mul(inBox, chunkChannels));
  SmallVector<Value> numbers;
  for (int64_t i = 0; i < chunkChannels; ++i)
    numbers.push_back(add(first, i));
  return inOrder(vectorOf(numbers));
}

LogicalResult GroupEmitter::emitOther(Operation *op) {
  if (isa<RowProjectOp>(op))
    return success(); // from the stage, by the projection warps
  auto reduce = dyn_cast<RowReduceOp>(op);
  if (!reduce)
    return op->emitOpError("expected wide code of family group");
  SmallVector<Value> &sums = accumulators[op];
  for (auto [i, value] : llvm::enumerate(llvm::to_vector(computed(reduce.getValue())))) {
    size_t which = sums.size() == 1 ? 0 : i;
    sums[which] = addFloat(sums[which], value);
  }
  return success();
}

/// The code of a phase for the present box.
LogicalResult GroupEmitter::emitBox(PhaseOp phase) {
  beginChunk(chunkChannels);
  for (Operation &op : phase.getBody().front().without_terminator())
    if (failed(emitWide(&op)))
      return failure();
  if (!inSecond)
    for (auto [value, home] : plan.homes) {
      if (value.getDefiningOp<RowLoadOp>())
        continue;
      if (isInterleaved(value)) {
        storeTogether(stored(value), stageBase, home);
        continue;
      }
      for (auto [stream, word] : llvm::enumerate(llvm::to_vector(stored(value))))
        store(inOrder(word), rowPlace(stageBase, home, value, stream), 8);
    }
  return success();
}

/// The sums of the thread's channels, then of the lanes of its token: into shared memory, for the projection warps.
void GroupEmitter::finishSums(Value stage) {
  int64_t at = 0;
  SmallVector<Value> totals;
  for (auto &[op, sums] : accumulators)
    for (Value sum : sums) {
      Value total = addFloat(addFloat(lane(sum, 0), lane(sum, 1)), addFloat(lane(sum, 2), lane(sum, 3)));
      for (int64_t distance = lanesOfToken / 2; distance; distance /= 2)
        total = addFloat(total, shuffle(total, distance));
      totals.push_back(total);
    }
  if (totals.empty())
    return;
  Value place = bytes(bytes(shared, plan.squares), mul(add(mul(stage, GroupPlan::tokens), local), plan.reduced * 4));
  when(equal(inBox, 0), [&] {
    for (Value total : totals)
      store(total, bytes(place, 4 * at++), 4);
  });
}

LogicalResult GroupEmitter::emitPost() {
  takeTokens(inRole);
  LogicalResult status = success();
  tiles(mine, 2, [&](Value tile, ArrayRef<Ring> at) {
    Ring ring = at[0], other = at[1];
    passingBase = passingAt(other.stage);
    wait(full(ring.stage), ring.parity);
    token64 = add(widen64(firstToken(tile)), widen64(local));
    live = less(token64, rows);
    scalars.clear();
    beginChunk(1);
    for (auto [op, place] : plan.coefficientLoads)
      scalars[op->getResult(0)] = loadRow(cast<RowLoadOp>(op), bytes(passingBase, place), local);
    if (plan.loads)
      for (Value result : plan.loads.getResults())
        narrowElements(result);
    inSecond = false;
    stageBase = stageAt(ring.stage);
    // The boxes are a loop: unrolled the role is long enough for the instruction cache to miss.
    accumulators.clear();
    width = chunkChannels;
    SmallVector<Value> start;
    for (RowReduceOp reduce : plan.reduces)
      start.append(cast<NarrowType>(reduce->getResult(0).getType()).getNumElements(), floatConstant(0));
    SmallVector<Value> total = loop(i32(0), i32(plan.boxes), i32(1), start, [&](Value present, ValueRange carried) {
      box = present;
      size_t at = 0;
      for (RowReduceOp reduce : plan.reduces)
        for (int64_t e = cast<NarrowType>(reduce->getResult(0).getType()).getNumElements(); e; --e)
          accumulators[reduce].push_back(carried[at++]);
      if (succeeded(status))
        status = emitBox(plan.first);
      SmallVector<Value> left;
      for (auto &[op, sums] : accumulators)
        llvm::append_range(left, sums);
      return left;
    });
    size_t taken = 0;
    for (auto &[op, sums] : accumulators)
      for (Value &sum : sums)
        sum = total[taken++];
    finishSums(ring.stage);
    fenceShared();
    arrive(done(ring.stage));
    if (passes())
      when(equal(laneOf, 0), [&] { arriveAlone(passed(other.stage)); });
    return SmallVector<Ring>{next(ring), nextPassing(other)};
  });
  return status;
}

/// The second wide phase of a tile, by the projection warps.
LogicalResult GroupEmitter::emitSecond(Value tile, Value base, ArrayRef<Value> results) {
  token64 = add(widen64(firstToken(tile)), widen64(local));
  live = less(token64, rows);
  scalars.clear();
  for (Value result : plan.results) {
    int64_t count = cast<NarrowType>(result.getType()).getNumElements();
    scalars[result] = SmallVector<Value>(results.take_front(count));
    results = results.drop_front(count);
  }
  inSecond = true;
  stageBase = base;
  for (int64_t i = 0; i < plan.boxes; ++i) {
    box = i32(i);
    if (failed(emitBox(plan.second)))
      return failure();
  }
  return success();
}

} // namespace mlir::mhc::nvgpu
