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
    setRegisters(plan.firstRegisters);
    if (plan.first)
      emit(&GangEmitter::emitFirst);
  });
  role(second, GangPlan::secondWarps, [&] {
    setRegisters(plan.secondRegisters);
    emit(&GangEmitter::emitSecond);
  });
  role(products, GangPlan::productWarps, [&] {
    setRegisters(plan.productRegisters);
    if (plan.outer || plan.late)
      emitProducts();
  });
  role(service, GangPlan::serviceWarps, [&] {
    setRegisters(plan.serviceRegisters);
    Value service = inRole;
    if (plan.first)
      when(less(service, i32(GangPlan::exchangeWarps)), [&] { emit(&GangEmitter::emitExchange); });
    if (plan.late)
      when(equal(service, GangPlan::exchangeWarps), [&] { emit(&GangEmitter::emitLate); });
    when(equal(service, GangPlan::exchangeWarps + 1), [&] { emitMover(); });
  });
  LLVM::ReturnOp::create(b, loc, ValueRange{});
  return status;
}

void GangEmitter::begin() {
  GpuLaunch launch{GangPlan::tokens, GangPlan::threads, plan.sharedBytes};
  launch.maps.assign(plan.maps.begin(), plan.maps.end());
  launch.mapChannels = plan.channels;
  launch.boxes = GangPlan::boxes;
  launch.interleaved = plan.interleaved;
  beginFunction(launch, /*hasWorkspace=*/true);
  setGangLaunch(function, {plan.blocks, plan.workspace});
  beginGroups(plan.blocks, GangPlan::slice);
}

SmallVector<Value> GangEmitter::tiles(Value from, int64_t step, ValueRange carried, function_ref<void(Value, MutableArrayRef<Value>)> body) {
  SmallVector<Value *> names{&thread, &laneOf, &warp, &inRole, &rank, &group, &groups, &mine, &sliceStart, &shared};
  SmallVector<Value> outside = llvm::map_to_vector(names, [](Value *name) { return *name; });
  auto known = [&](Type type, int64_t at, int64_t alignment) -> Value {
    return LLVM::LoadOp::create(b, loc, type, bytes(shared, plan.knownAt + at), alignment, /*isVolatile=*/true);
  };
  SmallVector<Value> start{from};
  llvm::append_range(start, carried);
  auto loop = scf::WhileOp::create(
      b, loc, TypeRange(ValueRange(start)), start,
      [&](OpBuilder &, Location at, ValueRange values) {
        scf::ConditionOp::create(b, at, less(values[0], known(b.getI32Type(), 16, 4)), values);
      },
      [&](OpBuilder &, Location at, ValueRange values) {
        Value four = known(VectorType::get({4}, b.getI32Type()), 0, 16);
        thread = add(thread, lane(four, 0));
        laneOf = bitAnd(thread, warpSize - 1);
        warp = shiftRight(thread, 5);
        inRole = sub(warp, i32(roleFirst));
        rank = lane(four, 1);
        group = lane(four, 2);
        groups = lane(four, 3);
        mine = known(b.getI32Type(), 16, 4);
        shared = LLVM::IntToPtrOp::create(b, at, shared.getType(), known(b.getI64Type(), 24, 8));
        sliceStart = mul(rank, GangPlan::slice);
        SmallVector<Value> next(values);
        body(values[0], MutableArrayRef(next).drop_front());
        next[0] = add(values[0], step);
        scf::YieldOp::create(b, at, next);
      });
  for (auto [name, value] : llvm::zip(names, outside))
    *name = value;
  return llvm::to_vector_of<Value>(loop.getResults().drop_front());
}

