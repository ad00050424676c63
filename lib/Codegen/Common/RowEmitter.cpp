//===- RowEmitter.cpp - primitives of a kernel on chunk vectors -------------===//

#include "mhc/Codegen/RowEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace mlir::mhc {

//===----------------------------------------------------------------------===//
// Types and values
//===----------------------------------------------------------------------===//

Type RowEmitter::lanes(Type scalar) const { return width == 1 ? scalar : VectorType::get({width}, scalar); }

Value RowEmitter::splat(Value value) {
  if (width == 1 || isa<VectorType>(value.getType()))
    return value;
  // A constant stays one: the back end then knows the lanes.
  Attribute attr;
  if (matchPattern(value, m_Constant(&attr)) && isa<IntegerAttr, FloatAttr>(attr))
    return arith::ConstantOp::create(b, loc, DenseElementsAttr::get(cast<ShapedType>(lanes(value.getType())), attr));
  return vector::BroadcastOp::create(b, loc, lanes(value.getType()), value);
}

Value RowEmitter::floatConstant(double value) {
  return splat(arith::ConstantOp::create(b, loc, b.getFloatAttr(compute, value)));
}

Value RowEmitter::intConstant(Type type, int64_t value) {
  return splat(arith::ConstantOp::create(b, loc, b.getIntegerAttr(type, value)));
}

Value RowEmitter::fma(Value x, Value y, Value z) { return math::FmaOp::create(b, loc, x, y, z); }

Value RowEmitter::term(Value x, Value y, Value z) {
  return z ? fma(x, y, z) : Value(arith::MulFOp::create(b, loc, x, y));
}

Value RowEmitter::allocate(MemRefType type) {
  OpBuilder::InsertionGuard guard(b);
  if (allocas)
    b.setInsertionPoint(allocas);
  return memref::AllocaOp::create(b, loc, type);
}

//===----------------------------------------------------------------------===//
// Chunks
//===----------------------------------------------------------------------===//

ArrayRef<Value> RowEmitter::computed(Value wide) {
  Chunk &chunk = chunks[wide];
  if (!chunk.computed.empty())
    return chunk.computed;
  Type type = cast<WideType>(wide.getType()).getElementType();
  for (Value value : chunk.stored)
    chunk.computed.push_back(type == compute ? value : widen(value, type));
  return chunk.computed;
}

ArrayRef<Value> RowEmitter::stored(Value wide) {
  Chunk &chunk = chunks[wide];
  if (chunk.stored.empty() && cast<WideType>(wide.getType()).getElementType() == compute)
    return chunk.computed;
  return chunk.stored;
}

ArrayRef<Value> RowEmitter::inMemoryForm(Value wide) {
  return cast<WideType>(wide.getType()).getElementType() == compute ? computed(wide) : stored(wide);
}

void RowEmitter::bindInMemoryForm(Value wide, ArrayRef<Value> streams) {
  SmallVector<Value> vectors(streams);
  if (cast<WideType>(wide.getType()).getElementType() == compute)
    bindComputed(wide, vectors);
  else
    bindStored(wide, vectors);
}

LogicalResult RowEmitter::emitWide(Operation *op) {
  loc = op->getLoc();
  if (op->getNumResults() == 1 && isa<WideType>(op->getResult(0).getType()) && chunks.count(op->getResult(0)))
    return success();
  if (auto load = dyn_cast<RowLoadOp>(op)) {
    auto type = dyn_cast<WideType>(load.getResult().getType());
    if (!type)
      return emitOther(op);
    SmallVector<Value> vectors;
    for (int64_t stream = 0; stream < type.getStreams(); ++stream)
      vectors.push_back(loadStream(load, stream));
    bindStored(load.getResult(), vectors);
    return success();
  }
  if (auto store = dyn_cast<RowStoreOp>(op)) {
    if (!isa<WideType>(store.getValue().getType()))
      return emitOther(op);
    storeStreams(store, llvm::to_vector(stored(store.getValue())));
    return success();
  }
  if (auto part = dyn_cast<RowStreamsOp>(op)) {
    size_t first = part.getFirst(), count = part.getResult().getType().getStreams();
    bindInMemoryForm(part.getResult(), inMemoryForm(part.getValue()).slice(first, count));
    return success();
  }
  if (auto concat = dyn_cast<RowConcatOp>(op)) {
    SmallVector<Value> streams;
    for (Value value : concat.getValues())
      llvm::append_range(streams, inMemoryForm(value));
    bindInMemoryForm(concat.getResult(), streams);
    return success();
  }
  if (auto map = dyn_cast<RowMapOp>(op))
    return emitMap(map);
  if (auto mix = dyn_cast<RowMixOp>(op))
    return emitMix(mix);
  if (auto castOp = dyn_cast<RowCastOp>(op); castOp && isa<WideType>(castOp.getResult().getType()))
    return emitCast(castOp);
  return emitOther(op);
}

