//===- GroupSlice.h - how blocks of a group share a row ---------*- C++ -*-===//
#ifndef MHC_ANALYSIS_GROUPSLICE_H
#define MHC_ANALYSIS_GROUPSLICE_H

#include <algorithm>
#include <cstdint>
#include <optional>

namespace mlir::mhc {

/// Schedule family group: K blocks have a slice of C / K channels of all streams each, and keep their slice of phi in registers. They are a cluster, or
/// exchange through rings in memory, which any number of blocks can.
struct GroupSlice {
  bool ring;
  int64_t blocks, channels;
  int64_t steps, pieces; ///< products of 16 rows a warp, pieces of 8 columns of phi

  /// Channels that lie side by side in shared memory; warps that multiply; registers of phi that a thread can keep.
  static constexpr int64_t box = 64, warps = 8, weightRegisters = 120;
  /// Multiprocessors, and those that clusters of up to 8 and of 16 blocks can have (they lie within parts of 16 to 18, one of which is smaller).
  static constexpr int64_t units = 132, unitsOfClusters = 128, unitsOfLargest = 112;
  /// Boxes that a block keeps stages of in shared memory.
  static constexpr int64_t mostBoxes = 5;

  /// Rows of `streams` x `channels` and `columns` columns of phi over so many blocks; nothing where they cannot keep them.
  static std::optional<GroupSlice> make(bool ring, int64_t blocks, int64_t streams, int64_t channels, int64_t columns) {
    bool possible = ring ? blocks >= 2 && blocks <= units : blocks >= 1 && blocks <= 16 && 16 % ((16 + blocks - 1) / blocks) == 0;
    if (!possible || channels % (blocks * box))
      return std::nullopt;
    int64_t slice = channels / blocks, rows = streams * slice, each = warps * 16;
    GroupSlice result{ring, blocks, slice, rows / each, (columns + 7) / 8};
    bool fits = columns == 0 || (rows % each == 0 && result.steps * result.pieces * 4 <= weightRegisters);
    return fits ? std::optional(result) : std::nullopt;
  }

  /// How long the rows of a token take, but for a factor: a tile's time is a part that does not depend on the slice and one that does (docs/performance/gpu.md), and as many
  /// groups work at a time as there is room for.
  double cost() const {
    int64_t room = ring ? units : blocks > 8 ? unitsOfLargest : unitsOfClusters;
    double tile = (ring ? 0.9 : 0.8) + double(channels) / 128;
    return tile / double(std::max<int64_t>(room / blocks, 1));
  }

  /// The best by that cost; nothing if no group of whole boxes can keep phi. Clusters have up to `largest` blocks.
  static std::optional<GroupSlice> choose(int64_t streams, int64_t channels, int64_t columns, int64_t largest) {
    std::optional<GroupSlice> best;
    for (bool ring : {false, true})
      for (int64_t blocks = 1; blocks <= (ring ? units : largest); ++blocks)
        if (std::optional<GroupSlice> slice = make(ring, blocks, streams, channels, columns))
          if (slice->channels <= mostBoxes * box && (!best || slice->cost() < best->cost()))
            best = slice;
    return best;
  }
};

} // namespace mlir::mhc

#endif // MHC_ANALYSIS_GROUPSLICE_H
