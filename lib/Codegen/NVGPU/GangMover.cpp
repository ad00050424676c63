//===- GangMover.cpp - rows in and out of a gang's stages -------------------===//
//
// One warp. When the second phase has done with a tile its rows leave, and when the products have, the stage is loaded for a later tile. The products'
// late sums lie where its coefficients go: they are read before, and sent to the other blocks when all loads are under way.
//
//===----------------------------------------------------------------------===//

#include "GangEmitter.h"

namespace mlir::mhc::nvgpu {

SmallVector<Value> GangEmitter::boxOfRow(Value wide, Value tile) {
  return {i32(0), firstToken(tile), i32(0), mul(rank, GangPlan::boxes * (isInterleaved(wide) ? GangPlan::streams : 1))};
}

void GangEmitter::loadRows(GangPlan::RingOf ring, Value tile) {
  Value stage = at(tile, ring).stage, barrier = ring == GangPlan::early ? full(stage) : fullOther(stage);
  stageBase[ring] = stageOf(ring, stage);
  NVVM::MBarrierExpectTxOp::create(b, loc, barrier, i32(plan.loadedBytes[ring]), NVVM::MemScopeKind::CTA);
  for (auto [i, load] : llvm::enumerate(plan.rowLoads)) {
    if (plan.homes.lookup(load.getResult()).ring != ring)
      continue;
    NVVM::CpAsyncBulkTensorGlobalToSharedClusterOp::create(b, loc, homeOf(load.getResult()), maps[i], boxOfRow(load.getResult(), tile), barrier, ValueRange{}, Value(), Value(),
                                                           NVVM::TMALoadMode::TILE, /*isCTAOnly=*/true, NVVM::CTAGroupKindAttr(), Value());
  }
}

void GangEmitter::loadCoefficients(Value tile) {
  Value stage = at(tile, GangPlan::early).stage;
  SmallVector<std::pair<RowLoadOp, Value>> copies;
  for (auto [op, place] : plan.coefficients)
    copies.push_back({cast<RowLoadOp>(op), bytes(coefficientsAt(stage), place)});
  // With this arrival all is said that the phase of the barrier waits for.
  copyCoefficients(copies, widen64(firstToken(tile)), full(stage));
}

void GangEmitter::storeRows(Value tile) {
  for (auto [i, op] : llvm::enumerate(plan.rowStores)) {
    NVVM::CpAsyncBulkTensorSharedCTAToGlobalOp::create(b, loc, maps[plan.rowLoads.size() + i], homeOf(op.getValue()), boxOfRow(op.getValue(), tile), Value(),
                                                       NVVM::TMAStoreMode::TILE, Value());
  }
  NVVM::CpAsyncBulkCommitGroupOp::create(b, loc);
}

void GangEmitter::emitMover() {
  auto ifMine = [&](Value tile, function_ref<void()> body) { when(less(tile, mine), body); };
  auto loadOther = [&](Value tile) {
    loadRows(GangPlan::other, tile);
    arriveAlone(fullOther(at(tile, GangPlan::other).stage));
  };
  int64_t others = hasOther() ? plan.stages[GangPlan::other] : 0;
  when(equal(laneOf, 0), [&] {
    for (int64_t i = 0; i < early(); ++i)
      ifMine(i32(i), [&] {
        loadRows(GangPlan::early, i32(i));
        loadCoefficients(i32(i));
      });
    for (int64_t i = 0; i < others; ++i)
      ifMine(i32(i), [&] { loadOther(i32(i)); });
  });
  tiles([&](Value tile) {
    Ring rows = at(tile, GangPlan::early);
    Value leader = equal(laneOf, 0), nextEarly = add(tile, early()), nextOther = add(tile, others);
    enter(tile);
    wait(done(rows.stage), rows.parity);
    when(leader, [&] { storeRows(tile); });
    wait(empty(rows.stage), rows.parity);
    // Late sums lie where the next coefficients go: they are taken into registers, and sent when all loads are under way.
    SmallVector<SmallVector<Value>> late;
    if (plan.late) {
      late = takeLate(tile);
      fenceShared(); // what the copy engine writes next has been read; without it ptxas reads when the words are sent, which is too late
    }
    syncWarp();
    when(leader, [&] {
      NVVM::CpAsyncBulkWaitGroupOp::create(b, loc, 0, b.getUnitAttr());
      ifMine(nextEarly, [&] {
        loadRows(GangPlan::early, nextEarly);
        loadCoefficients(nextEarly);
      });
      if (others)
        ifMine(nextOther, [&] { loadOther(nextOther); });
    });
    syncWarp();
    if (plan.late)
      publishLate(tile, late);
  });
  when(equal(laneOf, 0), [&] { NVVM::CpAsyncBulkWaitGroupOp::create(b, loc, 0, UnitAttr()); });
}

} // namespace mlir::mhc::nvgpu
