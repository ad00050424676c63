#include "Support.h"
#include "base/Hash.h"
#include "hal/cuda/CudnnAttention.h"
#include "hal/cuda/MarkedRegion.h"
#include "plan/Call.h"

#include <cmath>
#include <cstdlib>
#include <cstring>

using namespace mhcrt;
using namespace mhcrt::test;

namespace {

bool haveGpu() {
  return errorOf([] { cuda::driver(); }).empty();
}

std::string cudaPackage(const std::string &target, const Json &library = Json::array()) {
  Json manifest = exampleManifest(), plan = examplePlan();
  manifest["targets"] = {target};
  Json entry = plan["targets"]["cpu"];
  entry["kernels"][0]["threads"] = 32;
  if (!library.empty())
    entry["library"] = library;
  plan["targets"] = {{target, entry}};
  std::string planText = plan.dump(), ptx = readText(TEST_PTX), path = "kernels/" + target + ".ptx";
  manifest["sections"] = {
      {{"path", "plan.json"}, {"sha256", sha256Hex(planText.data(), planText.size())}, {"size", planText.size()}},
      {{"path", path}, {"sha256", sha256Hex(ptx.data(), ptx.size())}, {"size", ptx.size()}}};
  return makeZip({{"manifest.json", manifest.dump()}, {"plan.json", planText}, {path, ptx}});
}

} // namespace

TEST(Cuda, SaysWhatIsMissing) {
  if (haveGpu())
    GTEST_SKIP() << "there is a GPU";
  Package package = openPackage(cudaPackage("sm_80"));
  std::string target;
  EXPECT_ERROR(openDevice("cuda", package, 1, target), "device cuda: ");
}

TEST(Cuda, RunsKernelsAndReductions) {
  if (!haveGpu())
    GTEST_SKIP() << describeCuda();
  setenv("MHC_POISON", "1", 1);
  Package package = openPackage(cudaPackage("sm_80"));
  std::string target;
  auto device = openDevice("cuda", package, 1, target);
  EXPECT_EQ(target, "sm_80");
  std::mt19937 random(15);
  for (int64_t T : {0, 1, 13, 511, 70000}) {
    std::vector<float> x = randomFloats(random, 4 * T);
    TensorInfos infos = {{"x", {"f32", {T, 4}}}};
    auto read = [&](const std::string &, void *to) { std::copy(x.begin(), x.end(), static_cast<float *>(to)); };
    HostTensors first = callEntry(package, *device, target, "forward", infos, read, 1);
    const auto *y = reinterpret_cast<const float *>(first.at("y").data.data());
    const auto *s = reinterpret_cast<const float *>(first.at("s").data.data());
    for (int64_t i = 0; i < 4 * T; ++i)
      ASSERT_EQ(y[i], 2 * x[i]);
    for (int c = 0; c < 4; ++c) {
      double want = 0;
      for (int64_t t = 0; t < T; ++t)
        want += x[4 * t + c];
      EXPECT_NEAR(s[c], want, 1e-2);
    }
    HostTensors second = callEntry(package, *device, target, "forward", infos, read, 1);
    EXPECT_EQ(std::memcmp(s, second.at("s").data.data(), 16), 0);
  }
  unsetenv("MHC_POISON");
}

