//===- GangNarrow.cpp - sums of the blocks and narrow code of a gang --------===//
//
// Lanes l and l + 16 are token l of the tile; they add up the even and the odd blocks' sums, and run the same narrow code. Only the first of them
// counts.
//
//===----------------------------------------------------------------------===//

#include "GangEmitter.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace mlir::mhc::nvgpu {

SmallVector<Value> GangEmitter::collect(Value ring, Value place, int64_t count, Value parity, bool patient) {
  Value token = bitAnd(laneOf, 15), half = shiftRight(laneOf, 4);
  Value base = bytes(ring, widen64(mul(add(mul(place, plan.blocks * GangPlan::tokens), token), count * 4)));
  // As many at a time as there are registers for; a lane has every second block.
  int64_t rounds = llvm::divideCeil(plan.blocks, 2), quads = count / 4, most = std::max<int64_t>(1, 10 / quads);
  int64_t batches = llvm::divideCeil(rounds, most), here = llvm::divideCeil(rounds, batches);
  SmallVector<Value> zeros(count, f32(0.0));
  SmallVector<Value> sums = rolled(batches, zeros, [&](Value batch, ValueRange before) {
    SmallVector<Value> blocks;
    for (int64_t n = 0; n < here; ++n)
      blocks.push_back(add(add(half, mul(batch, 2 * here)), 2 * n));
    auto loadAll = [&] {
      SmallVector<Value> words;
      for (Value block : blocks) {
        Value row = bytes(base, widen64(mul(min(block, i32(plan.blocks - 1)), GangPlan::tokens * count * 4)));
        for (int64_t quad = 0; quad < quads; ++quad)
          llvm::append_range(words, loadWords(bytes(row, quad * 16)));
      }
      return words;
    };
    auto again = scf::WhileOp::create(
        b, loc, SmallVector<Type>(here * count, b.getI32Type()), ValueRange{},
        [&](OpBuilder &, Location at, ValueRange) {
          SmallVector<Value> found = loadAll();
          scf::ConditionOp::create(b, at, lacks(found, parity), found);
        },
        [&](OpBuilder &, Location at, ValueRange) {
          if (patient)
            LLVM::InlineAsmOp::create(b, at, TypeRange{}, ValueRange{}, "nanosleep.u32 500;", "", /*has_side_effects=*/true, /*is_align_stack=*/false,
                                      LLVM::TailCallKind::None, LLVM::AsmDialectAttr(), ArrayAttr());
          scf::YieldOp::create(b, at);
        });
    SmallVector<Value> next(before);
    for (int64_t n = 0; n < here; ++n)
      for (int64_t e = 0; e < count; ++e) {
        Value value = numberOf(again.getResult(n * count + e));
        if (2 * batches * here > plan.blocks)
          value = select(less(blocks[n], i32(plan.blocks)), value, f32(0.0));
        next[e] = addFloat(next[e], value);
      }
    return next;
  });
  for (Value &sum : sums)
    sum = addFloat(sum, shuffle(sum, 16));
  return sums;
}

void GangEmitter::bindSums(PhaseOp phase, ArrayRef<std::pair<RowDotOp, int64_t>> dots, ArrayRef<Value> sums) {
  for (auto [result, inside] : llvm::zip(phase.getResults(), phase.getBody().front().getTerminator()->getOperands()))
    for (auto [dot, first] : dots)
      if (inside == dot.getResult())
        scalars[result] = SmallVector<Value>(sums.slice(first, cast<NarrowType>(result.getType()).getNumElements()));
}

/// Of the narrow phase itself, or of the coefficients of before: loaded or computed when they are asked for.
SmallVector<Value> GangEmitter::narrowElements(Value narrow) {
  if (auto found = scalars.find(narrow); found != scalars.end())
    return found->second;
  SmallVector<Value> values;
  if (plan.loads && narrow.getDefiningOp() == plan.loads) {
    values = narrowElements(plan.loads.getBody().front().getTerminator()->getOperand(cast<OpResult>(narrow).getResultNumber()));
  } else if (auto found = plan.fetched.find(narrow.getDefiningOp()); scratchOf && found != plan.fetched.end()) {
    values = loadRow(cast<RowLoadOp>(found->first), bytes(scratchOf, found->second), bitAnd(laneOf, 15));
  } else if (Operation *op = narrow.getDefiningOp(); op && succeeded(emitNarrowOp(*op))) {
    return scalars.lookup(narrow);
  }
  scalars[narrow] = values;
  return values;
}

