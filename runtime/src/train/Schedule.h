//===- Schedule.h - the learning rate over the steps ---------------*- C++ -*-===//
#ifndef MHCRT_TRAIN_SCHEDULE_H
#define MHCRT_TRAIN_SCHEDULE_H

#include "base/Json.h"

#include <cstdint>
#include <string>
#include <vector>

namespace mhcrt {

/// factor(s) = min(1, s / warmup_steps) * f(p), p = tokens before step s / all tokens (math.md 4).
class Schedule {
public:
  static Schedule parse(const JsonView &json);

  /// `step` counts from 1. Every step has the same number of tokens, so p = (step - 1) / steps.
  double factor(int64_t step, int64_t steps) const;

private:
  enum class Shape { Constant, Linear, Cosine };
  struct Phase {
    double until = 1;
    Shape shape = Shape::Constant;
    double to = 1; ///< the level at its end, as a fraction of the base rate
  };
  enum class Kind { Constant, Step, Linear, Cosine, Phases } kind = Kind::Constant;

  double shapeAt(double p, double warmup) const;

  int64_t warmupSteps = 0;
  double finalFraction = 0;
  std::vector<double> at, factors;
  std::vector<Phase> phases;
};

} // namespace mhcrt

#endif // MHCRT_TRAIN_SCHEDULE_H
