//===- Parametrization.cpp - who updates which parameter, and where it lies -===//
//
// math.md 2.1 (groups), 2.2 (multipliers). Everything goes by typed roles and sizes, never by names.
//
//===----------------------------------------------------------------------===//

#include "Kinds.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_map>

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

//===----------------------------------------------------------------------===//
// The arena
//===----------------------------------------------------------------------===//

namespace {

constexpr int64_t alignment = 64;           // elements: 256 bytes, the alignment of whatever a device allocates
constexpr int64_t mostTogether = 1 << 27;   // elements of matrices that are updated at once: their temporaries are as large
int64_t aligned(int64_t elements) { return (elements + alignment - 1) / alignment * alignment; }

/// What is equal for weights that one batch may hold.
struct Kin {
  int order; ///< Adam's with decay, without, AdamH's, Muon's: parameters with the same states lie together
  double rate, decay;
  std::vector<int64_t> shape; ///< of matrices that are updated as such
  int64_t ofNorm;             ///< matrices that share one norm
  size_t stack;               ///< the stack's place in the model, or the tensor's
  auto batch() const { return std::tie(order, rate, decay, shape, ofNorm); }
  bool sameBatch(const Kin &other) const { return batch() == other.batch(); }
};

} // namespace

static void listStacks(ParameterArena &arena) {
  std::unordered_map<std::string, size_t> places;
  for (const ParameterArena::Tensor &tensor : arena.tensors) {
    if (tensor.info.stack.empty())
      continue;
    auto [found, isNew] = places.emplace(tensor.info.stack, arena.stacks.size());
    if (isNew) {
      ParameterArena::Stack stack{tensor.info.stack, {0}, tensor.offset};
      stack.shape.insert(stack.shape.end(), tensor.info.shape.begin(), tensor.info.shape.end());
      arena.stacks.push_back(std::move(stack));
    }
    ++arena.stacks[found->second].shape[0];
  }
}

ParameterArena layOutParameters(const LanguageModel &model) {
  ParameterArena arena;
  const bool wholeStacks = model.training.optimizer.normScope == NormScope::stack;
  std::vector<Kin> kin;
  std::unordered_map<std::string, size_t> stacks;
  for (ParameterInfo &info : parameterTable(model)) {
    ParameterArena::Tensor tensor;
    tensor.elements = 1;
    for (int64_t dim : info.shape)
      tensor.elements *= dim;
    const UpdateRule &rule = info.update;
    int order = rule.isMuon() ? 3 : rule.optimizer == OptimizerKind::adamh ? 2 : rule.decay != 0 ? 0 : 1;
    size_t place = arena.tensors.size();
    if (!info.stack.empty())
      place = stacks.emplace(info.stack, place).first->second;
    const int64_t ofNorm = wholeStacks && rule.isSphere() && !info.stack.empty() ? model.nRoutedExperts : 1;
    kin.push_back({order, rule.rate, rule.decay, order >= 2 ? info.shape : std::vector<int64_t>(), ofNorm, place});
    tensor.info = std::move(info);
    arena.tensors.push_back(std::move(tensor));
  }
  std::vector<size_t> sorted(kin.size());
  std::iota(sorted.begin(), sorted.end(), 0);
  std::stable_sort(sorted.begin(), sorted.end(), [&](size_t a, size_t b) {
    return std::tuple_cat(kin[a].batch(), std::tie(kin[a].stack)) < std::tuple_cat(kin[b].batch(), std::tie(kin[b].stack));
  });

  for (size_t i = 0; i < sorted.size(); ++i) {
    ParameterArena::Tensor &tensor = arena.tensors[sorted[i]];
    const Kin &now = kin[sorted[i]];
    const UpdateRule &rule = tensor.info.update;
    const bool matrix = now.order >= 2;
    // Experts of a stack lie close; all else begins at a multiple of `alignment`.
    const bool inStack = i && !tensor.info.stack.empty() && kin[sorted[i - 1]].stack == now.stack && kin[sorted[i - 1]].sameBatch(now);
    if (!inStack)
      arena.elements = aligned(arena.elements);
    tensor.offset = arena.elements;
    arena.elements += tensor.elements;

    UpdateBatch *last = arena.batches.empty() ? nullptr : &arena.batches.back();
    bool together = last && kin[sorted[i - 1]].sameBatch(now);
    if (matrix && together) // in whole stacks
      together = tensor.offset == last->begin + last->elements && (inStack || last->elements + tensor.elements <= mostTogether);
    if (!together) {
      int64_t &states = rule.isMuon() ? arena.momentumElements : arena.adamElements;
      states = aligned(states);
      arena.radiusElements = aligned(arena.radiusElements);
      arena.batches.push_back({rule, tensor.offset, 0, states, 0, 0, 0, arena.radiusElements, 1});
      last = &arena.batches.back();
    }
    last->elements = arena.elements - last->begin;
    tensor.state = last->state + (tensor.offset - last->begin);
    (rule.isMuon() ? arena.momentumElements : arena.adamElements) = last->state + last->elements;
    if (!matrix)
      continue;
    last->rows = tensor.info.shape[0];
    last->columns = tensor.info.shape[1];
    ++last->matrices;
    if (!rule.isSphere())
      continue;
    if (wholeStacks && inStack) {
      tensor.radius = arena.radiusElements - 1;
      last->matricesOfNorm = now.ofNorm;
    } else {
      tensor.radius = arena.radiusElements++;
    }
  }
  arena.stateBegin = arena.elements = aligned(arena.elements);
  for (ParameterInfo &info : stateTable(model)) {
    ParameterArena::Tensor tensor;
    tensor.offset = arena.elements;
    tensor.elements = info.shape[0];
    tensor.info = std::move(info);
    arena.elements += tensor.elements;
    arena.tensors.push_back(std::move(tensor));
  }
  arena.elements = aligned(arena.elements);
  listStacks(arena);
  arena.adamElements = aligned(arena.adamElements);
  arena.momentumElements = aligned(arena.momentumElements);
  arena.radiusElements = aligned(arena.radiusElements);
  for (UpdateBatch &batch : arena.batches)
    if (!batch.matrices)
      batch.elements = aligned(batch.elements);
  return arena;
}

std::vector<WeightMatrices> weightMatrices(const ParameterArena &arena) {
  std::vector<WeightMatrices> list;
  for (const ParameterArena::Tensor &tensor : arena.tensors)
    if (tensor.offset < arena.stateBegin && tensor.info.stack.empty() && tensor.info.shape.size() == 2)
      list.push_back({tensor.info.name, 1, tensor.elements, tensor.offset});
  for (const ParameterArena::Stack &stack : arena.stacks)
    if (stack.shape.size() == 3)
      list.push_back({stack.name, stack.shape[0], stack.shape[1] * stack.shape[2], stack.offset});
  return list;
}

} // namespace mhc
