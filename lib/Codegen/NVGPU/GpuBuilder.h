//===- GpuBuilder.h - what GPU kernels are written in -----------*- C++ -*-===//
//
// Index arithmetic that folds constants, typed pointers, loops, warps: shared by the schedule families of NVIDIA GPUs.
// Memory is reached by pointers of the LLVM dialect (1 global, 3 shared); every access states its alignment, without
// which LLVM would split it into single elements.
//
//===----------------------------------------------------------------------===//
#ifndef MHC_CODEGEN_NVGPU_GPUBUILDER_H
#define MHC_CODEGEN_NVGPU_GPUBUILDER_H

#include "mhc/Codegen/RowEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

namespace mlir::mhc::nvgpu {

constexpr int64_t warpSize = 32;

/// Bytes of an element in memory.
int64_t bytesOf(Type element);
/// Elements of a row (dynamic first dimension) or of the whole (static shape).
int64_t rowElements(MemRefType type);
/// What the address of an argument is a multiple of, in bytes: buffers start at multiples of 16 bytes, and slices of
/// them at whole rows.
int64_t argumentAlignment(MemRefType type);

/// A shared part of RowEmitter's hooks: bf16 is kept as words of two, since LLVM splits vectors of bf16 that are
/// rounded and widened again.
class GpuBuilder : public RowEmitter {
protected:
  using RowEmitter::RowEmitter;

  Value i32(int64_t value);
  Value i64(int64_t value);
  Value f32(double value);
  Value add(Value x, Value y) { return b.createOrFold<arith::AddIOp>(loc, x, y); }
  Value sub(Value x, Value y) { return b.createOrFold<arith::SubIOp>(loc, x, y); }
  Value mul(Value x, Value y) { return b.createOrFold<arith::MulIOp>(loc, x, y); }
  Value add(Value x, int64_t y) { return y ? add(x, constantLike(x, y)) : x; }
  Value mul(Value x, int64_t y) { return y == 1 ? x : mul(x, constantLike(x, y)); }
  Value min(Value x, Value y) { return b.createOrFold<arith::MinSIOp>(loc, x, y); }
  Value bitAnd(Value x, int64_t y) { return b.createOrFold<arith::AndIOp>(loc, x, constantLike(x, y)); }
  Value shiftRight(Value x, int64_t y) { return y ? b.createOrFold<arith::ShRUIOp>(loc, x, constantLike(x, y)) : x; }
  Value less(Value x, Value y) { return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, x, y); }
  Value widen64(Value x) { return arith::ExtSIOp::create(b, loc, b.getI64Type(), x); }
  Value addFloat(Value x, Value y) { return arith::AddFOp::create(b, loc, x, y); }
  Value maxFloat(Value x, Value y) { return arith::MaximumFOp::create(b, loc, x, y); }

  Value address(Value base, Type element, Value index);
  Value address(Value base, Type element, int64_t index);
  Value load(Type type, Value pointer, int64_t alignment);
  void store(Value value, Value pointer, int64_t alignment);

  /// for (i = from; i < to; i += step); `body` returns the carried values.
  SmallVector<Value> loop(Value from, Value to, Value step, ValueRange carried,
                          function_ref<SmallVector<Value>(Value, ValueRange)> body);
  void loop(Value from, Value to, Value step, function_ref<void(Value)> body);
  /// The same, but not unrolled: code that is too long for the instruction cache gains nothing from it.
  SmallVector<Value> rolled(int64_t count, ValueRange carried, function_ref<SmallVector<Value>(Value, ValueRange)> body);
  void when(Value condition, function_ref<void()> body);
  void barrier() { NVVM::BarrierOp::create(b, loc); }
  Value shuffle(Value value, int64_t lanes);
  /// The block's dynamic shared memory, which all kernels of a module name alike, at a multiple of `alignment`.
  Value sharedMemory(gpu::GPUModuleOp module, int64_t alignment = 16);

  Value lane(Value vector, int64_t i);
  Value vectorOf(ArrayRef<Value> lanes);

  /// What `width` elements of memory are loaded and stored as.
  Type storedType(Type element);
  Value widen(Value stored, Type elementType) override;
  Rounded round(Value computed, Type elementType) override;

  //===--- Narrow code: scalars of one token ---------------------------------===//

  /// `count` elements from `base`, widened (i32 stays), and back; `width` is 1.
  SmallVector<Value> loadElements(Value base, Type element, int64_t count);
  void storeElements(ArrayRef<Value> values, Value base, Type element);
  /// The values of a cast of narrow values.
  SmallVector<Value> castElements(RowCastOp op, SmallVector<Value> values);
  /// A cast or scalar code: `elements` gives the scalars of an operand, `bind` receives those of each result.
  LogicalResult emitNarrowCode(Operation &op, function_ref<SmallVector<Value>(Value)> elements, function_ref<void(Value, ArrayRef<Value>)> bind);
  /// Emits the op's region; `bind` receives the scalars of each result.
  LogicalResult emitNarrow(RowNarrowOp op, ArrayRef<Value> arguments, function_ref<void(Value, ArrayRef<Value>)> bind);

private:
  Value constantLike(Value x, int64_t value) { return x.getType().isInteger(32) ? i32(value) : i64(value); }
};

} // namespace mlir::mhc::nvgpu

#endif // MHC_CODEGEN_NVGPU_GPUBUILDER_H
