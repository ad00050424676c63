//===- ParametersTest.cpp - parameters, their counts and initial values ---===//

#include "Testing.h"

#include <nlohmann/json.hpp>

#include <cmath>
#include <set>

using namespace mhc;
using namespace mhc::testing;

//===----------------------------------------------------------------------===//
// The counts of full-size models, exactly
//===----------------------------------------------------------------------===//

static std::string str(int64_t value) { return std::to_string(value); }

/// mHC 3B, 9B, 27B: MLA, experts, n = 4.
static std::string mhcModel(int64_t C, int64_t blocks, int64_t heads, int64_t f, int64_t E,
                            const std::string &residual) {
  return R"({"kind": "language_model", "vocab_size": 129280, "hidden_size": )" + str(C) + R"(, "num_hidden_layers": )" +
         str(blocks) + R"(, "num_attention_heads": )" + str(heads) + R"(, "intermediate_size": )" + str(8 * f) +
         R"(, "attention": "mla", "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
             "n_routed_experts": )" +
         str(E) + R"(, "num_experts_per_tok": 6, "n_shared_experts": 2, "moe_intermediate_size": )" + str(f) +
         R"(, "first_k_dense_replace": 1, "router": {"score": "sigmoid", "normalize": true, "expert_bias": {}},
             "residual": {"topology": ")" +
         residual + "\"}}";
}

/// Transformer-Next of depth d; `moe`: S = 8, k = 8.
static std::string nextModel(int64_t d, bool moe) {
  const int64_t w = 128 * d;
  return R"({"kind": "language_model", "vocab_size": 32000, "hidden_size": )" + str(w) + R"(, "num_hidden_layers": )" +
         str(d) + R"(, "num_attention_heads": )" + str(2 * d) +
         R"(, "num_key_value_heads": 4, "head_dim": 128, "qk_norm": true, "attention_gate": "headwise", )" +
         (moe ? R"("n_routed_experts": 63, "num_experts_per_tok": 7, "n_shared_experts": 1, "moe_intermediate_size": )" +
                    str(w / 2) + R"(, "router": {"score": "softmax_after_topk", "gate": "sqrt"}})"
              : "\"intermediate_size\": " + str(4 * w) + "}");
}

