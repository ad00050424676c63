//===- CudaDevice.cpp - generated GPU kernels by the driver API ------------===//
#include "hal/Device.h"
#include "hal/cuda/CudaDriver.h"

#include <mhc/Package/Allocator.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <unordered_map>

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

/// Events of the driver on the one stream that the device uses.
class CudaTimeline final : public Timeline {
public:
  explicit CudaTimeline(const cuda::Driver &driver) : driver(driver) {}
  ~CudaTimeline() override {
    for (cuda::Event event : events)
      driver.eventDestroy(event);
  }
  void mark() override {
    if (used == events.size()) {
      events.push_back(nullptr);
      cuda::check(driver.eventCreate(&events.back(), 0), "creating an event");
    }
    cuda::check(driver.eventRecord(events[used++], nullptr), "recording an event");
  }
  std::vector<double> finish() override {
    std::vector<double> seconds;
    for (size_t i = 1; i < used; ++i) {
      float milliseconds = 0;
      cuda::check(driver.eventElapsedTime(&milliseconds, events[i - 1], events[i]), "reading an event");
      seconds.push_back(milliseconds * 1e-3);
    }
    used = 0; // the events serve again
    return seconds;
  }

private:
  const cuda::Driver &driver;
  std::vector<cuda::Event> events;
  size_t used = 0;
};

class CudaDevice final : public Device {
public:
  explicit CudaDevice(const Package &package) : driver(cuda::driver()) {
    cuda::check(driver.deviceGet(&handle, 0), "device 0");
    cuda::check(driver.primaryContextRetain(&context, handle), "starting device 0");
    try {
      open(package);
    } catch (...) {
      close();
      throw;
    }
  }
  ~CudaDevice() override { close(); }

  const std::string &targetName() const { return target; }

  std::string description() const override { return concat("cuda, ", deviceName, ", ", target); }

  char *allocate(uint64_t bytes) override {
    cuda::Pointer address = 0;
    cuda::check(driver.memoryAllocate(&address, bytes), concat("allocating ", bytes, " bytes"));
    return reinterpret_cast<char *>(address);
  }
  void release(char *address) override { driver.memoryFree(reinterpret_cast<cuda::Pointer>(address)); }

  void copyIn(void *to, const void *from, uint64_t bytes) override {
    if (bytes)
      cuda::check(driver.copyToDevice(pointer(to), from, bytes), "copying to the device");
  }
  void copyOut(void *to, const void *from, uint64_t bytes) override {
    if (bytes)
      cuda::check(driver.copyToHost(to, pointer(from), bytes), "copying from the device");
  }
  void copy(void *to, const void *from, uint64_t bytes) override {
    if (bytes)
      cuda::check(driver.copyOnDevice(pointer(to), pointer(from), bytes), "copying on the device");
  }
  void fillBytes(void *to, uint8_t value, uint64_t bytes) override {
    if (bytes)
      cuda::check(driver.set8(pointer(to), value, bytes), "filling memory");
  }
  void synchronize() override { cuda::check(driver.contextSynchronize(), "running the kernels"); }

  void fill(void *to, DType type, int64_t count, double value) override {
    if (count == 0)
      return;
    if (value == 0 && !std::signbit(value))
      return fillBytes(to, 0, count * byteSize(type));
    switch (type) {
    case DType::BF16:
      return cuda::check(driver.set16(pointer(to), toBf16(static_cast<float>(value)), count), "filling memory");
    case DType::F32: {
      float narrow = static_cast<float>(value);
      unsigned bits;
      std::memcpy(&bits, &narrow, sizeof bits);
      return cuda::check(driver.set32(pointer(to), bits, count), "filling memory");
    }
    case DType::I32:
      return cuda::check(driver.set32(pointer(to), static_cast<unsigned>(static_cast<int32_t>(value)), count),
                         "filling memory");
    case DType::F64: // the driver sets at most 32 bits at a time
      return copyIn(to, std::vector<double>(count, value).data(), count * 8);
    case DType::I64:
      return copyIn(to, std::vector<int64_t>(count, static_cast<int64_t>(value)).data(), count * 8);
    }
  }

  int64_t partials(const Kernel &kernel, int64_t rows) const override {
    return mhc::gpuGrid(rows, kernel.tile, kernel.reduces);
  }

  void launch(const Kernel &kernel, int64_t rows, const std::vector<void *> &args,
              const std::vector<int64_t> &ints) override {
    int64_t grid = mhc::gpuGrid(rows, kernel.tile, kernel.reduces);
    if (grid == 0)
      return;
    std::vector<uint64_t> values;
    for (void *address : args)
      values.push_back(pointer(address));
    values.push_back(rows);
    values.insert(values.end(), ints.begin(), ints.end());
    start(kernels.at(&kernel), grid, kernel.threads, kernel.shared, values, kernel.name);
  }

  void sumPartials(const void *partials, void *out, DType type, int64_t size, int64_t count, bool accumulate) override {
    if (size == 0)
      return;
    if (count == 0) {
      if (!accumulate)
        fillBytes(out, 0, size * byteSize(type));
      return;
    }
    const char *symbol = type == DType::F64 ? "mhc_sum_partials_f64" : "mhc_sum_partials_f32";
    cuda::Function &function = sums[type == DType::F64];
    if (!function)
      cuda::check(driver.moduleGetFunction(&function, module, symbol), concat("kernel '", symbol, "'"));
    std::vector<uint64_t> values = {pointer(partials), pointer(out), static_cast<uint64_t>(size),
                                    static_cast<uint64_t>(count), accumulate};
    start(function, mhc::ceilDivide(size, 256), 256, 0, values, symbol);
  }

