//===- CpuWide.cpp - wide phases: lanes are channels ------------------------===//

#include "CpuEmitter.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace mlir::mhc::cpu {

/// Gram products of more sums than this do not fit into registers beside the chunk: they run after the chunk loop, over the block copies.
static constexpr int64_t smallDot = 4;
/// Channels that a Gram product takes at a time.
static constexpr int64_t dotBlock = 64;

static int64_t sumsOf(RowDotOp op) { return op.getLhs().getType().getStreams() * op.getRhs().getType().getStreams(); }

void CpuEmitter::planPhase(PhaseOp op) {
  phase = op;
  chunkOps.clear();
  lateOps.clear();
  earlyOps.clear();
  lateDots.clear();
  copies.clear();
  firstAccumulator.clear();
  accumulatorIsMax.clear();
  lateMemory.clear();
  positionMemory.clear();
  blockPacks.clear();
  auto newAccumulators = [&](Operation *reduction, int64_t count, bool isMax) {
    firstAccumulator[reduction] = accumulatorIsMax.size();
    accumulatorIsMax.append(count, isMax);
  };
  for (Operation &inner : phase.getBody().front().without_terminator()) {
    for (Value value : llvm::concat<Value>(inner.getOperands(), inner.getResults()))
      if (auto type = dyn_cast<WideType>(value.getType()))
        channels = type.getChannels();
    if (auto projectT = dyn_cast<RowProjectTOp>(inner))
      earlyOps.push_back(projectT);
    else if (isa<RowProjectOp, RowOuterTokensOp>(inner))
      lateOps.push_back(&inner);
    else if (auto dot = dyn_cast<RowDotOp>(inner); dot && sumsOf(dot) > smallDot)
      lateDots.push_back(dot);
    else
      chunkOps.push_back(&inner);
    if (auto dot = dyn_cast<RowDotOp>(inner))
      newAccumulators(dot, sumsOf(dot), false);
    if (auto reduce = dyn_cast<RowReduceOp>(inner))
      newAccumulators(reduce, reduce.getValue().getType().getStreams(), reduce.getKind() == ReduceKind::max);
  }
  mainChannels = channels / vectorLanes * vectorLanes;
  // Without parameters to keep close, rows are best read from one end to the other.
  blocked = !earlyOps.empty() || !lateOps.empty();
  blockSize = blocked ? (lateDots.empty() ? channelBlock : dotBlock) : llvm::divideCeil(channels, dotBlock) * dotBlock;
  wholeBlocks = channels % blockSize == 0;
  copyStride = std::min<int64_t>(blocked ? blockSize : dotBlock, llvm::divideCeil(channels, vectorLanes) * vectorLanes);
  planCopies();

  int64_t bytes = bytesOf(compute);
  accumulatorMemory = phaseStack((int64_t)accumulatorIsMax.size() * tile * vectorLanes * bytes);
  for (auto [i, isMax] : llvm::enumerate(accumulatorIsMax)) {
    width = vectorLanes;
    Value none = floatConstant(isMax ? -std::numeric_limits<double>::infinity() : 0);
    loop(i64(0), valid, 1, [&](Value t) { store(none, accumulatorMemory, accumulatorIndex(i64(i), t)); });
  }
  for (Operation *late : lateOps) {
    if (auto outer = dyn_cast<RowOuterTokensOp>(late)) {
      if (lanesAreColumns(outer))
        transposeNarrow(outer);
      continue;
    }
    int64_t count = cast<NarrowType>(late->getResult(0).getType()).getNumElements() * tile * (lanesAreColumns(late) ? 1 : vectorLanes);
    lateMemory[late] = phaseStack(count * bytes);
    fillZero(lateMemory[late], compute, count);
  }
  // The division for each token happens once, not once a block.
  for (Operation *inner : chunkOps)
    if (auto loadOp = dyn_cast<RowLoadOp>(inner); loadOp && (loadOp.getAccess() == Access::position || loadOp.getAccess() == Access::sequence)) {
      Value memory = phaseStack(tile * 8);
      loop(i64(0), valid, 1, [&](Value t) { store(rowOffset(loadOp, t), memory, t); });
      positionMemory[inner] = memory;
    }
}