static std::string sigmaModel() {
  std::string start = "8, 8, 6, 6, 4, 4, 2, 2";
  for (int block = 8; block < 56; ++block)
    start += ", 1";
  return R"({"kind": "language_model", "vocab_size": 151936, "hidden_size": 1536, "num_hidden_layers": 56, "num_attention_heads": 16,
             "num_key_value_heads": 4, "head_dim": 96, "qk_norm": true, "n_routed_experts": 96, "moe_intermediate_size": 768,
             "router": {}, "num_experts_per_tok": {"phases": [{"until": 0.9, "k": [)" +
         start + R"(]}, {"k": 1}]}})";
}

static nlohmann::json report(const std::string &text) {
  auto m = acceptAs<LanguageModel>(text);
  nlohmann::json out = nlohmann::json::parse(parameterReport(m));
  int64_t total = 0, other = 0;
  for (auto &[key, value] : out["terms"].items())
    total += value.get<int64_t>();
  for (auto &[key, value] : out["other"].items())
    other += key == "total" ? 0 : value.get<int64_t>();
  EXPECT_EQ(out["total"], total);
  EXPECT_EQ(out["other"]["total"], other);
  return out;
}

TEST(Counts, FullModels) {
  struct Expected {
    std::string name, text;
    int64_t total, active;
  } const table[] = {
      {"3B", mhcModel(1280, 12, 16, 896, 64, "mhc"), 2972893184, 612286464},
      {"9B", mhcModel(1920, 18, 24, 1280, 64, "mhc"), 9178374144, 1660575744},
      {"27B", mhcModel(2560, 30, 32, 1536, 72, "mhc"), 27048120320, 4138700800},
      {"3B residual", mhcModel(1280, 12, 16, 896, 64, "residual"), 2969944064, 609337344},
      {"3B hc", mhcModel(1280, 12, 16, 896, 64, "hc"), 2970128384, 609521664},
      {"next 8", nextModel(8, false), 208142336, 208142336 - 32000 * 1024},
      {"next 12", nextModel(12, false), 570163200, 570163200 - 32000 * 1536},
      {"next 16", nextModel(16, false), 1238368256, 1238368256 - 32000 * 2048},
      {"next 20", nextModel(20, false), 2313420800, 2313420800 - 32000 * 2560},
      {"next 24", nextModel(24, false), 3895984128, 3895984128 - 32000 * 3072},
      // what the paper calls active holds the input embedding, too
      {"next moe 8", nextModel(8, true), 913301504, 208142336 + 63 * 1024 * 8 - 32000 * 1024},
      {"next moe 12", nextModel(12, true), 2949494784, 522172416},
      {"next moe 16", nextModel(16, true), 6877577216, 1174896640},
      {"next moe 20", nextModel(20, true), 13326694400, 2234726400},
      {"next moe 24", nextModel(24, true), 22925991936, 3802324992},
      {"sigma", sigmaModel(), 19830669312, 770113536},
  };
  for (const Expected &e : table) {
    nlohmann::json r = report(e.text);
    EXPECT_EQ(r["total"], e.total) << e.name;
    EXPECT_EQ(r["active"], e.active) << e.name;
  }
}

TEST(Counts, Report3B) {
  EXPECT_EQ(report(mhcModel(1280, 12, 16, 896, 64, "mhc")), nlohmann::json::parse(R"({
      "total": 2972893184, "active": 612286464, "active_non_embedding": 446808064,
      "terms": {"embedding": 165478400, "head": 165478400, "attention": 112656384, "ffn": 27525120, "expert": 2422210560,
                "shared": 75694080, "router": 901120, "hyper_connection": 2949120},
      "other": {"total": 38792, "norm": 38144, "scale": 72, "base": 576}})"));
}

TEST(Counts, ReportOfPhases) {
  nlohmann::json r = report(sigmaModel());
  EXPECT_EQ(r["active_non_embedding"], 536739840);
  EXPECT_EQ(r["phases"], nlohmann::json::parse(R"([
      {"until": 0.9, "active": 883359744, "active_non_embedding": 649986048},
      {"active": 770113536, "active_non_embedding": 536739840}])"));
}

TEST(Counts, ReportOfOthers) {
  nlohmann::json r = report(nextModel(8, false));
  EXPECT_EQ(r["other"]["attention_gate"], 8 * 16 * 1024);
  EXPECT_EQ(r["other"]["norm"], 17 * 1024 + 8 * 2 * 128);
  EXPECT_FALSE(r["terms"].contains("expert"));
  r = report(model("\"tie_word_embeddings\": true, \"residual\": {\"topology\": \"mhc\", \"readout\": \"head\", "
                   "\"convention\": {\"f_bias\": true, \"norm_weight\": true}}"));
  EXPECT_FALSE(r["terms"].contains("head"));
  EXPECT_EQ(r["active"], r["total"]); // the embedding is used as the head
  EXPECT_EQ(r["active_non_embedding"].get<int64_t>(), r["total"].get<int64_t>() - 257 * 64);
  EXPECT_EQ(r["other"]["readout"], 4 * 256 + 4 + 1);
  EXPECT_EQ(r["other"]["f_bias"], 6 * 64);
  EXPECT_EQ(r["other"]["norm"], 7 * 64 + 6 * 256);
  EXPECT_EQ(report(model())["other"], nlohmann::json::parse("{\"total\": 448, \"norm\": 448}"));
}

//===----------------------------------------------------------------------===//
// The table
//===----------------------------------------------------------------------===//

static std::vector<ParameterInfo> table(const std::string &text) {
  return parameterTable(acceptAs<LanguageModel>(text));
}

static const ParameterInfo &find(const std::vector<ParameterInfo> &table, const std::string &name) {
  for (const ParameterInfo &p : table)
    if (p.name == name)
      return p;
  ADD_FAILURE() << "no parameter " << name;
  return table.front();
}

/// "name [rows, columns] role", with a * after the role of what decays.
static std::vector<std::string> lines(const std::string &text) {
  std::vector<std::string> out;
  for (const ParameterInfo &p : table(text)) {
    std::string line = p.name + " [";
    for (size_t i = 0; i < p.shape.size(); ++i)
      line += (i ? ", " : "") + str(p.shape[i]);
    out.push_back(line + "] " + name(p.role) + (p.decayed ? "*" : ""));
  }
  return out;
}

TEST(Table, DenseModel) {
  const std::string text =
      R"({"kind": "language_model", "vocab_size": 9, "hidden_size": 6, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2,
          "head_dim": 2, "intermediate_size": 10, "qk_norm": true, "attention_gate": "headwise",
          "residual": {"topology": "mhc", "hc_mult": 2, "readout": "head", "convention": {"norm_weight": true, "f_bias": true, "phi_layout": "mk"}}})";
  EXPECT_EQ(lines(text), (std::vector<std::string>{
                             "model.embed_tokens.weight [9, 6] embedding*",
                             "model.layers.0.hc_attn.fn [8, 12] hyper_connection",
                             "model.layers.0.hc_attn.base [8] hyper_connection",
                             "model.layers.0.hc_attn.scale [3] hyper_connection",
                             "model.layers.0.hc_attn.norm_weight [12] gain",
                             "model.layers.0.hc_attn.f_bias [6] bias",
                             "model.layers.0.input_layernorm.weight [6] gain",
                             "model.layers.0.self_attn.q_proj.weight [8, 6] hidden*",
                             "model.layers.0.self_attn.k_proj.weight [4, 6] hidden*",
                             "model.layers.0.self_attn.v_proj.weight [4, 6] hidden*",
                             "model.layers.0.self_attn.q_norm.weight [2] gain",
                             "model.layers.0.self_attn.k_norm.weight [2] gain",
                             "model.layers.0.self_attn.g_proj.weight [4, 6] attention_gate*",
                             "model.layers.0.self_attn.o_proj.weight [6, 8] hidden*",
                             "model.layers.0.hc_ffn.fn [8, 12] hyper_connection",
                             "model.layers.0.hc_ffn.base [8] hyper_connection",
                             "model.layers.0.hc_ffn.scale [3] hyper_connection",
                             "model.layers.0.hc_ffn.norm_weight [12] gain",
                             "model.layers.0.hc_ffn.f_bias [6] bias",
                             "model.layers.0.post_attention_layernorm.weight [6] gain",
                             "model.layers.0.mlp.gate_proj.weight [10, 6] hidden*",
                             "model.layers.0.mlp.up_proj.weight [10, 6] hidden*",
                             "model.layers.0.mlp.down_proj.weight [6, 10] hidden*",
                             "model.hc_head.fn [2, 12] readout",
                             "model.hc_head.base [2] readout",
                             "model.hc_head.scale [1] readout",
                             "model.norm.weight [6] gain",
                             "lm_head.weight [9, 6] head*",
                         }));
}

TEST(Table, ExpertsAndMla) {
  const std::string text =
      R"({"kind": "language_model", "vocab_size": 9, "hidden_size": 6, "num_hidden_layers": 2, "num_attention_heads": 4, "tie_word_embeddings": true,
          "attention": "mla", "q_lora_rank": 5, "kv_lora_rank": 7, "qk_nope_head_dim": 3, "qk_rope_head_dim": 2, "v_head_dim": 4,
          "n_routed_experts": 2, "num_experts_per_tok": 1, "n_shared_experts": 3, "moe_intermediate_size": 8, "first_k_dense_replace": 1,
          "intermediate_size": 10, "router": {"expert_bias": {}}})";
  std::vector<std::string> all = lines(text), second;
  for (const std::string &line : all)
    if (line.rfind("model.layers.1.", 0) == 0)
      second.push_back(line.substr(15));
  EXPECT_EQ(second, (std::vector<std::string>{
                        "input_layernorm.weight [6] gain",
                        "self_attn.q_a_proj.weight [5, 6] hidden*",
                        "self_attn.q_a_layernorm.weight [5] gain",
                        "self_attn.q_b_proj.weight [20, 5] hidden*",
                        "self_attn.kv_a_proj_with_mqa.weight [9, 6] hidden*",
                        "self_attn.kv_a_layernorm.weight [7] gain",
                        "self_attn.kv_b_proj.weight [28, 7] hidden*",
                        "self_attn.o_proj.weight [6, 16] hidden*",
                        "post_attention_layernorm.weight [6] gain",
                        "mlp.gate.weight [2, 6] router*",
                        "mlp.experts.0.gate_proj.weight [8, 6] expert*",
                        "mlp.experts.0.up_proj.weight [8, 6] expert*",
                        "mlp.experts.0.down_proj.weight [6, 8] expert*",
                        "mlp.experts.1.gate_proj.weight [8, 6] expert*",
                        "mlp.experts.1.up_proj.weight [8, 6] expert*",
                        "mlp.experts.1.down_proj.weight [6, 8] expert*",
                        "mlp.shared_experts.gate_proj.weight [24, 6] hidden*",
                        "mlp.shared_experts.up_proj.weight [24, 6] hidden*",
                        "mlp.shared_experts.down_proj.weight [6, 24] hidden*",
                    }));
  EXPECT_EQ(all.back(), "model.norm.weight [6] gain");

  std::vector<ParameterInfo> state = stateTable(acceptAs<LanguageModel>(text));
  ASSERT_EQ(state.size(), 1u);
  EXPECT_EQ(state[0].name, "model.layers.1.mlp.gate.e_score_correction_bias");
  EXPECT_EQ(state[0].shape, std::vector<int64_t>{2});
  EXPECT_FALSE(state[0].decayed);
  EXPECT_EQ(state[0].init.kind, InitialValue::constant);
  EXPECT_EQ(state[0].init.parameter, 0);
  EXPECT_TRUE(stateTable(acceptAs<LanguageModel>(experts("2", ""))).empty());
}

