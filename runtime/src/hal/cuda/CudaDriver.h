//===- CudaDriver.h - the part of the CUDA driver API that is used -*- C++ -*-===//
//
// libcuda.so.1 is opened at run time, so the program needs neither the toolkit to build nor a GPU to start. The
// declarations are those of the driver's documented ABI; only what is called stands here.
//
//===----------------------------------------------------------------------===//
#ifndef MHCRT_HAL_CUDA_CUDADRIVER_H
#define MHCRT_HAL_CUDA_CUDADRIVER_H

#include <cstddef>
#include <cstdint>
#include <string>

namespace mhcrt::cuda {

using Result = int; ///< CUresult, 0 is success
using DeviceHandle = int;
using Pointer = uint64_t;
using Context = struct ContextTag *;
using Module = struct ModuleTag *;
using Function = struct FunctionTag *;
using Stream = struct StreamTag *;
using Event = struct EventTag *;
using Graph = struct GraphTag *;
using GraphExec = struct GraphExecTag *;

enum : int { AttributeComputeMajor = 75, AttributeComputeMinor = 76, AttributeMultiprocessors = 16 }; // CUdevice_attribute
enum : int { JitErrorLogBuffer = 5, JitErrorLogBufferSize = 6 };       // CUjit_option
enum : int { FunctionMaxDynamicShared = 8, FunctionAnyClusterSize = 14 }; // CUfunction_attribute
enum : unsigned { StreamNonBlocking = 1, EventDisableTiming = 2 };     // CUstream_flags, CUevent_flags
enum : int { CaptureThreadLocal = 1 };                                 // CUstreamCaptureMode

/// CUtensorMap: how the tensor memory accelerator finds a box of rows.
struct alignas(64) TensorMap {
  uint64_t words[16];
};

/// CUlaunchAttribute and CUlaunchConfig, as far as clusters need them.
struct LaunchAttribute {
  int id = 4; // CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION
  int padding = 0;
  unsigned cluster[16] = {1, 1, 1};
};
struct LaunchConfig {
  unsigned grid[3], block[3], shared;
  Stream stream;
  LaunchAttribute *attributes;
  unsigned count;
};

struct Driver {
  Result (*init)(unsigned flags);
  Result (*driverGetVersion)(int *version);
  Result (*getErrorName)(Result error, const char **text);
  Result (*getErrorString)(Result error, const char **text);
  Result (*deviceGetCount)(int *count);
  Result (*deviceGet)(DeviceHandle *device, int ordinal);
  Result (*deviceGetName)(char *name, int size, DeviceHandle device);
  Result (*deviceGetAttribute)(int *value, int attribute, DeviceHandle device);
  Result (*primaryContextRetain)(Context *context, DeviceHandle device);
  Result (*primaryContextRelease)(DeviceHandle device);
  Result (*contextSetCurrent)(Context context);
  Result (*moduleLoadDataEx)(Module *module, const void *image, unsigned count, int *options, void **values);
  Result (*moduleUnload)(Module module);
  Result (*moduleGetFunction)(Function *function, Module module, const char *name);
  Result (*functionSetAttribute)(Function function, int attribute, int value);
  Result (*launchKernel)(Function function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX,
                         unsigned blockY, unsigned blockZ, unsigned shared, Stream stream, void **parameters,
                         void **extra);
  /// Of drivers for clusters; null in older ones.
  Result (*maxActiveClusters)(int *clusters, Function function, const LaunchConfig *config) = nullptr;
  Result (*maxActiveBlocks)(int *blocks, Function function, int threads, size_t shared) = nullptr;
  Result (*launchCooperative)(Function function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX, unsigned blockY, unsigned blockZ, unsigned shared,
                              Stream stream, void **parameters) = nullptr;
  Result (*encodeTiled)(TensorMap *map, int type, uint32_t rank, void *address, const uint64_t *shape, const uint64_t *strides, const uint32_t *box,
                        const uint32_t *steps, int interleave, int swizzle, int promotion, int fill) = nullptr;
  Result (*eventCreate)(Event *event, unsigned flags);
  Result (*eventRecord)(Event event, Stream stream);
  Result (*eventSynchronize)(Event event);
  Result (*eventElapsedTime)(float *milliseconds, Event from, Event to);
  Result (*eventDestroy)(Event event);
  Result (*streamPriorityRange)(int *least, int *greatest);
  Result (*streamCreate)(Stream *stream, unsigned flags, int priority);
  Result (*streamSynchronize)(Stream stream);
  Result (*streamDestroy)(Stream stream);
  Result (*streamBeginCapture)(Stream stream, int mode);
  Result (*streamEndCapture)(Stream stream, Graph *graph);
  Result (*graphInstantiate)(GraphExec *executable, Graph graph, unsigned long long flags);
  Result (*graphLaunch)(GraphExec executable, Stream stream);
  Result (*graphExecDestroy)(GraphExec executable);
  Result (*graphDestroy)(Graph graph);
  Result (*memoryAllocate)(Pointer *address, size_t bytes);
  Result (*memoryFree)(Pointer address);
  Result (*hostAllocate)(void **address, size_t bytes); ///< memory that stays where it is, for copies beside other work
  Result (*hostFree)(void *address);
  Result (*copyToDevice)(Pointer to, const void *from, size_t bytes, Stream stream);
  Result (*copyToHost)(void *to, Pointer from, size_t bytes, Stream stream);
  Result (*copyOnDevice)(Pointer to, Pointer from, size_t bytes, Stream stream);
  Result (*set8)(Pointer to, unsigned char value, size_t count, Stream stream);
  Result (*set16)(Pointer to, unsigned short value, size_t count, Stream stream);
  Result (*set32)(Pointer to, unsigned value, size_t count, Stream stream);
};

/// The driver, initialised; an error that says what is missing otherwise.
const Driver &driver();
/// Fails with the driver's own name of the error.
void check(Result result, const std::string &what);

} // namespace mhcrt::cuda

namespace mhcrt {
/// For `mhc-run info --libs`: the GPUs, or why there are none.
std::string describeCuda();
/// The same for a library that is opened at run time: where it was found, and its version.
std::string describeCublasLt();
std::string describeCudnn();
} // namespace mhcrt

#endif // MHCRT_HAL_CUDA_CUDADRIVER_H
