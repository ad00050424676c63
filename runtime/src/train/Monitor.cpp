#include "train/Monitor.h"
#include "base/Checked.h"
#include "plan/Binding.h"

#include <chrono>
#include <cmath>

namespace mhcrt {
namespace {

using Clock = std::chrono::steady_clock;
double secondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

constexpr const char *gainNames[] = {"forward_gain", "backward_gain", "deviation"};

/// values [shape] as nested arrays.
Json nested(const std::vector<float> &values, const std::vector<int64_t> &shape, size_t depth, size_t &at) {
  if (depth == shape.size())
    return static_cast<double>(values[at++]);
  Json list = Json::array();
  for (int64_t i = 0; i < shape[depth]; ++i)
    list.push_back(nested(values, shape, depth + 1, at));
  return list;
}

bool endsWith(const std::string &text, const std::string &end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

/// Of a number that only rounding takes below 0. NaN stays what it is.
double root(double x) { return x < 0 ? 0 : std::sqrt(x); }

/// One number of a single matrix, a list of a stack's.
Json single(Json list) { return list.size() == 1 ? list[0] : list; }

} // namespace

Monitor::Monitor(const Package &package, Device &device, const std::string &target)
    : device(device), manifest(package.manifest()), forward(package, device, target, "monitor"),
      change(package, device, target, "weight_change") {
  change.bind({});
  for (const TensorSpec &spec : manifest.entry("weight_change").outputs) {
    const uint64_t bytes = elementCount(evaluateShape(spec, {}), spec.name) * byteSize(spec.dtype);
    changeRun.outputs[spec.name] = (changes[spec.name] = DeviceMemory(device, bytes)).data();
  }
}

void Monitor::before(const int32_t *tokens, int64_t rows, int64_t columns, int64_t phase, ModelArenas &arenas) {
  auto started = Clock::now();
  std::vector<int32_t> inputs;
  for (int64_t row = 0; row < rows; ++row)
    inputs.insert(inputs.end(), tokens + row * columns, tokens + (row + 1) * columns - 1);
  Scalars scalars{};
  scalars[scalar::GradientScale] = 1;
  scalars[scalar::Phase] = static_cast<float>(phase);
  forward.bind(rows, columns - 1);
  forward.run(inputs.data(), arenas, &scalars);

  watched = Json::object();
  for (const TensorSpec &spec : manifest.entry("monitor").outputs) {
    std::vector<int64_t> shape = evaluateShape(spec, forward.symbols());
    std::vector<float> values(elementCount(shape, spec.name));
    forward.read(spec.name, 0, values.data(), values.size() * sizeof(float));
    size_t at = 0;
    Json all = nested(values, shape, 0, at);
    if (endsWith(spec.name, "_gains")) {
      Json &of = watched[spec.name.substr(0, spec.name.size() - 6)];
      for (size_t i = 0; i < std::size(gainNames); ++i)
        for (const Json &sublayer : all)
          of[gainNames[i]].push_back(sublayer.at(i));
    } else if (endsWith(spec.name, "_mean")) {
      watched[spec.name.substr(0, spec.name.size() - 5)]["mean"] = std::move(all);
    } else {
      watched[spec.name] = std::move(all);
    }
  }
  device.copy(arenas[StateArena::Previous].data(), arenas.parameters.data(), manifest.bytesOf(StateArena::Parameters));
  seconds = secondsSince(started);
}

Json Monitor::after(ModelArenas &arenas) {
  auto started = Clock::now();
  watched["weights"] = weights(arenas);
  watched["seconds"] = seconds + secondsSince(started);
  return std::move(watched);
}

/// Norms after the step, and the angles that weights have turned by, from sums over weights before it and their change.
Json Monitor::weights(ModelArenas &arenas) {
  changeRun.arenas = &arenas;
  change.run(changeRun);
  Json list = Json::object();
  auto read = [&](const std::string &name) {
    const DeviceMemory &memory = changes.at(name);
    std::vector<float> values(memory.size() / sizeof(float));
    device.copyOut(values.data(), memory.data(), memory.size());
    return values;
  };
  const std::string prefix = "squares.";
  for (const auto &[output, memory] : changes) {
    if (output.compare(0, prefix.size(), prefix) != 0)
      continue;
    const std::string name = output.substr(prefix.size());
    std::vector<float> squares = read(output), products = read("product." + name), changed = read("change." + name);
    Json norms = Json::array(), angles = Json::array();
    for (size_t i = 0; i < squares.size(); ++i) {
      const double ww = squares[i], wd = products[i], dd = changed[i];
      // <w, w + d> = |w| |w + d| cos, and |w| |w + d| sin is the square root of |w|^2 |d|^2 - <w, d>^2.
      norms.push_back(root(ww + 2 * wd + dd));
      angles.push_back(std::atan2(root(ww * dd - wd * wd), ww + wd));
    }
    list[name] = {{"norm", single(std::move(norms))}, {"angle", single(std::move(angles))}};
  }
  return list;
}

} // namespace mhcrt
