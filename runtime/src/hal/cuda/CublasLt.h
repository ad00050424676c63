//===- CublasLt.h - matrix products on NVIDIA GPUs -----------------*- C++ -*-===//
//
// cuBLASLt is opened at run time. A product of one shape and type is planned once: descriptors, and the algorithm that
// the library's heuristics name first among those whose bits do not change from run to run.
//
//===----------------------------------------------------------------------===//
#ifndef MHCRT_HAL_CUDA_CUBLASLT_H
#define MHCRT_HAL_CUDA_CUBLASLT_H

#include "hal/Device.h"
#include "hal/cuda/CudaDriver.h"

#include <map>
#include <tuple>

namespace mhcrt {

class CublasLt {
public:
  /// Needs a current context. An error that says what was looked for where the library is missing.
  CublasLt();
  ~CublasLt();
  CublasLt(const CublasLt &) = delete;

  static constexpr uint64_t workspaceBytes = 32 << 20;

  /// Of bf16 or f32 operands of one type; c (and d) is f32, or bf16 where they are.
  void gemm(const GemmArgs &args, void *workspace, cuda::Stream stream);

private:
  struct Plan;
  /// Sizes, batch, types, transpositions, whether something is added, alignments of a, b, what is added, and c.
  using Key = std::tuple<int64_t, int64_t, int64_t, int64_t, DType, DType, bool, bool, bool, unsigned, unsigned, unsigned, unsigned>;

  std::unique_ptr<Plan> makePlan(const Key &key) const;

  struct HandleTag *handle = nullptr;
  std::map<Key, std::unique_ptr<Plan>> plans;
};

} // namespace mhcrt

#endif // MHCRT_HAL_CUDA_CUBLASLT_H
