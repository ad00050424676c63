//===- GroupCoefficients.cpp - narrow code of family group ------------------===//
//
// A block finishes `share` tokens of each tile. Its coefficient warps take the tiles in turn; a lane is a token. What the second wide phase waits for is
// computed and sent first, so that the rest (Sinkhorn iterations above all) is off the way of the rows.
//
//===----------------------------------------------------------------------===//

#include "GroupEmitter.h"

#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/SmallPtrSet.h"

namespace mlir::mhc::nvgpu {

/// [token of the share][sum], each the sum over the blocks in their order.
void GroupEmitter::addSums(Value buffer, Value scratch) {
  int64_t all = plan.share * plan.sumCount;
  Value from = bytes(bytes(shared, plan.exchanged), mul(buffer, plan.exchangeBytes()));
  for (int64_t done = 0; done < all; done += warpSize) {
    Value item = add(laneOf, done);
    auto one = [&] {
      Value place = bytes(from, mul(item, 4)), sum;
      for (int64_t block = 0; block < plan.blocks; ++block) {
        Value part = load(compute, bytes(place, block * all * 4), 4);
        sum = sum ? addFloat(sum, part) : part;
      }
      store(sum, bytes(scratch, mul(item, 4)), 4);
    };
    if (done + warpSize <= all)
      one();
    else
      when(less(item, i32(all)), one);
  }
  syncWarp();
}

/// What the second wide phase needs of this block's tokens, to every block.
void GroupEmitter::sendResults(Value buffer, Value scratch) {
  Value mineOf = bytes(scratch, mul(min(laneOf, i32(plan.share - 1)), plan.resultCount * 4));
  when(less(laneOf, i32(plan.share)), [&] {
    int64_t at = 0;
    for (Value result : plan.results) {
      auto yielded = plan.narrow.getBody().front().getTerminator()->getOperand(cast<OpResult>(result).getResultNumber());
      for (Value element : narrowElements(yielded))
        store(element, bytes(mineOf, 4 * at++), 4);
    }
    if (plan.results.empty())
      store(f32(0.0), mineOf, 4);
  });
  syncWarp();
  int64_t each = plan.share * plan.resultCount, all = plan.blocks * each;
  for (int64_t done = 0; done < all; done += warpSize) {
    Value item = add(laneOf, done);
    auto one = [&] {
      Value to = divide(item, each), what = remainder(item, each);
      Value place = add(mul(add(mul(buffer, GroupPlan::tokens), mul(rank, plan.share)), plan.resultCount), what);
      send(load(compute, bytes(scratch, mul(what, 4)), 4), bytes(bytes(shared, plan.returned), mul(place, 4)), resultsHere(buffer), to);
    };
    if (done + warpSize <= all)
      one();
    else
      when(less(item, i32(all)), one);
  }
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
  int64_t scratchBytes = plan.share * (plan.sumCount + plan.resultCount) * 4;
  Value sums = bytes(bytes(shared, plan.scratch), mul(inRole, scratchBytes)), results = bytes(sums, plan.share * plan.sumCount * 4);
  loop(inRole, mine, i32(GroupPlan::coefficientWarps), [&](Value tile) {
    Value buffer = bitAnd(tile, GroupPlan::exchanges - 1), parity = bitAnd(shiftRight(tile, 2), 1);
    wait(sumsHere(buffer), parity, /*fromCluster=*/true);
    syncWarp();
    when(equal(laneOf, 0), [&] { expect(sumsHere(buffer), i32(plan.exchangeBytes())); });
    addSums(buffer, sums);
    Value ofShare = min(laneOf, i32(plan.share - 1));
    Value number = add(add(firstToken(tile), mul(rank, plan.share)), ofShare);
    Value exists = less(widen64(number), rows);
    live = arith::AndIOp::create(b, loc, less(laneOf, i32(plan.share)), exists);
    token64 = select(exists, widen64(number), sub(rows, i64(1)));
    beginChunk(1);
    scalars.clear();
    // The first wide phase's results, by the order of its sums.
    for (auto [result, inside] : llvm::zip(plan.first.getResults(), plan.first.getBody().front().getTerminator()->getOperands())) {
      auto found = plan.sums.find(inside.getDefiningOp());
      if (found == plan.sums.end()) {
        status = plan.first.emitOpError("expected the first wide phase to give sums over the channels");
        return;
      }
      SmallVector<Value> values;
      for (int64_t e = 0, count = cast<NarrowType>(result.getType()).getNumElements(); e < count; ++e)
        values.push_back(load(compute, bytes(sums, add(mul(ofShare, plan.sumCount * 4), (found->second + e) * 4)), 4));
      scalars[result] = values;
    }
    for (Operation &op : block.without_terminator())
      if (urgent.contains(&op) && succeeded(status))
        status = emitNarrowOp(op);
    if (succeeded(status))
      sendResults(buffer, results);
    for (Operation &op : block.without_terminator())
      if (!urgent.contains(&op) && succeeded(status))
        status = emitNarrowOp(op);
    syncWarp(); // the next tile's sums come to the same place
  });
  return status;
}

SmallVector<Value> GroupEmitter::narrowElements(Value narrow) {
  if (auto found = scalars.find(narrow); found != scalars.end())
    return found->second;
  // A coefficient of before: its row is read again.
  SmallVector<Value> values;
  if (plan.loads && narrow.getDefiningOp() == plan.loads) {
    Value inside = plan.loads.getBody().front().getTerminator()->getOperand(cast<OpResult>(narrow).getResultNumber());
    if (succeeded(emitNarrowOp(*inside.getDefiningOp())))
      values = scalars.lookup(inside);
  }
  return values;
}

} // namespace mlir::mhc::nvgpu
