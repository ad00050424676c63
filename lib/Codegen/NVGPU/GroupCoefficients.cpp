//===- GroupCoefficients.cpp - narrow code of family group ------------------===//
//
// A block finishes `share` tokens of each tile. Its coefficient warps take the tiles in turn; a lane is a token. What the second wide phase waits for is
// computed and sent first; the rest (Sinkhorn iterations above all) is off the way of the rows, and done for the tokens of several tiles at once.
//
//===----------------------------------------------------------------------===//

#include "GroupEmitter.h"

#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/SmallPtrSet.h"

namespace mlir::mhc::nvgpu {

void GroupEmitter::addLines(Value rows, function_ref<SmallVector<SmallVector<Value>>(ArrayRef<Line>)> fetch) {
  constexpr int64_t most = 8; // registers
  int64_t apart = warpSize / lanesOfSums();
  Value firstBlock = divide(laneOf, lanesOfSums());
  SmallVector<Line> lines;
  for (int64_t token = 0; token < plan.share; ++token)
    for (int64_t block = 0; block < plan.blocks; block += apart) {
      Value number = add(firstBlock, block);
      bool all = block + apart <= plan.blocks;
      lines.push_back({token, all ? number : min(number, i32(plan.blocks - 1)), all ? Value() : less(number, i32(plan.blocks))});
    }
  SmallVector<SmallVector<Value>> sums(plan.share);
  for (size_t done = 0; done < lines.size(); done += most) {
    ArrayRef<Line> here = ArrayRef(lines).drop_front(done).take_front(most);
    for (auto [line, four] : llvm::zip(here, fetch(here)))
      for (int64_t i = 0; i < 4; ++i) {
        Value part = line.counts ? select(line.counts, four[i], f32(0.0)) : four[i];
        if (sums[line.token].size() < 4)
          sums[line.token].push_back(part);
        else
          sums[line.token][i] = addFloat(sums[line.token][i], part);
      }
  }
  for (SmallVector<Value> &sum : sums)
    for (Value &one : sum)
      for (int64_t distance = lanesOfSums(); distance < warpSize; distance *= 2)
        one = addFloat(one, shuffle(one, distance));
  when(less(laneOf, i32(plan.sumWords / 4)), [&] {
    for (auto [token, four] : llvm::enumerate(sums))
      store(vectorOf(four), bytes(rows, add(mul(laneOf, 16), token * plan.pendingRow())), 16);
  });
}

/// The first wide phase's results, by the order of its sums.
LogicalResult GroupEmitter::bindSums(Value row) {
  SmallVector<Value> sums;
  for (int64_t quad = 0; quad < plan.sumWords / 4; ++quad) {
    Value four = load(VectorType::get({4}, compute), bytes(row, quad * 16), 16);
    for (int64_t i = 0; i < 4; ++i)
      sums.push_back(lane(four, i));
  }
  for (auto [result, inside] : llvm::zip(plan.first.getResults(), plan.first.getBody().front().getTerminator()->getOperands())) {
    auto found = plan.sums.find(inside.getDefiningOp());
    if (found == plan.sums.end())
      return plan.first.emitOpError("expected the first wide phase to give sums over the channels");
    // Of streams that are projected apart each has whole pieces of columns.
    const bool isApart = found->first == plan.project && plan.apart > 1;
    const int64_t parts = isApart ? plan.apart : 1, each = cast<NarrowType>(result.getType()).getNumElements() / parts;
    SmallVector<Value> values;
    for (int64_t part = 0; part < parts; ++part)
      llvm::append_range(values, ArrayRef(sums).slice(found->second + part * plan.pieces * 8, each));
    scalars[result] = std::move(values);
  }
  return success();
}

LogicalResult GroupEmitter::emitCoefficients() {
  Block &block = plan.narrow.getBody().front();
  // First what leads to the results that are waited for.
  llvm::SmallPtrSet<Operation *, 16> urgent;
  SmallVector<Operation *> open;
  for (Value result : plan.results)
    if (Operation *op = block.getTerminator()->getOperand(cast<OpResult>(result).getResultNumber()).getDefiningOp())
      open.push_back(op);
  while (!open.empty()) {
    Operation *op = open.pop_back_val();
    if (op->getBlock() != &block || !urgent.insert(op).second)
      continue;
    for (Value operand : op->getOperands())
      if (Operation *from = operand.getDefiningOp())
        open.push_back(from);
  }
  LogicalResult status = success();
  int64_t rowsOfTile = plan.share * plan.pendingRow();
  Value pending = bytes(shared, add(mul(inRole, plan.pendingTiles() * rowsOfTile), plan.pending));
  // Lane `ofShare` is that token of this block's.
  auto beginTokens = [&](Value tile, Value ofShare, Value counts, Value row) {
    Value inTile = add(mul(rank, plan.share), ofShare);
    Value number = widen64(add(firstToken(tile), ownToken(ofShare))), exists = less(number, rows);
    live = arith::AndIOp::create(b, loc, arith::AndIOp::create(b, loc, counts, less(inTile, i32(GroupPlan::tokens))), exists);
    token64 = select(exists, number, sub(rows, i64(1)));
    beginChunk(1);
    scalars.clear();
    if (succeeded(status))
      status = bindSums(row);
  };
  Value owns = less(mul(rank, plan.share), i32(GroupPlan::tokens));
  loop(inRole, select(owns, mine, i32(0)), i32(GroupPlan::coefficientWarps), [&](Value tile) {
    // Rows of so many tiles wait for the end of their coefficients, since a warp takes as long for 16 tokens as for one.
    Value slot = remainder(divide(tile, GroupPlan::coefficientWarps), plan.pendingTiles()), here = bytes(pending, mul(slot, rowsOfTile));
    receiveSums(tile, here);
    syncWarp();
    Value ofShare = min(laneOf, i32(plan.share - 1));
    beginTokens(tile, ofShare, less(laneOf, i32(plan.share)), bytes(here, mul(ofShare, plan.pendingRow())));
    for (Operation &op : block.without_terminator())
      if (urgent.contains(&op) && succeeded(status))
        status = emitNarrowOp(op);
    SmallVector<Value> results;
    for (Value result : plan.results)
      llvm::append_range(results, narrowElements(block.getTerminator()->getOperand(cast<OpResult>(result).getResultNumber())));
    sendResults(tile, results);
    Value full = equal(slot, plan.pendingTiles() - 1), last = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::sge, add(tile, GroupPlan::coefficientWarps), mine);
    when(arith::OrIOp::create(b, loc, full, last), [&] {
      Value lanes = min(laneOf, i32(plan.pendingTiles() * plan.share - 1)), ofSlot = min(divide(lanes, plan.share), slot);
      Value counts = less(laneOf, mul(add(slot, 1), plan.share)), of = sub(tile, mul(sub(slot, ofSlot), GroupPlan::coefficientWarps));
      beginTokens(of, remainder(lanes, plan.share), counts, bytes(pending, mul(lanes, plan.pendingRow())));
      for (Operation &op : block.without_terminator())
        if (succeeded(status))
          status = emitNarrowOp(op);
      // What is known before the rows is stored here too (constants, for backward).
      if (plan.loads)
        for (auto op : plan.loads.getBody().front().getOps<RowStoreOp>())
          if (succeeded(status))
            status = emitNarrowOp(*op);
    });
    syncWarp(); // the next tile's sums come to the same place
  });
  return status;
}

SmallVector<Value> GroupEmitter::narrowElements(Value narrow) {
  if (auto found = scalars.find(narrow); found != scalars.end())
    return found->second;
  // A coefficient of before: its row is read again, where it is not at hand.
  SmallVector<Value> values;
  if (plan.loads && narrow.getDefiningOp() == plan.loads)
    values = narrowElements(plan.loads.getBody().front().getTerminator()->getOperand(cast<OpResult>(narrow).getResultNumber()));
  else if (Operation *op = narrow.getDefiningOp(); op && succeeded(emitNarrowOp(*op)))
    return scalars.lookup(narrow);
  scalars[narrow] = values;
  return values;
}

} // namespace mlir::mhc::nvgpu