/// The bits of additions in order, which are the CPU's. With MHC_TEST_PACKAGE=FILE by the kernel of that package instead of the tests' own: what mhc-compile emits.
TEST(Cuda, SumsPartialsInOrder) {
  if (!haveGpu())
    GTEST_SKIP() << describeCuda();
  const char *given = std::getenv("MHC_TEST_PACKAGE");
  Package package = given ? Package::open(given) : openPackage(cudaPackage("sm_80"));
  std::string target;
  auto device = openDevice("cuda", package, 1, target);
  std::mt19937 random(21);
  struct Shape {
    int64_t size, count;
    bool accumulate;
  };
  // Of a boundary; odd sizes and more than a launch takes; what has no elements or no partials.
  std::vector<std::vector<Shape>> lists = {{{3, 13, false}, {24, 13, false}, {122880, 13, false}}, {{688129, 2, true}},
                                           {{1, 1, true}, {257, 128, false}, {256, 7, true}, {1000, 8, false}, {1, 9, true}, {77777, 1, false}, {255, 16, true}, {2, 17, false}, {513, 100, true}},
                                           {{0, 5, false}, {300, 0, false}, {300, 0, true}, {40, 3, true}}, {{0, 0, false}}};
  for (const std::vector<Shape> &list : lists) {
    std::vector<std::vector<float>> partials, outs;
    std::vector<DeviceMemory> memory;
    std::vector<PartialSum> sums;
    for (const Shape &shape : list) {
      partials.push_back(randomFloats(random, shape.size * shape.count));
      outs.push_back(shape.accumulate ? randomFloats(random, shape.size) : std::vector<float>(shape.size, std::nanf("")));
    }
    for (size_t i = 0; i < list.size(); ++i) {
      for (const std::vector<float> *values : {&partials[i], &outs[i]}) {
        memory.emplace_back(*device, values->size() * sizeof(float));
        device->copyIn(memory.back().data(), values->data(), values->size() * sizeof(float));
      }
      sums.push_back({memory[2 * i].data(), memory[2 * i + 1].data(), DType::F32, list[i].size, list[i].count, list[i].accumulate});
      for (int64_t j = 0; j < list[i].size; ++j) {
        float sum = list[i].accumulate ? outs[i][j] : 0;
        for (int64_t p = 0; p < list[i].count; ++p)
          sum += partials[i][p * list[i].size + j];
        outs[i][j] = sum;
      }
    }
    device->sumPartials(sums);
    for (size_t i = 0; i < list.size(); ++i) {
      std::vector<float> got(list[i].size);
      device->copyOut(got.data(), memory[2 * i + 1].data(), got.size() * sizeof(float));
      EXPECT_EQ(std::memcmp(got.data(), outs[i].data(), got.size() * sizeof(float)), 0) << "sum " << i << ": " << list[i].size << " elements, " << list[i].count << " partials";
    }
  }
}

/// Nothing of a list depends on another one of it, and all stay in order.
TEST(Cuda, SumsThatRunAtOnce) {
  std::vector<float> a(64), b(64), c(64);
  auto sum = [](const std::vector<float> &from, int64_t at, int64_t count, std::vector<float> &to, int64_t out, int64_t size) {
    return PartialSum{from.data() + at, to.data() + out, DType::F32, size, count, true};
  };
  auto sizes = [](const std::vector<PartialSum> &sums, size_t most) {
    std::vector<size_t> result;
    for (const auto &list : sumsAtOnce(sums, most))
      result.push_back(list.size());
    return result;
  };
  using Sizes = std::vector<size_t>;
  EXPECT_EQ(sizes({}, 8), Sizes{});
  EXPECT_EQ(sizes({sum(a, 0, 2, b, 0, 8), sum(a, 16, 2, b, 8, 8), sum(a, 0, 2, b, 16, 8)}, 8), Sizes{3}); // what is read twice is no matter
  EXPECT_EQ(sizes({sum(a, 0, 2, b, 0, 8), sum(a, 16, 2, b, 8, 8), sum(a, 0, 2, b, 16, 8)}, 2), (Sizes{2, 1}));
  EXPECT_EQ(sizes({sum(a, 0, 2, b, 0, 8), sum(a, 16, 2, b, 7, 8)}, 8), (Sizes{1, 1})); // both into b[7]
  EXPECT_EQ(sizes({sum(a, 0, 2, b, 0, 8), sum(c, 0, 2, c, 32, 8), sum(b, 0, 2, c, 0, 8)}, 8), (Sizes{2, 1}));
  EXPECT_EQ(sizes({sum(b, 0, 2, c, 0, 8), sum(a, 0, 2, b, 15, 8)}, 8), (Sizes{1, 1})); // the last element of the second partial
  EXPECT_EQ(sizes({sum(b, 0, 2, c, 0, 8), sum(a, 0, 2, b, 16, 8)}, 8), Sizes{2});
}

