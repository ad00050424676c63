//===- TrainingTest.cpp - `training` of a language model ------------------===//

#include "Testing.h"

#include <nlohmann/json.hpp>

using namespace mhc;
using namespace mhc::testing;

using Schedule = Training::Schedule;
using Parametrization = Training::Parametrization;

TEST(TrainingFields, Defaults) {
  for (const std::string &text :
       {model(), training(""), training("\"optimizer\": {}, \"schedule\": {}, \"batch\": {}, \"clip\": null")}) {
    auto m = acceptAs<LanguageModel>(text);
    const Training &t = m.training;
    EXPECT_EQ(t.optimizer.kind, OptimizerKind::adamw);
    EXPECT_EQ(t.optimizer.learningRate, 3e-4);
    EXPECT_EQ(t.optimizer.beta1, 0.9);
    EXPECT_EQ(t.optimizer.beta2, 0.95);
    EXPECT_EQ(t.optimizer.eps, 1e-8);
    EXPECT_EQ(t.optimizer.weightDecay, 0);
    EXPECT_EQ(t.parametrization.kind, Parametrization::none);
    EXPECT_EQ(t.schedule.kind, Schedule::constant);
    EXPECT_EQ(t.schedule.warmupSteps, 0);
    EXPECT_EQ(t.batch.sequences, 1);
    EXPECT_EQ(t.batch.sequenceLength, 4096);
    EXPECT_EQ(t.batch.steps, 1);
    EXPECT_EQ(t.batch.microBatch, 1);
    EXPECT_FALSE(t.batch.ramp);
    EXPECT_FALSE(t.clip);
  }
  EXPECT_EQ(acceptAs<LanguageModel>(training("\"batch\": {\"sequences\": 12}")).training.batch.microBatch, 12);
}

// What is written out is a description's `training` itself and means the same.
TEST(TrainingFields, WrittenOut) {
  const std::string texts[] = {
      "",
      R"("optimizer": {"kind": "adamw", "learning_rate": 8.6e-4, "betas": [0.8, 0.9], "eps": 1e-20, "weight_decay": 0.1},
         "schedule": {"kind": "step", "warmup_steps": 2000, "at": [0.8, 0.9], "factors": [0.316, 0.1]},
         "batch": {"sequences": 320, "sequence_length": 2048, "steps": 30000, "micro_batch": 8, "ramp": {"from": 64, "until": 0.4}}, "clip": 1.0)",
      R"("optimizer": {"kind": "muonh", "momentum": 0.9, "ns_eps": 1e-6, "norm_scope": "stack"},
         "parametrization": {"kind": "hyperp", "base_depth": 4, "base_tokens": 1.04e10}, "schedule": {"kind": "linear", "final_fraction": 0.1})",
      R"("optimizer": {"kind": "muon", "weight_decay": 0.5}, "parametrization": "mup++", "schedule": {"kind": "cosine", "warmup_steps": 3, "final_fraction": 0})",
      R"("schedule": {"kind": "phases", "phases": [{"until": 0.6, "shape": "constant"}, {"until": 0.9, "shape": "cosine", "to": 0.615}, {"until": 1.0, "shape": "linear", "to": 0.1}]})",
  };
  for (const std::string &text : texts) {
    std::string once = resolvedTraining(acceptAs<LanguageModel>(training(text)));
    std::string twice = resolvedTraining(acceptAs<LanguageModel>(model("\"training\": " + once)));
    EXPECT_EQ(once, twice);
  }
  auto resolved = [](const std::string &text) {
    return nlohmann::json::parse(resolvedTraining(acceptAs<LanguageModel>(training(text))));
  };
  EXPECT_EQ(resolved(texts[0]), nlohmann::json::parse(R"({
      "optimizer": {"kind": "adamw", "learning_rate": 3e-4, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.0},
      "parametrization": "none", "schedule": {"kind": "constant", "warmup_steps": 0},
      "batch": {"sequences": 1, "sequence_length": 4096, "steps": 1, "micro_batch": 1}, "clip": null})"));
  EXPECT_EQ(resolved(texts[1]), nlohmann::json::parse("{" + texts[1] + ", \"parametrization\": \"none\"}"));
  EXPECT_EQ(resolved(texts[2])["optimizer"],
            nlohmann::json::parse(R"({"kind": "muonh", "learning_rate": 3e-4, "betas": [0.9, 0.95], "eps": 1e-8,
      "momentum": 0.9, "ns_eps": 1e-6, "norm_scope": "stack"})"));
  EXPECT_EQ(
      resolved(texts[2])["parametrization"],
      nlohmann::json::parse(R"({"kind": "hyperp", "base_depth": 4.0, "base_width": 1024.0, "base_tokens": 1.04e10})"));
  EXPECT_EQ(resolved(texts[3])["optimizer"]["weight_decay"], 0.5);
  EXPECT_EQ(resolved(texts[4])["schedule"]["phases"][1]["to"], 0.615);
}

