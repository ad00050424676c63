//===- SimpleEmitter.h - schedule family simple -----------------*- C++ -*-===//
//
// One kernel of a GPU: a block owns a tile of R tokens at a time and strides over the tiles by the grid. Narrow values
// that cross phases lie in shared memory as [elements][R]. The phases run one after the other, with barriers between.
//
// A wide phase becomes loop nests of two kinds, each with the part of the phase's code that it needs (what both need is
// computed twice):
// - a *row nest* for stores and for reductions over the channels: a warp takes q tokens, its lanes stride over the
// channels, and the sums stay in
//   registers until the warp adds them up. The q tokens share what is loaded of parameters.
// - a *column nest* for sums over tokens: a thread owns channels and walks over the tokens of the tile, then adds to
// the block's partial. Column nests come first: a kernel may store to the rows that it loads from.
//
// Narrow phases run one token a thread. All orders of summation are fixed by shapes and schedule.
//
//===----------------------------------------------------------------------===//
#ifndef MHC_CODEGEN_NVGPU_SIMPLEEMITTER_H
#define MHC_CODEGEN_NVGPU_SIMPLEEMITTER_H

#include "GpuBuilder.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"

namespace mlir::mhc::nvgpu {

class SimpleEmitter : public GpuBuilder {
public:
  SimpleEmitter(OpBuilder &builder, KernelOp kernel, gpu::GPUModuleOp target);
  LogicalResult run();

private:
  //===--- The kernel, memory (SimpleEmitter.cpp) ----------------------------===//

  LogicalResult check();
  void zeroPartials();
  Value loadStream(RowLoadOp load, int64_t stream) override;
  void storeStreams(RowStoreOp store, ArrayRef<Value> stored) override;
  Value narrowScalar(Value narrow, int64_t element) override;
  Value channel() override;
  Value any(Value condition) override;
  LogicalResult emitOther(Operation *op) override;

  /// A token of the tile.
  struct Token {
    Value local;                           ///< number in the tile, i32, of a token that exists
    Value row;                             ///< number among all, i64
    Value live;                            ///< i1: not a repetition of the last token; null: always
    DenseMap<Operation *, Value> pointers; ///< of loads and stores: the token's row
  };
  Value pointer(Value argument) { return pointers[cast<BlockArgument>(argument).getArgNumber()]; }
  /// The number of the row that a load reads.
  Value rowOf(RowLoadOp load, const Token &token, function_ref<Value(Value)> index);
  void locate(Operation *op, Token &token);
  /// The present chunk of a stream, as memory holds it, and its alignment.
  std::pair<Value, int64_t> chunkAddress(Operation *op, MemRefType type, int64_t stream);

  /// A [K, M] (transposed: [M, K]) parameter, the groups of the wide value that it is multiplied with, and where row
  /// (stream, channel) of K lies.
  struct Shape {
    int64_t k, columns, groups, inGroup, streamStride, channelStride;
  };
  static Shape shapeOf(RowProjectOp op);
  static Shape shapeOf(RowProjectTOp op);
  static Shape shapeOf(RowOuterTokensOp op);

  //===--- Narrow values and phases (SimpleNarrow.cpp) -----------------------===//

  struct Narrow {
    int64_t slot = -1; ///< first row of R words of shared memory
    Value base;        ///< or the memory of a parameter, of this element type
    Type elementType;
  };
  LogicalResult emitNarrowPhase(PhaseOp phase);
  LogicalResult emitNarrowOp(Operation &op, Token &token);
  SmallVector<Value> narrowElements(Value narrow, const Token &token);
  SmallVector<Value> loadNarrow(RowLoadOp op, Token &token);
  void storeNarrow(RowStoreOp op, Token &token);
  void sumNarrow(RowSumTokensOp op);
  /// Shared memory of a narrow value.
  void allocateNarrow(Value value);
  Value narrowAddress(int64_t slot, Value token);
  /// Element `element` (+ `more`, i32, where it is given).
  Value narrowAt(Value narrow, int64_t element, Value token, Value more = Value());
  void bindPhase(PhaseOp phase);

  //===--- Wide phases (SimpleWide.cpp, SimpleRows.cpp, SimpleColumns.cpp) ----===//

  /// An op that a nest is there for; of its outputs those from `begin` to `end` (of outer_tokens: columns).
  struct Unit {
    Operation *op;
    int64_t begin, end;
  };
  struct Nest {
    SmallVector<Unit> units;
    SmallVector<Operation *> ops; ///< what the units need, in order
    int64_t width = 1;
    int64_t tokens = 1;  ///< that are taken together
    int64_t scalars = 0; ///< narrow elements of a token that the chunks use
  };
  LogicalResult emitWidePhase(PhaseOp phase);
  SmallVector<Nest> planRows(PhaseOp phase);
  SmallVector<Nest> planColumns(PhaseOp phase);
  void complete(Nest &nest, PhaseOp phase);
  int64_t pickWidth(const Nest &nest, int64_t threadsOfRow, int64_t registers);

  LogicalResult emitRows(const Nest &nest);
  LogicalResult emitRowChunk(const Nest &nest, MutableArrayRef<Token> tokens);
  SmallVector<SmallVector<Value>> multiplyT(RowProjectTOp op, ArrayRef<Token> tokens);
  void emitReduction(Operation *op);
  void emitProject(const Unit &unit, int64_t firstOutput, ArrayRef<SmallVector<Value>> values);
  void finishRows(const Nest &nest, Value firstToken, ArrayRef<Value> sums);
  void sumOverWarp(ArrayRef<Value> values, bool isMax, int64_t slot, int64_t tokens, Value firstToken);

  LogicalResult emitColumns(const Nest &nest);
  LogicalResult emitColumnChunk(const Nest &nest, Token &token);
  void addToPartial(const Unit &unit, ArrayRef<Value> sums);

  /// Weights of element (stream, chunk's channel + j) for `count` columns from `column` (+ `more`, a multiple of 4,
  /// where it is given).
  SmallVector<Value> loadColumns(Value weight, const Shape &shape, int64_t stream, int64_t j, int64_t column,
                                 int64_t count, Value more = Value());
  /// The chunk's lanes of one column of a [M, K] parameter.
  Value loadWeight(Value weight, const Shape &shape, int64_t stream, int64_t column);
  //===--- State -------------------------------------------------------------===//

  KernelOp kernel;
  gpu::GPUModuleOp target;
  int64_t tile, threads, warps;
  SmallVector<Value> pointers;
  Value rows, length; ///< of positions: S
  Value shared, thread, laneOf, warp;
  Value tileStart, valid; ///< first token of the tile, i64; tokens in it, i32
  int64_t sharedRows = 0;
  DenseMap<Value, Narrow> narrows;
  /// Of the narrow phase that is being emitted.
  DenseMap<Value, SmallVector<Value>> registers;
  /// Of the wide phase that is being emitted.
  int64_t channels = 0;
  Value chunk; ///< first channel, i32
  Token *token = nullptr;
  const Nest *nest = nullptr;
  bool keepInLoop = false; ///< narrow values are too many to be held in registers over the channels
  int64_t tokenIndex = 0;
  SmallVector<Value> accumulators;
};

} // namespace mlir::mhc::nvgpu

#endif // MHC_CODEGEN_NVGPU_SIMPLEEMITTER_H
