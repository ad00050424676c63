//===- Manifest.cpp - what a package says of its model ----------------------===//

#include "mhc/Package/Manifest.h"

#include <nlohmann/json.hpp>

using namespace mlir::mhc;
using Json = nlohmann::ordered_json;

static Json initialValue(const ::mhc::InitialValue &init) {
  switch (init.kind) {
  case ::mhc::InitialValue::normal:
    return {{"kind", "normal"}, {"std", init.parameter}};
  case ::mhc::InitialValue::uniform:
    return {{"kind", "uniform"}, {"bound", init.parameter}};
  case ::mhc::InitialValue::constant:
    return {{"kind", "constant"}, {"value", init.parameter}};
  case ::mhc::InitialValue::listed:
    return {{"kind", "values"}, {"values", init.values}};
  }
  return {};
}

//===----------------------------------------------------------------------===//
// Entries
//===----------------------------------------------------------------------===//

static const char *dtypeName(::mhc::Dtype dtype) {
  switch (dtype) {
  case ::mhc::Dtype::bf16:
    return "bf16";
  case ::mhc::Dtype::fp32:
    return "fp32";
  case ::mhc::Dtype::fp64:
    return "fp64";
  }
  return "";
}
/// The name that tensors carry.
static const char *tensorDtype(::mhc::Dtype dtype) {
  return dtype == ::mhc::Dtype::bf16 ? "bf16" : dtype == ::mhc::Dtype::fp32 ? "f32" : "f64";
}

namespace {
struct Tensors {
  Json list = Json::array();
  /// With a leading dimension of `depth` where that is not 0.
  Tensors &addStacked(int64_t depth, const char *name, const char *dtype, const Json &shape) {
    Json full = Json::array();
    if (depth)
      full.push_back(depth);
    for (const Json &item : shape)
      full.push_back(item);
    list.push_back({{"name", name}, {"dtype", dtype}, {"shape", full}});
    return *this;
  }
};

/// hyper_connection and hyper_connection_chain (docs/descriptions.md).
class HyperConnectionEntries {
public:
  explicit HyperConnectionEntries(const ::mhc::HyperConnectionKind &kind)
      : kind(kind), n(kind.hc.n), C(kind.hiddenSize), depth(kind.chain ? kind.depth : 0),
        stream(tensorDtype(kind.dtype)), narrow(kind.dtype == ::mhc::Dtype::fp64 ? "f64" : "f32") {
    if (kind.hc.convention.layoutTCn)
      x = {T, C, n};
    else
      x = {T, n, C};
    int64_t rows = kind.hc.phiRows(C), columns = kind.hc.phiColumns();
    phi = kind.hc.convention.phiTransposed ? Json{columns, rows} : Json{rows, columns};
  }

  Json build() {
    const ::mhc::Convention &c = kind.hc.convention;
    Tensors in, out, backIn, backOut;
    forwardInputs(in);
    out.addStacked(depth, "u", stream, {T, C});
    if (!kind.chain)
      out.addStacked(0, "h_pre", narrow, {T, n})
          .addStacked(0, "h_post", narrow, {T, n})
          .addStacked(0, "h_res", narrow, {T, n, n});
    out.addStacked(0, "x_next", stream, x);

    forwardInputs(backIn);
    backIn.addStacked(depth, "du", stream, {T, C}).addStacked(0, "dx_next", stream, x);
    if (c.delayed && !kind.chain)
      backIn.addStacked(0, "dh_pre", narrow, {T, n});
    backOut.addStacked(0, "dx", stream, x).addStacked(depth, "df", stream, {T, C});
    parameters(backOut, "d");
    if (c.delayed && !kind.chain)
      backOut.addStacked(0, "dh_pre_in", narrow, {T, n});
    Json symbols = {"T"};
    return {{"forward", {{"symbols", symbols}, {"inputs", in.list}, {"outputs", out.list}}},
            {"backward", {{"symbols", symbols}, {"inputs", backIn.list}, {"outputs", backOut.list}}}};
  }

private:
  void forwardInputs(Tensors &list) {
    list.addStacked(0, "x", stream, x).addStacked(depth, "f", stream, {T, C});
    parameters(list, "");
    if (kind.hc.convention.delayed && !kind.chain)
      list.addStacked(0, "h_pre_in", narrow, {T, n});
  }

