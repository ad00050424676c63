#include "Options.h"
#include "base/ThreadPool.h"
#include "train/Trainer.h"

namespace mhcrt {

int trainCommand(const std::vector<std::string> &arguments) {
  Options options(arguments, {},
                  {"device", "data", "steps", "sequences", "learning-rate", "seed", "initial", "resume", "metrics",
                   "save", "save-every", "eval-every", "eval-batches", "monitor", "threads"});
  if (options.positional().size() != 1)
    throw UsageError("expected mhc-run train PACKAGE --data=FILE|DIR [options] (see mhc-run --help)");
  TrainOptions train;
  train.package = options.positional()[0];
  train.device = options.value("device", "cpu");
  train.data = options.required("data");
  train.threads = chooseThreads(options.threads());
  train.steps = options.integer("steps", 1);
  train.sequences = options.integer("sequences", 1);
  train.seed = options.integer("seed", INT64_MIN, INT64_MAX);
  train.learningRate = options.number("learning-rate", 0, 1e6);
  train.initial = options.value("initial");
  train.resume = options.value("resume");
  train.save = options.value("save");
  train.metrics = options.value("metrics");
  train.saveEvery = options.integer("save-every", 1).value_or(0);
  train.evalEvery = options.integer("eval-every", 1).value_or(0);
  train.evalBatches = options.integer("eval-batches", 1).value_or(8);
  train.monitorEvery = options.integer("monitor", 1).value_or(0);
  if (train.initial && train.resume)
    throw UsageError("--initial and --resume exclude each other");
  if (train.saveEvery && !train.save)
    throw UsageError("--save-every needs --save");
  if (train.monitorEvery && !train.metrics)
    throw UsageError("--monitor needs --metrics");
  // A checkpoint may take the place of the one that the run began with; metrics may not, nor may either of them take
  // that of what is only read.
  for (const char *name : {"save", "metrics"})
    if (auto output = options.value(name)) {
      refuseOverwriting(std::string("--") + name, *output, "the package", train.package);
      refuseOverwriting(std::string("--") + name, *output, "--data", train.data);
      refuseInside(std::string("--") + name, *output, "--data", train.data);
    }
  if (train.metrics)
    for (const char *name : {"save", "initial", "resume"})
      if (auto other = options.value(name))
        refuseOverwriting("--metrics", *train.metrics, std::string("--") + name, *other);
  mhcrt::train(train);
  return 0;
}

} // namespace mhcrt
