#include "base/Checked.h"
#include "base/CpuFeatures.h"
#include "package/Package.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace mhcrt {
namespace {

constexpr int64_t alignment = 64; // elements; every tensor of the parameter arena starts at a multiple

std::vector<std::string> strings(const JsonView &json) {
  std::vector<std::string> result;
  for (size_t i = 0; i < json.size(); ++i)
    result.push_back(json[i].string());
  return result;
}

DType dtype(const JsonView &json) {
  DType result;
  if (!parseDType(json.string(), result))
    fail(json.path(), ": unknown type '", json.string(), "'");
  return result;
}

constexpr const char *arenaNames[stateArenas] = {"parameters", "gradients", "exp_avg", "exp_avg_sq", "momentum", "radius", "expert_counts", "previous"};

std::vector<TensorSpec> tensorSpecs(const JsonView &json, const std::set<std::string> &symbols) {
  std::vector<TensorSpec> result;
  std::set<std::string> names;
  for (size_t i = 0; i < json.size(); ++i) {
    JsonView item = json[i];
    TensorSpec spec;
    spec.name = item.at("name").string();
    if (!names.insert(spec.name).second)
      fail(item.path(), ": the tensor '", spec.name, "' occurs twice");
    spec.dtype = dtype(item.at("dtype"));
    JsonView shape = item.at("shape");
    for (size_t d = 0; d < shape.size(); ++d) {
      spec.shape.push_back(Affine::parse(shape[d]));
      for (const auto &[symbol, coefficient] : spec.shape.back().terms)
        if (!symbols.count(symbol))
          fail(shape[d].path(), ": unknown symbol '", symbol, "'");
    }
    if (auto slot = item.find("scalar")) {
      spec.scalar = static_cast<int>(slot->integer(0, 63));
      spec.below = item.at("below").integer(1, 1 << 20);
      if (auto optional = item.find("optional"))
        spec.optional = optional->boolean();
      auto otherwise = item.find("otherwise");
      spec.otherwise = otherwise ? otherwise->integer(0, spec.below - 1) : spec.below - 1;
      if (spec.dtype != DType::I32)
        fail(item.path(), ": expected type i32 of a scalar");
    }
    result.push_back(std::move(spec));
  }
  return result;
}

Entry parseEntry(const std::string &name, const JsonView &json) {
  Entry entry;
  entry.name = name;
  if (auto symbols = json.find("symbols"))
    entry.symbols = strings(*symbols);
  std::set<std::string> known(entry.symbols.begin(), entry.symbols.end());
  if (auto derived = json.find("derived"))
    for (size_t i = 0; i < derived->size(); ++i) {
      std::vector<std::string> names = strings((*derived)[i]);
      if (names.size() < 2)
        fail((*derived)[i].path(), ": expected a symbol and its factors");
      for (size_t f = 1; f < names.size(); ++f)
        if (!known.count(names[f]))
          fail((*derived)[i].path(), ": unknown symbol '", names[f], "'");
      known.insert(names[0]);
      entry.derived.push_back({names[0], {names.begin() + 1, names.end()}});
    }
  if (auto inputs = json.find("inputs"))
    entry.inputs = tensorSpecs(*inputs, known);
  if (auto outputs = json.find("outputs"))
    entry.outputs = tensorSpecs(*outputs, known);
  if (auto multiples = json.find("multiples"))
    multiples->members([&](const std::string &symbol, const JsonView &value) {
      if (!known.count(symbol))
        fail(value.path(), ": unknown symbol '", symbol, "'");
      entry.multiples[symbol] = value.integer(1);
    });
  if (auto flag = json.find("parameters"))
    entry.parameters = flag->boolean();
  if (auto flag = json.find("gradients"))
    entry.gradients = flag->boolean();
  return entry;
}

Initial parseInitial(const JsonView &json, int64_t count) {
  Initial init;
  const std::string &kind = json.at("kind").string();
  if (kind == "normal") {
    init.kind = Initial::Kind::Normal;
    init.value = json.at("std").number();
  } else if (kind == "uniform") {
    init.kind = Initial::Kind::Uniform;
    init.value = json.at("bound").number();
  } else if (kind == "constant") {
    init.kind = Initial::Kind::Constant;
    init.value = json.at("value").number();
  } else if (kind == "values") {
    init.kind = Initial::Kind::Values;
    JsonView values = json.at("values");
    if (static_cast<int64_t>(values.size()) != count)
      fail(values.path(), ": expected ", count, " values, but got ", values.size());
    for (size_t i = 0; i < values.size(); ++i)
      init.values.push_back(static_cast<float>(values[i].number()));
  } else {
    fail(json.path(), ": unknown kind of initial value '", kind, "'");
  }
  if (auto stacked = json.find("stacked"))
    init.stacked = stacked->boolean();
  return init;
}

/// Without a list (packages of earlier compilers): Adam's, where the parameter lies.
std::vector<TensorState> parseStates(const JsonView &json, const ModelTensor &tensor, const Manifest &manifest) {
  std::vector<TensorState> states;
  auto add = [&](StateArena arena, int64_t offset) {
    int64_t count = arena == StateArena::Radius ? 1 : tensor.count;
    if (checkedAdd(offset, count, json.path()) > manifest.elementsOf(arena))
      fail(json.path(), ": state '", name(arena), "' ends at element ", offset + count, " of an arena of ",
           manifest.elementsOf(arena));
    states.push_back({arena, offset, count});
  };
  auto list = json.find("states");
  if (!list) {
    add(StateArena::ExpAvg, tensor.offset);
    add(StateArena::ExpAvgSq, tensor.offset);
    return states;
  }
  list->members([&](const std::string &key, const JsonView &offset) {
    StateArena arena;
    if (!parseStateArena(key, arena) || arena == StateArena::Parameters || arena == StateArena::Gradients ||
        arena == StateArena::ExpertCounts || arena == StateArena::Previous)
      fail(offset.path(), ": unknown state '", key, "'");
    add(arena, offset.integer(0));
  });
  return states;
}

ModelTensor parseTensor(const JsonView &json, const Manifest &manifest) {
  ModelTensor tensor;
  tensor.name = json.at("name").string();
  JsonView shape = json.at("shape");
  for (size_t i = 0; i < shape.size(); ++i)
    tensor.shape.push_back(shape[i].integer(0));
  tensor.count = elementCount(tensor.shape, json.path());
  if (auto role = json.find("role"))
    tensor.role = role->string();
  if (auto group = json.find("group"))
    tensor.group = group->string();
  tensor.offset = json.at("offset").integer(0);
  if (auto stack = json.find("stack"))
    tensor.stack = stack->string();
  if (tensor.offset % alignment && tensor.stack.empty())
    fail(json.path(), ": expected an offset that is a multiple of ", alignment, ", but got ", tensor.offset);
  JsonView init = json.at("init");
  tensor.init = parseInitial(init, tensor.count);
  if (auto stacked = json.find("stacked"))
    tensor.init.stacked |= stacked->boolean();
  if (tensor.init.stacked && tensor.shape.empty())
    fail(json.path(), ": a stacked tensor needs a first dimension");
  if (!tensor.isState())
    tensor.states = parseStates(json, tensor, manifest);
  return tensor;
}

/// Stacks, whose parts lie one after the other and fill them.
void readStacks(Manifest &manifest, const JsonView &json) {
  std::map<std::string, int64_t> ends; // where the next part of each begins
  for (size_t i = 0; i < json.size(); ++i) {
    ModelTensor stack;
    stack.name = json[i].at("name").string();
    JsonView shape = json[i].at("shape");
    for (size_t d = 0; d < shape.size(); ++d)
      stack.shape.push_back(shape[d].integer(0));
    stack.count = elementCount(stack.shape, json[i].path());
    stack.offset = json[i].at("offset").integer(0);
    if (stack.offset % alignment)
      fail(json[i].path(), ": expected an offset that is a multiple of ", alignment, ", but got ", stack.offset);
    if (!ends.emplace(stack.name, stack.offset).second || manifest.findTensor(stack.name))
      fail(json[i].path(), ": '", stack.name, "' occurs twice");
    manifest.stacks.push_back(std::move(stack));
  }
  for (const ModelTensor &tensor : manifest.tensors)
    if (!tensor.stack.empty()) {
      auto end = ends.find(tensor.stack);
      if (end == ends.end() || tensor.offset != end->second)
        fail(json.path(), ": expected '", tensor.name, "' to be the next part of a stack '", tensor.stack, "'");
      end->second += tensor.count;
    }
  for (const ModelTensor &stack : manifest.stacks)
    if (ends[stack.name] != stack.offset + stack.count)
      fail(json.path(), ": expected parts that fill '", stack.name, "'");
}

/// Inside the arena, without overlaps, without duplicate names.
void checkTensors(const Manifest &manifest, const std::string &source) {
  std::set<std::string> names;
  std::vector<const ModelTensor *> byOffset;
  for (const ModelTensor &tensor : manifest.tensors) {
    if (!names.insert(tensor.name).second)
      fail(source, ": tensors: '", tensor.name, "' occurs twice");
    byOffset.push_back(&tensor);
  }
  std::sort(byOffset.begin(), byOffset.end(),
            [](auto *a, auto *b) { return a->offset != b->offset ? a->offset < b->offset : a->count < b->count; });
  int64_t end = 0;
  for (const ModelTensor *tensor : byOffset) {
    if (tensor->offset < end)
      fail(source, ": tensors: '", tensor->name, "' overlaps another tensor");
    end = checkedAdd(tensor->offset, tensor->count, source + ": tensors: '" + tensor->name + "'");
    if (end > manifest.parameterElements)
      fail(source, ": tensors: '", tensor->name, "' ends at element ", end, " of an arena of ",
           manifest.parameterElements);
  }
}

} // namespace