LogicalResult RowEmitter::emitMap(RowMapOp op) {
  SmallVector<Value> vectors;
  for (int64_t stream = 0; stream < op.getResult().getType().getStreams(); ++stream) {
    SmallVector<Value> arguments, yielded;
    for (Value input : op.getInputs()) {
      if (auto type = dyn_cast<WideType>(input.getType()))
        arguments.push_back(computed(input)[type.getStreams() == 1 ? 0 : stream]);
      else
        arguments.push_back(
            splat(narrowScalar(input, cast<NarrowType>(input.getType()).getNumElements() == 1 ? 0 : stream)));
    }
    if (failed(emitRegion(op.getBody(), arguments, yielded)))
      return failure();
    vectors.push_back(yielded.front());
  }
  bindComputed(op.getResult(), vectors);
  return success();
}

LogicalResult RowEmitter::emitMix(RowMixOp op) {
  int64_t ins = op.getStreams().getType().getStreams(), outs = op.getResult().getType().getStreams();
  SmallVector<Value> streams = llvm::to_vector(computed(op.getStreams()));
  SmallVector<Value> sums(outs);
  if (op.getInit())
    sums = llvm::to_vector(computed(op.getInit()));
  // Output by output each term would wait for the one before; this way neighbours are independent. Every sum's order is the same.
  for (int64_t i = 0; i < ins; ++i)
    for (int64_t o = 0; o < outs; ++o) {
      Value coefficient = splat(narrowScalar(op.getMatrix(), op.getTransposed() ? i * outs + o : o * ins + i));
      sums[o] = term(coefficient, streams[i], sums[o]);
    }
  bindComputed(op.getResult(), sums);
  return success();
}

LogicalResult RowEmitter::emitCast(RowCastOp op) {
  Type from = cast<WideType>(op.getValue().getType()).getElementType();
  Type to = cast<WideType>(op.getResult().getType()).getElementType();
  SmallVector<Value> storedForm, widened;
  if (from == to) { // nothing to round; the chunk may be there in one form only
    if (to != compute)
      bindStored(op.getResult(), llvm::to_vector(stored(op.getValue())));
    bindComputed(op.getResult(), llvm::to_vector(computed(op.getValue())));
    return success();
  }
  for (Value value : llvm::to_vector(computed(op.getValue()))) {
    Rounded rounded = to == compute ? Rounded{value, value} : round(value, to);
    storedForm.push_back(rounded.stored);
    widened.push_back(rounded.widened);
  }
  bindStored(op.getResult(), storedForm);
  bindComputed(op.getResult(), widened);
  return success();
}

//===----------------------------------------------------------------------===//
// Regions
//===----------------------------------------------------------------------===//

LogicalResult RowEmitter::emitRegion(Region &region, ArrayRef<Value> arguments, SmallVectorImpl<Value> &results) {
  IRMapping map;
  Block &block = region.front();
  assert(arguments.size() == block.getNumArguments() && "one value for each argument");
  map.map(block.getArguments(), arguments);
  if (failed(cloneBlock(block, map)))
    return failure();
  for (Value value : block.getTerminator()->getOperands())
    results.push_back(vectorOf(value, map));
  return success();
}

LogicalResult RowEmitter::cloneBlock(Block &block, IRMapping &map) {
  for (Operation &op : block.without_terminator())
    if (failed(cloneOp(op, map)))
      return failure();
  return success();
}

Value RowEmitter::vectorOf(Value old, IRMapping &map) {
  Value value = map.lookupOrDefault(old);
  return isa<FloatType, IntegerType>(value.getType()) ? splat(value) : value;
}

/// scf ops carry lanes, whatever goes in: what enters uniform may leave different in every lane.
static SmallVector<Type> carriedTypes(TypeRange types, function_ref<Type(Type)> lanes) {
  return llvm::map_to_vector(types, [&](Type type) { return type.isIndex() ? type : lanes(type); });
}

