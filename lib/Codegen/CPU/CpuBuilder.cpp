//===- CpuBuilder.cpp - loads, stores, loops and index arithmetic -----------===//

#include "CpuEmitter.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace mlir::mhc::cpu {

Type memoryType(Type element) {
  return element.isBF16() ? Type(IntegerType::get(element.getContext(), 16)) : element;
}

int64_t bytesOf(Type element) { return isa<LLVM::LLVMPointerType>(element) ? 8 : element.getIntOrFloatBitWidth() / 8; }

Value CpuBuilder::i64(int64_t value) { return arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(value)); }
Value CpuBuilder::add(Value x, Value y) { return b.createOrFold<arith::AddIOp>(loc, x, y); }
Value CpuBuilder::sub(Value x, Value y) { return b.createOrFold<arith::SubIOp>(loc, x, y); }
Value CpuBuilder::mul(Value x, Value y) { return b.createOrFold<arith::MulIOp>(loc, x, y); }
Value CpuBuilder::min(Value x, Value y) { return b.createOrFold<arith::MinSIOp>(loc, x, y); }
Value CpuBuilder::max(Value x, Value y) { return b.createOrFold<arith::MaxSIOp>(loc, x, y); }

Value CpuBuilder::address(Value base, Type element, Value index) {
  return LLVM::GEPOp::create(b, loc, LLVM::LLVMPointerType::get(b.getContext()), element, base, ArrayRef<LLVM::GEPArg>{index});
}

Value CpuBuilder::load(Type type, Value base, Value index) {
  Type element = getElementTypeOrSelf(type);
  return LLVM::LoadOp::create(b, loc, type, address(base, element, index), bytesOf(element));
}

void CpuBuilder::store(Value value, Value base, Value index) {
  Type element = getElementTypeOrSelf(value.getType());
  LLVM::StoreOp::create(b, loc, value, address(base, element, index), bytesOf(element));
}

SmallVector<Value> CpuBuilder::loop(Value from, Value to, int64_t step, ValueRange carried,
                                    function_ref<SmallVector<Value>(Value, ValueRange)> body) {
  auto op = scf::ForOp::create(b, loc, from, to, i64(step), carried,
                               [&](OpBuilder &, Location at, Value iv, ValueRange values) {
                                 scf::YieldOp::create(b, at, body(iv, values));
                               });
  return llvm::to_vector_of<Value>(op.getResults());
}

void CpuBuilder::loop(Value from, Value to, int64_t step, function_ref<void(Value)> body) {
  loop(from, to, step, {}, [&](Value iv, ValueRange) {
    body(iv);
    return SmallVector<Value>();
  });
}

Value CpuBuilder::zeros(Type type) { return arith::ConstantOp::create(b, loc, b.getZeroAttr(type)); }

Value CpuBuilder::broadcast(Value scalar, int64_t count) {
  return count == 1 ? scalar : vector::BroadcastOp::create(b, loc, vector(scalar.getType(), count), scalar);
}

Value CpuBuilder::fold(Value value, function_ref<Value(Value, Value)> combine) {
  for (int64_t half = cast<VectorType>(value.getType()).getNumElements() / 2; half >= 1; half /= 2) {
    auto low = llvm::to_vector(llvm::seq<int64_t>(0, half)), high = llvm::to_vector(llvm::seq<int64_t>(half, 2 * half));
    value = combine(vector::ShuffleOp::create(b, loc, value, value, low), vector::ShuffleOp::create(b, loc, value, value, high));
  }
  return vector::ExtractOp::create(b, loc, value, 0);
}

} // namespace mlir::mhc::cpu
