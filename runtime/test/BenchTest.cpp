#include "bench/Bench.h"
#include "Support.h"
#include "bench/RandomInputs.h"
#include "plan/Binding.h"

#include <cmath>
#include <cstdio>

using namespace mhcrt;
using namespace mhcrt::test;

namespace {

/// x [T, 4] -> h -> y: the second launch reads what the first has written. w has no rows.
Json twoLaunches() {
  Json plan = examplePlan();
  Json &target = plan["targets"]["cpu"], &entry = target["entries"]["forward"];
  Json &kernel = target["kernels"][0];
  kernel["reduces"] = false;
  kernel["args"] = Json::parse(R"([
    {"dtype": "f32", "elements": 4, "rows": ["token"]},
    {"dtype": "f32", "elements": 4, "rows": ["token"], "written": true},
    {"dtype": "f32", "elements": 4, "written": true}])");
  kernel["reductions"] = Json::array();
  entry["buffers"] = Json::parse(R"([
    {"id": 0, "name": "x", "dtype": "f32", "size": {"T": 4}, "kind": "input", "tensor": "x"},
    {"id": 1, "name": "y", "dtype": "f32", "size": {"T": 4}, "kind": "output", "tensor": "y"},
    {"id": 2, "name": "s", "dtype": "f32", "size": 4, "kind": "output", "tensor": "s"},
    {"id": 3, "name": "h", "dtype": "f32", "size": {"T": 4}, "kind": "arena", "live": [0, 1]},
    {"id": 4, "name": "w", "dtype": "f32", "size": 12, "kind": "arena", "live": [0, 1]}])");
  entry["commands"] = Json::parse(R"([
    {"op": "launch", "at": "one", "kernel": "k", "args": [0, 3, 4], "rows": {"T": 1}, "ints": []},
    {"op": "launch", "at": "two", "kernel": "k", "args": [3, 1, 4], "rows": {"T": 1}, "ints": []},
    {"op": "fill", "buffer": 2, "value": 0.0},
    {"op": "copy", "src": 1, "dst": 1}])");
  return plan;
}

std::vector<Traffic> trafficOf(const Package &package, const std::string &name, const Symbols &symbols) {
  const Entry &entry = package.manifest().entry(name);
  const TargetPlan &target = package.targets().at("cpu");
  const EntryPlan &plan = target.entries.at(name);
  Layout layout = layOut(package.manifest(), entry, target, plan, bindValues(package.manifest(), entry, symbols),
                         [](const Kernel &, int64_t) { return 1; });
  return planTraffic(target, plan, layout);
}

BenchResult benchOf(const Package &package, const std::string &name, const Symbols &symbols) {
  std::string target;
  auto device = openDevice("cpu", package, 2, target);
  BenchOptions options;
  options.entry = name;
  options.symbols = bindValues(package.manifest(), package.manifest().entry(name), symbols);
  options.repeat = 3;
  options.warmup = 1;
  return benchEntry(package, *device, target, options, 2);
}

struct Output {
  int status = -1;
  std::string text;
};

/// What mhc-run prints on stdout.
Output run(const std::string &arguments) {
  Output output;
  FILE *pipe = ::popen((std::string(MHC_RUN) + " bench " + arguments + " 2>/dev/null").c_str(), "r");
  if (!pipe)
    return output;
  char block[4096];
  for (size_t count; (count = std::fread(block, 1, sizeof block, pipe)) > 0;)
    output.text.append(block, count);
  output.status = WEXITSTATUS(::pclose(pipe));
  return output;
}

} // namespace

TEST(Bench, LaunchesMoveArgumentsWithRows) {
  Package package = openPackage(makePackage(exampleManifest(), twoLaunches()));
  std::vector<Traffic> traffic = trafficOf(package, "forward", {{"T", 10}});
  ASSERT_EQ(traffic.size(), 4u);
  EXPECT_EQ(traffic[0].read, 10 * 16); // x, not w
  EXPECT_EQ(traffic[0].written, 10 * 16);
  EXPECT_EQ(traffic[1].read, 10 * 16); // h
  EXPECT_EQ(traffic[1].written, 10 * 16);
  EXPECT_EQ(traffic[2].read, 0);
  EXPECT_EQ(traffic[2].written, 16);
  EXPECT_EQ(traffic[3].read, 10 * 16);
  EXPECT_EQ(trafficOf(package, "forward", {{"T", 0}})[0].read, 0);
}

