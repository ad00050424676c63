//===- ParametrizationTest.cpp - who updates what, by how much, and where it lies -===//

#include "Testing.h"

#include <algorithm>
#include <cmath>
#include <map>

using namespace mhc;
using namespace mhc::testing;

namespace {

/// 4 blocks of width 256 with every role; `training` is the object's inside.
std::string roles(const std::string &training, const std::string &more = "") {
  return R"({"kind": "language_model", "vocab_size": 64, "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024,
    "attention_gate": "headwise", "qk_norm": true, "n_routed_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 128, "first_k_dense_replace": 2,
    "router": {"score": "sigmoid"}, "residual": {"topology": "mhc", "hc_mult": 2, "readout": "head", "convention": {"f_bias": true}})" +
         more + R"(, "training": {"batch": {"sequences": 4, "sequence_length": 16, "steps": 100}, )" + training + "}}";
}

UpdateRule rule(const std::string &text, const std::string &name) {
  for (const ParameterInfo &p : parameterTable(acceptAs<LanguageModel>(text)))
    if (p.name == name)
      return p.update;
  ADD_FAILURE() << "no parameter " << name;
  return {};
}

constexpr const char *hidden[] = {"model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.down_proj.weight", "model.layers.3.mlp.gate.weight",
                                  "model.layers.3.mlp.experts.5.up_proj.weight", "model.layers.1.self_attn.g_proj.weight"};
constexpr const char *others[] = {"model.embed_tokens.weight", "model.norm.weight", "model.layers.0.self_attn.q_norm.weight", "model.layers.0.hc_attn.fn", "model.layers.0.hc_ffn.base",
                                  "model.layers.0.hc_ffn.scale", "model.layers.0.hc_ffn.f_bias", "model.hc_head.fn"};

} // namespace

// math.md 4: hidden, experts, router, gate MuonH; head AdamH; the rest AdamW without decay.
TEST(Rules, GroupsOfMuonH) {
  const std::string text = roles(R"("optimizer": {"kind": "muonh"})");
  for (const char *name : hidden)
    EXPECT_EQ(rule(text, name), (UpdateRule{OptimizerKind::muonh, 1, 0})) << name;
  EXPECT_EQ(rule(text, "lm_head.weight"), (UpdateRule{OptimizerKind::adamh, 1, 0}));
  for (const char *name : others)
    EXPECT_EQ(rule(text, name), (UpdateRule{OptimizerKind::adamw, 1, 0})) << name;
  EXPECT_EQ(rule(roles(R"("optimizer": {"kind": "muonh"})", R"(, "tie_word_embeddings": true)"), "model.embed_tokens.weight"), (UpdateRule{OptimizerKind::adamw, 1, 0}));
}

TEST(Rules, AdamW) {
  const std::string text = roles(R"("optimizer": {"kind": "adamw", "weight_decay": 0.1})");
  for (const char *name : hidden)
    EXPECT_EQ(rule(text, name), (UpdateRule{OptimizerKind::adamw, 1, 1})) << name;
  EXPECT_EQ(rule(text, "lm_head.weight").decay, 1);
  EXPECT_EQ(rule(text, "model.embed_tokens.weight").decay, 1);
  for (const char *name : {"model.norm.weight", "model.layers.0.hc_attn.fn", "model.layers.0.hc_ffn.f_bias"})
    EXPECT_EQ(rule(text, name).decay, 0) << name;
}

// Without parametrization plain Muon's rate goes by sqrt(d_out / d_in).
TEST(Rules, Muon) {
  const std::string text = roles(R"("optimizer": {"kind": "muon", "weight_decay": 0.1})");
  EXPECT_EQ(rule(text, "model.layers.0.mlp.down_proj.weight"), (UpdateRule{OptimizerKind::muon, 0.5, 1}));
  EXPECT_EQ(rule(text, "model.layers.0.mlp.up_proj.weight"), (UpdateRule{OptimizerKind::muon, 2, 1}));
  EXPECT_EQ(rule(text, "lm_head.weight"), (UpdateRule{OptimizerKind::adamw, 1, 0}));
}

