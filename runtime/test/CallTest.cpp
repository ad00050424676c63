#include "plan/Call.h"
#include "Support.h"
#include "mhc-rt/mhc.h"

#include <cmath>
#include <cstdlib>

using namespace mhcrt;
using namespace mhcrt::test;

namespace {

struct Opened {
  Package package;
  std::string target;
  std::unique_ptr<Device> device;
  Opened(const std::string &bytes, int threads) : package(openPackage(bytes)) {
    device = openDevice("cpu", package, threads, target);
  }
  HostTensors call(const std::string &entry, const TensorInfos &infos,
                   const std::map<std::string, const void *> &data) {
    return callEntry(
        package, *device, target, entry, infos,
        [&](const std::string &name, void *to) {
          uint64_t bytes = infos.at(name).type == "i64" ? 8 : 4;
          for (int64_t dimension : infos.at(name).shape)
            bytes *= dimension;
          if (bytes)
            std::memcpy(to, data.at(name), bytes);
        },
        1);
  }
};

const float *floats(const HostTensors &tensors, const char *name) {
  return reinterpret_cast<const float *>(tensors.at(name).data.data());
}

} // namespace

TEST(Call, RunsKernelsAndReductionsForAnyT) {
  setenv("MHC_POISON", "1", 1);
  std::string bytes = makePackage(exampleManifest(), examplePlan());
  std::mt19937 random(13);
  for (int64_t T : {0, 1, 13, 48, 511, 4099}) {
    std::vector<float> x = randomFloats(random, 4 * T), first;
    for (int threads : {1, 2, 5}) {
      Opened opened(bytes, threads);
      HostTensors out = opened.call("forward", {{"x", {"f32", {T, 4}}}}, {{"x", x.data()}});
      EXPECT_EQ(out.size(), 2u);
      for (int64_t i = 0; i < 4 * T; ++i)
        ASSERT_EQ(floats(out, "y")[i], 2 * x[i]);
      std::vector<float> sums(floats(out, "s"), floats(out, "s") + 4);
      for (int c = 0; c < 4; ++c) {
        double want = 0;
        for (int64_t t = 0; t < T; ++t)
          want += x[4 * t + c];
        EXPECT_NEAR(sums[c], want, 1e-3);
      }
      if (first.empty())
        first = sums;
      EXPECT_EQ(std::memcmp(first.data(), sums.data(), 16), 0) << T << " rows, " << threads << " threads";
    }
  }
  unsetenv("MHC_POISON");
}

TEST(Call, ErrorsNameTheTensor) {
  Opened opened(makePackage(exampleManifest(), examplePlan()), 1);
  auto bind = [&](const TensorInfos &infos) { opened.call("forward", infos, {}); };
  EXPECT_ERROR(bind({}), "x: this input of entry 'forward' is missing");
  EXPECT_ERROR(bind({{"x", {"f32", {3, 4}}}, {"z", {"f32", {1}}}}), "z: entry 'forward' has no such input");
  EXPECT_ERROR(bind({{"x", {"f64", {3, 4}}}}), "x: expected type f32, but got f64");
  EXPECT_ERROR(bind({{"x", {"f32", {3, 5}}}}), "x: expected shape [3, 4], but got [3, 5]");
  EXPECT_ERROR(bind({{"x", {"f32", {3, 4, 1}}}}), "x: expected 2 dimensions");
  EXPECT_ERROR(opened.call("forwards", {}, {}), "unknown entry 'forwards'; the package has forward");
}

