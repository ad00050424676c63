//===- GroupSlice.h - how blocks of a cluster share a row -------*- C++ -*-===//
#ifndef MHC_ANALYSIS_GROUPSLICE_H
#define MHC_ANALYSIS_GROUPSLICE_H

#include <cstdint>
#include <initializer_list>
#include <optional>

namespace mlir::mhc {

/// Schedule family group: K blocks of a cluster have a slice of C / K channels of all streams each, and keep their slice of phi in registers.
struct GroupSlice {
  int64_t blocks, channels;
  int64_t steps, pieces; ///< products of 16 rows a warp, pieces of 8 columns of phi

  /// Channels that lie side by side in shared memory; warps that multiply; registers of phi that a thread can keep.
  static constexpr int64_t box = 64, warps = 8, weightRegisters = 120;

  /// So many blocks, if they can keep `columns` columns of phi for rows of `streams` x `channels`.
  static std::optional<GroupSlice> of(int64_t blocks, int64_t streams, int64_t channels, int64_t columns) {
    if (channels % (blocks * box))
      return std::nullopt;
    int64_t slice = channels / blocks, rows = streams * slice, each = warps * 16;
    GroupSlice result{blocks, slice, rows / each, (columns + 7) / 8};
    if (columns != 0 && (rows % each != 0 || result.steps * result.pieces * 4 > weightRegisters))
      return std::nullopt;
    return result;
  }

  /// The fewest blocks that can; nothing if no cluster of up to `largest` can.
  static std::optional<GroupSlice> choose(int64_t streams, int64_t channels, int64_t columns, int64_t largest) {
    for (int64_t blocks : {1, 2, 4, 8, 16})
      if (std::optional<GroupSlice> result = blocks <= largest ? of(blocks, streams, channels, columns) : std::nullopt)
        return result;
    return std::nullopt;
  }
};

} // namespace mlir::mhc

#endif // MHC_ANALYSIS_GROUPSLICE_H
