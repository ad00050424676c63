//===- CpuEmitter.h - schedule family cpu -----------------------*- C++ -*-===//
//
// One function a kernel: a loop over tiles of R tokens, and in it the phases one after the other.
//
// Narrow values live on the stack as [elements][R] in the compute type, and narrow code takes W tokens at a time. A wide phase loops over blocks of
// channels, so that the block's slices of parameters stay in the cache while the tokens of the tile pass. A block has three steps: projections to
// wide values (CpuProjections.cpp), the chunk loop with all elementwise code and reductions (CpuWide.cpp), and the products with parameters
// (CpuProjections.cpp). Wide values that these read or write are kept as copies of the block in the compute type, [tokens][streams][CB].
//
// The order of every sum is fixed by the shapes alone, so that a primitive gives the same bits in every kernel.
//
//===----------------------------------------------------------------------===//
#ifndef MHC_CODEGEN_CPU_CPUEMITTER_H
#define MHC_CODEGEN_CPU_CPUEMITTER_H

#include "mhc/Codegen/RowEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

namespace mlir::mhc::cpu {

/// Loads, stores and index arithmetic that fold what is constant.
class CpuBuilder : public RowEmitter {
protected:
  using RowEmitter::RowEmitter;

  Value i64(int64_t value);
  Value add(Value x, Value y);
  Value add(Value x, int64_t y) { return y ? add(x, i64(y)) : x; }
  Value sub(Value x, Value y);
  Value mul(Value x, Value y);
  Value mul(Value x, int64_t y) { return y == 1 ? x : mul(x, i64(y)); }
  Value min(Value x, Value y);
  Value max(Value x, Value y);

  /// base[index], in elements of `element`. Vectors are aligned to their elements only: rows may start anywhere.
  Value address(Value base, Type element, Value index);
  Value load(Type type, Value base, Value index);
  void store(Value value, Value base, Value index);

  /// for (i = from; i < to; i += step); `body` returns the carried values.
  SmallVector<Value> loop(Value from, Value to, int64_t step, ValueRange carried,
                          function_ref<SmallVector<Value>(Value, ValueRange)> body);
  void loop(Value from, Value to, int64_t step, function_ref<void(Value)> body);

  Type vector(Type element, int64_t count) { return count == 1 ? element : VectorType::get({count}, element); }
  Value zeros(Type type);
  Value broadcast(Value scalar, int64_t count);
  /// All lanes of a vector folded by halves: ((0+4)+(2+6)) + ((1+5)+(3+7)).
  Value fold(Value vector, function_ref<Value(Value, Value)> combine);
};

/// Memory's form of an element: bf16 is i16.
Type memoryType(Type element);
int64_t bytesOf(Type element);

class CpuEmitter : public CpuBuilder {
public:
  CpuEmitter(OpBuilder &builder, KernelOp kernel);
  LogicalResult run();

private:
  //===--- Memory and rounding (CpuEmitter.cpp) ------------------------------===//

  Value loadStream(RowLoadOp load, int64_t stream) override;
  void storeStreams(RowStoreOp store, ArrayRef<Value> stored) override;
  Value narrowScalar(Value narrow, int64_t element) override { return narrowAt(narrow, i64(element), token); }
  Value channel() override;
  Value widen(Value stored, Type elementType) override;
  Rounded round(Value computed, Type elementType) override;
  Value widenBytes(Value stored);
  Value upperHalves(Value words);
  Value any(Value condition) override;
  LogicalResult emitOther(Operation *op) override;

  /// Elements [stream][width] of memory that holds [width][stream] from `index`; and back.
  SmallVector<Value> loadInterleaved(Type element, Value base, Value index, int64_t streams);
  void storeInterleaved(ArrayRef<Value> vectors, Value base, Value index);
  /// Row of `load`'s memory that token `t` of the tile reads, in elements.
  Value rowOffset(RowLoadOp load, Value t);
  /// The run-time integer S.
  Value sequenceLength();
  Value pointer(Value argument) { return pointers[cast<BlockArgument>(argument).getArgNumber()]; }
  /// Memory on the stack that lives as long as the function.
  Value stack(int64_t bytes);
  /// Memory on the stack that lives until the phase ends.
  Value phaseStack(int64_t bytes);
  void fillZero(Value base, Type element, int64_t count);

  //===--- Narrow values (CpuNarrow.cpp) -------------------------------------===//

  LogicalResult emitNarrowPhase(PhaseOp phase);
  void emitNarrowLoad(RowLoadOp op);
  void emitNarrowStore(RowStoreOp op);
  void emitNarrowSum(RowSumTokensOp op);
  LogicalResult emitNarrowMap(Operation *op);
  void bindPhase(PhaseOp phase);
  /// Scratch of a new narrow value, [elements][R].
  Value newNarrow(Value value);
  /// The type that narrow values have on the stack: the compute type, or i32.
  Type narrowType(Value narrow);
  /// Element `element` of token t, and of `width` tokens from t.
  Value narrowAt(Value narrow, Value element, Value t);
  Value narrowLanes(Value narrow, int64_t element, Value t);

  //===--- Wide phases (CpuWide.cpp) -----------------------------------------===//

  LogicalResult emitWidePhase(PhaseOp phase);
  void planPhase(PhaseOp phase);
  void planCopies();
  LogicalResult emitChunks();
  LogicalResult emitChunk();
  void prefetchNextTile();
  void finishReductions();
  void emitReduce(RowReduceOp op);
  void emitSmallDot(RowDotOp op);
  void emitLateDot(RowDotOp op, Value start, Value mainEnd, Value end);
  void accumulate(int64_t index, function_ref<Value(Value)> update);
  void emitWideSum(RowSumTokensOp op);
  Value accumulatorIndex(Value i, Value t);

