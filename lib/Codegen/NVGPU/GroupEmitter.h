//===- GroupEmitter.h - schedule family group -------------------*- C++ -*-===//
//
// One persistent kernel of groups of blocks (GroupPlan.h). Its warps have roles, and go through the tiles at their own pace:
//
//   loader        brings rows and coefficients of a tile into a stage of a ring, by the tensor memory accelerator
//   post          the elementwise code of the first wide phase, in place in the stage; sums of what it reduces
//   projection    rows out to memory; products with phi, whose slice stays in registers as bf16 high and low parts;
//                 the block's sums to the block of the group that finishes the token; the second wide phase of a tile before
//   coefficients  adds the blocks' sums up, runs the narrow phase one lane a token, and sends what the second phase needs back
//
// A stage passes from role to role by mbarriers: full (loader to post), done (post to projection), empty (projection to loader); what
// only post reads has a ring of its own (passed: post to loader). How sums and coefficients travel is the subclass's: within a cluster (GroupCluster.cpp)
// or through memory (GroupRing.cpp). Either way a block cannot overtake another by more than `lag` tiles, since its second phase waits for sums of all; so
// a few exchange buffers do.
//
//===----------------------------------------------------------------------===//
#ifndef MHC_CODEGEN_NVGPU_GROUPEMITTER_H
#define MHC_CODEGEN_NVGPU_GROUPEMITTER_H

#include "GroupPlan.h"
#include "TileEmitter.h"

#include "llvm/Support/MathExtras.h"

#include <memory>

namespace mlir::mhc::nvgpu {

class GroupEmitter : public TileEmitter {
public:
  /// The emitter of a plan, by its exchange.
  static std::unique_ptr<GroupEmitter> create(OpBuilder &builder, KernelOp kernel, gpu::GPUModuleOp target, GroupPlan plan);
  GroupEmitter(OpBuilder &builder, KernelOp kernel, gpu::GPUModuleOp target, GroupPlan plan)
      : TileEmitter(builder, kernel, target, GroupPlan::registers), plan(std::move(plan)) {}
  LogicalResult run();

protected:
  //===--- The exchange ------------------------------------------------------===//

  /// The function of this launch, which the exchange adds to.
  virtual void beginExchange(GpuLaunch launch) = 0;
  virtual void initExchange() {} ///< thread 0, with the other barriers
  virtual void armExchange() {}  ///< and once they are there
  virtual void join() {}         ///< all threads, before the first tile and after the last
  /// Four sums of a token of the tile, from number 4 `quad`, to the block that finishes it.
  virtual void sendSums(Value tile, Value token, Value quad, ArrayRef<Value> sums) = 0;
  /// Waits for the sums of this block's tokens; each added up over the blocks in their order, into rows of shared memory: a coefficient warp.
  virtual void receiveSums(Value tile, Value rows) = 0;
  /// What the second wide phase needs of the tokens of a block, which lanes below `share` have, to all blocks. Without any it is a message alone.
  virtual void sendResults(Value tile, ArrayRef<Value> results) = 0;
  /// Asks for the results of the thread's token `local`; once more where the answer has come too early; and waits for them.
  virtual SmallVector<Value> askResults(Value) { return {}; }
  virtual SmallVector<Value> askAgain(Value, ArrayRef<Value> asked) { return llvm::to_vector(asked); }
  virtual SmallVector<Value> receiveResults(Value tile, ArrayRef<Value> asked) = 0;

  /// Some lanes have a quad of sums, of blocks that are as many lanes apart; a line is what a lane loads of one block.
  struct Line {
    int64_t token; ///< of the share
    Value block;
    Value counts; ///< whether there is such a block; null: always
  };
  int64_t lanesOfSums() const { return llvm::PowerOf2Ceil(plan.sumWords / 4); }
  /// The lane's quad, of those that there are.
  Value quadOfLane() { return min(bitAnd(laneOf, lanesOfSums() - 1), i32(plan.sumWords / 4 - 1)); }
  /// Adds up lines, some at a time, that `fetch` loads as four values each.
  void addLines(Value rows, function_ref<SmallVector<SmallVector<Value>>(ArrayRef<Line>)> fetch);
  /// The number in the tile of token `ofShare` of this block's, if it has so many; else the last one's.
  Value ownToken(Value ofShare) { return min(add(mul(rank, plan.share), ofShare), i32(GroupPlan::tokens - 1)); }
  Value barrierAt(int64_t first, Value index) { return bytes(bytes(shared, plan.barriers + 8 * first), mul(index, 8)); }
  int64_t exchangeBarriers() const { return 3 * plan.choice.stages + plan.passingStages; }
  /// Where tiles that exchange have their place, and the parity of its round.
  Value placeOf(Value tile) { return bitAnd(tile, GroupPlan::exchanges - 1); }
  Value roundOf(Value tile) { return bitAnd(shiftRight(tile, llvm::Log2_64(GroupPlan::exchanges)), 1); }

private:
  //===--- Kernel, ring and barriers (GroupEmitter.cpp) ----------------------===//

