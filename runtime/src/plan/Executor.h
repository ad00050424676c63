//===- Executor.h - runs the commands of one entry point -----------*- C++ -*-===//
#ifndef MHCRT_PLAN_EXECUTOR_H
#define MHCRT_PLAN_EXECUTOR_H

#include "hal/Device.h"
#include "plan/Layout.h"

#include <array>
#include <functional>

namespace mhcrt {

/// What a model keeps between calls, on the device; empty where an entry has no use for it.
struct ModelArenas {
  DeviceMemory parameters, gradients;
  std::array<DeviceMemory, stateArenas> states; ///< by StateArena; the first two stay empty
  DeviceMemory &operator[](StateArena arena) {
    return arena == StateArena::Parameters  ? parameters
           : arena == StateArena::Gradients ? gradients
                                            : states[static_cast<size_t>(arena)];
  }
  const DeviceMemory &operator[](StateArena arena) const { return const_cast<ModelArenas &>(*this)[arena]; }
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
  ScheduleFactor = 9,
  InverseTokens = 10, ///< set by the executor itself
  OneMinusBeta1 = 11, ///< rounded from double: 1 - beta in fp32 would have few digits left where beta is near 1
  OneMinusBeta2 = 12,
  SumOfSquares = 16,
  ClipFactor = 17, ///< below 0: the gradients' norm was not finite, and the updates left everything as it was
  Loss = 18,
  CrossEntropy = 19,
  Phase = 20 ///< of the number of experts a token
};
}

class Executor {
public:
  /// `variants`: kernels that run in the place of others, by the number of what they replace in the kernel table.
  Executor(const Package &package, Device &device, const std::string &target, const std::string &entry, std::map<size_t, size_t> variants = {});

  /// Lays the buffers out for these symbols. Keeps everything if they are the same as before.
  void bind(const Symbols &symbols);
  const Layout &layout() const { return bound; }

  struct Run {
    std::map<std::string, char *> inputs, outputs; ///< device addresses, by tensor name
    ModelArenas *arenas = nullptr;
    Scalars *scalars = nullptr; ///< set before the run, read back after it
    int64_t microBatches = 1;   ///< inputs named `tokens` then have so many times the bound rows
    /// Called with null before the first command, with null again if the device has prepared something for all of them, then with each command after it was asked of the device.
    std::function<void(const Command *)> passed;
  };
  void run(const Run &run);
  /// Runs the commands one by one, up to the first that leaves a NaN or infinity behind, and says which one it was; ""
  /// if none does.
  std::string findNonFinite(const Run &run);

private:
  void begin(const Run &run);
  void addresses(const Run &run);
  void issue(const Run &run);
  void prepared(const Run &run);
  /// Bytes that the launches of these commands need prepared.
  uint64_t workspace(const std::vector<Command> &list, const std::vector<BoundCommand> &values, int64_t microBatches) const;
  bool hasNonFinite(const Command &command);
  void commands(const std::vector<Command> &list, const Run &run);
  void command(const Command &command);
  void blocks(const Command &loop, const Run &run);
  void launch(const Command &command, const BoundCommand &values);
  void makeConstants();
  const Kernel &chosen(size_t kernel) const;

  const Package &package;
  Device &device;
  const TargetPlan *target;
  const Entry *entry;
  const EntryPlan *plan;
  std::map<size_t, size_t> variants;
  bool hasLayout = false, poison = false, synchronous = false;
  Symbols symbols;
  Layout bound;
  DeviceMemory arena, scalarMemory;
  std::map<size_t, DeviceMemory> constants; ///< by buffer
  std::vector<char *> address;              ///< by buffer, for the run in progress
  std::vector<void *> args;
  int64_t microBatch = 0;
  bool isLastBlock = false; ///< of a loop over row blocks
  // A run on the same memory as the one before repeats its commands: they are then asked for as a whole.
  std::unique_ptr<Recording> recording;
  std::vector<char *> lastAddress;
  int64_t lastMicroBatches = 0;
};

} // namespace mhcrt

#endif // MHCRT_PLAN_EXECUTOR_H