TEST(Table, HcShapes) {
  auto t = table(residual("\"topology\": \"hc\", \"hc_mult\": 3, \"convention\": {\"norm_weight\": true}"));
  EXPECT_EQ(find(t, "model.layers.0.hc_attn.fn").shape, (std::vector<int64_t>{5, 64}));
  EXPECT_EQ(find(t, "model.layers.0.hc_attn.base").shape, std::vector<int64_t>{15});
  EXPECT_EQ(find(t, "model.layers.0.hc_attn.scale").shape, std::vector<int64_t>{3});
  EXPECT_EQ(find(t, "model.layers.0.hc_attn.norm_weight").shape, std::vector<int64_t>{64});
  t = table(residual("\"topology\": \"mhc\", \"hc_mult\": 3, \"manifold\": \"identity\""));
  EXPECT_EQ(find(t, "model.layers.2.hc_ffn.fn").shape, (std::vector<int64_t>{6, 192}));
  EXPECT_EQ(find(t, "model.layers.2.hc_ffn.base").shape, std::vector<int64_t>{6});
  EXPECT_EQ(find(t, "model.layers.2.hc_ffn.scale").shape, std::vector<int64_t>{3});
}

// Table and report count the same, name by name and in all.
TEST(Table, AgreesWithReport) {
  for (const std::string &text :
       {model(), residual("\"topology\": \"mhc\", \"preset\": \"deepseek-v4\""),
        experts("2", "\"expert_bias\": {}", "\"n_shared_experts\": 1"),
        residual("\"topology\": \"hc\", \"convention\": {\"f_bias\": true}"), nextModel(8, true)}) {
    int64_t total = 0;
    std::set<std::string> names;
    for (const ParameterInfo &p : table(text)) {
      int64_t size = 1;
      for (int64_t s : p.shape)
        size *= s;
      total += size;
      EXPECT_TRUE(names.insert(p.name).second) << p.name;
    }
    nlohmann::json r = report(text);
    EXPECT_EQ(total, r["total"].get<int64_t>() + r["other"]["total"].get<int64_t>());
  }
}

