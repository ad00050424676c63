//===- LanguageModelTest.cpp - kind language_model ------------------------===//

#include "Testing.h"

#include <cmath>

using namespace mhc;
using namespace mhc::testing;

static const char *const mlaFields = "\"attention\": \"mla\", \"kv_lora_rank\": 32, \"qk_nope_head_dim\": 16, "
                                     "\"qk_rope_head_dim\": 8, \"v_head_dim\": 20";

static std::string mla(const std::string &more = "") { return model(mlaFields + (more.empty() ? "" : ", " + more)); }

TEST(LanguageModel, Defaults) {
  auto m = acceptAs<LanguageModel>(model());
  EXPECT_EQ(m.dtype, Dtype::fp32);
  EXPECT_EQ(m.numKeyValueHeads, 4);
  EXPECT_EQ(m.headDim, 16);
  EXPECT_EQ(m.rmsNormEps, 1e-6);
  EXPECT_EQ(m.ropeTheta, 10000.0);
  EXPECT_FALSE(m.tieWordEmbeddings || m.mla || m.qkNorm || m.headwiseGate);
  EXPECT_EQ(m.maxPositionEmbeddings, 4096);
  EXPECT_EQ(m.nRoutedExperts, 0);
  EXPECT_TRUE(m.topk.empty());
  EXPECT_EQ(m.residual.topology, Topology::residual);
  EXPECT_EQ(m.readout, Readout::mean);
  EXPECT_EQ(m.branchScale, 1);
}

TEST(LanguageModel, ResidualDefaults) {
  struct Expected {
    const char *text;
    Topology topology;
    Readout readout;
  } const table[] = {
      {"", Topology::residual, Readout::mean},
      {"\"topology\": \"hc\"", Topology::hc, Readout::mean},
      {"\"topology\": \"hc\", \"readout\": \"head\"", Topology::hc, Readout::head},
      {"\"topology\": \"hc\", \"readout\": \"sum\"", Topology::hc, Readout::sum},
      {"\"topology\": \"mhc\"", Topology::mhc, Readout::mean},
      {"\"topology\": \"mhc\", \"preset\": \"liger\"", Topology::mhc, Readout::mean},
      {"\"topology\": \"mhc\", \"preset\": \"transformer-engine\"", Topology::mhc, Readout::mean},
      {"\"topology\": \"mhc\", \"preset\": \"deepseek-v4\"", Topology::mhc, Readout::head},
      {"\"topology\": \"mhc\", \"preset\": \"deepseek-v4\", \"readout\": \"mean\"", Topology::mhc, Readout::mean},
      {"\"topology\": \"mhc\", \"preset\": \"deepseek-v4.1\"", Topology::mhc, Readout::lastPre},
      {"\"topology\": \"mhc\", \"preset\": \"deepseek-v4.1\", \"readout\": \"head\"", Topology::mhc, Readout::head},
      {"\"topology\": \"mhc\", \"convention\": {\"pre_source\": \"delayed\"}", Topology::mhc, Readout::mean},
      {"\"topology\": \"mhc\", \"convention\": {\"pre_source\": \"delayed\"}, \"readout\": \"last_pre\"", Topology::mhc,
       Readout::lastPre},
  };
  for (const Expected &e : table) {
    auto m = acceptAs<LanguageModel>(residual(e.text));
    EXPECT_EQ(m.residual.topology, e.topology) << e.text;
    EXPECT_EQ(m.readout, e.readout) << e.text;
    EXPECT_EQ(m.residual.n, e.topology == Topology::residual ? 1 : 4) << e.text;
  }
  // The rms of the streams is a matter of its own.
  auto m = acceptAs<LanguageModel>(model("\"rms_norm_eps\": 1e-20, \"residual\": {\"topology\": \"mhc\"}"));
  EXPECT_EQ(m.rmsNormEps, 1e-20);
  EXPECT_EQ(m.residual.convention.rms.eps, 1e-6);
}

