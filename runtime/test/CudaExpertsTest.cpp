// Dispatch and grouped products as the device launches them. Their kernels are generated: MHC_TEST_EXPERTS names a
// folder with kernels.ptx and launches.json, as tools/dev/gpu_experts.py and test/Codegen/NVGPU/simulate_experts.py
// make it.
#include "SortedChoices.h"
#include "Support.h"
#include "base/Hash.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

using namespace mhcrt;
using namespace mhcrt::test;

namespace {

std::string expertsPackage(const std::string &folder) {
  Json manifest = exampleManifest(), library = Json::array();
  const Json launches = Json::parse(readText(folder + "/launches.json"));
  for (const auto &[symbol, launch] : launches.items()) {
    Json kernel = launch;
    kernel["symbol"] = symbol;
    library.push_back(kernel);
  }
  Json target = {{"kernels", Json::array()}, {"entries", Json::object()}, {"library", library}};
  manifest["targets"] = {"sm_90a"};
  manifest["entries"] = Json::object();
  std::string plan = Json{{"targets", {{"sm_90a", target}}}}.dump(), ptx = readText(folder + "/kernels.ptx");
  Members members = {{"plan.json", plan}, {"kernels/sm_90a.ptx", ptx}};
  manifest["sections"] = Json::array();
  for (const auto &[path, data] : members)
    manifest["sections"].push_back(
        {{"path", path}, {"sha256", sha256Hex(data.data(), data.size())}, {"size", data.size()}});
  members.insert(members.begin(), {"manifest.json", manifest.dump()});
  return makeZip(members);
}

/// Memory of a device that is written and read as values of one type.
template <typename T> struct Values {
  Values(Device &device, std::vector<T> host) : device(device), host(std::move(host)), memory(device, bytes() + 16) {
    write();
  }
  uint64_t bytes() const { return host.size() * sizeof(T); }
  T *data() { return reinterpret_cast<T *>(memory.data()); }
  void write() { device.copyIn(memory.data(), host.data(), bytes()); }
  const std::vector<T> &read() {
    device.copyOut(host.data(), memory.data(), bytes());
    return host;
  }
  Device &device;
  std::vector<T> host;
  DeviceMemory memory;
};

class CudaExperts : public testing::Test {
protected:
  void SetUp() override {
    const char *folder = std::getenv("MHC_TEST_EXPERTS");
    if (!folder)
      GTEST_SKIP() << "MHC_TEST_EXPERTS names no folder";
    package.emplace(openPackage(expertsPackage(folder)));
    device = openDevice("cuda", *package, 1, target);
  }
  std::optional<Package> package;
  std::string target;
  std::unique_ptr<Device> device;
  std::mt19937 random{21};
};

float stored(float value, DType type) { return type == DType::BF16 ? fromBf16(mhcrt::toBf16(value)) : value; }

/// Values in the type of a product, and what they are.
struct Matrix {
  Matrix(Device &device, std::mt19937 &random, int64_t count, DType type)
      : exact(randomFloats(random, count)), memory(device, std::vector<char>(count * byteSize(type))) {
    for (int64_t i = 0; i < count; ++i) {
      exact[i] = stored(exact[i], type);
      uint16_t narrow = mhcrt::toBf16(exact[i]);
      std::memcpy(memory.host.data() + i * byteSize(type),
                  type == DType::BF16 ? static_cast<void *>(&narrow) : &exact[i], byteSize(type));
    }
    memory.write();
  }
  std::vector<float> exact;
  Values<char> memory;
};

} // namespace

TEST_F(CudaExperts, SortChoices) {
  struct Case {
    int64_t tokens, choices, experts, capacity;
    int32_t least, most; ///< of the choices
  };
  for (Case c :
       {Case{0, 3, 4, 0, 0, 3}, Case{1, 1, 1, 0, 0, 0}, Case{700, 6, 64, 0, 0, 63}, Case{300, 2, 72, 0, 71, 71},
        Case{411, 4, 63, 0, -3, 66}, Case{300, 4, 9, 20, 0, 8}, Case{100, 7, 500, 0, 0, 499}}) {
    const int64_t count = c.tokens * c.choices;
    auto choose = [&] {
      Indices index(count);
      for (int32_t &choice : index)
        choice = std::uniform_int_distribution<int32_t>(c.least, c.most)(random);
      return index;
    };
    auto room = [&](int64_t size) { return Values<int32_t>(*device, Indices(size, -77)); };
    Values<int32_t> index(*device, choose()), counts = room(c.experts), offsets = room(c.experts + 1),
                                              gather = room(count), order = room(count), reverse = room(count),
                                              dropped = room(1);
    DispatchArgs args{index.data(),   counts.data(), offsets.data(), gather.data(), order.data(), reverse.data(),
                      dropped.data(), c.tokens,      c.choices,      c.experts};
    if (c.capacity) // of every expert between c.capacity - 1 and c.capacity
      args.capacity = (static_cast<double>(c.capacity) - 0.5) * static_cast<double>(c.experts) / static_cast<double>(count);
    device->dispatch(args);
    auto check = [&](const char *when) {
      Sorted want(index.host, c.choices, c.experts, c.capacity);
      EXPECT_EQ(counts.read(), want.counts) << when;
      EXPECT_EQ(offsets.read(), want.offsets) << when;
      EXPECT_EQ(gather.read(), want.gather) << when;
      EXPECT_EQ(order.read(), want.order) << when;
      EXPECT_EQ(reverse.read(), want.reverse) << when;
      EXPECT_EQ(dropped.read(), want.dropped) << when;
    };
    check("at once");
    // Recorded, and then with other choices.
    auto recording = device->record([&] { device->dispatch(args); });
    ASSERT_TRUE(recording);
    index.host = choose();
    index.write();
    recording->replay();
    check("by a graph");
  }
  DispatchArgs many;
  many.tokens = 1 << 20, many.choices = 1 << 11, many.experts = 4;
  EXPECT_ERROR(device->dispatch(many), "expected at most 2147483647 choices of experts, but got 1048576 * 2048");
}