TEST(Bench, TrafficOfATrainingStep) {
  Package package = openPackage(makePackage(toyManifest(), described(toyPlan())));
  std::vector<Traffic> traffic = trafficOf(package, "train_step", {{"B", 2}, {"S", 3}});
  ASSERT_EQ(traffic.size(), 7u);
  EXPECT_EQ(traffic[0].written, 4 * 256);
  EXPECT_EQ(traffic[1].read + traffic[1].written, 0); // the loop
  EXPECT_EQ(traffic[2].read, 4 * 2 * 4);              // split_tokens
  EXPECT_EQ(traffic[2].written, 2 * 4 * 6);
  EXPECT_EQ(traffic[3].read, 6 * (4 + 4 + 4)); // inputs, targets, an element of the table for each token
  EXPECT_EQ(traffic[3].written, 6 * 4);
  EXPECT_EQ(traffic[5].read, 4 * 256); // the norm: all gradients
  EXPECT_EQ(traffic[5].written, 0);
  EXPECT_EQ(traffic[6].read, 4 * 256); // as the toy describes its update: g; w, m, v are written
  EXPECT_EQ(traffic[6].written, 3 * 4 * 256);
  Package old = openPackage(makePackage(toyManifest(), toyPlan())); // without a description
  EXPECT_EQ(trafficOf(old, "train_step", {{"B", 2}, {"S", 3}})[6].written, 0);
}

TEST(Bench, InputsAreReproducibleAndOfSensibleScale) {
  Manifest manifest;
  manifest.vocabSize = 100;
  auto make = [&](const TensorSpec &spec, const std::vector<int64_t> &shape, int64_t seed, int threads) {
    ThreadPool pool(threads);
    int64_t count = byteSize(spec.dtype);
    for (int64_t dimension : shape)
      count *= dimension;
    std::string bytes(count, '\0');
    randomInput(manifest, spec, shape, seed, pool, bytes.data());
    return bytes;
  };
  auto deviation = [&](const char *name, const std::vector<int64_t> &shape) {
    std::string bytes = make({name, DType::F32, {}}, shape, 1, 2);
    double sum = 0;
    for (size_t i = 0; i < bytes.size(); i += 4) {
      float value;
      std::memcpy(&value, &bytes[i], 4);
      sum += double(value) * value;
    }
    return std::sqrt(sum * 4 / bytes.size());
  };
  TensorSpec x{"x", DType::BF16, {}};
  EXPECT_EQ(make(x, {101, 4, 100}, 1, 1), make(x, {101, 4, 100}, 1, 3));
  EXPECT_NE(make(x, {101, 4, 100}, 1, 1), make(x, {101, 4, 100}, 2, 1));
  EXPECT_NEAR(deviation("x", {50, 4, 100}), 1, 0.05);
  EXPECT_NEAR(deviation("phi", {3, 400, 24}), 0.05, 0.005);
  EXPECT_NEAR(deviation("phi", {24, 400}), 0.05, 0.005);
  EXPECT_NEAR(deviation("alpha", {8, 3}), 0.01, 0.003);
  std::string tokens = make({"tokens", DType::I32, {}}, {1000}, 1, 1);
  int32_t most = 0;
  for (size_t i = 0; i < tokens.size(); i += 4) {
    int32_t token;
    std::memcpy(&token, &tokens[i], 4);
    EXPECT_TRUE(token >= 0 && token < 100);
    most = std::max(most, token);
  }
  EXPECT_GT(most, 90);
}