TEST(LanguageModel, BranchScale) {
  auto with = [](const std::string &parametrization, const std::string &optimizer) {
    return model("\"training\": {\"optimizer\": {\"kind\": \"" + optimizer + "\"}, \"parametrization\": \"" +
                 parametrization + "\"}");
  };
  const double scaled = 1 / std::sqrt(6.0);
  EXPECT_EQ(acceptAs<LanguageModel>(with("hyperp", "muonh")).branchScale, scaled);
  EXPECT_EQ(acceptAs<LanguageModel>(with("mup++", "muon")).branchScale, scaled);
  EXPECT_EQ(acceptAs<LanguageModel>(with("mup", "muon")).branchScale, 1);
  EXPECT_EQ(acceptAs<LanguageModel>(with("none", "muonh")).branchScale, 1);
  EXPECT_EQ(acceptAs<LanguageModel>(residual("\"topology\": \"residual\", \"branch_scale\": 0.5")).branchScale, 0.5);
}

TEST(LanguageModel, Attention) {
  auto gqa = acceptAs<LanguageModel>(
      model("\"num_key_value_heads\": 2, \"head_dim\": 40, \"qk_norm\": true, \"attention_gate\": \"headwise\""));
  EXPECT_EQ(gqa.numKeyValueHeads, 2);
  EXPECT_EQ(gqa.headDim, 40);
  EXPECT_TRUE(gqa.qkNorm && gqa.headwiseGate);
  auto m = acceptAs<LanguageModel>(
      mla("\"num_key_value_heads\": 4, \"qk_norm\": false, \"q_lora_rank\": null, \"attention_gate\": \"headwise\""));
  EXPECT_TRUE(m.mla && m.headwiseGate);
  EXPECT_FALSE(m.qLoraRank);
  EXPECT_EQ(m.kvLoraRank, 32);
  EXPECT_EQ(m.qkNopeHeadDim, 16);
  EXPECT_EQ(m.qkRopeHeadDim, 8);
  EXPECT_EQ(m.vHeadDim, 20);
  EXPECT_EQ(acceptAs<LanguageModel>(mla("\"q_lora_rank\": 24")).qLoraRank, 24);
}

TEST(LanguageModel, Experts) {
  auto m = acceptAs<LanguageModel>(experts("2", ""));
  EXPECT_EQ(m.nRoutedExperts, 6);
  ASSERT_EQ(m.topk.size(), 1u);
  EXPECT_EQ(m.topk.at(0).k, (std::vector<int64_t>{2, 2, 2}));
  EXPECT_EQ(m.router.score, Score::softmaxBeforeTopk);
  EXPECT_EQ(m.router.groupCount, 1);
  EXPECT_FALSE(m.router.normalize || m.router.sqrtGate || m.router.allowConstantGate);
  EXPECT_EQ(m.router.scale, 1);
  EXPECT_TRUE(m.router.losses.empty());
  EXPECT_FALSE(m.router.expertBiasRate || m.router.capacityFactor);
  EXPECT_EQ(m.nSharedExperts, 0);

  m = acceptAs<LanguageModel>(
      experts("[9, 3, 1]",
              R"("score": "sigmoid", "groups": {"count": 1}, "normalize": false, "scale": 2.5, "gate": "sqrt",
      "losses": [{"kind": "switch", "weight": 0.1, "scope": "sequence"}, {"kind": "top1", "weight": 1, "tau": 0.5}, {"kind": "switch", "weight": 1}],
      "expert_bias": {}, "capacity_factor": 1.25)",
              "\"first_k_dense_replace\": 1, \"intermediate_size\": 160, \"n_shared_experts\": 2"));
  EXPECT_EQ(m.topk.at(0).k, (std::vector<int64_t>{0, 3, 1})); // the number of a dense block is not read
  EXPECT_EQ(m.router.losses.size(), 3u);
  EXPECT_EQ(m.router.losses.at(0).scope, BalanceLoss::sequence);
  EXPECT_EQ(m.router.losses.at(1).tau, 0.5);
  EXPECT_EQ(m.router.losses.at(2).scope, BalanceLoss::microBatch);
  EXPECT_EQ(m.router.expertBiasRate, 1e-3);
  EXPECT_EQ(m.router.capacityFactor, 1.25);

  m = acceptAs<LanguageModel>(
      experts("{\"phases\": [{\"until\": 0.5, \"k\": [3, 2, 1]}, {\"until\": 0.75, \"k\": 2}, {\"k\": 1}]}",
              "\"capacity_factor\": null"));
  ASSERT_EQ(m.topk.size(), 3u);
  EXPECT_EQ(m.topk.at(0).until, 0.5);
  EXPECT_EQ(m.topk.at(0).k, (std::vector<int64_t>{3, 2, 1}));
  EXPECT_EQ(m.topk.at(1).until, 0.75);
  EXPECT_FALSE(m.topk.at(2).until);
  EXPECT_EQ(m.topk.at(2).k, (std::vector<int64_t>{1, 1, 1}));
}