// Table of math.md 2.2 with w_0 = 1024, d_0 = 8, w = 256, d = 4.
TEST(Rules, MuP) {
  const LanguageModel mup = acceptAs<LanguageModel>(roles(R"("optimizer": {"kind": "muon", "weight_decay": 0.1}, "parametrization": "mup")"));
  EXPECT_EQ(updateRule(mup, Role::hidden, {1024, 256}), (UpdateRule{OptimizerKind::muon, 2, 4}));
  EXPECT_EQ(updateRule(mup, Role::embedding, {64, 256}), (UpdateRule{OptimizerKind::adamw, 1, 0}));
  EXPECT_EQ(logitsMultiplier(mup), 4);
  EXPECT_EQ(mup.branchScale, 1);
  const LanguageModel plus = acceptAs<LanguageModel>(roles(R"("optimizer": {"kind": "muon", "weight_decay": 0.1}, "parametrization": "mup++")"));
  EXPECT_DOUBLE_EQ(updateRule(plus, Role::hidden, {1024, 256}).rate, 2 * std::sqrt(2));
  EXPECT_EQ(updateRule(plus, Role::hidden, {1024, 256}).decay, 4);
  EXPECT_DOUBLE_EQ(updateRule(plus, Role::gain, {256}).rate, std::sqrt(2));
  EXPECT_DOUBLE_EQ(updateRule(plus, Role::head, {64, 256}).rate, std::sqrt(2));
  EXPECT_EQ(logitsMultiplier(plus), 4);
  EXPECT_DOUBLE_EQ(plus.branchScale, 1 / std::sqrt(8));
}

TEST(Rules, HyperP) {
  const std::string text = roles(R"("optimizer": {"kind": "muonh"}, "parametrization": {"kind": "hyperp", "base_depth": 16, "base_tokens": 3200})");
  const double depth = 2, tokens = std::pow(2, -0.32); // 6400 tokens
  for (const char *name : hidden)
    EXPECT_DOUBLE_EQ(rule(text, name).rate, depth * tokens) << name;
  EXPECT_DOUBLE_EQ(rule(text, "lm_head.weight").rate, depth);
  for (const char *name : others)
    EXPECT_DOUBLE_EQ(rule(text, name).rate, depth) << name;
  EXPECT_EQ(logitsMultiplier(acceptAs<LanguageModel>(text)), 1);
}

//===----------------------------------------------------------------------===//
// The arena
//===----------------------------------------------------------------------===//

namespace {
const ParameterArena::Tensor &find(const ParameterArena &arena, const std::string &name) {
  for (const ParameterArena::Tensor &t : arena.tensors)
    if (t.info.name == name)
      return t;
  ADD_FAILURE() << "no parameter " << name;
  return arena.tensors.front();
}

/// What holds of every arena: nothing overlaps, batches cover all tensors, states lie as the parameters do, equal matrices follow each other.
void check(const ParameterArena &arena) {
  int64_t end = 0;
  for (const UpdateBatch &b : arena.batches) {
    EXPECT_GE(b.begin, end);
    EXPECT_EQ(b.begin % 64, 0);
    end = b.begin + b.elements;
    if (b.matrices)
      EXPECT_EQ(b.elements, b.matrices * b.rows * b.columns);
    else
      EXPECT_EQ(b.elements % 64, 0);
    EXPECT_EQ(b.matrices % b.matricesOfNorm, 0);
  }
  EXPECT_LE(end, arena.stateBegin);
  EXPECT_EQ(arena.stateBegin % 64, 0);
  std::map<std::string, int64_t> next; // the place of a stack's next tensor
  for (const ParameterArena::Stack &stack : arena.stacks) {
    EXPECT_EQ(stack.offset % 64, 0) << stack.name;
    next[stack.name] = stack.offset;
  }
  for (const ParameterArena::Tensor &t : arena.tensors) {
    if (t.info.stack.empty()) {
      EXPECT_EQ(t.offset % 64, 0) << t.info.name;
    } else {
      EXPECT_EQ(t.offset, next.at(t.info.stack)) << t.info.name;
      next[t.info.stack] += t.elements;
    }
    EXPECT_LE(t.offset + t.elements, arena.elements) << t.info.name;
    bool inside = false;
    for (const UpdateBatch &b : arena.batches)
      if (t.offset >= b.begin && t.offset + t.elements <= b.begin + b.elements) {
        inside = true;
        EXPECT_EQ(b.rule, t.info.update) << t.info.name;
        EXPECT_EQ(t.state - b.state, t.offset - b.begin) << t.info.name;
        EXPECT_LE(t.state + t.elements, b.rule.isMuon() ? arena.momentumElements : arena.adamElements);
        if (b.rule.isSphere())
          EXPECT_EQ(t.radius - b.radius, (t.offset - b.begin) / (b.rows * b.columns) / b.matricesOfNorm) << t.info.name;
      }
    const bool state = t.offset >= arena.stateBegin;
    EXPECT_EQ(inside, !state) << t.info.name;
    EXPECT_EQ(state, t.info.name.find("e_score_correction_bias") != std::string::npos) << t.info.name;
    EXPECT_EQ(t.radius >= 0, t.info.update.isSphere()) << t.info.name;
  }
}
} // namespace