  std::unique_ptr<Timeline> timeline() override { return std::make_unique<CudaTimeline>(driver); }

private:
  static cuda::Pointer pointer(const void *address) { return reinterpret_cast<cuda::Pointer>(address); }

  void start(cuda::Function function, int64_t grid, int64_t threads, int64_t shared, std::vector<uint64_t> &values,
             const std::string &name) {
    if (grid > INT32_MAX)
      fail("cuda: kernel '", name, "' needs ", grid, " blocks, more than a launch can have");
    std::vector<void *> parameters;
    for (uint64_t &value : values)
      parameters.push_back(&value);
    cuda::check(driver.launchKernel(function, static_cast<unsigned>(grid), 1, 1, static_cast<unsigned>(threads), 1, 1,
                                    static_cast<unsigned>(shared), nullptr, parameters.data(), nullptr),
                concat("launching kernel '", name, "'"));
  }

  void open(const Package &package) {
    cuda::check(driver.contextSetCurrent(context), "device 0");
    char text[256] = {};
    cuda::check(driver.deviceGetName(text, sizeof text - 1, handle), "device 0");
    deviceName = text;
    int major = 0, minor = 0;
    cuda::check(driver.deviceGetAttribute(&major, cuda::AttributeComputeMajor, handle), "device 0");
    cuda::check(driver.deviceGetAttribute(&minor, cuda::AttributeComputeMinor, handle), "device 0");
    chooseTarget(package, major, minor);
    loadModule(package, major * 10 + minor);
    for (const Kernel &kernel : package.targets().at(target).kernels) {
      if (kernel.threads < 1)
        fail("kernel '", kernel.name, "' of target ", target, " has no number of threads");
      cuda::Function function = nullptr;
      cuda::check(driver.moduleGetFunction(&function, module, kernel.symbol.c_str()),
                  concat("kernel '", kernel.name, "'"));
      if (kernel.shared > 48 * 1024)
        cuda::check(
            driver.functionSetAttribute(function, cuda::FunctionMaxDynamicShared, static_cast<int>(kernel.shared)),
            concat("shared memory of kernel '", kernel.name, "'"));
      kernels.emplace(&kernel, function);
    }
  }

  /// The most specific target that this GPU runs: an exact one, then a family's, then the highest number.
  void chooseTarget(const Package &package, int major, int minor) {
    std::string list;
    int best = -1;
    for (const auto &[name, plan] : package.targets()) {
      list += (list.empty() ? "" : ", ") + name;
      Architecture architecture;
      if (!parseArchitecture(name, architecture) || !runsOn(architecture, major * 10 + minor))
        continue;
      int rank = architecture.number + (architecture.exact ? 20000 : architecture.family ? 10000 : 0);
      if (rank > best) {
        best = rank;
        target = name;
      }
    }
    if (best < 0)
      fail(package.source(), ": the package has no code for ", deviceName, " (compute capability ", major, ".", minor,
           "); its targets are ", list, " (compile with --target=sm_", major, minor, major >= 9 ? "a)" : ")");
  }

  void loadModule(const Package &package, int device) {
    Architecture architecture;
    parseArchitecture(target, architecture);
    std::string problem;
    // A cubin runs within its major version only; PTX is compiled by the driver for anything later.
    auto cubin = package.section("kernels/" + target + ".cubin");
    if (cubin && architecture.number / 10 == device / 10 && tryLoad(std::string(*cubin), problem))
      return;
    auto ptx = package.section("kernels/" + target + ".ptx");
    if (ptx && tryLoad(std::string(*ptx), problem)) // a std::string: the driver wants a NUL at the end
      return;
    if (!cubin && !ptx)
      fail(package.source(), ": the package has neither kernels/", target, ".cubin nor .ptx");
    fail(package.source(), ": the driver does not load the kernels of ", target, ": ", problem);
  }

  bool tryLoad(const std::string &image, std::string &problem) {
    std::vector<char> log(8192);
    int options[] = {cuda::JitErrorLogBuffer, cuda::JitErrorLogBufferSize};
    void *values[] = {log.data(), reinterpret_cast<void *>(log.size() - 1)};
    cuda::Result result = driver.moduleLoadDataEx(&module, image.c_str(), 2, options, values);
    if (result == 0)
      return true;
    module = nullptr;
    const char *name = nullptr;
    driver.getErrorName(result, &name);
    problem = concat(name ? name : "unknown error", log[0] ? ": " : "", log.data());
    while (!problem.empty() && problem.back() == '\n')
      problem.pop_back();
    return false;
  }

  void close() {
    if (module)
      driver.moduleUnload(module);
    module = nullptr;
    driver.primaryContextRelease(handle);
  }

  const cuda::Driver &driver;
  cuda::DeviceHandle handle = 0;
  cuda::Context context = nullptr;
  cuda::Module module = nullptr;
  cuda::Function sums[2] = {};
  std::string deviceName, target;
  std::unordered_map<const Kernel *, cuda::Function> kernels;
};

} // namespace

std::unique_ptr<Device> openCudaDevice(const Package &package, std::string &target) {
  auto device = std::make_unique<CudaDevice>(package);
  target = device->targetName();
  return device;
}

} // namespace mhcrt
