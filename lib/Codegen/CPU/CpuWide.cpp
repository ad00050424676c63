//===- CpuWide.cpp - wide phases: lanes are channels ------------------------===//

#include "CpuEmitter.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace mlir::mhc::cpu {

/// Gram products of more sums than this do not fit into registers beside the chunk: they run after the chunk loop, over the block copies.
static constexpr int64_t smallDot = 4;

static int64_t sumsOf(RowDotOp op) { return op.getLhs().getType().getStreams() * op.getRhs().getType().getStreams(); }

void CpuEmitter::planPhase(PhaseOp op) {
  phase = op;
  chunkOps.clear();
  lateOps.clear();
  earlyOps.clear();
  spills.clear();
  firstAccumulator.clear();
  accumulatorIsMax.clear();
  lateMemory.clear();
  positionMemory.clear();
  channels = 0;
  llvm::SetVector<Value> copied;
  auto newAccumulators = [&](Operation *reduction, int64_t count, bool isMax) {
    firstAccumulator[reduction] = accumulatorIsMax.size();
    accumulatorIsMax.append(count, isMax);
  };
  for (Operation &inner : phase.getBody().front().without_terminator()) {
    for (Value value : llvm::concat<Value>(inner.getOperands(), inner.getResults()))
      if (auto type = dyn_cast<WideType>(value.getType()))
        channels = type.getChannels();
    if (auto projectT = dyn_cast<RowProjectTOp>(inner)) {
      earlyOps.push_back(projectT);
      copied.insert(projectT.getResult());
    } else if (auto project = dyn_cast<RowProjectOp>(inner)) {
      lateOps.push_back(project);
      copied.insert(project.getValue());
    } else if (auto outer = dyn_cast<RowOuterTokensOp>(inner)) {
      lateOps.push_back(outer);
      copied.insert(outer.getValue());
    } else if (auto dot = dyn_cast<RowDotOp>(inner); dot && sumsOf(dot) > smallDot) {
      lateOps.push_back(dot);
      copied.insert(dot.getLhs());
      copied.insert(dot.getRhs());
    } else {
      chunkOps.push_back(&inner);
      if (auto dot = dyn_cast<RowDotOp>(inner))
        newAccumulators(dot, sumsOf(dot), false);
      if (auto reduce = dyn_cast<RowReduceOp>(inner))
        newAccumulators(reduce, reduce.getValue().getType().getStreams(), reduce.getKind() == ReduceKind::max);
    }
  }
  mainChannels = channels / vectorLanes * vectorLanes;
  spillStride = std::min<int64_t>(channelBlock, llvm::divideCeil(channels, vectorLanes) * vectorLanes);
  int64_t bytes = bytesOf(compute);
  for (Value value : copied)
    spills[value] = phaseStack(tile * cast<WideType>(value.getType()).getStreams() * spillStride * bytes);
  accumulatorMemory = phaseStack((int64_t)accumulatorIsMax.size() * tile * vectorLanes * bytes);
  for (auto [i, isMax] : llvm::enumerate(accumulatorIsMax)) {
    Value base = address(accumulatorMemory, compute, i64(i * tile * vectorLanes));
    if (!isMax) {
      fillZero(base, compute, tile * vectorLanes);
      continue;
    }
    width = vectorLanes;
    Value least = floatConstant(-std::numeric_limits<double>::infinity());
    loop(i64(0), i64(tile), 1, [&](Value t) { store(least, base, mul(t, vectorLanes)); });
  }
  for (Operation *late : lateOps) {
    if (isa<RowOuterTokensOp>(late))
      continue;
    bool rowsOfWeight = isa<RowProjectOp>(late) && !cast<RowProjectOp>(late).getTransposed();
    int64_t count = cast<NarrowType>(late->getResult(0).getType()).getNumElements() * tile * (rowsOfWeight ? 1 : vectorLanes);
    lateMemory[late] = phaseStack(count * bytes);
    fillZero(lateMemory[late], compute, count);
  }
}