void GangEmitter::initBarriers() {
  // What lies in the place of a coefficient is multiplied with zeros where there is no token, so it has to be a number (takeToken: what need not be one is taken as zero).
  Value zeros = vectorOf(SmallVector<Value>(4, i32(0)));
  loop(thread, i32(early() * plan.coefficientBytes / 16), i32(GangPlan::threads),
       [&](Value i) { store(zeros, bytes(shared, add(mul(i, 16), plan.coefficientsAt)), 16); });
  fenceShared();
  when(equal(thread, 0), [&] {
    for (int64_t i = 0; i < early(); ++i) {
      initBarrier(full(i32(i)), 1);
      initBarrier(done(i32(i)), GangPlan::secondWarps);
      initBarrier(empty(i32(i)), GangPlan::productWarps);
    }
    for (int64_t i = 0; i < plan.stages[GangPlan::other]; ++i)
      initBarrier(fullOther(i32(i)), 1);
    for (int64_t i = 0; i < keptStages(); ++i) {
      initBarrier(keptFull(i32(i)), GangPlan::firstWarps);
      initBarrier(keptEmpty(i32(i)), GangPlan::secondWarps + GangPlan::productWarps);
    }
    for (int64_t i = 0; i < GangPlan::givenStages; ++i) {
      initBarrier(given(i32(i)), 1);
      initBarrier(taken(i32(i)), GangPlan::secondWarps + GangPlan::productWarps);
    }
    for (int64_t i = 0; i < GangPlan::exchangeWarps; ++i)
      initBarrier(fetched(i32(i)), 1);
    store(i32(-1), bytes(shared, plan.finishedAt), 4);
    store(vectorOf({i32(0), rank, group, groups}), bytes(shared, plan.knownAt), 16);
    store(mine, bytes(shared, plan.knownAt + 16), 4);
    store(LLVM::PtrToIntOp::create(b, loc, b.getI64Type(), shared), bytes(shared, plan.knownAt + 24), 8);
    NVVM::FenceMbarrierInitOp::create(b, loc);
    prefetchMaps();
  });
  barrier();
}

void GangEmitter::enter(Value tile) {
  present = tile;
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

void GangEmitter::publish(MutableArrayRef<Parts> all, Value place, Value parity) {
  when(holds(), [&] {
    Value row = add(mul(add(mul(place, plan.blocks), rank), GangPlan::tokens), tokenOfSums());
    Value to = bytes(exchange(), widen64(mul(row, plan.sumCount * 4)));
    for (Parts &parts : all)
      forEachSum(parts, [&](int64_t element, Value more, Value sum) {
        Value word = withParity(sum, parity);
        LLVM::StoreOp::create(b, loc, word, bytes(bytes(to, element * 4), widen64(mul(more, 4))), /*alignment=*/4, /*isVolatile=*/false,
                              /*isNonTemporal=*/false, /*isInvariantGroup=*/false, LLVM::AtomicOrdering::monotonic, "device");
      });
  });
}

static constexpr int64_t lateStep = warpSize * 16; ///< bytes of late sums that the warp has at a time

SmallVector<SmallVector<Value>> GangEmitter::takeLate(Value tile) {
  Value from = coefficientsAt(at(tile, GangPlan::early).stage);
  SmallVector<SmallVector<Value>> taken;
  int64_t size = plan.lateBytes();
  for (int64_t first = 0; first < size; first += lateStep) {
    // Lanes past the end take the last words, and send none.
    Value four = load(VectorType::get({4}, b.getI32Type()), bytes(from, min(add(mul(laneOf, 16), first), i32(size - 16))), 16);
    SmallVector<Value> &words = taken.emplace_back();
    for (int64_t i = 0; i < 4; ++i)
      words.push_back(lane(four, i));
  }
  return taken;
}

void GangEmitter::publishLate(Value tile, ArrayRef<SmallVector<Value>> taken) {
  // The place of these sums is free when its last round has been added up: see the plan.
  Value finished = bytes(shared, plan.finishedAt), behind = sub(sub(tile, i32(plan.lateLag)), rank);
  when(arith::CmpIOp::create(b, loc, arith::CmpIPredicate::sge, behind, i32(0)), [&] {
    Value needed = add(mul(divide(behind, plan.blocks), plan.blocks), rank);
    scf::WhileOp::create(
        b, loc, TypeRange{}, ValueRange{},
        [&](OpBuilder &, Location at, ValueRange) {
          Value last = LLVM::LoadOp::create(b, at, b.getI32Type(), finished, 4, /*isVolatile=*/true);
          scf::ConditionOp::create(b, at, less(last, needed), ValueRange{});
        },
        [&](OpBuilder &, Location at, ValueRange) { scf::YieldOp::create(b, at); });
  });
  syncWarp();
  int64_t size = plan.lateBytes();
  Value parity = bitAnd(divide(tile, plan.lateTiles), 1);
  Value to = bytes(lateSums(), widen64(mul(add(mul(remainder(tile, plan.lateTiles), plan.blocks), rank), size)));
  for (auto [i, four] : llvm::enumerate(taken)) {
    Value at = add(mul(laneOf, 16), i * lateStep);
    when(less(at, i32(size)), [&] {
      SmallVector<Value> words = llvm::map_to_vector(four, [&](Value word) { return withParity(word, parity); });
      storeWords(words, bytes(to, widen64(at)));
    });
  }
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
