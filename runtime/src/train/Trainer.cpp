#include "train/Trainer.h"
#include "base/Checked.h"
#include "base/File.h"
#include "base/ThreadPool.h"
#include "plan/Binding.h"
#include "plan/Executor.h"
#include "plan/TokenEntry.h"
#include "train/Checkpoint.h"
#include "train/Data.h"
#include "train/Init.h"
#include "train/Metrics.h"
#include "train/Monitor.h"
#include "train/TrainingSpec.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <numeric>

namespace mhcrt {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int64_t mostBadSteps = 10;

double secondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::string duration(double seconds) {
  auto whole = static_cast<int64_t>(seconds + 0.5);
  if (whole < 60)
    return concat(whole, " s");
  if (whole < 3600)
    return concat(whole / 60, " min ", whole % 60, " s");
  return concat(whole / 3600, " h ", whole / 60 % 60, " min");
}

class Trainer {
public:
  explicit Trainer(const TrainOptions &options)
      : options(options), package(Package::open(options.package)), manifest(package.manifest()),
        spec(TrainingSpec::parse(manifest, package.source())) {
    override();
    device = openDevice(options.device, package, options.threads, target);
    stepExecutor = std::make_unique<Executor>(package, *device, target, "train_step");
    start();
    DataShape shape{spec.batch.most(), spec.sequenceLength, manifest.vocabSize, spec.batch.steps()};
    data = openData(options.data, shape, progress.seed);
    if (options.evalEvery && (data->validationRows() == 0 || !manifest.entries.count("eval")))
      fail(options.data, ": --eval-every needs held-out text: at least ", 20 * (spec.sequenceLength + 1),
           " tokens of bytes or .bin files");
    prepare();
    if (options.monitorEvery)
      monitor = std::make_unique<Monitor>(package, *device, target);
  }

  void run() {
    std::fprintf(stderr, "training on %s; data: %s\n", device->description().c_str(), data->description().c_str());
    if (options.save)
      OutputFile probe(savePath()); // now, not after hours of training
    openMetrics();
    begin = lastReport = Clock::now();
    const int64_t first = progress.step;
    while (progress.step < spec.batch.steps()) {
      step();
      bool last = progress.step == spec.batch.steps();
      if (last || progress.step == first + 1 || secondsSince(lastReport) > 1)
        report(first);
      if (data->validationRows() > 0 && manifest.entries.count("eval") &&
          (last || (options.evalEvery && progress.step % options.evalEvery == 0)))
        validate();
      if (options.save && (last || (options.saveEvery && progress.step % options.saveEvery == 0)))
        save();
    }
    if (first == spec.batch.steps()) {
      std::fprintf(stderr, "nothing to do: the checkpoint is at the last step already\n");
      if (options.save)
        save();
    }
  }

private:
  void override() {
    identity = {package.hash(), manifest.document.at("training")};
    if (options.steps) {
      overrides["steps"] = identity.training["batch"]["steps"] = *options.steps;
      spec.batch.setSteps(*options.steps);
    }
    if (options.sequences) {
      if (*options.sequences % spec.batch.ofMicroBatch())
        fail("--sequences: expected a multiple of micro_batch = ", spec.batch.ofMicroBatch(), ", but got ", *options.sequences);
      overrides["sequences"] = identity.training["batch"]["sequences"] = *options.sequences;
      spec.batch.setSequences(*options.sequences);
    }
    if (options.learningRate)
      overrides["learning_rate"] = identity.training["optimizer"]["learning_rate"] = spec.learningRate =
          *options.learningRate;
    checkedMultiply(checkedMultiply(spec.batch.most(), spec.sequenceLength + 1, "tokens of a step"), 4,
                    "tokens of a step");
    checkedMultiply(spec.batch.total(), spec.sequenceLength, "tokens of the run");
  }

