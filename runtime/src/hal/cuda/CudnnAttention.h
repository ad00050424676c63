//===- CudnnAttention.h - attention by cuDNN -----------------------*- C++ -*-===//
//
// Where the library is there and has kernels for the shape, it does attention of bf16; everything else is left to the
// package's kernels. What is decided for a shape stays.
//
// The same bits come in every run: forward has one order of sums, and backward's graph names no tensor in which the
// gradient of q could be summed up in the order in which blocks happen to finish (the library's notes on its kernels
// would not tell the two apart). Instead the library keeps the gradients of the scores in its workspace; not to need
// too much of it, backward is done in parts (some sequences, or some heads of one).
//
//===----------------------------------------------------------------------===//
#ifndef MHCRT_HAL_CUDA_CUDNNATTENTION_H
#define MHCRT_HAL_CUDA_CUDNNATTENTION_H

#include "hal/Device.h"
#include "hal/cuda/Cudnn.h"

#include <map>
#include <optional>
#include <tuple>

namespace mhcrt {

class CudnnAttention {
public:
  enum class Pass { Forward, Backward };

  /// Needs a current context. `computeMajor`: of the device's compute capability. `partBytes`: what the gradients of
  /// scores of a part should not exceed.
  CudnnAttention(cuda::Stream stream, int computeMajor, uint64_t partBytes = uint64_t(512) << 20);
  ~CudnnAttention();
  CudnnAttention(const CudnnAttention &) = delete;

  /// The bytes of workspace that `run` needs; none where the package's kernels have to do it. The first time for a
  /// shape this takes a while, and must not be while work is recorded.
  std::optional<uint64_t> prepare(Pass pass, const AttentionArgs &args);
  void run(Pass pass, const AttentionArgs &args, void *workspace) const;

private:
  struct Prepared;
  using Key = std::tuple<Pass, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, double>;

  static Key keyOf(Pass pass, const AttentionArgs &args);
  bool isCandidate(Pass pass, const AttentionArgs &args) const;
  std::unique_ptr<Prepared> make(Pass pass, const AttentionArgs &args) const;

  cudnn::Handle handle;
  int computeMajor;
  uint64_t partBytes;
  std::map<Key, std::unique_ptr<Prepared>> all; ///< null: left to the package's kernels
};

} // namespace mhcrt

#endif // MHCRT_HAL_CUDA_CUDNNATTENTION_H