/// Block copies of wide values and of parameters. What only Gram products read is kept for one token.
void CpuEmitter::planCopies() {
  llvm::SetVector<Value> tokens, single;
  for (RowProjectTOp early : earlyOps)
    tokens.insert(early.getResult());
  for (Operation *late : lateOps)
    tokens.insert(late->getOperand(0));
  for (RowDotOp dot : lateDots)
    single.insert_range(dot->getOperands());
  int64_t bytes = bytesOf(compute);
  auto plan = [&](Value value, bool one) {
    // A cache line more, so that the tokens' copies do not meet in the same sets of the cache.
    int64_t stride = cast<WideType>(value.getType()).getStreams() * copyStride + 64 / bytes;
    copies[value] = {phaseStack(stride * (one ? 1 : tile) * bytes), one ? 0 : stride};
  };
  for (Value value : tokens)
    plan(value, false);
  for (Value value : single)
    if (!tokens.contains(value))
      plan(value, true);
  for (RowProjectTOp early : earlyOps)
    planBlockPack(early);
  for (Operation *late : lateOps)
    planBlockPack(late);
}

LogicalResult CpuEmitter::emitWidePhase(PhaseOp op) {
  planPhase(op);
  LogicalResult status = success();
  loop(i64(0), i64(channels), blockSize, [&](Value start) {
    blockStart = start;
    blockEnd = wholeBlocks ? add(start, blockSize) : min(add(start, blockSize), i64(channels));
    blockMainEnd = wholeBlocks ? blockEnd : min(add(start, blockSize), i64(mainChannels));
    for (RowProjectTOp early : earlyOps) {
      emitBlockPack(early, /*back=*/false);
      emitProjectT(early);
    }
    status = emitChunks();
    if (failed(status))
      return;
    for (Operation *late : lateOps) {
      emitBlockPack(late, /*back=*/false);
      loc = late->getLoc();
      if (auto project = dyn_cast<RowProjectOp>(late)) {
        emitProject(project);
      } else {
        emitOuter(cast<RowOuterTokensOp>(late));
        emitBlockPack(late, /*back=*/true);
      }
    }
  });
  if (failed(status))
    return failure();
  finishReductions();
  bindPhase(op);
  return success();
}

//===----------------------------------------------------------------------===//
// The chunk loop
//===----------------------------------------------------------------------===//

/// Blocks read every row in short pieces, which the hardware does not foresee, and memory is slow at. So bring the next tile into the second-level
/// cache while this one is worked on, from its first byte to its last: each token of each block a share. (Fetching into the first level as well, just
/// in time, gained nothing.) Nothing is read: addresses past the end do no harm.
void CpuEmitter::prefetchNextTile() {
  if (!blocked)
    return;
  Value block = b.createOrFold<arith::DivUIOp>(loc, blockStart, i64(blockSize)), part = add(mul(block, tile), token);
  auto prefetch = [&](Value argument, WideType type, bool write) {
    if (prefetched.insert({argument, phase}).first->second != phase)
      return;
    Type element = memoryType(type.getElementType());
    int64_t line = 64 / bytesOf(element), share = llvm::divideCeil(blockSize * type.getStreams(), line) * line;
    Value first = add(mul(add(tileStart, tile), type.getNumElements()), mul(part, share));
    for (int64_t at = 0; at < share; at += line)
      LLVM::Prefetch::create(b, loc, address(pointer(argument), element, add(first, at)), write, /*hint=*/2, /*cache=*/1);
  };
  for (Operation *op : chunkOps) {
    if (auto loadOp = dyn_cast<RowLoadOp>(op); loadOp && loadOp.getAccess() == Access::row && isa<WideType>(loadOp.getResult().getType()))
      prefetch(loadOp.getSource(), cast<WideType>(loadOp.getResult().getType()), false);
    else if (auto storeOp = dyn_cast<RowStoreOp>(op))
      prefetch(storeOp.getTarget(), cast<WideType>(storeOp.getValue().getType()), true);
  }
}

