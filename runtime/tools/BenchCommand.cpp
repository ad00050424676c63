#include "Options.h"
#include "Shape.h"
#include "base/ThreadPool.h"
#include "bench/Bench.h"
#include "plan/Binding.h"

#include <algorithm>
#include <cstdio>

namespace mhcrt {
namespace {

/// Measured time over the time that bytes take at the copy rate; null where that says nothing.
Json ratioTo(double bytes, double seconds, double copyRate) { return bytes > 0 && copyRate > 0 ? Json(seconds * copyRate / bytes) : Json(); }

Json itemJson(const BenchItem &item, double copyRate) {
  return {{"name", item.name},
          {"op", item.op},
          {"at", item.at},
          {"index", item.index},
          {"launches", item.launches},
          {"again", item.again},
          {"seconds", item.seconds},
          {"read", item.bytes.read},
          {"written", item.bytes.written},
          {"ratio", ratioTo(static_cast<double>(item.bytes.read + item.bytes.written), item.seconds, copyRate)}};
}

Json resultJson(const BenchResult &result) {
  Json json = {{"seconds", result.seconds},
               {"read", result.bytes.read},
               {"written", result.bytes.written},
               {"copy_rate", result.copyRate},
               {"fma_rate", result.multiplyAddRate > 0 ? Json(result.multiplyAddRate) : Json()}};
  double copySeconds = static_cast<double>(result.bytes.read + result.bytes.written) / result.copyRate;
  json["copy_seconds"] = copySeconds;
  json["ratio"] = copySeconds > 0 ? Json(result.seconds / copySeconds) : Json();
  const double floor = static_cast<double>(result.floorBytes);
  json["floor"] = result.floorBytes > 0 ? Json(result.floorBytes) : Json();
  json["floor_seconds"] = result.floorBytes > 0 ? Json(floor / result.copyRate) : Json();
  json["floor_ratio"] = ratioTo(floor, result.seconds, result.copyRate);
  json["prepare_seconds"] = result.prepareSeconds;
  json["again_seconds"] = result.againSeconds;
  json["own_seconds"] = result.ownSeconds;
  json["own_floor_ratio"] = ratioTo(floor, result.ownSeconds, result.copyRate);
  for (const char *key : {"kernels", "commands"}) {
    Json &list = json[key] = Json::array();
    for (const BenchItem &item : *key == 'k' ? result.kernels : result.commands)
      list.push_back(itemJson(item, result.copyRate));
  }
  return json;
}

/// One line of the table. A command without traffic of its own (parameters only) has no rate.
void printItem(const BenchItem &item, double total, double copyRate, int width, const std::string &place) {
  double bytes = static_cast<double>(item.bytes.read + item.bytes.written);
  char rate[32] = "-", ratio[32] = "-";
  if (bytes > 0 && item.seconds > 0) {
    std::snprintf(rate, sizeof rate, "%.2f", bytes / item.seconds * 1e-9);
    if (copyRate > 0)
      std::snprintf(ratio, sizeof ratio, "%.2f", item.seconds * copyRate / bytes);
  }
  std::printf("%-*s %8lld %12.1f %6.1f%% %11.3f %11.3f %8s %8s  %s\n", width, item.name.c_str(),
              static_cast<long long>(item.launches), item.seconds * 1e6, total > 0 ? 100 * item.seconds / total : 0,
              static_cast<double>(item.bytes.read) * 1e-6, static_cast<double>(item.bytes.written) * 1e-6, rate, ratio,
              place.c_str());
}

void printTable(const BenchResult &result) {
  std::vector<BenchItem> kernels = result.kernels;
  std::stable_sort(kernels.begin(), kernels.end(),
                   [](const BenchItem &a, const BenchItem &b) { return a.seconds > b.seconds; });
  size_t width = 6;
  double sum = 0;
  for (const BenchItem &item : kernels) {
    width = std::max(width, item.name.size());
    sum += item.seconds;
  }
  const int column = static_cast<int>(width);
  std::printf("%-*s %8s %12s %7s %11s %11s %8s %8s  %s\n", column, "kernel", "launches", "us", "share", "read MB",
              "written MB", "GB/s", "x floor", "place");
  int64_t again = 0;
  for (const BenchItem &item : kernels) {
    std::string place = item.launches > 1 && !item.at.empty() ? concat(item.at, " and ", item.launches - 1, " more") : item.at;
    if (item.again)
      place += item.again == item.launches ? std::string(" (again)") : concat(" (", item.again, " of them again)");
    printItem(item, sum, result.copyRate, column, place);
    again += item.again;
  }
  BenchItem total;
  total.name = "total";
  total.launches = static_cast<int64_t>(result.commands.size());
  total.seconds = result.seconds;
  total.bytes = result.bytes;
  printItem(total, result.seconds, result.copyRate, column, "");

  double bytes = static_cast<double>(result.bytes.read + result.bytes.written);
  std::printf("copy rate %.2f GB/s (read + written)", result.copyRate * 1e-9);
  if (bytes > 0)
    std::printf(": these bytes take %.1f us, the entry %.2f times as long", bytes / result.copyRate * 1e6,
                result.seconds * result.copyRate / bytes);
  std::printf("\n");
  if (result.floorBytes > 0) {
    const double floor = static_cast<double>(result.floorBytes);
    std::printf("floor of the entry %.3f MB: %.1f us at that rate, the entry %.2f times as long\n", floor * 1e-6, floor / result.copyRate * 1e6,
                result.seconds * result.copyRate / floor);
    if (again) // the floor does not count it
      std::printf("one by one: %.1f us in %lld commands that compute again what forward has computed, %.1f us in the others, %.2f times as long as the floor\n",
                  result.againSeconds * 1e6, static_cast<long long>(again), result.ownSeconds * 1e6, result.ownSeconds * result.copyRate / floor);
  }
  if (result.prepareSeconds > 0)
    std::printf("marking the exchanges of all launches, once a run: %.1f us of the total\n", result.prepareSeconds * 1e6);
  if (result.multiplyAddRate > 0)
    std::printf("multiply-add rate %.1f Gflop/s (fp32)\n", result.multiplyAddRate * 1e-9);
}

} // namespace

std::string symbolsText(const Symbols &symbols) {
  std::string text;
  for (const auto &[symbol, value] : symbols)
    text += concat(text.empty() ? "" : ", ", symbol, " = ", value);
  return text.empty() ? "no symbols" : text;
}

Symbols bindShape(const Manifest &manifest, const Entry &entry, const Symbols &given) {
  for (const auto &[symbol, value] : given)
    if (std::find(entry.symbols.begin(), entry.symbols.end(), symbol) == entry.symbols.end())
      throw UsageError("--shape: entry '" + entry.name + "' has no symbol '" + symbol + "'");
  for (const std::string &symbol : entry.symbols)
    if (!given.count(symbol))
      throw UsageError("--shape: entry '" + entry.name + "' needs a value of '" + symbol + "'");
  return bindValues(manifest, entry, given);
}

int benchCommand(const std::vector<std::string> &arguments) {
  Options options(arguments, {"json"}, {"device", "shape", "repeat", "warmup", "seed", "threads"});
  if (options.positional().size() != 2)
    throw UsageError("expected mhc-run bench PACKAGE ENTRY --shape=T=4096 [options] (see mhc-run --help)");
  const std::string kind = options.value("device", "cpu");
  const int threads = chooseThreads(options.threads());
  BenchOptions bench;
  bench.entry = options.positional()[1];
  bench.repeat = options.integer("repeat", 1).value_or(bench.repeat);
  bench.warmup = options.integer("warmup", 0).value_or(bench.warmup);
  bench.seed = options.integer("seed", INT64_MIN).value_or(bench.seed);
  const Symbols given = options.symbols("shape");

  Package package = Package::open(options.positional()[0]);
  bench.symbols = bindShape(package.manifest(), package.manifest().entry(bench.entry), given);
  std::string target;
  std::unique_ptr<Device> device = openDevice(kind, package, threads, target);
  BenchResult result = benchEntry(package, *device, target, bench, threads);

  if (options.flag("json")) {
    Json json = resultJson(result);
    json["package"] = package.source();
    json["entry"] = bench.entry;
    json["symbols"] = bench.symbols;
    json["device"] = device->description();
    json["target"] = target;
    json["threads"] = device->isHost() ? Json(threads) : Json();
    json["repeat"] = bench.repeat;
    json["warmup"] = bench.warmup;
    json["seed"] = bench.seed;
    std::printf("%s\n", jsonText(json).c_str());
    return 0;
  }
  std::printf("%s, entry %s (%s), %s\nmedian of %lld runs after %lld\n\n", package.source().c_str(),
              bench.entry.c_str(), symbolsText(bench.symbols).c_str(), device->description().c_str(),
              static_cast<long long>(bench.repeat), static_cast<long long>(bench.warmup));
  printTable(result);
  return 0;
}

} // namespace mhcrt
