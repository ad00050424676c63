//===- SimpleColumns.cpp - sums over the tokens -----------------------------===//

#include "SimpleEmitter.h"

#include <numeric>

namespace mlir::mhc::nvgpu {

LogicalResult SimpleEmitter::emitColumns(const Nest &columnNest) {
  nest = &columnNest;
  LogicalResult status = success();
  width = columnNest.width;
  loop(mul(thread, width), i32(channels), i32(threads * width), [&](Value c) {
    chunk = c;
    SmallVector<Value> sums;
    Value zero = floatConstant(0.0);
    for (const Unit &unit : columnNest.units) {
      int64_t each = 1;
      if (auto outer = dyn_cast<RowOuterTokensOp>(unit.op))
        each = shapeOf(outer).inGroup;
      sums.append((unit.end - unit.begin) * each, zero);
    }
    // Four tokens a turn, so that the loads of one do not wait for the sums of another; then what is left.
    auto walk = [&](Value from, Value to, int64_t together) {
      sums = loop(from, to, i32(together), sums, [&](Value t, ValueRange carried) {
        accumulators = llvm::to_vector_of<Value>(carried);
        for (int64_t i = 0; i < together && succeeded(status); ++i) {
          Token at;
          at.local = add(t, i);
          at.row = add(tileStart, widen64(at.local));
          for (Operation *op : columnNest.ops)
            locate(op, at);
          status = emitColumnChunk(columnNest, at);
        }
        return accumulators;
      });
    };
    Value whole = bitAnd(valid, -4);
    walk(i32(0), whole, 4);
    walk(whole, valid, 1);
    if (failed(status))
      return;
    ArrayRef<Value> left = sums;
    for (const Unit &unit : columnNest.units) {
      int64_t each = 1;
      if (auto outer = dyn_cast<RowOuterTokensOp>(unit.op))
        each = shapeOf(outer).inGroup;
      int64_t count = (unit.end - unit.begin) * each;
      addToPartial(unit, left.take_front(count));
      left = left.drop_front(count);
    }
  });
  token = nullptr;
  return status;
}

LogicalResult SimpleEmitter::emitColumnChunk(const Nest &columnNest, Token &at) {
  token = &at;
  beginChunk(width);
  for (Operation *op : columnNest.ops) {
    if (auto project = dyn_cast<RowProjectTOp>(op))
      bindComputed(project.getResult(), multiplyT(project, at).front());
    else if (!isa<RowSumTokensOp, RowOuterTokensOp>(op) && failed(emitWide(op)))
      return failure();
  }
  int64_t next = 0;
  for (const Unit &unit : columnNest.units) {
    loc = unit.op->getLoc();
    if (auto sum = dyn_cast<RowSumTokensOp>(unit.op)) {
      SmallVector<Value> streams = llvm::to_vector(computed(sum.getValue()));
      if (unit.end == 1)
        for (Value stream : ArrayRef(streams).drop_front())
          streams[0] = addFloat(streams[0], stream);
      for (int64_t s = 0; s < unit.end; ++s, ++next)
        accumulators[next] = addFloat(accumulators[next], streams[s]);
      continue;
    }
    auto outer = cast<RowOuterTokensOp>(unit.op);
    Shape shape = shapeOf(outer);
    SmallVector<Value> streams = llvm::to_vector(computed(outer.getValue()));
    for (int64_t m = unit.begin; m < unit.end; ++m, next += shape.inGroup)
      for (int64_t g = 0; g < shape.groups; ++g) {
        Value z = splat(narrowScalar(outer.getNarrow(), g * shape.columns + m));
        for (int64_t s = 0; s < shape.inGroup; ++s)
          accumulators[next + s] =
              LLVM::FMAOp::create(b, loc, streams[g * shape.inGroup + s], z, accumulators[next + s]);
      }
  }
  return success();
}

/// The sums of the thread's channels, onto the block's partial.
void SimpleEmitter::addToPartial(const Unit &unit, ArrayRef<Value> sums) {
  loc = unit.op->getLoc();
  auto addTo = [&](Value place, Value value, int64_t alignment) {
    store(addFloat(load(value.getType(), place, alignment), value), place, alignment);
  };
  if (auto sum = dyn_cast<RowSumTokensOp>(unit.op)) {
    int64_t alignment = std::gcd(argumentAlignment(cast<MemRefType>(sum.getTarget().getType())), width * 4);
    if (sum.getInterleaved()) {
      Value base = address(pointer(sum.getTarget()), compute, mul(chunk, sums.size()));
      for (auto [s, value] : llvm::enumerate(sums))
        addTo(address(base, compute, s), value, 4);
      return;
    }
    Value base = address(pointer(sum.getTarget()), compute, chunk);
    for (auto [s, value] : llvm::enumerate(sums))
      addTo(address(base, compute, s * channels), value, alignment);
    return;
  }
  auto outer = cast<RowOuterTokensOp>(unit.op);
  auto type = cast<MemRefType>(outer.getTarget().getType());
  Shape shape = shapeOf(outer);
  if (outer.getTransposed()) {
    int64_t alignment = shape.channelStride > 1 ? 4 : std::gcd(std::gcd(argumentAlignment(type), shape.k * 4), width * 4);
    Value base = address(pointer(outer.getTarget()), compute, mul(chunk, shape.channelStride));
    for (int64_t m = unit.begin; m < unit.end; ++m)
      for (int64_t s = 0; s < shape.inGroup; ++s)
        addTo(address(base, compute, m * shape.k + s * shape.streamStride), sums[(m - unit.begin) * shape.inGroup + s],
              alignment);
    return;
  }
  int64_t step = shape.channelStride * shape.columns; // from channel to channel
  Value base = address(pointer(outer.getTarget()), compute, mul(widen64(chunk), step));
  for (int64_t s = 0; s < shape.inGroup; ++s)
    for (int64_t j = 0; j < width; ++j)
      for (int64_t m = unit.begin; m < unit.end;) {
        int64_t first = s * shape.streamStride * shape.columns + j * step + m;
        int64_t alignment = std::gcd(std::gcd(argumentAlignment(type), width * step * 4), first * 4);
        int64_t piece = std::min<int64_t>(alignment / 4, llvm::bit_floor(uint64_t(unit.end - m)));
        SmallVector<Value> values;
        for (int64_t i = 0; i < piece; ++i)
          values.push_back(lane(sums[(m - unit.begin + i) * shape.inGroup + s], j));
        addTo(address(base, compute, first), vectorOf(values), alignment);
        m += piece;
      }
}

} // namespace mlir::mhc::nvgpu
