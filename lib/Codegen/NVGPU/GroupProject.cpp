//===- GroupProject.cpp - projection of family group ------------------------===//
//
// Eight warps share the products with phi: step s of warp w is the product of 16 rows from 128 s + 16 w of its slice (box, stream, channel; or, interleaved, channel,
// stream), for all columns. A product of a bf16 row with an fp32 parameter is two of tensor cores, with the parameter's bf16 value and with what that leaves: 16 significant
// bits.
//
// Where streams are projected apart (HC), a step is two streams of a box, so a warp has every second stream, whose steps of a box are products by the same registers of phi;
// the sums of a token are [stream][column], of which four warps have parts.
//
//===----------------------------------------------------------------------===//

#include "GroupEmitter.h"

namespace mlir::mhc::nvgpu {

/// phi's slice as the second operands of m16n8k16: a register has rows 2 (lane mod 4) + {0, 1} (+ 8: second half) of column lane / 4.
void GroupEmitter::loadWeights() {
  auto weight = plan.project.getWeight();
  Value base = pointers[cast<BlockArgument>(weight).getArgNumber()];
  auto type = cast<MemRefType>(weight.getType());
  int64_t k = type.getDimSize(plan.project.getTransposed() ? 1 : 0), streams = k / plan.channels;
  const int64_t warps = plan.apart > 1 ? GroupPlan::projectWarps / 2 : GroupPlan::projectWarps;
  Value column = shiftRight(laneOf, 2), row = mul(bitAnd(laneOf, 3), 2);
  // Channel and stream of a row of the slice.
  auto ofSlice = [&](Value inSlice) -> std::pair<Value, Value> {
    if (isInterleaved(plan.project.getValue()))
      return {add(divide(inSlice, streams), sliceStart), remainder(inSlice, streams)};
    Value boxStream = divide(inSlice, GroupPlan::boxChannels);
    return {add(add(mul(divide(boxStream, streams), GroupPlan::boxChannels), bitAnd(inSlice, GroupPlan::boxChannels - 1)), sliceStart), remainder(boxStream, streams)};
  };
  for (int64_t step = 0; step < plan.steps; ++step)
    for (int64_t piece = 0; piece < plan.pieces; ++piece)
      for (int64_t half = 0; half < 2; ++half) {
        SmallVector<Value> pair;
        for (int64_t i = 0; i < 2; ++i) {
          Value inSlice = add(add(mul(bitAnd(inRole, warps - 1), 16), row), step * warps * 16 + half * 8 + i);
          auto [channelOf, stream] = ofSlice(inSlice);
          Value at = plan.project.getInterleaved() ? add(mul(channelOf, streams), stream) : add(mul(stream, plan.channels), channelOf), to = add(column, piece * 8);
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
    NVVM::CpAsyncBulkTensorSharedCTAToGlobalOp::create(b, loc, maps[map], homeAt(base, plan.homes.lookup(op.getValue())), boxOf(op.getValue(), first), Value(),
                                                       NVVM::TMAStoreMode::TILE, Value());
    ++map;
  });
  NVVM::CpAsyncBulkCommitGroupOp::create(b, loc);
}

/// Memory for the warps' sums: of two tiles in turn, so that one barrier a tile does.
Value GroupEmitter::partials(Value tile) { return bytes(shared, add(mul(bitAnd(tile, 1), plan.partialBytes()), plan.partialSums)); }

/// This warp's sums for the 16 tokens, into shared memory: [warp][token][stream of the warp][column].
void GroupEmitter::multiply(Value tile, Value base) {
  const int64_t streams = plan.streamsOfWarp(), pieces = plan.pieces;
  SmallVector<SmallVector<Value>> sums(streams * pieces, SmallVector<Value>(4, f32(0.0))); // [stream of the warp][piece]
  Value from = homeAt(base, plan.homes.lookup(plan.project.getValue()));
  Value row = bitAnd(laneOf, 15), side = shiftRight(laneOf, 4);
  // A step is two streams of a box: the place in them is the same in all steps.
  Value piece = add(mul(bitAnd(inRole, 3), 2), side);
  Value place = add(mul(shiftRight(inRole, 2), GroupPlan::boxBytes),
                    add(mul(row, 128), mul(arith::XOrIOp::create(b, loc, piece, bitAnd(row, 7)), 16)));
  from = bytes(from, place);
  for (int64_t step = 0; step < plan.steps; ++step)
    for (int64_t s = 0; s < streams; ++s) {
      SmallVector<Value> left = loadMatrices(bytes(from, (step * streams + s) * 2 * GroupPlan::boxBytes));
      for (int64_t p = 0; p < pieces; ++p)
        for (SmallVector<Value> *part : {&high, &low})
          multiplyAdd(sums[s * pieces + p], left, {(*part)[(step * pieces + p) * 2], (*part)[(step * pieces + p) * 2 + 1]});
    }
  int64_t rowBytes = plan.partialRow();
  Value sumPlace = bytes(partials(tile),
                      add(mul(inRole, GroupPlan::tokens * rowBytes), add(mul(shiftRight(laneOf, 2), rowBytes), mul(bitAnd(laneOf, 3), 8))));
  for (int64_t p = 0; p < streams * pieces; ++p)
    for (int64_t half = 0; half < 2; ++half)
      store(vectorOf({sums[p][2 * half], sums[p][2 * half + 1]}), bytes(sumPlace, p * 32 + half * 8 * rowBytes), 8);
}

/// The block's sums of each token, added up over the warps, four a lane.
void GroupEmitter::giveSums(Value tile, Value stage) {
  int64_t quads = plan.sumWords / 4, atATime = warpSize / lanesOfSums(), whole = plan.projected() / 4;
  Value quad = quadOfLane(), from = partials(tile);
  for (int64_t first = 0; first < GroupPlan::tokens; first += GroupPlan::projectWarps * atATime) {
    Value token = add(add(mul(inRole, atATime), divide(laneOf, lanesOfSums())), first);
    auto projected = [&] {
      const int64_t row = plan.partialRow(), ofWarp = GroupPlan::tokens * row, quadsOfStream = plan.pieces * 2;
      int64_t warps = GroupPlan::projectWarps;
      Value inRow = quad, firstWarp = i32(0);
      if (plan.apart > 1) { // every second stream is with the other half of the warps
        Value stream = divide(quad, quadsOfStream);
        warps /= 2;
        inRow = add(mul(shiftRight(stream, 1), quadsOfStream), remainder(quad, quadsOfStream));
        firstWarp = mul(bitAnd(stream, 1), warps * ofWarp);
      }
      Value place = bytes(from, add(add(mul(token, row), mul(inRow, 16)), firstWarp));
      width = 4;
      Value sum;
      for (int64_t w = 0; w < warps; ++w) {
        Value part = load(lanes(compute), bytes(place, w * ofWarp), 16);
        sum = sum ? addFloat(sum, part) : part;
      }
      width = 1;
      SmallVector<Value> four;
      for (int64_t i = 0; i < 4; ++i)
        four.push_back(lane(sum, i));
      return four;
    };
    auto reduced = [&] {
      SmallVector<Value> four;
      for (int64_t i = 0; i < 4; ++i) {
        if (!plan.reduced) {
          four.push_back(f32(0.0));
          continue;
        }
        Value number = add(mul(sub(quad, i32(whole)), 4), i), which = min(number, i32(plan.reduced - 1));
        Value place = add(mul(add(mul(stage, GroupPlan::tokens), token), plan.reduced), which);
        four.push_back(select(less(number, i32(plan.reduced)), load(compute, bytes(bytes(shared, plan.squares), mul(place, 4)), 4), f32(0.0)));
      }
      return four;
    };
    auto give = [&] {
      SmallVector<Value> four;
      if (!whole || whole == quads)
        four = whole ? projected() : reduced();
      else
        four = llvm::to_vector_of<Value>(scf::IfOp::create(
                                             b, loc, less(quad, i32(whole)), [&](OpBuilder &, Location at) { scf::YieldOp::create(b, at, projected()); },
                                             [&](OpBuilder &, Location at) { scf::YieldOp::create(b, at, reduced()); })
                                             .getResults());
      sendSums(tile, token, quad, four);
    };
    bool all = first + GroupPlan::projectWarps * atATime <= GroupPlan::tokens && lanesOfSums() == quads;
    if (all)
      give();
    else
      when(arith::AndIOp::create(b, loc, less(token, i32(GroupPlan::tokens)), less(bitAnd(laneOf, lanesOfSums() - 1), i32(quads))), give);
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
  bool storesRows = plan.maps.size() > plan.rowLoads.size();
  int64_t lag = plan.choice.lag;
  takeTokens(inRole);
  tiles(lag ? add(mine, lag) : mine, 2, [&](Value tile, ArrayRef<Ring> at) {
    Ring ahead = at[0], behind = at[1];
    Value before = lag ? sub(tile, i32(lag)) : tile;
    SmallVector<Value> asked;
    auto projectTile = [&] {
      Value base = stageAt(ahead.stage);
      wait(done(ahead.stage), ahead.parity);
      if (storesRows)
        when(stores, [&] { storeRows(base, firstToken(tile)); });
      syncWarp();
      if (plan.project)
        multiply(tile, base);
    };
    auto giveTile = [&] {
      together();
      giveSums(tile, ahead.stage);
    };
    auto finishTile = [&] {
      SmallVector<Value> results = receiveResults(before, asked);
      if (plan.second && succeeded(status))
        status = emitSecond(before, stageAt(behind.stage), results);
      if (storesRows)
        when(stores, [&] { NVVM::CpAsyncBulkWaitGroupOp::create(b, loc, lag, b.getUnitAttr()); });
      arrive(empty(behind.stage));
    };
    if (!lag) {
      projectTile();
      giveTile();
      finishTile();
      return SmallVector<Ring>{next(ahead), next(behind)};
    }
    Value started = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::sge, tile, i32(lag));
    // On their way while the next tile is multiplied.
    Value asks = select(started, before, i32(0)), more = less(tile, mine);
    asked = askResults(asks);
    when(more, projectTile);
    asked = askAgain(asks, asked);
    when(more, giveTile);
    when(started, finishTile);
    Ring moved = next(behind);
    return SmallVector<Ring>{next(ahead), {select(started, moved.stage, behind.stage), select(started, moved.parity, behind.parity)}};
  });
  if (storesRows)
    when(stores, [&] { NVVM::CpAsyncBulkWaitGroupOp::create(b, loc, 0, UnitAttr()); });
  return status;
}

} // namespace mlir::mhc::nvgpu
