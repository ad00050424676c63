//===- GangEmitter.h - boundaries of backward in family group ---*- C++ -*-===//
//
// One persistent kernel of gangs of blocks (GangPlan.h). Its warps have roles, and go through the tiles at their own pace:
//
//   mover      brings rows and coefficients of a tile and takes rows away, by the tensor memory accelerator; sends the block's late sums
//   first      elementwise code of the first wide phase, what it rounds into a ring of its own; products of rows; the block's sums, into memory
//   exchange   reads the sums of all blocks, runs the narrow phase one lane a token (every block does), hands on what the second phase needs;
//              sums over the tokens
//   second     elementwise code of the second phase, in place; the product with phi transposed, whose slice stays in registers as bf16 high and
//              low parts
//   products   phi's gradient, which stays in registers; the last products of rows
//   late       tile after tile in turn a block adds up the late sums of all and runs the last narrow phase: nobody waits for it
//
// Sums go through rings in memory whose words carry the parity of their round in the lowest bit: they are their own flags.
//
//===----------------------------------------------------------------------===//
#ifndef MHC_CODEGEN_NVGPU_GANGEMITTER_H
#define MHC_CODEGEN_NVGPU_GANGEMITTER_H

#include "GangPlan.h"
#include "TileEmitter.h"

namespace mlir::mhc::nvgpu {

class GangEmitter : public TileEmitter {
public:
  GangEmitter(OpBuilder &builder, KernelOp kernel, gpu::GPUModuleOp target, GangPlan plan)
      : TileEmitter(builder, kernel, target, GangPlan::registers), plan(std::move(plan)) {}
  LogicalResult run();

private:
  //===--- Kernel, rings and barriers (GangEmitter.cpp) ----------------------===//

  void begin();
  void initBarriers();
  /// for each tile of the gang from `from`, by its number among these. A thread reads anew who it is each time,
  /// from shared memory, so that no compiler takes what follows from it out of the loop: there are too few registers to keep it, and beside the
  /// stages the first-level cache is too small for what would be spilled. `body` may change what is carried.
  SmallVector<Value> tiles(Value from, int64_t step, ValueRange carried, function_ref<void(Value, MutableArrayRef<Value>)> body);
  void tiles(function_ref<void(Value)> body) {
    tiles(i32(0), 1, {}, [&](Value tile, MutableArrayRef<Value>) { body(tile); });
  }
  /// Where the ring of `count` stages is at a tile.
  Ring at(Value tile, int64_t count) { return {remainder(tile, count), bitAnd(divide(tile, count), 1)}; }
  Ring at(Value tile, GangPlan::RingOf ring) { return at(tile, plan.stages[ring]); }
  int64_t early() const { return plan.stages[GangPlan::early]; }
  int64_t keptStages() const { return plan.stages[GangPlan::kept]; }
  bool hasOther() const { return plan.loadedBytes[GangPlan::other] > 0; }

  Value barrierAt(int64_t first, Value index) { return bytes(bytes(shared, plan.barriers + 8 * first), mul(index, 8)); }
  Value full(Value stage) { return barrierAt(0, stage); }                ///< mover to first, second
  Value done(Value stage) { return barrierAt(early(), stage); }          ///< second to products, mover
  Value empty(Value stage) { return barrierAt(2 * early(), stage); }     ///< products to mover
  Value fullOther(Value stage) { return barrierAt(3 * early(), stage); } ///< mover to second
  int64_t afterOther() const { return 3 * early() + plan.stages[GangPlan::other]; }
  Value keptFull(Value stage) { return barrierAt(afterOther(), stage); }                 ///< first to second, products
  Value keptEmpty(Value stage) { return barrierAt(afterOther() + keptStages(), stage); } ///< back
  int64_t afterKept() const { return afterOther() + 2 * keptStages(); }
  Value given(Value stage) { return barrierAt(afterKept(), stage); }                               ///< exchange to second, products
  Value taken(Value stage) { return barrierAt(afterKept() + GangPlan::givenStages, stage); }       ///< back
  Value fetched(Value which) { return barrierAt(afterKept() + 2 * GangPlan::givenStages, which); } ///< coefficients of an exchange warp

  /// Barriers among the warps of a role, by number.
  static constexpr int64_t exchangeBarrier = 1, firstBarrier = 2;
  void together(int64_t which, int64_t warps) {
    NVVM::BarrierOp::create(b, loc, Type(), i32(which), i32(warps * warpSize), NVVM::BarrierReductionAttr(), Value());
  }

  /// Products of rows of the warp's tokens: the lanes of `holds` have sums of `tokenOfSums`.
  struct Parts {
    RowDotOp dot;
    int64_t first;
    SmallVector<SmallVector<Value>> sums; ///< accumulators of tensor cores: see the head of GangProducts.cpp
  };
  /// Sets the stages that homes lie in.
  void enter(Value tile);
  Value homeOf(Value wide);
  Value stageOf(GangPlan::RingOf ring, Value stage) {
    return bytes(shared, add(mul(stage, plan.stageStreams[ring] * GangPlan::streamBytes), plan.ringAt[ring]));
  }
  /// This gang's in the workspace.
  Value exchange() { return bytes(workspace, mul(widen64(group), plan.workspace)); }
  Value lateSums() { return bytes(exchange(), plan.exchangeBytes); }
  Value coefficientsAt(Value stage) { return bytes(shared, add(mul(stage, plan.coefficientBytes), plan.coefficientsAt)); }
  Value givenAt(Value stage) { return bytes(shared, add(mul(stage, plan.givenBytes), plan.givenAt)); }
  /// A block's sums of the warp's tokens into the place of this round of the exchange, by the lanes that hold them: [place][block][token][sum].
  void publish(MutableArrayRef<Parts> all, Value place, Value parity);

