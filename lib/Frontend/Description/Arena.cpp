//===- Arena.cpp - where parameters lie in memory -------------------------===//

#include "Kinds.h"

namespace mhc {

int64_t expertBlocks(const LanguageModel &model) { return model.numHiddenLayers - denseBlocks(model); }

ParameterArena layOutParameters(const LanguageModel &model) {
  constexpr int64_t alignment = 64; // elements: 256 bytes, the alignment of whatever a device allocates
  ParameterArena arena;
  std::map<std::string, int64_t> copies;
  auto append = [&](std::vector<ParameterInfo> infos) {
    for (ParameterInfo &info : infos) {
      ParameterArena::Tensor tensor;
      tensor.elements = 1;
      for (int64_t dim : info.shape)
        tensor.elements *= dim;
      if (!info.stack.empty())
        ++copies[info.stack];
      tensor.info = std::move(info);
      arena.tensors.push_back(std::move(tensor));
    }
  };
  append(parameterTable(model));
  const size_t parameters = arena.tensors.size();
  append(stateTable(model));
  auto round = [&] { arena.elements = (arena.elements + alignment - 1) / alignment * alignment; };
  std::map<std::string, int64_t> next; // the place of a stack's next tensor
  auto place = [&](ParameterArena::Tensor &tensor) {
    const std::string &stack = tensor.info.stack;
    if (stack.empty() || !next.count(stack)) {
      round();
      tensor.offset = arena.elements;
      arena.elements += tensor.elements * (stack.empty() ? 1 : copies[stack]);
    } else {
      tensor.offset = next[stack];
    }
    if (stack.empty())
      return;
    if (!next.count(stack)) {
      std::vector<int64_t> shape = {copies[stack]};
      shape.insert(shape.end(), tensor.info.shape.begin(), tensor.info.shape.end());
      arena.stacks.push_back({stack, shape, tensor.offset});
    }
    next[stack] = tensor.offset + tensor.elements;
  };
  for (bool decayed : {true, false}) {
    for (size_t i = 0; i < parameters; ++i)
      if (arena.tensors[i].info.decayed == decayed)
        place(arena.tensors[i]);
    round();
    (decayed ? arena.decayEnd : arena.stateBegin) = arena.elements;
  }
  for (size_t i = parameters; i < arena.tensors.size(); ++i)
    place(arena.tensors[i]);
  round();
  return arena;
}

} // namespace mhc