//===----------------------------------------------------------------------===//
// Initial values
//===----------------------------------------------------------------------===//

static void expectInit(const InitialValue &init, InitialValue::Kind kind, double parameter) {
  EXPECT_EQ(init.kind, kind);
  EXPECT_DOUBLE_EQ(init.parameter, parameter);
}

TEST(InitialValues, Plain) {
  auto t = table(model("\"qk_norm\": true, \"attention_gate\": \"headwise\", \"residual\": {\"topology\": \"mhc\", "
                       "\"readout\": \"head\", "
                       "\"convention\": {\"norm_weight\": true, \"f_bias\": true}}"));
  for (const char *name : {"model.embed_tokens.weight", "lm_head.weight", "model.layers.0.self_attn.q_proj.weight",
                           "model.layers.0.self_attn.g_proj.weight", "model.layers.2.mlp.down_proj.weight"})
    expectInit(find(t, name).init, InitialValue::normal, 0.02);
  for (const char *name : {"model.norm.weight", "model.layers.0.input_layernorm.weight",
                           "model.layers.0.self_attn.q_norm.weight", "model.layers.0.hc_attn.norm_weight"})
    expectInit(find(t, name).init, InitialValue::constant, 1);
  expectInit(find(t, "model.layers.0.hc_ffn.f_bias").init, InitialValue::constant, 0);
  expectInit(find(t, "model.layers.0.hc_ffn.fn").init, InitialValue::normal, 1.0 / 16); // 1/sqrt(4 * 64)
  expectInit(find(t, "model.layers.0.hc_ffn.scale").init, InitialValue::constant, 0.01);
  expectInit(find(t, "model.hc_head.fn").init, InitialValue::normal, 1.0 / 16);
  expectInit(find(t, "model.hc_head.base").init, InitialValue::constant, -std::log(3.0));
  expectInit(find(t, "model.hc_head.scale").init, InitialValue::constant, 0.01);
}

