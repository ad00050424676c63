//===- MoeTest.cpp - kinds moe_router, moe_layer and optimizer ------------===//

#include "Testing.h"

using namespace mhc;
using namespace mhc::testing;

/// A router of 8 experts with these required fields changed and further ones.
static std::string router(const std::string &more = "", const std::string &k = "2", const std::string &experts = "8") {
  return "{\"kind\": \"moe_router\", \"hidden_size\": 64, \"num_experts\": " + experts +
         ", \"num_experts_per_tok\": " + k + ",\n\"dtype\": \"bf16\"" + (more.empty() ? "" : ", " + more) + "}";
}
static const std::string sigmoid = "\"score\": \"sigmoid\"";
static std::string loss(const std::string &fields) { return router(sigmoid + ", \"losses\": [{" + fields + "}]"); }

TEST(MoeRouter, Values) {
  auto d = acceptAs<MoeRouterKind>(router(sigmoid));
  EXPECT_FALSE(d.layer);
  EXPECT_EQ(d.hiddenSize, 64);
  EXPECT_EQ(d.numExperts, 8);
  EXPECT_EQ(d.numExpertsPerTok, 2);
  EXPECT_EQ(d.dtype, Dtype::bf16);
  EXPECT_EQ(d.router.score, Score::sigmoid);
  EXPECT_EQ(d.router.groupCount, 1);
  EXPECT_EQ(d.router.groupsChosen, 1);
  EXPECT_FALSE(d.router.normalize || d.router.sqrtGate || d.router.allowConstantGate || d.router.expertBiasRate ||
               d.sequenceLength);
  EXPECT_EQ(d.router.scale, 1);

  d = acceptAs<MoeRouterKind>(
      R"({"kind": "moe_layer", "hidden_size": 64, "num_experts": 8, "num_experts_per_tok": 4, "dtype": "fp64", "score": "sqrt_softplus",
          "groups": {"count": 4, "chosen": 2}, "normalize": true, "scale": 2.5, "gate": "sqrt",
          "losses": [{"kind": "switch", "weight": 0.5, "scope": "sequence"}, {"kind": "z", "weight": -1}],
          "expert_bias": {"rate": 0.25}, "sequence_length": 16, "allow_constant_gate": true, "moe_intermediate_size": 48, "n_shared_experts": 2})");
  EXPECT_TRUE(d.layer && d.router.normalize && d.router.sqrtGate && d.router.allowConstantGate);
  EXPECT_EQ(d.router.groupCount, 4);
  EXPECT_EQ(d.router.groupsChosen, 2);
  EXPECT_EQ(d.router.expertBiasRate, 0.25);
  EXPECT_EQ(d.sequenceLength, 16);
  EXPECT_EQ(d.moeIntermediateSize, 48);
  EXPECT_EQ(d.nSharedExperts, 2);
  ASSERT_EQ(d.router.losses.size(), 2u);
  EXPECT_EQ(d.router.losses[0].scope, BalanceLoss::sequence);
  EXPECT_EQ(d.router.losses[1].kind, BalanceLoss::z);
}

TEST(MoeRouter, OneExpertTakesEveryScore) {
  for (const char *score : {"softmax_before_topk", "softmax_after_topk", "sigmoid", "sqrt_softplus"})
    accept(router("\"normalize\": true, \"score\": \"" + std::string(score) + "\"", "1", "1"));
}

