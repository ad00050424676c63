//===- CudaDevice.h - an NVIDIA GPU by the driver API --------------*- C++ -*-===//
//
// Everything is asked of one stream, in order; the host waits in synchronize() and copyOut() alone. The library commands
// (CudaLibrary.cpp, CudaExperts.cpp) are the package's kernels, cuBLASLt, and cuDNN where it is there.
//
//===----------------------------------------------------------------------===//
#ifndef MHCRT_HAL_CUDA_CUDADEVICE_H
#define MHCRT_HAL_CUDA_CUDADEVICE_H

#include "hal/Device.h"
#include "hal/cuda/CublasLt.h"
#include "hal/cuda/CudaDriver.h"
#include "hal/cuda/CudaModule.h"
#include "hal/cuda/CudnnAttention.h"
#include "hal/cuda/MarkedRegion.h"
#include "hal/cuda/PinnedStaging.h"

#include <array>

namespace mhcrt {

/// The device's first GPU, as long as this lives.
class CudaContext {
public:
  explicit CudaContext(const cuda::Driver &driver);
  ~CudaContext();
  CudaContext(const CudaContext &) = delete;

  const cuda::Driver &driver;
  cuda::DeviceHandle device = 0;
  cuda::Stream stream = nullptr;
};

class CudaDevice final : public Device {
public:
  explicit CudaDevice(const Package &package);
  ~CudaDevice() override;

  const std::string &targetName() const { return module.target(); }
  std::string description() const override { return concat("cuda, ", module.deviceName(), ", ", module.target()); }

  char *allocate(uint64_t bytes) override;
  void release(char *address) override;
  void copyIn(void *to, const void *from, uint64_t bytes) override;
  void copyOut(void *to, const void *from, uint64_t bytes) override;
  void copy(void *to, const void *from, uint64_t bytes) override;
  void fillBytes(void *to, uint8_t value, uint64_t bytes) override;
  void fill(void *to, DType type, int64_t count, double value) override;
  void synchronize() override;
  std::unique_ptr<Recording> record(const std::function<void()> &work) override;

  bool has(const Kernel &kernel) const override { return module.has(kernel); }
  int64_t partials(const Kernel &kernel, int64_t rows) const override;
  void launch(const Kernel &kernel, int64_t rows, const std::vector<void *> &args,
              const std::vector<int64_t> &ints) override;
  void sumPartials(const std::vector<PartialSum> &sums) override;
  uint64_t workspace(const Kernel &kernel, int64_t rows) const override;
  void prepare(uint64_t bytes) override;

  void add(void *to, const void *from, DType type, int64_t count) override;
  void gemm(const GemmArgs &args) override;
  void attention(const AttentionArgs &args) override;
  void attentionBackward(const AttentionArgs &args) override;
  void splitTokens(const SplitTokensArgs &args) override;
  void embeddingBackward(const EmbeddingBackwardArgs &args) override;
  // CudaExperts.cpp
  void dispatch(const DispatchArgs &args) override;
  void expertLoad(const ExpertLoadArgs &args) override;
  void sequenceLoad(const SequenceLoadArgs &args) override;
  void updateBias(const UpdateBiasArgs &args) override;
  void groupedMatmul(const GroupedMatmulArgs &args) override;
  void groupedOuter(const GroupedOuterArgs &args) override;

  std::unique_ptr<Timeline> timeline() override;

private:
  friend class CudaRecording;

  static cuda::Pointer pointer(const void *address) { return reinterpret_cast<cuda::Pointer>(address); }
  void start(cuda::Function function, int64_t grid, int64_t threads, int64_t shared, std::vector<uint64_t> values,
             const std::string &name, std::vector<cuda::TensorMap> maps = {});
  cuda::TensorMap rowMap(void *address, int64_t channels, int64_t streams, int64_t rows, int64_t boxes) const;
  void launchGroups(const Kernel &kernel, int64_t rows, std::vector<uint64_t> values, std::vector<cuda::TensorMap> maps);
  /// `count` of what the kernel takes by tiles.
  void startLibrary(const std::string &symbol, int64_t count, std::vector<uint64_t> values);
  void startBlocks(const std::string &symbol, int64_t blocks, std::vector<uint64_t> values);
  void startAttention(const std::string &symbol, const AttentionArgs &args, int64_t blockHeads,
                      std::vector<const void *> pointers);
  /// False where cuDNN does not do it.
  bool attentionByCudnn(CudnnAttention::Pass pass, const AttentionArgs &args);

  /// Memory that a command uses while it runs; the next command may use it too.
  enum Slot { WidenedA, WidenedB, WidenedD, UnroundedC, Deltas, DispatchTable, Workspace, Exchange, slotCount };
  void *scratch(Slot slot, uint64_t bytes);
  const void *widened(const void *data, DType type, int64_t count, Slot slot);
  void gemmInParts(GemmArgs product, void *workspace);
  void markExchange(uint64_t bytes);
  void clearStatus();

  CudaContext context;
  const cuda::Driver &driver;
  CudaModule module;
  PinnedStaging staging;
  cuda::Function sums = nullptr;
  std::unique_ptr<CublasLt> blas;        ///< opened by the first product
  std::unique_ptr<CudnnAttention> cudnn; ///< opened by the first attention
  std::array<DeviceMemory, slotCount> scratchMemory;
  MarkedRegion exchange;       ///< the state of slot Exchange
  uint64_t scratchVersion = 0; ///< counts the times that scratch memory has moved
  bool recording = false, mayRecord = true;

  /// What split_tokens leaves: the first wrong token (CudaLibrary.cpp).
  struct TokenStatus {
    int64_t word, columns, vocab;
    int64_t token; ///< the first one whose router has logits that are not finite; INT64_MAX: none
  };
  DeviceMemory status;
  TokenStatus *hostStatus = nullptr; ///< pinned
};

} // namespace mhcrt

#endif // MHCRT_HAL_CUDA_CUDADEVICE_H