  void parameters(Tensors &list, const std::string &prefix) {
    auto add = [&](const std::string &name, const Json &shape) {
      list.addStacked(depth, (prefix + name).c_str(), narrow, shape);
    };
    add("phi", phi);
    add("alpha", {3});
    add("bias", {kind.hc.biasSize()});
    if (kind.hc.convention.normWeight)
      add("norm_weight", {kind.hc.phiRows(C)});
    if (kind.hc.convention.fBias)
      add("f_bias", {C});
  }

  const ::mhc::HyperConnectionKind &kind;
  const int64_t n, C, depth;
  const char *stream, *narrow;
  const Json T = {{"T", 1}};
  Json x, phi;
};
} // namespace

namespace {
/// moe_router and moe_layer (docs/descriptions.md).
class MoeEntries {
public:
  explicit MoeEntries(const ::mhc::MoeRouterKind &kind)
      : kind(kind), C(kind.hiddenSize), E(kind.numExperts), k(kind.numExpertsPerTok), I(kind.moeIntermediateSize),
        stream(tensorDtype(kind.dtype)), compute(kind.dtype == ::mhc::Dtype::fp64 ? "f64" : "f32") {}

  Json build() {
    const int64_t losses = kind.router.losses.size();
    Tensors in, out, backIn, backOut;
    inputs(in);
    inputs(backIn);
    if (kind.layer) {
      out.addStacked(0, "y", stream, {T, C});
      backIn.addStacked(0, "dy", stream, {T, C});
    } else {
      out.addStacked(0, "logits", compute, {T, E});
      backIn.addStacked(0, "dweight", compute, {T, k});
    }
    out.addStacked(0, "index", "i32", {T, k}).addStacked(0, "weight", compute, {T, k}).addStacked(0, "counts", "i32", {E});
    if (!kind.layer)
      out.addStacked(0, "offsets", "i32", {E + 1}).addStacked(0, "gather", "i32", Json::array({{{"T", k}}})).addStacked(0, "reverse", "i32", {T, k});
    out.addStacked(0, "losses", compute, Json::array({losses}));
    backIn.addStacked(0, "dlosses", compute, Json::array({losses}));
    backOut.addStacked(0, "dx", stream, {T, C});
    weights(backOut, "d", compute, compute);
    if (!kind.layer)
      backOut.addStacked(0, "dlogits", compute, {T, E});
    Json entries = {{"forward", entry(in, out)}, {"backward", entry(backIn, backOut)}};
    if (kind.router.expertBiasRate) {
      Tensors before, after;
      before.addStacked(0, "expert_bias", compute, Json::array({E})).addStacked(0, "counts", "i32", Json::array({E}));
      after.addStacked(0, "expert_bias", compute, Json::array({E}));
      entries["update_bias"] = {{"symbols", Json::array()}, {"inputs", before.list}, {"outputs", after.list}};
    }
    return entries;
  }

private:
  Json entry(const Tensors &in, const Tensors &out) {
    Json json = {{"symbols", {"T"}}, {"inputs", in.list}, {"outputs", out.list}};
    if (kind.sequenceLength)
      json["multiples"] = {{"T", *kind.sequenceLength}};
    return json;
  }

  void inputs(Tensors &list) {
    list.addStacked(0, "x", stream, {T, C});
    weights(list, "", compute, stream);
    if (kind.router.expertBiasRate)
      list.addStacked(0, "expert_bias", compute, Json::array({E}));
    if (needsPreviousCounts(kind.router))
      list.addStacked(0, "previous_counts", "i64", Json::array({E}));
  }