TEST_F(CudaExperts, MultiplyGroups) {
  const std::vector<std::vector<int32_t>> groupings = {{0, 130, 0, 69, 1}, {300}, {0, 0}, {1, 2, 3, 127, 128, 0, 40}};
  for (auto [k, n] : {std::pair<int64_t, int64_t>(100, 36), std::pair<int64_t, int64_t>(33, 17)})
    for (DType type : {DType::BF16, DType::F32})
      for (const std::vector<int32_t> &sizes : groupings)
        for (int64_t rest : {0, 9}) {
          const int64_t groups = sizes.size();
          Indices bounds = {0};
          for (int32_t size : sizes)
            bounds.push_back(bounds.back() + size);
          const int64_t rows = bounds.back() + rest;
          Values<int32_t> offsets(*device, bounds);
          Matrix x(*device, random, rows * k, type), y(*device, random, rows * n, type);
          Matrix w(*device, random, groups * k * n, type), out(*device, random, groups * k * n, DType::F32);
          auto says = [&](const char *what) {
            return concat(what, " ", name(type), " k ", k, " n ", n, ", ", groups, " groups, ", rows, " rows");
          };
          for (bool transposed : {false, true}) {
            Values<char> result(*device, std::vector<char>(rows * n * byteSize(type), '\xff')); // NaN
            device->groupedMatmul({x.memory.data(), w.memory.data(), offsets.data(), result.data(), type, type, rows, k, n,
                                   groups, transposed});
            result.read();
            double error = 0, size = 1e-30;
            for (int64_t r = 0, e = 0; r < rows; ++r) {
              while (e < groups && r >= bounds[e + 1])
                ++e;
              for (int64_t c = 0; c < n; ++c) {
                double want = 0;
                for (int64_t i = 0; i < k && e < groups; ++i)
                  want += double(x.exact[r * k + i]) * w.exact[e * k * n + (transposed ? c * k + i : i * n + c)];
                const char *place = result.host.data() + (r * n + c) * byteSize(type);
                float got;
                std::memcpy(&got, place, 4 * (type == DType::F32));
                if (type == DType::BF16) {
                  uint16_t bits;
                  std::memcpy(&bits, place, 2);
                  got = fromBf16(bits);
                }
                error += (got - want) * (got - want);
                size += want * want;
              }
            }
            EXPECT_LE(std::sqrt(error / size), type == DType::BF16 ? 3e-3 : 1e-6)
                << says(transposed ? "transposed" : "plain");
          }
          for (bool accumulate : {false, true}) {
            Values<float> result(*device, accumulate ? out.exact : std::vector<float>(groups * k * n, NAN));
            device->groupedOuter({x.memory.data(), y.memory.data(), offsets.data(), result.data(), type, DType::F32,
                                  rows, k, n, groups, accumulate});
            result.read();
            double error = 0, size = 1e-30;
            for (int64_t e = 0; e < groups; ++e)
              for (int64_t i = 0; i < k; ++i)
                for (int64_t c = 0; c < n; ++c) {
                  double want = accumulate ? out.exact[(e * k + i) * n + c] : 0;
                  for (int32_t r = bounds[e]; r < bounds[e + 1]; ++r)
                    want += double(x.exact[r * k + i]) * y.exact[r * n + c];
                  float got = result.host[(e * k + i) * n + c];
                  error += (got - want) * (got - want);
                  size += want * want;
                }
            // Tensor cores cut sums off where others round them.
            EXPECT_LE(std::sqrt(error / size), type == DType::BF16 ? 1e-5 : 1e-6)
                << says(accumulate ? "added outer" : "outer");
          }
        }
}
