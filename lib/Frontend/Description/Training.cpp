//===- Training.cpp - `training` of a language model ----------------------===//

#include "Kinds.h"

#include <nlohmann/json.hpp>

namespace mhc {

using Schedule = Training::Schedule;
using Parametrization = Training::Parametrization;

static const Word<OptimizerKind> optimizers[] = {
    {"adamw", OptimizerKind::adamw}, {"muonh", OptimizerKind::muonh}, {"muon", OptimizerKind::muon}};
static const Word<Parametrization::Kind> parametrizations[] = {{"none", Parametrization::none},
                                                               {"mup", Parametrization::mup},
                                                               {"mup++", Parametrization::mupPlusPlus},
                                                               {"hyperp", Parametrization::hyperp}};
static const Word<Schedule::Kind> schedules[] = {{"constant", Schedule::constant},
                                                 {"step", Schedule::step},
                                                 {"linear", Schedule::linear},
                                                 {"cosine", Schedule::cosine},
                                                 {"phases", Schedule::phased}};
static const Word<Schedule::Phase::Shape> shapes[] = {
    {"constant", Schedule::Phase::constant}, {"linear", Schedule::Phase::linear}, {"cosine", Schedule::Phase::cosine}};

static void readOptimizer(Object &object, Training::Optimizer &out) {
  object.only({"kind", "learning_rate", "betas", "eps", "weight_decay", "momentum", "ns_eps", "norm_scope"});
  object.read("kind", out.kind, optimizers);
  object.read("learning_rate", out.learningRate, interval::notNegative);
  std::vector<double> betas{out.beta1, out.beta2};
  object.read("betas", betas, interval::beta);
  object.read("eps", out.eps, interval::notNegative);
  object.read("weight_decay", out.weightDecay, interval::notNegative);
  object.read("momentum", out.momentum, interval::beta);
  object.read("ns_eps", out.nsEps, interval::notNegative);
  object.read("norm_scope", out.normScope, normScopeWords);
  if (object.failed())
    return;
  if (betas.size() != 2)
    return object.failAt("betas",
                         object.quoted("betas") + ": expected 2 numbers, but got " + std::to_string(betas.size()));
  out.beta1 = betas[0];
  out.beta2 = betas[1];
  if (out.kind == OptimizerKind::adamw)
    for (const char *key : {"momentum", "ns_eps", "norm_scope"})
      object.refuse(key, "does not apply to optimizer 'adamw'");
  if (out.kind == OptimizerKind::muonh)
    object.refuse("weight_decay", "does not apply to optimizer 'muonh', which keeps the norms");
}

/// A name, or an object with a kind and the base sizes. `training` is where it stands.
static void readParametrization(Object &training, Training &out) {
  Parametrization &p = out.parametrization;
  const json::Value *value = training.find("parametrization");
  if (!value)
    return;
  if (value->kind != json::Value::Kind::object) {
    training.readWord(*value, "parametrization", p.kind, parametrizations);
  } else {
    Object object = training.object("parametrization");
    object.only({"kind", "base_depth", "base_width", "base_tokens"});
    object.require({"kind"});
    object.read("kind", p.kind, parametrizations);
    if (p.kind == Parametrization::none && !training.failed())
      for (const char *key : {"base_depth", "base_width", "base_tokens"})
        object.refuse(key, "does not apply to parametrization 'none'");
    object.read("base_depth", p.baseDepth, interval::positive);
    object.read("base_width", p.baseWidth, interval::positive);
    object.read("base_tokens", p.baseTokens, interval::positive);
  }
  if (training.failed() || p.kind == Parametrization::none)
    return;
  const OptimizerKind needed = p.kind == Parametrization::hyperp ? OptimizerKind::muonh : OptimizerKind::muon;
  if (out.optimizer.kind != needed)
    training.failAt("parametrization", training.quoted("parametrization") + ": parametrization '" +
                                           spell(parametrizations, p.kind) + "' needs optimizer '" +
                                           spell(optimizers, needed) + "', but got '" +
                                           spell(optimizers, out.optimizer.kind) + "'");
}

static void readSteps(Object &object, Schedule &out) {
  object.require({"at", "factors"}, "schedule 'step' needs it");
  object.read("at", out.at, interval::fraction);
  object.read("factors", out.factors, interval::notNegative);
  if (object.failed())
    return;
  if (out.at.empty())
    object.failAt("at", object.quoted("at") + ": expected at least 1 number, but got none");
  for (size_t i = 1; i < out.at.size(); ++i)
    if (out.at[i] <= out.at[i - 1])
      object.failAt("at", object.quoted("at") + ": expected increasing numbers");
  if (out.factors.size() != out.at.size())
    object.failAt("factors", object.quoted("factors") + ": expected one number for each of " + object.quoted("at") +
                                 " (" + std::to_string(out.at.size()) + "), but got " +
                                 std::to_string(out.factors.size()));
}

static void readPhases(Object &object, Schedule &out) {
  object.require({"phases"}, "schedule 'phases' needs it");
  std::vector<Object> phases = object.objects("phases");
  if (phases.empty())
    object.failAt("phases", object.quoted("phases") + ": expected at least 1 phase, but got none");
  double before = 0;
  for (Object &phase : phases) {
    Schedule::Phase &p = out.phases.emplace_back();
    phase.only({"until", "shape", "to"});
    phase.require({"until", "shape"});
    phase.read("until", p.until, {before, 1, true, false, "a number above the 'until' of the phase before, at most 1"});
    phase.read("shape", p.shape, shapes);
    if (object.failed())
      return;
    if (p.shape == Schedule::Phase::constant)
      phase.refuse("to", "does not apply to shape 'constant'");
    else
      phase.require({"to"}, std::string("shape '") + spell(shapes, p.shape) + "' needs it");
    phase.read("to", p.to, interval::notNegative, /*nullable=*/false);
    before = p.until;
  }
  if (!object.failed() && before != 1)
    phases.back().failAt("until", phases.back().quoted("until") + ": expected 1 in the last phase");
}

static void readSchedule(Object &object, Schedule &out) {
  object.only({"kind", "warmup_steps", "at", "factors", "final_fraction", "phases"});
  object.read("kind", out.kind, schedules);
  object.read("warmup_steps", out.warmupSteps, 0);
  if (object.failed())
    return;
  const bool decays = out.kind == Schedule::linear || out.kind == Schedule::cosine;
  const std::string why = std::string("does not apply to schedule '") + spell(schedules, out.kind) + "'";
  if (out.kind != Schedule::step)
    for (const char *key : {"at", "factors"})
      object.refuse(key, why);
  if (out.kind != Schedule::phased)
    object.refuse("phases", why);
  if (!decays)
    object.refuse("final_fraction", why);
  if (out.kind == Schedule::step)
    readSteps(object, out);
  if (out.kind == Schedule::phased)
    readPhases(object, out);
  if (decays) {
    object.require({"final_fraction"}, std::string("schedule '") + spell(schedules, out.kind) + "' needs it");
    object.read("final_fraction", out.finalFraction, interval::fraction);
  }
}

static void readBatch(Object &object, Training::Batch &out, int64_t maxPositions) {
  object.only({"sequences", "sequence_length", "steps", "micro_batch", "ramp"});
  object.read("sequences", out.sequences, 1, maxInt32);
  out.sequenceLength = maxPositions;
  object.read("sequence_length", out.sequenceLength, 1);
  object.read("steps", out.steps, 1);
  out.microBatch = out.sequences;
  object.read("micro_batch", out.microBatch, 1);
  if (object.failed())
    return;
  if (out.sequenceLength > maxPositions)
    object.failAt("sequence_length",
                  object.quoted("sequence_length") + ": expected at most 'max_position_embeddings' = " +
                      std::to_string(maxPositions) + ", but got " + std::to_string(out.sequenceLength));
  if (out.sequences % out.microBatch != 0)
    object.failAt("micro_batch", object.quoted("micro_batch") + ": expected a divisor of 'sequences' = " +
                                     std::to_string(out.sequences) + ", but got " + std::to_string(out.microBatch));
  if (mulSizes(mulSizes(out.sequences, out.sequenceLength), out.steps) > maxElements)
    object.failAt("steps", object.quoted("steps") + ": too large, training would read more than 2^60 tokens");
  if (object.has("ramp")) {
    Object ramp = object.object("ramp");
    Training::Batch::Ramp r;
    ramp.only({"from", "until"});
    ramp.require({"from", "until"});
    // Below one micro-batch the rounded number of sequences would be 0.
    ramp.read("from", r.from, object.has("micro_batch") ? out.microBatch : 1, out.sequences);
    ramp.read("until", r.until, interval::share);
    out.ramp = r;
  }
}

void readTraining(Object &object, LanguageModel &model) {
  Object training = object.object("training");
  training.only({"optimizer", "parametrization", "schedule", "batch", "clip"},
                {{"dtype", "the language_model"},
                 {"learning_rate", "'training.optimizer'"},
                 {"weight_decay", "'training.optimizer'"},
                 {"sequences", "'training.batch'"},
                 {"sequence_length", "'training.batch'"},
                 {"steps", "'training.batch'"},
                 {"micro_batch", "'training.batch'"}});
  Object optimizer = training.object("optimizer"), schedule = training.object("schedule"),
         batch = training.object("batch");
  readOptimizer(optimizer, model.training.optimizer);
  readParametrization(training, model.training);
  readSchedule(schedule, model.training.schedule);
  readBatch(batch, model.training.batch, model.maxPositionEmbeddings);
  training.read("clip", model.training.clip, interval::positive, /*nullable=*/true);
}

//===----------------------------------------------------------------------===//
// Written out
//===----------------------------------------------------------------------===//

using OrderedJson = nlohmann::ordered_json;

static OrderedJson resolved(const Training::Optimizer &o) {
  OrderedJson out = {{"kind", spell(optimizers, o.kind)}, {"learning_rate", o.learningRate}};
  out["betas"] = {o.beta1, o.beta2};
  out["eps"] = o.eps;
  if (o.kind != OptimizerKind::muonh)
    out["weight_decay"] = o.weightDecay;
  if (o.kind != OptimizerKind::adamw) {
    out["momentum"] = o.momentum;
    out["ns_eps"] = o.nsEps;
    out["norm_scope"] = spell(normScopeWords, o.normScope);
  }
  return out;
}

static OrderedJson resolved(const Parametrization &p) {
  if (p.kind == Parametrization::none)
    return "none";
  return {{"kind", spell(parametrizations, p.kind)},
          {"base_depth", p.baseDepth},
          {"base_width", p.baseWidth},
          {"base_tokens", p.baseTokens}};
}

static OrderedJson resolved(const Schedule &s) {
  OrderedJson out = {{"kind", spell(schedules, s.kind)}, {"warmup_steps", s.warmupSteps}};
  if (s.kind == Schedule::step) {
    out["at"] = s.at;
    out["factors"] = s.factors;
  }
  if (s.kind == Schedule::linear || s.kind == Schedule::cosine)
    out["final_fraction"] = s.finalFraction;
  for (const Schedule::Phase &phase : s.phases) {
    OrderedJson p = {{"until", phase.until}, {"shape", spell(shapes, phase.shape)}};
    if (phase.to)
      p["to"] = *phase.to;
    out["phases"].push_back(std::move(p));
  }
  return out;
}

static OrderedJson resolved(const Training::Batch &b) {
  OrderedJson out = {{"sequences", b.sequences},
                     {"sequence_length", b.sequenceLength},
                     {"steps", b.steps},
                     {"micro_batch", b.microBatch}};
  if (b.ramp)
    out["ramp"] = {{"from", b.ramp->from}, {"until", b.ramp->until}};
  return out;
}

std::string resolvedTraining(const LanguageModel &model) {
  const Training &t = model.training;
  OrderedJson out;
  out["optimizer"] = resolved(t.optimizer);
  out["parametrization"] = resolved(t.parametrization);
  out["schedule"] = resolved(t.schedule);
  out["batch"] = resolved(t.batch);
  out["clip"] = t.clip ? OrderedJson(*t.clip) : OrderedJson(nullptr);
  return out.dump(2);
}

} // namespace mhc
