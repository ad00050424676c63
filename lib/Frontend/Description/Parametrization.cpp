//===- Parametrization.cpp - who updates which parameter -----------------------===//
//
// math.md 2.1 (groups), 2.2 (multipliers). Everything goes by typed roles and sizes, never by names.
//
//===----------------------------------------------------------------------===//

#include "Kinds.h"

#include <cmath>

namespace mhc {

using Parametrization = Training::Parametrization;

const char *name(OptimizerKind kind) { return spell(optimizerWords, kind); }
const char *name(NormScope scope) { return spell(normScopeWords, scope); }

//===----------------------------------------------------------------------===//
// Rules
//===----------------------------------------------------------------------===//

/// What math.md calls hidden weights: all matrices inside the blocks.
static bool isHiddenGroup(Role role) {
  switch (role) {
  case Role::hidden:
  case Role::router:
  case Role::expert:
  case Role::attentionGate:
    return true;
  case Role::embedding:
  case Role::head:
  case Role::gain:
  case Role::hyperConnection:
  case Role::readout:
  case Role::bias:
    return false;
  }
  return false;
}

double logitsMultiplier(const LanguageModel &model) {
  const Parametrization &p = model.training.parametrization;
  const bool mup = p.kind == Parametrization::mup || p.kind == Parametrization::mupPlusPlus;
  return mup ? p.baseWidth / double(model.hiddenSize) : 1;
}

UpdateRule updateRule(const LanguageModel &model, Role role, const std::vector<int64_t> &shape) {
  const Training &t = model.training;
  const Parametrization &p = t.parametrization;
  UpdateRule rule;
  if (t.optimizer.kind == OptimizerKind::adamw) { // parametrizations go with the other two
    rule.decay = isDecayed(role) ? 1 : 0;
    return rule;
  }
  const bool hidden = isHiddenGroup(role), muonh = t.optimizer.kind == OptimizerKind::muonh;
  if (hidden)
    rule.optimizer = t.optimizer.kind;
  else if (role == Role::head && muonh)
    rule.optimizer = OptimizerKind::adamh;
  const double depth = std::sqrt(p.baseDepth / double(model.numHiddenLayers));
  if (p.kind == Parametrization::hyperp || p.kind == Parametrization::mupPlusPlus)
    rule.rate *= depth;
  if (hidden && p.kind == Parametrization::hyperp) {
    const Training::Batch &b = t.batch;
    rule.rate *= std::pow(double(b.steps) * double(b.sequences) * double(b.sequenceLength) / p.baseTokens, -0.32);
  }
  if (hidden && !muonh) {
    rule.rate *= std::sqrt(double(shape[0]) / double(shape[1]));
    rule.decay = logitsMultiplier(model); // w_0 / w as well, 1 without parametrization
  }
  return rule;
}

} // namespace mhc
