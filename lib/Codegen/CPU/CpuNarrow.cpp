//===- CpuNarrow.cpp - narrow phases: lanes are tokens ----------------------===//
//
// Lanes of tokens past the end hold whatever lies there. They are computed on, but never stored, summed, used as an index or counted by mhc.row.any.
//
//===----------------------------------------------------------------------===//

#include "CpuEmitter.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace mlir::mhc::cpu {

static int64_t elementsOf(Value narrow) { return cast<NarrowType>(narrow.getType()).getNumElements(); }

Type CpuEmitter::narrowType(Value narrow) {
  Type element = cast<NarrowType>(narrow.getType()).getElementType();
  return isa<IntegerType>(element) ? element : compute;
}

Value CpuEmitter::newNarrow(Value value) {
  Type type = narrowType(value);
  Value base = stack(elementsOf(value) * tile * bytesOf(type));
  narrows[value] = {base, Type()};
  return base;
}

Value CpuEmitter::narrowAt(Value narrow, Value element, Value t) {
  const Narrow &found = narrows.find(narrow)->second;
  if (!found.uniformType)
    return load(narrowType(narrow), found.base, add(mul(element, tile), t));
  Value stored = load(memoryType(found.uniformType), found.base, element);
  return isa<FloatType>(found.uniformType) ? widen(stored, found.uniformType) : stored;
}

Value CpuEmitter::narrowLanes(Value narrow, int64_t element, Value t) {
  const Narrow &found = narrows.find(narrow)->second;
  if (!found.uniformType)
    return load(lanes(narrowType(narrow)), found.base, add(t, element * tile));
  return splat(narrowAt(narrow, i64(element), t));
}

void CpuEmitter::bindPhase(PhaseOp phase) {
  for (auto [result, inside] : llvm::zip(phase.getResults(), phase.getBody().front().getTerminator()->getOperands())) {
    Narrow same = narrows.find(inside)->second; // a copy: the insertion may move the table
    narrows[result] = same;
  }
}

LogicalResult CpuEmitter::emitNarrowPhase(PhaseOp phase) {
  for (Operation &op : phase.getBody().front().without_terminator()) {
    loc = op.getLoc();
    if (auto loadOp = dyn_cast<RowLoadOp>(op))
      emitNarrowLoad(loadOp);
    else if (auto storeOp = dyn_cast<RowStoreOp>(op))
      emitNarrowStore(storeOp);
    else if (auto sum = dyn_cast<RowSumTokensOp>(op))
      emitNarrowSum(sum);
    else if (isa<RowNarrowOp, RowCastOp>(op)) {
      if (failed(emitNarrowMap(&op)))
        return failure();
    } else
      return op.emitOpError("expected narrow code in a narrow phase");
  }
  bindPhase(phase);
  return success();
}

void CpuEmitter::emitNarrowLoad(RowLoadOp op) {
  Type element = cast<NarrowType>(op.getResult().getType()).getElementType();
  if (op.getAccess() == Access::uniform) {
    narrows[op.getResult()] = {pointer(op.getSource()), element};
    return;
  }
  Value base = newNarrow(op.getResult());
  loop(i64(0), valid, 1, [&](Value t) {
    Value row = rowOffset(op, t);
    loop(i64(0), i64(elementsOf(op.getResult())), 1, [&](Value e) {
      Value stored = load(memoryType(element), pointer(op.getSource()), add(row, e));
      store(isa<FloatType>(element) ? widen(stored, element) : stored, base, add(mul(e, tile), t));
    });
  });
}

void CpuEmitter::emitNarrowStore(RowStoreOp op) {
  Type element = cast<NarrowType>(op.getValue().getType()).getElementType();
  int64_t count = elementsOf(op.getValue());
  loop(i64(0), valid, 1, [&](Value t) {
    Value row = mul(add(tileStart, t), count);
    loop(i64(0), i64(count), 1, [&](Value e) {
      Value value = narrowAt(op.getValue(), e, t);
      store(isa<IntegerType>(element) || element == compute ? value : round(value, element).stored, pointer(op.getTarget()), add(row, e));
    });
  });
}

void CpuEmitter::emitNarrowSum(RowSumTokensOp op) {
  loop(i64(0), i64(elementsOf(op.getValue())), 1, [&](Value e) {
    Value target = pointer(op.getTarget());
    Value sum = loop(i64(0), valid, 1, load(compute, target, e), [&](Value t, ValueRange carried) {
                  return SmallVector<Value>{arith::AddFOp::create(b, loc, carried.front(), narrowAt(op.getValue(), e, t))};
                }).front();
    store(sum, target, e);
  });
}

/// row.narrow and row.cast: lanes are tokens.
LogicalResult CpuEmitter::emitNarrowMap(Operation *op) {
  SmallVector<Value> bases;
  for (Value result : op->getResults())
    bases.push_back(newNarrow(result));
  LogicalResult status = success();
  beginChunk(vectorLanes);
  loop(i64(0), valid, vectorLanes, [&](Value t) {
    auto numbers = llvm::to_vector(llvm::seq<int64_t>(0, vectorLanes));
    auto type = VectorType::get({vectorLanes}, b.getI64Type());
    Value tokens = arith::AddIOp::create(b, loc, splat(t), arith::ConstantOp::create(b, loc, DenseElementsAttr::get(type, ArrayRef<int64_t>(numbers))));
    validLanes = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, tokens, splat(valid));
    SmallVector<Value> arguments, results;
    for (Value operand : op->getOperands())
      for (int64_t e = 0; e < elementsOf(operand); ++e)
        arguments.push_back(narrowLanes(operand, e, t));
    if (auto castOp = dyn_cast<RowCastOp>(op)) {
      Type to = cast<NarrowType>(castOp.getResult().getType()).getElementType();
      for (Value value : arguments)
        results.push_back(to == compute || castOp.getValue().getType() == castOp.getResult().getType() ? value : round(value, to).widened);
    } else {
      status = emitRegion(cast<RowNarrowOp>(op).getBody(), arguments, results);
      if (failed(status))
        return;
    }
    int64_t next = 0;
    for (auto [result, base] : llvm::zip(op->getResults(), bases))
      for (int64_t e = 0; e < elementsOf(result); ++e)
        store(results[next++], base, add(t, e * tile));
  });
  return status;
}

} // namespace mlir::mhc::cpu