LogicalResult RowEmitter::cloneOp(Operation &op, IRMapping &map) {
  auto toLanes = [&](Type type) { return lanes(type); };
  if (auto anyOp = dyn_cast<RowAnyOp>(op)) {
    Value condition = map.lookup(anyOp.getCondition());
    map.map(anyOp.getResult(), width == 1 || isa<VectorType>(condition.getType()) ? any(condition) : condition);
    return success();
  }
  if (isa<RowChannelOp>(op)) {
    map.map(op.getResult(0), channel());
    return success();
  }
  if (auto loop = dyn_cast<scf::ForOp>(op)) {
    auto bound = [&](Value value) { return map.lookupOrDefault(value); };
    SmallVector<Value> inits =
        llvm::map_to_vector(loop.getInitArgs(), [&](Value init) { return vectorOf(init, map); });
    LogicalResult status = success();
    auto copy = scf::ForOp::create(
        b, op.getLoc(), bound(loop.getLowerBound()), bound(loop.getUpperBound()), bound(loop.getStep()), inits,
        [&](OpBuilder &, Location at, Value iv, ValueRange carried) {
          map.map(loop.getInductionVar(), iv);
          map.map(loop.getRegionIterArgs(), carried);
          status = cloneBlock(*loop.getBody(), map);
          SmallVector<Value> yields;
          if (succeeded(status))
            yields = llvm::map_to_vector(loop.getBody()->getTerminator()->getOperands(),
                                         [&](Value value) { return vectorOf(value, map); });
          else
            llvm::append_range(yields, carried);
          scf::YieldOp::create(b, at, yields);
        });
    copy->setDiscardableAttrs(loop->getDiscardableAttrDictionary());
    map.map(loop.getResults(), copy.getResults());
    return status;
  }
  if (auto branch = dyn_cast<scf::IfOp>(op)) {
    Value condition = map.lookup(branch.getCondition());
    if (isa<VectorType>(condition.getType()))
      return op.emitOpError("expected a condition that is the same for all tokens (mhc.row.any)");
    auto copy = scf::IfOp::create(b, op.getLoc(), carriedTypes(op.getResultTypes(), toLanes), condition,
                                  /*addThenBlock=*/true, /*addElseBlock=*/branch.elseBlock() != nullptr);
    auto fill = [&](Block *from, Block *to) -> LogicalResult {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToEnd(to);
      if (failed(cloneBlock(*from, map)))
        return failure();
      scf::YieldOp::create(b, op.getLoc(),
                           llvm::map_to_vector(from->getTerminator()->getOperands(),
                                               [&](Value value) { return vectorOf(value, map); }));
      return success();
    };
    if (failed(fill(branch.thenBlock(), copy.thenBlock())) ||
        (branch.elseBlock() && failed(fill(branch.elseBlock(), copy.elseBlock()))))
      return failure();
    map.map(op.getResults(), copy.getResults());
    return success();
  }
  if (op.getNumRegions() || !(isa_and_nonnull<arith::ArithDialect, math::MathDialect>(op.getDialect()) ||
                              isa<memref::AllocaOp, memref::LoadOp, memref::StoreOp>(op)))
    return op.emitOpError("expected scalar arithmetic in a kernel's region");
  if (auto alloca = dyn_cast<memref::AllocaOp>(op)) {
    MemRefType type = alloca.getType();
    if (!type.hasStaticShape())
      return op.emitOpError("expected a static shape, but got ") << type;
    map.map(alloca.getResult(), allocate(MemRefType::get(type.getShape(), lanes(type.getElementType()))));
    return success();
  }

  // Where every operand is the same in all lanes so is the result, and it stays a scalar. Memory holds lanes.
  bool uniform = !isa<memref::LoadOp, memref::StoreOp>(op) && llvm::none_of(op.getOperands(), [&](Value operand) {
    return isa<VectorType>(map.lookupOrDefault(operand).getType());
  });
  IRMapping operands;
  for (Value operand : op.getOperands()) {
    Value value = uniform ? map.lookupOrDefault(operand) : vectorOf(operand, map);
    if (operand.getType().isIndex() && isa<VectorType>(value.getType()))
      return op.emitOpError("expected an index that is the same for all tokens");
    operands.map(operand, value);
  }
  Operation *copy = b.clone(op, operands);
  for (auto [from, to] : llvm::zip(op.getResults(), copy->getResults())) {
    if (!uniform) {
      if (from.getType().isIndex())
        return op.emitOpError("expected an index that is the same for all tokens");
      to.setType(lanes(from.getType()));
    }
    map.map(from, to);
  }
  return success();
}

} // namespace mlir::mhc
