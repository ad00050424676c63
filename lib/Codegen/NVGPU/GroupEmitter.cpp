//===- GroupEmitter.cpp - the kernel, its ring and barriers -----------------===//

#include "GroupEmitter.h"

namespace mlir::mhc::nvgpu {

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
  // Nobody leaves while others may still write into its shared memory.
  syncWarp();
  NVVM::ClusterArriveOp::create(b, loc, b.getUnitAttr());
  NVVM::ClusterWaitOp::create(b, loc, b.getUnitAttr());
  LLVM::ReturnOp::create(b, loc, ValueRange{});
  return status;
}

void GroupEmitter::begin() {
  GpuLaunch launch{GroupPlan::tokens, GroupPlan::threads, plan.sharedBytes};
  launch.cluster = plan.blocks;
  launch.maps.assign(plan.maps.begin(), plan.maps.end());
  launch.mapChannels = plan.channels;
  beginFunction(launch);
  function->setAttr(NVVM::NVVMDialect::getClusterDimAttrName(), b.getDenseI32ArrayAttr({int32_t(plan.blocks), 1, 1}));
  Type i32Type = b.getI32Type();
  rank = remainder(NVVM::BlockIdXOp::create(b, loc, i32Type), plan.blocks);
  cluster = divide(NVVM::BlockIdXOp::create(b, loc, i32Type), plan.blocks);
  clusters = divide(NVVM::GridDimXOp::create(b, loc, i32Type), plan.blocks);
  sliceStart = mul(rank, plan.slice);
  // Tiles go round the clusters: cluster, cluster + clusters, ..
  Value tileCount = arith::DivUIOp::create(b, loc, add(rows, GroupPlan::tokens - 1), i64(GroupPlan::tokens));
  Value all = arith::TruncIOp::create(b, loc, i32Type, tileCount);
  mine = arith::DivUIOp::create(b, loc, sub(add(all, sub(clusters, i32(1))), cluster), clusters);
}

void GroupEmitter::initBarriers() {
  when(equal(thread, 0), [&] {
    for (int64_t i = 0; i < plan.stages; ++i) {
      initBarrier(full(i32(i)), 1);
      initBarrier(done(i32(i)), GroupPlan::postWarps);
      initBarrier(empty(i32(i)), GroupPlan::projectWarps);
    }
    for (int64_t i = 0; i < plan.passingStages; ++i)
      initBarrier(passed(i32(i)), GroupPlan::postWarps);
    for (int64_t i = 0; i < GroupPlan::exchanges; ++i) {
      initBarrier(sumsHere(i32(i)), 1);
      initBarrier(resultsHere(i32(i)), 1);
    }
    NVVM::FenceMbarrierInitOp::create(b, loc);
    // A phase of these begins with the bytes it is to receive; the next one when somebody has seen the end of the one before.
    for (int64_t i = 0; i < GroupPlan::exchanges; ++i) {
      expect(sumsHere(i32(i)), i32(plan.exchangeBytes()));
      expect(resultsHere(i32(i)), i32(plan.resultBytes()));
    }
    prefetchMaps();
  });
  barrier();
  NVVM::ClusterArriveOp::create(b, loc, b.getUnitAttr());
  NVVM::ClusterWaitOp::create(b, loc, b.getUnitAttr());
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

Value GroupEmitter::firstToken(Value tile) { return mul(add(cluster, mul(tile, clusters)), GroupPlan::tokens); }

void GroupEmitter::send(Value value, Value place, Value barrier, Value block) {
  auto remote = [&](Value local) {
    return NVVM::MapaOp::create(b, loc, LLVM::LLVMPointerType::get(b.getContext(), 7), local, block);
  };
  NVVM::InlinePtxOp::create(b, loc, TypeRange{}, ValueRange{remote(place), value, remote(barrier)}, ValueRange{},
                            "st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [$0], $1, [$2];", Value());
}

//===----------------------------------------------------------------------===//
// The loader: one thread
//===----------------------------------------------------------------------===//

void GroupEmitter::emitLoader() {
  tiles(mine, 2, [&](Value tile, ArrayRef<Ring> at) {
    Ring ring = at[0], other = at[1];
    waitFree(empty(ring.stage), ring);
    if (passes())
      waitFree(passed(other.stage), other);
    Value barrier = full(ring.stage), base = stageAt(ring.stage), passingBase = passingAt(other.stage), first = firstToken(tile), first64 = widen64(first);
    // Rows past the last token arrive as zeros, and count. Coefficients are copied as far as they go, to whole 16 bytes (no memory ends between them).
    Value valid = min(i64(GroupPlan::tokens), sub(rows, first64));
    int64_t streams = 0;
    for (RowLoadOp load : plan.rowLoads)
      streams += cast<WideType>(load.getResult().getType()).getStreams();
    Value count = i32(streams * plan.boxes * GroupPlan::boxBytes);
    SmallVector<std::pair<Value, Value>> pieces; // place and size of each coefficient load
    for (auto [op, place] : plan.coefficientLoads) {
      int64_t row = cast<NarrowType>(op->getResult(0).getType()).getNumElements() * 4;
      Value size = arith::TruncIOp::create(b, loc, b.getI32Type(), bitAnd(add(mul(valid, row), 15), -16));
      pieces.push_back({bytes(passingBase, place), size});
      count = add(count, size);
    }
    expect(barrier, count);
    for (auto [load, piece] : llvm::zip(plan.coefficientLoads, pieces)) {
      auto op = cast<RowLoadOp>(load.first);
      int64_t elements = cast<NarrowType>(op.getResult().getType()).getNumElements();
      Value source = pointers[cast<BlockArgument>(op.getSource()).getArgNumber()];
      NVVM::CpAsyncBulkGlobalToSharedClusterOp::create(b, loc, piece.first, address(source, compute, mul(first64, elements)), barrier, piece.second,
                                                       Value(), Value());
    }
    for (auto [i, load] : llvm::enumerate(plan.rowLoads)) {
      int64_t streams = cast<WideType>(load.getResult().getType()).getStreams();
      bool kept = plan.homes.count(load.getResult());
      int64_t home = (kept ? plan.homes : plan.passing).lookup(load.getResult());
      for (int64_t box = 0; box < plan.boxes; ++box)
        for (int64_t stream = 0; stream < streams; ++stream) {
          Value place = bytes(kept ? base : passingBase, ((home + stream) * plan.boxes + box) * GroupPlan::boxBytes);
          SmallVector<Value> at{add(sliceStart, box * GroupPlan::boxChannels), i32(stream), first};
          NVVM::CpAsyncBulkTensorGlobalToSharedClusterOp::create(b, loc, place, maps[i], at, barrier, ValueRange{}, Value(), Value(),
                                                                 NVVM::TMALoadMode::TILE, /*isCTAOnly=*/true, NVVM::CTAGroupKindAttr(), Value());
        }
    }
    return SmallVector<Ring>{next(ring), nextPassing(other)};
  });
}

} // namespace mlir::mhc::nvgpu
