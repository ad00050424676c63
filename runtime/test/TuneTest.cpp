#include "bench/Tune.h"
#include "Support.h"
#include "plan/Binding.h"
#include "plan/Executor.h"

#include <cstdio>

using namespace mhcrt;
using namespace mhcrt::test;

namespace {

/// Kernel k (a hundred times too slow) and its variants: as slow, and fast. Tiles of another size have other partial sums.
Json threeSchedules() {
  Json plan = examplePlan();
  Json &kernels = plan["targets"]["cpu"]["kernels"];
  Json base = kernels[0];
  base["args"] = Json::parse(R"([{"dtype": "f32", "elements": 4, "rows": ["token"]}, {"dtype": "f32", "elements": 4, "rows": ["token"], "written": true}])");
  base["reductions"] = Json::parse(R"([{"dtype": "f32", "elements": 4}])");
  base["elementwise"] = false;
  base["structure"] = "0123456789abcdef";
  base["shape"] = "1x4xf32";
  base["symbol"] = "double_and_sum_slowly";
  base["schedule"] = {{"family", "cpu"}, {"tile", 16}};
  Json slow = base, fast = base;
  slow["name"] = "k__1";
  slow["variant_of"] = "k";
  slow["tile"] = slow["schedule"]["tile"] = 8;
  fast["name"] = "k__2";
  fast["variant_of"] = "k";
  fast["symbol"] = "double_and_sum";
  fast["tile"] = fast["schedule"]["tile"] = 64;
  kernels = Json::array({base, slow, fast});
  return plan;
}

std::vector<TunedKernel> tune(const Package &package, Device &device, int64_t rows) {
  BenchOptions options;
  options.entry = "forward";
  options.symbols = bindValues(package.manifest(), package.manifest().entry("forward"), {{"T", rows}});
  options.repeat = 3;
  options.warmup = 1;
  return tuneKernels(package, device, "cpu", {options}, 2);
}

std::string problemOf(const std::function<void(Json &)> &change) {
  Json plan = threeSchedules();
  change(plan["targets"]["cpu"]);
  return errorOf([&] { openPackage(makePackage(exampleManifest(), plan)); });
}

} // namespace

TEST(Tune, FindsTheFastest) {
  Package package = openPackage(makePackage(exampleManifest(), threeSchedules()));
  std::string target;
  auto device = openDevice("cpu", package, 2, target);
  std::vector<TunedKernel> kernels = tune(package, *device, 4000);
  ASSERT_EQ(kernels.size(), 1u);
  EXPECT_EQ(kernels[0].kernel, 0u);
  EXPECT_EQ(kernels[0].launches, 1);
  ASSERT_EQ(kernels[0].variants.size(), 3u);
  EXPECT_EQ(kernels[0].best, 2u);
  EXPECT_LT(5 * kernels[0].variants[2].seconds, kernels[0].variants[0].seconds);
  EXPECT_GT(5 * kernels[0].variants[1].seconds, kernels[0].variants[0].seconds);

  Json file = scheduleFile(package.targets().at("cpu"), "cpu", kernels, {{"device", "here"}});
  ASSERT_EQ(file.size(), 1u);
  EXPECT_EQ(file[0]["kernel"], "k");
  EXPECT_EQ(file[0]["structure"], "0123456789abcdef");
  EXPECT_EQ(file[0]["shape"], "1x4xf32");
  EXPECT_EQ(file[0]["target"], "cpu");
  EXPECT_EQ(file[0]["schedule"], Json({{"family", "cpu"}, {"tile", 64}}));
  EXPECT_EQ(file[0]["measured"]["device"], "here");
  EXPECT_LT(file[0]["measured"]["microseconds"].get<double>(), file[0]["measured"]["default_microseconds"].get<double>());
}

/// A variant runs in the place of its kernel, with partial sums of its own number.
TEST(Tune, VariantsComputeTheSame) {
  Package package = openPackage(makePackage(exampleManifest(), threeSchedules()));
  std::string target;
  auto device = openDevice("cpu", package, 2, target);
  for (size_t variant : {0, 1, 2}) {
    std::map<size_t, size_t> variants;
    if (variant)
      variants[0] = variant;
    Executor executor(package, *device, "cpu", "forward", variants);
    executor.bind({{"T", 100}});
    std::vector<float> x(400), y(400, -1), s(4, -1);
    for (size_t i = 0; i < x.size(); ++i)
      x[i] = float(i % 4 + 1);
    Executor::Run run;
    run.inputs["x"] = reinterpret_cast<char *>(x.data());
    run.outputs["y"] = reinterpret_cast<char *>(y.data());
    run.outputs["s"] = reinterpret_cast<char *>(s.data());
    executor.run(run);
    EXPECT_EQ(y[399], 8) << variant;
    EXPECT_EQ(s, (std::vector<float>{100, 200, 300, 400})) << variant;
  }
}

