#include "hal/cuda/CudaDriver.h"
#include "base/Error.h"

#include <dlfcn.h>

namespace mhcrt::cuda {
namespace {

Driver load() {
  void *library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    fail("device cuda: the driver library libcuda.so.1 was not found");
  Driver driver;
  auto find = [&](auto &function, const char *symbol) {
    void *address = ::dlsym(library, symbol);
    if (!address)
      fail("device cuda: libcuda.so.1 has no '", symbol, "': the driver is too old");
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(address);
  };
  find(driver.init, "cuInit");
  find(driver.driverGetVersion, "cuDriverGetVersion");
  find(driver.getErrorName, "cuGetErrorName");
  find(driver.getErrorString, "cuGetErrorString");
  find(driver.deviceGetCount, "cuDeviceGetCount");
  find(driver.deviceGet, "cuDeviceGet");
  find(driver.deviceGetName, "cuDeviceGetName");
  find(driver.deviceGetAttribute, "cuDeviceGetAttribute");
  find(driver.primaryContextRetain, "cuDevicePrimaryCtxRetain");
  find(driver.primaryContextRelease, "cuDevicePrimaryCtxRelease_v2");
  find(driver.contextSetCurrent, "cuCtxSetCurrent");
  find(driver.moduleLoadDataEx, "cuModuleLoadDataEx");
  find(driver.moduleUnload, "cuModuleUnload");
  find(driver.moduleGetFunction, "cuModuleGetFunction");
  find(driver.functionSetAttribute, "cuFuncSetAttribute");
  find(driver.launchKernel, "cuLaunchKernel");
  auto findNewer = [&](auto &function, const char *symbol) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(library, symbol));
  };
  findNewer(driver.maxActiveClusters, "cuOccupancyMaxActiveClusters");
  findNewer(driver.maxActiveBlocks, "cuOccupancyMaxActiveBlocksPerMultiprocessor");
  findNewer(driver.launchCooperative, "cuLaunchCooperativeKernel");
  findNewer(driver.encodeTiled, "cuTensorMapEncodeTiled");
  find(driver.eventCreate, "cuEventCreate");
  find(driver.eventRecord, "cuEventRecord");
  find(driver.eventSynchronize, "cuEventSynchronize");
  find(driver.eventElapsedTime, "cuEventElapsedTime");
  find(driver.eventDestroy, "cuEventDestroy_v2");
  find(driver.streamPriorityRange, "cuCtxGetStreamPriorityRange");
  find(driver.streamCreate, "cuStreamCreateWithPriority");
  find(driver.streamSynchronize, "cuStreamSynchronize");
  find(driver.streamDestroy, "cuStreamDestroy_v2");
  find(driver.streamBeginCapture, "cuStreamBeginCapture_v2");
  find(driver.streamEndCapture, "cuStreamEndCapture");
  find(driver.graphInstantiate, "cuGraphInstantiateWithFlags");
  find(driver.graphLaunch, "cuGraphLaunch");
  find(driver.graphExecDestroy, "cuGraphExecDestroy");
  find(driver.graphDestroy, "cuGraphDestroy");
  find(driver.memoryAllocate, "cuMemAlloc_v2");
  find(driver.memoryFree, "cuMemFree_v2");
  find(driver.hostAllocate, "cuMemAllocHost_v2");
  find(driver.hostFree, "cuMemFreeHost");
  find(driver.copyToDevice, "cuMemcpyHtoDAsync_v2");
  find(driver.copyToHost, "cuMemcpyDtoHAsync_v2");
  find(driver.copyOnDevice, "cuMemcpyDtoDAsync_v2");
  find(driver.set8, "cuMemsetD8Async");
  find(driver.set16, "cuMemsetD16Async");
  find(driver.set32, "cuMemsetD32Async");
  return driver;
}

std::string errorText(const Driver &driver, Result result) {
  const char *name = nullptr, *text = nullptr;
  driver.getErrorName(result, &name);
  driver.getErrorString(result, &text);
  return concat(name ? name : "unknown error", " (", text ? text : "no description", ")");
}

} // namespace

const Driver &driver() {
  static const Driver loaded = [] {
    Driver driver = load();
    if (Result result = driver.init(0))
      fail("device cuda: the driver does not start: ", errorText(driver, result));
    int count = 0;
    if (Result result = driver.deviceGetCount(&count))
      fail("device cuda: ", errorText(driver, result));
    if (count == 0)
      fail("device cuda: there is no GPU");
    return driver;
  }();
  return loaded;
}

void check(Result result, const std::string &what) {
  if (result)
    fail("cuda: ", what, ": ", errorText(driver(), result));
}

} // namespace mhcrt::cuda

std::string mhcrt::describeCuda() {
  try {
    const cuda::Driver &driver = cuda::driver();
    int count = 0, version = 0;
    driver.deviceGetCount(&count);
    driver.driverGetVersion(&version);
    std::string text;
    for (int i = 0; i < count; ++i) {
      cuda::DeviceHandle device;
      char name[256] = {};
      int major = 0, minor = 0;
      if (driver.deviceGet(&device, i) || driver.deviceGetName(name, sizeof name - 1, device))
        continue;
      driver.deviceGetAttribute(&major, cuda::AttributeComputeMajor, device);
      driver.deviceGetAttribute(&minor, cuda::AttributeComputeMinor, device);
      text += concat(text.empty() ? "" : ", ", name, " (", major, ".", minor, ")");
    }
    return concat(text, ", driver for CUDA ", version / 1000, ".", version % 1000 / 10);
  } catch (const Error &problem) {
    return problem.what();
  }
}
