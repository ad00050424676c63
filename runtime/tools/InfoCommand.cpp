#include "Options.h"
#include "base/Checked.h"
#include "hal/cpu/Blas.h"
#include "hal/cuda/CudaDriver.h"
#include "package/Package.h"
#include "plan/Binding.h"
#include "plan/Layout.h"

#include <mhc/Package/Allocator.h>

#include <algorithm>
#include <cstdio>
#include <dlfcn.h>
#include <set>

namespace mhcrt {
namespace {

/// Which libraries the ops could be served by; several names since version numbers are part of them.
void printLibraries() {
  auto look = [](const char *what, std::initializer_list<const char *> names) {
    for (const char *name : names)
      if (void *handle = ::dlopen(name, RTLD_LAZY | RTLD_LOCAL)) {
        std::printf("%-10s found (%s)\n", what, name);
        ::dlclose(handle);
        return;
      }
    std::printf("%-10s not found\n", what);
  };
  std::printf("%-10s %s\n", "cpu gemm", blas::description().c_str());
  look("openblas", {"libopenblas.so.0", "libopenblas.so"});
  look("libcuda", {"libcuda.so.1"});
  std::printf("%-10s %s\n", "cublaslt", describeCublasLt().c_str());
  std::printf("%-10s %s\n", "cudnn", describeCudnn().c_str());
  look("nccl", {"libnccl.so.2", "libnccl.so"});
  std::printf("%-10s %s\n", "gpu", describeCuda().c_str());
}

std::string shapeText(const TensorSpec &spec) {
  std::string text = "[";
  for (size_t i = 0; i < spec.shape.size(); ++i)
    text += (i ? ", " : "") + spec.shape[i].text();
  return text + "]";
}

Json specJson(const std::vector<TensorSpec> &list) {
  Json result = Json::array();
  for (const TensorSpec &spec : list) {
    Json shape = Json::array();
    for (const Affine &dimension : spec.shape)
      shape.push_back(dimension.terms.empty() ? Json(dimension.constant) : Json(dimension.text()));
    result.push_back({{"name", spec.name}, {"dtype", name(spec.dtype)}, {"shape", shape}});
  }
  return result;
}

bool isGiven(const Entry &entry, const Symbols &given) {
  return std::all_of(entry.symbols.begin(), entry.symbols.end(), [&](auto &symbol) { return given.count(symbol); });
}

std::string list(const std::set<std::string> &words) {
  std::string text;
  for (const std::string &word : words)
    text += (text.empty() ? "" : ", ") + word;
  return text.empty() ? "none" : text;
}

/// Every symbol given must belong to an entry whose symbols are all given: else its value would mean nothing.
void checkSymbols(const Manifest &manifest, const Symbols &given) {
  std::set<std::string> known, used;
  for (const auto &[name, entry] : manifest.entries) {
    known.insert(entry.symbols.begin(), entry.symbols.end());
    if (isGiven(entry, given))
      used.insert(entry.symbols.begin(), entry.symbols.end());
  }
  for (const auto &[symbol, value] : given) {
    if (!known.count(symbol))
      throw UsageError("--memory: no entry has a symbol '" + symbol + "' (there are: " + list(known) + ")");
    if (!used.count(symbol))
      throw UsageError("--memory: no entry goes by '" + symbol + "' and what else is given (there are: " + list(known) +
                       ")");
  }
}

/// What an entry needs for the given symbols, on one target. Null if it has symbols that were not given.
Json entryMemory(const Package &package, const std::string &targetName, const TargetPlan &target, const Entry &entry,
                 const Symbols &given) {
  if (!isGiven(entry, given))
    return nullptr;
  auto plan = target.entries.find(entry.name);
  if (plan == target.entries.end())
    return nullptr;
  Symbols symbols = bindValues(package.manifest(), entry, given);
  bool cpu = targetName == "cpu";
  Layout layout =
      layOut(package.manifest(), entry, target, plan->second, symbols, [&](const Kernel &kernel, int64_t rows) {
        return cpu ? mhc::cpuRowBlocks(rows, kernel.tile, kernel.reduces).count
                   : mhc::gpuGrid(rows, kernel.tile, kernel.reduces);
      });
  auto bytes = [&](const std::vector<TensorSpec> &list) {
    int64_t sum = 0;
    for (const TensorSpec &spec : list) {
      int64_t count = elementCount(evaluateShape(spec, symbols), spec.name);
      sum = checkedAdd(sum, checkedMultiply(count, byteSize(spec.dtype), spec.name), spec.name);
    }
    return sum;
  };
  return {{"arena", layout.arenaBytes}, {"inputs", bytes(entry.inputs)}, {"outputs", bytes(entry.outputs)}};
}

Json describe(const Package &package, const std::optional<Symbols> &memory) {
  const Manifest &manifest = package.manifest();
  Json result = {{"format", 1},
                 {"producer", manifest.producer},
                 {"kind", manifest.kind},
                 {"requires", manifest.requirements},
                 {"targets", manifest.targets}};
  if (!manifest.dtype.empty())
    result["dtype"] = manifest.dtype;
  for (const char *key : {"parameters", "model", "training", "arenas"})
    if (manifest.document.contains(key))
      result[key] = manifest.document[key];
  Json entries = Json::object();
  for (const auto &[name, entry] : manifest.entries)
    entries[name] = {{"symbols", entry.symbols},
                     {"inputs", specJson(entry.inputs)},
                     {"outputs", specJson(entry.outputs)},
                     {"parameters", entry.parameters},
                     {"gradients", entry.gradients}};
  result["entries"] = entries;
  Json kernels = Json::object();
  for (const auto &[target, plan] : package.targets()) {
    kernels[target] = Json::array();
    for (const Kernel &kernel : plan.kernels)
      kernels[target].push_back(kernel.name);
    if (memory)
      for (const auto &[name, entry] : manifest.entries)
        if (Json needed = entryMemory(package, target, plan, entry, *memory); !needed.is_null())
          result["memory"][target][name] = needed;
  }
  result["kernels"] = kernels;
  result["tensors"] = manifest.tensors.size();
  return result;
}

void printText(const Package &package, const Json &info) {
  const Manifest &manifest = package.manifest();
  std::printf("%s: %s%s%s, by %s\n", package.source().c_str(), manifest.kind.c_str(),
              manifest.dtype.empty() ? "" : ", ", manifest.dtype.c_str(), manifest.producer.c_str());
  if (info.contains("parameters"))
    std::printf("parameters: %s\n", info["parameters"].dump().c_str());
  for (const auto &[target, plan] : package.targets())
    std::printf("target %s: %zu kernels, %zu entries\n", target.c_str(), plan.kernels.size(), plan.entries.size());
  for (const auto &[name, entry] : manifest.entries) {
    std::printf("entry %s\n", name.c_str());
    for (const TensorSpec &spec : entry.inputs)
      std::printf("  in  %s %s %s\n", spec.name.c_str(), mhcrt::name(spec.dtype), shapeText(spec).c_str());
    if (entry.parameters)
      std::printf("  in  the model's %zu tensors\n", manifest.tensors.size());
    for (const TensorSpec &spec : entry.outputs)
      std::printf("  out %s %s %s\n", spec.name.c_str(), mhcrt::name(spec.dtype), shapeText(spec).c_str());
    if (entry.gradients)
      std::printf("  out grad. + name of each\n");
  }
  if (info.contains("memory"))
    for (const auto &[target, entries] : info["memory"].items())
      for (const auto &[name, needed] : entries.items())
        std::printf("memory of %s on %s: arena %s, inputs %s, outputs %s bytes\n", name.c_str(), target.c_str(),
                    needed["arena"].dump().c_str(), needed["inputs"].dump().c_str(), needed["outputs"].dump().c_str());
}

} // namespace

int infoCommand(const std::vector<std::string> &arguments) {
  Options options(arguments, {"json", "libs"}, {"memory", "threads"});
  if (options.flag("libs")) {
    if (!options.positional().empty() || options.flag("json"))
      throw UsageError("expected mhc-run info --libs");
    printLibraries();
    return 0;
  }
  if (options.positional().size() != 1)
    throw UsageError("expected mhc-run info PACKAGE [--json] [--memory=T=4096], or mhc-run info --libs");
  std::optional<Symbols> memory;
  if (options.value("memory"))
    memory = options.symbols("memory");
  options.threads(); // has no effect here, but a wrong one is wrong everywhere
  Package package = Package::open(options.positional()[0]);
  if (memory)
    checkSymbols(package.manifest(), *memory);
  Json info = describe(package, memory);
  if (options.flag("json"))
    std::printf("%s\n", jsonText(info).c_str());
  else
    printText(package, info);
  return 0;
}

} // namespace mhcrt