TEST(Arena, GroupsAndBatches) {
  for (const char *scope : {"expert", "stack"}) {
    ParameterArena arena = layOutParameters(acceptAs<LanguageModel>(roles(std::string(R"("optimizer": {"kind": "muonh", "norm_scope": ")") + scope + "\"}")));
    check(arena);
    // The experts of a stack lie one after another, all of one shape in one batch: gate and up of two blocks.
    const auto &first = find(arena, "model.layers.2.mlp.experts.0.gate_proj.weight"), &second = find(arena, "model.layers.2.mlp.experts.1.gate_proj.weight");
    EXPECT_EQ(second.offset, first.offset + 128 * 256);
    EXPECT_EQ(first.radius == second.radius, std::string(scope) == "stack");
    for (const UpdateBatch &b : arena.batches)
      if (b.rows == 128 && b.columns == 256) {
        EXPECT_EQ(b.matrices, 2 * 2 * 6);
        EXPECT_EQ(b.matricesOfNorm, std::string(scope) == "stack" ? 6 : 1);
      }
    // No second moment of Muon's, no momentum of Adam's.
    EXPECT_LT(arena.adamElements + arena.momentumElements, arena.elements + 64 * (int64_t)arena.batches.size());
  }
}

TEST(Arena, OddSizes) {
  // 3 x 21: no multiple of 64, so each matrix is a batch of its own.
  ParameterArena arena = layOutParameters(acceptAs<LanguageModel>(
      R"({"kind": "language_model", "vocab_size": 5, "hidden_size": 6, "num_hidden_layers": 3, "num_attention_heads": 1, "intermediate_size": 7, "training": {"optimizer": {"kind": "muonh"}}})"));
  check(arena);
  for (const UpdateBatch &b : arena.batches)
    EXPECT_LE(b.matrices, 1);
}

TEST(Arena, AdamWAsBefore) {
  ParameterArena arena = layOutParameters(acceptAs<LanguageModel>(roles(R"("optimizer": {"weight_decay": 0.1})")));
  check(arena);
  ASSERT_EQ(arena.batches.size(), 2u);
  EXPECT_EQ(arena.batches[0].begin, 0);
  EXPECT_EQ(arena.batches[0].rule.decay, 1);
  EXPECT_EQ(arena.batches[1].begin, arena.batches[0].elements);
  EXPECT_EQ(arena.adamElements, arena.elements);
  EXPECT_EQ(arena.momentumElements, 0);
}

// State lies behind all that optimizers update, as one stack; the experts of each kind and block are another.
TEST(Arena, StacksAndState) {
  for (const char *kind : {"adamw", "muon", "muonh"}) {
    std::string text = roles(std::string(R"("optimizer": {"kind": ")") + kind + "\"}");
    const std::string score = R"("score": "sigmoid")";
    text.replace(text.find(score), score.size(), score + R"(, "expert_bias": {"rate": 0.001})");
    ParameterArena arena = layOutParameters(acceptAs<LanguageModel>(text));
    check(arena);
    ASSERT_EQ(arena.stacks.size(), 2u * 3 + 1) << kind;
    const ParameterArena::Stack &biases = arena.stacks.back();
    EXPECT_EQ(biases.name, biasStack);
    EXPECT_EQ(biases.shape, (std::vector<int64_t>{2, 6}));
    EXPECT_EQ(biases.offset, arena.stateBegin);
    EXPECT_EQ(arena.elements, arena.stateBegin + 64);
    EXPECT_EQ(find(arena, "model.layers.3.mlp.gate.e_score_correction_bias").offset, arena.stateBegin + 6);
    auto down = std::find_if(arena.stacks.begin(), arena.stacks.end(), [](auto &stack) { return stack.name == "model.layers.2.mlp.experts.*.down_proj.weight"; });
    ASSERT_NE(down, arena.stacks.end());
    EXPECT_EQ(down->shape, (std::vector<int64_t>{6, 256, 128}));
  }
}
