#include "bench/Bench.h"
#include "base/Checked.h"
#include "base/Memory.h"
#include "bench/RandomInputs.h"
#include "plan/Binding.h"
#include "plan/Executor.h"
#include "train/Init.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace mhcrt {
namespace {

/// What the device can do at most, measured in the same run as the plan: on shared machines it changes with the hour.
class RateMeter {
public:
  explicit RateMeter(Device &device)
      : device(device), from(device, bytes), to(device, bytes), timeline(device.timeline()) {
    device.fillBytes(from.data(), 1, bytes); // its pages exist from here on
    device.fillBytes(to.data(), 2, bytes);
  }

  void measure() {
    for (int pass = 0; pass < 4; ++pass) {
      // One after the other, or a GPU's start and end would be 5% of the time.
      double seconds = timed([&] {
        for (int copy = 0; copy < copiesAtOnce; ++copy)
          device.streamCopy(to.data(), from.data(), bytes);
      });
      if (pass > 0)
        copies.push_back(2.0 * copiesAtOnce * bytes / seconds);
    }
    for (int pass = 0; pass < 4; ++pass) {
      double operations = 0, seconds = timed([&] { operations = device.spinMultiplyAdds(); });
      if (pass > 0 && operations > 0)
        spins.push_back(operations / seconds);
    }
  }
  double copyRate() const { return median(copies); }
  double multiplyAddRate() const { return median(spins); }

private:
  template <typename Work> double timed(Work &&work) {
    timeline->mark();
    work();
    timeline->mark();
    device.synchronize();
    return std::max(timeline->finish().at(0), 1e-9);
  }

  static constexpr uint64_t bytes = 256u << 20; // well beyond any cache
  static constexpr int copiesAtOnce = 4;
  Device &device;
  DeviceMemory from, to;
  std::unique_ptr<Timeline> timeline;
  std::vector<double> copies, spins;
};

/// An entry with everything that it needs, ready to run again and again.
class Prepared {
public:
  Prepared(const Package &package, Device &device, const std::string &target, const BenchOptions &options, int threads)
      : package(package), device(device), executor(package, device, target, options.entry, options.variants), pool(threads) {
    const Manifest &manifest = package.manifest();
    const Entry &entry = manifest.entry(options.entry);
    executor.bind(options.symbols);
    for (const TensorSpec &spec : entry.inputs) {
      std::vector<int64_t> shape = evaluateShape(spec, options.symbols);
      char *to = allocate(spec, shape);
      upload(to, checkedMultiply(elementCount(shape, spec.name), byteSize(spec.dtype), spec.name),
             [&](char *host) { randomInput(manifest, spec, shape, options.seed, pool, host); });
      run.inputs[spec.name] = to;
    }
    for (const TensorSpec &spec : entry.outputs)
      run.outputs[spec.name] = allocate(spec, evaluateShape(spec, options.symbols));
    makeArenas(package.targets().at(target).entries.at(options.entry), options.seed);
    setScalars();
    run.arenas = &arenas;
    run.scalars = &scalars;
  }

  void execute(std::function<void(const Command *)> passed) {
    setScalars(); // commands of a training step write some of them
    run.passed = std::move(passed);
    executor.run(run);
  }
  const Layout &layout() const { return executor.layout(); }

private:
  char *allocate(const TensorSpec &spec, const std::vector<int64_t> &shape) {
    uint64_t bytes = checkedMultiply(elementCount(shape, spec.name), byteSize(spec.dtype), spec.name);
    memory.emplace_back(device, bytes);
    if (bytes)
      device.fillBytes(memory.back().data(), 0, bytes);
    return memory.back().data();
  }

  template <typename Make> void upload(char *to, uint64_t bytes, Make &&make) {
    if (device.isHost())
      return make(to);
    Memory host(bytes);
    make(host.data());
    device.copyIn(to, host.data(), bytes);
  }

  /// The arenas that the plan touches, with the model's initial values for parameters.
  void makeArenas(const EntryPlan &plan, int64_t seed) {
    auto make = [&](StateArena which) {
      DeviceMemory &arena = arenas[which];
      const uint64_t bytes = package.manifest().bytesOf(which);
      if (arena.data() || bytes == 0)
        return false;
      arena = DeviceMemory(device, bytes);
      device.fillBytes(arena.data(), 0, bytes);
      return true;
    };
    for (const Buffer &buffer : plan.buffers) {
      bool state = buffer.kind == BufferKind::State;
      if (buffer.kind == BufferKind::Parameter || (state && buffer.arena == StateArena::Parameters)) {
        if (make(StateArena::Parameters))
          for (const ModelTensor &tensor : package.manifest().tensors)
            upload(arenas.parameters.data() + tensor.offset * sizeof(float), tensor.count * sizeof(float),
                   [&](char *host) { initialValues(tensor, seed, pool, reinterpret_cast<float *>(host)); });
      } else if (buffer.kind == BufferKind::Gradient || (state && buffer.arena == StateArena::Gradients)) {
        make(StateArena::Gradients);
      } else if (state) {
        make(buffer.arena);
      }
    }
  }

  /// A step in the middle of a training run (docs/design/package.md, Scalars). The rate is small, so that the model
  /// stays where it is however often the step runs.
  void setScalars() {
    scalars = {};
    scalars[scalar::LearningRate] = 1e-9f;
    scalars[scalar::Correction1] = scalars[scalar::Correction2] = 1;
    scalars[scalar::GradientScale] = 1;
    scalars[scalar::Clip] = std::numeric_limits<float>::infinity();
    scalars[scalar::Beta1] = 0.9f;
    scalars[scalar::Beta2] = 0.95f;
    scalars[scalar::OneMinusBeta1] = 0.1f;
    scalars[scalar::OneMinusBeta2] = 0.05f;
    scalars[scalar::Eps] = 1e-8f;
    scalars[scalar::Phase] = static_cast<float>(package.manifest().phases.size());
  }

