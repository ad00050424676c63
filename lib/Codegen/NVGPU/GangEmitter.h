//===- GangEmitter.h - boundaries of backward in family group ---*- C++ -*-===//
//
// One persistent kernel of gangs of blocks (GangPlan.h). Its warps have roles, and go through the tiles at their own pace:
//
//   loader     brings rows and coefficients of a tile by the tensor memory accelerator
//   first      elementwise code of the first wide phase, what it rounds into a ring of its own; products of rows; the block's sums, into memory
//   exchange   reads the sums of all blocks, runs the narrow phase one lane a token (every block does), hands on what the second phase needs;
//              sums over the tokens
//   second     elementwise code of the second phase, in place; the product with phi transposed, whose slice stays in registers as bf16 high and
//              low parts
//   products   rows out to memory; phi's gradient, which stays in registers; products of rows, into memory
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
  void emitLoader();
  /// for each tile of the gang, by its number among these.
  void tiles(function_ref<void(Value)> body) { loop(i32(0), mine, i32(1), body); }
  Value firstToken(Value tile); ///< i32
  /// Where the ring of `count` stages is at a tile.
  Ring at(Value tile, int64_t count) { return {remainder(tile, count), bitAnd(divide(tile, count), 1)}; }
  Ring at(Value tile, GangPlan::RingOf ring) { return at(tile, plan.stages[ring]); }
  int64_t early() const { return plan.stages[GangPlan::early]; }
  int64_t keptStages() const { return plan.stages[GangPlan::kept]; }
  bool hasOther() const { return plan.loadedBytes[GangPlan::other] > 0; }

  Value barrierAt(int64_t first, Value index) { return bytes(bytes(shared, plan.barriers + 8 * first), mul(index, 8)); }
  Value full(Value stage) { return barrierAt(0, stage); }                ///< loader to all
  Value empty(Value stage) { return barrierAt(early(), stage); }         ///< products to loader
  Value done(Value stage) { return barrierAt(2 * early(), stage); }      ///< second to products
  Value fullOther(Value stage) { return barrierAt(3 * early(), stage); } ///< loader to second
  int64_t afterOther() const { return 3 * early() + plan.stages[GangPlan::other]; }
  Value keptFull(Value stage) { return barrierAt(afterOther(), stage); }                 ///< first to second, products
  Value keptEmpty(Value stage) { return barrierAt(afterOther() + keptStages(), stage); } ///< products to first
  int64_t afterKept() const { return afterOther() + 2 * keptStages(); }
  Value given(Value stage) { return barrierAt(afterKept(), stage); }                               ///< exchange to second, products
  Value taken(Value stage) { return barrierAt(afterKept() + GangPlan::givenStages, stage); }       ///< back
  Value fetched(Value which) { return barrierAt(afterKept() + 2 * GangPlan::givenStages, which); } ///< coefficients of an exchange warp

  /// Products of rows, of the tokens 4 w .. 4 w + 3 of the tile: the lanes of `holds` have sums of a token.
  struct Parts {
    RowDotOp dot;
    int64_t first;
    SmallVector<SmallVector<Value>> sums; ///< [pair of columns][4]
  };
  /// Sets the stages that homes lie in.
  void enter(Value tile);
  Value homeOf(Value wide);
  Value stageOf(GangPlan::RingOf ring, Value stage) {
    return bytes(shared, add(mul(stage, plan.stageStreams[ring] * GangPlan::streamBytes), plan.ringAt[ring]));
  }
  Value givenAt(Value stage) { return bytes(shared, add(mul(stage, plan.givenBytes), plan.givenAt)); }
  /// A block's sums into the place of this round of a ring in memory, by the lanes that hold them: [place][block][token][sum].
  void publish(MutableArrayRef<Parts> all, Value ring, Value place, int64_t count, Value parity);

  //===--- Wide code (GangWide.cpp) ------------------------------------------===//

  LogicalResult emitFirst();
  LogicalResult emitSecond();
  void loadWeights();
  /// Takes the coefficients that wide code needs of the token `local` of the tile.
  void takeToken(Value tile, Value coefficients, Value given, bool zeroDead);
  Value chunkPlace(Value wide, int64_t stream);
  Value loadStream(RowLoadOp load, int64_t stream) override;
  void storeStreams(RowStoreOp, ArrayRef<Value>) override {} // from their homes
  Value channel() override;
  LogicalResult emitOther(Operation *op) override;
  void storeHome(Value wide);

  //===--- Tensor cores (GangProducts.cpp) -----------------------------------===//

  LogicalResult emitProducts();
  SmallVector<Parts> multiplyRows(ArrayRef<std::pair<RowDotOp, int64_t>> dots);
  Value holds();
  /// Calls `take` with the number of an element (static part, and what the lane adds) and its value.
  void forEachSum(Parts &parts, function_ref<void(int64_t, Value, Value)> take);
  /// Parts of the given coefficients: for each piece of 8 columns high, then for each low; two registers each.
  SmallVector<SmallVector<Value>> loadGiven(Value from, bool transposed);
  void multiplyOuter(MutableArrayRef<Value> sums, Value given);
  void storeRows(Value tile);
  void storeGradient(ArrayRef<Value> sums);

  //===--- Narrow code (GangNarrow.cpp) --------------------------------------===//

  LogicalResult emitExchange();
  LogicalResult emitLate();
  void fetch(Value tile, Value scratch);
  /// Sums over the blocks, of the lane's token, once all have the parity of the round; `patient`: nobody waits for them.
  SmallVector<Value> collect(Value ring, Value place, int64_t count, Value parity, bool patient);
  void give(Value slot, Value given);
  void finishTotals();
  SmallVector<Value> narrowElements(Value narrow) override;
  void bindSums(PhaseOp phase, ArrayRef<std::pair<RowDotOp, int64_t>> dots, ArrayRef<Value> sums);

  //===--- State -------------------------------------------------------------===//

  GangPlan plan;
  Value gang, rank, gangs;
  Value mine;               ///< tiles of this gang
  Value sliceStart;         ///< first channel of this block
  Value exchange, lateSums; ///< this gang's in the workspace
  Value stageBase[GangPlan::ringCount];

  /// Wide code: the thread's token of the tile, its channels in the box (a multiple of 4), their place in a stream of a box; the box, where it is not
  /// part of that place.
  Value local, inBox, swizzled;
  int64_t box = 0;
  Value boxOf;                ///< or which it is
  Value scratchOf;            ///< narrow code of the exchange warps: coefficients of before
  SmallVector<Value> weights; ///< parts of phi, [chunk][pair][stream][high, then low pieces]
};

} // namespace mlir::mhc::nvgpu

#endif // MHC_CODEGEN_NVGPU_GANGEMITTER_H
