//===- Parameters.cpp - the parameters of a language model ----------------===//

#include "Kinds.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>

namespace mhc {

const char *name(Role role) {
  switch (role) {
  case Role::embedding:
    return "embedding";
  case Role::hidden:
    return "hidden";
  case Role::router:
    return "router";
  case Role::expert:
    return "expert";
  case Role::head:
    return "head";
  case Role::gain:
    return "gain";
  case Role::hyperConnection:
    return "hyper_connection";
  case Role::readout:
    return "readout";
  case Role::attentionGate:
    return "attention_gate";
  case Role::bias:
    return "bias";
  }
  return "";
}

namespace {

/// One parameter, or the like parameters of all experts of a block.
struct Tensor {
  std::string name; ///< With `copies`: "experts.*.gate_proj.weight", * being the expert's number.
  std::vector<int64_t> shape;
  Role role;
  CountTerm term;
  InitialValue init;
  int64_t copies = 1;
};

/// Lists the tensors of a model part by part. Sizes saturate, so that the list can be made, and counted, for any model.
class Lister {
public:
  explicit Lister(const LanguageModel &model) : model(model), C(model.hiddenSize) {}

  std::vector<Tensor> tensors;

  void embedding() {
    const bool small = hyperp() && !model.tieWordEmbeddings;
    add("model.embed_tokens.weight", {model.vocabSize, C}, Role::embedding, CountTerm::embedding,
        normal(small ? 1e-4 : 0.02));
  }

  void block(int64_t index) {
    prefix = "model.layers." + std::to_string(index) + ".";
    hyperConnection("hc_attn.", 2 * index);
    gain("input_layernorm.weight", C);
    if (model.mla)
      mla();
    else
      gqa();
    hyperConnection("hc_ffn.", 2 * index + 1);
    gain("post_attention_layernorm.weight", C);
    if (index < denseBlocks(model))
      swiglu("mlp.", model.intermediateSize, Role::hidden, CountTerm::ffn);
    else
      experts();
    prefix.clear();
  }

  void end() {
    const int64_t n = model.residual.n;
    if (model.residual.topology != Topology::residual && model.readout == Readout::head) {
      const int64_t rows = mulSizes(n, C);
      add("model.hc_head.fn", {n, rows}, Role::readout, CountTerm::readout, normal(1 / std::sqrt(double(rows))));
      add("model.hc_head.base", {n}, Role::readout, CountTerm::readout, constant(preBias()));
      add("model.hc_head.scale", {1}, Role::readout, CountTerm::readout, constant(0.01));
    }
    gain("model.norm.weight", C);
    if (!model.tieWordEmbeddings)
      add("lm_head.weight", {model.vocabSize, C}, Role::head, CountTerm::head, normal(0.02));
  }

private:
  const LanguageModel &model;
  const int64_t C;
  std::string prefix;

  bool hyperp() const { return model.training.parametrization.kind == Training::Parametrization::hyperp; }

  static InitialValue normal(double deviation) { return {InitialValue::normal, deviation, {}}; }
  static InitialValue constant(double value) { return {InitialValue::constant, value, {}}; }

  /// sigmoid of it is 1/n: at the start every stream gives the same share.
  double preBias() const { return model.residual.n == 1 ? 8 : -std::log(double(model.residual.n - 1)); }

  void add(const std::string &name, std::vector<int64_t> shape, Role role, CountTerm term, InitialValue init,
           int64_t copies = 1) {
    tensors.push_back({prefix + name, std::move(shape), role, term, std::move(init), copies});
  }
  void gain(const std::string &name, int64_t size) { add(name, {size}, Role::gain, CountTerm::norm, constant(1)); }
  /// A matrix of the hidden group: under hyperp its initial values go by its inputs.
  void matrix(const std::string &name, int64_t out, int64_t in, Role role, CountTerm term, int64_t copies = 1) {
    InitialValue init = hyperp() ? InitialValue{InitialValue::uniform, 1 / std::sqrt(double(in)), {}} : normal(0.02);
    add(name, {out, in}, role, term, std::move(init), copies);
  }
  void attention(const std::string &name, int64_t out, int64_t in) {
    matrix("self_attn." + name + ".weight", out, in, Role::hidden, CountTerm::attention);
  }

  void gateAndOutput(int64_t valueSize) {
    if (model.headwiseGate)
      matrix("self_attn.g_proj.weight", model.numAttentionHeads, C, Role::attentionGate, CountTerm::attentionGate);
    attention("o_proj", C, mulSizes(model.numAttentionHeads, valueSize));
  }

  void gqa() {
    const int64_t keyValues = mulSizes(model.numKeyValueHeads, model.headDim);
    attention("q_proj", mulSizes(model.numAttentionHeads, model.headDim), C);
    attention("k_proj", keyValues, C);
    attention("v_proj", keyValues, C);
    if (model.qkNorm) {
      gain("self_attn.q_norm.weight", model.headDim);
      gain("self_attn.k_norm.weight", model.headDim);
    }
    gateAndOutput(model.headDim);
  }

