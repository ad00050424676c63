//===- GangProducts.cpp - tensor cores of a gang ----------------------------===//
//
// Products of rows: a warp has four tokens. Rows of the first operand are (stream, token), columns of the second one (token, stream); of the 16 x 8
// products those are wanted where both tokens are the same, which eight lanes hold. Accumulators are [pair of columns][4].
// Interleaved, a piece of 16 bytes has two channels of four streams, which a lane takes apart: these are its registers of both operands, if rows are
// (stream of two, token of eight) and columns tokens of eight, of one stream. A warp has eight tokens and two streams of the second operand; what has
// but one, both warps of the tokens multiply. Accumulators are [stream of the second operand][two streams of the first][4].
// phi's gradient: a warp has a stream, x transposed times the
// coefficients' gradients, 16 tokens at once; where the streams share phi, a quarter of the slice.
//
//===----------------------------------------------------------------------===//

#include "GangEmitter.h"

namespace mlir::mhc::nvgpu {

static constexpr int64_t steps = GangPlan::slice / 16;

static int64_t streamsOf(Value wide) { return cast<WideType>(wide.getType()).getStreams(); }
static Value many(RowDotOp dot) { return streamsOf(dot.getLhs()) == GangPlan::streams ? dot.getLhs() : dot.getRhs(); }
static Value partner(RowDotOp dot) { return streamsOf(dot.getLhs()) == GangPlan::streams ? dot.getRhs() : dot.getLhs(); }

SmallVector<GangEmitter::Parts> GangEmitter::multiplyApart(ArrayRef<std::pair<RowDotOp, int64_t>> dots) {
  Value part = shiftRight(inRole, 1), row = shiftRight(laneOf, 2), quarter = bitAnd(laneOf, 3), second = equal(part, 1);
  Value token = tokenOfSums();
  SmallVector<Parts> all;
  for (auto [dot, first] : dots)
    all.push_back({dot, first, SmallVector<SmallVector<Value>>(2 * (streamsOf(partner(dot)) == 1 ? 1 : 2), SmallVector<Value>(4, f32(0.0)))});
  // Two channels that a lane has of 16: tokens of odd number have those of the second half first, so that eight lanes meet in no bank. Of products of
  // a token with itself both operands have the same.
  Value pair = add(quarter, mul(bitAnd(row, 1), 4));
  auto both = [&](Value place, int64_t apart, function_ref<void(Value)> take) {
    take(place);
    take(exclusiveOr(place, i32(apart)));
  };
  for (int64_t step = 0; step < steps; ++step) {
    llvm::MapVector<Value, SmallVector<Value>> loaded; // [half of the step][word]
    auto wordsOf = [&](Value wide) -> ArrayRef<Value> {
      SmallVector<Value> &words = loaded[wide];
      if (!words.empty())
        return words;
      const bool single = streamsOf(wide) == 1;
      Value home = bytes(homeOf(wide), (single ? step / 4 : step) * GangPlan::boxBytes);
      Value piece = single ? add(shiftRight(pair, 2), step % 4 * 2) : pair;
      Value place = add(mul(exclusiveOr(piece, row), 16), single ? mul(quarter, 4) : i32(0));
      both(place, single ? 16 : 64, [&](Value at) {
        Value found = load(single ? Type(b.getI32Type()) : Type(VectorType::get({4}, b.getI32Type())), bytes(bytes(home, mul(token, 128)), at), single ? 4 : 16);
        for (int64_t i = 0; i < (single ? 1 : 4); ++i)
          words.push_back(single ? found : lane(found, i));
      });
      return words;
    };
    for (Parts &parts : all) {
      SmallVector<Value> x(wordsOf(many(parts.dot))), y(wordsOf(partner(parts.dot)));
      const int64_t others = parts.sums.size() / 2;
      for (int64_t other = 0; other < others; ++other) {
        SmallVector<Value> right;
        for (int64_t half = 0; half < 2; ++half)
          right.push_back(others == 1 ? y[half] : halves(select(second, y[4 * half + 1], y[4 * half]), select(second, y[4 * half + 3], y[4 * half + 2]), other));
        for (int64_t two = 0; two < 2; ++two) {
          SmallVector<Value> left;
          for (int64_t half = 0; half < 2; ++half)
            for (bool high : {false, true})
              left.push_back(halves(x[4 * half + two], x[4 * half + 2 + two], high));
          multiplyAdd(parts.sums[2 * other + two], left, right);
        }
      }
    }
  }
  return all;
}

SmallVector<GangEmitter::Parts> GangEmitter::multiplyRows(ArrayRef<std::pair<RowDotOp, int64_t>> dots) {
  if (plan.interleaved)
    return multiplyApart(dots);
  SmallVector<Parts> all;
  for (auto [dot, first] : dots)
    all.push_back({dot, first, SmallVector<SmallVector<Value>>(streamsOf(partner(dot)) == 1 ? 1 : 2, SmallVector<Value>(4, f32(0.0)))});
  Value inMatrix = bitAnd(laneOf, 7), matrix = shiftRight(laneOf, 3), start = mul(inRole, 4);
  Value leftToken = add(start, bitAnd(inMatrix, 3)), rightToken = add(start, shiftRight(inMatrix, 1));
  Value leftRow = add(mul(add(shiftRight(inMatrix, 2), mul(bitAnd(matrix, 1), 2)), GangPlan::boxBytes), mul(leftToken, 128));
  Value rightRow = add(mul(add(mul(shiftRight(matrix, 1), 2), bitAnd(inMatrix, 1)), GangPlan::boxBytes), mul(rightToken, 128));
  auto place = [&](Value home, Value row, Value piece, Value token, int64_t step, int64_t streams) {
    Value swizzle = mul(exclusiveOr(piece, bitAnd(token, 7)), 16);
    return bytes(bytes(home, (step / 4) * streams * GangPlan::boxBytes), add(row, swizzle));
  };
  SmallVector<SmallVector<Value>> singles(dots.size());
  for (int64_t step = 0; step < steps; ++step) {
    llvm::MapVector<Value, SmallVector<Value>> lefts;
    for (auto [i, parts] : llvm::enumerate(all)) {
      Value left = many(parts.dot), right = partner(parts.dot);
      SmallVector<Value> &x = lefts[left];
      if (x.empty())
        x = loadMatrices(place(homeOf(left), leftRow, add(shiftRight(matrix, 1), step % 4 * 2), leftToken, step, GangPlan::streams));
      if (streamsOf(right) == 1) {
        // Four matrices are two steps.
        if (step % 2 == 0)
          singles[i] = loadMatrices(place(homeOf(right), mul(rightToken, 128), add(matrix, step % 4 * 2), rightToken, step, 1));
        multiplyAdd(parts.sums[0], x, ArrayRef(singles[i]).slice(step % 2 * 2, 2));
      } else {
        SmallVector<Value> y =
            loadMatrices(place(homeOf(right), rightRow, add(bitAnd(matrix, 1), step % 4 * 2), rightToken, step, GangPlan::streams));
        multiplyAdd(parts.sums[0], x, ArrayRef(y).take_front(2));
        multiplyAdd(parts.sums[1], x, ArrayRef(y).drop_front(2));
      }
    }
  }
  return all;
}

/// Lane 4 g + q has row g (stream g / 4, token g mod 4), columns of token q; interleaved, row g (token g), columns of tokens 2 q, 2 q + 1.
Value GangEmitter::holds() {
  Value token = plan.interleaved ? shiftRight(laneOf, 3) : bitAnd(shiftRight(laneOf, 2), 3);
  return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, token, bitAnd(laneOf, 3));
}

