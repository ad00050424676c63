//===- SimpleRows.cpp - stores and reductions over the channels -------------===//

#include "SimpleEmitter.h"

#include <numeric>

namespace mlir::mhc::nvgpu {

/// Coefficients of mix and the like that are held in registers over the loop.
static constexpr int64_t scalarLimit = 48;

LogicalResult SimpleEmitter::emitRows(const Nest &rowNest) {
  nest = &rowNest;
  keepInLoop = rowNest.scalars * rowNest.tokens > scalarLimit;
  int64_t count = rowNest.tokens;
  LogicalResult status = success();
  loop(mul(warp, count), valid, i32(warps * count), [&](Value first) {
    width = rowNest.width;
    SmallVector<Token> tokens(count);
    Value last = sub(valid, i32(1));
    for (auto [i, each] : llvm::enumerate(tokens)) {
      Value number = add(first, i);
      each.local = i ? min(number, last) : number;
      each.row = add(tileStart, widen64(each.local));
      if (i)
        each.live = less(number, valid);
      for (Operation *op : rowNest.ops)
        locate(op, each);
    }
    SmallVector<Value> sums;
    for (const Unit &unit : rowNest.units) {
      auto reduce = dyn_cast<RowReduceOp>(unit.op);
      bool isMax = reduce && reduce.getKind() == ReduceKind::max;
      sums.append((unit.end - unit.begin) * count, f32(isMax ? -std::numeric_limits<double>::infinity() : 0.0));
    }
    sums = loop(mul(laneOf, width), i32(channels), i32(warpSize * width), sums, [&](Value c, ValueRange carried) {
      chunk = c;
      accumulators = llvm::to_vector_of<Value>(carried);
      status = emitRowChunk(rowNest, tokens);
      return accumulators;
    });
    if (succeeded(status))
      finishRows(rowNest, first, sums);
  });
  token = nullptr;
  keepInLoop = false;
  return status;
}

/// One chunk of all tokens. What multiplies parameters waits until the chunk of every token is there, and so do the
/// stores: then nothing stands between the loads.
LogicalResult SimpleEmitter::emitRowChunk(const Nest &rowNest, MutableArrayRef<Token> tokens) {
  DenseMap<Operation *, SmallVector<SmallVector<Value>>> waiting, early;
  for (Operation *op : rowNest.ops)
    if (auto project = dyn_cast<RowProjectTOp>(op))
      early[op] = multiplyT(project, tokens);
  for (auto [i, each] : llvm::enumerate(tokens)) {
    token = &each;
    tokenIndex = i;
    beginChunk(width);
    for (Operation *op : rowNest.ops) {
      loc = op->getLoc();
      if (isa<RowProjectTOp>(op))
        bindComputed(op->getResult(0), early[op][i]);
      else if (auto project = dyn_cast<RowProjectOp>(op))
        waiting[op].push_back(llvm::to_vector(computed(project.getValue())));
      else if (auto store = dyn_cast<RowStoreOp>(op))
        waiting[op].push_back(llvm::to_vector(stored(store.getValue())));
      else if (failed(emitWide(op)))
        return failure();
    }
  }
  int64_t output = 0;
  for (const Unit &unit : rowNest.units) {
    loc = unit.op->getLoc();
    if (isa<RowProjectOp>(unit.op))
      emitProject(unit, output, waiting[unit.op]);
    output += unit.end - unit.begin;
  }
  for (auto [i, each] : llvm::enumerate(tokens)) {
    token = &each;
    auto write = [&, i = i] {
      for (const Unit &unit : rowNest.units)
        if (auto store = dyn_cast<RowStoreOp>(unit.op))
          storeStreams(store, waiting[store][i]);
    };
    if (!llvm::any_of(rowNest.units, [](const Unit &unit) { return isa<RowStoreOp>(unit.op); }))
      break;
    if (each.live)
      when(each.live, write);
    else
      write();
  }
  return success();
}

/// project_t of all tokens, which share the weights: of each token the streams. It is a loop over the columns;
/// unrolled, LLVM would hold all weights in registers.
SmallVector<SmallVector<Value>> SimpleEmitter::multiplyT(RowProjectTOp op, ArrayRef<Token> tokens) {
  loc = op.getLoc();
  Value weight = op.getWeight(), narrow = op.getValue();
  auto type = cast<MemRefType>(weight.getType());
  Shape shape = shapeOf(op);
  int64_t streams = shape.groups * shape.inGroup;
  SmallVector<Value> sums(tokens.size() * streams, floatConstant(0.0));
  // `count` columns from `column`, or from the loop's.
  auto multiply = [&](int64_t column, int64_t count, Value more) {
    for (int64_t s = 0; s < shape.inGroup; ++s) {
      SmallVector<Value> weights;
      if (op.getTransposed()) {
        Value base = address(pointer(weight), compute, mul(chunk, shape.channelStride));
        if (more)
          base = address(base, compute, mul(widen64(more), shape.k));
        int64_t alignment = shape.channelStride > 1 ? 4 : std::gcd(std::gcd(argumentAlignment(type), shape.k * 4), width * 4);
        for (int64_t m = 0; m < count; ++m) {
          Value place = address(base, compute, (column + m) * shape.k + s * shape.streamStride);
          weights.push_back(load(lanes(compute), place, alignment));
        }
      } else {
        SmallVector<SmallVector<Value>> rows;
        for (int64_t j = 0; j < width; ++j)
          rows.push_back(loadColumns(weight, shape, s, j, column, count, more));
        for (int64_t m = 0; m < count; ++m)
          weights.push_back(vectorOf(llvm::map_to_vector(rows, [&](ArrayRef<Value> row) { return row[m]; })));
      }
      for (auto [i, each] : llvm::enumerate(tokens))
        for (int64_t g = 0; g < shape.groups; ++g)
          for (int64_t m = 0; m < count; ++m) {
            Value &sum = sums[i * streams + g * shape.inGroup + s];
            sum = fma(splat(narrowAt(narrow, g * shape.columns + column + m, each.local, more)), weights[m], sum);
          }
    }
  };
  int64_t whole = shape.columns / 4 * 4;
  if (whole)
    sums = loop(i32(0), i32(whole), i32(4), sums, [&](Value m, ValueRange carried) {
      sums = llvm::to_vector_of<Value>(carried);
      multiply(0, 4, m);
      return sums;
    });
  if (whole != shape.columns)
    multiply(whole, shape.columns - whole, Value());
  SmallVector<SmallVector<Value>> results;
  for (size_t i = 0; i < tokens.size(); ++i)
    results.push_back(llvm::to_vector(ArrayRef(sums).slice(i * streams, streams)));
  return results;
}

/// reduce and dot: the outputs of the nest's units, in the present token.
void SimpleEmitter::emitReduction(Operation *op) {
  int64_t output = 0;
  for (const Unit &unit : nest->units) {
    if (unit.op != op) {
      output += unit.end - unit.begin;
      continue;
    }
    for (int64_t e = unit.begin; e < unit.end; ++e, ++output) {
      Value &sum = accumulators[output * nest->tokens + tokenIndex];
      if (auto dot = dyn_cast<RowDotOp>(op)) {
        int64_t right = dot.getRhs().getType().getStreams();
        Value x = computed(dot.getLhs())[e / right], y = computed(dot.getRhs())[e % right];
        for (int64_t j = 0; j < width; ++j)
          sum = LLVM::FMAOp::create(b, loc, lane(x, j), lane(y, j), sum);
        continue;
      }
      auto reduce = cast<RowReduceOp>(op);
      SmallVector<Value> streams = llvm::to_vector(computed(reduce.getValue()));
      bool isMax = reduce.getKind() == ReduceKind::max;
      if (reduce.getResult().getType().getNumElements() != 1 || streams.size() == 1)
        streams = {streams[e]};
      for (Value stream : streams)
        for (int64_t j = 0; j < width; ++j)
          sum = isMax ? maxFloat(sum, lane(stream, j)) : addFloat(sum, lane(stream, j));
    }
  }
}

/// `values`: of each token the wide value, by stream.
void SimpleEmitter::emitProject(const Unit &unit, int64_t firstOutput, ArrayRef<SmallVector<Value>> values) {
  auto op = cast<RowProjectOp>(unit.op);
  Shape shape = shapeOf(op);
  int64_t from = 0, to = shape.columns;
  if ((unit.end - 1) / shape.columns == unit.begin / shape.columns) {
    from = unit.begin % shape.columns;
    to = (unit.end - 1) % shape.columns + 1;
  }
  auto multiply = [&](int64_t stream, int64_t j, function_ref<Value(int64_t)> weight) {
    for (int64_t e = unit.begin; e < unit.end; ++e)
      for (auto [i, value] : llvm::enumerate(values)) {
        Value &sum = accumulators[(firstOutput + e - unit.begin) * nest->tokens + i];
        Value x = lane(value[e / shape.columns * shape.inGroup + stream], j);
        sum = LLVM::FMAOp::create(b, loc, x, weight(e % shape.columns), sum);
      }
  };
  for (int64_t stream = 0; stream < shape.inGroup; ++stream) {
    if (!op.getTransposed()) {
      for (int64_t j = 0; j < width; ++j) {
        SmallVector<Value> weights = loadColumns(op.getWeight(), shape, stream, j, from, to - from);
        multiply(stream, j, [&](int64_t m) { return weights[m - from]; });
      }
      continue;
    }
    SmallVector<Value> weights;
    for (int64_t m = from; m < to; ++m)
      weights.push_back(loadWeight(op.getWeight(), shape, stream, m));
    for (int64_t j = 0; j < width; ++j)
      multiply(stream, j, [&](int64_t m) { return lane(weights[m - from], j); });
  }
}

void SimpleEmitter::finishRows(const Nest &rowNest, Value firstToken, ArrayRef<Value> sums) {
  for (bool isMax : {false, true}) {
    SmallVector<Value> values;
    int64_t slot = -1, next = 0;
    for (const Unit &unit : rowNest.units) {
      int64_t count = (unit.end - unit.begin) * rowNest.tokens;
      auto reduce = dyn_cast<RowReduceOp>(unit.op);
      if (count && (reduce && reduce.getKind() == ReduceKind::max) == isMax) {
        if (slot < 0)
          slot = narrows.find(unit.op->getResult(0))->second.slot + unit.begin;
        llvm::append_range(values, sums.slice(next, count));
      }
      next += count;
    }
    if (!values.empty())
      sumOverWarp(values, isMax, slot, rowNest.tokens, firstToken);
  }
}

/// Adds values up over the lanes and writes them to shared memory; value number i is output i / tokens (counted from
/// `slot`) of token i % tokens. In each of the five steps two lanes share the work: one goes on with the first half of
/// the values, the other with the second.
void SimpleEmitter::sumOverWarp(ArrayRef<Value> values, bool isMax, int64_t slot, int64_t tokens, Value firstToken) {
  auto combine = [&](Value x, Value y) { return isMax ? maxFloat(x, y) : addFloat(x, y); };
  struct Step {
    Value upper; ///< whether this lane goes on with the second half
    int64_t count, half;
  };
  SmallVector<Step> steps;
  SmallVector<Value> left(values);
  for (int64_t distance = warpSize / 2; distance > 0; distance /= 2) {
    Value upper = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ne, bitAnd(laneOf, distance), i32(0));
    int64_t count = left.size(), half = (count + 1) / 2;
    steps.push_back({upper, count, half});
    SmallVector<Value> next;
    for (int64_t i = 0; i < half; ++i) {
      if (i + half >= count) {
        next.push_back(combine(left[i], shuffle(left[i], distance)));
        continue;
      }
      Value keep = arith::SelectOp::create(b, loc, upper, left[i + half], left[i]);
      Value send = arith::SelectOp::create(b, loc, upper, left[i], left[i + half]);
      next.push_back(combine(keep, shuffle(send, distance)));
    }
    left = std::move(next);
  }
  for (auto [i, value] : llvm::enumerate(left)) {
    // Which value this is, backwards through the steps. Lanes that have the same one write the same.
    Value number = i32(i);
    for (const Step &step : llvm::reverse(steps)) {
      if (step.count == 1)
        continue;
      Value upper = step.upper;
      if (step.count % 2)
        upper = arith::AndIOp::create(b, loc, upper, less(number, i32(step.count - step.half)));
      number = add(number, arith::SelectOp::create(b, loc, upper, i32(step.half), i32(0)));
    }
    Value place =
        add(mul(shiftRight(number, llvm::Log2_64(tokens)), tile), add(firstToken, bitAnd(number, tokens - 1)));
    store(value, address(address(shared, compute, place), compute, slot * tile), 4);
  }
}

} // namespace mlir::mhc::nvgpu
