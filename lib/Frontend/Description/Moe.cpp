//===- Moe.cpp - kinds moe_router and moe_layer, routers ------------------===//

#include "Kinds.h"

#include <algorithm>

namespace mhc {

bool needsPreviousCounts(const Router &router) {
  return std::any_of(router.losses.begin(), router.losses.end(), [](const BalanceLoss &loss) { return loss.kind == BalanceLoss::switchLoss && loss.scope == BalanceLoss::globalBatch; });
}

static const Word<Score> scores[] = {{"softmax_before_topk", Score::softmaxBeforeTopk},
                                     {"softmax_after_topk", Score::softmaxAfterTopk},
                                     {"sigmoid", Score::sigmoid},
                                     {"sqrt_softplus", Score::sqrtSoftplus}};
static const Word<bool> gates[] = {{"plain", false}, {"sqrt", true}};
static const Word<BalanceLoss::Kind> lossKinds[] = {
    {"switch", BalanceLoss::switchLoss}, {"top1", BalanceLoss::top1}, {"z", BalanceLoss::z}};
static const Word<BalanceLoss::Scope> scopes[] = {{"micro_batch", BalanceLoss::microBatch},
                                                  {"sequence", BalanceLoss::sequence},
                                                  {"global_batch", BalanceLoss::globalBatch}};

static void readLoss(Object &object, BalanceLoss &loss) {
  object.only({"kind", "weight", "scope", "tau"});
  object.require({"kind", "weight"});
  object.read("kind", loss.kind, lossKinds);
  object.read("weight", loss.weight);
  if (object.failed())
    return;
  const std::string why = std::string("does not apply to loss '") + spell(lossKinds, loss.kind) + "'";
  if (loss.kind != BalanceLoss::switchLoss)
    object.refuse("scope", why + ": it is a field of loss 'switch'");
  if (loss.kind != BalanceLoss::top1)
    object.refuse("tau", why + ": it is a field of loss 'top1'");
  else
    object.require({"tau"}, "loss 'top1' needs a temperature");
  object.read("scope", loss.scope, scopes);
  object.read("tau", loss.tau, interval::positive);
}

void readRouter(Object &object, Router &router, bool ofLanguageModel) {
  object.read("score", router.score, scores);
  Object groups = object.object("groups");
  groups.only({"count", "chosen"});
  groups.read("count", router.groupCount, 1);
  groups.read("chosen", router.groupsChosen, 1);
  object.read("normalize", router.normalize);
  object.read("scale", router.scale);
  object.read("gate", router.sqrtGate, gates);
  for (Object &loss : object.objects("losses"))
    readLoss(loss, router.losses.emplace_back());
  if (object.has("expert_bias")) {
    Object bias = object.object("expert_bias");
    bias.only({"rate"});
    double rate = 1e-3;
    bias.read("rate", rate, interval::notNegative);
    router.expertBiasRate = rate;
  }
  object.read("allow_constant_gate", router.allowConstantGate);
  if (ofLanguageModel)
    object.read("capacity_factor", router.capacityFactor, interval::positive, /*nullable=*/true);
}

bool checkGroups(Object &object, const Router &router, int64_t experts, const std::string &expertsField) {
  Object groups = object.object("groups");
  if (object.failed())
    return false;
  if (experts % router.groupCount != 0)
    groups.failAt("count", groups.quoted("count") + ": expected a divisor of '" + expertsField +
                               "' = " + std::to_string(experts) + ", but got " + std::to_string(router.groupCount));
  if (router.groupsChosen > router.groupCount)
    groups.failAt("chosen", groups.quoted("chosen") + ": expected at most " + groups.quoted("count") + " = " +
                                std::to_string(router.groupCount) + ", but got " + std::to_string(router.groupsChosen));
  return !object.failed();
}

void checkTopk(Reader &reader, Position at, const std::string &field, int64_t k, int64_t experts,
               const Router &router) {
  const std::string start = "'" + field + "': ", got = ", but got " + std::to_string(k);
  const int64_t perGroup = experts / router.groupCount, chosen = router.groupsChosen;
  if (k < 1)
    return reader.fail(at, start + "expected an integer of at least 1" + got);
  if (router.groupCount == 1 && k > experts)
    return reader.fail(at, start + "expected at most the number of experts, " + std::to_string(experts) + got);
  if (k % chosen != 0)
    return reader.fail(
        at, start + "expected a multiple of the chosen groups (groups.chosen = " + std::to_string(chosen) + ")" + got);
  if (k / chosen > perGroup)
    return reader.fail(at,
                       start + "expected at most " + std::to_string(perGroup * chosen) +
                           ", the experts of the chosen groups (groups.count = " + std::to_string(router.groupCount) +
                           ", groups.chosen = " + std::to_string(chosen) + ")" + got);
  const bool overSelection = router.score == Score::softmaxAfterTopk || router.normalize;
  if (k == 1 && experts > 1 && overSelection && !router.allowConstantGate)
    reader.fail(
        at,
        start + "with 1 expert a token and " +
            (router.score == Score::softmaxAfterTopk ? "'score' softmax_after_topk" : "'normalize'") +
            " the gate is the constant 1, and the router gets no gradient from the loss",
        "choose a gate that is not normalised over the selection, or allow it with \"allow_constant_gate\": true");
}

void readMoeKind(Object &object, MoeRouterKind &out, bool layer) {
  out.layer = layer;
  if (!layer)
    for (const char *key : {"moe_intermediate_size", "n_shared_experts"})
      object.refuse(key, "does not apply to kind 'moe_router': it is a field of 'moe_layer'");
  object.only({"kind", "hidden_size", "num_experts", "num_experts_per_tok", "dtype", "score", "groups", "normalize",
               "scale", "gate", "losses", "expert_bias", "sequence_length", "allow_constant_gate",
               "moe_intermediate_size", "n_shared_experts"},
              {{"capacity_factor", "'router' of a language_model"}});
  object.require({"hidden_size", "num_experts", "num_experts_per_tok", "score", "dtype"});
  object.read("hidden_size", out.hiddenSize, 1);
  object.read("num_experts", out.numExperts, 1, maxInt32);
  object.read("num_experts_per_tok", out.numExpertsPerTok, 1);
  object.read("dtype", out.dtype, dtypeWords);
  readRouter(object, out.router, /*ofLanguageModel=*/false);
  object.read("sequence_length", out.sequenceLength, 1, /*nullable=*/false);
  if (layer) {
    object.require({"moe_intermediate_size"});
    object.read("moe_intermediate_size", out.moeIntermediateSize, 1);
    object.read("n_shared_experts", out.nSharedExperts, 0);
  }
  if (object.failed())
    return;

  if (checkGroups(object, out.router, out.numExperts, "num_experts"))
    checkTopk(object.reader, object.at("num_experts_per_tok"), "num_experts_per_tok", out.numExpertsPerTok,
              out.numExperts, out.router);

  int64_t matrix = mulSizes(out.hiddenSize, layer ? out.moeIntermediateSize : 1);
  if (mulSizes(matrix, out.numExperts) > maxElements)
    object.failAt("num_experts", object.quoted("num_experts") + ": too large with 'hidden_size' = " +
                                     std::to_string(out.hiddenSize) + ": a tensor would have more than 2^60 elements");
  if (mulSizes(matrix, out.nSharedExperts) > maxElements)
    object.failAt("n_shared_experts",
                  object.quoted("n_shared_experts") + ": too large, a tensor would have more than 2^60 elements");
}

} // namespace mhc
