//===- GangWide.cpp - wide code of a gang -----------------------------------===//
//
// A thread has four channels of a token at a time: 8 bytes of a row. In the first phase a warp has four tokens, two at a time. In the second one a
// thread has the channels that the product with phi transposed gives it: m16n8k16 leaves columns 2 q, 2 q + 1 of row g in lane 4 g + q, so that two
// products whose columns are dealt out so make four channels in a row.
//
//===----------------------------------------------------------------------===//

#include "GangEmitter.h"

namespace mlir::mhc::nvgpu {

static constexpr int64_t chunkChannels = 4;

/// Where the thread has its chunk of stream `stream`.
Value GangEmitter::chunkPlace(Value wide, int64_t stream) {
  const GangPlan::Home &home = plan.homes.find(wide)->second;
  Value base = bytes(homeOf(wide), stream * GangPlan::boxBytes);
  return bytes(bytes(base, mul(boxOf, home.streams * GangPlan::boxBytes)), swizzled);
}

/// Chunks of 4 channels follow each other, four in a box of 64 elements.
Value GangEmitter::piecePlace(Value wide, int64_t piece) {
  Value chunk = add(mul(boxOf, GangPlan::boxChannels / chunkChannels), shiftRight(inBox, 2));
  Value row = add(mul(shiftRight(chunk, 2), GangPlan::boxBytes), mul(local, 128));
  Value place = exclusiveOr(add(mul(bitAnd(chunk, 3), 2), piece), bitAnd(local, 7));
  return bytes(homeOf(wide), add(row, mul(place, 16)));
}

/// The thread's channels of each stream, as they are stored.
SmallVector<Value> GangEmitter::loadChunk(Value wide) {
  SmallVector<Value> words;
  if (!isInterleaved(wide)) {
    for (int64_t stream = 0; stream < cast<WideType>(wide.getType()).getStreams(); ++stream)
      words.push_back(load(storedType(b.getBF16Type()), chunkPlace(wide, stream), 8));
    return words;
  }
  for (int64_t piece = 0; piece < 2; ++piece) {
    Value four = load(VectorType::get({4}, b.getI32Type()), piecePlace(wide, piece), 16);
    for (int64_t i = 0; i < 4; ++i)
      words.push_back(lane(four, i));
  }
  return takeApart(words, GangPlan::streams);
}

Value GangEmitter::loadStream(RowLoadOp op, int64_t stream) {
  if (isInterleaved(op.getResult())) {
    if (stream == 0)
      apart = loadChunk(op.getResult());
    return apart[stream];
  }
  return load(storedType(cast<WideType>(op.getResult().getType()).getElementType()), chunkPlace(op.getResult(), stream), 8);
}

void GangEmitter::storeHome(Value wide) {
  if (isInterleaved(wide)) {
    SmallVector<Value> words = putTogether(stored(wide), chunkChannels);
    for (int64_t piece = 0; piece < 2; ++piece)
      store(vectorOf(ArrayRef(words).slice(4 * piece, 4)), piecePlace(wide, piece), 16);
    return;
  }
  for (auto [stream, word] : llvm::enumerate(llvm::to_vector(stored(wide))))
    store(word, chunkPlace(wide, stream), 8);
}

Value GangEmitter::channel() {
  Value first = add(add(sliceStart, inBox), mul(boxOf, GangPlan::boxChannels));
  SmallVector<Value> numbers;
  for (int64_t i = 0; i < chunkChannels; ++i)
    numbers.push_back(add(first, i));
  return vectorOf(numbers);
}

LogicalResult GangEmitter::emitOther(Operation *op) { return op->emitOpError("expected wide code of family group"); }

void GangEmitter::takeToken(Value coefficients, Value given) {
  scalars.clear();
  auto zeroPastLast = [&](MutableArrayRef<Value> values) {
    for (Value &value : values)
      value = select(less(add(widen64(firstToken(present)), widen64(local)), rows), value, f32(0.0));
  };
  for (auto [op, place] : plan.coefficients) {
    auto load = cast<RowLoadOp>(op);
    SmallVector<Value> values = loadRow(load, bytes(coefficients, place), local);
    // Behind the last row lies what was there before: numbers of f32, which are late sums too; halves of them as bf16 are no numbers perhaps, nor is what is copied to whole 16 bytes.
    if (coefficientBytesOf(load) % 16 || !cast<NarrowType>(load.getResult().getType()).getElementType().isF32())
      zeroPastLast(values);
    scalars[load.getResult()] = values;
  }
  const int64_t chunk = width;
  width = 1;
  for (Value value : plan.before) {
    narrowElements(value);
    // What is computed from such numbers (a quotient) need not be one.
    Operation *inside = plan.loads.getBody().front().getTerminator()->getOperand(cast<OpResult>(value).getResultNumber()).getDefiningOp();
    if (isa<RowNarrowOp>(inside) && inside->getNumOperands())
      zeroPastLast(scalars[value]);
  }
  width = chunk;
  if (!given)
    return;
  Value row = bytes(bytes(given, 2 * GangPlan::partBytes), mul(local, plan.resultCount * 4));
  for (auto [value, place] : plan.results) {
    SmallVector<Value> &values = scalars[value];
    for (int64_t e = 0, count = cast<NarrowType>(value.getType()).getNumElements(); e < count; ++e)
      values.push_back(load(compute, bytes(row, (place + e) * 4), 4));
  }
}

/// All that is loaded is asked for before anything is computed: shared memory is 30 cycles away.
LogicalResult GangEmitter::emitOps(ArrayRef<Operation *> ops) {
  for (bool loads : {true, false})
    for (Operation *op : ops)
      if (isa<RowLoadOp>(op) == loads && failed(emitWide(op)))
        return failure();
  return success();
}

LogicalResult GangEmitter::emitFirst() {
  LogicalResult status = success();
  tiles([&](Value tile) {
    Ring rows = at(tile, GangPlan::early), free = at(tile, GangPlan::kept);
    wait(full(rows.stage), rows.parity);
    waitFree(keptEmpty(free.stage), free);
    enter(tile);
    if (!plan.firstOps.empty())
      rolled(2, {}, [&](Value pass, ValueRange) -> SmallVector<Value> {
        // Interleaved, eight lanes have one piece of 16 bytes of four chunks: of two tokens, so that they do not meet in a bank.
        Value token = plan.interleaved ? bitAnd(shiftRight(laneOf, 2), 1) : shiftRight(laneOf, 4);
        Value part = plan.interleaved ? add(bitAnd(laneOf, 3), mul(shiftRight(laneOf, 3), 4)) : bitAnd(laneOf, 15);
        local = add(add(mul(inRole, 4), token), mul(pass, 2));
        inBox = mul(part, chunkChannels);
        // 16-byte piece p of token t lies at place p ^ (t mod 8) of its 128 bytes.
        Value piece = exclusiveOr(shiftRight(part, 1), bitAnd(local, 7));
        swizzled = add(mul(local, 128), add(mul(piece, 16), mul(bitAnd(part, 1), 8)));
        takeToken(coefficientsAt(rows.stage), Value());
        rolled(GangPlan::boxes, {}, [&](Value which, ValueRange) -> SmallVector<Value> {
          boxOf = which;
          beginChunk(chunkChannels);
          if (succeeded(status))
            status = emitOps(plan.firstOps);
          for (Value value : plan.keptFirst)
            if (succeeded(status))
              storeHome(value);
          return {};
        });
        return {};
      });
    syncWarp();
    if (plan.waits()) {
      if (plan.interleaved) // a warp multiplies tokens of all
        together(firstBarrier, GangPlan::firstWarps);
      Value parity = bitAnd(shiftRight(tile, llvm::Log2_64(GangPlan::exchanges)), 1);
      SmallVector<Parts> all = multiplyRows(plan.dots);
      publish(all, bitAnd(tile, GangPlan::exchanges - 1), parity);
    }
    arrive(keptFull(free.stage));
  });
  return status;
}

/// The row of phi of a stream's channel; where the streams share phi it has no streams.
Value GangEmitter::rowOfPhi(Value stream, Value channel, bool interleaved) {
  if (plan.groups > 1)
    return channel;
  return interleaved ? add(mul(channel, GangPlan::streams), stream) : add(channel, mul(stream, plan.channels));
}

/// phi's slice as the second operands of m16n8k16, columns of phi along k: an 8-column piece of one is a register, with columns 2 q, 2 q + 1.
void GangEmitter::loadWeights() {
  RowProjectTOp op = plan.projectT;
  Value base = pointers[cast<BlockArgument>(op.getWeight()).getArgNumber()];
  int64_t k = plan.phiRows();
  Value column = mul(bitAnd(laneOf, 3), 2), n = shiftRight(laneOf, 2);
  Value first = add(add(sliceStart, mul(shiftRight(inRole, 1), GangPlan::boxChannels)), bitAnd(n, 1));
  for (int64_t j = 0; j < 2; ++j)
    for (int64_t e = 0; e < 2; ++e)
      for (int64_t stream = 0; stream < GangPlan::streams / plan.groups; ++stream) {
        SmallVector<Value> high, low;
        for (int64_t p = 0; p < plan.pieces; ++p) {
          SmallVector<Value> pair;
          for (int64_t i = 0; i < 2; ++i) {
            // Column n of product e of chunk j: see the head of this file.
            Value channel = add(add(first, mul(chunkOf(i32(j), shiftRight(n, 1)), chunkChannels)), e * 2);
            Value at = rowOfPhi(i32(stream), channel, op.getInterleaved()), to = add(column, p * 8 + i);
            bool known = (p + 1) * 8 <= plan.columns;
            Value exists = less(to, i32(plan.columns));
            if (!known)
              to = min(to, i32(plan.columns - 1));
            Value index = op.getTransposed() ? add(mul(to, k), at) : add(mul(at, plan.columns), to);
            Value element = load(compute, address(base, compute, widen64(index)), 4);
            pair.push_back(known ? element : select(exists, element, f32(0.0)));
          }
          width = 2;
          Value both = vectorOf(pair);
          Rounded upper = round(both, b.getBF16Type());
          high.push_back(upper.stored);
          low.push_back(round(arith::SubFOp::create(b, loc, both, upper.widened), b.getBF16Type()).stored);
        }
        // Pairs of pieces lie side by side, since a product takes them so; an odd piece beside its own low part.
        for (int64_t p = 0; p + 1 < plan.pieces; p += 2)
          llvm::append_range(weights, ArrayRef<Value>{high[p], high[p + 1], low[p], low[p + 1]});
        if (plan.pieces % 2)
          llvm::append_range(weights, ArrayRef<Value>{high.back(), low.back()});
      }
}

/// (high + low) (high + low) without low x low. Pairs of pieces make three products of k = 16, an odd one: high x (high, low), and low x high of k = 8.
GangEmitter::Factors GangEmitter::loadFactors(Value from) {
  Factors factors;
  for (int64_t group = 0; group < plan.groups; ++group) {
    auto part = [&](int64_t piece, bool low) { return low * plan.allPieces() + group * plan.pieces + piece; };
    int64_t place = 0;
    for (int64_t p = 0; p + 1 < plan.pieces; p += 2, place += 4) {
      SmallVector<Value> high = loadGiven(from, part(p, false), part(p + 1, false), /*transposed=*/false);
      factors.push_back({high, place, 2, group});
      factors.push_back({loadGiven(from, part(p, true), part(p + 1, true), /*transposed=*/false), place, 2, group});
      factors.push_back({high, place + 2, 2, group});
    }
    if (int64_t last = plan.pieces - 1; last % 2 == 0) {
      factors.push_back({loadGiven(from, part(last, false), part(last, false), /*transposed=*/false), place, 2, group});
      SmallVector<Value> low = loadGiven(from, part(last, true), part(last, true), /*transposed=*/false);
      low.truncate(2);
      factors.push_back({low, place, 1, group});
    }
  }
  return factors;
}

ArrayRef<Value> GangEmitter::weightsOf(int64_t j, int64_t product, const Factor &factor) {
  const int64_t streams = GangPlan::streams / plan.groups, which = product / GangPlan::streams * streams + product % streams;
  return ArrayRef(weights).slice((j * 2 * streams + which) * 2 * plan.pieces + factor.weight, factor.count);
}

/// Its number among the chunks of a box. Interleaved, the four quarters have chunks that follow each other, whose first pieces of 16 bytes lie in different banks; else quarters 0, 1 and 2, 3 share
/// a piece, two pieces of a warp's four lying side by side.
Value GangEmitter::chunkOf(Value j, Value quarter) {
  Value half = bitAnd(inRole, 1);
  if (plan.interleaved)
    return add(mul(add(mul(half, 2), j), 4), quarter);
  return add(mul(add(add(mul(half, 2), mul(shiftRight(quarter, 1), 4)), j), 2), bitAnd(quarter, 1));
}

/// Chunk j of the warp, rows 0 .. 7 or the others.
void GangEmitter::enterChunk(Value j, Value half) {
  Value row = shiftRight(laneOf, 2), quarter = bitAnd(laneOf, 3);
  local = add(row, mul(half, 8));
  Value chunk = chunkOf(j, quarter);
  inBox = mul(chunk, chunkChannels);
  swizzled = add(mul(local, 128), add(mul(exclusiveOr(shiftRight(chunk, 1), row), 16), mul(bitAnd(chunk, 1), 8)));
  beginChunk(chunkChannels);
}

/// Nothing in the second phase has to have the bits of another kernel: sums of products may be contracted.
static void contract(OpBuilder &b, Operation *before) {
  for (auto it = std::next(Block::iterator(before)), end = b.getInsertionPoint(); it != end; ++it)
    if (auto arithmetic = dyn_cast<arith::ArithFastMathInterface>(*it))
      it->setAttr(arithmetic.getFastMathAttrName(),
                  arith::FastMathFlagsAttr::get(b.getContext(), arithmetic.getFastMathFlagsAttr().getValue() | arith::FastMathFlags::contract));
}

/// The product with phi transposed of chunk j: [rows 0 .. 7 or the others][stream][channel].
SmallVector<Value> GangEmitter::multiplyChunk(int64_t j, const Factors &left) {
  SmallVector<Value> sums(2 * GangPlan::streams * chunkChannels, f32(0.0));
  auto sumAt = [&](int64_t half, int64_t stream, int64_t channel) -> Value & { return sums[(half * GangPlan::streams + stream) * chunkChannels + channel]; };
  for (const Factor &factor : left)
    for (int64_t product = 0; product < 2 * GangPlan::streams; ++product) {
      if (plan.groups > 1 && product % GangPlan::streams != factor.group)
        continue;
      // A product has two channels of a chunk's four.
      SmallVector<Value> four;
      int64_t stream = product % GangPlan::streams, first = product / GangPlan::streams * 2;
      for (int64_t i = 0; i < 4; ++i)
        four.push_back(sumAt(i / 2, stream, first + i % 2));
      multiplyAdd(four, factor.registers, weightsOf(j, product, factor));
      for (int64_t i = 0; i < 4; ++i)
        sumAt(i / 2, stream, first + i % 2) = four[i];
    }
  return sums;
}

/// Elementwise code of the thread's chunk of a token.
LogicalResult GangEmitter::emitSecondChunk(Value coefficients, Value given, ValueRange product) {
  takeToken(coefficients, given);
  if (plan.projectT) {
    SmallVector<Value> vectors;
    for (int64_t stream = 0; stream < GangPlan::streams; ++stream)
      vectors.push_back(vectorOf(llvm::to_vector(product.slice(stream * chunkChannels, chunkChannels))));
    bindComputed(plan.projectT.getResult(), vectors);
  }
  for (Value value : plan.keptSecond)
    bindStored(value, loadChunk(value));
  Operation *before = &*std::prev(b.getInsertionPoint());
  if (failed(emitOps(plan.secondOps)))
    return failure();
  contract(b, before);
  for (RowStoreOp op : plan.rowStores)
    storeHome(op.getValue());
  return success();
}

LogicalResult GangEmitter::emitSecond() {
  if (plan.projectT)
    loadWeights();
  LogicalResult status = success();
  tiles([&](Value tile) {
    Ring rows = at(tile, GangPlan::early), kept = at(tile, GangPlan::kept), slot = at(tile, GangPlan::givenStages);
    wait(full(rows.stage), rows.parity);
    if (hasOther()) {
      Ring others = at(tile, GangPlan::other);
      wait(fullOther(others.stage), others.parity);
    }
    enter(tile);
    boxOf = shiftRight(inRole, 1);
    Value from = plan.first ? givenAt(slot.stage) : Value(), coefficients = coefficientsAt(rows.stage);
    if (plan.first) {
      wait(keptFull(kept.stage), kept.parity);
      wait(given(slot.stage), slot.parity);
    }
    Factors left;
    if (plan.projectT)
      left = loadFactors(from);
    // Sums of one chunk at a time leave registers for what the elementwise code loads, which it then asks for at once. That code is there once: the
    // instruction cache has room for no more. So the products, whose operands are registers, stand behind a branch.
    constexpr int64_t chunks = 2, halves = 2;
    rolled(chunks, {}, [&](Value j, ValueRange) -> SmallVector<Value> {
      SmallVector<Value> sums;
      if (plan.projectT) {
        auto products = [&](int64_t which) {
          return [&, which](OpBuilder &, Location at) {
            SmallVector<Value> results = multiplyChunk(which, left);
            // Branches that end alike would be made one again, behind as many moves as there are operands.
            LLVM::InlineAsmOp::create(b, at, TypeRange{}, ValueRange{}, which ? "// second chunk" : "// first chunk", "", /*has_side_effects=*/true,
                                      /*is_align_stack=*/false, LLVM::TailCallKind::None, LLVM::AsmDialectAttr(), ArrayAttr());
            scf::YieldOp::create(b, at, results);
          };
        };
        auto one = scf::IfOp::create(b, loc, equal(j, 0), products(0), products(1));
        sums = llvm::to_vector_of<Value>(one.getResults());
      }
      ArrayRef<Value> rest(sums);
      rolled(halves, rest.take_front(sums.size() / halves), [&](Value half, ValueRange product) {
        enterChunk(j, half);
        if (succeeded(status))
          status = emitSecondChunk(coefficients, from, product);
        return llvm::to_vector(rest.drop_front(sums.size() / halves));
      });
      return {};
    });
    fenceShared();
    syncWarp();
    when(equal(laneOf, 0), [&] {
      arriveAlone(done(rows.stage));
      if (plan.first) {
        arriveAlone(taken(slot.stage));
        arriveAlone(keptEmpty(kept.stage));
      }
    });
  });
  return status;
}

} // namespace mlir::mhc::nvgpu
