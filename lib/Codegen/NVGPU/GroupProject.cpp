//===- GroupProject.cpp - projection and exchange of family group -----------===//
//
// Eight warps share the products with phi: step s of warp w is the product of 16 rows from 128 s + 16 w of its slice (stream, channel), for all columns. A product of a
// bf16 row with an fp32 parameter is two of tensor cores, with the parameter's bf16 value and with what that leaves: 16 significant bits.
//
//===----------------------------------------------------------------------===//

#include "GroupEmitter.h"

namespace mlir::mhc::nvgpu {

/// phi's slice as the second operands of m16n8k16: a register has rows 2 (lane mod 4) + {0, 1} (+ 8: second half) of column lane / 4.
void GroupEmitter::loadWeights() {
  auto weight = plan.project.getWeight();
  Value base = pointers[cast<BlockArgument>(weight).getArgNumber()];
  auto type = cast<MemRefType>(weight.getType());
  int64_t k = type.getDimSize(plan.project.getTransposed() ? 1 : 0);
  Value column = shiftRight(laneOf, 2), row = mul(bitAnd(laneOf, 3), 2);
  for (int64_t step = 0; step < plan.steps; ++step)
    for (int64_t piece = 0; piece < plan.pieces; ++piece)
      for (int64_t half = 0; half < 2; ++half) {
        SmallVector<Value> pair;
        for (int64_t i = 0; i < 2; ++i) {
          Value inSlice = add(add(mul(inRole, 16), row), step * 128 + half * 8 + i);
          Value stream = divide(inSlice, plan.slice), channelOf = add(remainder(inSlice, plan.slice), sliceStart);
          Value at = add(mul(stream, plan.channels), channelOf), to = add(column, piece * 8);
          Value known = less(to, i32(plan.columns));
          to = min(to, i32(plan.columns - 1));
          Value index = plan.project.getTransposed() ? add(mul(to, k), at) : add(mul(at, plan.columns), to);
          Value element = load(compute, address(base, compute, widen64(index)), 4);
          pair.push_back((piece + 1) * 8 <= plan.columns ? element : select(known, element, f32(0.0)));
        }
        width = 2;
        Value both = vectorOf(pair);
        Rounded upper = round(both, b.getBF16Type());
        high.push_back(upper.stored);
        low.push_back(round(arith::SubFOp::create(b, loc, both, upper.widened), b.getBF16Type()).stored);
      }
}

/// Rows that the first phase computed leave the stage where they lie.
void GroupEmitter::storeRows(Value base, Value first) {
  int64_t map = plan.rowLoads.size();
  plan.first.walk([&](RowStoreOp op) {
    if (!plan.homes.count(op.getValue()))
      return;
    int64_t streams = cast<WideType>(op.getValue().getType()).getStreams(), home = plan.homes.lookup(op.getValue());
    for (int64_t stream = 0; stream < streams; ++stream)
      for (int64_t piece = 0; piece < plan.boxes; ++piece) {
        SmallVector<Value> at{add(sliceStart, piece * GroupPlan::boxChannels), i32(stream), first};
        NVVM::CpAsyncBulkTensorSharedCTAToGlobalOp::create(b, loc, maps[map], bytes(base, ((home + stream) * plan.boxes + piece) * GroupPlan::boxBytes),
                                                           at, Value(), NVVM::TMAStoreMode::TILE, Value());
      }
    ++map;
  });
  NVVM::CpAsyncBulkCommitGroupOp::create(b, loc);
}

/// This warp's sums for the 16 tokens, into shared memory: [warp][token][column].
void GroupEmitter::multiply(Value base) {
  SmallVector<SmallVector<Value>> sums(plan.pieces, SmallVector<Value>(4, f32(0.0)));
  int64_t home = plan.homes.lookup(plan.project.getValue());
  Value from = bytes(base, home * plan.boxes * GroupPlan::boxBytes);
  Value row = bitAnd(laneOf, 15), side = shiftRight(laneOf, 4);
  // A step is two boxes: the place in them is the same in all steps.
  Value piece = add(mul(bitAnd(inRole, 3), 2), side);
  Value place = add(mul(shiftRight(inRole, 2), GroupPlan::boxBytes),
                    add(mul(row, 128), mul(arith::XOrIOp::create(b, loc, piece, bitAnd(row, 7)), 16)));
  from = bytes(from, place);
  for (int64_t step = 0; step < plan.steps; ++step) {
    SmallVector<Value> left = loadMatrices(bytes(from, step * 2 * GroupPlan::boxBytes));
    for (int64_t p = 0; p < plan.pieces; ++p)
      for (SmallVector<Value> *part : {&high, &low})
        multiplyAdd(sums[p], left, {(*part)[(step * plan.pieces + p) * 2], (*part)[(step * plan.pieces + p) * 2 + 1]});
  }
  int64_t rowBytes = plan.pieces * 8 * 4;
  Value sumPlace = bytes(bytes(shared, plan.partialSums),
                      add(mul(inRole, GroupPlan::tokens * rowBytes), add(mul(shiftRight(laneOf, 2), rowBytes), mul(bitAnd(laneOf, 3), 8))));
  for (int64_t p = 0; p < plan.pieces; ++p)
    for (int64_t half = 0; half < 2; ++half)
      store(vectorOf({sums[p][2 * half], sums[p][2 * half + 1]}), bytes(sumPlace, p * 32 + half * 8 * rowBytes), 8);
}

/// The block's sums of each token, to the block that finishes it: [buffer][block][token of its share][sum].
void GroupEmitter::sendSums(Value stage, Value buffer) {
  int64_t all = GroupPlan::tokens * plan.sumCount, threads = GroupPlan::projectWarps * warpSize, reduced = plan.sumCount - plan.columns;
  Value mineOf = add(mul(inRole, warpSize), laneOf);
  for (int64_t done = 0; done < all; done += threads) {
    Value item = add(mineOf, done);
    auto sendOne = [&] {
      Value of = divide(item, plan.sumCount), which = remainder(item, plan.sumCount);
      auto projected = [&]() -> Value {
        Value place = bytes(bytes(shared, plan.partialSums), add(mul(of, plan.pieces * 32), mul(which, 4)));
        Value sum;
        for (int64_t w = 0; w < GroupPlan::projectWarps; ++w) {
          Value part = load(compute, bytes(place, w * GroupPlan::tokens * plan.pieces * 32), 4);
          sum = sum ? addFloat(sum, part) : part;
        }
        return sum;
      };
      auto squared = [&]() -> Value {
        Value place = add(mul(add(mul(stage, GroupPlan::tokens), of), reduced), sub(which, i32(plan.columns)));
        return load(compute, bytes(bytes(shared, plan.squares), mul(place, 4)), 4);
      };
      Value sum;
      if (!reduced || !plan.columns)
        sum = reduced ? squared() : projected();
      else
        sum = scf::IfOp::create(
                  b, loc, less(which, i32(plan.columns)), [&](OpBuilder &, Location at) { scf::YieldOp::create(b, at, projected()); },
                  [&](OpBuilder &, Location at) { scf::YieldOp::create(b, at, squared()); })
                  .getResult(0);
      Value to = divide(of, plan.share);
      Value index = add(mul(add(mul(add(mul(buffer, plan.blocks), rank), plan.share), remainder(of, plan.share)), plan.sumCount), which);
      send(sum, bytes(bytes(shared, plan.exchanged), mul(index, 4)), sumsHere(buffer), to);
    };
    if (done + threads <= all)
      sendOne();
    else
      when(less(item, i32(all)), sendOne);
  }
}

LogicalResult GroupEmitter::emitProjection() {
  if (plan.project)
    loadWeights();
  LogicalResult status = success();
  Value warpOfRole = inRole;
  Value stores = arith::AndIOp::create(b, loc, equal(warpOfRole, GroupPlan::projectWarps - 1), equal(laneOf, 0));
  auto together = [&] {
    NVVM::BarrierOp::create(b, loc, Type(), i32(1), i32(GroupPlan::projectWarps * warpSize), NVVM::BarrierReductionAttr(), Value());
  };
  auto buffers = [&](Value tile) { return bitAnd(tile, GroupPlan::exchanges - 1); };
  bool storesRows = plan.maps.size() > plan.rowLoads.size();
  tiles(plan.lag ? add(mine, plan.lag) : mine, 2, [&](Value tile, ArrayRef<Ring> at) {
    Ring ahead = at[0], behind = at[1];
    auto projectTile = [&] {
      Value base = stageAt(ahead.stage);
      wait(done(ahead.stage), ahead.parity);
      if (storesRows)
        when(stores, [&] { storeRows(base, firstToken(tile)); });
      syncWarp();
      if (plan.project)
        multiply(base);
      together();
      sendSums(ahead.stage, buffers(tile));
      together(); // before the next tile's sums overwrite these
    };
    auto finishTile = [&] {
      Value before = plan.lag ? sub(tile, i32(plan.lag)) : tile;
      Value buffer = buffers(before), parity = bitAnd(shiftRight(before, 2), 1);
      wait(resultsHere(buffer), parity, /*fromCluster=*/true);
      when(stores, [&] { expect(resultsHere(buffer), i32(plan.resultBytes())); });
      if (plan.second && succeeded(status))
        status = emitSecond(before, stageAt(behind.stage), buffer);
      if (storesRows)
        when(stores, [&] { NVVM::CpAsyncBulkWaitGroupOp::create(b, loc, plan.lag, b.getUnitAttr()); });
      arrive(empty(behind.stage));
    };
    if (!plan.lag) {
      projectTile();
      finishTile();
      return SmallVector<Ring>{next(ahead), next(behind)};
    }
    when(less(tile, mine), projectTile);
    Value started = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::sge, tile, i32(plan.lag));
    when(started, finishTile);
    Ring moved = next(behind);
    return SmallVector<Ring>{next(ahead), {select(started, moved.stage, behind.stage), select(started, moved.parity, behind.parity)}};
  });
  if (storesRows)
    when(stores, [&] { NVVM::CpAsyncBulkWaitGroupOp::create(b, loc, 0, UnitAttr()); });
  return status;
}

} // namespace mlir::mhc::nvgpu
