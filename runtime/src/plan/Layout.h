//===- Layout.h - sizes and places of an entry's buffers -----------*- C++ -*-===//
#ifndef MHCRT_PLAN_LAYOUT_H
#define MHCRT_PLAN_LAYOUT_H

#include "hal/Device.h"
#include "package/Package.h"

#include <functional>

namespace mhcrt {

/// The expressions of one command for given symbols.
struct BoundCommand {
  int64_t rows = 0, partials = 0;
  std::vector<int64_t> ints;
  int64_t m = 0, n = 0, k = 0;
  int64_t sequences = 0, length = 0;
};

/// Everything about an entry's plan that depends on the symbols' values, checked: no library command can reach beyond
/// its buffers. (What launches reach was checked when the plan was read, for all values: package/LaunchCheck.cpp.)
struct Layout {
  std::vector<int64_t> counts;   ///< elements of each buffer
  std::vector<uint64_t> offsets; ///< of arena and partials buffers: bytes from the start of the arena
  uint64_t arenaBytes = 0;
  std::vector<BoundCommand> commands; ///< by preorder index
  /// Loops over row blocks: iterations, rows of one, and the commands of the last one, which may have fewer rows.
  int64_t rowBlocks = 0, blockRows = 0;
  std::vector<BoundCommand> lastBlock; ///< by preorder index; of other commands as `commands`
};

/// How many partials a launch of a kernel writes: depends on the device.
using PartialCount = std::function<int64_t(const Kernel &kernel, int64_t rows)>;

Layout layOut(const Manifest &manifest, const Entry &entry, const TargetPlan &target, const EntryPlan &plan,
              const Symbols &symbols, const PartialCount &partials);

} // namespace mhcrt

#endif // MHCRT_PLAN_LAYOUT_H