  //===--- Wide code (GangWide.cpp) ------------------------------------------===//

  LogicalResult emitFirst();
  LogicalResult emitSecond();
  void enterChunk(Value j, Value half);
  void loadWeights();
  Value rowOfPhi(Value stream, Value channel, bool interleaved);
  /// Takes the coefficients that wide code needs of the token `local` of the tile. Those of tokens past the last one are of another tile, and go with
  /// rows of zeros.
  void takeToken(Value coefficients, Value given);
  /// A left operand of the product with phi transposed, and which registers of `weights` go with it.
  struct Factor {
    SmallVector<Value> registers;
    int64_t weight, count, group;
  };
  using Factors = SmallVector<Factor>;
  Factors loadFactors(Value from);
  ArrayRef<Value> weightsOf(int64_t j, int64_t product, const Factor &factor);
  SmallVector<Value> multiplyChunk(int64_t j, const Factors &left);
  LogicalResult emitOps(ArrayRef<Operation *> ops);
  LogicalResult emitSecondChunk(Value coefficients, Value given, ValueRange product);
  Value chunkPlace(Value wide, int64_t stream);
  bool isInterleaved(Value wide) const { return plan.interleaved && cast<WideType>(wide.getType()).getStreams() > 1; }
  /// Of interleaved streams a chunk is two pieces of 16 bytes.
  Value piecePlace(Value wide, int64_t piece);
  SmallVector<Value> loadChunk(Value wide);
  /// The lane's chunk of a box, of the second phase, from which `quarter` of the lanes of a row it is.
  Value chunkOf(Value j, Value quarter);
  /// Where tensor maps have this block's channels of a row.
  SmallVector<Value> boxOfRow(Value wide, Value tile);
  Value loadStream(RowLoadOp load, int64_t stream) override;
  void storeStreams(RowStoreOp, ArrayRef<Value>) override {} // from their homes
  Value channel() override;
  LogicalResult emitOther(Operation *op) override;
  void storeHome(Value wide);

  //===--- Tensor cores (GangProducts.cpp) -----------------------------------===//

  void emitProducts();
  SmallVector<Parts> multiplyRows(ArrayRef<std::pair<RowDotOp, int64_t>> dots);
  SmallVector<Parts> multiplyApart(ArrayRef<std::pair<RowDotOp, int64_t>> dots);
  Value holds();
  Value tokenOfSums();
  /// Calls `take` with the number of an element (static part, and what the lane adds) and its value.
  void forEachSum(Parts &parts, function_ref<void(int64_t, Value, Value)> take);
  /// Two parts of the given coefficients, two registers each: high pieces of 8 columns are 0 .. pieces - 1, low ones follow.
  SmallVector<Value> loadGiven(Value from, int64_t first, int64_t second, bool transposed);
  void multiplyOuter(MutableArrayRef<Value> sums, Value given);
  void storeGradient(ArrayRef<Value> sums);

  //===--- The mover (GangMover.cpp) -----------------------------------------===//

  void emitMover();
  /// By one lane: rows of a stage, and the coefficients of a stage of the first ring.
  void loadRows(GangPlan::RingOf ring, Value tile);
  void loadCoefficients(Value tile);
  void storeRows(Value tile);
  /// The products' sums, which lie in the place of the stage's coefficients: the lane's words of them; and into memory.
  SmallVector<SmallVector<Value>> takeLate(Value tile);
  void publishLate(Value tile, ArrayRef<SmallVector<Value>> taken);

  //===--- Narrow code (GangNarrow.cpp) --------------------------------------===//

  LogicalResult emitExchange();
  LogicalResult emitLate();
  void fetch(Value tile, Value scratch);
  /// Sums over the blocks, of the lane's token, once all have the parity of the round; `patient`: nobody waits for them.
  SmallVector<Value> collect(Value ring, Value place, int64_t count, Value parity, bool patient);
  void give(Value slot, Value given);
  void finishTotals();
  SmallVector<Value> narrowElements(Value narrow) override;
  Value allocate(MemRefType type) override;
  void bindSums(PhaseOp phase, ArrayRef<std::pair<RowDotOp, int64_t>> dots, ArrayRef<Value> sums);

  //===--- State -------------------------------------------------------------===//

  GangPlan plan;
  Value present; ///< the gang's tile whose code is being written
  Value stageBase[GangPlan::ringCount];

  /// Wide code: the thread's token of the tile, its channels in the box (a multiple of 4), their place in a stream of a box, and which box.
  Value local, inBox, swizzled, boxOf;
  SmallVector<Value> apart;   ///< the streams of an interleaved load
  int64_t lateMemory = 0;     ///< bytes of shared memory that the late code being written may still take
  Value scratchOf;            ///< narrow code of the exchange warps: coefficients of before
  SmallVector<Value> weights; ///< parts of phi, [chunk][pair][stream], then as loadFactors goes through them
};

} // namespace mlir::mhc::nvgpu

#endif // MHC_CODEGEN_NVGPU_GANGEMITTER_H
