//===- Bench.h - how long an entry's commands take -----------------*- C++ -*-===//
#ifndef MHCRT_BENCH_BENCH_H
#define MHCRT_BENCH_BENCH_H

#include "bench/Traffic.h"
#include "hal/Device.h"

namespace mhcrt {

struct BenchOptions {
  std::string entry;
  Symbols symbols; ///< derived ones included
  int64_t repeat = 11, warmup = 2;
  int64_t seed = 0;
  bool rates = true;                 ///< measures the device's rates as well
  std::map<size_t, size_t> variants; ///< kernels that run in the place of others, as Executor takes them
};

/// A command, or all launches of a kernel. Times are medians over the repeats.
struct BenchItem {
  std::string name; ///< the kernel's name, or the library command with its sizes
  std::string op, at;
  int64_t index = 0; ///< of the (first) command, in preorder
  int64_t launches = 1;
  double seconds = 0; ///< of all launches together
  Traffic bytes;      ///< of all launches together
  int64_t again = 0;  ///< launches that compute what forward has computed
};

struct BenchResult {
  std::vector<BenchItem> commands, kernels; ///< in the order of the plan; by name, in the order of the first command
  double seconds = 0;                       ///< of the whole entry, measured without marks between its commands
  Traffic bytes;
  double prepareSeconds = 0; ///< what the device prepares once for all launches of a run; part of `seconds`, of no command
  double againSeconds = 0;   ///< of the commands that compute what forward has computed, and of the others: measured with marks between the commands
  double ownSeconds = 0;
  int64_t floorBytes = 0;     ///< that any kernels for the entry must move, by its plan; 0: not known
  double copyRate = 0;        ///< of the device: bytes read and written a second
  double multiplyAddRate = 0; ///< of the device: fp32 operations a second; 0 if unknown
};

/// Runs the entry on random inputs. The copy rate and the arithmetic rate are measured before and after it on the same
/// threads.
BenchResult benchEntry(const Package &package, Device &device, const std::string &target, const BenchOptions &options,
                       int threads);

double median(std::vector<double> values);

} // namespace mhcrt

#endif // MHCRT_BENCH_BENCH_H
