//===- TrainingSpec.h - the manifest's `training` ------------------*- C++ -*-===//
#ifndef MHCRT_TRAIN_TRAININGSPEC_H
#define MHCRT_TRAIN_TRAININGSPEC_H

#include "package/Package.h"
#include "train/Schedule.h"

#include <limits>

namespace mhcrt {

struct TrainingSpec {
  double learningRate = 0, beta1 = 0, beta2 = 0, eps = 0, weightDecay = 0;
  double clip = std::numeric_limits<double>::infinity();
  Schedule schedule;
  int64_t sequences = 1, sequenceLength = 1, steps = 1, microBatch = 1;

  int64_t microBatches() const { return sequences / microBatch; }
  int64_t tokensPerStep() const { return sequences * sequenceLength; }

  /// Refuses what this runtime cannot train, with the reason.
  static TrainingSpec parse(const Manifest &manifest, const std::string &source);
};

} // namespace mhcrt

#endif // MHCRT_TRAIN_TRAININGSPEC_H