  /// Block copy of a wide value: `lanes` elements of (token, stream, channel of the block).
  Value copyIndex(Value wide, Value u, Value stream, Value c);
  Value loadCopy(int64_t lanes, Value wide, Value u, Value stream, Value c);
  void storeCopy(Value value, Value wide, Value u, Value stream, Value c);

  //===--- Products with parameters (CpuProjections.cpp) ---------------------===//

  void emitProject(RowProjectOp op);
  void emitProjectColumns(RowProjectOp op);
  void emitProjectChannels(RowProjectOp op);
  void emitProjectT(RowProjectTOp op);
  void emitOuter(RowOuterTokensOp op);
  void emitOuterColumns(RowOuterTokensOp op);
  void emitOuterChannels(RowOuterTokensOp op);

public:
  /// Columns that a vector of `lanes` holds.
  struct Piece {
    int64_t first, lanes;
  };

private:
  void inBlocks(int64_t count, int64_t block, function_ref<void(Value, int64_t)> body);
  void inPieces(int64_t columns, function_ref<void(Value, ArrayRef<Piece>)> body);
  void inChunks(function_ref<void(Value, Value, int64_t, int64_t)> body);

  /// A [K, M] (transposed: [M, K]) parameter and the groups of the wide value that it is multiplied with.
  struct Shape {
    int64_t k, columns, groups, inGroup;
  };
  Shape shapeOf(Value weight, bool transposed, WideType wide);
  /// Streams that a parameter's rows alternate between ([channel, stream]), or 1 ([stream, channel]).
  static int64_t interleavedStreams(Operation *op, const Shape &shape);

  //===--- Ordered copies of parameters (CpuPack.cpp) --------------------------===//

  bool lanesAreColumns(Operation *op);
  std::pair<Value, bool> weightOf(Operation *op);
  int64_t packStride(int64_t k);
  void emitWholePacks();
  void emitWholeUnpacks();
  void planBlockPack(Operation *op);
  void emitBlockPack(Operation *op, bool back);
  std::pair<Value, Value> columnsOf(Operation *op, const Shape &shape, Value s, Value c);
  std::pair<Value, Value> rowsOf(Operation *op, const Shape &shape, Value m, Value s, Value c);
  void gatherRows(RowProjectTOp op, Value copy);
  void copyRows(Value from, Value fromOrigin, int64_t fromStride, Value to, Value toOrigin, int64_t toStride, int64_t rows, int64_t count);
  void transpose(Value from, Value fromOrigin, int64_t fromStride, Value rows, Value columns, Value to, Value toOrigin, int64_t toStride);
  void transposeSquare(SmallVectorImpl<Value> &rows);
  void transposeNarrow(RowOuterTokensOp op);

  //===--- State -------------------------------------------------------------===//

  KernelOp kernel;
  int64_t tile, vectorLanes, channelBlock;
  SmallVector<Value> pointers;
  Value ints, rows;
  /// The tile: first token, tokens in it; valid lanes of narrow code.
  Value tileStart, valid, validLanes;
  /// Ordered copies of parameters: of the call (key: parameter, whether in [M, K] order), and of the block.
  llvm::MapVector<std::pair<Value, int>, Value> wholePacks;
  DenseMap<Operation *, Value> blockPacks;
  /// Narrow values: scratch, or the memory of a parameter.
  struct Narrow {
    Value base;
    Type uniformType; ///< null: scratch
  };
  DenseMap<Value, Narrow> narrows;

  Operation *stackSize = nullptr; ///< constant that is patched when all phases are known
  Value arena;
  int64_t phaseBytes = 0, arenaBytes = 0;

  /// The wide phase being emitted.
  PhaseOp phase;
  int64_t channels = 0, mainChannels = 0, blockSize = 0, copyStride = 0;
  bool wholeBlocks = false, blocked = false;
  Value blockStart, blockEnd, blockMainEnd; ///< channels of the block; end of what whole vectors cover
  Value token, chunk, chunkOrigin;          ///< token in the tile, first channel of the chunk and of its block
  DenseMap<Operation *, SmallVector<Value>> interleavedLoads; ///< all streams of the chunk
  SmallVector<Operation *> chunkOps, lateOps;
  SmallVector<RowProjectTOp> earlyOps;
  SmallVector<RowDotOp> lateDots;
  struct Copy {
    Value memory;
    int64_t tokenStride; ///< 0: only the present token is kept
  };
  llvm::MapVector<Value, Copy> copies;
  DenseMap<Value, PhaseOp> prefetched;             ///< arguments, and the phase that fetches their next tile
  DenseMap<Operation *, int64_t> firstAccumulator; ///< of reductions in the chunk loop
  SmallVector<bool> accumulatorIsMax;
  SmallVector<Value> accumulators;                 ///< carried by the chunk loop
  Value accumulatorMemory;                         ///< [R][accumulator][W]
  DenseMap<Operation *, Value> lateMemory;         ///< sums of projections and Gram products, ordered factors of outer products
  DenseMap<Operation *, Value> positionMemory;     ///< row offsets of position loads
};

} // namespace mlir::mhc::cpu

#endif // MHC_CODEGEN_CPU_CPUEMITTER_H
