//===- CpuDevice.h - generated host kernels and library code on threads -*- C++ -*-===//
#ifndef MHCRT_HAL_CPU_CPUDEVICE_H
#define MHCRT_HAL_CPU_CPUDEVICE_H

#include "base/Memory.h"
#include "base/ThreadPool.h"
#include "hal/Device.h"

#include <string_view>
#include <unordered_map>

namespace mhcrt {

/// The ABI of generated host kernels (docs/design/package.md).
using HostKernel = void (*)(void *const *args, const int64_t *ints, int64_t rowBegin, int64_t rowEnd, int64_t partial);

/// A shared object loaded from memory.
class HostLibrary {
public:
  explicit HostLibrary(std::string_view object);
  ~HostLibrary();
  HostLibrary(const HostLibrary &) = delete;
  HostLibrary &operator=(const HostLibrary &) = delete;
  /// Null if there is no such symbol.
  HostKernel find(const std::string &symbol) const;

private:
  int descriptor = -1;
  void *handle = nullptr;
};

/// Refuses if this processor lacks what `requirements` name.
void checkCpuFeatures(const std::vector<std::string> &requirements);

class CpuDevice : public Device {
public:
  /// `object` is host/kernels.so, or empty for a plan without kernels.
  CpuDevice(const TargetPlan &plan, std::string_view object, int threads);

  std::string description() const override;
  bool isHost() const override { return true; }
  char *allocate(uint64_t bytes) override;
  void release(char *address) override;
  void copyIn(void *to, const void *hostFrom, uint64_t bytes) override;
  void copyOut(void *hostTo, const void *from, uint64_t bytes) override;
  void copy(void *to, const void *from, uint64_t bytes) override;
  void fillBytes(void *to, uint8_t value, uint64_t bytes) override;
  void fill(void *to, DType type, int64_t count, double value) override;
  void add(void *to, const void *from, DType type, int64_t count) override;
  int64_t partials(const Kernel &kernel, int64_t rows) const override;
  void launch(const Kernel &kernel, int64_t rows, const std::vector<void *> &args,
              const std::vector<int64_t> &ints) override;
  void sumPartials(const std::vector<PartialSum> &sums) override;
  void gemm(const GemmArgs &args) override;
  void attention(const AttentionArgs &args) override;
  void attentionBackward(const AttentionArgs &args) override;
  void splitTokens(const SplitTokensArgs &args) override;
  void embeddingBackward(const EmbeddingBackwardArgs &args) override;
  void dispatch(const DispatchArgs &args) override;
  void groupedMatmul(const GroupedMatmulArgs &args) override;
  void groupedOuter(const GroupedOuterArgs &args) override;
  void expertLoad(const ExpertLoadArgs &args) override;
  void sequenceLoad(const SequenceLoadArgs &args) override;
  void updateBias(const UpdateBiasArgs &args) override;
  void streamCopy(void *to, const void *from, uint64_t bytes) override;
  double spinMultiplyAdds() override;

  ThreadPool &pool() { return threads; }
  /// Let spinMultiplyAdds use 512-bit vectors: for packages whose code may do so.
  void useWideVectors() { wideVectors = true; }

private:
  /// The operand as fp32: itself, or widened into scratch block `slot`.
  const float *widened(const void *data, DType type, int64_t count, int slot);
  float *scratch(int64_t count, int slot);
  template <typename T> void attentionTyped(const AttentionArgs &args, bool backward);

  ThreadPool threads;
  std::unique_ptr<HostLibrary> library;
  std::unordered_map<const Kernel *, HostKernel> kernels;
  HostKernel sumF32 = nullptr, sumF64 = nullptr;
  bool wideVectors = false;
  Memory scratchBlocks[8];
};

} // namespace mhcrt

#endif // MHCRT_HAL_CPU_CPUDEVICE_H