  void weights(Tensors &list, const std::string &prefix, const char *router, const char *experts) {
    auto add = [&](const char *name, const char *type, const Json &shape) { list.addStacked(0, (prefix + name).c_str(), type, shape); };
    add("router", router, {C, E});
    if (!kind.layer)
      return;
    add("w_gate", experts, {E, C, I});
    add("w_up", experts, {E, C, I});
    add("w_down", experts, {E, I, C});
    if (int64_t s = kind.nSharedExperts * I) {
      add("shared_gate", experts, {C, s});
      add("shared_up", experts, {C, s});
      add("shared_down", experts, {s, C});
    }
  }

  const ::mhc::MoeRouterKind &kind;
  const int64_t C, E, k, I;
  const char *stream, *compute;
  const Json T = {{"T", 1}};
};
} // namespace

/// Tokens of an entry: [B, S + shift].
static Json tokensEntry(int64_t shift, const Json &outputs, bool gradients) {
  Json length = {{"S", 1}};
  if (shift)
    length["1"] = shift;
  Json entry = {{"symbols", {"B", "S"}}, {"derived", Json::array({{"T", "B", "S"}})}};
  entry["inputs"] = Json::array({{{"name", "tokens"}, {"dtype", "i32"}, {"shape", Json::array({{{"B", 1}}, length})}}});
  entry["outputs"] = outputs;
  entry["parameters"] = true;
  if (gradients)
    entry["gradients"] = true;
  return entry;
}

/// Groups of the arena: the range of all tensors of a name.
static const char *groupName(const ::mhc::UpdateRule &rule) {
  if (rule.optimizer != ::mhc::OptimizerKind::adamw)
    return ::mhc::name(rule.optimizer);
  return rule.decay != 0 ? "decay" : "no_decay";
}

static Json updateRule(const ::mhc::ParameterArena::Tensor &tensor, ::mhc::NormScope scope) {
  const ::mhc::UpdateRule &rule = tensor.info.update;
  Json json = {{"kind", ::mhc::name(rule.optimizer)}, {"rate", rule.rate}, {"decay", rule.decay}};
  if (rule.isSphere())
    json["norm_scope"] = ::mhc::name(tensor.info.stack.empty() ? ::mhc::NormScope::matrix : scope);
  return json;
}

static Json states(const ::mhc::ParameterArena::Tensor &tensor) {
  const ::mhc::UpdateRule &rule = tensor.info.update;
  Json json = Json::object();
  if (rule.isMuon()) {
    json["momentum"] = tensor.state;
  } else {
    json["exp_avg"] = tensor.state;
    json["exp_avg_sq"] = tensor.state;
  }
  if (rule.isSphere())
    json["radius"] = tensor.radius;
  return json;
}

/// What entry `monitor` says (docs/metrics.md), a row a sublayer or block.
static Json monitorOutputs(const ::mhc::LanguageModel &model) {
  Tensors list;
  const int64_t blocks = model.numHiddenLayers, sublayers = 2 * blocks, n = model.residual.n;
  list.addStacked(blocks, "attention_z", "f32", Json::array());
  if (int64_t experts = ::mhc::expertBlocks(model))
    list.addStacked(experts, "router_z", "f32", Json::array());
  for (const char *name : {"output_rms", "output_outliers", "stream_rms", "stream_outliers"})
    list.addStacked(sublayers, name, "f32", Json::array());
  if (model.residual.topology != ::mhc::Topology::residual)
    for (const char *name : {"mixing", "composite"})
      list.addStacked(sublayers, (name + std::string("_gains")).c_str(), "f32", Json::array({3}))
          .addStacked(sublayers, (name + std::string("_mean")).c_str(), "f32", Json::array({n, n}));
  return list.list;
}

/// Three numbers of each matrix, or of each of a stack.
static Json weightChangeOutputs(const ::mhc::ParameterArena &arena) {
  Tensors list;
  for (const ::mhc::WeightMatrices &watched : ::mhc::weightMatrices(arena))
    for (const char *what : {"squares.", "product.", "change."})
      list.addStacked(watched.count, (what + watched.name).c_str(), "f32", Json::array());
  return list.list;
}

