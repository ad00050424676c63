//===- TrainingSpec.h - the manifest's `training` ------------------*- C++ -*-===//
#ifndef MHCRT_TRAIN_TRAININGSPEC_H
#define MHCRT_TRAIN_TRAININGSPEC_H

#include "package/Package.h"
#include "train/Schedule.h"
#include "train/StepScalars.h"

#include <limits>

namespace mhcrt {

struct TrainingSpec {
  double learningRate = 0;
  OptimizerSettings optimizer;
  double clip = std::numeric_limits<double>::infinity();
  Schedule schedule;
  BatchPlan batch;
  int64_t sequenceLength = 1;

  /// Refuses what this runtime cannot train, with the reason.
  static TrainingSpec parse(const Manifest &manifest, const std::string &source);
};

} // namespace mhcrt

#endif // MHCRT_TRAIN_TRAININGSPEC_H
