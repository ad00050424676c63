//===- LibraryAttention.h - tiles of attention ------------------*- C++ -*-===//
//
// Causal attention in fp32 multiply-adds, for any sizes of heads: the kernels that always work. A block of 256 threads
// (16 x 16) owns 64 tokens and walks over tiles of 64 others. All it does is made of two products on tiles:
// - scores: [64 tokens, 64 tokens] = A B^T over the channels. Both operands pass through shared memory in chunks of 64
//   channels; thread (y, x) keeps the elements of rows y + 16 i and columns x + 16 j.
// - accumulate: [64 tokens, channels] += W B, W a tile of weights [64, 64] in shared memory, B tokens of which 64
//   channels at a time pass through shared memory; thread (y, x) keeps rows y + 16 i and channels 64 c + 4 x + j.
// Rows in shared memory are 68 words apart: the 16-byte accesses of both products then meet no bank twice.
//
// Tokens beyond the sequence are zeros. A masked pair has weight 0, but 0 times a NaN is NaN: tiles on the diagonal
// leave such pairs out one by one.
//
//===----------------------------------------------------------------------===//
#ifndef MHC_CODEGEN_NVGPU_LIBRARYATTENTION_H
#define MHC_CODEGEN_NVGPU_LIBRARYATTENTION_H

#include "Library.h"

namespace mlir::mhc::nvgpu {

class AttentionKernel : public LibraryKernel {
public:
  AttentionKernel(OpBuilder &builder, gpu::GPUModuleOp target, Type element, int64_t headDim, int64_t valueDim)
      : LibraryKernel(builder, target), element(element), headDim(headDim), valueDim(valueDim) {}

  void forward(StringRef name);          // LibraryAttention.cpp
  void delta(StringRef name);            // LibraryAttentionBackward.cpp
  void gradientOfQueries(StringRef name);
  void gradientOfKeys(StringRef name);

private:
  static constexpr int64_t side = 64;         ///< tokens of a tile, channels of a chunk
  static constexpr int64_t each = 4;          ///< rows, columns of a thread
  static constexpr int64_t grid = side / each; ///< threads in x and y
  static constexpr int64_t threads = grid * grid;
  static constexpr int64_t pitch = side + 4; ///< words from row to row in shared memory
  static constexpr int64_t tileWords = side * pitch;
  static constexpr int64_t tiles = 3; ///< two operands and the weights

  /// Tokens from `first` on of one head: `valid` of them exist (i32), row r starts at base + r * stride elements.
  struct Rows {
    Value base, stride, valid;
    int64_t dim;
  };
  /// Which pairs (row, token) of a tile on the diagonal count.
  enum class Mask {
    upToRow,   ///< rows are queries, the tokens that are summed over are keys
    fromRowOn, ///< rows are keys, summed over are queries
  };
  using Tile = SmallVector<Value>;

  void beginTiles(StringRef name, int64_t pointers);
  /// Rows of the tile that begins at token `first` of the present sequence.
  Rows rowsOf(Value pointer, Value head, Value heads, int64_t dim, Value first);
  /// Copies channels `from` .. `from` + 64 of the rows into operand `slot`, in f32; zeros where there is nothing.
  void loadChunk(const Rows &rows, int64_t from, int64_t slot);
  Value tileAt(int64_t slot, Value row, int64_t column);

  Tile scores(const Rows &a, const Rows &b);
  void storeWeights(ArrayRef<Value> weights);
  /// sums += weights * rows. `diagonal`: i1, whether the mask applies.
  void accumulate(const Rows &rows, Mask mask, Value diagonal, MutableArrayRef<Value> sums);
  Tile multiplyChunk(Mask mask, bool masked, ValueRange sums);
  void storeSums(const Rows &rows, ArrayRef<Value> sums);
  static int64_t sumsOf(int64_t dim) { return llvm::divideCeil(dim, side) * each * each; }

  Value row(int64_t i) { return add(threadY, i * grid); }
  Value column(int64_t j) { return add(threadX, j * grid); }
  Value expOf(Value x);
  Value multiply(Value x, Value y) { return arith::MulFOp::create(b, loc, x, y); }
  Value subtract(Value x, Value y) { return arith::SubFOp::create(b, loc, x, y); }
  /// Over the 16 threads that share a row; all get the same bits.
  Value overRow(Value value, bool isMax);

  Type element;
  int64_t headDim, valueDim;
  Value threadX, threadY;
  // The block's place: number of its tile, first token of the sequence (among all), the head it was given.
  Value tileCount, tile, sequenceStart, head, length, heads, kvHeads, scale;
};

} // namespace mlir::mhc::nvgpu

#endif // MHC_CODEGEN_NVGPU_LIBRARYATTENTION_H