TEST(MoeRouter, Refusals) {
  const std::string after = "\"score\": \"softmax_after_topk\"";
  const Refused cases[] = {
      {"@{\"kind\": \"moe_router\"}", "missing field 'hidden_size'"},
      {"@" + router(), "missing field 'score'"},
      {"@{\"kind\": \"moe_router\", \"hidden_size\": 64, \"num_experts\": 8, \"num_experts_per_tok\": 2, \"score\": "
       "\"sigmoid\"}",
       "missing field 'dtype'"},
      {router(sigmoid, "2", "@0"), "'num_experts'"},
      {router(sigmoid, "2", "@true"), "'num_experts'"},
      {router(sigmoid, "@0"), "'num_experts_per_tok'"},
      {router(sigmoid, "@[2]"), "'num_experts_per_tok': expected an integer"},
      {router(sigmoid + ", \"groups\": @[1, 1]"), "'groups': expected an object"},
      {router(sigmoid + ", \"groups\": {@\"top\": 2}"), "unknown field 'groups.top'", "expected 'count' or 'chosen'"},
      {router(sigmoid + ", \"groups\": {\"count\": @0}"), "'groups.count'"},
      {router(sigmoid + ", \"groups\": {@\"count\": 3}"),
       "'groups.count': expected a divisor of 'num_experts' = 8, but got 3"},
      {router(sigmoid + ", \"groups\": {\"count\": 2, @\"chosen\": 3}"), "'groups.chosen'"},
      {router("\"normalize\": @1, " + sigmoid), "'normalize': expected true or false"},
      {router("\"scale\": @1e400, " + sigmoid), "'scale'"},
      {router("\"gate\": @\"cube\", " + sigmoid), "'gate': expected one of 'plain' or 'sqrt'"},
      {router("\"score\": @null"), "'score'"},
      {router("\"losses\": @{}, " + sigmoid), "'losses': expected a list"},
      {router("\"losses\": [@1], " + sigmoid), "'losses[0]': expected an object, but got 1"},
      {loss("\"kind\": @\"swich\", \"weight\": 1"), "'losses[0].kind'", "did you mean 'switch'?"},
      {router(sigmoid + ", \"losses\": [@{\"kind\": \"z\"}]"), "missing field 'losses[0].weight'"},
      {loss("\"kind\": \"z\", \"weight\": @\"1\""), "'losses[0].weight'"},
      {loss("\"kind\": \"switch\", \"weight\": 1, \"scope\": @\"world\""), "'losses[0].scope'"},
      {loss("\"kind\": \"switch\", \"weight\": 1, @\"tau\": 1"), "'losses[0].tau' does not apply to loss 'switch'"},
      {loss("\"kind\": \"top1\", \"weight\": 1, \"tau\": 1, @\"scope\": \"sequence\""),
       "'losses[0].scope' does not apply to loss 'top1'"},
      {loss("\"kind\": \"top1\", \"weight\": 1, \"tau\": @0"), "'losses[0].tau': expected a number above 0"},
      {loss("\"kind\": \"z\", \"weight\": 1, @\"gamma\": 1"), "unknown field 'losses[0].gamma'"},
      {router(sigmoid + ", \"sequence_length\": @0"), "'sequence_length'"},
      {router(sigmoid + ", \"allow_constant_gate\": @1"), "'allow_constant_gate'"},
      {router(sigmoid + ", @\"capacity_factor\": 1"), "'capacity_factor' does not apply here", "language_model"},
      {router(sigmoid + ", @\"moe_intermediate_size\": 8"),
       "'moe_intermediate_size' does not apply to kind 'moe_router'"},
      {router(sigmoid + ", @\"n_shared_experts\": 0"), "'n_shared_experts' does not apply to kind 'moe_router'"},
      {"@{\"kind\": \"moe_layer\", \"hidden_size\": 64, \"num_experts\": 8, \"num_experts_per_tok\": 2, \"dtype\": "
       "\"bf16\", \"score\": \"sigmoid\"}",
       "missing field 'moe_intermediate_size'"},
      {"{\"kind\": \"moe_layer\", \"hidden_size\": 64, \"num_experts\": 8, \"num_experts_per_tok\": 2, \"dtype\": "
       "\"bf16\", \"score\": \"sigmoid\", "
       "\"moe_intermediate_size\": 8, \"n_shared_experts\": @-1}",
       "'n_shared_experts'"},
      {"{\"kind\": \"moe_layer\", \"hidden_size\": 9223372036854775807, @\"num_experts\": 8, \"num_experts_per_tok\": "
       "2, \"dtype\": \"bf16\", "
       "\"score\": \"sigmoid\", \"moe_intermediate_size\": 8}",
       "'num_experts': too large"},
      {router(sigmoid, "9").insert(router(sigmoid, "9").find("\"num_experts_per_tok"), "@"),
       "'num_experts_per_tok': expected at most the number of experts, 8, but got 9"},
      {router(after, "1").insert(router(after, "1").find("\"num_experts_per_tok"), "@"),
       "'score' softmax_after_topk the gate is the constant 1"},
  };
  for (const Refused &refused : cases)
    expectRefused(refused);
}

static std::string optimizer(const std::string &name, const std::string &shape, const std::string &betas,
                             const std::string &more = "") {
  return "{\"kind\": \"optimizer\", \"optimizer\": \"" + name + "\", " + shape + ", " + betas + ", \"eps\": 1e-7" +
         (more.empty() ? "" : ", " + more) + "}";
}