/// Asks for the coefficients of a tile, into the warp's own memory: lane 0.
void GangEmitter::fetch(Value tile, Value scratch) {
  SmallVector<std::pair<RowLoadOp, Value>> copies;
  for (auto [op, place] : plan.fetched)
    copies.push_back({cast<RowLoadOp>(op), bytes(scratch, place)});
  copyCoefficients(copies, widen64(firstToken(tile)), fetched(inRole));
}

/// Moves what does not follow from `mark` in front of it: pure code, loads of what is there by then, and stores of a slot's pieces.
static void moveBefore(Operation *mark) {
  llvm::DenseSet<Operation *> stays{mark};
  for (Operation *op = mark->getNextNode(), *next; op; op = next) {
    next = op->getNextNode();
    auto load = dyn_cast<LLVM::LoadOp>(op);
    // Loads may pass what is stored here: a slot, which nobody loads from. A token's own memory is another thing.
    bool isPrivate = op->walk([](Operation *inside) { return isa<memref::LoadOp, memref::StoreOp>(inside) ? WalkResult::interrupt() : WalkResult::advance(); }).wasInterrupted();
    bool moves = !isPrivate && (isMemoryEffectFree(op) || (load && !load.getVolatile_()) || isa<scf::IfOp>(op));
    op->walk([&](Operation *inside) {
      moves &= llvm::none_of(inside->getOperands(), [&](Value operand) { return stays.contains(operand.getDefiningOp()); });
    });
    if (moves)
      op->moveBefore(mark);
    else
      stays.insert(op);
  }
}

/// Into a slot: the factors of phi as high and low parts of bf16, zeros for tokens that do not exist; other results as they are.
void GangEmitter::give(Value slot, Value given) {
  auto yielded = [&](Value result) {
    return narrowElements(plan.narrow.getBody().front().getTerminator()->getOperand(cast<OpResult>(result).getResultNumber()));
  };
  SmallVector<Value> factors, all = yielded(given);
  for (int64_t first = 0; first < plan.groups * plan.columns; first += plan.columns) {
    for (Value factor : ArrayRef(all).slice(first, plan.columns))
      factors.push_back(select(live, factor, f32(0.0)));
    factors.resize(llvm::alignTo(factors.size(), 8), f32(0.0));
  }
  SmallVector<SmallVector<Value>> others;
  for (auto [result, place] : plan.results)
    others.push_back(yielded(result));
  Value token = bitAnd(laneOf, 15), mask = bitAnd(shiftRight(token, 1), 3), first = less(laneOf, i32(GangPlan::tokens));
  for (int64_t p = 0; p < plan.allPieces(); ++p) {
    width = 8;
    Value all = vectorOf(ArrayRef(factors).slice(p * 8, 8));
    Rounded high = round(all, b.getBF16Type());
    Value low = round(arith::SubFOp::create(b, loc, all, high.widened), b.getBF16Type()).stored;
    Value to = bytes(slot, add(mul(token, 64), mul(exclusiveOr(mask, i32(p)), 16)));
    when(first, [&] {
      store(high.stored, to, 16);
      store(low, bytes(to, GangPlan::partBytes), 16);
    });
  }
  width = 1;
  when(first, [&] {
    Value row = bytes(bytes(slot, 2 * GangPlan::partBytes), mul(token, plan.resultCount * 4));
    int64_t at = 0;
    for (ArrayRef<Value> values : others)
      for (Value value : values)
        store(value, bytes(row, 4 * at++), 4);
  });
}

