#include "mhc-rt/mhc.h"

#include "base/ThreadPool.h"
#include "plan/Call.h"

#include <iterator>

using namespace mhcrt;

struct mhc_package {
  Package content;
};
struct mhc_device {
  const Package *package;
  std::unique_ptr<Device> device;
  std::string target;
  int threads;
};
struct mhc_results {
  HostTensors tensors;
};

namespace {

thread_local std::string lastError;

/// Nothing may leave a C function by an exception.
template <typename Function> auto guarded(Function &&function) -> decltype(function()) {
  try {
    return function();
  } catch (const std::exception &problem) {
    lastError = problem.what();
  } catch (...) {
    lastError = "unknown failure";
  }
  return nullptr;
}

constexpr DType types[] = {DType::BF16, DType::F32, DType::F64, DType::I32, DType::I64};

mhc_dtype typeOf(DType dtype) {
  for (size_t i = 0; i < std::size(types); ++i)
    if (types[i] == dtype)
      return static_cast<mhc_dtype>(i);
  return MHC_F32;
}

} // namespace

const char *mhc_error(void) { return lastError.c_str(); }

mhc_package *mhc_open(const char *path) {
  return guarded([&] { return new mhc_package{Package::open(path ? path : "")}; });
}

void mhc_close(mhc_package *package) { delete package; }

mhc_device *mhc_device_open(mhc_package *package, const char *kind, int32_t threads) {
  return guarded([&]() -> mhc_device * {
    if (!package || !kind)
      fail("expected a package and a kind of device, but got NULL");
    auto result = std::make_unique<mhc_device>();
    result->package = &package->content;
    result->threads = chooseThreads(threads);
    result->device = openDevice(kind, package->content, result->threads, result->target);
    return result.release();
  });
}

void mhc_device_close(mhc_device *device) { delete device; }

mhc_results *mhc_call(mhc_device *device, const char *entry, const mhc_tensor *inputs, size_t count) {
  return guarded([&]() -> mhc_results * {
    if (!device || !entry || (count && !inputs))
      fail("expected a device, an entry and inputs, but got NULL");
    TensorInfos infos;
    std::map<std::string, const void *> data;
    for (size_t i = 0; i < count; ++i) {
      const mhc_tensor &tensor = inputs[i];
      if (!tensor.name || tensor.rank < 0 || (tensor.rank && !tensor.shape) || tensor.dtype < MHC_BF16 ||
          tensor.dtype > MHC_I64)
        fail("input ", i, ": expected a name, a type and a shape");
      std::vector<int64_t> shape(tensor.shape, tensor.shape + tensor.rank);
      if (!infos.emplace(tensor.name, TensorInfo{name(types[tensor.dtype]), shape}).second)
        fail(tensor.name, ": this input is given twice");
      data[tensor.name] = tensor.data;
    }
    auto read = [&](const std::string &name, void *to) {
      int64_t bytes = 1;
      DType dtype = DType::F32;
      parseDType(infos.at(name).type, dtype);
      for (int64_t dimension : infos.at(name).shape)
        bytes *= dimension; // checked by callEntry before it reads
      bytes *= byteSize(dtype);
      if (bytes && !data.at(name))
        fail(name, ": expected data, but got NULL");
      if (bytes)
        std::memcpy(to, data.at(name), bytes);
    };
    return new mhc_results{
        callEntry(*device->package, *device->device, device->target, entry, infos, read, device->threads)};
  });
}

size_t mhc_results_count(const mhc_results *results) { return results ? results->tensors.size() : 0; }

mhc_tensor mhc_results_get(const mhc_results *results, size_t index) {
  if (index >= mhc_results_count(results))
    return mhc_tensor{};
  auto item = std::next(results->tensors.begin(), static_cast<std::ptrdiff_t>(index));
  const HostTensor &tensor = item->second;
  return {item->first.c_str(), typeOf(tensor.dtype), static_cast<int32_t>(tensor.shape.size()), tensor.shape.data(),
          tensor.data.data()};
}

void mhc_results_free(mhc_results *results) { delete results; }
