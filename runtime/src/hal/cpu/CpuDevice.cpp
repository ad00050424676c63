#include "hal/cpu/CpuDevice.h"
#include "hal/cpu/Blas.h"

#include <mhc/Package/Allocator.h>

#include <algorithm>
#include <limits>
#include <sys/mman.h>

namespace mhcrt {
namespace {
constexpr int64_t chunk = 1 << 16; // elements a task of elementwise work
constexpr uint64_t hugePage = 2 << 20;
}

std::unique_ptr<Device> openCpuDevice(const Package &package, int threads, std::string &target) {
  target = "cpu";
  auto plan = package.targets().find(target);
  if (plan == package.targets().end())
    fail(package.source(), ": the package has no target 'cpu' (compile with --target=cpu)");
  checkCpuFeatures(package.manifest().requirements);
  std::string_view object = package.section("host/kernels.so").value_or(std::string_view());
  auto device = std::make_unique<CpuDevice>(plan->second, object, threads);
  for (const std::string &word : package.manifest().requirements)
    if (word == "x86-64-v4" || word == "avx512f")
      device->useWideVectors();
  return device;
}

CpuDevice::CpuDevice(const TargetPlan &plan, std::string_view object, int threadCount) : threads(threadCount) {
  blas::useOneThread();
  if (!object.empty())
    library = std::make_unique<HostLibrary>(object);
  else if (!plan.kernels.empty())
    fail("the plan has kernels, but the package has no 'host/kernels.so'");
  for (const Kernel &kernel : plan.kernels) {
    HostKernel function = library->find(kernel.symbol);
    if (!function)
      fail("host/kernels.so: there is no symbol '", kernel.symbol, "' for kernel '", kernel.name, "'");
    kernels.emplace(&kernel, function);
  }
  if (library) {
    sumF32 = library->find("mhc_sum_partials_f32");
    sumF64 = library->find("mhc_sum_partials_f64");
  }
}

std::string CpuDevice::description() const {
  return concat("cpu, ", threads.threads(), threads.threads() == 1 ? " thread, " : " threads, ", blas::description());
}

char *CpuDevice::allocate(uint64_t bytes) {
  if (bytes > UINT64_MAX - hugePage)
    fail("cannot allocate ", bytes, " bytes of memory");
  // Kernels walk many streams of many rows at once, on more pages than the processor keeps translations of.
  uint64_t page = bytes >= 2 * hugePage ? hugePage : 4096, size = (bytes + page - 1) / page * page;
  void *address = std::aligned_alloc(page, size);
  if (!address)
    fail("cannot allocate ", bytes, " bytes of memory");
  if (page == hugePage)
    ::madvise(address, size, MADV_HUGEPAGE); // a wish: where it is refused the memory is the same, only slower
  return static_cast<char *>(address);
}

void CpuDevice::release(char *address) { std::free(address); }

void CpuDevice::copyIn(void *to, const void *from, uint64_t bytes) { copy(to, from, bytes); }
void CpuDevice::copyOut(void *to, const void *from, uint64_t bytes) { copy(to, from, bytes); }

void CpuDevice::copy(void *to, const void *from, uint64_t bytes) {
  constexpr uint64_t piece = 1 << 20;
  threads.run((bytes + piece - 1) / piece, [&](int64_t i) {
    uint64_t begin = i * piece;
    std::memmove(static_cast<char *>(to) + begin, static_cast<const char *>(from) + begin,
                 std::min(piece, bytes - begin));
  });
}

void CpuDevice::fillBytes(void *to, uint8_t value, uint64_t bytes) {
  constexpr uint64_t piece = 1 << 20;
  threads.run((bytes + piece - 1) / piece, [&](int64_t i) {
    uint64_t begin = i * piece;
    std::memset(static_cast<char *>(to) + begin, value, std::min(piece, bytes - begin));
  });
}

void CpuDevice::fill(void *to, DType type, int64_t count, double value) {
  auto all = [&](auto element) {
    threads.run(mhc::ceilDivide(count, chunk), [&](int64_t i) {
      auto *data = static_cast<decltype(element) *>(to);
      std::fill(data + i * chunk, data + std::min(count, (i + 1) * chunk), element);
    });
  };
  switch (type) {
  case DType::BF16:
    return all(toBf16(static_cast<float>(value)));
  case DType::F32:
    return all(static_cast<float>(value));
  case DType::F64:
    return all(value);
  case DType::I32:
    return all(static_cast<int32_t>(value));
  case DType::I64:
    return all(static_cast<int64_t>(value));
  }
}

void CpuDevice::add(void *to, const void *from, DType type, int64_t count) {
  threads.run(mhc::ceilDivide(count, chunk), [&](int64_t task) {
    int64_t begin = task * chunk, end = std::min(count, begin + chunk);
    auto plain = [&](auto *target) {
      const auto *source = static_cast<decltype(target)>(const_cast<void *>(from));
      for (int64_t i = begin; i < end; ++i)
        target[i] += source[i];
    };
    switch (type) {
    case DType::BF16:
      for (int64_t i = begin; i < end; ++i) {
        auto *target = static_cast<uint16_t *>(to);
        target[i] = toBf16(fromBf16(target[i]) + fromBf16(static_cast<const uint16_t *>(from)[i]));
      }
      return;
    case DType::F32:
      return plain(static_cast<float *>(to));
    case DType::F64:
      return plain(static_cast<double *>(to));
    case DType::I32:
      return plain(static_cast<uint32_t *>(to)); // wraps without undefined behaviour
    case DType::I64:
      return plain(static_cast<uint64_t *>(to));
    }
  });
}

int64_t CpuDevice::partials(const Kernel &kernel, int64_t rows) const {
  return mhc::cpuRowBlocks(rows, kernel.tile, kernel.reduces).count;
}

void CpuDevice::launch(const Kernel &kernel, int64_t rows, const std::vector<void *> &args,
                       const std::vector<int64_t> &ints) {
  mhc::RowBlocks blocks = mhc::cpuRowBlocks(rows, kernel.tile, kernel.reduces);
  if (blocks.count == 0)
    return;
  HostKernel function = kernels.at(&kernel);
  std::vector<int64_t> values = {rows};
  values.insert(values.end(), ints.begin(), ints.end());
  threads.run(blocks.count, [&](int64_t block) {
    int64_t begin = block * blocks.size;
    function(args.data(), values.data(), begin, std::min(rows, begin + blocks.size), kernel.reduces ? block : 0);
  });
}

void CpuDevice::sumPartials(const std::vector<PartialSum> &sums) {
  for (const PartialSum &sum : sums) {
    if (sum.count == 0) {
      if (!sum.accumulate)
        fill(sum.out, sum.type, sum.size, 0);
      continue;
    }
    HostKernel function = sum.type == DType::F64 ? sumF64 : sumF32;
    if (!function)
      fail("host/kernels.so: there is no symbol 'mhc_sum_partials_", sum.type == DType::F64 ? "f64'" : "f32'");
    void *args[] = {const_cast<void *>(sum.partials), sum.out};
    int64_t ints[] = {sum.size, sum.count, sum.accumulate};
    constexpr int64_t piece = 4096;
    threads.run(mhc::ceilDivide(sum.size, piece),
                [&](int64_t i) { function(args, ints, i * piece, std::min(sum.size, (i + 1) * piece), 0); });
  }
}

float *CpuDevice::scratch(int64_t count, int slot) {
  Memory &block = scratchBlocks[slot];
  if (block.size() < count * sizeof(float)) {
    block = Memory(); // free first: the old one and the new one need not exist together
    block = Memory(count * sizeof(float));
  }
  return reinterpret_cast<float *>(block.data());
}

const float *CpuDevice::widened(const void *data, DType type, int64_t count, int slot) {
  if (type == DType::F32)
    return static_cast<const float *>(data);
  float *target = scratch(count, slot);
  const auto *source = static_cast<const uint16_t *>(data);
  threads.run(mhc::ceilDivide(count, chunk), [&](int64_t task) {
    int64_t end = std::min(count, (task + 1) * chunk);
    for (int64_t i = task * chunk; i < end; ++i)
      target[i] = fromBf16(source[i]);
  });
  return target;
}

} // namespace mhcrt
