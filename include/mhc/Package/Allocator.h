//===- Allocator.h - where a plan's buffers lie -----------------*- C++ -*-===//
//
// Shared by the compiler (`mhc-compile --memory`) and the runtime: both must
// come to the same arena for the same sizes, so the arithmetic stands here once
// and depends on the standard library only. docs/design/package.md is normative.
//
//===----------------------------------------------------------------------===//
#ifndef MHC_PACKAGE_ALLOCATOR_H
#define MHC_PACKAGE_ALLOCATOR_H

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace mhc {

/// How the rows of one launch are cut. `count` blocks of `size` rows; the last may be smaller.
struct RowBlocks {
  int64_t size = 0;
  int64_t count = 0;
};

inline int64_t ceilDivide(int64_t a, int64_t b) { return a / b + (a % b != 0); }

/// a rounded up to a multiple of b, or the largest multiple that int64_t holds.
inline int64_t roundUpTo(int64_t a, int64_t b) {
  int64_t blocks = ceilDivide(a, b);
  int64_t most = std::numeric_limits<int64_t>::max() / b;
  return (blocks < most ? blocks : most) * b;
}

/// Blocks of a CPU launch. The cut depends on the rows only, never on the number of threads: this is what makes the
/// sums over tokens the same for any number of threads.
inline RowBlocks cpuRowBlocks(int64_t rows, int64_t tile, bool reduces) {
  RowBlocks blocks;
  if (rows <= 0 || tile <= 0)
    return blocks;
  if (!reduces) {
    blocks.size = roundUpTo(64, tile);
  } else {
    int64_t partials = std::min<int64_t>(16, ceilDivide(rows, 64));
    blocks.size = roundUpTo(ceilDivide(rows, partials), tile);
  }
  blocks.count = ceilDivide(rows, blocks.size);
  return blocks;
}

/// Thread blocks of a GPU launch; for a kernel that reduces this is the number of partials.
inline int64_t gpuGrid(int64_t rows, int64_t tile, bool reduces) {
  if (rows <= 0 || tile <= 0)
    return 0;
  return std::min<int64_t>(ceilDivide(rows, tile), reduces ? 128 : 1024);
}

/// A temporary buffer: `bytes` bytes that hold a value from command `first` to command `last` (both inclusive).
struct ArenaRequest {
  int64_t id = 0;
  uint64_t bytes = 0;
  int64_t first = 0;
  int64_t last = 0;
};

struct ArenaLayout {
  std::vector<uint64_t> offsets; ///< one for each request, in the requests' order
  uint64_t bytes = 0;            ///< size of the arena
};

constexpr uint64_t arenaAlignment = 256;

/// Places the buffers in order of decreasing bytes, then increasing id; each gets the lowest offset, a multiple of
/// arenaAlignment, at which it overlaps no placed buffer with an intersecting live range. Empty buffers lie at 0 and
/// take no room. Returns false if the sizes wrap.
inline bool placeArena(const std::vector<ArenaRequest> &requests, ArenaLayout &layout) {
  layout.offsets.assign(requests.size(), 0);
  layout.bytes = 0;
  std::vector<size_t> order(requests.size());
  for (size_t i = 0; i < order.size(); ++i)
    order[i] = i;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    if (requests[a].bytes != requests[b].bytes)
      return requests[a].bytes > requests[b].bytes;
    return requests[a].id != requests[b].id ? requests[a].id < requests[b].id : a < b;
  });
  constexpr uint64_t limit = std::numeric_limits<uint64_t>::max() / 2;
  std::vector<size_t> placed; // by increasing offset
  for (size_t index : order) {
    const ArenaRequest &request = requests[index];
    if (request.bytes == 0)
      continue;
    if (request.bytes > limit)
      return false;
    uint64_t offset = 0;
    for (size_t other : placed) {
      const ArenaRequest &taken = requests[other];
      if (taken.last < request.first || request.last < taken.first)
        continue;
      if (layout.offsets[other] >= offset + request.bytes)
        break; // all further ones begin later still
      uint64_t end = layout.offsets[other] + taken.bytes;
      offset = std::max(offset, (end + arenaAlignment - 1) / arenaAlignment * arenaAlignment);
      if (offset > limit)
        return false;
    }
    layout.offsets[index] = offset;
    layout.bytes = std::max(layout.bytes, offset + request.bytes);
    auto where = std::lower_bound(placed.begin(), placed.end(), offset,
                                  [&](size_t a, uint64_t value) { return layout.offsets[a] < value; });
    placed.insert(where, index);
  }
  return true;
}

} // namespace mhc

#endif // MHC_PACKAGE_ALLOCATOR_H
