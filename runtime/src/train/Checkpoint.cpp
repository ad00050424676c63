#include "train/Checkpoint.h"
#include "base/Checked.h"
#include "base/Memory.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <set>

namespace mhcrt {
namespace {

constexpr const char *prefix = "optimizer.";
constexpr const char *stepName = "optimizer.step";
constexpr int64_t mostUpdates = int64_t(1) << 40; // so that one more can be counted, and its powers taken

std::optional<int64_t> note(const SafeTensorsFile &file, const char *key) {
  auto found = file.metadata().find(key);
  if (found == file.metadata().end())
    return std::nullopt;
  int64_t value = 0;
  const std::string &text = found->second;
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size())
    fail(file.path(), ": metadata: ", key, ": expected a number, but got '", text, "'");
  return value;
}

std::optional<RunIdentity> readIdentity(const SafeTensorsFile &file) {
  auto package = file.metadata().find("mhc.package"), training = file.metadata().find("mhc.training");
  if (package == file.metadata().end() || training == file.metadata().end())
    return std::nullopt;
  return RunIdentity{package->second, parseJson(training->second, file.path() + ": metadata: mhc.training")};
}

const SafeTensorsFile::Tensor &findTensor(const SafeTensorsFile &file, const std::string &name, DType type,
                                          const std::vector<int64_t> &shape) {
  const SafeTensorsFile::Tensor *tensor = file.find(name);
  if (!tensor)
    fail(file.path(), ": ", name, ": this tensor is missing");
  if (tensor->type != fileName(type))
    fail(file.path(), ": ", name, ": expected type ", mhcrt::name(type), ", but got ", typeText(tensor->type));
  if (tensor->shape != shape)
    fail(file.path(), ": ", name, ": expected shape ", shapeText(shape), ", but got ", shapeText(tensor->shape));
  return *tensor;
}

/// A tensor of a file and where its elements lie in an arena.
struct Stored {
  std::string name;
  std::vector<int64_t> shape;
  StateArena arena;
  int64_t offset, count;
  bool mayBeMissing = false;
};

std::vector<Stored> storedParameters(const Manifest &manifest) {
  std::vector<Stored> list;
  for (const ModelTensor &tensor : manifest.tensors)
    list.push_back({tensor.name, tensor.shape, StateArena::Parameters, tensor.offset, tensor.count, tensor.isState()});
  return list;
}

/// `optimizer.` + state + `.` + name, state after state.
std::vector<Stored> storedStates(const Manifest &manifest) {
  std::vector<Stored> list;
  for (size_t i = 0; i < stateArenas; ++i)
    for (const ModelTensor &tensor : manifest.tensors)
      for (const TensorState &state : tensor.states)
        if (static_cast<size_t>(state.arena) == i) {
          const std::string name = prefix + std::string(mhcrt::name(state.arena)) + "." + tensor.name;
          const auto shape = state.arena == StateArena::Radius ? std::vector<int64_t>{1} : tensor.shape;
          list.push_back({name, shape, state.arena, state.offset, state.count});
        }
  return list;
}

/// Fills arenas from a file. State of the model that it does not have is zero. Optimizer states that no training
/// writes are refused: what updates make of them may look like numbers again. (Weights that are none show in the loss.)
void load(const SafeTensorsFile &file, const std::vector<Stored> &list, Device &device, const ModelArenas &arenas) {
  Memory staging;
  for (const Stored &stored : list) {
    if (stored.mayBeMissing && !file.find(stored.name)) {
      device.fillBytes(arenas[stored.arena].data() + stored.offset * sizeof(float), 0, stored.count * sizeof(float));
      continue;
    }
    const auto &source = findTensor(file, stored.name, DType::F32, stored.shape);
    uint64_t bytes = stored.count * sizeof(float);
    if (staging.size() < bytes)
      staging = Memory(bytes);
    file.read(source, staging.data());
    const bool isSize = stored.arena == StateArena::Radius || stored.arena == StateArena::ExpAvgSq;
    if (stored.arena != StateArena::Parameters)
      checkRange(file.path() + ": " + stored.name, reinterpret_cast<const float *>(staging.data()), stored.count, isSize ? 0 : -std::numeric_limits<double>::infinity());
    device.copyIn(arenas[stored.arena].data() + stored.offset * sizeof(float), staging.data(), bytes);
  }
}

} // namespace

