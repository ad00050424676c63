#include "train/Checkpoint.h"
#include "base/Memory.h"
#include "package/SafeTensors.h"

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
  auto check = [&](const std::string &name, const char *type, const std::vector<int64_t> &shape) {
    const SafeTensorsFile::Tensor *tensor = file.find(name);
    if (!tensor)
      fail(path, ": ", name, ": this tensor is missing");
    if (tensor->type != type)
      fail(path, ": ", name, ": expected type ", typeText(type), ", but got ", typeText(tensor->type));
    if (tensor->shape != shape)
      fail(path, ": ", name, ": expected shape ", shapeText(shape), ", but got ", shapeText(tensor->shape));
    ++used;
    return tensor;
  };
  Memory staging;
  auto load = [&](const std::string &prefix, const DeviceMemory &arena) {
    for (const ModelTensor &tensor : manifest.tensors) {
      const auto *source = check(prefix + tensor.name, "F32", tensor.shape);
      uint64_t bytes = tensor.count * sizeof(float);
      if (staging.size() < bytes)
        staging = Memory(bytes);
      file.read(*source, staging.data());
      device.copyIn(arena.data() + tensor.offset * sizeof(float), staging.data(), bytes);
    }
  };
  load("", arenas.parameters);
  if (result.hasOptimizer) {
    file.read(*check(stepName, "I64", {1}), &result.optimizerStep);
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

} // namespace mhcrt