/// The token of the tile whose sums the lane has, if it holds any.
Value GangEmitter::tokenOfSums() {
  return plan.interleaved ? add(mul(bitAnd(inRole, 1), 8), shiftRight(laneOf, 2)) : add(mul(inRole, 4), bitAnd(laneOf, 3));
}

void GangEmitter::forEachSum(Parts &parts, function_ref<void(int64_t, Value, Value)> take) {
  bool swapped = streamsOf(parts.dot.getLhs()) != GangPlan::streams;
  int64_t others = streamsOf(swapped ? parts.dot.getLhs() : parts.dot.getRhs());
  int64_t ofStream = swapped ? 1 : others, ofOther = swapped ? GangPlan::streams : 1;
  if (plan.interleaved) {
    Value part = shiftRight(inRole, 1), odd = equal(bitAnd(shiftRight(laneOf, 2), 1), 1), more = mul(part, 2 * ofOther);
    auto takeAll = [&] {
      for (int64_t other = 0; other < int64_t(parts.sums.size()) / 2; ++other)
        for (int64_t stream = 0; stream < GangPlan::streams; ++stream) {
          ArrayRef<Value> sums(parts.sums[2 * other + stream / 2]);
          take(parts.first + stream * ofStream + other * ofOther, others == 1 ? i32(0) : more, select(odd, sums[stream % 2 * 2 + 1], sums[stream % 2 * 2]));
        }
    };
    if (others == 1)
      when(equal(part, 0), takeAll); // the other warp has the same
    else
      takeAll();
    return;
  }
  Value more = mul(shiftRight(laneOf, 4), ofStream);
  for (int64_t half = 0; half < 2; ++half)
    for (int64_t i = 0; i < others; ++i)
      take(parts.first + 2 * half * ofStream + i * ofOther, more, parts.sums[i / 2][2 * half + i % 2]);
}

