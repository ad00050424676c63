//===- Checkpoint.h - a training run in a safetensors file ---------*- C++ -*-===//
#ifndef MHCRT_TRAIN_CHECKPOINT_H
#define MHCRT_TRAIN_CHECKPOINT_H

#include "package/SafeTensors.h"
#include "plan/Executor.h"

#include <optional>

namespace mhcrt {

/// Where a run stands beside its arenas.
struct Progress {
  int64_t step = 0;          ///< of the run: schedule and data
  int64_t optimizerStep = 0; ///< updates that the optimizer's states have seen (bias correction)
  int64_t seed = 0;
};

/// What a run computes. The same for all of it, or the whole is not what one run would have given.
struct RunIdentity {
  std::string package; ///< Package::hash()
  Json training;       ///< the manifest's `training`, with what the command line put in its place
};
/// A line for each thing in which two runs differ.
std::vector<std::string> differences(const RunIdentity &before, const RunIdentity &now);

/// The norms that weights on spheres keep, from the parameters as they are: a run begins with them.
void measureRadii(const Manifest &manifest, Device &device, const ModelArenas &arenas);

/// Parameters, `optimizer.` + state + `.` + name, `optimizer.step` [1] i64. Step, seed and
/// identity of the run are in the file's metadata. Replaces the file in one step.
void saveCheckpoint(const std::string &path, const Manifest &manifest, Device &device, const ModelArenas &arenas,
                    const Progress &progress, const RunIdentity &identity);

/// Fills the arenas. Parameters must all be there; optimizer states may be missing as a whole (then zeros), unless
/// `complete`. Unknown tensors are an error.
struct LoadedCheckpoint {
  bool hasOptimizer = false;
  int64_t optimizerStep = 0;
  std::optional<int64_t> step, seed; ///< if a run of ours wrote the file
  std::optional<RunIdentity> identity;
};
LoadedCheckpoint loadCheckpoint(const std::string &path, const Manifest &manifest, Device &device,
                                const ModelArenas &arenas, bool complete);

/// Only the parameters, all of them; an optimizer's states are passed over.
void loadParameters(const SafeTensorsFile &file, const Manifest &manifest, Device &device, const ModelArenas &arenas);

} // namespace mhcrt

#endif // MHCRT_TRAIN_CHECKPOINT_H
