//===- GroupEmitter.cpp - the kernel, its ring and barriers -----------------===//

#include "GroupExchange.h"

namespace mlir::mhc::nvgpu {

std::unique_ptr<GroupEmitter> GroupEmitter::create(OpBuilder &builder, KernelOp kernel, gpu::GPUModuleOp target, GroupPlan plan) {
  if (plan.choice.ring)
    return std::make_unique<RingEmitter>(builder, kernel, target, std::move(plan));
  return std::make_unique<ClusterEmitter>(builder, kernel, target, std::move(plan));
}

LogicalResult GroupEmitter::run() {
  begin();
  initBarriers();
  LogicalResult status = success();
  auto role = [&](int64_t first, int64_t count, function_ref<LogicalResult()> body) {
    TileEmitter::role(first, count, [&] {
      if (succeeded(status))
        status = body();
    });
  };
  constexpr int64_t project = GroupPlan::postWarps, service = project + GroupPlan::projectWarps;
  role(0, GroupPlan::postWarps, [&] {
    setRegisters(plan.postRegisters);
    return emitPost();
  });
  role(project, GroupPlan::projectWarps, [&] {
    setRegisters(plan.projectRegisters);
    return emitProjection();
  });
  role(service, 1 + GroupPlan::coefficientWarps, [&] {
    setRegisters(plan.serviceRegisters);
    Value loads = equal(inRole, GroupPlan::coefficientWarps);
    scf::IfOp::create(
        b, loc, loads,
        [&](OpBuilder &, Location at) {
          when(equal(laneOf, 0), [&] { emitLoader(); });
          scf::YieldOp::create(b, at);
        },
        [&](OpBuilder &, Location at) {
          if (succeeded(status))
            status = emitCoefficients();
          scf::YieldOp::create(b, at);
        });
    return success();
  });
  syncWarp();
  join();
  LLVM::ReturnOp::create(b, loc, ValueRange{});
  return status;
}

void GroupEmitter::begin() {
  GpuLaunch launch{GroupPlan::tokens, GroupPlan::threads, plan.sharedBytes};
  launch.maps.assign(plan.maps.begin(), plan.maps.end());
  launch.mapChannels = plan.channels;
  launch.boxes = plan.boxes;
  launch.interleaved = plan.interleaved > 0;
  beginExchange(std::move(launch));
  beginGroups(plan.blocks, plan.choice.slice);
}

void GroupEmitter::initBarriers() {
  when(equal(thread, 0), [&] {
    for (int64_t i = 0; i < plan.choice.stages; ++i) {
      initBarrier(full(i32(i)), 1);
      initBarrier(done(i32(i)), GroupPlan::postWarps);
      initBarrier(empty(i32(i)), GroupPlan::projectWarps);
    }
    for (int64_t i = 0; i < plan.passingStages; ++i)
      initBarrier(passed(i32(i)), GroupPlan::postWarps);
    initExchange();
    NVVM::FenceMbarrierInitOp::create(b, loc);
    armExchange();
    prefetchMaps();
  });
  barrier();
  join();
}

//===----------------------------------------------------------------------===//
// The ring
//===----------------------------------------------------------------------===//

void GroupEmitter::tiles(Value count, int64_t rings, function_ref<SmallVector<Ring>(Value, ArrayRef<Ring>)> body) {
  SmallVector<Value> start(2 * rings, i32(0));
  loop(i32(0), count, i32(1), start, [&](Value tile, ValueRange carried) {
    SmallVector<Ring> at;
    for (int64_t i = 0; i < rings; ++i)
      at.push_back({carried[2 * i], carried[2 * i + 1]});
    SmallVector<Value> left;
    for (Ring ring : body(tile, at))
      left.append({ring.stage, ring.parity});
    return left;
  });
}

SmallVector<Value> GroupEmitter::boxOf(Value wide, Value first) { return {i32(0), first, i32(0), mul(rank, plan.boxes * (isInterleaved(wide) ? plan.interleaved : 1))}; }

//===----------------------------------------------------------------------===//
// The loader: one thread
//===----------------------------------------------------------------------===//

void GroupEmitter::emitLoader() {
  tiles(mine, 2, [&](Value tile, ArrayRef<Ring> at) {
    Ring ring = at[0], other = at[1];
    waitFree(empty(ring.stage), ring);
    if (passes())
      waitFree(passed(other.stage), other);
    Value barrier = full(ring.stage), base = stageAt(ring.stage), passingBase = passingAt(other.stage), first = firstToken(tile);
    // Rows past the last token arrive as zeros, and count.
    int64_t streams = 0;
    for (RowLoadOp load : plan.rowLoads)
      streams += cast<WideType>(load.getResult().getType()).getStreams();
    SmallVector<std::pair<RowLoadOp, Value>> copies;
    for (auto [op, place] : plan.coefficientLoads)
      copies.push_back({cast<RowLoadOp>(op), bytes(passingBase, place)});
    copyCoefficients(copies, widen64(first), barrier, streams * plan.boxes * GroupPlan::boxBytes);
    for (auto [i, load] : llvm::enumerate(plan.rowLoads)) {
      bool kept = plan.homes.count(load.getResult());
      Value place = homeAt(kept ? base : passingBase, (kept ? plan.homes : plan.passing).lookup(load.getResult()));
      NVVM::CpAsyncBulkTensorGlobalToSharedClusterOp::create(b, loc, place, maps[i], boxOf(load.getResult(), first), barrier, ValueRange{}, Value(), Value(),
                                                             NVVM::TMALoadMode::TILE, /*isCTAOnly=*/true, NVVM::CTAGroupKindAttr(), Value());
    }
    return SmallVector<Ring>{next(ring), nextPassing(other)};
  });
}

} // namespace mlir::mhc::nvgpu
