//===- MarkedRegion.h - memory that launches find marked -----------*- C++ -*-===//
//
// Kernels in groups of blocks exchange through rings in memory that must be ones when a launch begins, and leave something else. The memory of all launches of a run lies in one region, part after
// part, which is marked as a whole: setting memory is a step of its own on the device, and a launch would wait for it each time. A run that needs more than `limit` bytes begins again in front.
// This keeps the books; whoever has the memory marks it.
//
//===----------------------------------------------------------------------===//
#ifndef MHCRT_HAL_CUDA_MARKEDREGION_H
#define MHCRT_HAL_CUDA_MARKEDREGION_H

#include <algorithm>
#include <cstdint>

namespace mhcrt {

class MarkedRegion {
public:
  static constexpr uint64_t limit = 64u << 20;
  struct Part {
    uint64_t offset = 0;
    uint64_t mark = 0; ///< bytes from the region's beginning to mark first; 0: the part is marked
  };

  /// What a part takes: parts begin at multiples of 256 bytes.
  static uint64_t whole(uint64_t bytes) { return (bytes + 255) / 256 * 256; }

  /// Forgets what is marked. Parts of so many bytes altogether will be taken. Returns the bytes to mark now.
  uint64_t expect(uint64_t bytes) {
    ahead = bytes;
    next = 0;
    return end = std::min(whole(bytes), limit);
  }

  Part take(uint64_t bytes) {
    bytes = whole(bytes);
    Part part{next, 0};
    if (bytes > end - next)
      part = {0, end = std::max(bytes, std::min(whole(ahead), limit))};
    next = part.offset + bytes;
    ahead -= std::min(ahead, bytes);
    return part;
  }

private:
  uint64_t next = 0, end = 0; ///< marked and not taken
  uint64_t ahead = 0;         ///< bytes of the parts to come
};

} // namespace mhcrt

#endif // MHCRT_HAL_CUDA_MARKEDREGION_H