TEST(Optimizer, Values) {
  auto d = acceptAs<OptimizerStepKind>(optimizer("muonh", "\"shape\": [63, 512, 1024]", "\"betas\": [0.95]",
                                                 "\"norm_scope\": \"stack\", \"nesterov\": false"));
  EXPECT_EQ(d.optimizer, OptimizerKind::muonh);
  EXPECT_EQ(d.shape, (std::vector<int64_t>{63, 512, 1024}));
  EXPECT_EQ(d.normScope, NormScope::stack);
  EXPECT_EQ(d.betas, std::vector<double>{0.95});
  EXPECT_EQ(d.eps, 1e-7);
  EXPECT_FALSE(d.nesterov);
  EXPECT_EQ(d.weightDecay, 0);
  d = acceptAs<OptimizerStepKind>(
      optimizer("adamw", "\"shape\": [257]", "\"betas\": [0, 0.95]", "\"weight_decay\": 0.1"));
  EXPECT_EQ(d.normScope, NormScope::expert);
  EXPECT_TRUE(d.nesterov);
  EXPECT_EQ(d.weightDecay, 0.1);
  accept(optimizer("adamh", "\"shape\": [4, 8]", "\"betas\": [0.9, 0.95]"));
  accept(optimizer("muon", "\"shape\": [4, 8, 8]", "\"betas\": [0.9]", "\"weight_decay\": 0.1, \"nesterov\": true"));
}

TEST(Optimizer, Refusals) {
  const std::string square = "\"shape\": [8, 8]", stack = "\"shape\": [4, 8, 8]", one = "\"betas\": [0.95]",
                    two = "\"betas\": [0.9, 0.95]";
  const Refused cases[] = {
      {"@{\"kind\": \"optimizer\", \"optimizer\": \"muon\", \"betas\": [0.9], \"eps\": 1}", "missing field 'shape'"},
      {"@{\"kind\": \"optimizer\", \"optimizer\": \"muon\", \"shape\": [4, 4], \"eps\": 1}", "missing field 'betas'"},
      {"@{\"kind\": \"optimizer\", \"optimizer\": \"muon\", \"shape\": [4, 4], \"betas\": [0.9]}",
       "missing field 'eps'"},
      {"{\"kind\": \"optimizer\", \"optimizer\": @\"lion\", \"shape\": [4, 4], \"betas\": [0.9], \"eps\": 1}",
       "'optimizer': expected one of"},
      {optimizer("muonh", "@\"shape\": [8]", one),
       "'shape': expected 2 or 3 dimensions with optimizer 'muonh', but got 1"},
      {optimizer("adamh", "@\"shape\": [8]", two), "'shape'"},
      {optimizer("adamw", "@\"shape\": []", two), "'shape': expected 1, 2 or 3 dimensions"},
      {optimizer("muon", "@\"shape\": [1, 2, 3, 4]", one), "'shape'"},
      {optimizer("muon", "\"shape\": [4, @0]", one), "'shape[1]'"},
      {optimizer("muon", "\"shape\": @4", one), "'shape': expected a list of integers"},
      {optimizer("muon", "@\"shape\": [4294967296, 4294967296]", one), "'shape': more than 2^60 elements"},
      {optimizer("muonh", stack, "@" + two), "'betas': expected 1 number with optimizer 'muonh', but got 2"},
      {optimizer("adamw", stack, "@" + one), "'betas': expected 2 numbers with optimizer 'adamw', but got 1"},
      {optimizer("muon", stack, "\"betas\": [@1.0]"), "'betas[0]': expected a number from 0 to below 1"},
      {optimizer("muon", stack, "\"betas\": @0.9"), "'betas': expected a list of numbers"},
      {optimizer("muonh", stack, one, "\"norm_scope\": @\"row\""), "'norm_scope'"},
      {optimizer("muonh", square, one, "@\"norm_scope\": \"expert\""),
       "'norm_scope' does not apply to a shape of 2 dimensions"},
      {optimizer("muon", stack, one, "@\"norm_scope\": \"expert\""), "'norm_scope' does not apply to optimizer 'muon'"},
      {optimizer("adamw", stack, two, "@\"nesterov\": true"), "'nesterov' does not apply to optimizer 'adamw'"},
      {optimizer("muonh", stack, one, "\"nesterov\": @1"), "'nesterov'"},
      {optimizer("muonh", stack, one, "@\"weight_decay\": 0.0"), "'weight_decay' does not apply to optimizer 'muonh'"},
      {optimizer("muon", stack, one, "\"weight_decay\": @-0.1"), "'weight_decay'"},
      {optimizer("muon", stack, one, "@\"nestrov\": true"), "unknown field 'nestrov'", "did you mean 'nesterov'?"},
      {"{\"kind\": \"optimizer\", \"optimizer\": \"muon\", \"shape\": [4, 4], \"betas\": [0.9], \"eps\": @-1.0}",
       "'eps': expected a number that is not negative"},
  };
  for (const Refused &refused : cases)
    expectRefused(refused);
}