TEST(Call, LanguageModelLimits) {
  Opened opened(makePackage(toyManifest(), toyPlan()), 2);
  std::vector<float> w(256), b(3);
  w[5] = 2;
  std::vector<int32_t> tokens = {5, 6, 7, 6, 5, 6};
  TensorInfos infos = {{"tokens", {"i32", {2, 3}}}, {"model.w", {"f32", {256}}}, {"model.b", {"f32", {3}}}};
  std::map<std::string, const void *> data = {{"tokens", tokens.data()}, {"model.w", w.data()}, {"model.b", b.data()}};
  HostTensors out = opened.call("loss_and_gradients", infos, data);
  EXPECT_EQ(out.size(), 3u); // loss, two gradients
  // pairs (5,6) (6,7) (6,5) (5,6): e = 1, -1, -3, 1
  EXPECT_FLOAT_EQ(floats(out, "loss")[0], 12.0f / 4);
  EXPECT_FLOAT_EQ(floats(out, "grad.model.w")[5], (2 * 1 + 2 * 3 + 2 * 1) / 4.0f);
  EXPECT_EQ(floats(out, "grad.model.b")[0], 0);
  out = opened.call("eval", infos, data);
  EXPECT_EQ(*reinterpret_cast<const int64_t *>(out.at("tokens").data.data()), 4);
  EXPECT_FLOAT_EQ(floats(out, "cross_entropy")[0], 3);

  auto with = [&](const char *name, TensorInfo info) {
    TensorInfos changed = infos;
    changed[name] = std::move(info);
    return errorOf([&] { opened.call("eval", changed, data); });
  };
  for (std::vector<int64_t> shape : {std::vector<int64_t>{1, 18}, {0, 3}, {1, 1}, {1, 0}}) {
    std::string message = with("tokens", {"i32", shape});
    EXPECT_NE(message.find("tokens"), std::string::npos) << message;
    EXPECT_NE(message.find("max_position_embeddings"), std::string::npos) << message;
  }
  EXPECT_NE(with("tokens", {"i64", {2, 3}}).find("tokens: expected type i32"), std::string::npos);
  EXPECT_NE(with("model.w", {"f32", {255}}).find("model.w: expected shape [256]"), std::string::npos);
  EXPECT_NE(with("model.w", {"bf16", {256}}).find("model.w: expected type f32"), std::string::npos);
  EXPECT_ERROR(opened.call("train_step", infos, data), "cannot be called");
  tokens[4] = 256;
  EXPECT_ERROR(opened.call("eval", infos, data), "but got 256 in row 1, column 1");

  int64_t seed = 7;
  HostTensors initial = opened.call("init", {{"seed", {"i64", {1}}}}, {{"seed", &seed}});
  EXPECT_EQ(initial.size(), 2u);
  EXPECT_EQ(floats(initial, "model.b")[2], 3);
}

TEST(CApi, CallsAndReports) {
  Folder folder;
  std::string path = folder.write("p.mhcpkg", makePackage(exampleManifest(), examplePlan()));
  EXPECT_EQ(mhc_open((path + "x").c_str()), nullptr);
  EXPECT_NE(std::string(mhc_error()).find("cannot open"), std::string::npos);
  mhc_package *package = mhc_open(path.c_str());
  ASSERT_NE(package, nullptr) << mhc_error();
  EXPECT_EQ(mhc_device_open(package, "tpu", 1), nullptr);
  mhc_device *device = mhc_device_open(package, "cpu", 2);
  ASSERT_NE(device, nullptr) << mhc_error();
  float x[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  int64_t shape[2] = {2, 4};
  mhc_tensor input = {"x", MHC_F32, 2, shape, x};
  EXPECT_EQ(mhc_call(device, "forward", nullptr, 0), nullptr);
  EXPECT_NE(std::string(mhc_error()).find("x: "), std::string::npos);
  mhc_results *results = mhc_call(device, "forward", &input, 1);
  ASSERT_NE(results, nullptr) << mhc_error();
  ASSERT_EQ(mhc_results_count(results), 2u);
  mhc_tensor s = mhc_results_get(results, 0);
  EXPECT_STREQ(s.name, "s");
  EXPECT_EQ(static_cast<const float *>(s.data)[3], 12);
  mhc_results_free(results);
  mhc_device_close(device);
  mhc_close(package);
}
