//===- GroupSlice.h - how blocks of a group share a row ---------*- C++ -*-===//
#ifndef MHC_ANALYSIS_GROUPSLICE_H
#define MHC_ANALYSIS_GROUPSLICE_H

#include <cstdint>
#include <optional>

namespace mlir::mhc {

/// Schedule family group: K blocks have a slice of C / K channels of all streams each, and keep their slice of phi in registers. They are a cluster, or
/// exchange through rings in memory, which any number of blocks can.
struct GroupSlice {
  bool ring;
  int64_t blocks, channels;
  int64_t steps, pieces; ///< of phi: times 16 rows a warp, pieces of 8 columns

  /// Channels that lie side by side in shared memory; warps that multiply; registers of phi that a thread can keep; tokens of a tile.
  static constexpr int64_t box = 64, warps = 8, weightRegisters = 120, tokens = 16;
  /// Multiprocessors that groups without a cluster can be spread over.
  static constexpr int64_t units = 132;
  /// Boxes that a block keeps stages of in shared memory.
  static constexpr int64_t mostBoxes = 5;

  /// Rows of `streams` x `channels` and `columns` columns of phi over so many blocks; nothing where they cannot keep them. `apart`: streams that are each multiplied by the same phi of
  /// `channels` rows (an even number; half the warps have a stream); 1: phi has all of the row.
  static std::optional<GroupSlice> make(bool ring, int64_t blocks, int64_t streams, int64_t channels, int64_t columns, int64_t apart = 1);
  /// How long the rows of a token take, but for a factor.
  double cost() const;
  /// The best by that cost; nothing if no group of whole boxes can keep phi. Clusters have up to `largest` blocks (0: none); `rings`: groups without a cluster too.
  static std::optional<GroupSlice> choose(int64_t streams, int64_t channels, int64_t columns, int64_t largest, bool rings, int64_t apart = 1);
};

/// Boundaries of backward in that family: each block has a slice of so many channels of so many streams, whatever the row's length.
struct GangSlice {
  static constexpr int64_t streams = 4, channels = 128;
  /// Whether groups of up to `largest` blocks hold rows of `streams` x `channels`.
  static bool fits(int64_t streams, int64_t channels, int64_t largest) {
    return largest > 1 && streams == GangSlice::streams && channels % GangSlice::channels == 0 && channels / GangSlice::channels <= largest;
  }
};

} // namespace mlir::mhc

#endif // MHC_ANALYSIS_GROUPSLICE_H