TEST(LanguageModel, Accepted) {
  const std::string accepted[] = {
      experts("1", "\"score\": \"sigmoid\""),
      experts("1", "\"score\": \"softmax_after_topk\", \"allow_constant_gate\": true"),
      experts("6", "\"score\": \"softmax_after_topk\", \"normalize\": true"),
      experts("2", "\"groups\": {\"count\": 3, \"chosen\": 2}"),
      // no residual mapping is dynamic, but the readout's head still reads rms and pre_eps
      residual(
          "\"topology\": \"mhc\", \"readout\": \"head\", \"convention\": {\"rms\": {\"eps\": 1e-3}, \"pre_eps\": 0.1, "
          "\"mappings\": {\"pre\": \"fixed\", \"post\": \"static\", \"res\": \"fixed\"}}"),
      residual("\"topology\": \"hc\", \"convention\": {\"rms\": {\"eps\": 1e-3}, \"norm_weight\": true, "
               "\"coefficient_dtype\": \"bf16\", \"f_bias\": true}"),
  };
  for (const std::string &text : accepted)
    accept(text);
}

TEST(LanguageModel, Refusals) {
  const std::string mhc = "\"topology\": \"mhc\", ", hc = "\"topology\": \"hc\", ",
                    none = "\"topology\": \"residual\", ";
  const std::string missing = "\"vocab_size\": 257, \"hidden_size\": 64, \"num_hidden_layers\": 3}";
  const Refused cases[] = {
      // required
      {"@{\"kind\": \"language_model\", " + missing, "missing field 'num_attention_heads'"},
      {"@{\"kind\": \"language_model\", \"num_attention_heads\": 4, " + missing, "missing field 'intermediate_size'"},
      {"@{\"kind\": \"language_model\", \"num_attention_heads\": 4, \"n_routed_experts\": 6, "
       "\"moe_intermediate_size\": 40, \"router\": {}, " +
           missing,
       "missing field 'num_experts_per_tok'"},
      {"@{\"kind\": \"language_model\", \"num_attention_heads\": 4, \"n_routed_experts\": 6, \"num_experts_per_tok\": "
       "2, \"router\": {}, " +
           missing,
       "missing field 'moe_intermediate_size'"},
      {"@{\"kind\": \"language_model\", \"num_attention_heads\": 4, \"n_routed_experts\": 6, \"num_experts_per_tok\": "
       "2, \"moe_intermediate_size\": 40, " +
           missing,
       "missing field 'router'"},
      {"@" + experts("2", "", "\"first_k_dense_replace\": 1"), "missing field 'intermediate_size'"},
      {"@" + model("\"attention\": \"mla\", \"qk_nope_head_dim\": 16, \"qk_rope_head_dim\": 8, \"v_head_dim\": 20"),
       "missing field 'kv_lora_rank'"},
      // null only where it may stand
      {model("\"rms_norm_eps\": @null"), "'rms_norm_eps'"},
      {model("\"head_dim\": @null"), "'head_dim'"},
      {mla("\"q_lora_rank\": @0"), "'q_lora_rank'"},
      // ranges
      {model("\"rms_norm_eps\": @0"), "'rms_norm_eps': expected a number above 0"},
      {model("\"rope_theta\": @0"), "'rope_theta'"},
      {model("\"max_position_embeddings\": @0"), "'max_position_embeddings'"},
      // attention
      {model("@\"num_key_value_heads\": 3"), "expected a divisor of 'num_attention_heads' = 4, but got 3"},
      {model("@\"head_dim\": 15"), "'head_dim': expected an even number, but got 15"},
      {"{\"kind\": \"language_model\", \"vocab_size\": 9, \"hidden_size\": 60, \"num_hidden_layers\": 1, "
       "@\"num_attention_heads\": 4, \"intermediate_size\": 8}",
       "'head_dim': expected an even number, but got 15"},
      {"{\"kind\": \"language_model\", \"vocab_size\": 9, \"hidden_size\": 61, \"num_hidden_layers\": 1, "
       "@\"num_attention_heads\": 4, \"intermediate_size\": 8}",
       "expected a divisor of 'hidden_size' = 61"},
      {model("@\"q_lora_rank\": null"), "'q_lora_rank' does not apply to attention 'gqa'"},
      {model("@\"kv_lora_rank\": 32"), "'kv_lora_rank' does not apply to attention 'gqa'"},
      {model("@\"v_head_dim\": 32"), "'v_head_dim' does not apply to attention 'gqa'"},
      {model("\"attention\": @\"mha\""), "'attention': expected one of 'gqa' or 'mla'"},
      {model("\"attention_gate\": @true"), "'attention_gate'"},
      {mla("@\"head_dim\": 16"), "'head_dim' does not apply to attention 'mla'"},
      {mla("@\"num_key_value_heads\": 2"), "'num_key_value_heads': expected 'num_attention_heads' = 4"},
      {mla("@\"qk_norm\": true"), "'qk_norm' does not apply to attention 'mla'"},
      {model("\"attention\": \"mla\", \"kv_lora_rank\": 32, \"qk_nope_head_dim\": 16, @\"qk_rope_head_dim\": 7, "
             "\"v_head_dim\": 20"),
       "'qk_rope_head_dim': expected an even number, but got 7"},
      // experts
      {model("@\"router\": {}"), "'router' does not apply without 'n_routed_experts'"},
      {model("@\"num_experts_per_tok\": 2"), "'num_experts_per_tok' does not apply without 'n_routed_experts'"},
      {model("@\"n_shared_experts\": 0"), "'n_shared_experts' does not apply without 'n_routed_experts'"},
      {model("@\"first_k_dense_replace\": 0"), "'first_k_dense_replace' does not apply without 'n_routed_experts'"},
      {experts("2", "", "@\"intermediate_size\": 160"), "'intermediate_size' does not apply: no block is dense"},
      {experts("2", "", "@\"first_k_dense_replace\": 4, \"intermediate_size\": 160"),
       "expected at most 'num_hidden_layers' = 3, but got 4"},
      {experts("@7", ""), "'num_experts_per_tok': expected at most the number of experts, 6, but got 7"},
      {experts("@0", ""), "'num_experts_per_tok': expected an integer of at least 1"},
      {experts("@2.0", ""), "'num_experts_per_tok'"},
      {experts("@\"2\"", ""), "'num_experts_per_tok': expected an integer, a list"},
      {experts("@[2, 2]", ""),
       "'num_experts_per_tok': expected one number a block ('num_hidden_layers' = 3), but got 2"},
      {experts("[2, @0, 2]", ""), "'num_experts_per_tok[1]'"},
      {experts("[2, 2, @7]", ""), "'num_experts_per_tok[2]'"},
      {experts("[2, @2.5, 2]", ""), "'num_experts_per_tok[1]'"},
      {experts("@{}", ""), "missing field 'num_experts_per_tok.phases'"},
      {experts("{@\"phases\": []}", ""), "expected 1 to 256 phases, but got 0"},
      {experts("{\"phases\": [@{\"k\": 2}, {\"k\": 1}]}", ""), "missing field 'num_experts_per_tok.phases[0].until'"},
      {experts("{\"phases\": [{\"until\": 0.5, \"k\": 2}, {@\"until\": 1.0, \"k\": 1}]}", ""),
       "'num_experts_per_tok.phases[1].until' does not apply to the last phase"},
      {experts("{\"phases\": [{\"until\": 0.5, \"k\": 2}, {\"until\": @0.5, \"k\": 1}, {\"k\": 1}]}", ""),
       "'until' of the phase before"},
      {experts("{\"phases\": [{\"until\": @1.0, \"k\": 2}, {\"k\": 1}]}", ""), "'num_experts_per_tok.phases[0].until'"},
      {experts("{\"phases\": [@{\"until\": 0.5}, {\"k\": 1}]}", ""), "missing field 'num_experts_per_tok.phases[0].k'"},
      {experts("{\"phases\": [{\"until\": 0.5, \"k\": @9}, {\"k\": 1}]}", ""), "'num_experts_per_tok.phases[0].k'"},
      // a constant gate, in any phase
      {experts("@1", "\"score\": \"softmax_after_topk\""), "the router gets no gradient", "allow_constant_gate"},
      {experts("@1", "\"normalize\": true"), "'normalize' the gate is the constant 1"},
      {experts("[2, 2, @1]", "\"score\": \"softmax_after_topk\""), "constant"},
      {experts("{\"phases\": [{\"until\": 0.5, \"k\": 2}, {\"k\": @1}]}", "\"score\": \"softmax_after_topk\""),
       "constant"},
      {experts("{\"phases\": [{\"until\": 0.5, \"k\": @1}, {\"k\": 2}]}", "\"score\": \"softmax_after_topk\""),
       "constant"},
      // the router
      {experts("2", "@\"num_experts\": 6"), "unknown field 'router.num_experts'"},
      {experts("2", "\"score\": @\"softmax\""), "'router.score': expected one of"},
      {experts("2", "\"groups\": {@\"count\": 4}"),
       "'router.groups.count': expected a divisor of 'n_routed_experts' = 6"},
      {experts("2", "\"groups\": {\"count\": 2, @\"chosen\": 3}"),
       "'router.groups.chosen': expected at most 'router.groups.count' = 2, but got 3"},
      {experts("@3", "\"groups\": {\"count\": 3, \"chosen\": 2}"), "expected a multiple of the chosen groups"},
      {experts("@4", "\"groups\": {\"count\": 2, \"chosen\": 1}"),
       "expected at most 3, the experts of the chosen groups"},
      {experts("2", "\"capacity_factor\": @0"), "'router.capacity_factor': expected a number above 0"},
      {experts("2", "\"losses\": [{\"kind\": \"z\", \"weight\": 0.1, @\"scope\": \"sequence\"}]"),
       "'router.losses[0].scope' does not apply to loss 'z'"},
      {experts("2", "\"losses\": [@{\"kind\": \"top1\", \"weight\": 0.1}]"), "missing field 'router.losses[0].tau'"},
      {experts("2", "\"expert_bias\": {\"rate\": @-1}"), "'router.expert_bias.rate'"},
      {experts("2", "\"expert_bias\": @null"), "'router.expert_bias': expected an object, but got null"},
      // the residual topology
      {residual(none + "@\"manifold\": \"birkhoff\""), "'residual.manifold' does not apply to topology 'residual'"},
      {residual("@\"hc_mult\": 4"), "'residual.hc_mult' does not apply to topology 'residual'"},
      {residual(none + "@\"preset\": \"paper\""), "'residual.preset' does not apply"},
      {residual(none + "@\"convention\": {}"), "'residual.convention' does not apply"},
      {residual(none + "@\"readout\": \"mean\""), "'residual.readout' does not apply"},
      {residual("\"topology\": @\"plain\""), "'residual.topology': expected one of 'residual', 'hc' or 'mhc'"},
      {residual(hc + "@\"preset\": \"paper\""), "'residual.preset' does not apply to topology 'hc'"},
      {residual(hc + "@\"manifold\": \"sphere\""), "'residual.manifold' does not apply to topology 'hc'"},
      {residual(hc + "\"convention\": {@\"pre_source\": \"delayed\"}"),
       "'residual.convention.pre_source' does not apply to topology 'hc'"},
      {residual(hc + "\"convention\": {@\"layout\": \"TnC\"}"), "'residual.convention.layout' does not apply"},
      {residual(hc + "\"convention\": {@\"phi_layout\": \"km\"}"), "'residual.convention.phi_layout' does not apply"},
      {residual(hc + "\"convention\": {@\"res_application\": \"HX\"}"),
       "'residual.convention.res_application' does not apply"},
      {residual(hc + "\"convention\": {@\"mappings\": {}}"), "'residual.convention.mappings' does not apply"},
      {residual(hc + "\"convention\": {@\"sinkhorn\": {}}"), "'residual.convention.sinkhorn' does not apply"},
      {residual(hc + "@\"readout\": \"last_pre\""), "'last_pre' needs convention.pre_source 'delayed'"},
      {residual(mhc + "@\"readout\": \"last_pre\""), "'last_pre' needs convention.pre_source 'delayed'"},
      {residual(mhc + "\"preset\": \"deepseek-v4.1\", @\"convention\": {\"pre_source\": \"same\"}"),
       "'last_pre' needs convention.pre_source 'delayed'"},
      {residual(mhc + "\"readout\": @\"first\""), "'residual.readout': expected one of"},
      {residual(mhc + "\"hc_mult\": 8, @\"manifold\": \"permutation_hull\""), "'hc_mult' of at most 4"},
      {residual(mhc + "\"manifold\": \"simplex\", \"convention\": {@\"sinkhorn\": {\"iterations\": 5}}"),
       "'residual.convention.sinkhorn' has no effect"},
      {residual(mhc + "\"convention\": {@\"pre_eps\": 0.1, \"mappings\": {\"pre\": \"fixed\"}}"),
       "'residual.convention.pre_eps' has no effect"},
      {residual(mhc + "@\"depth\": 2"), "unknown field 'residual.depth'"},
      {residual("\"branch_scale\": @\"1\""), "'residual.branch_scale'"},
  };
  for (const Refused &refused : cases)
    expectRefused(refused);
}