TEST(InitialValues, Base) {
  struct Expected {
    const char *manifold;
    std::vector<double> res;
  } const cases[] = {{"birkhoff", {8, 0, 0, 8}},
                     {"permutation_hull", {8, 0, 0, 8}},
                     {"simplex", {8, 0, 0, 8}},
                     {"orthogonal", {0, 0, 0, 0}},
                     {"sphere", {1, 0, 0, 1}},
                     {"unconstrained", {1, 0, 0, 1}},
                     {"identity", {}}};
  for (const Expected &e : cases) {
    SCOPED_TRACE(e.manifold);
    auto t =
        table(residual("\"topology\": \"mhc\", \"hc_mult\": 2, \"manifold\": \"" + std::string(e.manifold) + "\""));
    std::vector<double> expected{0, 0, 0, 0}; // logit(1/2) = 0
    expected.insert(expected.end(), e.res.begin(), e.res.end());
    const ParameterInfo &base = find(t, "model.layers.1.hc_attn.base");
    EXPECT_EQ(base.init.kind, InitialValue::listed);
    EXPECT_EQ(base.init.values, expected);
    EXPECT_EQ(base.shape, std::vector<int64_t>{int64_t(expected.size())});
  }
  auto one = table(residual("\"topology\": \"mhc\", \"hc_mult\": 1"));
  EXPECT_EQ(find(one, "model.layers.0.hc_attn.base").init.values, (std::vector<double>{8, 0, 8}));
  auto three = table(residual("\"topology\": \"mhc\", \"hc_mult\": 3"));
  EXPECT_DOUBLE_EQ(find(three, "model.layers.0.hc_attn.base").init.values[2], std::log(0.5));
}

TEST(InitialValues, HcBaseGoesByTheSublayer) {
  auto t = table(residual("\"topology\": \"hc\", \"hc_mult\": 3"));
  const std::vector<double> rest{1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 0, 1};
  auto expected = [&](std::vector<double> pre) {
    pre.insert(pre.end(), rest.begin(), rest.end());
    return pre;
  };
  EXPECT_EQ(find(t, "model.layers.0.hc_attn.base").init.values, expected({1, 0, 0}));
  EXPECT_EQ(find(t, "model.layers.0.hc_ffn.base").init.values, expected({0, 1, 0}));
  EXPECT_EQ(find(t, "model.layers.1.hc_attn.base").init.values, expected({0, 0, 1}));
  EXPECT_EQ(find(t, "model.layers.1.hc_ffn.base").init.values, expected({1, 0, 0}));
  expectInit(find(t, "model.layers.1.hc_ffn.fn").init, InitialValue::normal, 1.0 / 8); // 1/sqrt(64)
  expectInit(find(t, "model.layers.1.hc_ffn.scale").init, InitialValue::constant, 0.01);
}

TEST(InitialValues, HyperP) {
  auto with = [](const std::string &parametrization, const std::string &optimizer, const std::string &tied) {
    return table(experts("2", "",
                         "\"attention_gate\": \"headwise\", \"n_shared_experts\": 1, \"tie_word_embeddings\": " + tied +
                             ", \"training\": {\"optimizer\": {\"kind\": \"" + optimizer +
                             "\"}, \"parametrization\": \"" + parametrization + "\"}"));
  };
  auto t = with("hyperp", "muonh", "false");
  const std::string b = "model.layers.1.";
  for (const char *name : {"self_attn.q_proj.weight", "self_attn.g_proj.weight", "mlp.gate.weight",
                           "mlp.experts.5.gate_proj.weight", "mlp.shared_experts.up_proj.weight"})
    expectInit(find(t, b + name).init, InitialValue::uniform, 1.0 / 8); // 1/sqrt(64)
  expectInit(find(t, b + "mlp.experts.5.down_proj.weight").init, InitialValue::uniform, 1 / std::sqrt(40.0));
  expectInit(find(t, "model.embed_tokens.weight").init, InitialValue::normal, 1e-4);
  expectInit(find(t, "lm_head.weight").init, InitialValue::normal, 0.02);
  expectInit(find(t, "model.norm.weight").init, InitialValue::constant, 1);
  expectInit(find(with("hyperp", "muonh", "true"), "model.embed_tokens.weight").init, InitialValue::normal, 0.02);
  expectInit(find(with("mup", "muon", "false"), b + "mlp.gate.weight").init, InitialValue::normal, 0.02);
  expectInit(find(with("mup", "muon", "false"), "model.embed_tokens.weight").init, InitialValue::normal, 0.02);
}
