//===- Memory.h - one aligned block of host memory -----------------*- C++ -*-===//
#ifndef MHCRT_BASE_MEMORY_H
#define MHCRT_BASE_MEMORY_H

#include "base/Error.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace mhcrt {

/// Uninitialised memory at a multiple of 256 bytes; owns it.
class Memory {
public:
  Memory() = default;
  explicit Memory(uint64_t bytes) : count(bytes) {
    if (bytes == 0)
      return;
    if (bytes > UINT64_MAX - 256)
      fail("cannot allocate ", bytes, " bytes of memory");
    void *address = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (!address)
      fail("cannot allocate ", bytes, " bytes of memory");
    block.reset(static_cast<char *>(address));
  }

  char *data() { return block.get(); }
  const char *data() const { return block.get(); }
  uint64_t size() const { return count; }
  void clear() {
    if (count)
      std::memset(block.get(), 0, count);
  }

private:
  struct Free {
    void operator()(char *address) const { std::free(address); }
  };
  std::unique_ptr<char, Free> block;
  uint64_t count = 0;
};

} // namespace mhcrt

#endif // MHCRT_BASE_MEMORY_H