  /// Arenas with the values that the run begins with.
  void start() {
    for (size_t i = 0; i < stateArenas; ++i) {
      const auto which = static_cast<StateArena>(i);
      const uint64_t bytes = manifest.bytesOf(which);
      if (bytes == 0 || (which == StateArena::Previous && !options.monitorEvery))
        continue;
      arenas[which] = DeviceMemory(*device, bytes);
      device->fillBytes(arenas[which].data(), 0, bytes);
    }
    progress.seed = options.seed.value_or(0);
    if (options.resume) {
      LoadedCheckpoint loaded = loadCheckpoint(*options.resume, manifest, *device, arenas, true);
      progress.optimizerStep = loaded.optimizerStep;
      progress.step = loaded.step.value_or(loaded.optimizerStep);
      if (options.seed && loaded.seed && *options.seed != *loaded.seed)
        fail(*options.resume, ": the run has seed ", *loaded.seed, ", but --seed=", *options.seed, " was given");
      if (loaded.seed)
        progress.seed = *loaded.seed;
      if (progress.step < 0 || progress.step > spec.batch.steps())
        fail(*options.resume, ": the checkpoint is at step ", progress.step, " of ", spec.batch.steps());
      if (loaded.identity)
        for (const std::string &difference : differences(*loaded.identity, identity))
          std::fprintf(stderr, "warning: %s: the run is not continued as it began: %s\n", options.resume->c_str(),
                       difference.c_str());
    } else if (options.initial) {
      LoadedCheckpoint loaded = loadCheckpoint(*options.initial, manifest, *device, arenas, false);
      progress.optimizerStep = loaded.optimizerStep;
      if (!loaded.hasOptimizer)
        measureRadii(manifest, *device, arenas);
    } else {
      ThreadPool pool(options.threads);
      for (const ModelTensor &tensor : manifest.tensors) {
        Memory values(tensor.count * sizeof(float));
        initialValues(tensor, progress.seed, pool, reinterpret_cast<float *>(values.data()));
        device->copyIn(arenas.parameters.data() + tensor.offset * sizeof(float), values.data(), values.size());
      }
      measureRadii(manifest, *device, arenas);
    }
  }

  void prepare() {
    const Entry &entry = manifest.entry("train_step");
    Symbols symbols = bindTokens(manifest, entry, spec.batch.ofMicroBatch(), spec.sequenceLength + 1);
    stepExecutor->bind(symbols);
    batch.resize(spec.batch.most() * (spec.sequenceLength + 1));
    tokens = DeviceMemory(*device, batch.size() * sizeof(int32_t));
    stepRun.inputs["tokens"] = tokens.data();
    for (const TensorSpec &output : entry.outputs) {
      stepOutputs.emplace_back(*device, checkedMultiply(elementCount(evaluateShape(output, symbols), output.name),
                                                        byteSize(output.dtype), output.name));
      stepRun.outputs[output.name] = stepOutputs.back().data();
    }
    stepRun.arenas = &arenas;
    stepRun.scalars = &scalars;
  }

  void openMetrics() {
    if (!options.metrics)
      return;
    metrics.open(*options.metrics, options.resume ? progress.step : 0);
    Json line = {{"package", options.package}, {"device", options.device},    {"seed", progress.seed},
                 {"steps", spec.batch.steps()}, {"sequences", spec.batch.most()}, {"sequence_length", spec.sequenceLength},
                 {"overrides", overrides}};
    if (options.resume)
      line["resumed_after_step"] = progress.step;
    metrics.write(line);
  }

  /// Steps that are watched: the first and the last of a run, and every so many between.
  bool isWatched(int64_t number) const {
    return monitor && (number == 1 || number == spec.batch.steps() || number % options.monitorEvery == 0);
  }