const char *name(StateArena arena) { return arenaNames[static_cast<size_t>(arena)]; }
bool parseStateArena(const std::string &text, StateArena &arena) {
  auto found = std::find(std::begin(arenaNames), std::end(arenaNames), text);
  arena = static_cast<StateArena>(found - std::begin(arenaNames));
  return found != std::end(arenaNames);
}

Manifest parseManifest(Json document, const std::string &source) {
  Manifest manifest;
  manifest.document = std::move(document);
  JsonView json(manifest.document, source);
  int64_t format = json.at("format").integer();
  if (format != 1)
    fail(source, ": expected format 1, but got ", format);
  manifest.producer = json.at("producer").string();
  manifest.kind = json.at("kind").string();
  if (auto dtype = json.find("dtype"))
    manifest.dtype = dtype->string();
  if (auto requirements = json.find("requires"))
    manifest.requirements = strings(*requirements);
  for (const std::string &word : manifest.requirements)
    if (!isCpuFeature(word))
      fail(source, ": this runtime does not know the required feature '", word, "'");
  manifest.targets = strings(json.at("targets"));
  if (auto arenas = json.find("arenas")) {
    // Arenas are in bytes of fp32 and pass through size_t: 2^60 elements are far beyond any machine.
    constexpr int64_t most = int64_t(1) << 60;
    manifest.parameterElements = arenas->at("parameters").integer(0, most);
    for (size_t i = 0; i < stateArenas; ++i) {
      auto given = arenas->find(arenaNames[i]);
      const bool early = static_cast<StateArena>(i) < StateArena::Momentum; // of the parameters' size, unless said
      manifest.arenaElements[i] = i > 1 && given ? given->integer(0, most) : early ? manifest.parameterElements : 0;
    }
    if (auto groups = arenas->find("groups"))
      groups->members([&](const std::string &, const JsonView &range) {
        if (range.size() != 2)
          fail(range.path(), ": expected [begin, end]");
        int64_t begin = range[0].integer(0, manifest.parameterElements);
        range[1].integer(begin, manifest.parameterElements);
      });
  }
  if (auto tensors = json.find("tensors"))
    for (size_t i = 0; i < tensors->size(); ++i)
      manifest.tensors.push_back(parseTensor((*tensors)[i], manifest));
  checkTensors(manifest, source);
  if (auto stacks = json.find("stacks"))
    readStacks(manifest, *stacks);
  for (const ModelTensor &tensor : manifest.tensors)
    if (!tensor.stack.empty() && !manifest.findStored(tensor.stack))
      fail(source, ": tensors: '", tensor.name, "' is a part of '", tensor.stack, "', which does not exist");
  if (auto model = json.find("model")) {
    manifest.vocabSize = model->at("vocab_size").integer(1, INT32_MAX);
    manifest.maxPositions = model->at("max_position_embeddings").integer(1, INT32_MAX);
    if (auto experts = model->find("experts")) {
      manifest.expertBlocks = experts->at("blocks").integer(1, INT32_MAX);
      manifest.experts = experts->at("count").integer(1, INT32_MAX);
      if (manifest.elementsOf(StateArena::ExpertCounts) < manifest.expertBlocks * (manifest.experts + 1))
        fail(experts->path(), ": expected an arena 'expert_counts' for the experts of all blocks");
    }
    if (auto phases = model->find("phases"))
      for (size_t i = 0; i < phases->size(); ++i)
        manifest.phases.push_back((*phases)[i].number());
  } else if (manifest.isLanguageModel()) {
    fail(source, ": 'model' is missing");
  }
  json.at("entries").members(
      [&](const std::string &name, const JsonView &entry) { manifest.entries.emplace(name, parseEntry(name, entry)); });
  return manifest;
}

} // namespace mhcrt