/// Every part was marked since it was last taken, whether so many were expected or not.
TEST(Cuda, PartsOfAMarkedRegion) {
  constexpr uint64_t limit = MarkedRegion::limit;
  MarkedRegion region;
  std::vector<bool> marked(3 * limit / 256); // by 256 bytes
  uint64_t marks = 0, markedBytes = 0;
  auto mark = [&](uint64_t bytes) {
    marks += bytes > 0;
    markedBytes += bytes;
    ASSERT_EQ(bytes % 256, 0u);
    std::fill(marked.begin(), marked.begin() + bytes / 256, true);
  };
  auto take = [&](uint64_t bytes) {
    MarkedRegion::Part part = region.take(bytes);
    mark(part.mark);
    ASSERT_EQ(part.offset % 256, 0u);
    for (uint64_t i = part.offset / 256; i < (part.offset + bytes + 255) / 256; ++i) {
      ASSERT_TRUE(marked.at(i)) << i;
      marked[i] = false;
    }
  };
  auto run = [&](uint64_t expected, const std::vector<uint64_t> &parts) {
    marks = markedBytes = 0;
    std::fill(marked.begin(), marked.end(), false); // another run, or a replay, used all of it
    mark(region.expect(expected));
    for (uint64_t bytes : parts)
      take(bytes);
  };
  const uint64_t boundary = 3500 << 10, wide = 10u << 20;
  run(8 * boundary, std::vector<uint64_t>(8, boundary));
  EXPECT_EQ(marks, 1u);
  EXPECT_EQ(markedBytes, 8 * boundary);
  run(60 * wide, std::vector<uint64_t>(60, wide)); // 6 at a time
  EXPECT_EQ(marks, 10u);
  EXPECT_LE(markedBytes, 10 * limit);
  run(0, {1000, 1, 256}); // nobody said anything
  EXPECT_EQ(marks, 3u);
  run(2 * boundary, std::vector<uint64_t>(5, boundary)); // more than was said
  EXPECT_EQ(marks, 4u);
  run(2 * limit + 512, {2 * limit, 1, 77}); // one that is larger than the limit
  EXPECT_EQ(marks, 3u);
  run(256 + 512, {1, 257});
  EXPECT_EQ(marks, 1u);
  take(1); // a launch outside of a run
  EXPECT_EQ(marks, 2u);
}

TEST(Cuda, LibraryKernelsAreRead) {
  Json kernel = {{"symbol", "mhc_add_f32"}, {"tile", 1024}, {"shared", 0}, {"threads", 256}};
  Package package = openPackage(cudaPackage("sm_80", Json::array({kernel})));
  EXPECT_EQ(package.targets().at("sm_80").library.at("mhc_add_f32").tile, 1024);
  EXPECT_ERROR(openPackage(cudaPackage("sm_80", Json::array({kernel, kernel}))), "'mhc_add_f32' occurs twice");
  for (const char *key : {"tile", "threads"}) {
    Json broken = kernel;
    broken[key] = 0;
    EXPECT_ERROR(openPackage(cudaPackage("sm_80", Json::array({broken}))), key);
    broken.erase(key);
    EXPECT_ERROR(openPackage(cudaPackage("sm_80", Json::array({broken}))), key);
  }
}

TEST(Cuda, CopiesThroughPinnedMemory) {
  if (!haveGpu())
    GTEST_SKIP() << describeCuda();
  Package package = openPackage(cudaPackage("sm_80"));
  std::string target;
  auto device = openDevice("cuda", package, 1, target);
  for (uint64_t bytes : {1ull, 4096ull, 4ull << 20, (4ull << 20) + 3, 37000001ull}) { // a slot holds 4 MiB
    std::vector<unsigned char> data(bytes), back(bytes);
    std::mt19937 random(9);
    for (unsigned char &value : data)
      value = static_cast<unsigned char>(random());
    std::vector<unsigned char> given = data;
    DeviceMemory a(*device, bytes), b(*device, bytes);
    device->copyIn(a.data(), given.data(), bytes);
    std::fill(given.begin(), given.end(), 0); // the copy no longer needs it
    device->copy(b.data(), a.data(), bytes);
    device->copyOut(back.data(), b.data(), bytes);
    EXPECT_EQ(data, back) << bytes;
  }
}

TEST(Cuda, RecordsAndReplays) {
  if (!haveGpu())
    GTEST_SKIP() << describeCuda();
  Package package = openPackage(cudaPackage("sm_80"));
  std::string target;
  auto device = openDevice("cuda", package, 1, target);
  DeviceMemory from(*device, 64), to(*device, 64);
  std::vector<float> values(16, 2), back(16);
  device->fill(to.data(), DType::F32, 16, 1);
  auto recording = device->record([&] { device->copy(to.data(), from.data(), 64); });
  ASSERT_TRUE(recording);
  EXPECT_TRUE(recording->isValid());
  device->copyOut(back.data(), to.data(), 64);
  EXPECT_EQ(back[0], 1); // nothing was done
  for (float value : {2.0f, 3.0f}) {
    std::fill(values.begin(), values.end(), value);
    device->copyIn(from.data(), values.data(), 64);
    recording->replay();
    device->copyOut(back.data(), to.data(), 64);
    EXPECT_EQ(back, values);
  }
  // What cannot be repeated is not recorded, and the device goes on without.
  EXPECT_FALSE(device->record([&] { device->copyIn(from.data(), values.data(), 64); }));
  device->copyOut(back.data(), to.data(), 64);
  EXPECT_EQ(back, values);
}

