#include "train/Schedule.h"
#include "base/Checked.h"

#include <algorithm>
#include <cmath>

namespace mhcrt {
namespace {

constexpr double pi = 3.14159265358979323846;

double interpolate(double from, double to, double share, bool cosine) {
  return cosine ? to + (from - to) * (1 + std::cos(pi * share)) / 2 : from + (to - from) * share;
}

} // namespace

Schedule Schedule::parse(const JsonView &json) {
  Schedule schedule;
  const std::string &kind = json.at("kind").string();
  if (auto warmup = json.find("warmup_steps"))
    schedule.warmupSteps = warmup->integer(0);
  if (kind == "constant") {
    schedule.kind = Kind::Constant;
  } else if (kind == "step") {
    schedule.kind = Kind::Step;
    JsonView at = json.at("at"), factors = json.at("factors");
    if (at.size() != factors.size())
      fail(json.path(), ": expected as many factors as places, but got ", factors.size(), " and ", at.size());
    for (size_t i = 0; i < at.size(); ++i) {
      schedule.at.push_back(at[i].number());
      schedule.factors.push_back(factors[i].number());
    }
  } else if (kind == "linear" || kind == "cosine") {
    schedule.kind = kind == "linear" ? Kind::Linear : Kind::Cosine;
    schedule.finalFraction = json.at("final_fraction").number();
  } else if (kind == "phases") {
    schedule.kind = Kind::Phases;
    JsonView phases = json.at("phases");
    double before = 0, level = 1;
    for (size_t i = 0; i < phases.size(); ++i) {
      Phase phase;
      if (auto until = phases[i].find("until"); until && !until->isNull())
        phase.until = until->number();
      if (!(phase.until > before))
        fail(phases[i].path(), ": expected 'until' to increase");
      const std::string &shape = phases[i].at("shape").string();
      if (shape != "constant" && shape != "linear" && shape != "cosine")
        fail(phases[i].path(), ": unknown shape '", shape, "'");
      phase.shape = shape == "linear" ? Shape::Linear : shape == "cosine" ? Shape::Cosine : Shape::Constant;
      phase.to = level;
      if (auto to = phases[i].find("to"); to && !to->isNull())
        phase.to = to->number();
      schedule.phases.push_back(phase);
      before = phase.until;
      level = phase.to;
    }
    if (schedule.phases.empty())
      fail(phases.path(), ": expected at least one phase");
  } else {
    fail(json.path(), ": unknown schedule '", kind, "'");
  }
  return schedule;
}

double Schedule::shapeAt(double p, double warmup) const {
  switch (kind) {
  case Kind::Constant:
    return 1;
  case Kind::Step: {
    double value = 1; // the last place that p has reached; of the base rate, not of the factor before
    for (size_t i = 0; i < at.size(); ++i)
      if (at[i] <= p)
        value = factors[i];
    return value;
  }
  case Kind::Linear:
  case Kind::Cosine: {
    double share = warmup < 1 ? std::clamp((p - warmup) / (1 - warmup), 0.0, 1.0) : 0;
    return interpolate(1, finalFraction, share, kind == Kind::Cosine);
  }
  case Kind::Phases: {
    double begin = 0, level = 1;
    for (size_t i = 0; i < phases.size(); ++i) {
      const Phase &phase = phases[i];
      if (p < phase.until || i + 1 == phases.size()) {
        if (phase.shape == Shape::Constant)
          return level;
        double share = std::min(1.0, (p - begin) / (phase.until - begin));
        return interpolate(level, phase.to, share, phase.shape == Shape::Cosine);
      }
      begin = phase.until;
      level = phase.to;
    }
    return level;
  }
  }
  return 1;
}

double Schedule::factor(int64_t step, int64_t steps, double p) const {
  double warmup = static_cast<double>(warmupSteps) / static_cast<double>(steps);
  double ramp = warmupSteps > 0 ? std::min(1.0, static_cast<double>(step) / static_cast<double>(warmupSteps)) : 1;
  return ramp * shapeAt(p, warmup);
}

//===----------------------------------------------------------------------===//
// Batches
//===----------------------------------------------------------------------===//

void BatchPlan::setRamp(int64_t from, double until, const std::string &where) {
  if (!(until > 0 && until <= 1))
    fail(where, ".until: expected a share of the tokens above 0, at most 1, but got ", until);
  rampFrom = from;
  rampUntil = until;
  rampWhere = where;
  plan();
}
void BatchPlan::setSteps(int64_t steps) {
  given = steps;
  plan();
}
void BatchPlan::setSequences(int64_t count) {
  sequences = count;
  rampFrom = std::min(rampFrom, count);
  plan();
}

void BatchPlan::plan() {
  checkedMultiply(sequences, given, "sequences of the run");
  starts.clear();
  if (!rampFrom)
    return;
  constexpr size_t most = size_t(1) << 24;
  const double rampEnd = rampUntil * static_cast<double>(total());
  int64_t done = 0;
  while (done < total() && static_cast<double>(done) < rampEnd) {
    starts.push_back(done);
    // Roundings may take a whole number just below itself.
    constexpr double slack = 1 + 1e-12;
    double wanted = static_cast<double>(rampFrom) + static_cast<double>(sequences - rampFrom) * (static_cast<double>(done) / rampEnd);
    int64_t count = std::min(sequences, static_cast<int64_t>(wanted * slack)) / microBatch * microBatch;
    done = std::min(total(), done + count);
    if (starts.size() > most)
      fail(rampWhere, ": expected a ramp of at most ", most, " steps");
  }
  starts.push_back(done);
}

int64_t BatchPlan::steps() const {
  if (starts.empty())
    return given;
  int64_t rest = total() - starts.back();
  return static_cast<int64_t>(starts.size()) - 1 + (rest + sequences - 1) / sequences;
}

int64_t BatchPlan::before(int64_t step) const {
  const auto ramp = static_cast<int64_t>(starts.size());
  if (step - 1 < ramp)
    return starts[step - 1];
  int64_t after = ramp ? starts.back() : 0, full = step - 1 - std::max<int64_t>(0, ramp - 1);
  return std::min(total(), after + full * sequences);
}

int64_t BatchPlan::at(int64_t step) const { return before(step + 1) - before(step); }

} // namespace mhcrt
