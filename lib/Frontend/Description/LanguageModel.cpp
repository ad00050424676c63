//===- LanguageModel.cpp - kind language_model ----------------------------===//

#include "Kinds.h"

#include <cmath>
#include <iterator>

namespace mhc {

static const Word<Readout> readouts[] = {
    {"mean", Readout::mean}, {"sum", Readout::sum}, {"head", Readout::head}, {"last_pre", Readout::lastPre}};
static const Word<bool> attentions[] = {{"gqa", false}, {"mla", true}};
static const Word<bool> attentionGates[] = {{"none", false}, {"headwise", true}};

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

static std::string number(int64_t value) { return std::to_string(value); }

static void readMla(Object &object, LanguageModel &model) {
  const std::string why = "attention 'mla' needs it";
  object.refuse("head_dim", "does not apply to attention 'mla'");
  object.require({"kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"}, why);
  object.read("q_lora_rank", model.qLoraRank, 1, /*nullable=*/true);
  object.read("kv_lora_rank", model.kvLoraRank, 1);
  object.read("qk_nope_head_dim", model.qkNopeHeadDim, 1);
  object.read("qk_rope_head_dim", model.qkRopeHeadDim, 2);
  object.read("v_head_dim", model.vHeadDim, 1);
  if (object.failed())
    return;
  if (model.numKeyValueHeads != model.numAttentionHeads)
    object.failAt("num_key_value_heads", object.quoted("num_key_value_heads") +
                                             ": expected 'num_attention_heads' = " + number(model.numAttentionHeads) +
                                             " with attention 'mla', but got " + number(model.numKeyValueHeads));
  if (model.qkRopeHeadDim % 2 != 0)
    object.failAt("qk_rope_head_dim", object.quoted("qk_rope_head_dim") + ": expected an even number, but got " +
                                          number(model.qkRopeHeadDim));
  if (model.qkNorm)
    object.failAt("qk_norm", object.quoted("qk_norm") + " does not apply to attention 'mla'");
}

static void readGqa(Object &object, LanguageModel &model) {
  for (const char *key : {"q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"})
    object.refuse(key, "does not apply to attention 'gqa'");
  object.read("head_dim", model.headDim, 1);
  if (object.failed())
    return;
  if (model.numAttentionHeads % model.numKeyValueHeads != 0)
    object.failAt("num_key_value_heads",
                  object.quoted("num_key_value_heads") + ": expected a divisor of 'num_attention_heads' = " +
                      number(model.numAttentionHeads) + ", but got " + number(model.numKeyValueHeads));
  if (!object.has("head_dim")) {
    if (model.hiddenSize % model.numAttentionHeads != 0)
      object.failAt("num_attention_heads",
                    object.quoted("num_attention_heads") + ": expected a divisor of 'hidden_size' = " +
                        number(model.hiddenSize) + ", but got " + number(model.numAttentionHeads),
                    "or give 'head_dim'");
    model.headDim = model.hiddenSize / model.numAttentionHeads;
  }
  if (model.headDim % 2 != 0)
    object.failAt(object.has("head_dim") ? "head_dim" : "num_attention_heads",
                  object.quoted("head_dim") + ": expected an even number, but got " + number(model.headDim),
                  "rotary position embedding turns pairs");
}

static void readAttention(Object &object, LanguageModel &model) {
  object.read("attention", model.mla, attentions);
  object.read("num_attention_heads", model.numAttentionHeads, 1);
  model.numKeyValueHeads = model.numAttentionHeads;
  object.read("num_key_value_heads", model.numKeyValueHeads, 1);
  object.read("qk_norm", model.qkNorm);
  object.read("attention_gate", model.headwiseGate, attentionGates);
  if (object.failed())
    return;
  if (model.mla)
    readMla(object, model);
  else
    readGqa(object, model);
}

//===----------------------------------------------------------------------===//
// Feed-forward
//===----------------------------------------------------------------------===//

/// k of each block: one number, or a list with one a block, of which dense blocks' are not read.
static void readK(Object &object, const char *key, LanguageModel &model, std::vector<int64_t> &out) {
  const json::Value *value = object.find(key);
  const int64_t dense = denseBlocks(model), blocks = model.numHiddenLayers;
  const std::string where = object.join(key);
  if (!value || object.failed())
    return;
  out.assign(blocks, 0);
  if (value->kind == json::Value::Kind::number) {
    int64_t k = 0;
    if (!object.integer(*value, where, k, 1, std::numeric_limits<int64_t>::max()))
      return;
    checkTopk(object.reader, value->at, where, k, model.nRoutedExperts, model.router);
    for (int64_t block = dense; block < blocks; ++block)
      out[block] = k;
    return;
  }
  if (value->kind != json::Value::Kind::array)
    return object.mistake(*value, where, "an integer, or a list with one integer a block");
  if (int64_t(value->elements.size()) != blocks)
    return object.reader.fail(value->at, "'" + where + "': expected one number a block ('num_hidden_layers' = " +
                                             number(blocks) + "), but got " + std::to_string(value->elements.size()));
  for (int64_t block = 0; block < blocks && !object.failed(); ++block) {
    const json::Value &element = value->elements[block];
    const std::string name = where + "[" + number(block) + "]";
    int64_t k = 0;
    object.reader.positions[name] = element.at;
    if (!object.integer(element, name, k, std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()) ||
        block < dense)
      continue;
    checkTopk(object.reader, element.at, name, k, model.nRoutedExperts, model.router);
    out[block] = k;
  }
}

static void readTopk(Object &object, LanguageModel &model) {
  const json::Value *value = object.find("num_experts_per_tok");
  if (!value || object.failed())
    return;
  if (value->kind == json::Value::Kind::array || value->kind == json::Value::Kind::number)
    return readK(object, "num_experts_per_tok", model, model.topk.emplace_back().k);
  if (value->kind != json::Value::Kind::object)
    return object.mistake(*value, object.join("num_experts_per_tok"),
                          "an integer, a list with one integer a block, or an object with 'phases'");
  Object topk = object.object("num_experts_per_tok");
  topk.only({"phases"});
  topk.require({"phases"});
  std::vector<Object> phases = topk.objects("phases");
  if (object.failed())
    return;
  if (phases.empty() || int64_t(phases.size()) > maxPhases)
    return topk.failAt("phases", topk.quoted("phases") + ": expected 1 to " + number(maxPhases) + " phases, but got " +
                                     std::to_string(phases.size()));
  double before = 0;
  for (Object &phase : phases) {
    LanguageModel::TopkPhase &out = model.topk.emplace_back();
    phase.only({"until", "k"});
    phase.require({"k"});
    if (&phase == &phases.back()) {
      phase.refuse("until", "does not apply to the last phase, which lasts until the end");
    } else {
      phase.require({"until"}, "only the last phase has none");
      phase.read(
          "until", out.until,
          {before, 1, true, true,
           before == 0 ? "a number above 0 and below 1" : "a number above the 'until' of the phase before and below 1"},
          /*nullable=*/false);
      before = out.until.value_or(before);
    }
    readK(phase, "k", model, out.k);
    if (object.failed())
      return;
  }
}

static void readFeedForward(Object &object, LanguageModel &model) {
  object.read("n_routed_experts", model.nRoutedExperts, 1, maxInt32);
  if (object.failed())
    return;
  if (!object.has("n_routed_experts")) {
    for (const char *key :
         {"num_experts_per_tok", "n_shared_experts", "moe_intermediate_size", "first_k_dense_replace", "router"})
      object.refuse(key, "does not apply without 'n_routed_experts'");
    object.require({"intermediate_size"}, "no block has experts");
    object.read("intermediate_size", model.intermediateSize, 1);
    return;
  }
  object.require({"num_experts_per_tok", "moe_intermediate_size", "router"}, "'n_routed_experts' needs it");
  object.read("n_shared_experts", model.nSharedExperts, 0);
  object.read("moe_intermediate_size", model.moeIntermediateSize, 1);
  object.read("first_k_dense_replace", model.firstKDenseReplace, 0);
  if (object.failed())
    return;
  if (model.firstKDenseReplace > model.numHiddenLayers)
    object.failAt("first_k_dense_replace",
                  object.quoted("first_k_dense_replace") + ": expected at most 'num_hidden_layers' = " +
                      number(model.numHiddenLayers) + ", but got " + number(model.firstKDenseReplace));
  if (model.firstKDenseReplace > 0)
    object.require({"intermediate_size"}, "the first " + number(model.firstKDenseReplace) + " blocks are dense");
  else
    object.refuse("intermediate_size", "does not apply: no block is dense");
  object.read("intermediate_size", model.intermediateSize, 1);
  if (mulSizes(model.nRoutedExperts, model.numHiddenLayers - model.firstKDenseReplace) > maxExperts)
    object.failAt("n_routed_experts", object.quoted("n_routed_experts") +
                                          ": expected at most 2^20 experts in all blocks, but got " +
                                          number(model.nRoutedExperts) + " in each of " +
                                          number(model.numHiddenLayers - model.firstKDenseReplace));

  Object router = object.object("router");
  router.only({"score", "groups", "normalize", "scale", "gate", "losses", "expert_bias", "allow_constant_gate",
               "capacity_factor"});
  readRouter(router, model.router, /*ofLanguageModel=*/true);
  if (checkGroups(router, model.router, model.nRoutedExperts, "n_routed_experts"))
    readTopk(object, model);
}

//===----------------------------------------------------------------------===//
// The residual topology, and the whole
//===----------------------------------------------------------------------===//

void readResidual(Object &object, LanguageModel &model) {
  Object residual = object.object("residual");
  residual.only({"topology", "hc_mult", "preset", "convention", "manifold", "readout", "branch_scale"});
  readHyperConnection(residual, model.residual, model.dtype == Dtype::fp64, /*ofLanguageModel=*/true);
  using Parametrization = Training::Parametrization;
  const Parametrization::Kind kind = model.training.parametrization.kind;
  model.branchScale = kind == Parametrization::hyperp || kind == Parametrization::mupPlusPlus
                          ? 1 / std::sqrt(2.0 * double(model.numHiddenLayers))
                          : 1;
  residual.read("branch_scale", model.branchScale);
  if (object.failed() || model.residual.topology == Topology::residual)
    return;
  if (model.residual.topology == Topology::mhc && model.residual.preset == Preset::deepseekV4)
    model.readout = Readout::head;
  if (model.residual.topology == Topology::mhc && model.residual.preset == Preset::deepseekV41)
    model.readout = Readout::lastPre;
  residual.read("readout", model.readout, readouts);
  // The preset's own last_pre meets a pre_source that is written.
  if (model.readout == Readout::lastPre && !model.residual.convention.delayed && !object.failed())
    residual.failAt(residual.has("readout") ? "readout" : "convention",
                    residual.quoted("readout") + ": 'last_pre' needs convention.pre_source 'delayed', but got 'same'");
}

/// Every size is exact below 2^60, so that nothing later has to ask. The largest number is named: it is the likely
/// slip.
static void checkSizes(Object &object, const LanguageModel &model) {
  const ParameterCounts counts = countParameters(model);
  int64_t total = 0;
  for (int64_t term : counts.terms)
    total = addSizes(total, term);
  if (total <= maxElements)
    return;
  const std::pair<const char *, int64_t> sizes[] = {{"hidden_size", model.hiddenSize},
                                                    {"vocab_size", model.vocabSize},
                                                    {"num_attention_heads", model.numAttentionHeads},
                                                    {"head_dim", model.headDim},
                                                    {"intermediate_size", model.intermediateSize},
                                                    {"q_lora_rank", model.qLoraRank.value_or(0)},
                                                    {"kv_lora_rank", model.kvLoraRank},
                                                    {"qk_nope_head_dim", model.qkNopeHeadDim},
                                                    {"qk_rope_head_dim", model.qkRopeHeadDim},
                                                    {"v_head_dim", model.vHeadDim},
                                                    {"moe_intermediate_size", model.moeIntermediateSize},
                                                    {"n_routed_experts", model.nRoutedExperts},
                                                    {"n_shared_experts", model.nSharedExperts}};
  const auto *largest = std::begin(sizes);
  for (const auto &size : sizes)
    if (size.second > largest->second)
      largest = &size;
  object.failAt(largest->first,
                object.quoted(largest->first) + ": too large, the model would have more than 2^60 parameters");
}

void readLanguageModel(Object &object, LanguageModel &model) {
  object.only({"kind",
               "dtype",
               "vocab_size",
               "hidden_size",
               "num_hidden_layers",
               "num_attention_heads",
               "num_key_value_heads",
               "head_dim",
               "intermediate_size",
               "rms_norm_eps",
               "rope_theta",
               "tie_word_embeddings",
               "max_position_embeddings",
               "attention",
               "q_lora_rank",
               "kv_lora_rank",
               "qk_nope_head_dim",
               "qk_rope_head_dim",
               "v_head_dim",
               "qk_norm",
               "attention_gate",
               "n_routed_experts",
               "num_experts_per_tok",
               "n_shared_experts",
               "moe_intermediate_size",
               "first_k_dense_replace",
               "router",
               "residual",
               "training"},
              {{"score", "'router'"},
               {"groups", "'router'"},
               {"normalize", "'router'"},
               {"scale", "'router'"},
               {"gate", "'router'"},
               {"losses", "'router'"},
               {"expert_bias", "'router'"},
               {"allow_constant_gate", "'router'"},
               {"capacity_factor", "'router'"},
               {"topology", "'residual'"},
               {"hc_mult", "'residual'"},
               {"preset", "'residual'"},
               {"convention", "'residual'"},
               {"manifold", "'residual'"},
               {"readout", "'residual'"},
               {"branch_scale", "'residual'"},
               {"optimizer", "'training'"},
               {"parametrization", "'training'"},
               {"schedule", "'training'"},
               {"batch", "'training'"},
               {"clip", "'training'"}});
  object.require({"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"});
  object.read("dtype", model.dtype, dtypeWords);
  object.read("vocab_size", model.vocabSize, 1, maxInt32);
  object.read("hidden_size", model.hiddenSize, 1);
  object.read("num_hidden_layers", model.numHiddenLayers, 1, maxBlocks);
  object.read("rms_norm_eps", model.rmsNormEps, interval::positiveFp32);
  object.read("rope_theta", model.ropeTheta, interval::positive);
  object.read("tie_word_embeddings", model.tieWordEmbeddings);
  object.read("max_position_embeddings", model.maxPositionEmbeddings, 1, maxInt32);
  readAttention(object, model);
  readFeedForward(object, model);
  readTraining(object, model);
  readResidual(object, model);
  if (!object.failed())
    checkSizes(object, model);
}

} // namespace mhc