TEST(TrainingFields, Refusals) {
  auto optimizer = [](const std::string &fields) { return training("\"optimizer\": {" + fields + "}"); };
  auto schedule = [](const std::string &fields) { return training("\"schedule\": {" + fields + "}"); };
  auto batch = [](const std::string &fields) { return training("\"batch\": {" + fields + "}"); };
  auto phases = [&](const std::string &list) { return schedule("\"kind\": \"phases\", \"phases\": [" + list + "]"); };
  const std::string step = "\"kind\": \"step\", ";
  const Refused cases[] = {
      {model("\"training\": @[]"), "'training': expected an object"},
      {training("@\"learning_rate\": 1"), "'training.learning_rate' does not apply here", "'training.optimizer'"},
      {training("\"clip\": @0"), "'training.clip': expected a number above 0"},
      {training("\"clip\": @\"1\""), "'training.clip'"},
      // the optimizer
      {optimizer("\"kind\": @\"adamh\""), "'training.optimizer.kind': expected one of 'adamw', 'muonh' or 'muon'"},
      {optimizer("\"learning_rate\": @-1"), "'training.optimizer.learning_rate'"},
      {optimizer("@\"betas\": [0.9]"), "'training.optimizer.betas': expected 2 numbers, but got 1"},
      {optimizer("\"betas\": [0.9, @1]"), "'training.optimizer.betas[1]'"},
      {optimizer("@\"momentum\": 0.95"), "'training.optimizer.momentum' does not apply to optimizer 'adamw'"},
      {optimizer("@\"ns_eps\": 1e-7"), "'training.optimizer.ns_eps' does not apply"},
      {optimizer("@\"norm_scope\": \"expert\""), "'training.optimizer.norm_scope' does not apply"},
      {optimizer("\"kind\": \"muonh\", @\"weight_decay\": 0.1"),
       "'training.optimizer.weight_decay' does not apply to optimizer 'muonh'"},
      {optimizer("\"kind\": \"muonh\", \"momentum\": @1"), "'training.optimizer.momentum'"},
      {optimizer("@\"lr\": 1"), "unknown field 'training.optimizer.lr'"},
      // the parametrization
      {training("\"parametrization\": @\"hyper\""), "'training.parametrization'", "did you mean 'hyperp'?"},
      {training("\"parametrization\": @{}"), "missing field 'training.parametrization.kind'"},
      {training("\"parametrization\": {\"kind\": \"none\", @\"base_depth\": 8}"),
       "'training.parametrization.base_depth' does not apply"},
      {training("@\"parametrization\": \"hyperp\""),
       "parametrization 'hyperp' needs optimizer 'muonh', but got 'adamw'"},
      {training("\"optimizer\": {\"kind\": \"muon\"}, @\"parametrization\": \"hyperp\""),
       "needs optimizer 'muonh', but got 'muon'"},
      {training("\"optimizer\": {\"kind\": \"muonh\"}, @\"parametrization\": {\"kind\": \"mup\"}"),
       "parametrization 'mup' needs optimizer 'muon', but got 'muonh'"},
      {training("@\"parametrization\": \"mup++\""), "parametrization 'mup++' needs optimizer 'muon'"},
      {training(
           "\"optimizer\": {\"kind\": \"muonh\"}, \"parametrization\": {\"kind\": \"hyperp\", \"base_tokens\": @0}"),
       "'training.parametrization.base_tokens'"},
      // the schedule
      {schedule("\"kind\": @\"wsd\""), "'training.schedule.kind'"},
      {schedule("\"warmup_steps\": @-1"), "'training.schedule.warmup_steps'"},
      {schedule("@\"at\": [0.5]"), "'training.schedule.at' does not apply to schedule 'constant'"},
      {schedule("@\"final_fraction\": 0.5"),
       "'training.schedule.final_fraction' does not apply to schedule 'constant'"},
      {schedule("\"kind\": \"linear\", \"final_fraction\": 0, @\"factors\": [1]"),
       "'training.schedule.factors' does not apply"},
      {schedule("\"kind\": \"linear\", \"final_fraction\": 0, @\"phases\": []"),
       "'training.schedule.phases' does not apply"},
      {training("\"schedule\": @{\"kind\": \"cosine\"}"), "missing field 'training.schedule.final_fraction'"},
      {schedule("\"kind\": \"cosine\", \"final_fraction\": @1.5"),
       "'training.schedule.final_fraction': expected a number from 0 to 1"},
      {training("\"schedule\": @{\"kind\": \"step\", \"at\": [0.5]}"), "missing field 'training.schedule.factors'"},
      {schedule(step + "@\"at\": [], \"factors\": []"), "'training.schedule.at': expected at least 1 number"},
      {schedule(step + "@\"at\": [0.9, 0.8], \"factors\": [1, 1]"),
       "'training.schedule.at': expected increasing numbers"},
      {schedule(step + "\"at\": [0.8, @1.8], \"factors\": [1, 1]"), "'training.schedule.at[1]'"},
      {schedule(step + "\"at\": [0.8], @\"factors\": [1, 1]"),
       "expected one number for each of 'training.schedule.at' (1), but got 2"},
      {schedule(step + "\"at\": [0.8], \"factors\": [@-1]"), "'training.schedule.factors[0]'"},
      {schedule("\"kind\": \"phases\", @\"phases\": []"), "expected at least 1 phase"},
      {phases("@{\"until\": 1.0}"), "missing field 'training.schedule.phases[0].shape'"},
      {phases("{\"until\": 1.0, \"shape\": \"constant\", @\"to\": 1}"),
       "'training.schedule.phases[0].to' does not apply to shape 'constant'"},
      {phases("@{\"until\": 1.0, \"shape\": \"linear\"}"), "missing field 'training.schedule.phases[0].to'"},
      {phases("{\"until\": 0.5, \"shape\": \"constant\"}, {\"until\": @0.5, \"shape\": \"constant\"}"),
       "'training.schedule.phases[1].until'"},
      {phases("{@\"until\": 0.5, \"shape\": \"constant\"}"), "expected 1 in the last phase"},
      // the batch
      {batch("\"sequences\": @0"), "'training.batch.sequences'"},
      {batch("@\"sequence_length\": 4097"), "expected at most 'max_position_embeddings' = 4096, but got 4097"},
      {batch("\"sequences\": 8, @\"micro_batch\": 3"),
       "'training.batch.micro_batch': expected a divisor of 'sequences' = 8, but got 3"},
      {batch("@\"steps\": 9223372036854775807"), "'training.batch.steps': too large"},
      {batch("\"ramp\": @{\"from\": 1}"), "missing field 'training.batch.ramp.until'"},
      {batch("\"sequences\": 8, \"ramp\": {\"from\": @9, \"until\": 0.5}"),
       "'training.batch.ramp.from': expected an integer from 1 to 8"},
      {batch("\"sequences\": 8, \"micro_batch\": 4, \"ramp\": {\"from\": @3, \"until\": 0.5}"),
       "'training.batch.ramp.from': expected an integer from 4 to 8"},
      {batch("\"sequences\": 8, \"ramp\": {\"from\": 1, \"until\": @0}"), "'training.batch.ramp.until'"},
      {batch("\"ramp\": @null"), "'training.batch.ramp': expected an object"},
  };
  for (const Refused &refused : cases)
    expectRefused(refused);
}
