#include "train/Checkpoint.h"
#include "base/Memory.h"

#include <charconv>

namespace mhcrt {
namespace {

constexpr const char *firstMoment = "optimizer.exp_avg.";
constexpr const char *secondMoment = "optimizer.exp_avg_sq.";
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

/// Fills an arena from the tensors of the model's names with a prefix in front. Returns their number. The optimizer has nothing for state, which may be missing: then it is zero.
size_t loadArena(const SafeTensorsFile &file, const std::string &prefix, const Manifest &manifest, Device &device,
                 const DeviceMemory &arena) {
  Memory staging;
  size_t loaded = 0;
  for (const ModelTensor &tensor : manifest.tensors) {
    if (tensor.isState() && (!prefix.empty() || !file.find(tensor.name))) {
      device.fillBytes(arena.data() + tensor.offset * sizeof(float), 0, tensor.count * sizeof(float));
      continue;
    }
    ++loaded;
    const auto &source = findTensor(file, prefix + tensor.name, DType::F32, tensor.shape);
    uint64_t bytes = tensor.count * sizeof(float);
    if (staging.size() < bytes)
      staging = Memory(bytes);
    file.read(source, staging.data());
    device.copyIn(arena.data() + tensor.offset * sizeof(float), staging.data(), bytes);
  }
  return loaded;
}

} // namespace

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
  const uint64_t bytes = manifest.parameterElements * sizeof(float);
  Memory copies[3];
  const char *data[3];
  const DeviceMemory *sources[3] = {&arenas.parameters, &arenas.expAvg, &arenas.expAvgSq};
  const char *prefixes[3] = {"", firstMoment, secondMoment};
  std::vector<TensorToWrite> tensors;
  for (int i = 0; i < 3; ++i) {
    data[i] = sources[i]->data();
    if (!device.isHost()) {
      copies[i] = Memory(bytes);
      device.copyOut(copies[i].data(), sources[i]->data(), bytes);
      data[i] = copies[i].data();
    }
    for (const ModelTensor &tensor : manifest.tensors)
      if (i == 0 || !tensor.isState())
        tensors.push_back({prefixes[i] + tensor.name, DType::F32, tensor.shape, data[i] + tensor.offset * sizeof(float)});
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
  size_t used = 0;
  auto load = [&](const char *prefix, const DeviceMemory &arena) {
    used += loadArena(file, prefix, manifest, device, arena);
  };
  load("", arenas.parameters);
  if (result.hasOptimizer) {
    file.read(findTensor(file, stepName, DType::I64, {1}), &result.optimizerStep);
    ++used;
    if (result.optimizerStep < 0 || result.optimizerStep > mostUpdates)
      fail(path, ": ", stepName, ": expected a number from 0 to ", mostUpdates, ", but got ", result.optimizerStep);
    load(firstMoment, arenas.expAvg);
    load(secondMoment, arenas.expAvgSq);
  }
  if (used != file.tensors().size())
    for (const auto &[name, tensor] : file.tensors()) {
      std::string plain = name;
      for (const char *prefix : {secondMoment, firstMoment})
        if (name.rfind(prefix, 0) == 0 && result.hasOptimizer)
          plain = name.substr(std::string(prefix).size());
      if (name != stepName && !manifest.findTensor(plain))
        fail(path, ": ", name, ": the model has no such tensor");
    }
  result.step = note(file, "mhc.step");
  result.seed = note(file, "mhc.seed");
  result.identity = readIdentity(file);
  return result;
}

void loadParameters(const SafeTensorsFile &file, const Manifest &manifest, Device &device,
                    const DeviceMemory &parameters) {
  loadArena(file, "", manifest, device, parameters);
  for (const auto &[name, tensor] : file.tensors())
    if (!manifest.findTensor(name) && name.rfind("optimizer.", 0) != 0)
      fail(file.path(), ": ", name, ": the model has no such tensor");
}

} // namespace mhcrt
