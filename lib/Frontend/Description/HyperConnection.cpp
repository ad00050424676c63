//===- HyperConnection.cpp - kinds hyper_connection and ..._chain ---------===//

#include "Kinds.h"

namespace mhc {

static const Word<Topology> kernelTopologies[] = {{"mhc", Topology::mhc}, {"hc", Topology::hc}};
static const Word<Topology> modelTopologies[] = {
    {"residual", Topology::residual}, {"hc", Topology::hc}, {"mhc", Topology::mhc}};
static const Word<Preset> presets[] = {{"paper", Preset::paper},
                                       {"deepseek-v4", Preset::deepseekV4},
                                       {"deepseek-v4.1", Preset::deepseekV41},
                                       {"transformer-engine", Preset::transformerEngine},
                                       {"liger", Preset::liger}};
static const Word<ManifoldKind> manifolds[] = {
    {"birkhoff", ManifoldKind::birkhoff},     {"permutation_hull", ManifoldKind::permutationHull},
    {"orthogonal", ManifoldKind::orthogonal}, {"sphere", ManifoldKind::sphere},
    {"simplex", ManifoldKind::simplex},       {"unconstrained", ManifoldKind::unconstrained},
    {"identity", ManifoldKind::identity}};
static const Word<Mapping> mappings[] = {
    {"dynamic", Mapping::dynamic}, {"static", Mapping::constant}, {"fixed", Mapping::fixed}};
static const Word<Convention::Sinkhorn::Start> starts[] = {
    {"exp", Convention::Sinkhorn::exp}, {"softmax", Convention::Sinkhorn::softmax}, {"log", Convention::Sinkhorn::log}};
static const Word<Convention::Sinkhorn::Denominator> denominators[] = {{"none", Convention::Sinkhorn::none},
                                                                       {"add_eps", Convention::Sinkhorn::addEps},
                                                                       {"max_eps", Convention::Sinkhorn::maxEps}};
static const Word<bool> resApplications[] = {{"HX", false}, {"HTX", true}};
static const Word<bool> firstOver[] = {{"outputs", false}, {"inputs", true}};
static const Word<bool> rmsForms[] = {{"rsqrt_mean_plus_eps", false}, {"inverse_of_root_plus_eps", true}};
static const Word<bool> coefficientDtypes[] = {{"fp32", false}, {"bf16", true}};
static const Word<bool> layouts[] = {{"TnC", false}, {"TCn", true}};
static const Word<bool> phiLayouts[] = {{"km", false}, {"mk", true}};
static const Word<bool> preSources[] = {{"same", false}, {"delayed", true}};

const Word<Dtype> dtypeWords[3] = {{"bf16", Dtype::bf16}, {"fp32", Dtype::fp32}, {"fp64", Dtype::fp64}};

int64_t HyperConnection::phiColumns() const {
  if (topology == Topology::hc)
    return n + 2;
  return manifold.kind == ManifoldKind::identity ? 2 * n : n * n + 2 * n;
}
int64_t HyperConnection::phiRows(int64_t hiddenSize) const {
  return topology == Topology::hc ? hiddenSize : mulSizes(n, hiddenSize);
}
int64_t HyperConnection::biasSize() const {
  return topology == Topology::mhc && manifold.kind == ManifoldKind::identity ? 2 * n : n * n + 2 * n;
}

/// What a preset sets beside preset paper's values, which are the defaults.
static void applyPreset(Preset preset, Convention &convention) {
  auto softmaxWithEps = [&] {
    convention.sinkhorn.start = Convention::Sinkhorn::softmax;
    convention.sinkhorn.denominator = Convention::Sinkhorn::addEps;
    convention.sinkhorn.eps = 1e-6;
  };
  switch (preset) {
  case Preset::paper:
    return;
  case Preset::deepseekV41:
    convention.delayed = true;
    [[fallthrough]];
  case Preset::deepseekV4:
    softmaxWithEps();
    convention.transposedRes = true;
    convention.preEps = 1e-6;
    convention.phiTransposed = true;
    return;
  case Preset::transformerEngine:
    convention.layoutTCn = true;
    convention.transposedRes = true;
    convention.sinkhorn.start = Convention::Sinkhorn::log;
    convention.rms.eps = 1.1920929e-7;
    convention.phiTransposed = true;
    return;
  case Preset::liger:
    softmaxWithEps();
    convention.sinkhorn.firstOverInputs = true;
    return;
  }
}

/// A name, or an object with a kind and the sphere's numbers.
static void readManifold(Object &object, HyperConnection &hc) {
  const json::Value *value = object.find("manifold");
  if (!value)
    return;
  if (value->kind != json::Value::Kind::object) {
    object.readWord(*value, "manifold", hc.manifold.kind, manifolds);
  } else {
    Object manifold = object.object("manifold");
    manifold.only({"kind", "radius", "eps"});
    manifold.require({"kind"});
    manifold.read("kind", hc.manifold.kind, manifolds);
    if (hc.manifold.kind != ManifoldKind::sphere && !object.failed())
      for (const char *key : {"radius", "eps"})
        manifold.refuse(key, std::string("does not apply to manifold '") + spell(manifolds, hc.manifold.kind) + "'");
    manifold.read("radius", hc.manifold.radius, interval::positive, /*nullable=*/false);
    manifold.read("eps", hc.manifold.eps, interval::notNegative);
  }
  if (hc.manifold.kind == ManifoldKind::permutationHull && hc.n > 4)
    object.failAt("manifold",
                  object.quoted("manifold") + ": manifold 'permutation_hull' needs 'hc_mult' of at most 4, but got " +
                      std::to_string(hc.n),
                  "it weighs every permutation of the streams");
}

/// Reads what is written of `convention` over the preset's values, without asking whether it has an effect.
static void readConvention(Object &convention, Object &sinkhorn, Object &rms, Object &mapping, bool fp64, Convention &out) {
  convention.only({"res_application", "sinkhorn", "rms", "norm_weight", "pre_eps", "post_scale", "coefficient_dtype",
                   "layout", "phi_layout", "pre_source", "f_bias", "mappings"});
  convention.read("res_application", out.transposedRes, resApplications);
  convention.read("norm_weight", out.normWeight);
  convention.read("pre_eps", out.preEps, interval::notNegative);
  convention.read("post_scale", out.postScale);
  convention.read("coefficient_dtype", out.bf16Coefficients, coefficientDtypes);
  convention.read("layout", out.layoutTCn, layouts);
  convention.read("phi_layout", out.phiTransposed, phiLayouts);
  convention.read("pre_source", out.delayed, preSources);
  convention.read("f_bias", out.fBias);

  sinkhorn.only({"first_over", "start", "denominator", "iterations", "eps"});
  sinkhorn.read("first_over", out.sinkhorn.firstOverInputs, firstOver);
  sinkhorn.read("start", out.sinkhorn.start, starts);
  sinkhorn.read("denominator", out.sinkhorn.denominator, denominators);
  sinkhorn.read("iterations", out.sinkhorn.iterations, 1);
  sinkhorn.read("eps", out.sinkhorn.eps, interval::notNegative);

  rms.only({"form", "eps"});
  rms.read("form", out.rms.inverseOfRootPlusEps, rmsForms);
  rms.read("eps", out.rms.eps, fp64 ? interval::positive : interval::positiveFp32);

  mapping.only({"pre", "post", "res"});
  mapping.read("pre", out.pre, mappings);
  mapping.read("post", out.post, mappings);
  mapping.read("res", out.res, mappings);
}

/// A knob that is written and changes nothing is a misunderstanding; a preset's own values cannot be one.
static void refuseWithoutEffect(Object &object, Object &convention, Object &sinkhorn, Object &mapping,
                                const HyperConnection &hc, bool readoutHead) {
  const Convention &c = hc.convention;
  const bool constrained = hc.topology == Topology::mhc;
  const ManifoldKind kind = hc.manifold.kind;
  const std::string noEffect = "has no effect ";
  if (c.res == Mapping::fixed) {
    const std::string why = noEffect + "with mappings.res 'fixed': the residual mapping is the identity";
    object.refuse("manifold", why);
    convention.refuse("sinkhorn", why);
    convention.refuse("res_application", why);
  }
  if (constrained && kind == ManifoldKind::identity) {
    const std::string why = noEffect + "with manifold 'identity'";
    mapping.refuse("res", why);
    convention.refuse("res_application", why);
  }
  if (constrained && kind != ManifoldKind::birkhoff)
    convention.refuse("sinkhorn",
                      noEffect + "with manifold '" + spell(manifolds, kind) + "': it belongs to 'birkhoff'");

  if (c.sinkhorn.start == Convention::Sinkhorn::log && c.sinkhorn.denominator != Convention::Sinkhorn::none) {
    const char *key = sinkhorn.has("start") ? "start" : "denominator";
    sinkhorn.failAt(key, sinkhorn.quoted(key) + ": start 'log' goes with denominator 'none' only, but got '" +
                             spell(denominators, c.sinkhorn.denominator) + "'");
  }
  if (c.sinkhorn.start != Convention::Sinkhorn::softmax && c.sinkhorn.denominator == Convention::Sinkhorn::none)
    sinkhorn.refuse("eps", noEffect + "with start '" + spell(starts, c.sinkhorn.start) + "' and denominator 'none'");

  // The learned readout takes its eps and its root mean square from the convention, too.
  if (c.pre == Mapping::fixed && !readoutHead)
    convention.refuse("pre_eps", noEffect + "with mappings.pre 'fixed'");
  if (c.post == Mapping::fixed)
    convention.refuse("post_scale", noEffect + "with mappings.post 'fixed'");
  if (c.pre != Mapping::dynamic && c.post != Mapping::dynamic && c.res != Mapping::dynamic) {
    const std::string why = noEffect + "when no mapping is dynamic";
    if (!readoutHead)
      convention.refuse("rms", why);
    convention.refuse("norm_weight", why);
    convention.refuse("phi_layout", why);
  }
}

void readHyperConnection(Object &object, HyperConnection &hc, bool fp64, bool ofLanguageModel) {
  if (ofLanguageModel) {
    hc.topology = Topology::residual;
    object.read("topology", hc.topology, modelTopologies);
    if (hc.topology == Topology::residual) {
      hc.n = 1;
      for (const char *key : {"hc_mult", "preset", "convention", "manifold", "readout"})
        object.refuse(key, "does not apply to topology 'residual'");
      return;
    }
  } else {
    object.read("topology", hc.topology, kernelTopologies);
  }
  object.read("hc_mult", hc.n, 1, 8);

  const json::Value *preset = object.find("preset");
  if (hc.topology == Topology::hc) {
    const std::string why = "does not apply to topology 'hc'";
    object.refuse("preset", why);
    object.refuse("manifold", why);
  } else if (preset && preset->kind == json::Value::Kind::string && preset->text == "hc") {
    object.mistake(*preset, object.join("preset"), "the name of a preset", "'hc' is a topology");
  } else {
    object.read("preset", hc.preset, presets);
    applyPreset(hc.preset, hc.convention);
    readManifold(object, hc);
  }

  Object convention = object.object("convention");
  Object sinkhorn = convention.object("sinkhorn"), rms = convention.object("rms"),
         mapping = convention.object("mappings");
  if (hc.topology == Topology::hc) {
    const std::string why = "does not apply to topology 'hc'";
    for (const char *key : {"sinkhorn", "pre_eps", "post_scale"})
      convention.refuse(key, why);
    if (ofLanguageModel)
      for (const char *key : {"res_application", "layout", "phi_layout", "pre_source", "mappings"})
        convention.refuse(key, why + " of a language model");
  }
  readConvention(convention, sinkhorn, rms, mapping, fp64, hc.convention);
  if (object.failed())
    return;

  bool readoutHead = false;
  if (ofLanguageModel) {
    const json::Value *readout = object.find("readout");
    readoutHead = readout ? readout->kind == json::Value::Kind::string && readout->text == "head"
                          : hc.topology == Topology::mhc && hc.preset == Preset::deepseekV4;
  }
  refuseWithoutEffect(object, convention, sinkhorn, mapping, hc, readoutHead);
}

void readHyperConnectionKind(Object &object, HyperConnectionKind &out, bool chain) {
  if (!chain)
    object.refuse("depth", "does not apply to kind 'hyper_connection': it is a field of 'hyper_connection_chain'");
  object.only({"kind", "hidden_size", "hc_mult", "dtype", "topology", "preset", "convention", "manifold", "depth"},
              {{"readout", "'residual' of a language_model"}, {"branch_scale", "'residual' of a language_model"}});
  object.require({"hidden_size"});
  object.read("hidden_size", out.hiddenSize, 1);
  object.read("dtype", out.dtype, dtypeWords);
  out.chain = chain;
  if (chain) {
    object.require({"depth"});
    object.read("depth", out.depth, 1, maxBlocks);
  }
  readHyperConnection(object, out.hc, out.dtype == Dtype::fp64, /*ofLanguageModel=*/false);
  if (object.failed())
    return;
  int64_t phi = mulSizes(out.hc.phiRows(out.hiddenSize), out.hc.phiColumns());
  if (mulSizes(phi, out.depth) > maxElements)
    object.failAt("hidden_size", object.quoted("hidden_size") + ": too large, phi would have more than 2^60 elements");
}

} // namespace mhc
