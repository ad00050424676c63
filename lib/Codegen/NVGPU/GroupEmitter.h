//===- GroupEmitter.h - schedule family group -------------------*- C++ -*-===//
//
// One persistent kernel of clusters (GroupPlan.h). Its warps have roles, and go through the tiles at their own pace:
//
//   loader        brings rows and coefficients of a tile into a stage of a ring, by the tensor memory accelerator
//   post          the elementwise code of the first wide phase, in place in the stage; sums of what it reduces
//   projection    rows out to memory; products with phi, whose slice stays in registers as bf16 high and low parts;
//                 the block's sums to the block of the cluster that finishes the token; the second wide phase of the tile before
//   coefficients  adds the blocks' sums up, runs the narrow phase one lane a token, and sends what the second phase needs back
//
// A stage passes from role to role by mbarriers: full (loader to post), done (post to projection), empty (projection to loader); what
// only post reads has a ring of its own (passed: post to loader). Sums and coefficients travel by st.async, which counts bytes on the receiver's barrier. There is no barrier of the cluster in the loop.
// A block cannot overtake another by more than `lag` tiles, since its second phase waits for sums of all; so four exchange buffers do.
//
//===----------------------------------------------------------------------===//
#ifndef MHC_CODEGEN_NVGPU_GROUPEMITTER_H
#define MHC_CODEGEN_NVGPU_GROUPEMITTER_H

#include "GroupPlan.h"
#include "TileEmitter.h"

namespace mlir::mhc::nvgpu {

class GroupEmitter : public TileEmitter {
public:
  GroupEmitter(OpBuilder &builder, KernelOp kernel, gpu::GPUModuleOp target, GroupPlan plan)
      : TileEmitter(builder, kernel, target, GroupPlan::registers), plan(std::move(plan)) {}
  LogicalResult run();

private:
  //===--- Kernel, ring and barriers (GroupEmitter.cpp) ----------------------===//

  void begin();
  void initBarriers();
  void emitLoader();

  using TileEmitter::next;
  Ring next(Ring at) { return next(at, plan.stages); }
  Ring nextPassing(Ring at) { return next(at, plan.passingStages); }
  bool passes() const { return plan.passingBytes > 0; }
  /// for each tile of the cluster (its number among the cluster's), with ring positions carried.
  void tiles(Value count, int64_t rings, function_ref<SmallVector<Ring>(Value, ArrayRef<Ring>)> body);
  Value firstToken(Value tile); ///< i32
  Value full(Value stage) { return barrierAt(0, stage); }
  Value done(Value stage) { return barrierAt(plan.stages, stage); }
  Value empty(Value stage) { return barrierAt(2 * plan.stages, stage); }
  Value sumsHere(Value buffer) { return barrierAt(3 * plan.stages, buffer); }
  Value resultsHere(Value buffer) { return barrierAt(3 * plan.stages + GroupPlan::exchanges, buffer); }
  Value passed(Value stage) { return barrierAt(3 * plan.stages + 2 * GroupPlan::exchanges, stage); }
  Value barrierAt(int64_t first, Value index) { return bytes(bytes(shared, plan.barriers + 8 * first), mul(index, 8)); }

  Value stageAt(Value stage) { return bytes(shared, mul(stage, plan.stageBytes)); }
  Value passingAt(Value stage) { return bytes(shared, add(mul(stage, plan.passingBytes), plan.passingRing)); }
  /// `value` into the shared memory of block `block`, and its bytes onto that block's barrier.
  void send(Value value, Value place, Value barrier, Value block);

  //===--- Wide code (GroupWide.cpp) -----------------------------------------===//

  LogicalResult emitPost();
  LogicalResult emitSecond(Value tile, Value stageBase, Value buffer);
  LogicalResult emitBoxes(PhaseOp phase, Value stageBase);
  /// The token and the channels of a box that this thread has: warp `warp` of eight.
  void takeTokens(Value warp);
  Value rowPlace(Value base, int64_t stream);
  Value globalRow(Value argument, int64_t stream);
  Value loadStream(RowLoadOp load, int64_t stream) override;
  void storeStreams(RowStoreOp store, ArrayRef<Value> stored) override;
  Value channel() override;
  LogicalResult emitOther(Operation *op) override;
  void finishSums(Value stage);

  //===--- Projection and exchange (GroupProject.cpp) -------------------------===//

  LogicalResult emitProjection();
  void loadWeights();
  void storeRows(Value stageBase, Value first);
  void multiply(Value stageBase);
  void sendSums(Value stage, Value buffer);

  //===--- Coefficients (GroupCoefficients.cpp) -------------------------------===//

  LogicalResult emitCoefficients();
  void addSums(Value buffer, Value scratch);
  void sendResults(Value buffer, Value scratch);
  SmallVector<Value> narrowElements(Value narrow) override;

  //===--- State -------------------------------------------------------------===//

  GroupPlan plan;
  Value rank, cluster, clusters;
  Value mine;       ///< tiles of this cluster
  Value sliceStart; ///< first channel of this block

  /// Wide code: the thread's token of the tile, its place in a box, the stage, the box.
  Value local, inBox, swizzled, stageBase, passingBase;
  int64_t box = 0;
  bool inSecond = false;
  llvm::MapVector<Operation *, SmallVector<Value>> accumulators;
  /// Projection: parts of phi, [step][piece][half].
  SmallVector<Value> high, low;
};

} // namespace mlir::mhc::nvgpu

#endif // MHC_CODEGEN_NVGPU_GROUPEMITTER_H