static void addLanguageModel(const ::mhc::LanguageModel &model, Json &manifest) {
  ::mhc::ParameterArena arena = ::mhc::layOutParameters(model);
  manifest["parameters"] = Json::parse(::mhc::parameterReport(model));
  Json groups = {{"decay", {0, 0}}, {"no_decay", {0, 0}}};
  for (const ::mhc::UpdateBatch &batch : arena.batches) { // in the order of the arena
    const char *name = groupName(batch.rule);
    int64_t end = (batch.begin + batch.elements + 63) / 64 * 64;
    Json &range = groups[name];
    range = {range.is_null() || range[1] == 0 ? batch.begin : range[0].get<int64_t>(), end};
  }
  if (groups["no_decay"][1] == 0)
    groups["no_decay"] = {groups["decay"][1], groups["decay"][1]};
  manifest["arenas"] = {{"parameters", arena.elements},
                        {"exp_avg", arena.adamElements},
                        {"exp_avg_sq", arena.adamElements},
                        {"momentum", arena.momentumElements},
                        {"radius", arena.radiusElements},
                        {"previous", arena.elements},
                        {"groups", groups}};
  const int64_t experts = ::mhc::expertBlocks(model), losses = model.router.losses.size();
  if (experts) // for each block the experts' counts, and the choices that were dropped
    manifest["arenas"]["expert_counts"] = experts * (model.nRoutedExperts + 1);
  Json &tensors = manifest["tensors"] = Json::array();
  for (const ::mhc::ParameterArena::Tensor &tensor : arena.tensors) {
    const bool state = tensor.offset >= arena.stateBegin;
    Json json = {{"name", tensor.info.name},
                 {"shape", tensor.info.shape},
                 {"role", ::mhc::name(tensor.info.role)},
                 {"offset", tensor.offset},
                 {"group", state ? "state" : groupName(tensor.info.update)}};
    if (!tensor.info.stack.empty())
      json["stack"] = tensor.info.stack;
    if (!state) {
      json["update"] = updateRule(tensor, model.training.optimizer.normScope);
      json["states"] = states(tensor);
    }
    json["init"] = initialValue(tensor.info.init);
    tensors.push_back(std::move(json));
  }
  if (!arena.stacks.empty()) {
    Json &stacks = manifest["stacks"] = Json::array();
    for (const ::mhc::ParameterArena::Stack &stack : arena.stacks)
      stacks.push_back({{"name", stack.name}, {"shape", stack.shape}, {"offset", stack.offset}});
  }
  manifest["model"] = {{"vocab_size", model.vocabSize}, {"max_position_embeddings", model.maxPositionEmbeddings}};
  if (experts)
    manifest["model"]["experts"] = {{"blocks", experts}, {"count", model.nRoutedExperts}};
  if (model.topk.size() > 1) {
    Json &until = manifest["model"]["phases"] = Json::array();
    for (size_t i = 0; i + 1 < model.topk.size(); ++i)
      until.push_back(*model.topk[i].until);
  }
  manifest["multipliers"] = {{"residual_branches", model.branchScale}, {"logits", ::mhc::logitsMultiplier(model)}};
  manifest["training"] = Json::parse(::mhc::resolvedTraining(model));

  Json one = Json::array({1});
  Json loss = {{"name", "loss"}, {"dtype", "f32"}, {"shape", one}},
       crossEntropy = {{"name", "cross_entropy"}, {"dtype", "f32"}, {"shape", one}};
  Json logits = {
      {"name", "logits"}, {"dtype", "f32"}, {"shape", Json::array({{{"B", 1}}, {{"S", 1}}, model.vocabSize})}};
  Json &entries = manifest["entries"] = Json::object();
  entries["init"] = {{"symbols", Json::array()},
                     {"inputs", Json::array({{{"name", "seed"}, {"dtype", "i64"}, {"shape", one}}})},
                     {"outputs", Json::array()}};
  Json training = Json::array({loss, crossEntropy});
  if (experts)
    training.push_back({{"name", "expert_counts"}, {"dtype", "i32"}, {"shape", {experts, model.nRoutedExperts}}});
  if (experts && losses)
    training.push_back({{"name", "balance_losses"}, {"dtype", "f32"}, {"shape", {experts, losses}}});
  entries["forward"] = tokensEntry(0, Json::array({logits}), false);
  entries["loss_and_gradients"] = tokensEntry(1, training, true);
  entries["eval"] = tokensEntry(1, Json::array({crossEntropy}), false);
  if (model.topk.size() > 1) // without it: the last phase
    for (const char *name : {"forward", "loss_and_gradients", "eval", "monitor"})
      entries[name]["inputs"].push_back({{"name", "phase"}, {"dtype", "i32"}, {"shape", one}, {"scalar", 20}, {"below", model.topk.size()}, {"optional", name != std::string("loss_and_gradients")}});
  entries["monitor"] = tokensEntry(0, monitorOutputs(model), false);
  if (model.residual.topology != ::mhc::Topology::residual)
    entries["monitor"]["inputs"].push_back({{"name", "first"}, {"dtype", "i32"}, {"shape", one}, {"scalar", 21}, {"below", 2 * model.numHiddenLayers}, {"optional", true}, {"otherwise", 0}});
  // States of these live in the runtime: neither parameters nor gradients are the caller's.
  entries["weight_change"] = {{"symbols", Json::array()}, {"inputs", Json::array()}, {"outputs", weightChangeOutputs(arena)}};
  entries["train_step"] = tokensEntry(1, Json::array(), false);
  entries["train_step"].erase("parameters");
}

