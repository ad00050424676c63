//===- GroupSlice.cpp - how blocks of a group share a row -------------------===//

#include "mhc/Analysis/GroupSlice.h"

#include <algorithm>

namespace mlir::mhc {

/// Clusters lie within parts of 16 to 18 multiprocessors, of which one part is smaller.
static constexpr int64_t parts = 8, unitsOfPart = 16;

std::optional<GroupSlice> GroupSlice::make(bool ring, int64_t blocks, int64_t streams, int64_t channels, int64_t columns, int64_t apart) {
  if (blocks < 1 + ring || blocks > (ring ? units : 16) || channels % (blocks * box))
    return std::nullopt;
  // In a cluster those blocks that finish tokens finish as many each, since a barrier counts the bytes that come.
  int64_t share = (tokens + blocks - 1) / blocks;
  if (!ring && tokens % share)
    return std::nullopt;
  int64_t slice = channels / blocks, rows = streams / apart * slice, each = warps * 16 / (apart > 1 ? 2 : 1);
  GroupSlice result{ring, blocks, slice, rows / each, (columns + 7) / 8};
  bool fits = columns == 0 || (rows % each == 0 && result.steps * result.pieces * 4 <= weightRegisters);
  return fits ? std::optional(result) : std::nullopt;
}

/// Microseconds of a tile as they were measured (docs/performance/gpu.md): a part that does not depend on the slice and one that does, and what a role that spills takes longer; over as
/// many groups as work at a time.
double GroupSlice::cost() const {
  int64_t clusters = blocks > 8 ? parts - (blocks == unitsOfPart) : parts * (unitsOfPart / blocks);
  int64_t groups = std::max<int64_t>(ring ? units / blocks : clusters, 1);
  double tile = (ring ? 0.9 : 0.4) + (ring ? 2.3 : 2.2) * double(channels) / 256;
  return tile * (steps * pieces * 4 > 100 ? 1.3 : 1.0) / double(groups);
}

std::optional<GroupSlice> GroupSlice::choose(int64_t streams, int64_t channels, int64_t columns, int64_t largest, bool rings, int64_t apart) {
  std::optional<GroupSlice> best;
  for (bool ring : {false, true})
    for (int64_t blocks = 1; blocks <= (ring ? rings * units : largest); ++blocks)
      if (std::optional<GroupSlice> slice = make(ring, blocks, streams, channels, columns, apart))
        if (slice->channels <= mostBoxes * box && (!best || slice->cost() < best->cost()))
          best = slice;
  return best;
}

} // namespace mlir::mhc
