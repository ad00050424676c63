#include "hal/cuda/PinnedStaging.h"

#include <algorithm>
#include <cstring>

namespace mhcrt {

PinnedStaging::~PinnedStaging() {
  for (Slot &slot : slots) {
    if (slot.passed)
      driver.eventDestroy(slot.passed);
    if (slot.memory)
      driver.hostFree(slot.memory);
  }
}

/// A slot whose last copy is done.
PinnedStaging::Slot &PinnedStaging::next() {
  Slot &slot = slots[turn++ % slots.size()];
  if (!slot.memory) {
    void *memory = nullptr;
    cuda::check(driver.hostAllocate(&memory, slotBytes), "allocating pinned memory");
    slot.memory = static_cast<char *>(memory);
    cuda::check(driver.eventCreate(&slot.passed, cuda::EventDisableTiming), "creating an event");
  }
  if (slot.used)
    cuda::check(driver.eventSynchronize(slot.passed), "waiting for a copy");
  slot.used = true;
  return slot;
}

void PinnedStaging::copyIn(cuda::Pointer to, const void *from, uint64_t bytes) {
  for (uint64_t at = 0; at < bytes; at += slotBytes) {
    uint64_t count = std::min(slotBytes, bytes - at);
    Slot &slot = next();
    std::memcpy(slot.memory, static_cast<const char *>(from) + at, count);
    cuda::check(driver.copyToDevice(to + at, slot.memory, count, stream), "copying to the device");
    cuda::check(driver.eventRecord(slot.passed, stream), "recording an event");
  }
}

void PinnedStaging::copyOut(void *to, cuda::Pointer from, uint64_t bytes) {
  // One slot is on its way while the one before is emptied.
  Slot *before = nullptr;
  uint64_t beforeAt = 0, beforeCount = 0;
  auto empty = [&] {
    if (!before)
      return;
    cuda::check(driver.eventSynchronize(before->passed), "copying from the device");
    std::memcpy(static_cast<char *>(to) + beforeAt, before->memory, beforeCount);
  };
  for (uint64_t at = 0; at < bytes; at += slotBytes) {
    uint64_t count = std::min(slotBytes, bytes - at);
    Slot &slot = next();
    cuda::check(driver.copyToHost(slot.memory, from + at, count, stream), "copying from the device");
    cuda::check(driver.eventRecord(slot.passed, stream), "recording an event");
    empty();
    before = &slot;
    beforeAt = at;
    beforeCount = count;
  }
  empty();
}

} // namespace mhcrt
