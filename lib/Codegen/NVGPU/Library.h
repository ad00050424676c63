//===- Library.h - kernels behind the library commands ----------*- C++ -*-===//
//
// What is no row program (attention, tokens, ..) has kernels of its own, written with GpuBuilder and named by what they
// are made for (docs/design/package.md lists names and arguments). Sizes of a head are part of the name, so that sums
// lie in registers; numbers of tokens, heads and sequences are arguments.
//
//===----------------------------------------------------------------------===//
#ifndef MHC_CODEGEN_NVGPU_LIBRARY_H
#define MHC_CODEGEN_NVGPU_LIBRARY_H

#include "GpuBuilder.h"

#include "mhc/Codegen/Passes.h"

namespace mlir::mhc::nvgpu {

/// A kernel in the making. Arguments are pointers and then 64-bit integers, as those of all kernels.
class LibraryKernel : public GpuBuilder {
public:
  LibraryKernel(OpBuilder &builder, gpu::GPUModuleOp target)
      : GpuBuilder(builder, target.getLoc(), builder.getF32Type()), target(target) {}

protected:
  /// Starts the kernel: code that follows is its body. `tile` is what a block takes (tokens, elements, rows).
  void begin(StringRef name, int64_t pointers, int64_t integers, GpuLaunch launch);
  void end() { LLVM::ReturnOp::create(b, loc, ValueRange{}); }

  Value argument(int64_t i) { return function.getArgument(i); }
  Value narrow32(Value x) { return arith::TruncIOp::create(b, loc, b.getI32Type(), x); }
  Value divide(Value x, Value y) { return arith::DivUIOp::create(b, loc, x, y); }
  Value remainder(Value x, Value y) { return arith::RemUIOp::create(b, loc, x, y); }
  Value compare(arith::CmpIPredicate predicate, Value x, Value y) {
    return arith::CmpIOp::create(b, loc, predicate, x, y);
  }
  Value both(Value x, Value y) { return arith::AndIOp::create(b, loc, x, y); }
  Value select(Value condition, Value x, Value y) { return arith::SelectOp::create(b, loc, condition, x, y); }
  /// `from()` where the condition holds, `otherwise` elsewhere: memory behind a false condition is not touched.
  Value guarded(Value condition, Value otherwise, function_ref<Value()> from);

  /// `width` elements of memory in f32, and back.
  Value loadWide(Value pointer, Type element);
  void storeWide(Value value, Value pointer, Type element);

  gpu::GPUModuleOp target;
  LLVM::LLVMFuncOp function;
  Value thread, blockIndex; ///< i32
  Value shared;             ///< dynamic shared memory

private:
  Value loadStream(RowLoadOp, int64_t) override { return {}; }
  void storeStreams(RowStoreOp, ArrayRef<Value>) override {}
  Value narrowScalar(Value, int64_t) override { return {}; }
  Value channel() override { return {}; }
  Value any(Value) override { return {}; }
  LogicalResult emitOther(Operation *) override { return failure(); }
};

/// Elements of a head, of keys or values, that attention takes at most: sums along them lie in registers.
constexpr int64_t maxHeadDim = 256;

/// One file each. `parts` are the name's words after "mhc_", taken apart at "_"; false if they name no such kernel.
using NameParts = ArrayRef<StringRef>;
bool emitElementKernel(OpBuilder &builder, gpu::GPUModuleOp target, StringRef name, NameParts parts);
bool emitTokenKernel(OpBuilder &builder, gpu::GPUModuleOp target, StringRef name, NameParts parts);
bool emitDispatchKernel(OpBuilder &builder, gpu::GPUModuleOp target, StringRef name, NameParts parts);
bool emitRoutingKernel(OpBuilder &builder, gpu::GPUModuleOp target, StringRef name, NameParts parts);
bool emitGroupedKernel(OpBuilder &builder, gpu::GPUModuleOp target, StringRef name, NameParts parts);
bool emitAttentionKernel(OpBuilder &builder, gpu::GPUModuleOp target, StringRef name, NameParts parts);

/// "f32" or "bf16"; null otherwise.
Type parseElement(OpBuilder &builder, StringRef word);

} // namespace mlir::mhc::nvgpu

#endif // MHC_CODEGEN_NVGPU_LIBRARY_H