  void step() {
    auto started = Clock::now();
    const int64_t number = progress.step + 1;
    const int64_t rows = spec.batch.at(number), before = spec.batch.before(number);
    const int64_t tokenCount = rows * spec.sequenceLength;
    data->batch(number, rows, batch.data());
    device->copyIn(tokens.data(), batch.data(), rows * (spec.sequenceLength + 1) * sizeof(int32_t));

    const double share = static_cast<double>(before) / static_cast<double>(spec.batch.total());
    const double factor = spec.schedule.factor(number, spec.batch.steps(), share);
    const double rate = spec.learningRate * factor;
    stepRun.microBatches = rows / spec.batch.ofMicroBatch();
    scalars.fill(0);
    setOptimizerScalars(scalars, spec.optimizer, rate, progress.optimizerStep + 1);
    scalars[scalar::ScheduleFactor] = static_cast<float>(factor);
    scalars[scalar::GradientScale] = static_cast<float>(1.0 / static_cast<double>(stepRun.microBatches));
    scalars[scalar::Clip] = static_cast<float>(spec.clip);
    scalars[scalar::Phase] = static_cast<float>(phase(share));
    try {
      if (isWatched(number)) {
        const int64_t watched = spec.batch.ofMicroBatch(), columns = spec.sequenceLength + 1;
        monitor->before(batch.data() + (rows - watched) * columns, watched, columns, phase(share), arenas);
        started = Clock::now(); // watching is not the step's own time
      }
      stepExecutor->run(stepRun);
    } catch (const Error &problem) {
      fail("step ", number, ": ", problem.what());
    }
    progress.step = number;
    const bool updated = !(scalars[scalar::ClipFactor] < 0); // as the kernels of the update see it
    progress.optimizerStep += updated;

    loss = scalars[scalar::Loss];
    norm = std::sqrt(static_cast<double>(scalars[scalar::SumOfSquares]));
    stepSeconds = secondsSince(started);
    Json line = {{"step", number},
                 {"loss", loss},
                 {"cross_entropy", static_cast<double>(scalars[scalar::CrossEntropy])},
                 {"learning_rate", rate},
                 {"gradient_norm", norm},
                 {"clip_factor", static_cast<double>(scalars[scalar::ClipFactor])},
                 {"tokens", before * spec.sequenceLength + tokenCount},
                 {"tokens_per_second", static_cast<double>(tokenCount) / stepSeconds},
                 {"seconds", stepSeconds}};
    addExperts(line);
    if (isWatched(number))
      line["monitor"] = monitor->after(arenas);
    if (!updated) {
      line["skipped"] = true;
      line["skipped_updates"] = ++skippedUpdates;
    }
    metrics.write(line);

    bool bad = !std::isfinite(loss) || !std::isfinite(norm);
    badSteps = bad ? badSteps + 1 : 0;
    if (bad)
      std::fprintf(stderr, "step %lld: loss %g, gradient norm %g%s\n", static_cast<long long>(number), loss, norm,
                   updated ? "" : concat(": the update is left out, the ", skippedUpdates, ". of this run").c_str());
    if (badSteps >= mostBadSteps) {
      // The step once more: its tokens and weights are still there.
      std::string where = stepExecutor->findNonFinite(stepRun);
      fail("step ", number, ": loss or gradient norm have not been finite for ", mostBadSteps, " steps, since step ",
           number - mostBadSteps + 1,
           where.empty() ? "" : "; the first command of the step with a NaN or infinity in its result: " + where);
    }
  }

  /// The phase that a step belongs to, by the share of the tokens before it.
  int64_t phase(double done) const {
    int64_t at = 0;
    while (at < static_cast<int64_t>(manifest.phases.size()) && done >= manifest.phases[at])
      ++at;
    return at;
  }

  /// Of a model with experts: how the step's choices are spread over them (math.md 2.4), and how many were dropped.
  void addExperts(Json &line) {
    if (!manifest.expertBlocks)
      return;
    std::vector<int64_t> counts(manifest.elementsOf(StateArena::ExpertCounts));
    device->copyOut(counts.data(), arenas[StateArena::ExpertCounts].data(), counts.size() * sizeof(int64_t));
    const int64_t experts = manifest.experts;
    Json all = Json::array(), violations = Json::array(), least = Json::array();
    double sum = 0, smallest = 0, largest = 0;
    int64_t dropped = 0;
    for (int64_t block = 0; block < manifest.expertBlocks; ++block) {
      auto begin = counts.begin() + block * experts, end = begin + experts;
      all.push_back(std::vector<int64_t>(begin, end));
      double mean = static_cast<double>(std::accumulate(begin, end, int64_t(0))) / static_cast<double>(experts);
      auto deviation = [&](int64_t count) { return mean > 0 ? (static_cast<double>(count) - mean) / mean : 0.0; };
      const double violation = deviation(*std::max_element(begin, end)), below = deviation(*std::min_element(begin, end));
      violations.push_back(violation);
      least.push_back(below);
      sum += violation;
      largest = std::max(largest, violation);
      smallest = std::min(smallest, below);
      dropped += counts[manifest.expertBlocks * experts + block];
    }
    line["expert_counts"] = std::move(all);
    line["max_violation"] = sum / static_cast<double>(manifest.expertBlocks);
    line["max_violations"] = std::move(violations);
    line["largest_deviation"] = largest;
    line["smallest_deviation"] = smallest;
    line["smallest_deviations"] = std::move(least);
    line["dropped"] = dropped;
    if (!manifest.phases.empty())
      line["phase"] = static_cast<int64_t>(scalars[scalar::Phase]);
  }

