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

  /// `step` counts from 1; `progress` is p.
  double factor(int64_t step, int64_t steps, double progress) const;
  /// Where every step has the same number of tokens.
  double factor(int64_t step, int64_t steps) const {
    return factor(step, steps, static_cast<double>(step - 1) / static_cast<double>(steps));
  }

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

/// How many sequences a step takes: always the same number, or fewer at first (math.md 4).
class BatchPlan {
public:
  BatchPlan() = default;
  BatchPlan(int64_t sequences, int64_t microBatch, int64_t steps) : sequences(sequences), microBatch(microBatch), given(steps) { plan(); }
  /// From `from` sequences linearly in tokens to all of them when the share `until` of the run's tokens was read, rounded down to whole micro-batches. The run
  /// reads as many tokens as it would without, so it has more steps.
  void setRamp(int64_t from, double until, const std::string &where);
  void setSteps(int64_t steps);
  void setSequences(int64_t sequences);

  int64_t steps() const;
  int64_t most() const { return sequences; }
  int64_t ofMicroBatch() const { return microBatch; }
  /// Sequences of step `step` (from 1), and of all steps before it.
  int64_t at(int64_t step) const;
  int64_t before(int64_t step) const;
  /// Sequences of the whole run; 64 bits hold them.
  int64_t total() const { return sequences * given; }

private:
  void plan();

  int64_t sequences = 1, microBatch = 1, given = 1;
  int64_t rampFrom = 0; ///< 0: no ramp
  double rampUntil = 0;
  std::string rampWhere;
  std::vector<int64_t> starts; ///< of the ramp's steps: sequences before each, and after the last
};

} // namespace mhcrt

#endif // MHCRT_TRAIN_SCHEDULE_H
