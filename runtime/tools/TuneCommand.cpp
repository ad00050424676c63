#include "Options.h"
#include "Shape.h"
#include "base/File.h"
#include "base/ThreadPool.h"
#include "bench/Tune.h"

#include <algorithm>
#include <cstdio>
#include <set>

namespace mhcrt {
namespace {

/// "group blocks=4 stages=3": of a variant only what is other than in the default.
std::string scheduleText(const Json &schedule, const Json &base) {
  std::string text;
  for (const auto &[key, value] : schedule.items())
    if (!base.is_object() || !base.contains(key) || base[key] != value)
      text += concat(text.empty() ? "" : " ", key, "=", value.is_string() ? value.get<std::string>() : value.dump());
  return text.empty() ? "as the default" : text;
}

void printTable(const TargetPlan &plan, const std::vector<TunedKernel> &kernels) {
  size_t width = 6;
  for (const TunedKernel &kernel : kernels)
    width = std::max(width, plan.kernels[kernel.kernel].name.size());
  std::printf("%-*s %8s %12s %8s  %s\n", static_cast<int>(width), "kernel", "launches", "us a launch", "default", "schedule");
  for (const TunedKernel &kernel : kernels)
    for (size_t i = 0; i < kernel.variants.size(); ++i) {
      const TunedVariant &variant = kernel.variants[i];
      const Json &schedule = plan.kernels[variant.kernel].schedule;
      std::string text = i == 0 ? scheduleText(schedule, Json()) : scheduleText(schedule, plan.kernels[kernel.kernel].schedule);
      std::string name = i == 0 ? plan.kernels[kernel.kernel].name : "";
      if (!variant.runs) {
        std::printf("%-*s %8s %12s %8s  %s (the device has no room for it)\n", static_cast<int>(width), "", "", "-", "-", text.c_str());
        continue;
      }
      std::printf("%-*s %8lld %12.1f %7.2fx  %s%s\n", static_cast<int>(width), name.c_str(), static_cast<long long>(kernel.launches),
                  variant.seconds / static_cast<double>(kernel.launches) * 1e6, kernel.variants[0].seconds > 0 ? variant.seconds / kernel.variants[0].seconds : 1, text.c_str(),
                  i == kernel.best ? "  <- best" : "");
    }
}

} // namespace

int tuneCommand(const std::vector<std::string> &arguments) {
  Options options(arguments, {}, {"device", "shape", "repeat", "warmup", "seed", "threads", "save"});
  if (options.positional().empty() || options.positional().size() > 2)
    throw UsageError("expected mhc-run tune PACKAGE [ENTRY] --shape=T=4096 [--save=FILE] [options] (see mhc-run --help)");
  const std::string path = options.positional()[0];
  const int threads = chooseThreads(options.threads());
  const std::optional<std::string> save = options.value("save");
  if (save) {
    refuseOverwriting("--save", *save, "PACKAGE", path);
    OutputFile probe(*save); // fails now rather than after minutes
  }
  BenchOptions bench;
  bench.repeat = options.integer("repeat", 1).value_or(bench.repeat);
  bench.warmup = options.integer("warmup", 0).value_or(bench.warmup);
  bench.seed = options.integer("seed", INT64_MIN).value_or(bench.seed);
  const Symbols given = options.symbols("shape");

  Package package = Package::open(path);
  const Manifest &manifest = package.manifest();
  std::string target;
  std::unique_ptr<Device> device = openDevice(options.value("device", "cpu"), package, threads, target);
  const TargetPlan &plan = package.targets().at(target);
  if (std::none_of(plan.kernels.begin(), plan.kernels.end(), [](const Kernel &kernel) { return kernel.variantOf != SIZE_MAX; }))
    fail(path, ": target ", target, " has one schedule of each kernel (compile with --tune-candidates=N)");
  // Without an entry: all whose sizes these are.
  std::vector<BenchOptions> entries;
  for (const auto &[name, entryPlan] : plan.entries) {
    const Entry &entry = manifest.entry(name);
    bool named = options.positional().size() == 2;
    if (named ? name != options.positional()[1] : entryPlan.commands.empty() || entry.symbols.size() != given.size() ||
                                                      !std::all_of(entry.symbols.begin(), entry.symbols.end(), [&](const std::string &symbol) { return given.count(symbol); }))
      continue;
    bench.entry = name;
    bench.symbols = bindShape(manifest, entry, given);
    entries.push_back(bench);
  }
  if (entries.empty()) {
    if (options.positional().size() == 2)
      manifest.entry(options.positional()[1]); // says what there is
    throw UsageError("--shape: no entry of the package has exactly these symbols");
  }
  std::vector<TunedKernel> kernels = tuneKernels(package, *device, target, entries, threads);
  if (kernels.empty())
    fail(path, ": no kernel with several schedules runs in ", entries.size() == 1 ? "entry '" + entries[0].entry + "'" : "these entries");

  std::string names;
  for (const BenchOptions &entry : entries)
    names += concat(names.empty() ? "" : ", ", entry.entry);
  std::printf("%s, %s (%s), %s\nthe least of three medians, %lld runs of each schedule in all; %lld before each median\n\n", package.source().c_str(), names.c_str(), symbolsText(entries[0].symbols).c_str(),
              device->description().c_str(), static_cast<long long>(tunedRuns(bench.repeat)), static_cast<long long>(bench.warmup));
  printTable(plan, kernels);
  if (!save)
    return 0;
  Json measured = {{"device", device->description()}, {"entries", names}, {"symbols", entries[0].symbols}};
  writeFile(*save, jsonText(scheduleFile(plan, target, kernels, measured)) + "\n");
  return 0;
}

} // namespace mhcrt