void measureRadii(const Manifest &manifest, Device &device, const ModelArenas &arenas) {
  // Experts of a stack may share one: their squares are added up.
  std::vector<double> squares(manifest.elementsOf(StateArena::Radius), 0.0);
  Memory staging;
  for (const ModelTensor &tensor : manifest.tensors)
    for (const TensorState &state : tensor.states) {
      if (state.arena != StateArena::Radius)
        continue;
      const uint64_t bytes = tensor.count * sizeof(float);
      if (staging.size() < bytes)
        staging = Memory(bytes);
      device.copyOut(staging.data(), arenas.parameters.data() + tensor.offset * sizeof(float), bytes);
      const auto *values = reinterpret_cast<const float *>(staging.data());
      for (int64_t i = 0; i < tensor.count; ++i)
        squares[state.offset] += static_cast<double>(values[i]) * static_cast<double>(values[i]);
    }
  std::vector<float> radii;
  for (double sum : squares)
    radii.push_back(static_cast<float>(std::sqrt(sum)));
  if (!radii.empty())
    device.copyIn(arenas[StateArena::Radius].data(), radii.data(), radii.size() * sizeof(float));
}

std::vector<std::string> differences(const RunIdentity &before, const RunIdentity &now) {
  std::vector<std::string> lines;
  if (before.package != now.package)
    lines.push_back("it comes from another package (SHA-256 of the manifest " + before.package.substr(0, 16) +
                    ".., now " + now.package.substr(0, 16) + "..)");
  // Both as {"/batch/steps": 100, ..}: every leaf with its place.
  Json old = before.training.flatten(), current = now.training.flatten();
  auto text = [](const Json &all, const std::string &key) {
    return all.contains(key) ? all[key].dump(-1, ' ', false, Json::error_handler_t::replace) : "missing";
  };
  Json keys = old;
  keys.update(current);
  for (const auto &[key, value] : keys.items())
    if (text(old, key) != text(current, key))
      lines.push_back("training" + key + " was " + text(old, key) + ", now it is " + text(current, key));
  return lines;
}

void saveCheckpoint(const std::string &path, const Manifest &manifest, Device &device, const ModelArenas &arenas,
                    const Progress &progress, const RunIdentity &identity) {
  std::array<Memory, stateArenas> copies;
  std::array<const char *, stateArenas> data{};
  std::vector<TensorToWrite> tensors;
  for (const auto &list : {storedParameters(manifest), storedStates(manifest)})
    for (const Stored &stored : list) {
      const auto which = static_cast<size_t>(stored.arena);
      if (!data[which]) {
        const DeviceMemory &arena = arenas[stored.arena];
        data[which] = arena.data();
        if (!device.isHost()) {
          copies[which] = Memory(arena.size());
          device.copyOut(copies[which].data(), arena.data(), arena.size());
          data[which] = copies[which].data();
        }
      }
      tensors.push_back({stored.name, DType::F32, stored.shape, data[which] + stored.offset * sizeof(float)});
    }
  tensors.push_back({stepName, DType::I64, {1}, &progress.optimizerStep});
  writeSafeTensors(path, std::move(tensors),
                   {{"mhc.step", std::to_string(progress.step)},
                    {"mhc.seed", std::to_string(progress.seed)},
                    {"mhc.package", identity.package},
                    {"mhc.training", identity.training.dump(-1, ' ', false, Json::error_handler_t::replace)}});
}

LoadedCheckpoint loadCheckpoint(const std::string &path, const Manifest &manifest, Device &device,
                                const ModelArenas &arenas, bool complete) {
  SafeTensorsFile file(path);
  LoadedCheckpoint result;
  const SafeTensorsFile::Tensor *step = file.find(stepName);
  result.hasOptimizer = step != nullptr;
  if (complete && !step)
    fail(path, ": '", stepName, "' is missing: this is no checkpoint that a run can be resumed from");
  std::set<std::string> known{stepName};
  auto take = [&](const std::vector<Stored> &list) {
    load(file, list, device, arenas);
    for (const Stored &stored : list)
      known.insert(stored.name);
  };
  take(storedParameters(manifest));
  if (result.hasOptimizer) {
    file.read(findTensor(file, stepName, DType::I64, {1}), &result.optimizerStep);
    if (result.optimizerStep < 0 || result.optimizerStep > mostUpdates)
      fail(path, ": ", stepName, ": expected a number from 0 to ", mostUpdates, ", but got ", result.optimizerStep);
    take(storedStates(manifest));
  }
  for (const auto &[name, tensor] : file.tensors())
    if (!known.count(name))
      fail(path, ": ", name, ": the model has no such tensor");
  result.step = note(file, "mhc.step");
  result.seed = note(file, "mhc.seed");
  result.identity = readIdentity(file);
  return result;
}

void loadParameters(const SafeTensorsFile &file, const Manifest &manifest, Device &device,
                    const ModelArenas &arenas) {
  load(file, storedParameters(manifest), device, arenas);
  for (const auto &[name, tensor] : file.tensors())
    if (!manifest.findTensor(name) && name.rfind(prefix, 0) != 0)
      fail(file.path(), ": ", name, ": the model has no such tensor");
}

} // namespace mhcrt
