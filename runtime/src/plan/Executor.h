//===- Executor.h - runs the commands of one entry point -----------*- C++ -*-===//
#ifndef MHCRT_PLAN_EXECUTOR_H
#define MHCRT_PLAN_EXECUTOR_H

#include "hal/Device.h"
#include "plan/Layout.h"

#include <array>

namespace mhcrt {

/// What a model keeps between calls, on the device. All arenas have the parameters' layout.
struct ModelArenas {
  DeviceMemory parameters, gradients, expAvg, expAvgSq; ///< empty where an entry has no use for them
};

/// The 64 scalars of a step (docs/design/package.md).
using Scalars = std::array<float, 64>;
namespace scalar {
enum {
  LearningRate = 0,
  Correction1 = 1,
  Correction2 = 2,
  GradientScale = 3,
  Clip = 4,
  WeightDecay = 5,
  Beta1 = 6,
  Beta2 = 7,
  Eps = 8,
  InverseTokens = 10, ///< set by the executor itself
  SumOfSquares = 16,
  ClipFactor = 17,
  Loss = 18,
  CrossEntropy = 19
};
}

class Executor {
public:
  Executor(const Package &package, Device &device, const std::string &target, const std::string &entry);

  /// Lays the buffers out for these symbols. Keeps everything if they are the same as before.
  void bind(const Symbols &symbols);
  const Layout &layout() const { return bound; }

  struct Run {
    std::map<std::string, char *> inputs, outputs; ///< device addresses, by tensor name
    ModelArenas *arenas = nullptr;
    Scalars *scalars = nullptr; ///< set before the run, read back after it
    int64_t microBatches = 1;   ///< inputs named `tokens` then have so many times the bound rows
    /// Leave out what touches the optimizer's states once the gradients' sum of squares is not finite.
    bool guardUpdates = false;
  };
  void run(const Run &run);
  /// True if the last run left out its updates.
  bool skippedUpdates() const { return skipped; }

private:
  void addresses(const Run &run);
  void commands(const std::vector<Command> &list, const Run &run);
  void command(const Command &command, const Run &run);
  void launch(const Command &command, const BoundCommand &values);
  bool touchesOptimizer(const Command &command) const;
  bool updatesAllowed(const Run &run);
  void makeConstants();

  const Package &package;
  Device &device;
  const TargetPlan *target;
  const Entry *entry;
  const EntryPlan *plan;
  bool hasLayout = false, poison = false;
  Symbols symbols;
  Layout bound;
  DeviceMemory arena, scalarMemory;
  std::map<size_t, DeviceMemory> constants; ///< by buffer
  std::vector<char *> address;              ///< by buffer, for the run in progress
  std::vector<void *> args;
  int64_t microBatch = 0;
  bool gradientsChecked = false, skipped = false;
};

} // namespace mhcrt

#endif // MHCRT_PLAN_EXECUTOR_H
