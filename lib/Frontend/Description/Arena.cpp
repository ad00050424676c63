//===- Arena.cpp - where parameters and state lie in memory -----------------===//

#include "Kinds.h"

#include <algorithm>
#include <numeric>
#include <tuple>
#include <unordered_map>

namespace mhc {

int64_t expertBlocks(const LanguageModel &model) { return model.numHiddenLayers - denseBlocks(model); }

namespace {

constexpr int64_t alignment = 64;           // elements: 256 bytes, the alignment of whatever a device allocates
constexpr int64_t mostTogether = 1 << 27;   // elements of matrices that are updated at once: their temporaries are as large
int64_t aligned(int64_t elements) { return (elements + alignment - 1) / alignment * alignment; }

/// What is equal for weights that one batch may hold.
struct Kin {
  int order; ///< Adam's with decay, without, AdamH's, Muon's: parameters with the same states lie together
  double rate, decay;
  std::vector<int64_t> shape; ///< of matrices that are updated as such
  size_t stack;               ///< the stack's place in the model, or the tensor's
  bool sameBatch(const Kin &other) const { return order == other.order && rate == other.rate && decay == other.decay && shape == other.shape; }
};

class Layout {
public:
  explicit Layout(const LanguageModel &model) : model(model), wholeStacks(model.training.optimizer.normScope == NormScope::stack) {}

  ParameterArena build() {
    for (ParameterInfo &info : parameterTable(model))
      append(std::move(info));
    std::vector<size_t> sorted(kin.size());
    std::iota(sorted.begin(), sorted.end(), 0);
    std::stable_sort(sorted.begin(), sorted.end(), [&](size_t a, size_t b) {
      const Kin &x = kin[a], &y = kin[b];
      return std::tie(x.order, x.rate, x.decay, x.shape, x.stack) < std::tie(y.order, y.rate, y.decay, y.shape, y.stack);
    });
    for (size_t i = 0; i < sorted.size(); ++i)
      update(sorted[i], place(sorted[i]), i ? &kin[sorted[i - 1]] : nullptr);
    for (UpdateBatch &batch : arena.batches)
      if (!batch.matrices)
        batch.elements = aligned(batch.elements);
    arena.stateBegin = arena.elements = aligned(arena.elements);
    for (ParameterInfo &info : stateTable(model)) {
      append(std::move(info));
      place(arena.tensors.size() - 1);
    }
    for (int64_t *size : {&arena.elements, &arena.adamElements, &arena.momentumElements, &arena.radiusElements})
      *size = aligned(*size);
    return std::move(arena);
  }

private:
  void append(ParameterInfo info) {
    ParameterArena::Tensor tensor;
    tensor.elements = 1;
    for (int64_t dim : info.shape)
      tensor.elements *= dim;
    const UpdateRule &rule = info.update;
    int order = rule.isMuon() ? 3 : rule.optimizer == OptimizerKind::adamh ? 2 : rule.decay != 0 ? 0 : 1;
    size_t place = arena.tensors.size();
    if (!info.stack.empty())
      place = stacks.emplace(info.stack, place).first->second;
    kin.push_back({order, rule.rate, rule.decay, order >= 2 ? info.shape : std::vector<int64_t>(), place});
    tensor.info = std::move(info);
    arena.tensors.push_back(std::move(tensor));
  }

  /// Behind all that has a place. Returns true where it follows another tensor of its stack; all else begins at a multiple of `alignment`.
  bool place(size_t index) {
    ParameterArena::Tensor &tensor = arena.tensors[index];
    const std::string &stack = tensor.info.stack;
    const bool inStack = !stack.empty() && !arena.stacks.empty() && arena.stacks.back().name == stack;
    if (!inStack)
      arena.elements = aligned(arena.elements);
    tensor.offset = arena.elements;
    arena.elements += tensor.elements;
    if (inStack) {
      ++arena.stacks.back().shape.front();
    } else if (!stack.empty()) {
      std::vector<int64_t> shape = {1};
      shape.insert(shape.end(), tensor.info.shape.begin(), tensor.info.shape.end());
      arena.stacks.push_back({stack, std::move(shape), tensor.offset});
    }
    return inStack;
  }

  /// Into the batch of the one before where they are alike.
  void update(size_t index, bool inStack, const Kin *before) {
    ParameterArena::Tensor &tensor = arena.tensors[index];
    const Kin &now = kin[index];
    const UpdateRule &rule = tensor.info.update;
    const bool matrix = now.order >= 2;
    UpdateBatch *last = arena.batches.empty() ? nullptr : &arena.batches.back();
    bool together = last && before->sameBatch(now);
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
      return;
    last->rows = tensor.info.shape[0];
    last->columns = tensor.info.shape[1];
    ++last->matrices;
    if (!rule.isSphere())
      return;
    if (wholeStacks && inStack) {
      tensor.radius = arena.radiusElements - 1;
      last->matricesOfNorm = std::max(last->matricesOfNorm, model.nRoutedExperts);
    } else {
      tensor.radius = arena.radiusElements++;
    }
  }

  const LanguageModel &model;
  const bool wholeStacks;
  ParameterArena arena;
  std::vector<Kin> kin; ///< of arena.tensors
  std::unordered_map<std::string, size_t> stacks;
};

} // namespace

ParameterArena layOutParameters(const LanguageModel &model) { return Layout(model).build(); }

} // namespace mhc