LogicalResult CpuEmitter::emitChunks() {
  LogicalResult status = success();
  // Reductions whose sums the chunk loop carries.
  SmallVector<int64_t> carriedSums;
  for (Operation *op : chunkOps)
    if (isa<RowReduceOp, RowDotOp>(op)) {
      int64_t count = isa<RowDotOp>(op) ? sumsOf(cast<RowDotOp>(op)) : cast<RowReduceOp>(op).getValue().getType().getStreams();
      for (int64_t i = 0; i < count; ++i)
        carriedSums.push_back(firstAccumulator[op] + i);
    }
  auto piece = [&](Value start, Value mainEnd, Value end) {
    chunkOrigin = start;
    SmallVector<Value> sums;
    for (int64_t i : carriedSums)
      sums.push_back(load(vector(compute, vectorLanes), accumulatorMemory, accumulatorIndex(i64(i), token)));
    sums = loop(start, mainEnd, vectorLanes, sums, [&](Value c, ValueRange carried) {
      chunk = c;
      accumulators.assign(accumulatorIsMax.size(), Value());
      for (auto [i, value] : llvm::zip(carriedSums, carried))
        accumulators[i] = value;
      beginChunk(vectorLanes);
      status = emitChunk();
      return llvm::map_to_vector(carriedSums, [&](int64_t i) { return accumulators[i]; });
    });
    for (auto [i, sum] : llvm::zip(carriedSums, sums))
      store(sum, accumulatorMemory, accumulatorIndex(i64(i), token));
    if (succeeded(status) && mainChannels != channels) {
      // What is left of a row that is no multiple of the vector, one channel at a time; in the last block only.
      loop(max(start, i64(mainChannels)), end, 1, [&](Value c) {
        chunk = c;
        beginChunk(1);
        status = emitChunk();
      });
    }
    for (RowDotOp dot : lateDots)
      emitLateDot(dot, start, mainEnd, end);
  };
  loop(i64(0), valid, 1, [&](Value t) {
    token = t;
    prefetchNextTile();
    if (blocked || lateDots.empty())
      return piece(blockStart, blockMainEnd, blockEnd);
    bool whole = channels % dotBlock == 0;
    loop(i64(0), i64(channels), dotBlock, [&](Value start) {
      Value next = add(start, dotBlock);
      piece(start, whole ? next : min(next, i64(mainChannels)), whole ? next : min(next, i64(channels)));
    });
  });
  return status;
}

LogicalResult CpuEmitter::emitChunk() {
  Value inBlock = sub(chunk, chunkOrigin);
  for (RowProjectTOp early : earlyOps) {
    SmallVector<Value> vectors;
    for (int64_t i = 0; i < early.getResult().getType().getStreams(); ++i)
      vectors.push_back(loadCopy(width, early.getResult(), token, i64(i), inBlock));
    bindComputed(early.getResult(), vectors);
  }
  for (Operation *op : chunkOps)
    if (failed(emitWide(op)))
      return failure();
  for (auto &[value, copy] : copies)
    if (!value.getDefiningOp<RowProjectTOp>())
      for (auto [i, vector] : llvm::enumerate(llvm::to_vector(computed(value))))
        storeCopy(vector, value, token, i64(i), inBlock);
  return success();
}

Value CpuEmitter::accumulatorIndex(Value i, Value t) {
  return mul(add(mul(t, (int64_t)accumulatorIsMax.size()), i), vectorLanes);
}

Value CpuEmitter::copyIndex(Value wide, Value u, Value stream, Value c) {
  Value index = add(mul(stream, copyStride), c);
  int64_t stride = copies.find(wide)->second.tokenStride;
  return stride ? add(mul(u, stride), index) : index;
}

Value CpuEmitter::loadCopy(int64_t lanes, Value wide, Value u, Value stream, Value c) {
  return load(vector(compute, lanes), copies.find(wide)->second.memory, copyIndex(wide, u, stream, c));
}

