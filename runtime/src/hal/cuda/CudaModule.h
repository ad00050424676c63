//===- CudaModule.h - a package's code for the GPU at hand ---------*- C++ -*-===//
#ifndef MHCRT_HAL_CUDA_CUDAMODULE_H
#define MHCRT_HAL_CUDA_CUDAMODULE_H

#include "hal/cuda/CudaDriver.h"
#include "package/Package.h"

#include <unordered_map>

namespace mhcrt {

/// The target that fits the device best, its module, and its kernels. Needs a current context.
class CudaModule {
public:
  CudaModule(const cuda::Driver &driver, cuda::DeviceHandle device, const Package &package);
  ~CudaModule();
  CudaModule(const CudaModule &) = delete;

  const std::string &target() const { return name; }
  const std::string &deviceName() const { return deviceText; }
  const TargetPlan &plan() const { return *targetPlan; }
  cuda::Function function(const Kernel &kernel) const { return kernels.at(&kernel); }
  bool has(const Kernel &kernel) const { return kernels.count(&kernel) != 0; }
  /// Clusters (or groups without a cluster) of it that the device holds at a time.
  int64_t clusters(const Kernel &kernel) const { return activeClusters.at(&kernel); }
  /// A kernel behind a library command: its launch figures and its code; an error if the package has none of it.
  std::pair<const LibraryKernel *, cuda::Function> library(const std::string &symbol) const;
  /// Code that no table names; an error if there is none.
  cuda::Function find(const char *symbol) const;

private:
  void chooseTarget(const Package &package, int major, int minor);
  void load(const Package &package, int device);
  bool tryLoad(const std::string &image, std::string &problem);
  cuda::Function prepare(const std::string &symbol, int64_t threads, int64_t shared) const;

  const cuda::Driver &driver;
  cuda::DeviceHandle device;
  cuda::Module module = nullptr;
  std::string name, deviceText, source;
  const TargetPlan *targetPlan = nullptr;
  int64_t countClusters(const Kernel &kernel) const;
  int64_t countGroups(const Kernel &kernel) const;

  std::unordered_map<const Kernel *, cuda::Function> kernels;
  std::unordered_map<const Kernel *, int64_t> activeClusters; ///< of those in clusters
  std::unordered_map<std::string, std::pair<const LibraryKernel *, cuda::Function>> libraryKernels;
};

} // namespace mhcrt

#endif // MHCRT_HAL_CUDA_CUDAMODULE_H
