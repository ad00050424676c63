//===- Tune.h - which of a kernel's schedules is the fastest -------*- C++ -*-===//
#ifndef MHCRT_BENCH_TUNE_H
#define MHCRT_BENCH_TUNE_H

#include "bench/Bench.h"

namespace mhcrt {

/// One of the schedules that the package has of a kernel.
struct TunedVariant {
  size_t kernel = 0;  ///< in the target's table
  bool runs = true;   ///< the device has room for it
  double seconds = 0; ///< of all launches in the entries that were measured
};

struct TunedKernel {
  size_t kernel = 0;                  ///< the default schedule's
  int64_t launches = 0;               ///< in one run of each entry
  std::vector<TunedVariant> variants; ///< the default first
  size_t best = 0;                    ///< of these
};

/// Runs of each schedule that are asked for and made: they are cut into three stretches of the same number, at least one run each.
int64_t tunedRuns(int64_t repeat);

/// Times every kernel that has variants, each within the entries as they are: all other kernels and the library commands run, too. The n-th variants of all
/// kernels run together. Kernels that no entry launches are not in the result.
std::vector<TunedKernel> tuneKernels(const Package &package, Device &device, const std::string &target, const std::vector<BenchOptions> &entries, int threads);

/// A file for `mhc-compile --schedule`: the best schedule of each. `measured` says where and how, for people.
Json scheduleFile(const TargetPlan &plan, const std::string &target, const std::vector<TunedKernel> &kernels, const Json &measured);

} // namespace mhcrt

#endif // MHCRT_BENCH_TUNE_H
