//===- StepScalars.h - an optimizer's part of the scalars ----------*- C++ -*-===//
#ifndef MHCRT_TRAIN_STEPSCALARS_H
#define MHCRT_TRAIN_STEPSCALARS_H

#include "base/Json.h"
#include "plan/Executor.h"

namespace mhcrt {

/// What a description says of its optimizer, as far as it is no part of the kernels.
struct OptimizerSettings {
  double beta1 = 0, beta2 = 0, eps = 0, weightDecay = 0;
  /// `betas` are one number (muon: nothing reads the other) or two.
  static OptimizerSettings parse(const JsonView &optimizer);
};

/// The scalars of update number `step` (from 1): docs/design/package.md.
void setOptimizerScalars(Scalars &scalars, const OptimizerSettings &settings, double learningRate, int64_t step);

} // namespace mhcrt

#endif // MHCRT_TRAIN_STEPSCALARS_H