SmallVector<Value> GangEmitter::loadGiven(Value from, int64_t first, int64_t second, bool transposed) {
  Value inMatrix = bitAnd(laneOf, 7), matrix = shiftRight(laneOf, 3);
  Value token = add(inMatrix, mul(bitAnd(matrix, 1), 8)), mask = bitAnd(shiftRight(token, 1), 3);
  auto place = [&](int64_t part) {
    return add(mul(exclusiveOr(mask, i32(part % plan.allPieces())), 16), part / plan.allPieces() * GangPlan::partBytes);
  };
  Value at = place(first);
  if (second != first)
    at = select(arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ne, shiftRight(matrix, 1), i32(0)), place(second), at);
  return loadMatrices(bytes(from, add(mul(token, 64), at)), transposed);
}

static constexpr int64_t pieceSums = 4;

/// What a tile adds to phi's gradient.
void GangEmitter::multiplyOuter(MutableArrayRef<Value> sums, Value given) {
  Value inMatrix = bitAnd(laneOf, 7), matrix = shiftRight(laneOf, 3);
  SmallVector<SmallVector<Value>> right;
  for (int64_t part = 0; part < 2 * plan.allPieces(); part += 2) {
    SmallVector<Value> four = loadGiven(given, part, part + 1, /*transposed=*/true);
    right.push_back({four[0], four[1]});
    right.push_back({four[2], four[3]});
  }
  Value rows = bytes(homeOf(plan.outer.getValue()), mul(add(inMatrix, mul(shiftRight(matrix, 1), 8)), 128));
  auto multiply = [&](Value from, Value piece, int64_t step, int64_t group) {
    SmallVector<Value> left = loadMatrices(bytes(from, mul(exclusiveOr(add(piece, bitAnd(matrix, 1)), inMatrix), 16)), /*transposed=*/true);
    for (int64_t part = 0; part < 2; ++part)
      for (int64_t p = 0; p < plan.pieces; ++p)
        multiplyAdd(sums.slice((step * plan.pieces + p) * pieceSums, pieceSums), left, right[part * plan.allPieces() + group * plan.pieces + p]);
  };
  if (plan.groups == 1) {
    // Interleaved, a warp has two boxes that follow each other.
    Value from = bytes(rows, mul(inRole, (plan.interleaved ? 2 : 1) * GangPlan::boxBytes));
    for (int64_t step = 0; step < plan.outerSteps(); ++step)
      multiply(bytes(from, step / 4 * (plan.interleaved ? 1 : GangPlan::streams) * GangPlan::boxBytes), i32(step % 4 * 2), step, 0);
    return;
  }
  // All streams add to the same rows of phi: a warp has a quarter of the slice, half a box.
  Value from = bytes(rows, mul(shiftRight(inRole, 1), GangPlan::streams * GangPlan::boxBytes)), half = mul(bitAnd(inRole, 1), 4);
  for (int64_t step = 0; step < plan.outerSteps(); ++step)
    for (int64_t stream = 0; stream < GangPlan::streams; ++stream)
      multiply(bytes(from, stream * GangPlan::boxBytes), add(half, step * 2), step, stream);
}

