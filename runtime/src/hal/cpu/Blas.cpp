#include "hal/cpu/Blas.h"
#include "base/Error.h"

#include <algorithm>
#include <vector>

#if MHC_RT_BLAS
#include <cblas.h>
#endif

namespace mhcrt::blas {

#if MHC_RT_BLAS

void useOneThread() { openblas_set_num_threads(1); }

std::string description() { return "OpenBLAS"; }

namespace {
/// cblas takes ints (or whatever blasint is).
blasint narrow(int64_t value) {
  if (value > INT32_MAX)
    fail("a matrix product with a dimension of ", value, " is too large for the BLAS library");
  return static_cast<blasint>(value);
}
CBLAS_TRANSPOSE flag(bool transposed) { return transposed ? CblasTrans : CblasNoTrans; }
} // namespace

void gemm(bool transA, bool transB, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
          const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
  cblas_sgemm(CblasRowMajor, flag(transA), flag(transB), narrow(m), narrow(n), narrow(k), alpha, a, narrow(lda), b,
              narrow(ldb), beta, c, narrow(ldc));
}

void gemm(bool transA, bool transB, int64_t m, int64_t n, int64_t k, double alpha, const double *a, int64_t lda,
          const double *b, int64_t ldb, double beta, double *c, int64_t ldc) {
  cblas_dgemm(CblasRowMajor, flag(transA), flag(transB), narrow(m), narrow(n), narrow(k), alpha, a, narrow(lda), b,
              narrow(ldb), beta, c, narrow(ldc));
}

#else

void useOneThread() {}
std::string description() { return "built-in matrix product"; }

namespace {

/// Packs blocks of op(b) as [k, n] so that the inner loop runs along rows; sums in the order of k.
template <typename T>
void product(bool transA, bool transB, int64_t m, int64_t n, int64_t k, T alpha, const T *a, int64_t lda, const T *b,
             int64_t ldb, T beta, T *c, int64_t ldc) {
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j)
      c[i * ldc + j] = beta == T(0) ? T(0) : beta * c[i * ldc + j];
  constexpr int64_t blockK = 128, blockN = 128;
  thread_local std::vector<T> packed;
  packed.resize(blockK * blockN);
  for (int64_t k0 = 0; k0 < k; k0 += blockK) {
    int64_t depth = std::min(blockK, k - k0);
    for (int64_t j0 = 0; j0 < n; j0 += blockN) {
      int64_t width = std::min(blockN, n - j0);
      for (int64_t p = 0; p < depth; ++p)
        for (int64_t j = 0; j < width; ++j)
          packed[p * blockN + j] = transB ? b[(j0 + j) * ldb + k0 + p] : b[(k0 + p) * ldb + j0 + j];
      for (int64_t i = 0; i < m; ++i) {
        T *row = c + i * ldc + j0;
        for (int64_t p = 0; p < depth; ++p) {
          T factor = alpha * (transA ? a[(k0 + p) * lda + i] : a[i * lda + k0 + p]);
          const T *from = packed.data() + p * blockN;
          for (int64_t j = 0; j < width; ++j)
            row[j] += factor * from[j];
        }
      }
    }
  }
}

} // namespace

void gemm(bool transA, bool transB, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
          const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
  product(transA, transB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void gemm(bool transA, bool transB, int64_t m, int64_t n, int64_t k, double alpha, const double *a, int64_t lda,
          const double *b, int64_t ldb, double beta, double *c, int64_t ldc) {
  product(transA, transB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

#endif

} // namespace mhcrt::blas
