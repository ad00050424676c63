#include "hal/cuda/CudaDevice.h"

#include "base/Checked.h"

#include <mhc/Package/Allocator.h>

#include <cmath>
#include <cstdlib>
#include <cstring>

namespace mhcrt {
namespace {

bool isOff(const char *variable) {
  const char *text = std::getenv(variable);
  return text && std::string(text) == "0";
}

/// Events on the stream.
class CudaTimeline final : public Timeline {
public:
  CudaTimeline(const cuda::Driver &driver, cuda::Stream stream) : driver(driver), stream(stream) {}
  ~CudaTimeline() override {
    for (cuda::Event event : events)
      driver.eventDestroy(event);
  }
  void mark() override {
    if (used == events.size()) {
      events.push_back(nullptr);
      cuda::check(driver.eventCreate(&events.back(), 0), "creating an event");
    }
    cuda::check(driver.eventRecord(events[used++], stream), "recording an event");
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
  cuda::Stream stream;
  std::vector<cuda::Event> events;
  size_t used = 0;
};

} // namespace

CudaContext::CudaContext(const cuda::Driver &driver) : driver(driver) {
  cuda::check(driver.deviceGet(&device, 0), "device 0");
  cuda::Context context = nullptr;
  cuda::check(driver.primaryContextRetain(&context, device), "starting device 0");
  try {
    cuda::check(driver.contextSetCurrent(context), "device 0");
    // The commands of a plan are a chain: their stream goes before whatever else the process has on the device.
    int least = 0, greatest = 0;
    cuda::check(driver.streamPriorityRange(&least, &greatest), "reading the priorities of streams");
    cuda::check(driver.streamCreate(&stream, cuda::StreamNonBlocking, greatest), "creating a stream");
  } catch (...) {
    driver.primaryContextRelease(device);
    throw;
  }
}

CudaContext::~CudaContext() {
  driver.streamDestroy(stream);
  driver.primaryContextRelease(device);
}

CudaDevice::CudaDevice(const Package &package)
    : context(cuda::driver()), driver(context.driver), module(driver, context.device, package),
      staging(driver, context.stream), mayRecord(!isOff("MHC_CUDA_GRAPH")) {
  sums = module.find("mhc_sum_all_partials_f32");
  status = DeviceMemory(*this, sizeof(TokenStatus));
  void *pinned = nullptr;
  cuda::check(driver.hostAllocate(&pinned, sizeof(TokenStatus)), "allocating pinned memory");
  hostStatus = static_cast<TokenStatus *>(pinned);
  clearStatus();
}

CudaDevice::~CudaDevice() {
  driver.streamSynchronize(context.stream);
  driver.hostFree(hostStatus);
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

char *CudaDevice::allocate(uint64_t bytes) {
  cuda::Pointer address = 0;
  cuda::check(driver.memoryAllocate(&address, bytes), concat("allocating ", bytes, " bytes"));
  return reinterpret_cast<char *>(address);
}

void CudaDevice::release(char *address) {
  driver.streamSynchronize(context.stream); // nothing asked for before may still use it
  driver.memoryFree(pointer(address));
}

void CudaDevice::copyIn(void *to, const void *from, uint64_t bytes) {
  if (recording)
    fail("cuda: host memory is read while work is recorded"); // a replay would read it again
  staging.copyIn(pointer(to), from, bytes);
}

void CudaDevice::copyOut(void *to, const void *from, uint64_t bytes) { staging.copyOut(to, pointer(from), bytes); }

void CudaDevice::copy(void *to, const void *from, uint64_t bytes) {
  if (bytes)
    cuda::check(driver.copyOnDevice(pointer(to), pointer(from), bytes, context.stream), "copying on the device");
}

void CudaDevice::fillBytes(void *to, uint8_t value, uint64_t bytes) {
  if (bytes)
    cuda::check(driver.set8(pointer(to), value, bytes, context.stream), "filling memory");
}

void CudaDevice::fill(void *to, DType type, int64_t count, double value) {
  if (count == 0)
    return;
  if (value == 0 && !std::signbit(value))
    return fillBytes(to, 0, count * byteSize(type));
  auto set32 = [&](unsigned bits) {
    cuda::check(driver.set32(pointer(to), bits, count, context.stream), "filling memory");
  };
  switch (type) {
  case DType::BF16:
    return cuda::check(driver.set16(pointer(to), toBf16(static_cast<float>(value)), count, context.stream),
                       "filling memory");
  case DType::F32: {
    float narrow = static_cast<float>(value);
    unsigned bits;
    std::memcpy(&bits, &narrow, sizeof bits);
    return set32(bits);
  }
  case DType::I32:
    return set32(static_cast<unsigned>(static_cast<int32_t>(value)));
  case DType::F64: // the driver sets at most 32 bits at a time
    return copyIn(to, std::vector<double>(count, value).data(), count * 8);
  case DType::I64:
    return copyIn(to, std::vector<int64_t>(count, static_cast<int64_t>(value)).data(), count * 8);
  }
}

void CudaDevice::synchronize() {
  cuda::check(driver.copyToHost(hostStatus, pointer(status.data()), sizeof(TokenStatus), context.stream),
              "reading the status");
  cuda::check(driver.streamSynchronize(context.stream), "running the kernels");
  if (hostStatus->word == INT64_MAX && hostStatus->token == INT64_MAX)
    return;
  TokenStatus found = *hostStatus;
  clearStatus();
  if (found.word == INT64_MAX)
    fail("route: the router's logits of token ", found.token, " are not finite, or its selection bias");
  int64_t place = found.word >> 32, columns = found.columns;
  fail("tokens: expected token ids from 0 to ", found.vocab - 1, ", but got ", static_cast<int32_t>(found.word), " in row ",
       place / columns, ", column ", place % columns);
}

void CudaDevice::clearStatus() {
  const TokenStatus none{INT64_MAX, 1, 1, INT64_MAX};
  staging.copyIn(pointer(status.data()), &none, sizeof none);
}

void *CudaDevice::scratch(Slot slot, uint64_t bytes) {
  DeviceMemory &memory = scratchMemory[slot];
  if (memory.size() < bytes) {
    if (recording)
      fail("cuda: recorded work needs more memory than it did the time before");
    memory = DeviceMemory(); // give the old one back first
    memory = DeviceMemory(*this, bytes);
    ++scratchVersion;
  }
  return memory.data();
}

//===----------------------------------------------------------------------===//
// Kernels
//===----------------------------------------------------------------------===//

void CudaDevice::start(cuda::Function function, int64_t grid, int64_t threads, int64_t shared,
                       std::vector<uint64_t> values, const std::string &name, std::vector<cuda::TensorMap> maps) {
  if (grid > INT32_MAX)
    fail("cuda: kernel '", name, "' needs ", grid, " blocks, more than a launch can have");
  std::vector<void *> parameters;
  for (uint64_t &value : values)
    parameters.push_back(&value);
  for (cuda::TensorMap &map : maps)
    parameters.push_back(&map);
  cuda::check(driver.launchKernel(function, static_cast<unsigned>(grid), 1, 1, static_cast<unsigned>(threads), 1, 1,
                                  static_cast<unsigned>(shared), context.stream, parameters.data(), nullptr),
              concat("launching kernel '", name, "'"));
}

int64_t CudaDevice::partials(const Kernel &kernel, int64_t rows) const {
  if (kernel.group)
    return std::min(mhc::ceilDivide(rows, kernel.tile), module.clusters(kernel));
  return mhc::gpuGrid(rows, kernel.tile, kernel.reduces);
}

void CudaDevice::launch(const Kernel &kernel, int64_t rows, const std::vector<void *> &args,
                        const std::vector<int64_t> &ints) {
  int64_t grid = mhc::gpuGrid(rows, kernel.tile, kernel.reduces);
  if (grid == 0)
    return;
  std::vector<uint64_t> values;
  for (void *address : args)
    values.push_back(pointer(address));
  values.push_back(rows);
  values.insert(values.end(), ints.begin(), ints.end());
  std::vector<cuda::TensorMap> maps;
  for (size_t argument : kernel.maps) {
    int64_t elements = kernel.args[argument].elements, streams = elements / kernel.mapChannels;
    maps.push_back(kernel.interleaved ? rowMap(args[argument], elements, 1, rows, kernel.boxes * streams) : rowMap(args[argument], kernel.mapChannels, streams, rows, kernel.boxes));
  }
  if (kernel.group)
    return launchGroups(kernel, rows, std::move(values), std::move(maps));
  if (!maps.empty()) // as many clusters as there is room for go through the tiles
    grid = std::min(mhc::ceilDivide(rows, kernel.tile), module.clusters(kernel)) * kernel.cluster;
  start(module.function(kernel), grid, kernel.threads, kernel.shared, std::move(values), kernel.name, maps);
}

/// `boxes` boxes of 64 channels of all streams of 16 rows, which lie one after another as [box][stream][row], with the swizzle of 128 bytes (docs/design/package.md).
cuda::TensorMap CudaDevice::rowMap(void *address, int64_t channels, int64_t streams, int64_t rows, int64_t boxes) const {
  constexpr int bf16 = 9, swizzle128 = 3, promotion256 = 3;
  uint64_t width = static_cast<uint64_t>(channels) * 2, count = static_cast<uint64_t>(streams);
  uint64_t shape[] = {64, static_cast<uint64_t>(rows), count, static_cast<uint64_t>(channels) / 64};
  uint64_t strides[] = {width * count, width, 128};
  uint32_t box[] = {64, 16, static_cast<uint32_t>(streams), static_cast<uint32_t>(boxes)}, steps[] = {1, 1, 1, 1};
  cuda::TensorMap map;
  cuda::check(driver.encodeTiled(&map, bf16, 4, address, shape, strides, box, steps, 0, swizzle128, promotion256, 0), "making a tensor map");
  return map;
}

/// Groups of blocks that wait for each other: the launch says so, and the driver runs all of them at a time.
void CudaDevice::launchGroups(const Kernel &kernel, int64_t rows, std::vector<uint64_t> values, std::vector<cuda::TensorMap> maps) {
  int64_t groups = partials(kernel, rows);
  MarkedRegion::Part part = exchange.take(workspace(kernel, rows));
  markExchange(part.mark);
  values.push_back(pointer(scratchMemory[Exchange].data() + part.offset));
  std::vector<void *> parameters;
  for (uint64_t &value : values)
    parameters.push_back(&value);
  for (cuda::TensorMap &map : maps)
    parameters.push_back(&map);
  cuda::check(driver.launchCooperative(module.function(kernel), static_cast<unsigned>(groups * kernel.group), 1, 1, static_cast<unsigned>(kernel.threads), 1, 1,
                                       static_cast<unsigned>(kernel.shared), context.stream, parameters.data()),
              concat("launching kernel '", kernel.name, "'"));
}

uint64_t CudaDevice::workspace(const Kernel &kernel, int64_t rows) const {
  return kernel.group ? MarkedRegion::whole(static_cast<uint64_t>(checkedMultiply(partials(kernel, rows), kernel.workspace, "workspace"))) : 0;
}

void CudaDevice::prepare(uint64_t bytes) { markExchange(exchange.expect(bytes)); }

/// Ones from the beginning of the exchange memory on: no ring has been written.
void CudaDevice::markExchange(uint64_t bytes) {
  if (!bytes)
    return;
  try {
    cuda::check(driver.set32(pointer(scratch(Exchange, bytes)), ~0u, bytes / 4, context.stream), "marking memory");
  } catch (...) {
    exchange.expect(0); // nothing is marked
    throw;
  }
}

void CudaDevice::sumPartials(const std::vector<PartialSum> &given) {
  constexpr int64_t threads = 256, most = 8; // docs/design/package.md
  for (const std::vector<PartialSum> &list : sumsAtOnce(given, most)) {
    std::vector<uint64_t> values(5 * most); // what is left over are sums of no elements
    int64_t blocks = 0;
    for (size_t i = 0; i < list.size(); ++i) {
      const PartialSum &sum = list[i];
      if (sum.type != DType::F32)
        unsupported("sums of f64");
      blocks += mhc::ceilDivide(sum.size, threads);
      const uint64_t fields[] = {pointer(sum.partials), pointer(sum.out), static_cast<uint64_t>(sum.size), static_cast<uint64_t>(sum.count), sum.accumulate};
      for (size_t field = 0; field < 5; ++field)
        values[field * most + i] = fields[field];
    }
    if (blocks > 0)
      start(sums, blocks, threads, 0, std::move(values), "mhc_sum_all_partials_f32");
  }
}

std::unique_ptr<Timeline> CudaDevice::timeline() { return std::make_unique<CudaTimeline>(driver, context.stream); }

//===----------------------------------------------------------------------===//
// Recording
//===----------------------------------------------------------------------===//

/// A CUDA graph.
class CudaRecording final : public Recording {
public:
  CudaRecording(CudaDevice &device, cuda::GraphExec executable)
      : device(device), executable(executable), version(device.scratchVersion) {}
  ~CudaRecording() override {
    device.driver.streamSynchronize(device.context.stream);
    device.driver.graphExecDestroy(executable);
  }
  bool isValid() const override { return version == device.scratchVersion; }
  void replay() override {
    device.exchange.expect(0); // the graph's launches use the memory as they find it when it was recorded
    cuda::check(device.driver.graphLaunch(executable, device.context.stream), "launching a graph");
  }

private:
  CudaDevice &device;
  cuda::GraphExec executable;
  uint64_t version;
};

std::unique_ptr<Recording> CudaDevice::record(const std::function<void()> &work) {
  if (!mayRecord)
    return nullptr;
  // A device that does not record once will not do it the next time either: then all is asked command by command.
  mayRecord = false;
  if (driver.streamBeginCapture(context.stream, cuda::CaptureThreadLocal))
    return nullptr;
  cuda::Graph graph = nullptr;
  bool complete = true;
  recording = true;
  exchange.expect(0); // a replay finds nothing marked but by itself
  try {
    work();
  } catch (const Error &) { // the same error comes without recording, and is reported then
    complete = false;
  }
  recording = false;
  exchange.expect(0); // nothing of this has happened
  cuda::GraphExec executable = nullptr;
  if (driver.streamEndCapture(context.stream, &graph) || !graph)
    return nullptr;
  complete = complete && driver.graphInstantiate(&executable, graph, 0) == 0;
  driver.graphDestroy(graph);
  if (!complete)
    return nullptr;
  mayRecord = true;
  return std::make_unique<CudaRecording>(*this, executable);
}

std::unique_ptr<Device> openCudaDevice(const Package &package, std::string &target) {
  auto device = std::make_unique<CudaDevice>(package);
  target = device->targetName();
  return device;
}

} // namespace mhcrt
