//===- GroupCluster.cpp - exchange of family group within a cluster ---------===//
//
// Sums and coefficients travel by st.async, which counts bytes on the receiver's barrier. There is no barrier of the cluster in the loop. A receiving
// barrier is armed in order: its first phase before the loop, each later one by who has seen the end of the phase before.
//
//===----------------------------------------------------------------------===//

#include "GroupExchange.h"

namespace mlir::mhc::nvgpu {

void ClusterEmitter::beginExchange(GpuLaunch launch) {
  launch.cluster = plan.blocks;
  beginFunction(launch);
  function->setAttr(NVVM::NVVMDialect::getClusterDimAttrName(), b.getDenseI32ArrayAttr({int32_t(plan.blocks), 1, 1}));
}

void ClusterEmitter::initExchange() {
  for (int64_t i = 0; i < GroupPlan::exchanges; ++i) {
    initBarrier(sumsHere(i32(i)), 1);
    initBarrier(resultsHere(i32(i)), 1);
  }
}

/// A phase begins with the bytes it is to receive.
void ClusterEmitter::armExchange() {
  for (int64_t i = 0; i < GroupPlan::exchanges; ++i) {
    expect(sumsHere(i32(i)), i32(plan.exchangeBytes()));
    expect(resultsHere(i32(i)), i32(plan.resultBytes()));
  }
}

/// Nobody leaves while others may still write into its shared memory.
void ClusterEmitter::join() {
  NVVM::ClusterArriveOp::create(b, loc, b.getUnitAttr());
  NVVM::ClusterWaitOp::create(b, loc, b.getUnitAttr());
}

void ClusterEmitter::send(ArrayRef<Value> values, Value place, Value barrier, Value block) {
  auto remote = [&](Value local) {
    return NVVM::MapaOp::create(b, loc, LLVM::LLVMPointerType::get(b.getContext(), 7), local, block);
  };
  SmallVector<Value> operands{remote(place)};
  llvm::append_range(operands, values);
  operands.push_back(remote(barrier));
  StringRef text = values.size() == 4 ? "st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [$0], {$1, $2, $3, $4}, [$5];"
                                      : "st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [$0], $1, [$2];";
  NVVM::InlinePtxOp::create(b, loc, TypeRange{}, operands, ValueRange{}, text, Value());
}

/// To [place][block][token of its share][sum].
void ClusterEmitter::sendSums(Value tile, Value token, Value quad, ArrayRef<Value> sums) {
  Value place = placeOf(tile), row = add(mul(add(mul(place, plan.blocks), rank), plan.share), remainder(token, plan.share));
  send(sums, bytes(bytes(shared, plan.exchanged), add(mul(row, plan.sumWords * 4), mul(quad, 16))), sumsHere(place), divide(token, plan.share));
}

void ClusterEmitter::receiveSums(Value tile, Value rows) {
  Value place = placeOf(tile), from = bytes(bytes(shared, plan.exchanged), mul(place, plan.exchangeBytes()));
  wait(sumsHere(place), roundOf(tile), /*fromCluster=*/true);
  syncWarp();
  when(equal(laneOf, 0), [&] { expect(sumsHere(place), i32(plan.exchangeBytes())); });
  addLines(rows, [&](ArrayRef<Line> lines) {
    SmallVector<SmallVector<Value>> loaded;
    for (const Line &line : lines) {
      Value at = add(mul(add(mul(line.block, plan.share), line.token), plan.sumWords * 4), mul(quadOfLane(), 16));
      Value four = load(VectorType::get({4}, compute), bytes(from, at), 16);
      loaded.emplace_back();
      for (int64_t i = 0; i < 4; ++i)
        loaded.back().push_back(lane(four, i));
    }
    return loaded;
  });
}

/// What the second wide phase needs of this block's tokens, to every block: [place][token][result].
void ClusterEmitter::sendResults(Value tile, ArrayRef<Value> results) {
  Value scratch = bytes(bytes(shared, plan.scratch), mul(inRole, plan.share * plan.resultCount * 4));
  Value mineOf = bytes(scratch, mul(min(laneOf, i32(plan.share - 1)), plan.resultCount * 4));
  when(less(laneOf, i32(plan.share)), [&] {
    for (auto [at, element] : llvm::enumerate(results))
      store(element, bytes(mineOf, 4 * at), 4);
    if (results.empty())
      store(f32(0.0), mineOf, 4);
  });
  syncWarp();
  Value place = placeOf(tile);
  int64_t each = plan.share * plan.resultCount, all = plan.blocks * each;
  for (int64_t done = 0; done < all; done += warpSize) {
    Value item = add(laneOf, done);
    auto one = [&] {
      Value to = divide(item, each), what = remainder(item, each);
      Value at = add(mul(add(mul(place, GroupPlan::tokens), mul(rank, plan.share)), plan.resultCount), what);
      send(load(compute, bytes(scratch, mul(what, 4)), 4), bytes(bytes(shared, plan.returned), mul(at, 4)), resultsHere(place), to);
    };
    if (done + warpSize <= all)
      one();
    else
      when(less(item, i32(all)), one);
  }
}

SmallVector<Value> ClusterEmitter::receiveResults(Value tile, ArrayRef<Value>) {
  Value place = placeOf(tile), leader = arith::AndIOp::create(b, loc, equal(inRole, 0), equal(laneOf, 0));
  wait(resultsHere(place), roundOf(tile), /*fromCluster=*/true);
  when(leader, [&] { expect(resultsHere(place), i32(plan.resultBytes())); });
  Value row = bytes(bytes(shared, plan.returned), mul(add(mul(place, GroupPlan::tokens), local), plan.resultCount * 4));
  SmallVector<Value> values;
  for (int64_t e = 0; plan.second && e < plan.resultCount; ++e)
    values.push_back(load(compute, bytes(row, 4 * e), 4));
  return values;
}

} // namespace mlir::mhc::nvgpu
