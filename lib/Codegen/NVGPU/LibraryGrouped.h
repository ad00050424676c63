//===- LibraryGrouped.h - products of rows in groups ------------*- C++ -*-===//
//
// Products whose rows come in groups of sizes that only the device knows, each group with a matrix of its own:
//   mhc_grouped_matmul_<type>_<k>_<n>(x, w, offsets, y; rows, groups)     y[r] = x[r] w[e], w [groups, k, n]
//   mhc_grouped_matmul_t_<type>_<k>_<n>(x, w, offsets, y; rows, groups)   y[r] = x[r] w[e]^T, w [groups, n, k]
//   mhc_grouped_outer_<type>_<k>_<n>(x, y, offsets, out; accumulate)
//                                            out[e] (+)= sum over the group's rows of x[r]^T y[r], [groups, k, n] in
//                                            f32
// With <type>_f32 for <type> (of bf16) y is not rounded.
// Rows from offsets[groups] on belong to no group: zeros in the first two, nothing in the third.
//
// A block makes a tile of 128 rows and some columns (`tile` of its launch figures) of a result. Tiles of the products
// with run-time rows are counted by an upper bound, since the host does not know how many there are: rows / 128, and
// one more for each group's last tile. Block i / columns looks for the group of its tile in the offsets; blocks beyond
// the last tile end at once. Blocks of one tile of rows follow each other: their rows, and the matrix of a group, come
// from memory once and then from the L2 cache.
//
// How a tile is multiplied depends on the type: bf16 by tensor cores (LibraryGroupedTensor.cpp), f32 by multiply-adds
// (LibraryGroupedFma.cpp), whose sums are fp32 throughout. Each element's sum has one order, whatever the launch.
//
//===----------------------------------------------------------------------===//
#ifndef MHC_CODEGEN_NVGPU_LIBRARYGROUPED_H
#define MHC_CODEGEN_NVGPU_LIBRARYGROUPED_H

#include "Library.h"

namespace mlir::mhc::nvgpu {

class GroupedKernel : public LibraryKernel {
public:
  GroupedKernel(OpBuilder &builder, gpu::GPUModuleOp target, Type element, int64_t k, int64_t n)
      : LibraryKernel(builder, target), element(element), k(k), n(n) {}
  virtual ~GroupedKernel() = default;

  void matmul(StringRef name, bool transposed, Type result);
  void outer(StringRef name);

protected:
  static constexpr int64_t tileRows = 128;
  using Tile = SmallVector<Value>;

  /// A block's part of one factor. The factor's dimensions are the result's rows (or columns) and the one summed along.
  struct Operand {
    Value base;     ///< where the part begins
    int64_t stride; ///< elements from one row of memory to the next
    bool alongSum;  ///< rows of memory run along the sum; otherwise along the result
    int64_t extent; ///< of the tile, along the result
    Value valid;    ///< i32: how many of these there are; null: all
  };
  /// What is summed along.
  struct Sum {
    Value length;         ///< i32
    bool isWhole = false; ///< whether the length is a multiple of a step, or 0
  };
  /// A tile's neighbouring elements in one of its rows, from column `column` (i32) on.
  struct Neighbours {
    Value column;
    Tile values;
  };

  /// Columns of a tile, threads of a block, shared memory of a product.
  virtual GpuLaunch launch() const = 0;
  /// What one step of a sum takes.
  virtual int64_t stepLength() const = 0;
  virtual Tile multiply(const Operand &x, const Operand &y, const Sum &sum) = 0;
  /// Calls `visit` with each row of this thread (i32, in the tile) and what it has of it.
  virtual void forEachRow(ArrayRef<Value> sums, function_ref<void(Value, ArrayRef<Neighbours>)> visit) = 0;

  /// Elements that one access of memory takes where rows have `stride` elements: at most 16 bytes.
  int64_t accessWidth(int64_t stride) const;
  /// Whether element `i` along memory of row `row` (i32, both from the part's beginning) is there in a step that begins
  /// at `from`; null if it always is.
  Value isThere(const Operand &operand, const Sum &sum, Value from, Value row, Value i);
  Value xorBits(Value x, Value y) { return b.createOrFold<arith::XOrIOp>(loc, x, y); }

  Type element;
  int64_t k, n;

private:
  /// Where a tile lies.
  struct Place {
    Value group, first, valid; ///< i32, i64 row, i32 rows of the tile
  };
  void begin(StringRef name, int64_t integers);
  Value scanThreads(Value value);
  Place findTile(Value offsets, Value rows, Value groups, Value tile);
  /// The tile's part of a result with n columns; `accumulate` (i1) may be null.
  void storeTile(ArrayRef<Value> sums, Value base, Type type, Value validRows, Value validColumns, Value accumulate);

  Value searchWords; ///< shared memory behind the product's
};

class GroupedTensorKernel : public GroupedKernel {
public:
  using GroupedKernel::GroupedKernel;

private:
  GpuLaunch launch() const override;
  int64_t stepLength() const override { return step; }
  Tile multiply(const Operand &x, const Operand &y, const Sum &sum) override;
  void forEachRow(ArrayRef<Value> sums, function_ref<void(Value, ArrayRef<Neighbours>)> visit) override;

  static constexpr int64_t step = 32;     ///< elements summed between two barriers
  static constexpr int64_t stages = 4;    ///< steps in shared memory
  static constexpr int64_t warpTile = 64; ///< rows and columns of a warp
  static constexpr int64_t chunk = 8;     ///< elements of 16 bytes

  struct Factor;
  int64_t tileColumns() const;
  int64_t stageBytes() const { return (tileRows + tileColumns()) * step * 2; }
  Factor prepare(const Operand &operand, bool isLeft);
  void fetch(const Factor &factor, const Sum &sum, Value number, Value slot);
  void fetchChunk(const Factor &factor, const Sum &sum, Value from, Value row, Value source, Value target);
  /// The factor's registers for 16 x 16 elements: `part` along the sum, `block` along the result.
  void loadFragment(const Factor &factor, Value slot, int64_t part, int64_t block, Tile &registers);
  Tile loadFragments(ArrayRef<Factor> factors, Value slot, int64_t part);
  void multiplyFragments(ArrayRef<Value> fragments, MutableArrayRef<Value> sums);

  Value laneOf, warpRow, warpColumn;
};

class GroupedFmaKernel : public GroupedKernel {
public:
  using GroupedKernel::GroupedKernel;

private:
  GpuLaunch launch() const override { return {tileColumns, threads, 2 * bufferWords * 4}; }
  int64_t stepLength() const override { return step; }
  Tile multiply(const Operand &x, const Operand &y, const Sum &sum) override;
  void forEachRow(ArrayRef<Value> sums, function_ref<void(Value, ArrayRef<Neighbours>)> visit) override;

  static constexpr int64_t tileColumns = 128, threads = 256, step = 16, chunk = 4;
  static constexpr int64_t pitch = tileRows + 4; ///< words from one step of the sum to the next
  static constexpr int64_t operandWords = step * pitch, bufferWords = 2 * operandWords;
  static constexpr int64_t chunks = step * tileRows / (chunk * threads); ///< of an operand, a thread

  Value chunkRow(const Operand &operand, int64_t i);
  Value chunkStart(const Operand &operand);
  Tile fetch(const Operand &operand, const Sum &sum, Value from);
  void keep(const Operand &operand, ArrayRef<Value> values, Value buffer);
  void multiplyStep(Value buffer, MutableArrayRef<Value> sums);
};

} // namespace mlir::mhc::nvgpu

#endif // MHC_CODEGEN_NVGPU_LIBRARYGROUPED_H