TEST(Cuda, MultipliesMatrices) {
  if (!haveGpu())
    GTEST_SKIP() << describeCuda();
  if (std::string found = describeCublasLt(); found.rfind("found", 0) != 0)
    GTEST_SKIP() << found;
  Package package = openPackage(cudaPackage("sm_80"));
  std::string target;
  auto device = openDevice("cuda", package, 1, target);
  auto cpu = plainDevice(1);
  std::mt19937 random(4);
  struct Types {
    DType operands, result;
  };
  for (auto [m, n, k] : {std::tuple(1, 1, 1), std::tuple(61, 24, 13), std::tuple(128, 96, 256), std::tuple(200, 7, 1000), std::tuple(5, 9, 0)})
    for (Types types : {Types{DType::F32, DType::F32}, Types{DType::BF16, DType::F32}, Types{DType::BF16, DType::BF16}})
      for (int bits = 0; bits < 8; ++bits) {
        auto matrix = [&](int64_t count, DType type) {
          std::vector<float> wide = randomFloats(random, count);
          std::vector<char> bytes(count * byteSize(type));
          if (type == DType::F32)
            std::memcpy(bytes.data(), wide.data(), bytes.size());
          else
            std::memcpy(bytes.data(), test::toBf16(wide).data(), bytes.size());
          return bytes;
        };
        std::vector<char> a = matrix(m * k, types.operands), b = matrix(k * n, types.operands), c = matrix(m * n, types.result), want = c, again = c;
        GemmArgs args{m, n, k, a.data(), b.data(), want.data(), types.operands, types.operands, types.result, (bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0};
        cpu->gemm(args);
        DeviceMemory da(*device, a.size()), db(*device, b.size()), dc(*device, c.size());
        args.a = da.data();
        args.b = db.data();
        args.c = dc.data();
        auto product = [&](std::vector<char> &result) {
          device->copyIn(da.data(), a.data(), a.size());
          device->copyIn(db.data(), b.data(), b.size());
          device->copyIn(dc.data(), result.data(), result.size());
          device->gemm(args);
          device->copyOut(result.data(), dc.data(), result.size());
        };
        product(c);
        product(again);
        EXPECT_EQ(c, again); // the same bits
        auto value = [&](const std::vector<char> &bytes, int64_t i) {
          if (types.result == DType::BF16)
            return fromBf16(reinterpret_cast<const uint16_t *>(bytes.data())[i]);
          return reinterpret_cast<const float *>(bytes.data())[i];
        };
        double error = 0, size = 1e-30;
        for (int64_t i = 0; i < m * n; ++i) {
          error += std::pow(value(c, i) - value(want, i), 2);
          size += std::pow(value(want, i), 2);
        }
        EXPECT_LE(std::sqrt(error / size), types.result == DType::BF16 ? 3e-3 : 1e-6) << m << " x " << n << " x " << k << " flags " << bits;
      }
}

namespace {

/// Operands and results of attention, on the host and on the device, in bf16.
struct AttentionProblem {
  AttentionProblem(Device &device, std::mt19937 &random, int64_t sequences, int64_t length, int64_t heads, int64_t kvHeads,
                   int64_t headDim, int64_t valueDim)
      : device(device) {
    shape.type = DType::BF16;
    shape.sequences = sequences, shape.length = length, shape.heads = heads, shape.kvHeads = kvHeads;
    shape.headDim = headDim, shape.valueDim = valueDim;
    shape.scale = 1.3 / std::sqrt(double(headDim));
    const int64_t tokens = sequences * length;
    auto add = [&](int64_t count, int64_t bytes) {
      std::vector<char> values(count * bytes);
      std::memcpy(values.data(), test::toBf16(randomFloats(random, count * bytes / 2)).data(), values.size());
      host.push_back(std::move(values));
      memory.emplace_back(device, host.back().size());
    };
    for (int64_t count : {tokens * heads * headDim, tokens * kvHeads * headDim, tokens * kvHeads * valueDim,
                          tokens * heads * valueDim}) // q, k, v, dout
      add(count, 2);
    add(tokens * heads * valueDim, 2), add(tokens * heads, 4); // out, lse
    for (int i = 0; i < 3; ++i)                                // dq, dk, dv
      add(host[i].size() / 2, 2);
    for (size_t i = 0; i < 4; ++i)
      device.copyIn(memory[i].data(), host[i].data(), host[i].size());
  }

  AttentionArgs args(bool onDevice) {
    auto at = [&](size_t i) { return onDevice ? memory[i].data() : host[i].data(); };
    AttentionArgs args = shape;
    args.q = at(0), args.k = at(1), args.v = at(2), args.dout = at(3), args.out = at(4), args.lse = at(5);
    args.dq = at(6), args.dk = at(7), args.dv = at(8);
    return args;
  }
  void poison() {
    for (size_t i = 4; i < memory.size(); ++i)
      device.fillBytes(memory[i].data(), 0xff, memory[i].size());
  }
  std::vector<std::vector<char>> results() {
    std::vector<std::vector<char>> all;
    for (size_t i = 4; i < memory.size(); ++i) {
      all.emplace_back(memory[i].size());
      device.copyOut(all.back().data(), memory[i].data(), all.back().size());
    }
    return all;
  }

  Device &device;
  AttentionArgs shape;
  std::vector<std::vector<char>> host; ///< q, k, v, dout, out, lse, dq, dk, dv
  std::vector<DeviceMemory> memory;
};

/// The 2-norm of the error against that of what is wanted.
double relativeError(const std::vector<char> &got, const std::vector<char> &want, bool isFloat) {
  auto value = [&](const std::vector<char> &bytes, size_t i) {
    return isFloat ? reinterpret_cast<const float *>(bytes.data())[i]
                   : fromBf16(reinterpret_cast<const uint16_t *>(bytes.data())[i]);
  };
  double error = 0, size = 1e-30;
  for (size_t i = 0; i < want.size() / (isFloat ? 4 : 2); ++i) {
    error += std::pow(value(got, i) - value(want, i), 2);
    size += std::pow(value(want, i), 2);
  }
  return std::sqrt(error / size);
}

/// Why attention by cuDNN cannot be tried; "" if it can.
std::string noCudnn() {
  if (!haveGpu())
    return describeCuda();
  if (std::string problem = cudnn::problem(); !problem.empty())
    return problem;
  int major = 0;
  cuda::DeviceHandle gpu = 0;
  cuda::check(cuda::driver().deviceGet(&gpu, 0), "device 0");
  cuda::check(cuda::driver().deviceGetAttribute(&major, cuda::AttributeComputeMajor, gpu), "device 0");
  return major == 9 ? "" : "backward by cuDNN is for compute capability 9";
}

} // namespace

/// The package has no kernels of attention: what is not refused was done by cuDNN.
TEST(Cuda, AttentionByCudnnAgreesWithTheCpu) {
  if (std::string problem = noCudnn(); !problem.empty())
    GTEST_SKIP() << problem;
  Package package = openPackage(cudaPackage("sm_80"));
  std::string target;
  auto device = openDevice("cuda", package, 1, target);
  auto cpu = plainDevice(4);
  std::mt19937 random(11);
  for (auto [b, s, heads, kv, d, dv] :
       {std::tuple(2, 200, 4, 2, 64, 64), std::tuple(2, 200, 4, 4, 128, 128), std::tuple(2, 200, 4, 1, 192, 192),
        std::tuple(2, 200, 2, 2, 192, 128), std::tuple(2, 333, 2, 1, 256, 256), std::tuple(3, 129, 3, 1, 72, 40),
        std::tuple(5, 2, 4, 2, 64, 64), std::tuple(1, 64, 2, 2, 8, 16), std::tuple(2, 1025, 2, 1, 128, 128),
        std::tuple(2, 65, 12, 4, 96, 96)}) {
    AttentionProblem problem(*device, random, b, s, heads, kv, d, dv);
    cpu->attention(problem.args(false));
    cpu->attentionBackward(problem.args(false));
    problem.poison();
    device->attention(problem.args(true));
    device->attentionBackward(problem.args(true));
    auto results = problem.results();
    const char *names[] = {"out", "lse", "dq", "dk", "dv"};
    const double limits[] = {4e-3, 1e-4, 1e-2, 1e-2, 1e-2}; // gradients pass through probabilities in bf16
    for (int i = 0; i < 5; ++i)
      EXPECT_LE(relativeError(results[i], problem.host[4 + i], i == 1), limits[i])
          << names[i] << ", " << b << " x " << s << ", heads " << heads << "/" << kv << " of " << d << "/" << dv;
    for (int again = 0; again < 5; ++again) { // the same bits, other lengths in between, and by a graph
      problem.poison();
      AttentionProblem other(*device, random, 2, s + 7, heads, kv, d, dv);
      device->attention(other.args(true));
      auto work = [&] {
        device->attention(problem.args(true));
        device->attentionBackward(problem.args(true));
      };
      if (again < 4) {
        work();
      } else {
        auto recording = device->record(work);
        ASSERT_TRUE(recording);
        recording->replay();
      }
      EXPECT_EQ(problem.results(), results) << b << " x " << s << ", heads of " << d << "/" << dv << ", run " << again;
    }
  }
}

TEST(Cuda, AttentionByCudnnInParts) {
  if (std::string problem = noCudnn(); !problem.empty())
    GTEST_SKIP() << problem;
  Package package = openPackage(cudaPackage("sm_80"));
  std::string target;
  auto device = openDevice("cuda", package, 1, target);
  cuda::Stream stream = nullptr;
  cuda::check(cuda::driver().streamCreate(&stream, 0, 0), "creating a stream");
  std::mt19937 random(12);
  AttentionProblem problem(*device, random, 6, 100, 12, 6, 64, 64);
  const uint64_t ofGroup = 128 * 128 * 2 * 2; // bytes of two heads' scores, in tiles
  std::vector<std::vector<char>> whole;
  for (uint64_t groups : {36, 12, 6, 3, 1}) {
    CudnnAttention attention(stream, 9, groups * ofGroup);
    problem.poison();
    for (auto pass : {CudnnAttention::Pass::Forward, CudnnAttention::Pass::Backward}) {
      auto bytes = attention.prepare(pass, problem.args(true));
      ASSERT_TRUE(bytes);
      DeviceMemory workspace(*device, *bytes);
      device->synchronize(); // the other stream
      attention.run(pass, problem.args(true), workspace.data());
      cuda::check(cuda::driver().streamSynchronize(stream), "running attention");
    }
    auto results = problem.results();
    if (whole.empty())
      whole = results;
    EXPECT_EQ(results, whole) << groups << " groups of heads in a part";
  }
  cuda::driver().streamDestroy(stream);
}

TEST(Cuda, LeavesAttentionToThePackage) {
  if (!haveGpu())
    GTEST_SKIP() << describeCuda();
  Package package = openPackage(cudaPackage("sm_80"));
  std::string target;
  std::mt19937 random(13);
  auto isLeft = [&](auto change) {
    auto device = openDevice("cuda", package, 1, target);
    AttentionProblem problem(*device, random, 1, 64, 2, 2, 64, 64);
    AttentionArgs args = problem.args(true);
    change(args);
    return errorOf([&] { device->attention(args); }).find("mhc_attention_") != std::string::npos;
  };
  EXPECT_TRUE(isLeft([](AttentionArgs &args) { args.type = DType::F32; }));
  EXPECT_TRUE(isLeft([](AttentionArgs &args) { args.headDim = 6; }));
  EXPECT_TRUE(isLeft([](AttentionArgs &args) { args.length = 1; }));
  EXPECT_TRUE(isLeft([](AttentionArgs &args) { args.length = 63; })); // of a text that grows
  EXPECT_TRUE(isLeft([](AttentionArgs &args) { args.q = static_cast<const char *>(args.q) + 2; }));
  setenv("MHC_CUDNN", "0", 1);
  EXPECT_TRUE(isLeft([](AttentionArgs &) {}));
  unsetenv("MHC_CUDNN");
  if (noCudnn().empty()) {
    EXPECT_FALSE(isLeft([](AttentionArgs &) {}));
  }
}

TEST(Cuda, RefusesOtherArchitectures) {
  if (!haveGpu())
    GTEST_SKIP() << describeCuda();
  Package package = openPackage(cudaPackage("sm_80a")); // exactly 8.0
  std::string target, message = errorOf([&] { openDevice("cuda", package, 1, target); });
  if (!message.empty()) { // on an A100 it is right to accept it
    EXPECT_NE(message.find("its targets are sm_80a"), std::string::npos) << message;
  }
}