  void mla() {
    const int64_t heads = model.numAttentionHeads;
    const int64_t queries = mulSizes(heads, addSizes(model.qkNopeHeadDim, model.qkRopeHeadDim));
    if (model.qLoraRank) {
      attention("q_a_proj", *model.qLoraRank, C);
      gain("self_attn.q_a_layernorm.weight", *model.qLoraRank);
      attention("q_b_proj", queries, *model.qLoraRank);
    } else {
      attention("q_proj", queries, C);
    }
    attention("kv_a_proj_with_mqa", addSizes(model.kvLoraRank, model.qkRopeHeadDim), C);
    gain("self_attn.kv_a_layernorm.weight", model.kvLoraRank);
    attention("kv_b_proj", mulSizes(heads, addSizes(model.qkNopeHeadDim, model.vHeadDim)), model.kvLoraRank);
    gateAndOutput(model.vHeadDim);
  }

  void swiglu(const std::string &where, int64_t width, Role role, CountTerm term, int64_t copies = 1) {
    matrix(where + "gate_proj.weight", width, C, role, term, copies);
    matrix(where + "up_proj.weight", width, C, role, term, copies);
    matrix(where + "down_proj.weight", C, width, role, term, copies);
  }

  void experts() {
    matrix("mlp.gate.weight", model.nRoutedExperts, C, Role::router, CountTerm::router);
    swiglu("mlp.experts.*.", model.moeIntermediateSize, Role::expert, CountTerm::expert, model.nRoutedExperts);
    if (model.nSharedExperts)
      swiglu("mlp.shared_experts.", mulSizes(model.nSharedExperts, model.moeIntermediateSize), Role::hidden,
             CountTerm::shared);
  }

  /// Pre, post, then the residual matrix row by row. Each of its initial values is a multiple of the identity, so that
  /// the rows may be inputs or outputs.
  InitialValue base(int64_t sublayer) const {
    const HyperConnection &hc = model.residual;
    const int64_t n = hc.n;
    InitialValue init{InitialValue::listed, 0, {}};
    auto diagonal = [&](double value) {
      for (int64_t i = 0; i < n * n; ++i)
        init.values.push_back(i % (n + 1) == 0 ? value : 0);
    };
    if (hc.topology == Topology::hc) {
      for (int64_t i = 0; i < n; ++i)
        init.values.push_back(i == sublayer % n);
      init.values.insert(init.values.end(), n, 1);
      diagonal(1);
      return init;
    }
    init.values.assign(n, preBias());
    init.values.insert(init.values.end(), n, 0);
    switch (hc.manifold.kind) {
    case ManifoldKind::birkhoff:
    case ManifoldKind::permutationHull:
    case ManifoldKind::simplex:
      diagonal(8); // exp(8) outweighs the others: close to the identity
      break;
    case ManifoldKind::orthogonal:
      diagonal(0);
      break;
    case ManifoldKind::sphere:
    case ManifoldKind::unconstrained:
      diagonal(1);
      break;
    case ManifoldKind::identity:
      break;
    }
    return init;
  }