void CpuEmitter::storeCopy(Value value, Value wide, Value u, Value stream, Value c) {
  store(value, copies.find(wide)->second.memory, copyIndex(wide, u, stream, c));
}

LogicalResult CpuEmitter::emitOther(Operation *op) {
  if (auto reduce = dyn_cast<RowReduceOp>(op))
    emitReduce(reduce);
  else if (auto dot = dyn_cast<RowDotOp>(op))
    emitSmallDot(dot);
  else if (auto sum = dyn_cast<RowSumTokensOp>(op); sum && isa<WideType>(sum.getValue().getType()))
    emitWideSum(sum);
  else
    return op->emitOpError("expected wide code in a wide phase");
  return success();
}

/// Chunks of whole vectors go into the carried sum; single channels go into the lane that they would have had.
void CpuEmitter::accumulate(int64_t index, function_ref<Value(Value)> update) {
  if (width != 1) {
    accumulators[index] = update(accumulators[index]);
    return;
  }
  Value lane = sub(chunk, i64(mainChannels));
  Value place = add(accumulatorIndex(i64(index), token), lane);
  store(update(load(compute, accumulatorMemory, place)), accumulatorMemory, place);
}

void CpuEmitter::emitReduce(RowReduceOp op) {
  bool isMax = op.getKind() == ReduceKind::max;
  for (auto [i, value] : llvm::enumerate(llvm::to_vector(computed(op.getValue()))))
    accumulate(firstAccumulator[op] + i, [&, v = value](Value sum) -> Value {
      if (isMax)
        return arith::MaximumFOp::create(b, loc, sum, v);
      return arith::AddFOp::create(b, loc, sum, v);
    });
}

void CpuEmitter::emitSmallDot(RowDotOp op) {
  SmallVector<Value> left = llvm::to_vector(computed(op.getLhs())), right = llvm::to_vector(computed(op.getRhs()));
  int64_t index = firstAccumulator[op];
  for (Value x : left)
    for (Value y : right)
      accumulate(index++, [&](Value sum) { return fma(x, y, sum); });
}

/// A Gram product with many sums: over the block copies of the present token, as many sums at a time as registers hold.
void CpuEmitter::emitLateDot(RowDotOp op, Value start, Value mainEnd, Value end) {
  loc = op.getLoc();
  int64_t left = op.getLhs().getType().getStreams(), right = op.getRhs().getType().getStreams(), first = firstAccumulator[op];
  auto at = [&](int64_t x, int64_t y) { return accumulatorIndex(i64(first + x * right + y), token); };
  int64_t blockX = std::min<int64_t>(left, right >= 3 ? 4 : 12 / right), blockY = std::min<int64_t>(right, 12 / blockX);
  for (int64_t x = 0; x < left; x += blockX)
    for (int64_t y = 0; y < right; y += blockY) {
      int64_t xs = std::min(blockX, left - x), ys = std::min(blockY, right - y);
      SmallVector<Value> acc;
      for (int64_t i = 0; i < xs * ys; ++i)
        acc.push_back(load(vector(compute, vectorLanes), accumulatorMemory, at(x + i / ys, y + i % ys)));
      acc = loop(i64(0), sub(mainEnd, start), vectorLanes, acc, [&](Value c, ValueRange carried) {
        SmallVector<Value> next, factors;
        for (int64_t j = 0; j < ys; ++j)
          factors.push_back(loadCopy(vectorLanes, op.getRhs(), token, i64(y + j), c));
        for (int64_t i = 0; i < xs; ++i) {
          Value factor = loadCopy(vectorLanes, op.getLhs(), token, i64(x + i), c);
          for (int64_t j = 0; j < ys; ++j)
            next.push_back(fma(factor, factors[j], carried[i * ys + j]));
        }
        return next;
      });
      for (int64_t i = 0; i < xs * ys; ++i)
        store(acc[i], accumulatorMemory, at(x + i / ys, y + i % ys));
    }
  if (mainChannels == channels)
    return;
  loop(max(start, i64(mainChannels)), end, 1, [&](Value c) {
    Value inBlock = sub(c, start), lane = sub(c, i64(mainChannels));
    for (int64_t x = 0; x < left; ++x)
      for (int64_t y = 0; y < right; ++y) {
        Value place = add(at(x, y), lane);
        Value sum = fma(loadCopy(1, op.getLhs(), token, i64(x), inBlock), loadCopy(1, op.getRhs(), token, i64(y), inBlock),
                        load(compute, accumulatorMemory, place));
        store(sum, accumulatorMemory, place);
      }
  });
}

