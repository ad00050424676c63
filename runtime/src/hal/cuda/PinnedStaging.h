//===- PinnedStaging.h - copies between host and device ------------*- C++ -*-===//
//
// A copy from ordinary host memory would wait for the stream. So bytes go through a ring of pinned slots: into the
// device without waiting (until all slots are on their way), out of it with one wait a slot.
//
//===----------------------------------------------------------------------===//
#ifndef MHCRT_HAL_CUDA_PINNEDSTAGING_H
#define MHCRT_HAL_CUDA_PINNEDSTAGING_H

#include "hal/cuda/CudaDriver.h"

#include <array>

namespace mhcrt {

class PinnedStaging {
public:
  PinnedStaging(const cuda::Driver &driver, cuda::Stream stream) : driver(driver), stream(stream) {}
  ~PinnedStaging();
  PinnedStaging(const PinnedStaging &) = delete;

  /// `from` may change after the call; the bytes arrive in the stream's order.
  void copyIn(cuda::Pointer to, const void *from, uint64_t bytes);
  /// Waits for what was asked of the stream before.
  void copyOut(void *to, cuda::Pointer from, uint64_t bytes);

private:
  static constexpr uint64_t slotBytes = 4 << 20;
  struct Slot {
    char *memory = nullptr;
    cuda::Event passed = nullptr;
    bool used = false;
  };
  Slot &next();

  const cuda::Driver &driver;
  cuda::Stream stream;
  std::array<Slot, 4> slots;
  size_t turn = 0;
};

} // namespace mhcrt

#endif // MHCRT_HAL_CUDA_PINNEDSTAGING_H
