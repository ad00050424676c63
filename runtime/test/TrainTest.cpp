#include "Support.h"
#include "base/File.h"
#include "package/SafeTensors.h"
#include "train/Data.h"
#include "train/Trainer.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace mhcrt;
using namespace mhcrt::test;

namespace {

std::string text(size_t size) {
  std::string result;
  std::mt19937 random(14);
  while (result.size() < size)
    result += static_cast<char>('a' + random() % 26);
  return result;
}

std::vector<Json> rows(const std::string &path) {
  std::vector<Json> result;
  std::string all = readText(path);
  for (size_t at = 0; at < all.size();) {
    size_t end = all.find('\n', at);
    Json line = Json::parse(all.substr(at, end - at));
    if (line.contains("loss") && line.contains("step"))
      result.push_back(line);
    at = end + 1;
  }
  return result;
}

struct Toy {
  Folder folder;
  TrainOptions options;
  Toy() {
    options.package = folder.write("p.mhcpkg", makePackage(toyManifest(), described(toyPlan())));
    options.data = folder.write("data.txt", text(4000));
  }
};

int run(const std::string &arguments) {
  int status = std::system((std::string(MHC_RUN) + " " + arguments + " >/dev/null 2>&1").c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

} // namespace

TEST(Train, LearnsAndLogs) {
  Toy s;
  s.options.metrics = s.folder.file("m.jsonl");
  s.options.save = s.folder.file("final.safetensors");
  s.options.evalEvery = 40;
  s.options.steps = 80;
  train(s.options);
  auto lines = rows(*s.options.metrics);
  ASSERT_EQ(lines.size(), 80u);
  double first = 0, last = 0, between = 0; // of ten steps: single ones are noisy
  for (int i = 0; i < 80; ++i) {
    EXPECT_EQ(lines[i]["step"], i + 1);
    (i < 10 ? first : i >= 70 ? last : between) += lines[i]["loss"].get<double>() / 10;
  }
  EXPECT_LT(last, 0.9 * first);
  EXPECT_DOUBLE_EQ(lines[0]["learning_rate"].get<double>(), 0.05 * 0.5);
  EXPECT_DOUBLE_EQ(lines[1]["learning_rate"].get<double>(), 0.05);
  EXPECT_GT(lines[0]["gradient_norm"].get<double>(), 0);
  SafeTensorsFile file(*s.options.save);
  for (const char *name : {"model.w", "model.b", "optimizer.exp_avg.model.w", "optimizer.exp_avg_sq.model.b"})
    EXPECT_NE(file.find(name), nullptr) << name;
  int64_t step = 0;
  file.read(*file.find("optimizer.step"), &step);
  EXPECT_EQ(step, 80);
}

TEST(Train, APackageOfAnEarlierCompilerCannotBeWatched) {
  Toy s;
  s.options.metrics = s.folder.file("m.jsonl");
  s.options.monitorEvery = 1;
  EXPECT_ERROR(train(s.options), "unknown entry 'monitor'");
}

TEST(Train, MicroBatchesSeeTheirRows) {
  // One step on given tokens: the loss is the mean over all rows, the gradient norm that of the mean gradient.
  Toy s;
  std::vector<int32_t> tokens(4 * 9);
  for (size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<int32_t>(i * 7 % 256);
  std::vector<float> w(256), b(3);
  for (int i = 0; i < 256; ++i)
    w[i] = 0.01f * static_cast<float>(i);
  s.options.data = s.folder.file("tokens.safetensors");
  s.options.initial = s.folder.file("initial.safetensors");
  s.options.metrics = s.folder.file("m.jsonl");
  s.options.steps = 1;
  writeSafeTensors(s.options.data, {{"tokens", DType::I32, {1, 4, 9}, tokens.data()}});
  writeSafeTensors(*s.options.initial,
                   {{"model.w", DType::F32, {256}, w.data()}, {"model.b", DType::F32, {3}, b.data()}});
  train(s.options);
  double loss = 0;
  std::vector<double> gradient(256);
  for (int row = 0; row < 4; ++row)
    for (int i = 0; i < 8; ++i) {
      int from = tokens[row * 9 + i], to = tokens[row * 9 + i + 1];
      double e = w[from] - w[to] - 1;
      loss += e * e / 32;
      gradient[from] += 2 * e / 32;
      gradient[to] -= 2 * e / 32;
    }
  double norm = 0;
  for (double g : gradient)
    norm += g * g;
  Json line = rows(*s.options.metrics).at(0);
  EXPECT_NEAR(line["loss"].get<double>(), loss, 1e-5);
  EXPECT_NEAR(line["gradient_norm"].get<double>(), std::sqrt(norm), 1e-5);

  s.options.steps = 2;
  EXPECT_ERROR(train(s.options), "tokens: expected at least 2 steps, but got 1");
  s.options.steps = 1;
  tokens[2 * 9 + 3] = 300; // in the second micro-batch
  writeSafeTensors(s.options.data, {{"tokens", DType::I32, {1, 4, 9}, tokens.data()}});
  EXPECT_ERROR(train(s.options), "step 1: tokens: expected token ids from 0 to 255, but got 300 in row 2, column 3");
}

TEST(Train, ResumingChangesNoBit) {
  Toy s;
  s.options.metrics = s.folder.file("m.jsonl");
  s.options.save = s.folder.file("whole.safetensors");
  s.options.seed = 3;
  train(s.options);
  auto whole = rows(*s.options.metrics);

  TrainOptions first = s.options;
  first.metrics = s.folder.file("parts.jsonl");
  first.save = s.folder.file("run/");
  first.saveEvery = 5;
  train(first);
  EXPECT_TRUE(std::filesystem::exists(s.folder.file("run/step-00000005.safetensors")));
  TrainOptions second = first;
  second.seed.reset();
  second.resume = s.folder.file("run/step-00000005.safetensors");
  second.save = s.folder.file("resumed.safetensors");
  second.saveEvery = 0;
  second.threads = 2;
  train(second);
  EXPECT_EQ(readText(*second.save), readText(*s.options.save));
  auto parts = rows(*first.metrics); // the rows after step 5 were written again, not twice
  ASSERT_EQ(parts.size(), whole.size());
  for (size_t i = 0; i < whole.size(); ++i)
    EXPECT_EQ(parts[i]["loss"], whole[i]["loss"]);

  second.seed = 4;
  EXPECT_ERROR(train(second), "the run has seed 3");
}

TEST(Train, NamesOverridesAndRefusesWrongFiles) {
  Toy s;
  s.options.metrics = s.folder.file("m.jsonl");
  s.options.steps = 3;
  s.options.learningRate = 0.125;
  train(s.options);
  std::string all = readText(*s.options.metrics);
  Json first = Json::parse(all.substr(0, all.find('\n')));
  EXPECT_EQ(first["overrides"], (Json{{"steps", 3}, {"learning_rate", 0.125}}));
  EXPECT_FALSE(first.contains("loss"));

  s.options.sequences = 3;
  EXPECT_ERROR(train(s.options), "multiple of micro_batch = 2");
  s.options.sequences.reset();
  s.options.initial = s.folder.file("initial.safetensors");
  std::vector<float> w(300);
  writeSafeTensors(*s.options.initial, {{"model.w", DType::F32, {256}, w.data()}});
  EXPECT_ERROR(train(s.options), "model.b: this tensor is missing");
  writeSafeTensors(*s.options.initial, {{"model.w", DType::F32, {256}, w.data()},
                                        {"model.b", DType::F32, {3}, w.data()},
                                        {"model.c", DType::F32, {3}, w.data()}});
  EXPECT_ERROR(train(s.options), "model.c: the model has no such tensor");
  s.options.resume = s.options.initial;
  s.options.initial.reset();
  EXPECT_ERROR(train(s.options), "optimizer.step");
}

TEST(Train, StopsAfterTenBadStepsAndKeepsTheWeights) {
  Toy s;
  std::vector<float> w(256), b(3);
  for (int i = 'a'; i <= 'z'; ++i)
    w[i] = NAN;
  s.options.initial = s.folder.file("initial.safetensors");
  writeSafeTensors(*s.options.initial,
                   {{"model.w", DType::F32, {256}, w.data()}, {"model.b", DType::F32, {3}, b.data()}});
  EXPECT_ERROR(train(s.options), "step 10: loss or gradient norm have not been finite for 10 steps, since step 1");
  s.options.steps = 9;
  s.options.save = s.folder.file("after.safetensors");
  train(s.options);
  SafeTensorsFile file(*s.options.save);
  std::vector<float> m(256);
  file.read(*file.find("optimizer.exp_avg.model.w"), m.data());
  EXPECT_EQ(m, std::vector<float>(256)); // no update reached the states
}

/// Four steps of which the second meets a weight that is NaN: as if it had not been, but for the schedule.
TEST(Train, CountsTheUpdatesThatWereMade) {
  Toy s;
  Json manifest = toyManifest();
  manifest["training"]["optimizer"]["betas"] = {0.9, 0.999};
  s.options.package = s.folder.write("p.mhcpkg", makePackage(manifest, toyPlan()));
  const int64_t steps = 4, rows = 4, length = 9;
  std::vector<int32_t> tokens(steps * rows * length);
  for (size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<int32_t>(i * 7 % 200);
  tokens[rows * length + 5] = 255;
  std::vector<float> w(256), b(3);
  for (int i = 0; i < 255; ++i)
    w[i] = 0.01f * static_cast<float>(i);
  w[255] = NAN;
  s.options.data = s.folder.file("tokens.safetensors");
  s.options.initial = s.folder.file("initial.safetensors");
  s.options.metrics = s.folder.file("m.jsonl");
  s.options.save = s.folder.file("after.safetensors");
  s.options.steps = steps;
  writeSafeTensors(s.options.data, {{"tokens", DType::I32, {steps, rows, length}, tokens.data()}});
  writeSafeTensors(*s.options.initial,
                   {{"model.w", DType::F32, {256}, w.data()}, {"model.b", DType::F32, {3}, b.data()}});
  train(s.options);

  auto lines = ::rows(*s.options.metrics);
  ASSERT_EQ(lines.size(), 4u);
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(lines[i].contains("skipped"), i == 1) << i;
  EXPECT_EQ(lines[1]["skipped_updates"], 1);
  EXPECT_TRUE(lines[1]["gradient_norm"].is_null()); // JSON has no NaN

  std::vector<double> weights(w.begin(), w.end()), m(256), v(256);
  int updates = 0;
  for (int step = 0; step < steps; ++step) {
    if (step == 1)
      continue;
    std::vector<double> g(256);
    for (int row = 0; row < rows; ++row)
      for (int i = 0; i + 1 < length; ++i) {
        const int32_t *at = &tokens[(step * rows + row) * length + i];
        double e = 2 * (weights[at[0]] - weights[at[1]] - 1) / 32;
        g[at[0]] += e;
        g[at[1]] -= e;
      }
    ++updates;
    double rate = lines[step]["learning_rate"].get<double>();
    for (int i = 0; i < 255; ++i) {
      m[i] = 0.9 * m[i] + 0.1 * g[i];
      v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
      weights[i] -= 10 * rate * m[i] / (1 - std::pow(0.9, updates));
    }
  }
  SafeTensorsFile file(*s.options.save);
  int64_t count = 0;
  file.read(*file.find("optimizer.step"), &count);
  EXPECT_EQ(count, 3);
  std::vector<float> got(256), gotV(256);
  file.read(*file.find("model.w"), got.data());
  file.read(*file.find("optimizer.exp_avg_sq.model.w"), gotV.data());
  for (int i = 0; i < 255; ++i) {
    ASSERT_NEAR(got[i], weights[i], 1e-5) << i;
    // fp32's 1 - fp32's 0.999 would be off by 5e-5 of it.
    ASSERT_NEAR(gotV[i], v[i], 3e-6 * v[i] + 1e-12) << i;
  }
}

TEST(Train, RefusesCountsOutOfRange) {
  Toy s;
  s.options.steps = 1;
  s.options.save = s.folder.file("c.safetensors");
  train(s.options);
  s.options.resume = s.options.save;
  // The count stands first: no other tensor has eight bytes an element.
  std::string good = readText(*s.options.save);
  size_t at = 8 + static_cast<uint8_t>(good[0]) + 256 * static_cast<uint8_t>(good[1]);
  for (uint64_t bad : {uint64_t(1) << 63, (uint64_t(1) << 63) - 1, (uint64_t(1) << 40) + 1}) {
    std::string text = good;
    std::memcpy(text.data() + at, &bad, sizeof bad);
    s.folder.write("c.safetensors", text);
    EXPECT_ERROR(train(s.options), "optimizer.step: expected a number from 0 to 1099511627776");
  }
  s.folder.write("c.safetensors", good);
  EXPECT_EQ(errorOf([&] { train(s.options); }), "");
}

TEST(Train, WarnsWhereARunIsNotContinuedAsItBegan) {
  Toy s;
  s.options.steps = 3;
  s.options.save = s.folder.file("c.safetensors");
  s.options.learningRate = 0.25;
  train(s.options);
  s.options.resume = s.options.save;
  auto warnings = [&] {
    testing::internal::CaptureStderr();
    train(s.options);
    std::string all = testing::internal::GetCapturedStderr(), found;
    for (size_t at = 0; at < all.size();) {
      size_t end = std::min(all.find('\n', at), all.size());
      if (all.compare(at, 8, "warning:") == 0)
        found += all.substr(at, end - at) + "\n";
      at = end + 1;
    }
    return found;
  };
  EXPECT_EQ(warnings(), "");
  s.options.learningRate.reset();
  s.options.steps = 4;
  s.options.save.reset();
  const std::string begin = "warning: " + *s.options.resume + ": the run is not continued as it began: ";
  EXPECT_EQ(warnings(), begin + "training/batch/steps was 3, now it is 4\n" + begin +
                            "training/optimizer/learning_rate was 0.25, now it is 0.05\n");

  // Another model of the same tensors is another package; one with other tensors is refused.
  s.options.learningRate = 0.25;
  s.options.steps = 3;
  Json manifest = toyManifest();
  manifest["model"]["max_position_embeddings"] = 17;
  s.folder.write("p.mhcpkg", makePackage(manifest, toyPlan()));
  std::string text = warnings();
  EXPECT_EQ(text.rfind(begin + "it comes from another package (SHA-256 of the manifest ", 0), 0u) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  manifest["tensors"][1]["shape"] = {2};
  manifest["tensors"][1]["init"]["values"] = {1, 2};
  s.folder.write("p.mhcpkg", makePackage(manifest, toyPlan()));
  EXPECT_ERROR(train(s.options), "model.b: expected shape [2], but got [3]");
}

TEST(Train, FindsOutAtOnceThatItCannotSave) {
  Toy s;
  s.folder.write("file", "");
  s.options.metrics = s.folder.file("m.jsonl");
  for (const char *path : {"no/such/folder/c.safetensors", "file/", "file/c.safetensors"}) {
    s.options.save = s.folder.file(path);
    EXPECT_ERROR(train(s.options), *s.options.save + ": cannot create");
  }
  s.options.save = "/dev/null";
  EXPECT_ERROR(train(s.options), "/dev/null: expected a regular file");
  EXPECT_FALSE(std::filesystem::exists(*s.options.metrics)) << "training began";
  s.options.save = s.folder.file("new/run/");
  s.options.steps = 1;
  train(s.options);
  EXPECT_TRUE(std::filesystem::exists(s.folder.file("new/run/step-00000001.safetensors")));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(s.folder.file("new/run")), {}), 1) << "the probe is gone";
}

TEST(Train, ManyEvaluationBatchesAreAllThereAre) {
  Toy s;
  s.options.steps = 1;
  s.options.evalBatches = INT64_MAX;
  testing::internal::CaptureStdout();
  train(s.options);
  std::string all = testing::internal::GetCapturedStdout();
  EXPECT_NE(all.find("(192 tokens)"), std::string::npos) << all; // 200 held out: 24 rows of 8 and one token more
}

TEST(Data, SamplesAreAFunctionOfSeedAndStep) {
  Folder folder;
  std::string content = text(5000), path = folder.write("a.txt", content);
  DataShape shape{3, 10, 256, 100};
  auto source = openData(path, shape, 1), again = openData(path, shape, 1), other = openData(path, shape, 2);
  std::vector<int32_t> a(33), b(33), c(33);
  std::vector<int32_t> before;
  for (int step : {5, 1, 77}) {
    source->batch(step, 3, a.data());
    EXPECT_NE(a, before);
    before = a;
    again->batch(step, 3, b.data());
    other->batch(step, 3, c.data());
    EXPECT_EQ(a, b);
    EXPECT_NE(a, c);
    for (int row = 0; row < 3; ++row) { // each row is a piece of the first 95%
      std::string piece(a.begin() + row * 11, a.begin() + (row + 1) * 11);
      EXPECT_NE(content.substr(0, 4750).find(piece), std::string::npos);
    }
  }
  EXPECT_EQ(source->validationRows(), (250 - 1) / 10);
  source->validationRow(0, a.data());
  EXPECT_EQ(std::string(a.begin(), a.begin() + 11), content.substr(4750, 11));
}

TEST(Data, TokenFilesAndFolders) {
  Folder folder;
  DataShape shape{1, 3, 1000, 1};
  std::vector<int32_t> row(4);
  auto bytes = [](std::vector<int> tokens, int width) {
    std::string result;
    for (int token : tokens)
      for (int i = 0; i < width; ++i)
        result += static_cast<char>(token >> (8 * i));
    return result;
  };
  openData(folder.write("a.bin", bytes({1, 999, 3, 4}, 2)), shape, 0)->batch(1, 1, row.data());
  EXPECT_EQ(row, (std::vector<int32_t>{1, 999, 3, 4}));
  openData(folder.write("a.bin", "MHCTOK32" + bytes({5, 6, 7, 8}, 4)), shape, 0)->batch(1, 1, row.data());
  EXPECT_EQ(row, (std::vector<int32_t>{5, 6, 7, 8}));
  EXPECT_ERROR(openData(folder.write("a.bin", bytes({1, 1000, 3, 4}, 2)), shape, 0), "token 1000 at byte 2");
  EXPECT_ERROR(openData(folder.write("a.bin", "abc"), shape, 0), "tokens of 2 bytes");
  EXPECT_ERROR(openData(folder.write("b.txt", "abc"), shape, 0), "at least 4 tokens, but got 3");
  folder.write("a.bin", bytes({1, 2, 3, 4}, 2));
  EXPECT_ERROR(openData(folder.path, shape, 0), "not both");
  std::filesystem::remove(folder.file("a.bin"));
  folder.write("c.txt", "d");
  openData(folder.path, shape, 0)->batch(1, 1, row.data());
  EXPECT_EQ(row, (std::vector<int32_t>{'a', 'b', 'c', 'd'}));
  EXPECT_ERROR(openData(folder.path, {1, 3, 99, 1}, 0), "byte 99 at position 2");
}

TEST(Data, AFolderThatCannotBeReadIsNotAnEmptyOne) {
  if (::geteuid() == 0)
    GTEST_SKIP() << "root reads everything";
  Folder folder;
  folder.write("a.txt", "text");
  ::chmod(folder.path.c_str(), 0);
  EXPECT_ERROR(openData(folder.path, {1, 3, 256, 1}, 0), "cannot read the folder: Permission denied");
  ::chmod(folder.path.c_str(), 0700);
}

TEST(Program, ExitCodes) {
  Toy s;
  EXPECT_EQ(run("--help"), 0);
  EXPECT_EQ(run("--version"), 0);
  EXPECT_EQ(run(""), 2);
  EXPECT_EQ(run("frobnicate"), 2);
  EXPECT_EQ(run("info"), 2);
  EXPECT_EQ(run("info --libs"), 0);
  EXPECT_EQ(run("info " + s.options.package), 0);
  EXPECT_EQ(run("info " + s.options.package + " --json --memory=B=2,S=4"), 0);
  EXPECT_EQ(run("info " + s.options.package + " --jason"), 2);
  EXPECT_EQ(run("info " + s.options.data), 1);
  EXPECT_EQ(run("call " + s.options.package + " eval --inputs=/no/such --outputs=" + s.folder.file("o")), 1);
  EXPECT_EQ(run("call " + s.options.package + " eval --inputs=/no/such"), 2);
  EXPECT_EQ(run("train " + s.options.package + " --data=" + s.options.data + " --steps=2 --threads=1"), 0);
  EXPECT_EQ(run("train " + s.options.package + " --data=" + s.options.data + " --steps=0"), 2);
  EXPECT_FALSE(std::filesystem::exists(s.folder.file("o")));
}

TEST(Program, KeepsWhatItReads) {
  Toy s;
  s.options.save = s.folder.file("c.safetensors");
  s.options.steps = 1;
  train(s.options);
  const std::string &package = s.options.package, &data = s.options.data, &checkpoint = *s.options.save;
  const std::string files[] = {package, data, checkpoint},
                    before[] = {readText(package), readText(data), readText(checkpoint)};
  std::filesystem::create_symlink(data, s.folder.file("link"));
  const std::string begin = "train " + package + " --data=" + data + " --steps=1 ";
  for (const std::string &options :
       {"--metrics=" + data, "--metrics=" + s.folder.file("link"), "--metrics=" + s.folder.path + "/./data.txt",
        "--metrics=" + package, "--save=" + package, "--save=" + data,
        "--metrics=" + checkpoint + " --resume=" + checkpoint, "--metrics=" + checkpoint + " --initial=" + checkpoint,
        std::string("--metrics=new --save=new")})
    EXPECT_EQ(run(begin + options), 2) << options;
  EXPECT_EQ(run("call " + package + " eval --inputs=" + data + " --outputs=" + package), 2);
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(readText(files[i]), before[i]) << files[i];
  EXPECT_EQ(run(begin + "--resume=" + checkpoint + " --save=" + checkpoint), 0);
}

/// What is no number, or none that makes sense, is said before anything else happens.
TEST(Program, RangesOfNumbers) {
  Toy s;
  const std::string train = "train " + s.options.package + " --data=" + s.options.data + " --steps=1 ";
  for (const char *option : {"--learning-rate=-1",
                             "--learning-rate=1e300",
                             "--learning-rate=1e7",
                             "--learning-rate=' 1'",
                             "--learning-rate='1 '",
                             "--learning-rate=nan",
                             "--learning-rate=inf",
                             "--learning-rate=0x1p3",
                             "--learning-rate=+1",
                             "--learning-rate=1e-999",
                             "--sequences=0",
                             "--sequences=4x",
                             "--sequences=-4",
                             "--sequences=99999999999999999999",
                             "--sequences=1099511627777",
                             "--seed=9223372036854775808",
                             "--seed=1.5",
                             "--save-every=0",
                             "--eval-every=0",
                             "--eval-batches=0",
                             "--eval-batches=9223372036854775807",
                             "--threads=0",
                             "--threads=1025",
                             "--threads=' 2'"})
    EXPECT_EQ(run(train + option), 2) << option;
  EXPECT_EQ(run(train + "--learning-rate=0 --seed=-9223372036854775808 --eval-batches=1099511627776"), 0);
  EXPECT_EQ(run(train + "--sequences=1099511627776"), 1); // the memory for them is not there
  for (const char *value : {"T=1", "B=99999999999999999999,S=4", "B=-1,S=4", "B=2,S= 4", "B=2", "B=2,S=4,Q=1",
                            "B=2,B=2,S=4", "B=2,S=", "B,S=4", ""})
    EXPECT_EQ(run("info " + s.options.package + " '--memory=" + value + "'"), 2) << value;
  EXPECT_EQ(run("info " + s.options.package + " --memory=B=4611686018427387904,S=4"), 1);
  EXPECT_EQ(run("info " + s.options.package + " --threads=x"), 2);
}

//===----------------------------------------------------------------------===//
// States and batches
//===----------------------------------------------------------------------===//

TEST(Train, BatchRampReadsTheSameTokens) {
  Toy s;
  Json manifest = toyManifest();
  manifest["training"]["batch"]["ramp"] = {{"from", 2}, {"until", 0.5}};
  s.options.package = s.folder.write("r.mhcpkg", makePackage(manifest, described(toyPlan())));
  s.options.metrics = s.folder.file("m.jsonl");
  s.options.save = s.folder.file("whole.safetensors");
  train(s.options);
  // 48 sequences in all: 2, until 2 + 2 (before / 24) reaches 4 in whole micro-batches of 2, at half of them.
  auto lines = rows(*s.options.metrics);
  ASSERT_EQ(lines.size(), 18u);
  for (int i = 0; i < 18; ++i)
    EXPECT_EQ(lines[i]["tokens"], 8 * (i < 12 ? 2 * (i + 1) : 24 + 4 * (i - 11)));
  // The schedule goes by tokens: at the last step 44 of 48 sequences were read.
  EXPECT_NEAR(lines[17]["learning_rate"].get<double>() / 0.05, 1 - 0.9 * (44.0 / 48 - 2.0 / 18) / (1 - 2.0 / 18), 1e-12);
  // A run that is interrupted inside the ramp goes on as if it had not been.
  TrainOptions parts = s.options;
  parts.save = s.folder.file("parts");
  std::filesystem::create_directory(*parts.save);
  parts.saveEvery = 7;
  train(parts);
  TrainOptions rest = s.options;
  rest.resume = s.folder.file("parts/step-00000007.safetensors");
  rest.save = s.folder.file("rest.safetensors");
  train(rest);
  EXPECT_EQ(readText(*rest.save), readText(*s.options.save));
}

TEST(Train, StatesLieWhereTheManifestSays) {
  // model.b keeps a momentum and a norm, model.w Adam's moments, in arenas of 256 elements.
  Toy s;
  Json manifest = toyManifest();
  manifest["arenas"].update({{"exp_avg", 256}, {"exp_avg_sq", 256}, {"momentum", 64}, {"radius", 64}});
  manifest["tensors"][0]["states"] = {{"exp_avg", 0}, {"exp_avg_sq", 0}};
  manifest["tensors"][1]["states"] = {{"momentum", 0}, {"radius", 5}};
  s.options.package = s.folder.write("s.mhcpkg", makePackage(manifest, described(toyPlan())));
  s.options.save = s.folder.file("s.safetensors");
  s.options.steps = 1;
  train(s.options);
  SafeTensorsFile file(*s.options.save);
  EXPECT_EQ(file.find("optimizer.exp_avg.model.b"), nullptr);
  EXPECT_EQ(file.find("optimizer.momentum.model.w"), nullptr);
  ASSERT_NE(file.find("optimizer.momentum.model.b"), nullptr);
  const auto *radius = file.find("optimizer.radius.model.b");
  ASSERT_NE(radius, nullptr);
  EXPECT_EQ(radius->shape, std::vector<int64_t>{1});
  float value = 0;
  file.read(*radius, &value);
  EXPECT_FLOAT_EQ(value, std::sqrt(14.0f)); // of 1, 2, 3, as the run began
}

TEST(Train, RefusesStatesOutsideTheirArenas) {
  Toy s;
  auto refuse = [&](auto change, const char *word) {
    Json manifest = toyManifest();
    manifest["arenas"].update({{"momentum", 2}, {"radius", 1}});
    change(manifest["tensors"][1]);
    s.options.package = s.folder.write("x.mhcpkg", makePackage(manifest, described(toyPlan())));
    EXPECT_ERROR(train(s.options), word);
  };
  refuse([](Json &t) { t["states"] = {{"momentum", 0}}; }, "state 'momentum' ends at element 3 of an arena of 2");
  refuse([](Json &t) { t["states"] = {{"radius", 1}}; }, "state 'radius' ends at element 2 of an arena of 1");
  refuse([](Json &t) { t["states"] = {{"velocity", 0}}; }, "unknown state 'velocity'");
  refuse([](Json &t) { t["states"] = {{"parameters", 0}}; }, "unknown state 'parameters'");
  refuse([](Json &t) { t["states"] = {{"radius", -1}}; }, "radius");
}
