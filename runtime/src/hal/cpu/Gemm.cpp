//===- Gemm.cpp - the gemm command on threads ------------------------------===//
//
// C of each matrix is cut into tiles by its sizes alone; each tile is one single-threaded product over the whole of k. So
// the bits do not depend on the number of threads.
//
//===----------------------------------------------------------------------===//
#include "hal/cpu/Blas.h"
#include "hal/cpu/CpuDevice.h"

#include <mhc/Package/Allocator.h>

#include <algorithm>

namespace mhcrt {
namespace {

struct Tiles {
  int64_t rows, columns;
};

/// At least 16 tiles where C is large enough, each at least 64 x 64, at most 256 x 256.
Tiles chooseTiles(int64_t m, int64_t n) {
  Tiles tiles{256, 256};
  auto count = [&] { return mhc::ceilDivide(m, tiles.rows) * mhc::ceilDivide(n, tiles.columns); };
  while (count() < 16 && (tiles.rows > 64 || tiles.columns > 64))
    (tiles.rows >= tiles.columns ? tiles.rows : tiles.columns) /= 2;
  return tiles;
}

template <typename T>
void tiled(ThreadPool &pool, const GemmArgs &args, const T *allA, const T *allB, T *allC, uint16_t *allRounded) {
  const auto [m, n, k] = std::tuple(args.m, args.n, args.k);
  Tiles tiles = chooseTiles(m, n);
  int64_t across = mhc::ceilDivide(n, tiles.columns), down = mhc::ceilDivide(m, tiles.rows);
  int64_t lda = std::max<int64_t>(1, args.transA ? m : k), ldb = std::max<int64_t>(1, args.transB ? k : n);
  // What is there before the product is added: C itself, or beta D.
  const void *before = args.accumulate ? args.c : args.d;
  const T beta = T(args.accumulate ? 1 : args.d ? args.beta : 0);
  pool.run(args.batch * across * down, [&, m = m, n = n, k = k](int64_t task) {
    int64_t matrix = task / (across * down), tile = task % (across * down);
    const T *a = allA + matrix * m * k, *b = allB + matrix * k * n;
    T *c = allC ? allC + matrix * m * n : nullptr;
    uint16_t *rounded = allRounded ? allRounded + matrix * m * n : nullptr;
    int64_t i0 = tile / across * tiles.rows, j0 = tile % across * tiles.columns;
    int64_t rows = std::min(tiles.rows, m - i0), columns = std::min(tiles.columns, n - j0);
    T *target = c ? c + i0 * n + j0 : nullptr;
    int64_t ldc = n;
    thread_local std::vector<T> block; // a tile of a bf16 C in fp32
    if (rounded) {
      block.resize(rows * columns);
      target = block.data();
      ldc = columns;
    }
    if (before && (rounded || before != args.c))
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < columns; ++j) {
          int64_t at = matrix * m * n + (i0 + i) * n + j0 + j;
          target[i * ldc + j] = rounded ? T(fromBf16(static_cast<const uint16_t *>(before)[at])) : static_cast<const T *>(before)[at];
        }
    if (k == 0) {
      // op(A) op(B) is zero; some BLAS libraries leave C alone then.
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < columns; ++j)
          target[i * ldc + j] = before ? beta * target[i * ldc + j] : T(0);
    } else {
      blas::gemm(args.transA, args.transB, rows, columns, k, T(args.alpha), args.transA ? a + i0 : a + i0 * k, lda,
                 args.transB ? b + j0 * k : b + j0, ldb, beta, target, ldc);
    }
    if (rounded)
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < columns; ++j)
          rounded[(i0 + i) * n + j0 + j] = toBf16(static_cast<float>(target[i * columns + j]));
  });
}

} // namespace

void CpuDevice::gemm(const GemmArgs &args) {
  if (args.m == 0 || args.n == 0)
    return;
  if (args.typeC == DType::F64) {
    tiled<double>(threads, args, static_cast<const double *>(args.a), static_cast<const double *>(args.b),
                  static_cast<double *>(args.c), nullptr);
    return;
  }
  const float *a = widened(args.a, args.typeA, args.batch * args.m * args.k, 0);
  const float *b = widened(args.b, args.typeB, args.batch * args.k * args.n, 1);
  bool round = args.typeC == DType::BF16;
  tiled<float>(threads, args, a, b, round ? nullptr : static_cast<float *>(args.c),
               round ? static_cast<uint16_t *>(args.c) : nullptr);
}

} // namespace mhcrt
