#include "plan/Call.h"
#include "base/Checked.h"
#include "base/ThreadPool.h"
#include "plan/Executor.h"
#include "train/Init.h"
#include "train/StepScalars.h"

namespace mhcrt {
namespace {

HostTensor makeTensor(DType dtype, std::vector<int64_t> shape, const std::string &name) {
  HostTensor tensor;
  tensor.dtype = dtype;
  tensor.data = Memory(checkedMultiply(elementCount(shape, name), byteSize(dtype), name));
  tensor.shape = std::move(shape);
  return tensor;
}

HostTensors initialTensors(const Manifest &manifest, int64_t seed, int threads) {
  ThreadPool pool(threads);
  HostTensors outputs;
  for (const ModelTensor &tensor : manifest.tensors) {
    HostTensor value = makeTensor(DType::F32, tensor.shape, tensor.name);
    initialValues(tensor, seed, pool, reinterpret_cast<float *>(value.data.data()));
    outputs.emplace(tensor.name, std::move(value));
  }
  return outputs;
}

/// The number that an input gives, or what it is where it is left out.
int64_t readScalar(const TensorSpec &spec, const TensorInfos &inputs, const ReadTensor &read) {
  if (!inputs.count(spec.name))
    return spec.otherwise;
  int32_t value = 0;
  read(spec.name, &value);
  if (value < 0 || value >= spec.below)
    fail(spec.name, ": expected a number from 0 to ", spec.below - 1, ", but got ", value);
  return value;
}

/// A tensor's place on the device: its own memory there, or the host's.
struct Placed {
  DeviceMemory memory;
  char *address = nullptr;
};

Placed place(Device &device, HostTensor &tensor) {
  Placed placed;
  if (device.isHost()) {
    placed.address = tensor.data.data();
  } else {
    placed.memory = DeviceMemory(device, tensor.data.size());
    placed.address = placed.memory.data();
  }
  return placed;
}

/// Kind optimizer: rate and step number go into the scalars, where the kernels look for them.
Scalars optimizerScalars(const Manifest &manifest, const HostTensors &inputs, const std::string &source) {
  auto value = [&](const char *name, auto number) {
    auto found = inputs.find(name);
    if (found == inputs.end() || found->second.data.size() != sizeof number)
      fail(name, ": expected one number");
    std::memcpy(&number, found->second.data.data(), sizeof number);
    return number;
  };
  const auto rate = value("lr", float());
  const auto step = value("step", int64_t());
  if (step < 1)
    fail("step: expected a number of at least 1, but got ", step);
  if (!std::isfinite(rate))
    fail("lr: expected a finite number, but got ", rate);
  if (auto radius = inputs.find("radius"); radius != inputs.end())
    checkRange("radius", reinterpret_cast<const float *>(radius->second.data.data()), radius->second.data.size() / sizeof(float), 0);
  Scalars scalars{};
  JsonView settings = JsonView(manifest.document, source + ": manifest.json").at("optimizer");
  setOptimizerScalars(scalars, OptimizerSettings::parse(settings), rate, step);
  return scalars;
}

} // namespace

void checkCallable(const Manifest &manifest, const std::string &entry) {
  manifest.entry(entry);
  if (entry == "train_step" || entry == "weight_change")
    fail("entry '", entry, "' cannot be called: its state lives in the runtime (use mhc-run train)");
}

HostTensors callEntry(const Package &package, Device &device, const std::string &target, const std::string &name,
                      const TensorInfos &inputs, const ReadTensor &read, int threads) {
  const Manifest &manifest = package.manifest();
  checkCallable(manifest, name);
  const Entry &entry = manifest.entry(name);
  Symbols symbols = bindInputs(manifest, entry, inputs);
  if (manifest.isLanguageModel() && name == "init") {
    auto seed = inputs.find("seed");
    if (seed == inputs.end() || elementCount(seed->second.shape, "seed") != 1)
      fail("seed: expected one number");
    int64_t value;
    read("seed", &value);
    return initialTensors(manifest, value, threads);
  }

  Executor executor(package, device, target, name);
  executor.bind(symbols);

  Executor::Run run;
  HostTensors hostInputs, outputs;
  std::vector<Placed> places;
  Scalars scalars{};
  scalars[scalar::GradientScale] = 1;
  for (const TensorSpec &spec : entry.inputs) {
    if (spec.scalar >= 0) {
      scalars[spec.scalar] = static_cast<float>(readScalar(spec, inputs, read));
      continue;
    }
    HostTensor &tensor =
        hostInputs.emplace(spec.name, makeTensor(spec.dtype, evaluateShape(spec, symbols), spec.name)).first->second;
    read(spec.name, tensor.data.data());
    Placed placed = place(device, tensor);
    if (!device.isHost())
      device.copyIn(placed.address, tensor.data.data(), tensor.data.size());
    run.inputs[spec.name] = placed.address;
    places.push_back(std::move(placed));
  }
  for (const TensorSpec &spec : entry.outputs) {
    HostTensor &tensor =
        outputs.emplace(spec.name, makeTensor(spec.dtype, evaluateShape(spec, symbols), spec.name)).first->second;
    tensor.data.clear(); // an output that no command writes is zero, never what lay in memory
    Placed placed = place(device, tensor);
    if (!device.isHost())
      device.fillBytes(placed.address, 0, tensor.data.size());
    run.outputs[spec.name] = placed.address;
    places.push_back(std::move(placed));
  }

  ModelArenas arenas;
  const uint64_t arenaBytes = manifest.parameterElements * sizeof(float);
  if (entry.parameters) {
    arenas.parameters = DeviceMemory(device, arenaBytes);
    device.fillBytes(arenas.parameters.data(), 0, arenaBytes);
    Memory staging;
    for (const ModelTensor &tensor : manifest.tensors) {
      char *to = arenas.parameters.data() + tensor.offset * sizeof(float);
      if (device.isHost()) {
        read(tensor.name, to);
        continue;
      }
      uint64_t bytes = tensor.count * sizeof(float);
      if (staging.size() < bytes)
        staging = Memory(bytes);
      read(tensor.name, staging.data());
      device.copyIn(to, staging.data(), bytes);
    }
  }
  if (entry.gradients) {
    arenas.gradients = DeviceMemory(device, arenaBytes);
    device.fillBytes(arenas.gradients.data(), 0, arenaBytes);
  }
  run.arenas = &arenas;
  if (int64_t bytes = manifest.bytesOf(StateArena::ExpertCounts)) {
    arenas[StateArena::ExpertCounts] = DeviceMemory(device, bytes);
    device.fillBytes(arenas[StateArena::ExpertCounts].data(), 0, bytes);
  }
  if (manifest.kind == "optimizer") {
    scalars = optimizerScalars(manifest, hostInputs, package.source());
    scalars[scalar::GradientScale] = 1;
  }
  run.scalars = &scalars;
  executor.run(run);

  if (!device.isHost())
    for (auto &[outputName, tensor] : outputs)
      device.copyOut(tensor.data.data(), run.outputs.at(outputName), tensor.data.size());
  if (entry.gradients)
    for (const ModelTensor &tensor : manifest.tensors) {
      if (tensor.isState())
        continue;
      HostTensor gradient = makeTensor(DType::F32, tensor.shape, tensor.name);
      device.copyOut(gradient.data.data(), arenas.gradients.data() + tensor.offset * sizeof(float),
                     gradient.data.size());
      outputs.emplace("grad." + tensor.name, std::move(gradient));
    }
  if (manifest.isLanguageModel() && name == "eval") {
    HostTensor tokens = makeTensor(DType::I64, {1}, "tokens");
    int64_t count = checkedMultiply(symbols.at("B"), symbols.at("S"), "tokens");
    std::memcpy(tokens.data.data(), &count, sizeof count);
    outputs["tokens"] = std::move(tokens);
  }
  return outputs;
}

} // namespace mhcrt