LogicalResult GangEmitter::emitExchange() {
  Block &block = plan.narrow.getBody().front();
  auto scratchOfWarp = [&] { return bytes(shared, add(mul(inRole, plan.fetchedBytes), plan.fetchedAt)); };
  auto totalsOfLane = [&] {
    return bytes(bytes(shared, plan.totalsAt), mul(add(mul(inRole, plan.totals * GangPlan::tokens), bitAnd(laneOf, 15)), 4));
  };
  when(less(laneOf, i32(GangPlan::tokens)), [&] {
    Value totals = totalsOfLane();
    for (int64_t e = 0; e < plan.totals; ++e)
      store(f32(0.0), bytes(totals, e * GangPlan::tokens * 4), 4);
  });
  when(arith::AndIOp::create(b, loc, equal(laneOf, 0), less(inRole, mine)), [&] { fetch(inRole, scratchOfWarp()); });
  LogicalResult status = success();
  auto exchangeTile = [&](Value tile) {
    Value scratch = scratchOfWarp(), leader = equal(laneOf, 0), first = less(laneOf, i32(GangPlan::tokens));
    Ring slot = at(tile, GangPlan::givenStages);
    Value number = add(widen64(firstToken(tile)), widen64(bitAnd(laneOf, 15))), exists = less(number, rows);
    token64 = select(exists, number, sub(rows, i64(1)));
    live = arith::AndIOp::create(b, loc, first, exists);
    wait(fetched(inRole), bitAnd(shiftRight(tile, llvm::Log2_64(GangPlan::exchangeWarps)), 1));
    waitFree(taken(slot.stage), slot);
    beginChunk(1);
    scalars.clear();
    scratchOf = scratch;
    Value round = bitAnd(tile, GangPlan::exchanges - 1), parity = bitAnd(shiftRight(tile, llvm::Log2_64(GangPlan::exchanges)), 1);
    // First what the rows wait for, and of this what the sums have nothing to do with before them.
    SmallVector<Value> collected;
    if (plan.waits()) {
      Operation *mark = &*std::prev(b.getInsertionPoint());
      // Those of the other blocks come when this block's come: before, looking for them only takes the rows' way through the second-level cache.
      Ring kept = at(tile, GangPlan::kept);
      wait(keptFull(kept.stage), kept.parity);
      collected = collect(exchange(), round, plan.sumCount, parity, /*patient=*/false);
      bindSums(plan.first, plan.dots, collected);
      for (mark = mark->getNextNode(); !isa<scf::WhileOp>(mark);)
        mark = mark->getNextNode();
      give(givenAt(slot.stage), plan.given);
      moveBefore(mark);
    } else {
      give(givenAt(slot.stage), plan.given);
    }
    syncWarp();
    when(leader, [&] { arriveAlone(given(slot.stage)); });
    // The rest, in one block alone. It begins from the coefficients again: values that are kept across the loop that looks for sums leave that no
    // registers.
    when(equal(rank, 0), [&] {
      scalars.clear();
      if (plan.waits())
        bindSums(plan.first, plan.dots, collected);
      for (Operation &op : block.without_terminator()) {
        bool isKnown = op.getNumResults() && llvm::all_of(op.getResults(), [&](Value result) { return scalars.count(result); });
        if (!isKnown && !isa<RowSumTokensOp>(op) && succeeded(status))
          status = emitNarrowOp(op);
      }
      SmallVector<Value> summed;
      for (auto [op, place] : plan.sums)
        llvm::append_range(summed, narrowElements(op.getValue()));
      when(first, [&] {
        Value totals = totalsOfLane();
        for (auto [e, value] : llvm::enumerate(summed)) {
          Value at = bytes(totals, e * GangPlan::tokens * 4);
          store(addFloat(load(compute, at, 4), select(live, value, f32(0.0))), at, 4);
        }
      });
    });
    syncWarp();
    when(arith::AndIOp::create(b, loc, leader, less(add(tile, GangPlan::exchangeWarps), mine)),
         [&] { fetch(add(tile, GangPlan::exchangeWarps), scratch); });
    scratchOf = Value();
  };
  tiles(inRole, GangPlan::exchangeWarps, {}, [&](Value tile, MutableArrayRef<Value>) { exchangeTile(tile); });
  if (plan.totals)
    finishTotals();
  return status;
}

