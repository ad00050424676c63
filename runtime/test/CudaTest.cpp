#include "Support.h"
#include "base/Hash.h"
#include "hal/cuda/CudaDriver.h"
#include "plan/Call.h"

#include <cstdlib>

using namespace mhcrt;
using namespace mhcrt::test;

namespace {

bool haveGpu() {
  return errorOf([] { cuda::driver(); }).empty();
}

std::string cudaPackage(const std::string &target) {
  Json manifest = exampleManifest(), plan = examplePlan();
  manifest["targets"] = {target};
  Json entry = plan["targets"]["cpu"];
  entry["kernels"][0]["threads"] = 32;
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

TEST(Cuda, RefusesOtherArchitectures) {
  if (!haveGpu())
    GTEST_SKIP() << describeCuda();
  Package package = openPackage(cudaPackage("sm_80a")); // exactly 8.0
  std::string target, message = errorOf([&] { openDevice("cuda", package, 1, target); });
  if (!message.empty()) { // on an A100 it is right to accept it
    EXPECT_NE(message.find("its targets are sm_80a"), std::string::npos) << message;
  }
}