void GangEmitter::emitProducts() {
  SmallVector<Value> start(plan.outer ? plan.outerSteps() * plan.pieces * pieceSums : 0, f32(0.0));
  SmallVector<Value> total = tiles(i32(0), 1, start, [&](Value tile, MutableArrayRef<Value> sums) {
    Ring rows = at(tile, GangPlan::early), kept = at(tile, GangPlan::kept), slot = at(tile, GangPlan::givenStages);
    Value leader = equal(laneOf, 0);
    enter(tile);
    if (plan.first)
      wait(keptFull(kept.stage), kept.parity);
    if (plan.outer) {
      wait(given(slot.stage), slot.parity);
      multiplyOuter(sums, givenAt(slot.stage));
    }
    if (plan.first) {
      syncWarp();
      when(leader, [&] {
        arriveAlone(taken(slot.stage));
        if (!plan.lateReadsKept)
          arriveAlone(keptEmpty(kept.stage));
      });
    }
    if (plan.late) {
      wait(done(rows.stage), rows.parity);
      SmallVector<Parts> all = multiplyRows(plan.lateDots);
      // The second phase has taken the stage's coefficients: their place is free.
      when(holds(), [&] {
        Value to = bytes(coefficientsAt(rows.stage), mul(tokenOfSums(), plan.lateCount * 4));
        for (Parts &parts : all)
          forEachSum(parts, [&](int64_t element, Value more, Value sum) { store(sum, bytes(bytes(to, element * 4), mul(more, 4)), 4); });
      });
      fenceShared(); // the copy engine writes there next
    }
    syncWarp();
    when(leader, [&] {
      arriveAlone(empty(rows.stage));
      if (plan.first && plan.lateReadsKept)
        arriveAlone(keptEmpty(kept.stage));
    });
  });
  if (plan.outer)
    storeGradient(total);
}

/// The gang's partial of phi's gradient: this block's rows of it.
void GangEmitter::storeGradient(ArrayRef<Value> sums) {
  RowOuterTokensOp op = plan.outer;
  auto argument = cast<BlockArgument>(op.getTarget());
  int64_t k = plan.phiRows();
  Value base = address(pointers[argument.getArgNumber()], compute, mul(widen64(group), k * plan.columns));
  Value row = shiftRight(laneOf, 2), column = mul(bitAnd(laneOf, 3), 2);
  // The stream and the channel of a row of the warp's products.
  auto place = [&](Value inWarp) -> std::pair<Value, Value> {
    if (plan.groups > 1)
      return {i32(0), add(add(sliceStart, mul(inRole, plan.outerSteps() * 16)), inWarp)};
    if (!plan.interleaved)
      return {inRole, add(sliceStart, inWarp)};
    Value element = add(mul(inRole, plan.outerSteps() * 16), inWarp);
    return {remainder(element, GangPlan::streams), add(sliceStart, divide(element, GangPlan::streams))};
  };
  for (int64_t step = 0; step < plan.outerSteps(); ++step)
    for (int64_t p = 0; p < plan.pieces; ++p)
      for (int64_t i = 0; i < 4; ++i) {
        auto [stream, channel] = place(add(row, step * 16 + i / 2 * 8));
        Value at = rowOfPhi(stream, channel, op.getInterleaved()), to = add(column, p * 8 + i % 2);
        Value index = widen64(op.getTransposed() ? add(mul(to, k), at) : add(mul(at, plan.columns), to));
        auto put = [&] { store(sums[(step * plan.pieces + p) * 4 + i], address(base, compute, index), 4); };
        if ((p + 1) * 8 <= plan.columns)
          put();
        else
          when(less(to, i32(plan.columns)), put);
      }
}

} // namespace mlir::mhc::nvgpu