  const Package &package;
  Device &device;
  Executor executor;
  ThreadPool pool;
  std::vector<DeviceMemory> memory;
  ModelArenas arenas;
  Scalars scalars{};
  Executor::Run run;
};

std::string commandName(const Command &command, const BoundCommand &values, const TargetPlan &target) {
  if (command.op == Op::Launch)
    return target.kernels[command.kernel].name;
  if (command.op == Op::Gemm)
    return concat("gemm ", command.batch > 1 ? concat(command.batch, " of ") : "", values.m, "x", values.n, "x", values.k,
                  command.transA ? " ta" : "", command.transB ? " tb" : "", command.accumulate || command.d != noBuffer ? " +=" : "");
  return name(command.op);
}

/// All commands but loops, in preorder.
void listCommands(const std::vector<Command> &list, std::vector<const Command *> &result) {
  for (const Command &command : list) {
    if (command.op == Op::Loop)
      listCommands(command.body, result);
    else
      result.push_back(&command);
  }
}

} // namespace

double median(std::vector<double> values) {
  if (values.empty())
    return 0;
  std::sort(values.begin(), values.end());
  size_t half = values.size() / 2;
  return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

BenchResult benchEntry(const Package &package, Device &device, const std::string &targetName,
                       const BenchOptions &options, int threads) {
  const TargetPlan &target = package.targets().at(targetName);
  Prepared prepared(package, device, targetName, options, threads);
  const EntryPlan &plan = target.entries.at(options.entry);
  std::vector<const Command *> commands;
  listCommands(plan.commands, commands);
  if (commands.empty())
    fail("entry '", options.entry, "' has no commands to measure");

  std::optional<RateMeter> rates;
  if (options.rates)
    rates.emplace(device);
  std::unique_ptr<Timeline> timeline = device.timeline();
  for (int64_t i = 0; i < options.warmup; ++i)
    prepared.execute({});
  if (rates)
    rates->measure();
  std::vector<double> totals, preparations, again, own;
  std::vector<std::vector<double>> times(commands.size()); // by command, one a repeat
  size_t done = 0;
  for (int64_t repeat = 0; repeat < options.repeat; ++repeat) {
    // Once as a whole and once with a mark after each command: on a GPU marks are work of their own.
    prepared.execute([&](const Command *command) {
      if (!command || command == commands.back())
        timeline->mark();
    });
    double total = 0; // more than one stretch where the last command stands in a loop
    for (double stretch : timeline->finish())
      total += stretch;
    totals.push_back(total);
    std::vector<const Command *> order; // by mark: what has passed. A command of a loop passes more than once; null is what the device prepares.
    prepared.execute([&](const Command *command) {
      timeline->mark();
      order.push_back(command);
    });
    std::vector<double> seconds = timeline->finish();
    std::map<const Command *, double> sum;
    for (size_t i = 1; i < order.size(); ++i)
      sum[order[i]] += seconds.at(i - 1);
    preparations.push_back(sum[nullptr]);
    done = sum.size() - 1;
    double parts[2] = {};
    for (size_t i = 0; i < commands.size(); ++i) {
      times[i].push_back(sum[commands[i]]);
      parts[plan.again.count(commands[i]->index)] += times[i].back();
    }
    own.push_back(parts[0]);
    again.push_back(parts[1]);
  }
  if (rates)
    rates->measure();
  if (done != commands.size())
    fail("entry '", options.entry, "' ran ", done, " commands, but its plan has ", commands.size());

  BenchResult result;
  result.seconds = median(totals);
  result.prepareSeconds = median(preparations);
  result.ownSeconds = median(own);
  result.againSeconds = median(again);
  if (rates) {
    result.copyRate = rates->copyRate();
    result.multiplyAddRate = rates->multiplyAddRate();
  }
  result.floorBytes = std::max<int64_t>(plan.floor.evaluate(options.symbols, "floor"), 0);
  std::vector<Traffic> traffic = planTraffic(target, plan, prepared.layout());
  std::map<std::string, size_t> byName;
  std::vector<std::vector<double>> sums; // by kernel, one a repeat
  for (size_t i = 0; i < commands.size(); ++i) {
    const Command &command = *commands[i];
    BenchItem item{commandName(command, prepared.layout().commands[command.index], target),
                   name(command.op),
                   command.at,
                   command.index,
                   1,
                   median(times[i]),
                   traffic[command.index],
                   static_cast<int64_t>(plan.again.count(command.index))};
    result.bytes.read += item.bytes.read;
    result.bytes.written += item.bytes.written;
    auto [found, fresh] = byName.emplace(item.op + " " + item.name, sums.size());
    if (fresh) {
      result.kernels.push_back(item);
      sums.push_back(times[i]);
    } else {
      BenchItem &kernel = result.kernels[found->second];
      ++kernel.launches;
      kernel.again += item.again;
      kernel.bytes.read += item.bytes.read;
      kernel.bytes.written += item.bytes.written;
      for (size_t repeat = 0; repeat < times[i].size(); ++repeat)
        sums[found->second][repeat] += times[i][repeat];
    }
    result.commands.push_back(std::move(item));
  }
  for (size_t i = 0; i < sums.size(); ++i)
    result.kernels[i].seconds = median(sums[i]);
  return result;
}

} // namespace mhcrt
