//===- SimpleNarrow.cpp - narrow values and phases: a thread is a token -----===//
//
// Whole warps run narrow code. Threads past the last token compute on what they find, but nothing of it is stored,
// summed or counted by mhc.row.any.
//
//===----------------------------------------------------------------------===//

#include "SimpleEmitter.h"

#include <numeric>

namespace mlir::mhc::nvgpu {

static NarrowType typeOf(Value narrow) { return cast<NarrowType>(narrow.getType()); }
static int64_t elementsOf(Value narrow) { return typeOf(narrow).getNumElements(); }

void SimpleEmitter::allocateNarrow(Value value) {
  narrows[value] = {sharedRows, Value(), typeOf(value).getElementType()};
  sharedRows += elementsOf(value);
}

Value SimpleEmitter::narrowAddress(int64_t slot, Value at) {
  return address(address(shared, compute, at), compute, slot * tile);
}

Value SimpleEmitter::narrowAt(Value narrow, int64_t element, Value at, Value more) {
  const Narrow &found = narrows.find(narrow)->second;
  bool isInteger = isa<IntegerType>(found.elementType);
  if (!found.base) {
    Value place = narrowAddress(found.slot + element, at);
    if (more)
      place = address(place, compute, mul(more, tile));
    Type type = isInteger ? found.elementType : compute;
    // Volatile, it is not moved out of the loop over the channels.
    return LLVM::LoadOp::create(b, loc, type, place, /*alignment=*/4, /*isVolatile=*/keepInLoop);
  }
  int64_t lanes = std::exchange(width, 1), bytes = bytesOf(found.elementType);
  Value place = address(found.base, found.elementType, element);
  if (more)
    place = address(place, found.elementType, more);
  Value stored = load(storedType(found.elementType), place, bytes);
  Value value = isInteger ? stored : widen(stored, found.elementType);
  width = lanes;
  return value;
}

void SimpleEmitter::bindPhase(PhaseOp phase) {
  for (auto [result, inside] : llvm::zip(phase.getResults(), phase.getBody().front().getTerminator()->getOperands())) {
    Narrow same = narrows.find(inside)->second; // a copy: the insertion may move the table
    narrows[result] = same;
  }
}

LogicalResult SimpleEmitter::emitNarrowPhase(PhaseOp phase) {
  Block &block = phase.getBody().front();
  // What outlives the threads' registers: results, and what is summed over the tokens.
  llvm::SetVector<Value> kept;
  SmallVector<RowSumTokensOp> sums;
  for (Value value : block.getTerminator()->getOperands())
    kept.insert(value);
  for (Operation &op : block)
    if (auto sum = dyn_cast<RowSumTokensOp>(op)) {
      sums.push_back(sum);
      if (auto found = narrows.find(sum.getValue()); found != narrows.end() && found->second.base)
        return sum.emitOpError("expected a value of each token, but got a parameter");
      kept.insert(sum.getValue());
    }
  registers.clear();
  for (Value value : kept)
    if (value.getParentBlock() == &block) {
      auto load = value.getDefiningOp<RowLoadOp>();
      bool summed = llvm::any_of(sums, [&](RowSumTokensOp sum) { return sum.getValue() == value; });
      if (load && load.getAccess() == Access::uniform && !summed)
        narrows[value] = {-1, pointer(load.getSource()), typeOf(value).getElementType()};
      else
        allocateNarrow(value);
    }

  LogicalResult status = success();
  int64_t running = llvm::alignTo(tile, warpSize);
  auto body = [&] {
    beginChunk(1);
    Token at;
    at.local = running == tile ? thread : min(thread, i32(tile - 1));
    at.live = less(thread, valid);
    at.row = add(tileStart, widen64(min(thread, sub(valid, i32(1)))));
    token = &at;
    for (Operation &op : block.without_terminator())
      if (succeeded(status))
        status = emitNarrowOp(op, at);
    if (failed(status))
      return;
    for (Value value : kept) {
      auto found = registers.find(value);
      if (found == registers.end() || narrows[value].base)
        continue;
      auto write = [&] {
        for (auto [e, element] : llvm::enumerate(found->second))
          store(element, narrowAddress(narrows[value].slot + e, thread), 4);
      };
      if (running == tile)
        write();
      else
        when(less(thread, i32(tile)), write);
    }
  };
  if (running == threads)
    body();
  else
    when(less(thread, i32(running)), body);
  token = nullptr;
  if (failed(status))
    return failure();
  barrier();
  for (RowSumTokensOp sum : sums)
    sumNarrow(sum);
  bindPhase(phase);
  return success();
}

LogicalResult SimpleEmitter::emitNarrowOp(Operation &op, Token &at) {
  loc = op.getLoc();
  if (auto load = dyn_cast<RowLoadOp>(op)) {
    registers[load.getResult()] = loadNarrow(load, at);
    return success();
  }
  if (auto store = dyn_cast<RowStoreOp>(op)) {
    storeNarrow(store, at);
    return success();
  }
  if (isa<RowSumTokensOp>(op))
    return success();
  return emitNarrowCode(op, [&](Value value) { return narrowElements(value, at); }, [&](Value result, ArrayRef<Value> values) { registers[result] = llvm::to_vector(values); });
}

/// Tokens that run together are those of a warp.
Value SimpleEmitter::any(Value condition) {
  Value counted = arith::AndIOp::create(b, loc, condition, token->live);
  return NVVM::VoteSyncOp::create(b, loc, b.getI1Type(), i32(-1), counted, NVVM::VoteSyncKind::any);
}

SmallVector<Value> SimpleEmitter::narrowElements(Value narrow, const Token &at) {
  if (auto found = registers.find(narrow); found != registers.end())
    return found->second;
  SmallVector<Value> values;
  for (int64_t e = 0; e < elementsOf(narrow); ++e)
    values.push_back(narrowAt(narrow, e, at.local));
  registers[narrow] = values;
  return values;
}

SmallVector<Value> SimpleEmitter::loadNarrow(RowLoadOp op, Token &at) {
  auto type = cast<MemRefType>(op.getSource().getType());
  Type element = type.getElementType();
  int64_t count = elementsOf(op.getResult());
  Value row = rowOf(op, at, [&](Value narrow) { return narrowElements(narrow, at)[op.getElement()]; });
  if (op.getAccess() ==
      Access::gather) // no memory is touched for a token that does not exist: its index may be anything
    row = arith::SelectOp::create(b, loc, at.live, row, i64(0));
  return loadElements(address(pointer(op.getSource()), element, mul(row, count)), element, count);
}

void SimpleEmitter::storeNarrow(RowStoreOp op, Token &at) {
  Type element = typeOf(op.getValue()).getElementType();
  SmallVector<Value> values = narrowElements(op.getValue(), at);
  when(at.live, [&] {
    storeElements(values, address(pointer(op.getTarget()), element, mul(at.row, int64_t(values.size()))), element);
  });
}

/// A thread adds up one element over the tokens, in their order.
void SimpleEmitter::sumNarrow(RowSumTokensOp op) {
  loc = op.getLoc();
  int64_t count = elementsOf(op.getValue());
  const Narrow &narrow = narrows.find(op.getValue())->second;
  assert(!narrow.base && "what is summed lies in shared memory");
  loop(thread, i32(count), i32(threads), [&](Value e) {
    Value first = address(narrowAddress(narrow.slot, i32(0)), compute, mul(e, tile));
    Value sum = loop(i32(0), valid, i32(1), f32(0.0), [&](Value t, ValueRange carried) {
                  Value value = load(compute, address(first, compute, t), 4);
                  return SmallVector<Value>{addFloat(carried.front(), value)};
                }).front();
    Value place = address(pointer(op.getTarget()), compute, e);
    store(addFloat(load(compute, place, 4), sum), place, 4);
  });
}

} // namespace mlir::mhc::nvgpu
