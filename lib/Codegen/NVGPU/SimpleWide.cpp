//===- SimpleWide.cpp - which loop nests a wide phase becomes ---------------===//

#include "SimpleEmitter.h"

#include "llvm/ADT/SetVector.h"

namespace mlir::mhc::nvgpu {

/// Sums that a thread keeps in registers. A nest with more is cut in several.
static constexpr int64_t sumLimit = 104;

static bool isReduction(Operation *op) { return isa<RowReduceOp, RowDotOp, RowProjectOp>(op); }
static bool isMax(Operation *op) {
  auto reduce = dyn_cast<RowReduceOp>(op);
  return reduce && reduce.getKind() == ReduceKind::max;
}

LogicalResult SimpleEmitter::emitWidePhase(PhaseOp phase) {
  for (Operation &op : phase.getBody().front().without_terminator())
    for (Value value : llvm::concat<Value>(op.getOperands(), op.getResults()))
      if (auto type = dyn_cast<WideType>(value.getType()))
        channels = type.getChannels();
  if (channels > (int64_t(1) << 24))
    return phase.emitOpError("expected at most 2^24 channels, but got ") << channels;
  // Each column nest is complete before the next begins: they may add to the same partial. And before rows are stored
  // to.
  for (const Nest &columns : planColumns(phase)) {
    if (failed(emitColumns(columns)))
      return failure();
    barrier();
  }
  for (const Nest &rowNest : planRows(phase))
    if (failed(emitRows(rowNest)))
      return failure();
  barrier();
  bindPhase(phase);
  return success();
}

SmallVector<SimpleEmitter::Nest> SimpleEmitter::planRows(PhaseOp phase) {
  SmallVector<Operation *> sums, maxima, stores;
  bool weights = false;
  for (Operation &op : phase.getBody().front().without_terminator()) {
    if (isa<RowStoreOp>(op))
      stores.push_back(&op);
    else if (isReduction(&op))
      (isMax(&op) ? maxima : sums).push_back(&op);
    weights |= isa<RowProjectOp, RowProjectTOp>(op);
  }
  // Tokens that share the weights they are multiplied with.
  int64_t tokens = weights ? std::clamp<int64_t>(tile / warps, 1, 4) : 1, outputs = 0;
  SmallVector<Nest> nests(1);
  for (Operation *op : llvm::concat<Operation *>(sums, maxima)) {
    // Results of one nest follow each other in shared memory: sums first, then maxima.
    allocateNarrow(op->getResult(0));
    int64_t count = cast<NarrowType>(op->getResult(0).getType()).getNumElements();
    for (int64_t begin = 0; begin < count;) {
      int64_t room = sumLimit / tokens - outputs;
      if (room <= 0) {
        nests.emplace_back();
        outputs = 0;
        continue;
      }
      int64_t end = std::min(count, begin + room);
      nests.back().units.push_back({op, begin, end});
      outputs += end - begin;
      begin = end;
    }
  }
  // Last, since a kernel may store to the row that it loads from.
  for (Operation *op : stores)
    nests.back().units.push_back({op, 0, 0});
  llvm::erase_if(nests, [](const Nest &each) { return each.units.empty(); });
  for (Nest &each : nests) {
    each.tokens = tokens;
    complete(each, phase);
    each.width = pickWidth(each, warpSize, 48 / tokens);
  }
  return nests;
}

SmallVector<SimpleEmitter::Nest> SimpleEmitter::planColumns(PhaseOp phase) {
  SmallVector<Nest> nests;
  int64_t sums = sumLimit;
  auto place = [&](Unit unit, int64_t count) {
    if (sums + count > sumLimit) {
      nests.emplace_back();
      sums = 0;
    }
    nests.back().units.push_back(unit);
    sums += count;
  };
  SmallVector<int64_t> counts;
  for (Operation &op : phase.getBody().front().without_terminator()) {
    if (auto sum = dyn_cast<RowSumTokensOp>(op); sum && isa<WideType>(sum.getValue().getType())) {
      int64_t streams = cast<MemRefType>(sum.getTarget().getType()).getNumElements() / channels;
      place({&op, 0, streams}, streams);
    } else if (auto outer = dyn_cast<RowOuterTokensOp>(op)) {
      Shape shape = shapeOf(outer);
      // A multiple of four columns: they are read and written by fours.
      int64_t most = std::max<int64_t>(1, sumLimit / shape.inGroup);
      if (most >= 4)
        most = most / 4 * 4;
      for (int64_t begin = 0; begin < shape.columns; begin += most) {
        int64_t end = std::min(begin + most, shape.columns);
        place({&op, begin, end}, (end - begin) * shape.inGroup);
      }
    }
  }
  for (Nest &each : nests) {
    complete(each, phase);
    int64_t count = 0;
    for (const Unit &unit : each.units) {
      auto outer = dyn_cast<RowOuterTokensOp>(unit.op);
      count += (unit.end - unit.begin) *
               (outer ? shapeOf(outer).inGroup : 1);
    }
    each.width = std::min(pickWidth(each, threads, 32),
                          int64_t(llvm::bit_floor(uint64_t(std::max<int64_t>(1, sumLimit / count)))));
  }
  return nests;
}

/// Fills in what the nest's units need of the phase.
void SimpleEmitter::complete(Nest &each, PhaseOp phase) {
  llvm::DenseSet<Operation *> needed;
  for (const Unit &unit : each.units)
    needed.insert(unit.op);
  for (Operation &op : llvm::reverse(phase.getBody().front().without_terminator()))
    if (needed.contains(&op))
      for (Value operand : op.getOperands())
        if (Operation *definition = operand.getDefiningOp(); definition && definition->getBlock() == op.getBlock())
          needed.insert(definition);
  for (Operation &op : phase.getBody().front().without_terminator())
    if (needed.contains(&op))
      each.ops.push_back(&op);
  llvm::SetVector<Value> scalars;
  for (Operation *op : each.ops)
    if (!isa<RowProjectTOp, RowOuterTokensOp>(op))
      for (Value operand : op->getOperands())
        if (isa<NarrowType>(operand.getType()))
          scalars.insert(operand);
  for (Value value : scalars)
    each.scalars += cast<NarrowType>(value.getType()).getNumElements();
}

/// Channels that a thread takes at once: up to 8 (16 bytes of bf16), while all threads have some, and as many as
/// `registers` hold.
int64_t SimpleEmitter::pickWidth(const Nest &each, int64_t threadsOfRow, int64_t registers) {
  int64_t streams = 0;
  for (Operation *op : each.ops) {
    if (op->hasAttr("interleaved"))
      return 1; // neighbours in memory are streams, not channels
    if (auto load = dyn_cast<RowLoadOp>(op))
      if (auto type = dyn_cast<WideType>(load.getResult().getType()))
        streams += type.getStreams();
  }
  int64_t lanes = 8;
  while (lanes > 1 && (channels % lanes || channels / lanes < threadsOfRow || lanes * streams > registers))
    lanes /= 2;
  return lanes;
}

} // namespace mlir::mhc::nvgpu
