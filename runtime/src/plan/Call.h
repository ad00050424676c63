//===- Call.h - one entry point on tensors of the host -------------*- C++ -*-===//
#ifndef MHCRT_PLAN_CALL_H
#define MHCRT_PLAN_CALL_H

#include "base/Memory.h"
#include "hal/Device.h"
#include "plan/Binding.h"

#include <functional>

namespace mhcrt {

struct HostTensor {
  DType dtype = DType::F32;
  std::vector<int64_t> shape;
  Memory data;
};
using HostTensors = std::map<std::string, HostTensor>;

/// Puts the data of an input at `target`.
using ReadTensor = std::function<void(const std::string &name, void *target)>;

/// Checks the inputs against the entry, runs it, and returns its outputs.
HostTensors callEntry(const Package &package, Device &device, const std::string &target, const std::string &entry,
                      const TensorInfos &inputs, const ReadTensor &read, int threads);

/// An error unless `entry` exists and can be called from outside.
void checkCallable(const Manifest &manifest, const std::string &entry);

} // namespace mhcrt

#endif // MHCRT_PLAN_CALL_H
