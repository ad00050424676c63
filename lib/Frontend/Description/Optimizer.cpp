//===- Optimizer.cpp - kind optimizer -------------------------------------===//

#include "Kinds.h"

namespace mhc {

const Word<OptimizerKind> optimizerWords[4] = {{"adamw", OptimizerKind::adamw},
                                               {"muon", OptimizerKind::muon},
                                               {"muonh", OptimizerKind::muonh},
                                               {"adamh", OptimizerKind::adamh}};
const Word<NormScope> normScopeWords[3] = {
    {"matrix", NormScope::matrix}, {"expert", NormScope::expert}, {"stack", NormScope::stack}};

void readOptimizerKind(Object &object, OptimizerStepKind &out) {
  object.only({"kind", "optimizer", "shape", "norm_scope", "betas", "eps", "nesterov", "weight_decay"},
              {{"learning_rate", "'training.optimizer' of a language_model (here it is the input 'lr')"}});
  object.require({"optimizer", "shape", "betas", "eps"});
  object.read("optimizer", out.optimizer, optimizerWords);
  object.read("shape", out.shape, 1, std::numeric_limits<int64_t>::max());
  object.read("norm_scope", out.normScope, normScopeWords);
  object.read("betas", out.betas, interval::beta);
  object.read("eps", out.eps, interval::notNegative);
  object.read("nesterov", out.nesterov);
  object.read("weight_decay", out.weightDecay, interval::notNegative);
  if (object.failed())
    return;

  const bool muon = out.optimizer == OptimizerKind::muon || out.optimizer == OptimizerKind::muonh;
  const bool sphere = out.optimizer == OptimizerKind::muonh || out.optimizer == OptimizerKind::adamh;
  const std::string name = std::string("optimizer '") + spell(optimizerWords, out.optimizer) + "'";
  const size_t rank = out.shape.size();
  if (rank < (out.optimizer == OptimizerKind::adamw ? 1 : 2) || rank > 3)
    object.failAt("shape", object.quoted("shape") + ": expected " +
                               (out.optimizer == OptimizerKind::adamw ? "1, 2 or 3" : "2 or 3") + " dimensions with " +
                               name + ", but got " + std::to_string(rank));
  int64_t elements = 1;
  for (int64_t size : out.shape)
    elements = mulSizes(elements, size);
  if (elements > maxElements)
    object.failAt("shape", object.quoted("shape") + ": more than 2^60 elements");
  if (out.betas.size() != (muon ? 1 : 2))
    object.failAt("betas", object.quoted("betas") + ": expected " + (muon ? "1 number" : "2 numbers") + " with " +
                               name + ", but got " + std::to_string(out.betas.size()));
  if (!sphere)
    object.refuse("norm_scope", "does not apply to " + name);
  else if (rank != 3)
    object.refuse("norm_scope", "does not apply to a shape of 2 dimensions, which has one norm");
  if (!muon)
    object.refuse("nesterov", "does not apply to " + name);
  if (sphere)
    object.refuse("weight_decay", "does not apply to " + name + ", which keeps the norm");
}

} // namespace mhc