/// The gang's sums over its tokens: warps, then tokens of the tile, in their order.
void GangEmitter::finishTotals() {
  together(exchangeBarrier, GangPlan::exchangeWarps);
  Value mineOf = add(mul(inRole, warpSize), laneOf);
  when(equal(rank, 0), [&] {
    for (auto [op, place] : plan.sums) {
      int64_t count = cast<NarrowType>(op.getValue().getType()).getNumElements();
      Value target = address(pointers[cast<BlockArgument>(op.getTarget()).getArgNumber()], compute, mul(widen64(group), count));
      for (int64_t done = 0; done < count; done += GangPlan::exchangeWarps * warpSize) {
        Value e = add(mineOf, done);
        when(less(e, i32(count)), [&] {
          Value row = bytes(bytes(shared, plan.totalsAt + place * GangPlan::tokens * 4), mul(e, GangPlan::tokens * 4)), sum;
          for (int64_t warp = 0; warp < GangPlan::exchangeWarps; ++warp)
            for (int64_t token = 0; token < GangPlan::tokens; ++token) {
              Value part = load(compute, bytes(row, (warp * plan.totals * GangPlan::tokens + token) * 4), 4);
              sum = sum ? addFloat(sum, part) : part;
            }
          store(sum, address(target, compute, widen64(e)), 4);
        });
      }
    }
  });
}

/// Memory of narrow code: that of the late code in shared memory, as the plan has found room. Both lanes of a token store the same values there, each
/// place once a tile.
Value GangEmitter::allocate(MemRefType type) {
  int64_t size = GangPlan::lateBytesOf(type);
  if (size > lateMemory)
    return TileEmitter::allocate(type);
  Value start = bytes(bytes(shared, plan.lateMemoryAt + plan.lateMemoryBytes - lateMemory), mul(bitAnd(laneOf, 15), 4));
  lateMemory -= size;
  // As a memref of which an element's neighbour is that of the next token.
  SmallVector<int64_t> strides(type.getRank(), GangPlan::tokens);
  for (int64_t i = type.getRank() - 1; i-- > 0;)
    strides[i] = strides[i + 1] * type.getDimSize(i + 1);
  auto layout = StridedLayoutAttr::get(b.getContext(), 0, strides);
  auto placed = MemRefType::get(type.getShape(), type.getElementType(), layout, b.getI64IntegerAttr(3));
  Type i64Type = b.getI64Type(), array = LLVM::LLVMArrayType::get(i64Type, type.getRank());
  Value descriptor = LLVM::PoisonOp::create(b, loc, LLVM::LLVMStructType::getLiteral(b.getContext(), {start.getType(), start.getType(), i64Type, array, array}));
  auto set = [&](Value value, ArrayRef<int64_t> at) { descriptor = LLVM::InsertValueOp::create(b, loc, descriptor, value, at); };
  set(start, {0});
  set(start, {1});
  set(i64(0), {2});
  for (int64_t i = 0; i < type.getRank(); ++i) {
    set(i64(type.getDimSize(i)), {3, i});
    set(i64(strides[i]), {4, i});
  }
  return UnrealizedConversionCastOp::create(b, loc, placed, descriptor).getResult(0);
}

LogicalResult GangEmitter::emitLate() {
  LogicalResult status = success();
  auto finishTile = [&](Value tile) {
    Value finished = bytes(shared, plan.finishedAt), first = less(laneOf, i32(GangPlan::tokens));
    Value number = add(widen64(firstToken(tile)), widen64(bitAnd(laneOf, 15))), exists = less(number, rows);
    token64 = select(exists, number, sub(rows, i64(1)));
    live = arith::AndIOp::create(b, loc, first, exists);
    beginChunk(1);
    scalars.clear();
    scratchOf = Value();
    Value parity = bitAnd(divide(tile, plan.lateTiles), 1);
    bindSums(plan.second, plan.lateDots, collect(lateSums(), remainder(tile, plan.lateTiles), plan.lateCount, parity, /*patient=*/true));
    syncWarp();
    when(equal(laneOf, 0), [&] { LLVM::StoreOp::create(b, loc, tile, finished, 4, /*isVolatile=*/true); });
    lateMemory = plan.lateMemoryBytes;
    for (Operation &op : plan.late.getBody().front().without_terminator())
      if (succeeded(status))
        status = emitNarrowOp(op);
    lateMemory = 0;
  };
  tiles(rank, plan.blocks, {}, [&](Value tile, MutableArrayRef<Value>) { finishTile(tile); });
  return status;
}

} // namespace mlir::mhc::nvgpu
