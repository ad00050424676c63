#include "train/Schedule.h"
#include "Support.h"

#include <cmath>

using namespace mhcrt;
using namespace mhcrt::test;

namespace {
Schedule schedule(const char *text) {
  Json json = Json::parse(text);
  return Schedule::parse(JsonView(json, "schedule"));
}
} // namespace

TEST(Schedule, Constant) {
  EXPECT_EQ(schedule(R"({"kind": "constant"})").factor(1, 10), 1);
  Schedule warm = schedule(R"({"kind": "constant", "warmup_steps": 4})");
  EXPECT_EQ(warm.factor(1, 10), 0.25);
  EXPECT_EQ(warm.factor(4, 10), 1);
  EXPECT_EQ(warm.factor(10, 10), 1);
}

TEST(Schedule, StepFactorsAreOfTheBaseRate) {
  Schedule s = schedule(R"({"kind": "step", "warmup_steps": 5, "at": [0.8, 0.9], "factors": [0.316, 0.1]})");
  EXPECT_DOUBLE_EQ(s.factor(2, 20), 0.4);
  EXPECT_EQ(s.factor(16, 20), 1);     // p = 0.75
  EXPECT_EQ(s.factor(17, 20), 0.316); // p = 0.8
  EXPECT_EQ(s.factor(19, 20), 0.1);   // p = 0.9
}

TEST(Schedule, LinearAndCosineBeginAfterTheWarmup) {
  Schedule linear = schedule(R"({"kind": "linear", "warmup_steps": 0, "final_fraction": 0.1})");
  EXPECT_EQ(linear.factor(1, 10), 1);
  EXPECT_DOUBLE_EQ(linear.factor(6, 10), 1 - 0.9 * 0.5);
  Schedule cosine = schedule(R"({"kind": "cosine", "warmup_steps": 2, "final_fraction": 0.1})");
  EXPECT_DOUBLE_EQ(cosine.factor(1, 10), 0.5);
  EXPECT_EQ(cosine.factor(3, 10), 1); // p = 0.2 = warm-up
  EXPECT_DOUBLE_EQ(cosine.factor(7, 10), 0.1 + 0.9 * 0.5);
  EXPECT_DOUBLE_EQ(cosine.factor(10, 10), 0.1 + 0.9 * (1 + std::cos(M_PI * 7 / 8)) / 2);
}

TEST(Schedule, Phases) {
  Schedule s = schedule(R"({"kind": "phases", "warmup_steps": 0, "phases": [{"until": 0.4, "shape": "constant"},
    {"until": 0.7, "shape": "cosine", "to": 0.6}, {"until": 1.0, "shape": "linear", "to": 0.1}]})");
  EXPECT_EQ(s.factor(1, 100), 1);
  EXPECT_EQ(s.factor(40, 100), 1);
  EXPECT_NEAR(s.factor(56, 100), 0.8, 1e-12); // p = 0.55, halfway
  EXPECT_NEAR(s.factor(71, 100), 0.6, 1e-12);
  EXPECT_NEAR(s.factor(86, 100), 0.35, 1e-12);
}

TEST(Schedule, RefusesWrongOnes) {
  EXPECT_ERROR(schedule(R"({"kind": "sine"})"), "unknown schedule 'sine'");
  EXPECT_ERROR(schedule(R"({"kind": "step", "at": [0.5], "factors": []})"), "as many factors");
  EXPECT_ERROR(schedule(R"({"kind": "linear"})"), "'final_fraction' is missing");
  EXPECT_ERROR(schedule(R"({"kind": "phases", "phases": []})"), "at least one phase");
  EXPECT_ERROR(schedule(R"({"kind": "phases", "phases": [{"until": 0.5, "shape": "constant"},
    {"until": 0.4, "shape": "constant"}]})"),
               "to increase");
}

//===----------------------------------------------------------------------===//
// Batches
//===----------------------------------------------------------------------===//

TEST(BatchPlan, WithoutRamp) {
  BatchPlan plan(6, 2, 10);
  EXPECT_EQ(plan.steps(), 10);
  EXPECT_EQ(plan.total(), 60);
  EXPECT_EQ(plan.at(1), 6);
  EXPECT_EQ(plan.at(10), 6);
  EXPECT_EQ(plan.before(10), 54);
}

// 4 to 16 sequences in micro-batches of 2 over the first half of 160 sequences: 4 + 12 min(1, before / 80), rounded down to even numbers.
TEST(BatchPlan, Ramp) {
  BatchPlan plan(16, 2, 10);
  plan.setRamp(4, 0.5, "ramp");
  const int64_t wanted[] = {4, 4, 4, 4, 6, 6, 8, 8, 10, 12, 12, 14, 16, 16, 16, 16, 4};
  int64_t done = 0, step = 1;
  for (int64_t count : wanted) {
    EXPECT_EQ(plan.before(step), done) << step;
    int64_t exact = done < 80 ? (4 * 80 + 12 * done) / 80 / 2 * 2 : 16;
    EXPECT_EQ(plan.at(step), std::min<int64_t>(exact, 160 - done)) << step;
    EXPECT_EQ(plan.at(step), count) << step;
    done += count;
    ++step;
  }
  EXPECT_EQ(done, 160); // the tokens of 10 whole steps
  EXPECT_EQ(plan.steps(), 17);
  EXPECT_EQ(plan.total(), 160);
}

// 48 + 240 (7848 / 9417.6) is 248 exactly, a bit less in doubles.
TEST(BatchPlan, RampOfWholeNumbers) {
  BatchPlan plan(288, 8, 109);
  plan.setRamp(48, 0.3, "ramp");
  int64_t step = 1;
  while (plan.before(step) < 7848)
    ++step;
  ASSERT_EQ(plan.before(step), 7848);
  EXPECT_EQ(plan.at(step), 248);
}

TEST(BatchPlan, RampOfOtherSteps) {
  BatchPlan plan(8, 1, 100);
  plan.setRamp(1, 0.25, "ramp");
  plan.setSteps(10);
  int64_t done = 0;
  for (int64_t step = 1; step <= plan.steps(); ++step) {
    EXPECT_EQ(plan.before(step), done);
    EXPECT_GE(plan.at(step), 1);
    done += plan.at(step);
  }
  EXPECT_EQ(done, 80);
  EXPECT_THROW(plan.setRamp(1, 0.0, "ramp"), Error);
}
