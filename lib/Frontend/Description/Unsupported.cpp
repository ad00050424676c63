//===- Unsupported.cpp - what this version cannot compile yet -------------===//
//
// Legal descriptions that the compiler would get wrong if it tried. Each line is a field, whether it is affected, and
// what cannot be done; the version that learns it deletes the line.
//
//===----------------------------------------------------------------------===//

#include "Kinds.h"

namespace mhc {

namespace {

struct Limit {
  std::string field;
  bool affected;
  const char *what; ///< "... is not supported by this version".
};

using Limits = std::vector<Limit>;

Limits limitsOf(const HyperConnection &hc, const std::string &prefix) {
  const Convention &c = hc.convention;
  const ManifoldKind m = hc.manifold.kind;
  const std::string convention = prefix + "convention.";
  return {
      {prefix + "preset", hc.preset != Preset::paper, "a preset other than 'paper'"},
      {prefix + "manifold", m == ManifoldKind::permutationHull, "manifold 'permutation_hull'"},
      {prefix + "manifold", m == ManifoldKind::orthogonal, "manifold 'orthogonal'"},
      {prefix + "manifold", m == ManifoldKind::sphere, "manifold 'sphere'"},
      {prefix + "manifold", m == ManifoldKind::simplex, "manifold 'simplex'"},
      {convention + "res_application", c.transposedRes, "res_application 'HTX'"},
      {convention + "sinkhorn.start", c.sinkhorn.start != Convention::Sinkhorn::exp,
       "a Sinkhorn start other than 'exp'"},
      {convention + "sinkhorn.denominator", c.sinkhorn.denominator != Convention::Sinkhorn::none,
       "a Sinkhorn denominator other than 'none'"},
      {convention + "rms.form", c.rms.inverseOfRootPlusEps, "rms form 'inverse_of_root_plus_eps'"},
      {convention + "norm_weight", c.normWeight, "norm_weight"},
      {convention + "coefficient_dtype", c.bf16Coefficients, "coefficient_dtype 'bf16'"},
      {convention + "layout", c.layoutTCn, "layout 'TCn'"},
      {convention + "pre_source", c.delayed, "pre_source 'delayed'"},
      {convention + "f_bias", c.fBias, "f_bias"},
      {convention + "mappings.pre", c.pre != Mapping::dynamic, "a mapping other than 'dynamic'"},
      {convention + "mappings.post", c.post != Mapping::dynamic, "a mapping other than 'dynamic'"},
      {convention + "mappings.res", c.res != Mapping::dynamic, "a mapping other than 'dynamic'"},
  };
}

Limits limitsOf(const HyperConnectionKind &kind) { return limitsOf(kind.hc, ""); }

Limits limitsOf(const MoeRouterKind &kind) {
  return {
      {"kind", !kind.layer, "kind 'moe_router'"},
      {"kind", kind.layer, "kind 'moe_layer'"},
  };
}

Limits limitsOf(const OptimizerStepKind &) {
  return {
      {"kind", true, "kind 'optimizer'"},
  };
}

Limits limitsOf(const LanguageModel &model) {
  const Training &t = model.training;
  Limits limits = {
      {"dtype", model.dtype == Dtype::fp64, "dtype 'fp64' of a language_model"},
      {"attention", model.mla, "attention 'mla'"},
      {"attention_gate", model.headwiseGate, "attention_gate 'headwise'"},
      {"n_routed_experts", model.nRoutedExperts > 0, "a model with experts"},
      {"training.optimizer.kind", t.optimizer.kind != OptimizerKind::adamw, "an optimizer other than 'adamw'"},
      {"training.parametrization", t.parametrization.kind != Training::Parametrization::none,
       "a parametrization other than 'none'"},
      {"training.schedule.kind", t.schedule.kind == Training::Schedule::phased, "schedule 'phases'"},
      {"training.batch.ramp", t.batch.ramp.has_value(), "a batch ramp"},
  };
  if (model.residual.topology == Topology::residual)
    return limits;
  for (Limit &limit : limitsOf(model.residual, "residual."))
    limits.push_back(std::move(limit));
  limits.push_back({"residual.readout", model.readout != Readout::mean, "a readout other than 'mean'"});
  return limits;
}

} // namespace

std::optional<DescriptionError> findUnsupported(const Description &description) {
  Limits limits = std::visit([](const auto &value) { return limitsOf(value); }, description.value);
  for (const Limit &limit : limits)
    if (limit.affected)
      return DescriptionError{description.file, description.at(limit.field),
                              "'" + limit.field + "': " + limit.what + " is not supported by this version", ""};
  return std::nullopt;
}

} // namespace mhc
