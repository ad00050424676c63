//===- Blas.h - matrix products on one thread ----------------------*- C++ -*-===//
//
// Row-major with leading dimensions; c = alpha op(a) op(b) + beta c. With OpenBLAS, or (MHC_RT_BLAS=OFF) by a plain
// blocked loop. A product's bits depend on its sizes only, so callers cut large ones into tiles that do not depend on
// the number of threads.
//
//===----------------------------------------------------------------------===//
#ifndef MHCRT_HAL_CPU_BLAS_H
#define MHCRT_HAL_CPU_BLAS_H

#include <cstdint>
#include <string>

namespace mhcrt::blas {

/// OpenBLAS would start threads of its own and split sums by their number.
void useOneThread();
std::string description();

void gemm(bool transA, bool transB, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
          const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
void gemm(bool transA, bool transB, int64_t m, int64_t n, int64_t k, double alpha, const double *a, int64_t lda,
          const double *b, int64_t ldb, double beta, double *c, int64_t ldc);

} // namespace mhcrt::blas

#endif // MHCRT_HAL_CPU_BLAS_H
