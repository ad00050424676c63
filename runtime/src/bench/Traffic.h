//===- Traffic.h - bytes that the commands of a plan move ----------*- C++ -*-===//
#ifndef MHCRT_BENCH_TRAFFIC_H
#define MHCRT_BENCH_TRAFFIC_H

#include "package/Package.h"
#include "plan/Layout.h"

namespace mhcrt {

struct Traffic {
  int64_t read = 0, written = 0;
};

/// By a command's preorder index; a loop's own entry is empty, its body counts once.
///
/// A launch moves its arguments that have rows, times its rows: what `mhc-compile --explain` counts. Parameters, tables
/// by position and partial sums are small beside the rows and stay in caches; they count nothing. A library command
/// moves its operands.
std::vector<Traffic> planTraffic(const TargetPlan &target, const EntryPlan &plan, const Layout &layout);

} // namespace mhcrt

#endif // MHCRT_BENCH_TRAFFIC_H
