//===- UnsupportedTest.cpp - legal, but refused by this version -----------===//

#include "Testing.h"

using namespace mhc;
using namespace mhc::testing;

static std::string router(const std::string &fields) {
  return "{\"kind\": \"moe_router\", \"hidden_size\": 64, \"score\": \"sigmoid\", \"dtype\": \"fp32\",\n" + fields + "}";
}

TEST(Unsupported, Supported) {
  const std::string supported[] = {
      hyperConnection(),
      hyperConnection("\"topology\": \"hc\", \"hc_mult\": 8, \"dtype\": \"fp64\""),
      hyperConnection("\"manifold\": \"identity\", \"hc_mult\": 1, \"dtype\": \"fp32\""),
      hyperConnection("\"manifold\": \"unconstrained\""),
      convention("\"sinkhorn\": {\"first_over\": \"inputs\", \"iterations\": 3}, \"phi_layout\": \"mk\", \"rms\": "
                 "{\"eps\": 1e-20}, \"pre_eps\": 0.1, \"post_scale\": 1.5"),
      "{\"kind\": \"hyper_connection_chain\", \"hidden_size\": 32, \"depth\": 5}",
      hyperConnection("\"preset\": \"deepseek-v4.1\", \"hc_mult\": 3"),
      hyperConnection("\"preset\": \"transformer-engine\""),
      hyperConnection("\"preset\": \"liger\""),
      hyperConnection("\"manifold\": \"permutation_hull\""),
      hyperConnection("\"manifold\": \"orthogonal\", \"hc_mult\": 8"),
      hyperConnection("\"manifold\": { \"kind\": \"sphere\", \"radius\": 2.0 }"),
      hyperConnection("\"manifold\": \"simplex\", \"dtype\": \"fp64\""),
      convention(
          "\"res_application\": \"HTX\", \"layout\": \"TCn\", \"pre_source\": \"delayed\", \"norm_weight\": true, "
          "\"f_bias\": true, \"coefficient_dtype\": \"bf16\", \"rms\": {\"form\": \"inverse_of_root_plus_eps\"}, "
          "\"sinkhorn\": {\"start\": \"softmax\", \"denominator\": \"max_eps\", \"iterations\": 500}, "
          "\"mappings\": {\"pre\": \"static\", \"post\": \"fixed\"}"),
      model("\"dtype\": \"bf16\", \"qk_norm\": true, \"num_key_value_heads\": 2, \"tie_word_embeddings\": true"),
      residual("\"topology\": \"hc\", \"branch_scale\": 0.5"),
      residual("\"topology\": \"mhc\", \"manifold\": \"identity\""),
      residual("\"topology\": \"mhc\", \"preset\": \"deepseek-v4\""),
      residual("\"topology\": \"mhc\", \"preset\": \"deepseek-v4.1\", \"readout\": \"sum\""),
      residual(
          "\"topology\": \"hc\", \"readout\": \"head\", \"convention\": {\"norm_weight\": true, \"f_bias\": true}"),
      "{\"kind\": \"optimizer\", \"optimizer\": \"muon\", \"shape\": [4, 4], \"betas\": [0.9], \"eps\": 1}",
      training("\"optimizer\": {\"kind\": \"muon\", \"weight_decay\": 0.1}, \"parametrization\": \"mup\""),
      training("\"optimizer\": {\"kind\": \"muonh\"}, \"parametrization\": \"hyperp\", \"schedule\": {\"kind\": \"phases\", "
               "\"phases\": [{\"until\": 1, \"shape\": \"constant\"}]}, \"batch\": {\"ramp\": {\"from\": 1, \"until\": 0.5}}"),
      router("\"num_experts\": 65536, \"num_experts_per_tok\": 64"),
      experts("2", "\"score\": \"sigmoid\", \"expert_bias\": {\"rate\": 0.001}", "\"training\": {\"optimizer\": {\"kind\": \"muonh\"}}"),
      training("\"clip\": 1.0, \"batch\": {\"sequences\": 8, \"micro_batch\": 2}, \"schedule\": {\"kind\": \"cosine\", "
               "\"final_fraction\": 0.1}"),
  };
  for (const std::string &text : supported) {
    Description d = accept(text);
    std::optional<DescriptionError> error = findUnsupported(d);
    EXPECT_FALSE(error) << text << "\n" << error->str();
  }
}

// The @ marks the place again: of the field, or of its nearest parent that is written.
TEST(Unsupported, Refused) {
  const std::string mhc = "\"topology\": \"mhc\", ";
  const Refused cases[] = {
      {router("\"num_experts\": 128, @\"num_experts_per_tok\": 65"), "'num_experts_per_tok': more than 64 experts a token"},
      {router("@\"num_experts\": 65537, \"num_experts_per_tok\": 2"), "'num_experts': more than 65536 experts"},
      {router("\"num_experts\": 1028, \"num_experts_per_tok\": 2, \"groups\": {@\"count\": 257}"), "'groups.count': more than 256 groups"},
      {"{\"kind\": \"optimizer\", \"optimizer\": \"muonh\", \"betas\": [0.9], \"eps\": 1e-7, @\"shape\": [1048577, 1048576]}", "'shape': weights of more than 2^40"},
      {convention("\"sinkhorn\": {@\"iterations\": 501}"), "'convention.sinkhorn.iterations': more than 500"},
      {model("@\"dtype\": \"fp64\""), "'dtype'"},
      {model("@\"head_dim\": 1048578"), "'head_dim': a head of more than 1048576"},
      {model("\"attention\": \"mla\", \"kv_lora_rank\": 32, \"qk_nope_head_dim\": 16, \"qk_rope_head_dim\": 8, "
             "@\"v_head_dim\": 127"),
       "'v_head_dim': a head whose parts"},
      {model("\"attention\": \"mla\", @\"kv_lora_rank\": 129, \"qk_nope_head_dim\": 16, \"qk_rope_head_dim\": 8, "
             "\"v_head_dim\": 16"),
       "'kv_lora_rank': a rank that"},
      {residual(mhc + "\"convention\": {\"sinkhorn\": {@\"iterations\": 501}}"),
       "'residual.convention.sinkhorn.iterations'"},
  };
  for (const Refused &refused : cases) {
    SCOPED_TRACE(refused.text);
    std::string text = refused.text;
    size_t mark = text.find('@');
    text.erase(mark, 1);
    size_t lineStart = text.rfind('\n', mark) + 1;
    std::optional<DescriptionError> error = findUnsupported(accept(text));
    ASSERT_TRUE(error);
    EXPECT_EQ(error->at.column, mark - lineStart + 1) << error->str();
    EXPECT_NE(error->message.find(refused.word), std::string::npos) << error->str();
    EXPECT_EQ(error->file, "d.json");
  }
}
