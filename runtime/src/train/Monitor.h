//===- Monitor.h - what a run is watched by ------------------------*- C++ -*-===//
#ifndef MHCRT_TRAIN_MONITOR_H
#define MHCRT_TRAIN_MONITOR_H

#include "plan/TokenEntry.h"

namespace mhcrt {

/// The numbers of docs/metrics.md that a step does not have by itself: entry `monitor` on tokens and weights that the
/// step begins with, and what the step then does to the weights. The step itself is not touched.
class Monitor {
public:
  Monitor(const Package &package, Device &device, const std::string &target);

  /// Of `rows` rows of `columns` tokens, the last of which is a target only; in this phase of the number of experts a
  /// token. Keeps a copy of the weights.
  void before(const int32_t *tokens, int64_t rows, int64_t columns, int64_t phase, ModelArenas &arenas);
  /// After the step: the object `monitor` of its line of metrics.
  Json after(ModelArenas &arenas);

private:
  Json weights(ModelArenas &arenas);

  Device &device;
  const Manifest &manifest;
  TokenEntry forward;
  Executor change;
  Executor::Run changeRun;
  std::map<std::string, DeviceMemory> changes; ///< outputs of entry weight_change
  Json watched;
  double seconds = 0;
};

} // namespace mhcrt

#endif // MHCRT_TRAIN_MONITOR_H