  void report(int64_t first) {
    lastReport = Clock::now();
    double elapsed = secondsSince(begin);
    const int64_t start = spec.batch.before(first + 1), now = spec.batch.before(progress.step + 1);
    double speed = static_cast<double>((now - start) * spec.sequenceLength) / elapsed;
    double left = elapsed / static_cast<double>(now - start) * static_cast<double>(spec.batch.total() - now);
    std::fprintf(stderr, "step %lld/%lld  loss %.4f  norm %.3g  rate %.3g  %.0f tokens/s  %s left\n",
                 static_cast<long long>(progress.step), static_cast<long long>(spec.batch.steps()), loss, norm,
                 static_cast<double>(scalars[scalar::LearningRate]), speed, duration(left).c_str());
  }

  /// The mean cross-entropy of the first rows of the held-out part: always the same ones.
  void validate() {
    if (!eval)
      eval = std::make_unique<TokenEntry>(package, *device, target, "eval");
    int64_t held = data->validationRows();
    const int64_t microBatch = spec.batch.ofMicroBatch();
    int64_t rows = std::min(held, std::min(options.evalBatches, held / microBatch + 1) * microBatch);
    double sum = 0;
    for (int64_t row = 0; row < rows; row += microBatch) {
      int64_t count = std::min(microBatch, rows - row);
      std::vector<int32_t> some(count * (spec.sequenceLength + 1));
      for (int64_t i = 0; i < count; ++i)
        data->validationRow(row + i, some.data() + i * (spec.sequenceLength + 1));
      eval->bind(count, spec.sequenceLength + 1);
      eval->run(some.data(), arenas);
      float value = 0;
      eval->read("cross_entropy", 0, &value, sizeof value);
      sum += static_cast<double>(value) * static_cast<double>(count);
    }
    double mean = sum / static_cast<double>(rows);
    std::printf("validation loss %.6f after step %lld (%lld tokens)\n", mean, static_cast<long long>(progress.step),
                static_cast<long long>(rows * spec.sequenceLength));
    std::fflush(stdout);
    metrics.write(
        {{"step", progress.step}, {"validation_loss", mean}, {"validation_tokens", rows * spec.sequenceLength}});
  }

  /// The file that --save means at this step; makes the folder where it means one.
  std::string savePath() const {
    namespace fs = std::filesystem;
    const std::string &path = *options.save;
    std::error_code code;
    if (path.back() != '/' && !fs::is_directory(path, code))
      return path;
    fs::create_directories(path, code);
    if (code)
      fail(path, ": cannot create the folder: ", code.message());
    char name[64];
    std::snprintf(name, sizeof name, "step-%08lld.safetensors", static_cast<long long>(progress.step));
    return (fs::path(path) / name).string();
  }

  void save() { saveCheckpoint(savePath(), manifest, *device, arenas, progress, identity); }

  const TrainOptions &options;
  Package package;
  const Manifest &manifest;
  TrainingSpec spec;
  Json overrides = Json::object();
  RunIdentity identity;
  std::string target;
  std::unique_ptr<Device> device; // before everything that lies in its memory
  ModelArenas arenas;
  std::unique_ptr<Executor> stepExecutor;
  std::unique_ptr<TokenEntry> eval;
  std::unique_ptr<Monitor> monitor; ///< null: nothing is watched
  std::unique_ptr<DataSource> data;
  Progress progress;
  std::vector<int32_t> batch;
  DeviceMemory tokens;
  std::vector<DeviceMemory> stepOutputs;
  Executor::Run stepRun;
  Scalars scalars{};
  MetricsFile metrics;
  double loss = 0, norm = 0, stepSeconds = 0;
  int64_t badSteps = 0;
  int64_t skippedUpdates = 0; ///< of this run
  Clock::time_point begin, lastReport;
};

} // namespace

void train(const TrainOptions &options) { Trainer(options).run(); }

} // namespace mhcrt
