#include "hal/cuda/CudaModule.h"

#include <charconv>
#include <string_view>

namespace mhcrt {
namespace {

/// "sm_90a": the number, and whether code for it runs on exactly this architecture only.
struct Architecture {
  int number = 0;
  bool exact = false, family = false;
};

bool parseArchitecture(const std::string &text, Architecture &result) {
  if (text.rfind("sm_", 0) != 0)
    return false;
  auto [end, code] = std::from_chars(text.data() + 3, text.data() + text.size(), result.number);
  std::string suffix(end, text.data() + text.size());
  result.exact = suffix == "a";
  result.family = suffix == "f";
  return code == std::errc() && (suffix.empty() || result.exact || result.family);
}

/// Does a device of compute capability `device` (90 for 9.0) run code of this architecture, PTX included?
bool runsOn(const Architecture &architecture, int device) {
  if (architecture.exact)
    return architecture.number == device;
  if (architecture.family)
    return architecture.number / 10 == device / 10 && architecture.number <= device;
  return architecture.number <= device;
}

} // namespace

CudaModule::CudaModule(const cuda::Driver &driver, cuda::DeviceHandle device, const Package &package)
    : driver(driver), device(device), source(package.source()) {
  char text[256] = {};
  cuda::check(driver.deviceGetName(text, sizeof text - 1, device), "device 0");
  deviceText = text;
  int major = 0, minor = 0;
  cuda::check(driver.deviceGetAttribute(&major, cuda::AttributeComputeMajor, device), "device 0");
  cuda::check(driver.deviceGetAttribute(&minor, cuda::AttributeComputeMinor, device), "device 0");
  chooseTarget(package, major, minor);
  targetPlan = &package.targets().at(name);
  load(package, major * 10 + minor);
  try {
    for (const Kernel &kernel : targetPlan->kernels)
      try {
        kernels.emplace(&kernel, prepare(kernel.symbol, kernel.threads, kernel.shared));
        if (!kernel.maps.empty())
          activeClusters.emplace(&kernel, kernel.group ? countGroups(kernel) : countClusters(kernel));
      } catch (const Error &) {
        kernels.erase(&kernel);
        if (kernel.variantOf == SIZE_MAX) // the device may be too small for one of several schedules
          throw;
      }
    for (const auto &[symbol, kernel] : targetPlan->library)
      libraryKernels.emplace(symbol, std::pair(&kernel, prepare(symbol, kernel.threads, kernel.shared)));
  } catch (...) {
    driver.moduleUnload(module);
    throw;
  }
}

CudaModule::~CudaModule() { driver.moduleUnload(module); }

cuda::Function CudaModule::find(const char *symbol) const {
  cuda::Function function = nullptr;
  // Kernels of the runtime itself, which packages bring along, are not named in plan.json.
  bool ours = std::string_view(symbol).starts_with("mhc_");
  cuda::check(driver.moduleGetFunction(&function, module, symbol),
              concat("kernel '", symbol, "'", ours ? " (packages of earlier compilers may lack it: compile the model again)" : ""));
  return function;
}

cuda::Function CudaModule::prepare(const std::string &symbol, int64_t threads, int64_t shared) const {
  if (threads < 1)
    fail(source, ": kernel '", symbol, "' of target ", name, " has no number of threads");
  cuda::Function function = find(symbol.c_str());
  if (shared > 48 * 1024)
    cuda::check(driver.functionSetAttribute(function, cuda::FunctionMaxDynamicShared, static_cast<int>(shared)),
                concat("shared memory of kernel '", symbol, "'"));
  return function;
}

int64_t CudaModule::countClusters(const Kernel &kernel) const {
  if (!driver.maxActiveClusters || !driver.encodeTiled)
    fail(source, ": kernel '", kernel.name, "' runs in clusters, which the driver is too old for (or compile with --exchange=none)");
  cuda::Function code = function(kernel);
  std::string what = concat("clusters of kernel '", kernel.name, "'");
  if (kernel.cluster > 8) // what every device has
    cuda::check(driver.functionSetAttribute(code, cuda::FunctionAnyClusterSize, 1), what);
  cuda::LaunchAttribute attribute;
  attribute.cluster[0] = static_cast<unsigned>(kernel.cluster);
  cuda::LaunchConfig config{{attribute.cluster[0], 1, 1}, {static_cast<unsigned>(kernel.threads), 1, 1}, static_cast<unsigned>(kernel.shared), nullptr, &attribute, 1};
  int count = 0;
  cuda::check(driver.maxActiveClusters(&count, code, &config), what);
  if (count < 1)
    fail(source, ": ", deviceText, " holds no cluster of ", kernel.cluster, " blocks of kernel '", kernel.name, "' (compile with --exchange=none)");
  return count;
}

/// All blocks wait for others of their group, so that no group may begin before there is room for it.
int64_t CudaModule::countGroups(const Kernel &kernel) const {
  if (!driver.maxActiveBlocks || !driver.launchCooperative || !driver.encodeTiled)
    fail(source, ": kernel '", kernel.name, "' runs in groups of blocks, which the driver is too old for (or compile with --exchange=none)");
  int blocks = 0, units = 0;
  std::string what = concat("blocks of kernel '", kernel.name, "'");
  cuda::check(driver.maxActiveBlocks(&blocks, function(kernel), static_cast<int>(kernel.threads), static_cast<size_t>(kernel.shared)), what);
  cuda::check(driver.deviceGetAttribute(&units, cuda::AttributeMultiprocessors, device), what);
  if (blocks * units < kernel.group)
    fail(source, ": ", deviceText, " holds no group of ", kernel.group, " blocks of kernel '", kernel.name, "' (compile with --exchange=none)");
  return blocks * units / kernel.group;
}

std::pair<const LibraryKernel *, cuda::Function> CudaModule::library(const std::string &symbol) const {
  auto found = libraryKernels.find(symbol);
  if (found == libraryKernels.end())
    fail(source, ": target ", name, " has no library kernel '", symbol, "' (compile the model again)");
  return found->second;
}

/// The most specific target that this GPU runs: an exact one, then a family's, then the highest number.
void CudaModule::chooseTarget(const Package &package, int major, int minor) {
  std::string list;
  int best = -1;
  for (const auto &[target, plan] : package.targets()) {
    list += (list.empty() ? "" : ", ") + target;
    Architecture architecture;
    if (!parseArchitecture(target, architecture) || !runsOn(architecture, major * 10 + minor))
      continue;
    int rank = architecture.number + (architecture.exact ? 20000 : architecture.family ? 10000 : 0);
    if (rank > best) {
      best = rank;
      name = target;
    }
  }
  if (best < 0)
    fail(package.source(), ": the package has no code for ", deviceText, " (compute capability ", major, ".", minor,
         "); its targets are ", list, " (compile with --target=sm_", major, minor, major >= 9 ? "a)" : ")");
}

void CudaModule::load(const Package &package, int device) {
  Architecture architecture;
  parseArchitecture(name, architecture);
  std::string problem;
  // A cubin runs within its major version only; PTX is compiled by the driver for anything later.
  auto cubin = package.section("kernels/" + name + ".cubin");
  if (cubin && architecture.number / 10 == device / 10 && tryLoad(std::string(*cubin), problem))
    return;
  auto ptx = package.section("kernels/" + name + ".ptx");
  if (ptx && tryLoad(std::string(*ptx), problem)) // a std::string: the driver wants a NUL at the end
    return;
  if (!cubin && !ptx)
    fail(package.source(), ": the package has neither kernels/", name, ".cubin nor .ptx");
  fail(package.source(), ": the driver does not load the kernels of ", name, ": ", problem);
}

bool CudaModule::tryLoad(const std::string &image, std::string &problem) {
  std::vector<char> log(8192);
  int options[] = {cuda::JitErrorLogBuffer, cuda::JitErrorLogBufferSize};
  void *values[] = {log.data(), reinterpret_cast<void *>(log.size() - 1)};
  cuda::Result result = driver.moduleLoadDataEx(&module, image.c_str(), 2, options, values);
  if (result == 0)
    return true;
  module = nullptr;
  const char *error = nullptr;
  driver.getErrorName(result, &error);
  problem = concat(error ? error : "unknown error", log[0] ? ": " : "", log.data());
  while (!problem.empty() && problem.back() == '\n')
    problem.pop_back();
  return false;
}

} // namespace mhcrt