  void hyperConnection(const std::string &where, int64_t sublayer) {
    const HyperConnection &hc = model.residual;
    if (hc.topology == Topology::residual)
      return;
    const int64_t rows = hc.phiRows(C);
    const Role role = Role::hyperConnection;
    add(where + "fn", {hc.phiColumns(), rows}, role, CountTerm::hyperConnection, normal(1 / std::sqrt(double(rows))));
    add(where + "base", {hc.biasSize()}, role, CountTerm::base, base(sublayer));
    add(where + "scale", {3}, role, CountTerm::scale, constant(0.01));
    if (hc.convention.normWeight)
      gain(where + "norm_weight", rows);
    if (hc.convention.fBias)
      add(where + "f_bias", {C}, Role::bias, CountTerm::fBias, constant(0));
  }
};

int64_t elements(const std::vector<int64_t> &shape) {
  int64_t product = 1;
  for (int64_t size : shape)
    product = mulSizes(product, size);
  return product;
}

} // namespace

bool isDecayed(Role role) {
  switch (role) {
  case Role::embedding:
  case Role::hidden:
  case Role::router:
  case Role::expert:
  case Role::head:
  case Role::attentionGate:
    return true;
  case Role::gain:
  case Role::hyperConnection:
  case Role::readout:
  case Role::bias:
    return false;
  }
  return false;
}

ParameterCounts countParameters(const LanguageModel &model) {
  ParameterCounts counts;
  auto count = [&](const std::vector<Tensor> &tensors, int64_t times) {
    for (const Tensor &tensor : tensors) {
      int64_t &term = counts.terms[size_t(tensor.term)];
      term = addSizes(term, mulSizes(mulSizes(elements(tensor.shape), tensor.copies), times));
    }
  };
  // All dense blocks are alike in their sizes, and so are all blocks with experts.
  const int64_t dense = denseBlocks(model), blocks = model.numHiddenLayers;
  Lister ends(model), first(model), last(model);
  ends.embedding();
  ends.end();
  first.block(0);
  last.block(blocks - 1);
  count(ends.tensors, 1);
  if (dense > 0)
    count(first.tensors, dense);
  if (dense < blocks)
    count(last.tensors, blocks - dense);
  return counts;
}

std::vector<ParameterInfo> parameterTable(const LanguageModel &model) {
  std::vector<ParameterInfo> out;
  auto append = [&](const std::string &name, const Tensor &tensor) {
    out.push_back({name, tensor.shape, tensor.role, tensor.term, isDecayed(tensor.role), tensor.init,
                   tensor.role == Role::expert ? tensor.name : "", updateRule(model, tensor.role, tensor.shape)});
  };
  // The tensors of one expert follow each other, so experts are taken out of the list in one go.
  auto appendAll = [&](const std::vector<Tensor> &tensors) {
    for (size_t i = 0; i < tensors.size();) {
      size_t end = i;
      while (end < tensors.size() && tensors[end].role == Role::expert)
        ++end;
      if (end == i) {
        append(tensors[i].name, tensors[i]);
        ++i;
        continue;
      }
      for (int64_t expert = 0; expert < tensors[i].copies; ++expert)
        for (size_t j = i; j < end; ++j) {
          std::string name = tensors[j].name;
          append(name.replace(name.find('*'), 1, std::to_string(expert)), tensors[j]);
        }
      i = end;
    }
  };
  Lister embedding(model), end(model);
  embedding.embedding();
  appendAll(embedding.tensors);
  for (int64_t block = 0; block < model.numHiddenLayers; ++block) {
    Lister lister(model);
    lister.block(block);
    appendAll(lister.tensors);
  }
  end.end();
  appendAll(end.tensors);
  return out;
}

int64_t expertBlocks(const LanguageModel &model) { return model.numHiddenLayers - denseBlocks(model); }

std::vector<ParameterInfo> stateTable(const LanguageModel &model) {
  std::vector<ParameterInfo> out;
  if (!model.router.expertBiasRate)
    return out;
  for (int64_t block = denseBlocks(model); block < model.numHiddenLayers; ++block)
    out.push_back({"model.layers." + std::to_string(block) + ".mlp.gate.e_score_correction_bias",
                   {model.nRoutedExperts},
                   Role::bias,
                   CountTerm::router,
                   /*decayed=*/false,
                   InitialValue{InitialValue::constant, 0, {}},
                   biasStack,
                   {}});
  return out;
}

std::string parameterReport(const LanguageModel &model) {
  static const std::pair<const char *, CountTerm> terms[] = {
      {"embedding", CountTerm::embedding}, {"head", CountTerm::head},
      {"attention", CountTerm::attention}, {"ffn", CountTerm::ffn},
      {"expert", CountTerm::expert},       {"shared", CountTerm::shared},
      {"router", CountTerm::router},       {"hyper_connection", CountTerm::hyperConnection}};
  static const std::pair<const char *, CountTerm> others[] = {{"norm", CountTerm::norm},
                                                              {"scale", CountTerm::scale},
                                                              {"base", CountTerm::base},
                                                              {"readout", CountTerm::readout},
                                                              {"attention_gate", CountTerm::attentionGate},
                                                              {"f_bias", CountTerm::fBias}};
  using OrderedJson = nlohmann::ordered_json;
  const ParameterCounts counts = countParameters(model);
  int64_t total = 0, otherTotal = 0;
  OrderedJson termObject = OrderedJson::object(), otherObject = {{"total", 0}};
  for (const auto &[key, term] : terms) {
    total += counts[term];
    if (counts[term])
      termObject[key] = counts[term];
  }
  for (const auto &[key, term] : others) {
    otherTotal += counts[term];
    if (counts[term])
      otherObject[key] = counts[term];
  }
  otherObject["total"] = otherTotal;

  // A tied embedding is the head as well: it is used, and it is the one that "non-embedding" leaves out.
  const bool tied = model.tieWordEmbeddings;
  const int64_t head = counts[tied ? CountTerm::embedding : CountTerm::head];
  const int64_t expert = mulSizes(3, mulSizes(model.hiddenSize, model.moeIntermediateSize));
  auto activeWith = [&](const std::vector<int64_t> &k) {
    int64_t active = total - (tied ? 0 : counts[CountTerm::embedding]);
    for (int64_t block = denseBlocks(model); block < model.numHiddenLayers; ++block)
      active -= (model.nRoutedExperts - k[block]) * expert;
    return active;
  };
  const int64_t active = model.topk.empty() ? activeWith({}) : activeWith(model.topk.back().k);

  OrderedJson out;
  out["total"] = total;
  out["active"] = active;
  out["active_non_embedding"] = active - head;
  out["terms"] = std::move(termObject);
  out["other"] = std::move(otherObject);
  if (model.topk.size() > 1)
    for (const LanguageModel::TopkPhase &phase : model.topk) {
      OrderedJson p;
      if (phase.until)
        p["until"] = *phase.until;
      p["active"] = activeWith(phase.k);
      p["active_non_embedding"] = activeWith(phase.k) - head;
      out["phases"].push_back(std::move(p));
    }
  return out.dump(2);
}

} // namespace mhc