TEST(Bench, MeasuresEachKernel) {
  BenchResult result = benchOf(openPackage(makePackage(exampleManifest(), twoLaunches())), "forward", {{"T", 5000}});
  ASSERT_EQ(result.commands.size(), 4u);
  ASSERT_EQ(result.kernels.size(), 3u); // both launches are of one kernel
  EXPECT_EQ(result.kernels[0].name, "k");
  EXPECT_EQ(result.kernels[0].at, "one");
  EXPECT_EQ(result.kernels[0].launches, 2);
  EXPECT_EQ(result.kernels[0].bytes.read, 2 * 5000 * 16);
  EXPECT_EQ(result.kernels[0].bytes.written, 2 * 5000 * 16);
  EXPECT_EQ(result.kernels[1].name, "fill");
  EXPECT_EQ(result.commands[1].at, "two");
  EXPECT_EQ(result.bytes.read, 3 * 5000 * 16);
  EXPECT_GT(result.commands[0].seconds, 0);
  EXPECT_GT(result.kernels[0].seconds, result.commands[0].seconds);
  EXPECT_GT(result.seconds, 0);
  EXPECT_GT(result.copyRate, 1e8);
}

/// What backward computes again is told apart from what the floor is of.
TEST(Bench, TellsWhatIsComputedAgain) {
  Json plan = twoLaunches();
  Json &entry = plan["targets"]["cpu"]["entries"]["forward"];
  entry["floor"] = {{"T", 16}};
  EXPECT_EQ(benchOf(openPackage(makePackage(exampleManifest(), plan)), "forward", {{"T", 5000}}).againSeconds, 0);
  entry["again"] = {0, 2};
  Package package = openPackage(makePackage(exampleManifest(), plan));
  EXPECT_EQ(package.targets().at("cpu").entries.at("forward").again, (std::set<int64_t>{0, 2}));
  BenchResult result = benchOf(package, "forward", {{"T", 5000}});
  EXPECT_EQ(result.kernels[0].again, 1); // of two launches
  EXPECT_EQ(result.kernels[1].again, 1);
  EXPECT_EQ(result.kernels[2].again, 0);
  EXPECT_EQ(result.commands[0].again, 1);
  EXPECT_EQ(result.commands[1].again, 0);
  // Medians of sums over three runs: between the least and the most that one command has.
  EXPECT_GT(result.againSeconds, 0);
  EXPECT_GT(result.ownSeconds, 0);
  EXPECT_EQ(result.prepareSeconds, 0);
  for (Json wrong : {Json({0, 4}), Json({-1}), Json({1, 1}), Json({"one"}), Json(3)}) {
    entry["again"] = wrong;
    EXPECT_ERROR(openPackage(makePackage(exampleManifest(), plan)), "again");
  }
}

TEST(Bench, RunsATrainingStep) {
  BenchResult result = benchOf(openPackage(makePackage(toyManifest(), toyPlan())), "train_step", {{"B", 2}, {"S", 5}});
  ASSERT_EQ(result.commands.size(), 6u); // the loop's body counts once
  EXPECT_EQ(result.commands[1].op, "split_tokens");
  EXPECT_EQ(result.commands[1].index, 2);
  EXPECT_EQ(result.commands[5].name, "update");
}

TEST(Bench, MedianOfEvenAndOddCounts) {
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 2, 9}), 3);
  EXPECT_EQ(median({}), 0);
}

TEST(Bench, StreamCopyCopiesEveryByte) {
  auto device = plainDevice(2);
  constexpr size_t bytes = (2 << 20) + 100;
  DeviceMemory from(*device, bytes), to(*device, bytes);
  for (size_t i = 0; i < bytes; ++i)
    from.data()[i] = static_cast<char>(i * 7 + i / 251);
  for (size_t shift : {0, 3}) { // without alignment it is an ordinary copy
    std::memset(to.data(), 0, bytes);
    device->streamCopy(to.data() + shift, from.data() + shift, bytes - shift - 1);
    EXPECT_EQ(std::memcmp(to.data() + shift, from.data() + shift, bytes - shift - 1), 0);
    EXPECT_EQ(to.data()[bytes - 1], 0);
  }
}

