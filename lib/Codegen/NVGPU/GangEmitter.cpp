//===- GangEmitter.cpp - the kernel, its rings and barriers -----------------===//

#include "GangEmitter.h"

#include "mhc/Codegen/GangLaunch.h"

namespace mlir::mhc::nvgpu {

LogicalResult GangEmitter::run() {
  begin();
  initBarriers();
  LogicalResult status = success();
  auto emit = [&](LogicalResult (GangEmitter::*code)()) {
    if (succeeded(status))
      status = (this->*code)();
  };
  constexpr int64_t second = GangPlan::firstWarps, products = second + GangPlan::secondWarps, service = products + GangPlan::productWarps;
  role(0, GangPlan::firstWarps, [&] {
    setRegisters(GangPlan::firstRegisters);
    if (plan.first)
      emit(&GangEmitter::emitFirst);
  });
  role(second, GangPlan::secondWarps, [&] {
    setRegisters(GangPlan::secondRegisters);
    emit(&GangEmitter::emitSecond);
  });
  role(products, GangPlan::productWarps, [&] {
    setRegisters(GangPlan::productRegisters);
    emit(&GangEmitter::emitProducts);
  });
  role(service, GangPlan::serviceWarps, [&] {
    setRegisters(GangPlan::serviceRegisters);
    Value service = inRole;
    if (plan.first)
      when(less(service, i32(GangPlan::exchangeWarps)), [&] { emit(&GangEmitter::emitExchange); });
    if (plan.late)
      when(equal(service, GangPlan::exchangeWarps), [&] { emit(&GangEmitter::emitLate); });
    when(equal(service, GangPlan::exchangeWarps + 1), [&] { when(equal(laneOf, 0), [&] { emitLoader(); }); });
  });
  LLVM::ReturnOp::create(b, loc, ValueRange{});
  return status;
}

void GangEmitter::begin() {
  GpuLaunch launch{GangPlan::tokens, GangPlan::threads, plan.sharedBytes};
  launch.maps.assign(plan.maps.begin(), plan.maps.end());
  launch.mapChannels = plan.channels;
  launch.boxes = GangPlan::boxes;
  beginFunction(launch, /*hasWorkspace=*/true);
  setGangLaunch(function, {plan.blocks, plan.workspace});
  Type i32Type = b.getI32Type();
  Value blockIndex = NVVM::BlockIdXOp::create(b, loc, i32Type);
  rank = remainder(blockIndex, plan.blocks);
  gang = divide(blockIndex, plan.blocks);
  gangs = divide(NVVM::GridDimXOp::create(b, loc, i32Type), plan.blocks);
  sliceStart = mul(rank, GangPlan::slice);
  // Tiles go round the gangs: gang, gang + gangs, ..
  Value tileCount = arith::DivUIOp::create(b, loc, add(rows, GangPlan::tokens - 1), i64(GangPlan::tokens));
  Value all = arith::TruncIOp::create(b, loc, i32Type, tileCount);
  mine = arith::DivUIOp::create(b, loc, sub(add(all, sub(gangs, i32(1))), gang), gangs);
  exchange = bytes(workspace, mul(widen64(gang), plan.workspace));
  lateSums = bytes(exchange, plan.exchangeBytes);
}

void GangEmitter::initBarriers() {
  when(equal(thread, 0), [&] {
    for (int64_t i = 0; i < early(); ++i) {
      initBarrier(full(i32(i)), 1);
      initBarrier(empty(i32(i)), GangPlan::productWarps);
      initBarrier(done(i32(i)), GangPlan::secondWarps);
    }
    for (int64_t i = 0; i < plan.stages[GangPlan::other]; ++i)
      initBarrier(fullOther(i32(i)), 1);
    for (int64_t i = 0; i < keptStages(); ++i) {
      initBarrier(keptFull(i32(i)), GangPlan::firstWarps);
      initBarrier(keptEmpty(i32(i)), GangPlan::productWarps);
    }
    for (int64_t i = 0; i < GangPlan::givenStages; ++i) {
      initBarrier(given(i32(i)), 1);
      initBarrier(taken(i32(i)), GangPlan::secondWarps + GangPlan::productWarps);
    }
    for (int64_t i = 0; i < GangPlan::exchangeWarps; ++i)
      initBarrier(fetched(i32(i)), 1);
    store(i32(-1), bytes(shared, plan.finishedAt), 4);
    NVVM::FenceMbarrierInitOp::create(b, loc);
    prefetchMaps();
  });
  barrier();
}

Value GangEmitter::firstToken(Value tile) { return mul(add(gang, mul(tile, gangs)), GangPlan::tokens); }

void GangEmitter::enter(Value tile) {
  for (GangPlan::RingOf ring : {GangPlan::early, GangPlan::other, GangPlan::kept})
    if (plan.stageStreams[ring])
      stageBase[ring] = stageOf(ring, at(tile, ring).stage);
}

Value GangEmitter::homeOf(Value wide) {
  const GangPlan::Home &home = plan.homes.find(wide)->second;
  return bytes(stageBase[home.ring], home.first * GangPlan::streamBytes);
}

//===----------------------------------------------------------------------===//
// Memory that blocks exchange
//===----------------------------------------------------------------------===//

void GangEmitter::publish(MutableArrayRef<Parts> all, Value ring, Value place, int64_t count, Value parity) {
  when(holds(), [&] {
    Value token = add(mul(inRole, 4), bitAnd(laneOf, 3));
    Value row = add(mul(add(mul(place, plan.blocks), rank), GangPlan::tokens), token);
    Value to = bytes(ring, widen64(mul(row, count * 4)));
    for (Parts &parts : all)
      forEachSum(parts, [&](int64_t element, Value more, Value sum) {
        Value word = arith::OrIOp::create(b, loc, bitAnd(arith::BitcastOp::create(b, loc, b.getI32Type(), sum), -2), parity);
        LLVM::StoreOp::create(b, loc, word, bytes(bytes(to, element * 4), widen64(mul(more, 4))), /*alignment=*/4, /*isVolatile=*/false,
                              /*isNonTemporal=*/false,
                              /*isInvariantGroup=*/false, LLVM::AtomicOrdering::monotonic, "device");
      });
  });
}

//===----------------------------------------------------------------------===//
// The loader: one thread
//===----------------------------------------------------------------------===//

void GangEmitter::emitLoader() {
  int64_t ahead = hasOther() ? early() - plan.stages[GangPlan::other] : 0;
  auto loadRows = [&](GangPlan::RingOf ring, Value stage, Value tile, Value barrier) {
    stageBase[ring] = stageOf(ring, stage);
    for (auto [i, load] : llvm::enumerate(plan.rowLoads)) {
      if (plan.homes.lookup(load.getResult()).ring != ring)
        continue;
      SmallVector<Value> box{i32(0), firstToken(tile), i32(0), mul(rank, GangPlan::boxes)};
      NVVM::CpAsyncBulkTensorGlobalToSharedClusterOp::create(b, loc, homeOf(load.getResult()), maps[i], box, barrier, ValueRange{}, Value(), Value(),
                                                             NVVM::TMALoadMode::TILE, /*isCTAOnly=*/true, NVVM::CTAGroupKindAttr(), Value());
    }
  };
  // The products leave both rings at once: what frees the stage of `early` for a tile frees that of `other` for an earlier one.
  loop(i32(0), add(mine, ahead), i32(1), [&](Value tile) {
    Ring ring = at(tile, GangPlan::early);
    waitFree(empty(ring.stage), ring);
    when(less(tile, mine), [&] {
      Value barrier = full(ring.stage), first64 = widen64(firstToken(tile));
      Value count = i32(plan.loadedBytes[GangPlan::early]);
      // Rows past the last token arrive as zeros, and count. Coefficients are copied as far as they go, to whole 16 bytes (no memory ends between
      // them).
      Value valid = min(i64(GangPlan::tokens), sub(rows, first64));
      SmallVector<Value> sizes;
      for (auto [value, place] : plan.coefficients) {
        int64_t row = cast<NarrowType>(value.getType()).getNumElements() * 4;
        sizes.push_back(arith::TruncIOp::create(b, loc, b.getI32Type(), bitAnd(add(mul(valid, row), 15), -16)));
        count = add(count, sizes.back());
      }
      expect(barrier, count);
      loadRows(GangPlan::early, ring.stage, tile, barrier);
      Value to = bytes(shared, add(mul(ring.stage, plan.coefficientBytes), plan.coefficientsAt));
      for (auto [entry, size] : llvm::zip(plan.coefficients, sizes)) {
        auto inside =
            plan.loads.getBody().front().getTerminator()->getOperand(cast<OpResult>(entry.first).getResultNumber()).getDefiningOp<RowLoadOp>();
        Value source = pointers[cast<BlockArgument>(inside.getSource()).getArgNumber()];
        int64_t elements = cast<NarrowType>(entry.first.getType()).getNumElements();
        NVVM::CpAsyncBulkGlobalToSharedClusterOp::create(b, loc, bytes(to, entry.second), address(source, compute, mul(first64, elements)), barrier,
                                                         size, Value(), Value());
      }
    });
    if (hasOther()) {
      Value before = sub(tile, i32(ahead));
      when(arith::CmpIOp::create(b, loc, arith::CmpIPredicate::sge, before, i32(0)), [&] {
        Value stage = remainder(before, plan.stages[GangPlan::other]), barrier = fullOther(stage);
        expect(barrier, i32(plan.loadedBytes[GangPlan::other]));
        loadRows(GangPlan::other, stage, before, barrier);
      });
    }
  });
}

} // namespace mlir::mhc::nvgpu

namespace mlir::mhc {

static constexpr llvm::StringLiteral figures[] = {"group", "workspace"};

void setGangLaunch(LLVM::LLVMFuncOp function, GangLaunch launch) {
  Builder b(function.getContext());
  SmallVector<NamedAttribute> named;
  int64_t values[] = {launch.group, launch.workspace};
  for (auto [name, value] : llvm::zip(figures, values))
    named.push_back(b.getNamedAttr(name, b.getI64IntegerAttr(value)));
  function->setAttr("mhc.gang", b.getDictionaryAttr(named));
}

std::optional<GangLaunch> getGangLaunch(LLVM::LLVMFuncOp function) {
  auto gang = function->getAttrOfType<DictionaryAttr>("mhc.gang");
  if (!gang)
    return std::nullopt;
  auto number = [&](int i) { return gang.getAs<IntegerAttr>(figures[i]).getInt(); };
  return GangLaunch{number(0), number(1)};
}

} // namespace mlir::mhc
