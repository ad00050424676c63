//===- TileEmitter.h - persistent kernels of warps with roles ---*- C++ -*-===//
//
// What the forms of schedule family group share: one kernel that goes through tiles of 16 tokens, whose warps have roles and hand rings of shared
// memory to each other by mbarriers; tensor maps as further parameters; narrow code with a lane a token.
//
//===----------------------------------------------------------------------===//
#ifndef MHC_CODEGEN_NVGPU_TILEEMITTER_H
#define MHC_CODEGEN_NVGPU_TILEEMITTER_H

#include "GpuBuilder.h"
#include "PlanRequest.h"

#include "mhc/Analysis/GroupSlice.h"
#include "mhc/Codegen/Passes.h"

namespace mlir::mhc::nvgpu {

class TileEmitter : public GpuBuilder {
protected:
  /// `registers`: of a thread at the start.
  TileEmitter(OpBuilder &builder, KernelOp kernel, gpu::GPUModuleOp target, int64_t registers)
      : GpuBuilder(builder, kernel.getLoc(), kernel.getCompute()), kernel(kernel), target(target), registers(registers) {}

  /// The function with its parameters (pointers, rows, ints, workspace, tensor maps), and what every thread knows.
  void beginFunction(const GpuLaunch &launch, bool hasWorkspace = false);
  /// Before anything waits on a barrier: thread 0 fetches the descriptors of the tensor maps.
  void prefetchMaps();

  /// Who the block is: blocks of a group lie side by side, and tiles go round the groups: group, group + groups, ..
  void beginGroups(int64_t blocks, int64_t slice);
  Value firstToken(Value tile) { return mul(add(group, mul(tile, groups)), GroupSlice::tokens); } ///< i32; of the group's tile

  //===--- Rings and barriers -------------------------------------------------===//

  /// A position in a ring of stages: number and parity. It is carried by the loops over the tiles.
  struct Ring {
    Value stage, parity;
  };
  Ring next(Ring at, int64_t stages);
  /// The code of `count` warps from `first`; inRole is the warp's number among them.
  void role(int64_t first, int64_t count, function_ref<void()> body);
  void initBarrier(Value barrier, int64_t count) { NVVM::MBarrierInitOp::create(b, loc, barrier, i32(count), Value()); }
  void wait(Value barrier, Value parity, bool fromCluster = false);
  /// Until the stage of a ring has been left by who used it the round before.
  void waitFree(Value barrier, Ring of) { wait(barrier, arith::XOrIOp::create(b, loc, of.parity, i32(1))); }
  /// One arrival a warp, once all its lanes are here.
  void arrive(Value barrier);
  void arriveAlone(Value barrier) { NVVM::MBarrierArriveOp::create(b, loc, b.getI64Type(), barrier, Value()); }
  void expect(Value barrier, Value count);
  void syncWarp() { NVVM::SyncWarpOp::create(b, loc, i32(-1)); }
  /// Shared memory written by ordinary stores, before the copy engine reads it.
  void fenceShared();
  void setRegisters(int64_t count);

  //===--- Memory that blocks exchange ----------------------------------------===//

  /// Four words, past the first-level cache.
  SmallVector<Value> loadWords(Value pointer);
  void storeWords(ArrayRef<Value> words, Value pointer);
  /// A number's word with the parity of its round in the lowest bit, as the flag that it is there; whether words of a warp do not have it yet; and the
  /// number of a word, without the bit, so that it does not depend on the round.
  Value withParity(Value number, Value parity);
  Value lacks(ValueRange words, Value parity);
  Value numberOf(Value word) { return arith::BitcastOp::create(b, loc, compute, bitAnd(word, -2)); }

  //===--- Arithmetic ---------------------------------------------------------===//

  Value bytes(Value base, Value offset) { return address(base, b.getI8Type(), offset); }
  Value bytes(Value base, int64_t offset) { return address(base, b.getI8Type(), offset); }
  Value equal(Value x, int64_t y) { return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, x, i32(y)); }
  Value divide(Value x, int64_t y) { return b.createOrFold<arith::DivUIOp>(loc, x, i32(y)); }
  Value remainder(Value x, int64_t y) { return b.createOrFold<arith::RemUIOp>(loc, x, i32(y)); }
  Value exclusiveOr(Value x, Value y) { return b.createOrFold<arith::XOrIOp>(loc, x, y); }
  Value select(Value condition, Value x, Value y) { return arith::SelectOp::create(b, loc, condition, x, y); }
  /// Four registers of 8 x 8 matrices of bf16; lane l gives the address of row l mod 8 of matrix l / 8.
  SmallVector<Value> loadMatrices(Value place, bool transposed = false);
  /// sums += left [16, k] right [k, 8], bf16, in the registers' layout of m16n8k16, or m16n8k8 where `right` is one register.
  void multiplyAdd(MutableArrayRef<Value> sums, ArrayRef<Value> left, ArrayRef<Value> right);

  //===--- Interleaved streams ------------------------------------------------===//

  /// The low (or high) halves of two words.
  Value halves(Value first, Value second, bool high);
  /// Words of memory, [channel][two streams], as the channels of each stream, two a word; and back.
  SmallVector<Value> takeApart(ArrayRef<Value> words, int64_t streams);
  SmallVector<Value> putTogether(ArrayRef<Value> streams, int64_t channels);

  //===--- Narrow code --------------------------------------------------------===//

  LogicalResult emitNarrowOp(Operation &op);
  /// Rows of coefficients of the tile that begins at a token into shared memory, by bulk copies as far as they go, to whole 16 bytes (no memory ends
  /// between them): one lane. `barrier` is told their bytes and `more`.
  void copyCoefficients(ArrayRef<std::pair<RowLoadOp, Value>> copies, Value first64, Value barrier, int64_t more = 0);
  /// A token's back from where rows of them begin.
  SmallVector<Value> loadRow(RowLoadOp op, Value rows, Value token);
  /// The scalars of a narrow value of the lane's token.
  virtual SmallVector<Value> narrowElements(Value narrow) = 0;
  Value narrowScalar(Value narrow, int64_t element) override { return scalars.find(narrow)->second[element]; }
  Value any(Value condition) override;

  //===--- State --------------------------------------------------------------===//

  KernelOp kernel;
  gpu::GPUModuleOp target;
  int64_t registers;
  LLVM::LLVMFuncOp function;
  SmallVector<Value> pointers, maps; ///< of the kernel's arguments; tensor maps in the order of the launch
  Value workspace;
  Value rows; ///< i64
  Value shared, thread, laneOf, warp, inRole;
  int64_t roleFirst = 0; ///< first warp of the role whose code is written
  Value rank, group, groups;
  Value mine;       ///< tiles of this group
  Value sliceStart; ///< first channel of this block
  Value token64, live;                         ///< the token's number among all; whether it exists
  DenseMap<Value, SmallVector<Value>> scalars; ///< narrow values of the token
};

} // namespace mlir::mhc::nvgpu

#endif // MHC_CODEGEN_NVGPU_TILEEMITTER_H