void CpuEmitter::emitWideSum(RowSumTokensOp op) {
  auto type = cast<WideType>(op.getValue().getType());
  SmallVector<Value> streams = llvm::to_vector(computed(op.getValue()));
  auto target = cast<MemRefType>(op.getTarget().getType());
  if (target.getNumElements() != type.getNumElements()) {
    for (Value stream : ArrayRef(streams).drop_front())
      streams[0] = arith::AddFOp::create(b, loc, streams[0], stream);
    streams.resize(1);
  }
  if (op.getInterleaved()) {
    Value index = mul(chunk, streams.size());
    SmallVector<Value> sums = loadInterleaved(compute, pointer(op.getTarget()), index, streams.size());
    for (auto [sum, stream] : llvm::zip(sums, streams))
      sum = arith::AddFOp::create(b, loc, sum, stream);
    return storeInterleaved(sums, pointer(op.getTarget()), index);
  }
  for (auto [i, stream] : llvm::enumerate(streams)) {
    Value index = add(chunk, i * type.getChannels());
    Value sum = load(lanes(compute), pointer(op.getTarget()), index);
    store(arith::AddFOp::create(b, loc, sum, stream), pointer(op.getTarget()), index);
  }
}

//===----------------------------------------------------------------------===//
// The end of a phase
//===----------------------------------------------------------------------===//

void CpuEmitter::finishReductions() {
  auto plus = [&](Value x, Value y) -> Value { return arith::AddFOp::create(b, loc, x, y); };
  auto maximum = [&](Value x, Value y) -> Value { return arith::MaximumFOp::create(b, loc, x, y); };
  for (Operation &op : phase.getBody().front().without_terminator()) {
    if (op.getNumResults() == 0 || !isa<NarrowType>(op.getResult(0).getType()) || isa<RowLoadOp>(op))
      continue;
    loc = op.getLoc();
    Value result = op.getResult(0), base = newNarrow(result);
    int64_t count = cast<NarrowType>(result.getType()).getNumElements();
    auto reduce = dyn_cast<RowReduceOp>(op);
    bool isMax = reduce && reduce.getKind() == ReduceKind::max;
    function_ref<Value(Value, Value)> combine = isMax ? function_ref<Value(Value, Value)>(maximum) : plus;
    if (isa<RowProjectOp>(op) && lanesAreColumns(&op)) {
      // [R][elements], lanes were columns.
      loop(i64(0), valid, 1, [&](Value t) {
        loop(i64(0), i64(count), 1, [&](Value e) {
          store(load(compute, lateMemory[&op], add(mul(t, count), e)), base, add(mul(e, tile), t));
        });
      });
      continue;
    }
    Value memory = lateMemory.lookup(&op);
    int64_t first = memory ? 0 : firstAccumulator[&op];
    auto foldOf = [&](Value index, Value t) {
      Value place = memory ? mul(add(mul(t, count), index), vectorLanes) : accumulatorIndex(index, t);
      return fold(load(vector(compute, vectorLanes), memory ? memory : accumulatorMemory, place), combine);
    };
    int64_t streams = reduce ? reduce.getValue().getType().getStreams() : 1;
    loop(i64(0), i64(count), 1, [&](Value e) {
      loop(i64(0), valid, 1, [&](Value t) {
        Value sum = foldOf(add(e, first), t);
        if (count == 1)
          for (int64_t i = 1; i < streams; ++i)
            sum = combine(sum, foldOf(i64(first + i), t));
        store(sum, base, add(mul(e, tile), t));
      });
    });
  }
}

} // namespace mlir::mhc::cpu