/// Kind optimizer: entry `step`. What goes into its scalars is in `optimizer`.
static void addOptimizer(const ::mhc::OptimizerStepKind &kind, Json &manifest) {
  const ::mhc::UpdateRule rule{kind.optimizer};
  manifest["optimizer"] = {{"kind", ::mhc::name(kind.optimizer)}, {"betas", kind.betas}, {"eps", kind.eps}, {"weight_decay", kind.weightDecay}};
  Tensors in, out;
  Json one = Json::array({1});
  in.addStacked(0, "w", "f32", kind.shape).addStacked(0, "g", "f32", kind.shape);
  out.addStacked(0, "w", "f32", kind.shape);
  std::vector<const char *> states = rule.isMuon() ? std::vector<const char *>{"momentum"} : std::vector<const char *>{"exp_avg", "exp_avg_sq"};
  for (const char *state : states) {
    in.addStacked(0, state, "f32", kind.shape);
    out.addStacked(0, state, "f32", kind.shape);
  }
  if (rule.isSphere())
    in.addStacked(0, "radius", "f32", kind.normOfEach() ? Json::array({kind.shape[0]}) : one);
  in.addStacked(0, "lr", "f32", one).addStacked(0, "step", "i64", one);
  manifest["entries"] = {{"step", {{"symbols", Json::array()}, {"inputs", in.list}, {"outputs", out.list}}}};
}

std::string mlir::mhc::manifestHeader(const ::mhc::Description &description) {
  Json manifest = Json::object();
  if (auto *kind = std::get_if<::mhc::HyperConnectionKind>(&description.value)) {
    manifest["kind"] = kind->chain ? "hyper_connection_chain" : "hyper_connection";
    manifest["dtype"] = dtypeName(kind->dtype);
    manifest["entries"] = HyperConnectionEntries(*kind).build();
  } else if (auto *model = std::get_if<::mhc::LanguageModel>(&description.value)) {
    manifest["kind"] = "language_model";
    manifest["dtype"] = dtypeName(model->dtype);
    addLanguageModel(*model, manifest);
  } else if (auto *moe = std::get_if<::mhc::MoeRouterKind>(&description.value)) {
    manifest["kind"] = moe->layer ? "moe_layer" : "moe_router";
    manifest["dtype"] = dtypeName(moe->dtype);
    manifest["entries"] = MoeEntries(*moe).build();
  } else {
    manifest["kind"] = "optimizer";
    manifest["dtype"] = "fp32";
    addOptimizer(std::get<::mhc::OptimizerStepKind>(description.value), manifest);
  }
  return manifest.dump();
}
