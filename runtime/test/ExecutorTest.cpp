#include "plan/Executor.h"
#include "Support.h"
#include "bench/Bench.h"
#include "plan/Binding.h"

using namespace mhcrt;
using namespace mhcrt::test;

namespace {

/// A CPU whose launches need memory prepared, and that records.
class PreparingDevice final : public CpuDevice {
public:
  PreparingDevice(const Package &package, int threads)
      : CpuDevice(package.targets().at("cpu"), *package.section("host/kernels.so"), threads) {}

  uint64_t workspace(const Kernel &, int64_t rows) const override { return rows > 0 ? 1000 + static_cast<uint64_t>(rows) : 0; }
  void prepare(uint64_t bytes) override {
    EXPECT_EQ(left, 0u) << "what was prepared before was not used";
    prepared.push_back(bytes);
    left = bytes;
  }
  void launch(const Kernel &kernel, int64_t rows, const std::vector<void *> &args, const std::vector<int64_t> &ints) override {
    ASSERT_LE(workspace(kernel, rows), left);
    left -= workspace(kernel, rows);
    CpuDevice::launch(kernel, rows, args, ints);
  }
  /// Does the work once more instead of recording it, which comes to the same here.
  std::unique_ptr<Recording> record(const std::function<void()> &work) override {
    struct Done final : Recording {
      bool isValid() const override { return true; }
      void replay() override {}
    };
    ++recorded;
    work();
    return std::make_unique<Done>();
  }

  std::vector<uint64_t> prepared;
  uint64_t left = 0;
  int recorded = 0;
};

} // namespace

/// What all launches of a run need is prepared once, in front of them: in a recording too.
TEST(Executor, PreparesOnceARun) {
  for (bool blocks : {false, true}) {
    Json plan = examplePlan();
    if (blocks)
      inRowBlocks(plan);
    Package package = openPackage(makePackage(exampleManifest(), plan));
    PreparingDevice device(package, 2);
    Executor executor(package, device, "cpu", "forward");
    std::vector<float> x(400, 1), y(400), s(4);
    Executor::Run run;
    run.inputs["x"] = reinterpret_cast<char *>(x.data());
    run.outputs["y"] = reinterpret_cast<char *>(y.data());
    run.outputs["s"] = reinterpret_cast<char *>(s.data());
    for (auto [rows, bytes] : {std::pair<int64_t, uint64_t>(100, blocks ? 34 * 1000 + 100 : 1100), {99, blocks ? 33 * 1000 + 99 : 1099}, {1, 1001}}) {
      executor.bind({{"T", rows}});
      for (int again = 0; again < 2; ++again) {
        executor.run(run);
        EXPECT_EQ(device.left, 0u);
      }
      EXPECT_EQ(device.prepared, std::vector<uint64_t>(2, bytes)) << rows << " rows";
      EXPECT_EQ(device.recorded, 1);
      device.prepared.clear();
      device.recorded = 0;
      std::vector<const Command *> passed; // null, null, then the commands
      run.passed = [&](const Command *command) { passed.push_back(command); };
      executor.run(run);
      run.passed = nullptr;
      ASSERT_EQ(passed.size(), 2u + (blocks ? (rows + 2) / 3 : 1));
      for (size_t i = 0; i < passed.size(); ++i)
        EXPECT_EQ(passed[i] == nullptr, i < 2) << i;
      EXPECT_EQ(device.prepared, std::vector<uint64_t>(1, bytes));
      device.prepared.clear();
    }
    executor.bind({{"T", 0}}); // nothing to launch
    executor.run(run);
    EXPECT_TRUE(device.prepared.empty());
  }
}

/// Micro-batches: the loop's launches as often as it runs, the update's once.
TEST(Executor, PreparesForAllMicroBatches) {
  Package package = openPackage(makePackage(toyManifest(), toyPlan()));
  PreparingDevice device(package, 2);
  Executor executor(package, device, "cpu", "train_step");
  executor.bind(bindValues(package.manifest(), package.manifest().entry("train_step"), {{"B", 2}, {"S", 5}}));
  ModelArenas arenas;
  for (StateArena which : {StateArena::Parameters, StateArena::Gradients, StateArena::ExpAvg, StateArena::ExpAvgSq}) {
    arenas[which] = DeviceMemory(device, package.manifest().bytesOf(which));
    device.fillBytes(arenas[which].data(), 0, arenas[which].size());
  }
  std::vector<int32_t> tokens(3 * 2 * 6, 1);
  Scalars scalars{};
  Executor::Run run;
  run.inputs["tokens"] = reinterpret_cast<char *>(tokens.data());
  run.arenas = &arenas;
  run.scalars = &scalars;
  run.microBatches = 3;
  executor.run(run);
  EXPECT_EQ(device.prepared, std::vector<uint64_t>{3 * (1010 + 1001) + 2 * 1256});
  EXPECT_EQ(device.left, 0u);
}

/// Preparation is in the total, and in no command's time.
TEST(Executor, BenchTellsPreparationApart) {
  Package package = openPackage(makePackage(exampleManifest(), examplePlan()));
  PreparingDevice device(package, 2);
  BenchOptions options;
  options.entry = "forward";
  options.symbols = {{"T", 100}};
  options.repeat = 3;
  options.rates = false;
  BenchResult result = benchEntry(package, device, "cpu", options, 2);
  EXPECT_GT(result.prepareSeconds, 0);
  ASSERT_EQ(result.commands.size(), 1u);
  EXPECT_GT(result.commands[0].seconds, 0);
  EXPECT_EQ(result.ownSeconds, result.commands[0].seconds);
}
