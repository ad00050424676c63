#include "bench/Tune.h"

#include <algorithm>

namespace mhcrt {
namespace {

/// A variant must be faster by more than what two measurements of the same differ in.
constexpr double worthChanging = 0.99;

/// Runs of a schedule are cut into so many stretches, between which all others run: what else the machine does changes with the minute. The fastest counts.
constexpr int64_t stretches = 3;

/// Seconds of each kernel with this choice of variants: the least of the stretches so far.
void takeTimes(const Package &package, Device &device, const std::string &target, BenchOptions options, int threads, const std::vector<TunedKernel> &kernels, size_t round,
               std::map<std::pair<size_t, size_t>, BenchItem> &times) {
  const TargetPlan &plan = package.targets().at(target);
  options.rates = false;
  options.repeat = tunedRuns(options.repeat) / stretches;
  for (const TunedKernel &kernel : kernels)
    if (round < kernel.variants.size() && kernel.variants[round].runs && round > 0)
      options.variants[kernel.kernel] = kernel.variants[round].kernel;
  BenchResult result = benchEntry(package, device, target, options, threads);
  for (size_t i = 0; i < kernels.size(); ++i) {
    if (round >= kernels[i].variants.size())
      continue;
    for (const BenchItem &item : result.kernels)
      if (item.op == name(Op::Launch) && item.name == plan.kernels[kernels[i].kernel].name) {
        auto [found, fresh] = times.emplace(std::pair(i, round), item);
        if (!fresh)
          found->second.seconds = std::min(found->second.seconds, item.seconds);
      }
  }
}

/// A schedule that nobody has written down cannot be shown, or asked for.
void checkNamed(const Package &package, const Kernel &kernel) {
  if (!kernel.schedule.is_object())
    fail(package.source(), ": kernel '", kernel.name, "' has no 'schedule' in plan.json, which says what is timed (compile the model again)");
}

} // namespace

int64_t tunedRuns(int64_t repeat) { return std::max<int64_t>(1, repeat / stretches) * stretches; }

std::vector<TunedKernel> tuneKernels(const Package &package, Device &device, const std::string &target, const std::vector<BenchOptions> &entries, int threads) {
  const TargetPlan &plan = package.targets().at(target);
  std::map<size_t, TunedKernel> found;
  for (size_t i = 0; i < plan.kernels.size(); ++i)
    if (size_t base = plan.kernels[i].variantOf; base != SIZE_MAX) {
      checkNamed(package, plan.kernels[base]);
      checkNamed(package, plan.kernels[i]);
      TunedKernel &kernel = found[base];
      if (kernel.variants.empty()) {
        kernel.kernel = base;
        kernel.variants.push_back({base});
      }
      kernel.variants.push_back({i, device.has(plan.kernels[i])});
    }
  std::vector<TunedKernel> kernels;
  size_t rounds = 0;
  for (auto &[base, kernel] : found) {
    rounds = std::max(rounds, kernel.variants.size());
    kernels.push_back(std::move(kernel));
  }
  for (const BenchOptions &entry : entries) {
    std::map<std::pair<size_t, size_t>, BenchItem> times; // by kernel and variant
    for (int64_t stretch = 0; stretch < stretches; ++stretch)
      for (size_t round = 0; round < rounds; ++round)
        takeTimes(package, device, target, entry, threads, kernels, round, times);
    for (const auto &[which, item] : times) {
      TunedKernel &kernel = kernels[which.first];
      kernel.variants[which.second].seconds += item.seconds;
      kernel.launches += which.second == 0 ? item.launches : 0;
    }
  }
  kernels.erase(std::remove_if(kernels.begin(), kernels.end(), [](const TunedKernel &kernel) { return kernel.launches == 0; }), kernels.end());
  for (TunedKernel &kernel : kernels)
    for (size_t i = 1; i < kernel.variants.size(); ++i)
      if (kernel.variants[i].runs && kernel.variants[i].seconds < kernel.variants[kernel.best].seconds * (kernel.best ? 1 : worthChanging))
        kernel.best = i;
  return kernels;
}

Json scheduleFile(const TargetPlan &plan, const std::string &target, const std::vector<TunedKernel> &kernels, const Json &measured) {
  Json list = Json::array();
  for (const TunedKernel &tuned : kernels) {
    const Kernel &base = plan.kernels[tuned.kernel];
    const TunedVariant &best = tuned.variants[tuned.best];
    Json entry = {{"kernel", base.name}, {"target", target}, {"schedule", plan.kernels[best.kernel].schedule}, {"measured", measured}};
    if (!base.structure.empty())
      entry["structure"] = base.structure;
    if (!base.shape.empty())
      entry["shape"] = base.shape;
    entry["measured"]["microseconds"] = best.seconds / static_cast<double>(tuned.launches) * 1e6;
    entry["measured"]["default_microseconds"] = tuned.variants[0].seconds / static_cast<double>(tuned.launches) * 1e6;
    list.push_back(std::move(entry));
  }
  return list;
}

} // namespace mhcrt