TEST(Bench, Program) {
  Folder folder;
  std::string path = folder.write("p.mhcpkg", makePackage(exampleManifest(), twoLaunches()));
  std::string toy = folder.write("t.mhcpkg", makePackage(toyManifest(), toyPlan()));
  Output output = run(path + " forward --shape T=300 --repeat=2 --warmup=0 --threads=1");
  EXPECT_EQ(output.status, 0);
  for (const char *word : {"T = 300", "kernel", "one and 1 more", "total", "copy rate"})
    EXPECT_NE(output.text.find(word), std::string::npos) << word;

  output = run(path + " forward --shape=T=300 --json --threads=1 --repeat=2");
  ASSERT_EQ(output.status, 0);
  Json json = Json::parse(output.text);
  EXPECT_EQ(json["symbols"]["T"], 300);
  EXPECT_EQ(json["threads"], 1);
  EXPECT_EQ(json["kernels"][0]["name"], "k");
  EXPECT_EQ(json["kernels"][0]["read"], 2 * 300 * 16);
  EXPECT_EQ(json["commands"][1]["at"], "two");
  EXPECT_GT(json["copy_rate"], 0);
  EXPECT_NEAR(json["ratio"].get<double>() * json["copy_seconds"].get<double>(), json["seconds"].get<double>(), 1e-9);

  EXPECT_EQ(json["again_seconds"], 0);
  EXPECT_NEAR(json["own_seconds"].get<double>() / json["seconds"].get<double>(), 1, 0.9);
  EXPECT_TRUE(json["own_floor_ratio"].is_null());
  Json backward = twoLaunches();
  backward["targets"]["cpu"]["entries"]["forward"].update({{"floor", {{"T", 16}}}, {"again", {0, 2}}});
  std::string again = folder.write("a.mhcpkg", makePackage(exampleManifest(), backward));
  output = run(again + " forward --shape=T=300 --threads=1 --repeat=2");
  for (const char *word : {"one and 1 more (1 of them again)", "us in 2 commands that compute again", "times as long as the floor"})
    EXPECT_NE(output.text.find(word), std::string::npos) << word << " in " << output.text;
  json = Json::parse(run(again + " forward --shape=T=300 --threads=1 --repeat=2 --json").text);
  EXPECT_GT(json["again_seconds"], 0);
  EXPECT_NEAR(json["own_floor_ratio"].get<double>(), json["own_seconds"].get<double>() / json["floor_seconds"].get<double>(), 1e-9);
  EXPECT_EQ(json["commands"][0]["again"], 1);

  std::string latin = folder.write("b\xe4r.mhcpkg", readText(path)); // no UTF-8, as JSON must be
  output = run(latin + " forward --shape=T=3 --json --threads=1 --repeat=1");
  ASSERT_EQ(output.status, 0);
  EXPECT_EQ(Json::parse(output.text)["package"], folder.file("b\uFFFDr.mhcpkg"));

  EXPECT_EQ(run(path).status, 2);
  EXPECT_EQ(run(path + " forward").status, 2);
  EXPECT_EQ(run(path + " forward --shape=T").status, 2);
  EXPECT_EQ(run(path + " forward --shape=T=-1").status, 2);
  EXPECT_EQ(run(path + " forward --shape=T=1,T=2").status, 2);
  EXPECT_EQ(run(path + " forward --shape=T=3,S=4").status, 2);
  EXPECT_EQ(run(path + " forward --shape=T=3 --repeat=0").status, 2);
  EXPECT_EQ(run(path + " forward --shape=T=3 --device=tpu").status, 2);
  EXPECT_EQ(run(path + " forward --shape=T=3 --device=cuda").status, 1);
  EXPECT_EQ(run(path + " forwards --shape=T=3").status, 1);
  EXPECT_EQ(run(path + " forward --shape=T=99999999999999999").status, 1);
  EXPECT_EQ(run(toy + " eval --shape=B=2,S=17").status, 1); // beyond max_position_embeddings
  EXPECT_EQ(run(toy + " init").status, 1);
}
