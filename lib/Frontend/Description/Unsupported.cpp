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
  // Backward keeps two rows of factors an iteration, on the stack of each thread.
  return {{prefix + "convention.sinkhorn.iterations", hc.convention.sinkhorn.iterations > 500,
           "more than 500 Sinkhorn iterations"}};
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
      {"n_routed_experts", model.nRoutedExperts > 0, "a model with experts"},
      {"training.optimizer.kind", t.optimizer.kind != OptimizerKind::adamw, "an optimizer other than 'adamw'"},
      {"training.parametrization", t.parametrization.kind != Training::Parametrization::none,
       "a parametrization other than 'none'"},
      {"training.schedule.kind", t.schedule.kind == Training::Schedule::phased, "schedule 'phases'"},
      {"training.batch.ramp", t.batch.ramp.has_value(), "a batch ramp"},
  };
  for (Limit &limit : limitsOf(model.residual, "residual."))
    limits.push_back(std::move(limit));
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
