//===- GroupRing.cpp - exchange of family group through memory --------------===//
//
// Words carry the parity of their round in the lowest bit: they are their own flags, and memory that began as ones needs neither fences nor resets. A
// block writes whole sectors. The bit is taken off again, so that what a token gets does not depend on the tile's number.
//
// A place is written again `exchanges` > lag tiles later: a block sends sums of a tile when it has the results of all tiles but the last `lag`, for which
// their senders had read these tiles' sums; and who sends results of a tile has the sums of all blocks, which had read the results just named.
//
//===----------------------------------------------------------------------===//

#include "GroupExchange.h"

#include "mhc/Codegen/GangLaunch.h"

namespace mlir::mhc::nvgpu {

void RingEmitter::beginExchange(GpuLaunch launch) {
  beginFunction(launch, /*hasWorkspace=*/true);
  setGangLaunch(function, {plan.blocks, plan.workspace()});
}

/// Behind the places of sums are those of results.
Value RingEmitter::groupMemory() { return bytes(workspace, mul(widen64(group), plan.workspace())); }
Value RingEmitter::resultPlace(Value tile, Value token) {
  return bytes(groupMemory(), widen64(add(add(mul(placeOf(tile), plan.resultPlace()), mul(token, plan.resultWords * 4)), GroupPlan::exchanges * plan.sumPlace())));
}

void RingEmitter::publish(ArrayRef<Value> four, Value to, Value parity) {
  SmallVector<Value> words;
  for (Value value : four)
    words.push_back(withParity(value, parity));
  storeWords(words, to);
}

/// To [place][token][block][sum].
void RingEmitter::sendSums(Value tile, Value token, Value quad, ArrayRef<Value> sums) {
  Value row = add(mul(add(mul(placeOf(tile), GroupPlan::tokens), token), plan.blocks), rank);
  publish(sums, bytes(groupMemory(), widen64(add(mul(row, plan.sumWords * 4), mul(quad, 16)))), roundOf(tile));
}

void RingEmitter::receiveSums(Value tile, Value rows) {
  Value parity = roundOf(tile), from = bytes(groupMemory(), widen64(add(mul(placeOf(tile), plan.sumPlace()), mul(quadOfLane(), 16))));
  addLines(rows, [&](ArrayRef<Line> lines) {
    SmallVector<Value> places;
    for (const Line &line : lines)
      places.push_back(bytes(from, widen64(mul(add(mul(ownToken(i32(line.token)), plan.blocks), line.block), plan.sumWords * 4))));
    auto again = scf::WhileOp::create(
        b, loc, SmallVector<Type>(4 * lines.size(), b.getI32Type()), ValueRange{},
        [&](OpBuilder &, Location at, ValueRange) {
          SmallVector<Value> found;
          for (Value place : places)
            llvm::append_range(found, loadWords(place));
          scf::ConditionOp::create(b, at, lacks(found, parity), found);
        },
        [&](OpBuilder &, Location at, ValueRange) { scf::YieldOp::create(b, at); });
    SmallVector<SmallVector<Value>> loaded(lines.size());
    for (auto [i, word] : llvm::enumerate(again.getResults()))
      loaded[i / 4].push_back(numberOf(word));
    return loaded;
  });
}

/// To [place][token][result].
void RingEmitter::sendResults(Value tile, ArrayRef<Value> results) {
  Value token = add(mul(rank, plan.share), laneOf);
  Value owned = arith::AndIOp::create(b, loc, less(laneOf, i32(plan.share)), less(token, i32(GroupPlan::tokens)));
  when(owned, [&] {
    SmallVector<Value> words(results);
    words.resize(plan.resultWords, f32(0.0));
    for (int64_t at = 0; at < plan.resultWords; at += 4)
      publish(ArrayRef(words).slice(at, 4), bytes(resultPlace(tile, token), at * 4), roundOf(tile));
  });
}

SmallVector<Value> RingEmitter::askResults(Value tile) {
  SmallVector<Value> words;
  for (int64_t at = 0; at < plan.resultCount; at += 4)
    llvm::append_range(words, loadWords(bytes(resultPlace(tile, local), at * 4)));
  return words;
}

SmallVector<Value> RingEmitter::askAgain(Value tile, ArrayRef<Value> asked) {
  auto again = scf::IfOp::create(
      b, loc, lacks(asked, roundOf(tile)), [&](OpBuilder &, Location at) { scf::YieldOp::create(b, at, askResults(tile)); },
      [&](OpBuilder &, Location at) { scf::YieldOp::create(b, at, asked); });
  return llvm::to_vector_of<Value>(again.getResults());
}

SmallVector<Value> RingEmitter::receiveResults(Value tile, ArrayRef<Value> asked) {
  SmallVector<Value> first(asked);
  if (first.empty())
    first = askResults(tile);
  Value parity = roundOf(tile);
  auto again = scf::WhileOp::create(
      b, loc, TypeRange(ValueRange(first)), first,
      [&](OpBuilder &, Location at, ValueRange words) { scf::ConditionOp::create(b, at, lacks(words, parity), words); },
      [&](OpBuilder &, Location at, ValueRange) { scf::YieldOp::create(b, at, askResults(tile)); });
  SmallVector<Value> values;
  for (Value word : again.getResults())
    values.push_back(numberOf(word));
  return values;
}

} // namespace mlir::mhc::nvgpu
