//===- GroupedGemm.cpp - products of groups of rows, on threads ------------===//
//
// Work is cut by the groups' sizes alone, and each piece is one single-threaded product over the whole of what is summed: the bits do not depend on the number of threads.
//
//===----------------------------------------------------------------------===//
#include "hal/cpu/Blas.h"
#include "hal/cpu/CpuDevice.h"

#include <mhc/Package/Allocator.h>

#include <algorithm>

namespace mhcrt {
namespace {

constexpr int64_t tileRows = 128, tileColumns = 256;

/// A part of a group's product: rows [row, row + rows) of its result, columns [column, column + columns).
struct Piece {
  int64_t group, row, rows, column, columns;
};

/// Tiles of `height(group)` x `width` for each group.
template <typename Height> std::vector<Piece> cut(int64_t groups, int64_t width, Height &&height) {
  std::vector<Piece> pieces;
  for (int64_t e = 0; e < groups; ++e)
    for (int64_t row = 0, rows = height(e); row < rows; row += tileRows)
      for (int64_t column = 0; column < width; column += tileColumns)
        pieces.push_back({e, row, std::min(tileRows, rows - row), column, std::min(tileColumns, width - column)});
  return pieces;
}

/// `count` elements as T: themselves, or widened into `block`.
template <typename T> const T *asType(const void *data, DType type, int64_t from, int64_t count, std::vector<T> &block) {
  if (type != DType::BF16)
    return static_cast<const T *>(data) + from;
  block.resize(count);
  const uint16_t *words = static_cast<const uint16_t *>(data) + from;
  for (int64_t i = 0; i < count; ++i)
    block[i] = static_cast<T>(fromBf16(words[i]));
  return block.data();
}

template <typename T> void matmul(ThreadPool &pool, const GroupedMatmulArgs &args) {
  const auto [k, n] = std::pair(args.k, args.n);
  std::vector<Piece> pieces = cut(args.groups, n, [&](int64_t e) { return int64_t(args.offsets[e + 1]) - args.offsets[e]; });
  pool.run(pieces.size(), [&, k = k, n = n](int64_t index) {
    const Piece &p = pieces[index];
    thread_local std::vector<T> xs, ws, ys;
    int64_t first = args.offsets[p.group] + p.row;
    const T *x = asType<T>(args.x, args.type, first * k, p.rows * k, xs), *w;
    int64_t ldw = args.transposed ? k : n, matrix = p.group * k * n;
    if (args.transposed) {
      w = asType<T>(args.w, args.type, matrix + p.column * k, p.columns * k, ws);
    } else if (args.type != DType::BF16) {
      w = static_cast<const T *>(args.w) + matrix + p.column;
    } else { // the piece's columns alone
      ws.resize(k * p.columns);
      const uint16_t *words = static_cast<const uint16_t *>(args.w) + matrix + p.column;
      for (int64_t i = 0; i < k; ++i)
        for (int64_t j = 0; j < p.columns; ++j)
          ws[i * p.columns + j] = static_cast<T>(fromBf16(words[i * n + j]));
      w = ws.data();
      ldw = p.columns;
    }
    bool rounds = args.typeY == DType::BF16;
    ys.resize(rounds ? p.rows * p.columns : 0);
    T *y = rounds ? ys.data() : static_cast<T *>(args.y) + first * n + p.column;
    blas::gemm(false, args.transposed, p.rows, p.columns, k, T(1), x, k, w, ldw, T(0), y, rounds ? p.columns : n);
    if (rounds)
      for (int64_t i = 0; i < p.rows; ++i)
        for (int64_t j = 0; j < p.columns; ++j)
          static_cast<uint16_t *>(args.y)[(first + i) * n + p.column + j] = toBf16(static_cast<float>(ys[i * p.columns + j]));
  });
}

template <typename T> void outer(ThreadPool &pool, const GroupedOuterArgs &args) {
  const auto [k, n] = std::pair(args.k, args.n);
  std::vector<Piece> pieces = cut(args.groups, n, [&, k = k](int64_t) { return k; });
  pool.run(pieces.size(), [&, k = k, n = n](int64_t index) {
    const Piece &p = pieces[index];
    int64_t first = args.offsets[p.group], rows = args.offsets[p.group + 1] - first;
    T *out = static_cast<T *>(args.out) + p.group * k * n + p.row * n + p.column;
    if (rows == 0) {
      if (!args.accumulate)
        for (int64_t i = 0; i < p.rows; ++i)
          std::fill(out + i * n, out + i * n + p.columns, T(0));
      return;
    }
    // Columns of x and y: of bf16 the piece's alone are widened.
    thread_local std::vector<T> xs, ys;
    auto columnsOf = [&](const void *data, int64_t width, int64_t column, int64_t columns, std::vector<T> &block, int64_t &stride) -> const T * {
      if (args.type != DType::BF16) {
        stride = width;
        return static_cast<const T *>(data) + first * width + column;
      }
      block.resize(rows * columns);
      const uint16_t *words = static_cast<const uint16_t *>(data) + first * width + column;
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < columns; ++j)
          block[i * columns + j] = static_cast<T>(fromBf16(words[i * width + j]));
      stride = columns;
      return block.data();
    };
    int64_t ldx, ldy;
    const T *x = columnsOf(args.x, k, p.row, p.rows, xs, ldx), *y = columnsOf(args.y, n, p.column, p.columns, ys, ldy);
    blas::gemm(true, false, p.rows, p.columns, rows, T(1), x, ldx, y, ldy, T(args.accumulate ? 1 : 0), out, n);
  });
}

} // namespace

void CpuDevice::groupedMatmul(const GroupedMatmulArgs &args) {
  args.type == DType::F64 ? matmul<double>(threads, args) : matmul<float>(threads, args);
  // Slots that nothing takes.
  int64_t used = args.offsets[args.groups];
  if (used < args.rows)
    fillBytes(static_cast<char *>(args.y) + used * args.n * byteSize(args.typeY), 0, (args.rows - used) * args.n * byteSize(args.typeY));
}

void CpuDevice::groupedOuter(const GroupedOuterArgs &args) {
  args.typeOut == DType::F64 ? outer<double>(threads, args) : outer<float>(threads, args);
}

} // namespace mhcrt