LogicalResult CpuEmitter::emitWidePhase(PhaseOp op) {
  planPhase(op);
  // The division for each token happens once, not once a block.
  for (Operation *inner : chunkOps)
    if (auto loadOp = dyn_cast<RowLoadOp>(inner); loadOp && loadOp.getAccess() == Access::position) {
      Value memory = phaseStack(tile * 8);
      loop(i64(0), valid, 1, [&](Value t) { store(rowOffset(loadOp, t), memory, t); });
      positionMemory[inner] = memory;
    }
  for (Operation *late : lateOps)
    if (auto outer = dyn_cast<RowOuterTokensOp>(late); outer && !outer.getTransposed())
      transposeNarrow(outer);
  LogicalResult status = success();
  loop(i64(0), i64(channels), channelBlock, [&](Value start) {
    blockStart = start;
    bool wholeBlocks = channels % channelBlock == 0;
    blockEnd = wholeBlocks ? add(start, channelBlock) : min(add(start, channelBlock), i64(channels));
    blockMainEnd = wholeBlocks ? blockEnd : min(add(start, channelBlock), i64(mainChannels));
    for (RowProjectTOp early : earlyOps)
      emitProjectT(early);
    status = emitChunks();
    if (failed(status))
      return;
    for (Operation *late : lateOps) {
      loc = late->getLoc();
      if (auto project = dyn_cast<RowProjectOp>(late))
        emitProject(project);
      else if (auto outer = dyn_cast<RowOuterTokensOp>(late))
        emitOuter(outer);
      else
        emitLateDot(cast<RowDotOp>(late));
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

LogicalResult CpuEmitter::emitChunks() {
  LogicalResult status = success();
  loop(i64(0), valid, 1, [&](Value t) {
    token = t;
    SmallVector<Value> sums;
    auto slot = [&](int64_t i) { return mul(add(t, i * tile), vectorLanes); };
    for (int64_t i = 0, e = accumulatorIsMax.size(); i < e; ++i)
      sums.push_back(load(vector(compute, vectorLanes), accumulatorMemory, slot(i)));
    sums = loop(blockStart, blockMainEnd, vectorLanes, sums, [&](Value c, ValueRange carried) {
      chunk = c;
      accumulators = llvm::to_vector_of<Value>(carried);
      beginChunk(vectorLanes);
      status = emitChunk();
      return accumulators;
    });
    for (auto [i, sum] : llvm::enumerate(sums))
      store(sum, accumulatorMemory, slot(i));
    if (failed(status) || mainChannels == channels)
      return;
    // What is left of a row that is no multiple of the vector, one channel at a time; in the last block only.
    loop(max(blockStart, i64(mainChannels)), blockEnd, 1, [&](Value c) {
      chunk = c;
      beginChunk(1);
      status = emitChunk();
    });
  });
  return status;
}

LogicalResult CpuEmitter::emitChunk() {
  for (RowProjectTOp early : earlyOps) {
    SmallVector<Value> vectors;
    for (int64_t i = 0; i < early.getResult().getType().getStreams(); ++i)
      vectors.push_back(load(lanes(compute), spills.lookup(early.getResult()),
                             spillIndex(early.getResult(), token, i64(i), sub(chunk, blockStart))));
    bindComputed(early.getResult(), vectors);
  }
  for (Operation *op : chunkOps)
    if (failed(emitWide(op)))
      return failure();
  for (auto &[value, memory] : spills) {
    if (value.getDefiningOp<RowProjectTOp>())
      continue;
    for (auto [i, vector] : llvm::enumerate(llvm::to_vector(computed(value))))
      store(vector, memory, spillIndex(value, token, i64(i), sub(chunk, blockStart)));
  }
  return success();
}

Value CpuEmitter::spillIndex(Value wide, Value t, Value stream, Value c) {
  int64_t streams = cast<WideType>(wide.getType()).getStreams();
  return add(mul(add(mul(t, streams), stream), spillStride), c);
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
  Value place = add(mul(add(token, index * tile), vectorLanes), lane);
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

void CpuEmitter::emitWideSum(RowSumTokensOp op) {
  auto type = cast<WideType>(op.getValue().getType());
  SmallVector<Value> streams = llvm::to_vector(computed(op.getValue()));
  auto target = cast<MemRefType>(op.getTarget().getType());
  if (target.getNumElements() != type.getNumElements()) {
    for (Value stream : ArrayRef(streams).drop_front())
      streams[0] = arith::AddFOp::create(b, loc, streams[0], stream);
    streams.resize(1);
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
    if (auto project = dyn_cast<RowProjectOp>(op); project && !project.getTransposed()) {
      // [R][elements], lanes were columns.
      loop(i64(0), valid, 1, [&](Value t) {
        loop(i64(0), i64(count), 1, [&](Value e) {
          store(load(compute, lateMemory[&op], add(mul(t, count), e)), base, add(mul(e, tile), t));
        });
      });
      continue;
    }
    Value memory = lateMemory.lookup(&op);
    int64_t first = 0;
    if (!memory) {
      memory = accumulatorMemory;
      first = firstAccumulator[&op];
    }
    auto foldOf = [&](Value index, Value t) {
      return fold(load(vector(compute, vectorLanes), memory, mul(add(mul(index, tile), t), vectorLanes)), combine);
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