TEST(LanguageModel, SizesThatNothingCanHold) {
  auto sized = [](const std::string &hidden, const std::string &layers, const std::string &more) {
    return "{\"kind\": \"language_model\", \"vocab_size\": 257, " + hidden + ", \"num_hidden_layers\": " + layers +
           ", \"num_attention_heads\": 4, \"head_dim\": 16, " + more + "}";
  };
  const Refused cases[] = {
      {sized("@\"hidden_size\": 4611686018427387904", "2",
             "\"intermediate_size\": 1, \"residual\": {\"topology\": \"mhc\", \"hc_mult\": 8}"),
       "'hidden_size': too large"},
      {sized("\"hidden_size\": 64", "2", "@\"intermediate_size\": 9223372036854775807"),
       "'intermediate_size': too large"},
      {sized("\"hidden_size\": 64", "@65537", "\"intermediate_size\": 1"),
       "'num_hidden_layers': expected an integer from 1 to 65536"},
      {sized(
           "\"hidden_size\": 64", "2",
           "@\"n_routed_experts\": 1048576, \"num_experts_per_tok\": 1, \"moe_intermediate_size\": 1, \"router\": {}"),
       "'n_routed_experts': expected at most 2^20 experts in all blocks"},
      {sized("\"hidden_size\": 64", "2",
             "\"n_routed_experts\": 8, \"num_experts_per_tok\": 1, @\"moe_intermediate_size\": 9223372036854775807, "
             "\"router\": {}"),
       "'moe_intermediate_size': too large"},
      {sized("\"hidden_size\": 64", "2",
             "\"n_routed_experts\": 8, \"num_experts_per_tok\": 1, \"moe_intermediate_size\": 1, "
             "@\"n_shared_experts\": 9223372036854775807, \"router\": {}"),
       "'n_shared_experts': too large"},
      {"{\"kind\": \"language_model\", \"vocab_size\": @2147483648, \"hidden_size\": 64, \"num_hidden_layers\": 1, "
       "\"num_attention_heads\": 4, \"intermediate_size\": 1}",
       "'vocab_size': expected an integer from 1 to 2147483647"},
      {"{\"kind\": \"language_model\", \"vocab_size\": 9, \"hidden_size\": 64, \"num_hidden_layers\": 1, "
       "@\"num_attention_heads\": 4611686018427387904, "
       "\"head_dim\": 4611686018427387904, \"intermediate_size\": 1}",
       "'num_attention_heads': too large"},
  };
  for (const Refused &refused : cases)
    expectRefused(refused);
}

TEST(LanguageModel, IntegersWithExponent) {
  std::string text = model();
  expectRefused({text.replace(text.find("257"), 3, "@2.57e2"), "'vocab_size': expected an integer",
                 "without fraction and exponent"});
}