TEST(Tune, PackagesThatLie) {
  EXPECT_EQ(problemOf([](Json &) {}), "");
  auto expect = [](const std::string &problem, const char *text) { EXPECT_NE(problem.find(text), std::string::npos) << problem; };
  expect(problemOf([](Json &target) { target["kernels"][1]["variant_of"] = "other"; }), "expected 'variant_of' to name an earlier kernel");
  expect(problemOf([](Json &target) { target["kernels"][1]["variant_of"] = "k__1"; }), "expected 'variant_of' to name an earlier kernel");
  expect(problemOf([](Json &target) { target["kernels"][2]["variant_of"] = "k__1"; }), "expected 'variant_of' to name an earlier kernel that is no variant itself");
  expect(problemOf([](Json &target) { target["kernels"][0]["variant_of"] = "k__1"; }), "expected 'variant_of' to name an earlier kernel");
  expect(problemOf([](Json &target) { target["kernels"][1]["variant_of"] = 0; }), "variant_of");
  expect(problemOf([](Json &target) { target["kernels"][1]["args"][0]["elements"] = 8; }), "does not take and give what 'k' does");
  expect(problemOf([](Json &target) { target["kernels"][1]["args"][1].erase("written"); }), "does not take and give what 'k' does");
  expect(problemOf([](Json &target) { target["kernels"][1]["reductions"][0]["elements"] = 5; }), "does not take and give what 'k' does");
  expect(problemOf([](Json &target) { target["kernels"][1]["ints"] = {"S"}; }), "does not take and give what 'k' does");
  expect(problemOf([](Json &target) { target["kernels"][1]["elementwise"] = true; }), "does not take and give what 'k' does");
  expect(problemOf([](Json &target) { target["entries"]["forward"]["commands"][0]["kernel"] = "k__2"; }), "'k__2' is a variant, which no launch names");
  expect(problemOf([](Json &target) { target["kernels"][1]["schedule"] = 3; }), "schedule");
  expect(problemOf([](Json &target) { target["kernels"][1]["schedule"].erase("family"); }), "family");
  expect(problemOf([](Json &target) { target["kernels"][1]["schedule"]["tile"] = -1; }), "tile");
  expect(problemOf([](Json &target) { target["kernels"][1]["schedule"]["tile"] = {{"x", 1}}; }), "tile");
  expect(problemOf([](Json &target) { target["kernels"][1]["structure"] = 7; }), "structure");
  expect(problemOf([](Json &target) { target["entries"]["forward"]["floor"] = "much"; }), "floor");
  expect(problemOf([](Json &target) { target["entries"]["forward"]["floor"] = {{"Q", 1}}; }), "Q");
}

TEST(Tune, RunsInAll) {
  EXPECT_EQ(tunedRuns(1), 3);
  EXPECT_EQ(tunedRuns(3), 3);
  EXPECT_EQ(tunedRuns(11), 9);
  EXPECT_EQ(tunedRuns(30), 30);
}

/// Schedules are what tune is about: packages without them, which run, are refused by name.
TEST(Tune, KernelsWithoutSchedules) {
  for (int kernel : {0, 2}) {
    Json plan = threeSchedules();
    plan["targets"]["cpu"]["kernels"][kernel].erase("schedule");
    Package package = openPackage(makePackage(exampleManifest(), plan));
    std::string target;
    auto device = openDevice("cpu", package, 2, target);
    std::string expected = kernel ? "kernel 'k__2' has no 'schedule'" : "kernel 'k' has no 'schedule'";
    EXPECT_ERROR(tune(package, *device, 100), expected);
  }
}

/// A file that cannot be written is found out before anything runs, and one that can is not there yet.
TEST(Tune, Program) {
  Folder folder;
  std::string path = folder.write("p.mhcpkg", makePackage(exampleManifest(), threeSchedules()));
  auto run = [&](const std::string &arguments) {
    std::string text, command = std::string(MHC_RUN) + " tune " + path + " --shape=T=300 --threads=1 --repeat=4 " + arguments + " 2>&1";
    FILE *pipe = popen(command.c_str(), "r");
    char buffer[4096];
    while (size_t count = fread(buffer, 1, sizeof buffer, pipe))
      text.append(buffer, count);
    return std::pair(WEXITSTATUS(pclose(pipe)), text);
  };
  auto [status, text] = run("--save=" + folder.file("s.json"));
  EXPECT_EQ(status, 0) << text;
  EXPECT_NE(text.find("3 runs of each schedule in all"), std::string::npos) << text;
  EXPECT_EQ(Json::parse(readText(folder.file("s.json")))[0]["kernel"], "k");
  for (const std::string &wrong : {folder.path, folder.file("nowhere/s.json"), path}) {
    auto [status, text] = run("--save=" + wrong);
    EXPECT_NE(status, 0);
    EXPECT_EQ(text.find("runs of each schedule"), std::string::npos) << text;
    EXPECT_NE(text.find(wrong), std::string::npos) << text;
  }
}

/// What must be moved at least is the package's to say.
TEST(Tune, FloorOfAnEntry) {
  Json plan = threeSchedules();
  plan["targets"]["cpu"]["entries"]["forward"]["floor"] = {{"T", 24}};
  Package package = openPackage(makePackage(exampleManifest(), plan));
  std::string target;
  auto device = openDevice("cpu", package, 2, target);
  BenchOptions options;
  options.entry = "forward";
  options.symbols = {{"T", 10}};
  options.repeat = 1;
  EXPECT_EQ(benchEntry(package, *device, target, options, 2).floorBytes, 240);
}