  void begin();
  void initBarriers();
  void emitLoader();

  using TileEmitter::next;
  Ring next(Ring at) { return next(at, plan.choice.stages); }
  Ring nextPassing(Ring at) { return next(at, plan.passingStages); }
  bool passes() const { return plan.passingBytes > 0; }
  /// for each tile of the group (its number among the group's), with ring positions carried.
  void tiles(Value count, int64_t rings, function_ref<SmallVector<Ring>(Value, ArrayRef<Ring>)> body);
  Value full(Value stage) { return barrierAt(0, stage); }
  Value done(Value stage) { return barrierAt(plan.choice.stages, stage); }
  Value empty(Value stage) { return barrierAt(2 * plan.choice.stages, stage); }
  Value passed(Value stage) { return barrierAt(3 * plan.choice.stages, stage); }

  Value stageAt(Value stage) { return bytes(shared, mul(stage, plan.stageBytes)); }
  Value passingAt(Value stage) { return bytes(shared, add(mul(stage, plan.passingBytes), plan.passingRing)); }
  bool isInterleaved(Value wide) const { return plan.interleaved && cast<WideType>(wide.getType()).getStreams() > 1; }
  /// Where tensor maps have this block's channels of the tile from token `first`.
  SmallVector<Value> boxOf(Value wide, Value first);
  /// A stage holds values one after the other, as [box][stream][token]; of interleaved streams the boxes are of 64 elements, as many as there are streams.
  Value homeAt(Value base, int64_t home) { return bytes(base, home * plan.boxes * GroupPlan::boxBytes); }

  //===--- Wide code (GroupWide.cpp) -----------------------------------------===//

  LogicalResult emitPost();
  LogicalResult emitSecond(Value tile, Value stageBase, ArrayRef<Value> results);
  LogicalResult emitBox(PhaseOp phase);
  /// The token and the channels of a box that this thread has: warp `warp` of eight.
  void takeTokens(Value warp);
  Value rowPlace(Value base, int64_t home, Value wide, int64_t stream);
  Value piecePlace(Value base, int64_t home, int64_t piece);
  SmallVector<Value> loadApart(Value base, int64_t home);
  void storeTogether(ArrayRef<Value> streams, Value base, int64_t home);
  Value inOrder(Value vector);
  Value globalRow(Value argument, int64_t stream);
  Value loadStream(RowLoadOp load, int64_t stream) override;
  void storeStreams(RowStoreOp store, ArrayRef<Value> stored) override;
  Value channel() override;
  LogicalResult emitOther(Operation *op) override;
  void finishSums(Value stage);

  //===--- Projection (GroupProject.cpp) --------------------------------------===//

  LogicalResult emitProjection();
  void loadWeights();
  void storeRows(Value stageBase, Value first);
  Value partials(Value tile);
  void multiply(Value tile, Value stageBase);
  void giveSums(Value tile, Value stage);

  //===--- Coefficients (GroupCoefficients.cpp) -------------------------------===//

  LogicalResult emitCoefficients();
  LogicalResult bindSums(Value row);
  SmallVector<Value> narrowElements(Value narrow) override;

protected:
  //===--- State -------------------------------------------------------------===//

  GroupPlan plan;
  /// Wide code: the thread's token of the tile, its place in a box, the stage, the box.
  Value local, inBox, swizzled, stageBase, passingBase, box;
  /// Interleaved streams: the thread's first piece of 16 bytes in a box; whether it is the second one in memory (null: it has but one). The streams of a load.
  Value swizzledPiece, turns;
  SmallVector<Value> apart;
  bool inSecond = false;
  llvm::MapVector<Operation *, SmallVector<Value>> accumulators;
  /// Projection: parts of phi, [step][piece][half].
  SmallVector<Value> high, low;
};

} // namespace mlir::mhc::nvgpu

#endif // MHC_CODEGEN_NVGPU_GROUPEMITTER_H
