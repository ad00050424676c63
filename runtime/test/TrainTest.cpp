#include "Support.h"
#include "base/File.h"
#include "package/SafeTensors.h"
#include "train/Data.h"
#include "train/Trainer.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <sys/wait.h>

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
    options.package = folder.write("p.mhcpkg", makePackage(toyManifest(), toyPlan()));
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

TEST(Data, SamplesAreAFunctionOfSeedAndStep) {
  Folder folder;
  std::string content = text(5000), path = folder.write("a.txt", content);
  DataShape shape{3, 10, 256, 100};
  auto source = openData(path, shape, 1), again = openData(path, shape, 1), other = openData(path, shape, 2);
  std::vector<int32_t> a(33), b(33), c(33);
  std::vector<int32_t> before;
  for (int step : {5, 1, 77}) {
    source->batch(step, a.data());
    EXPECT_NE(a, before);
    before = a;
    again->batch(step, b.data());
    other->batch(step, c.data());
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
  openData(folder.write("a.bin", bytes({1, 999, 3, 4}, 2)), shape, 0)->batch(1, row.data());
  EXPECT_EQ(row, (std::vector<int32_t>{1, 999, 3, 4}));
  openData(folder.write("a.bin", "MHCTOK32" + bytes({5, 6, 7, 8}, 4)), shape, 0)->batch(1, row.data());
  EXPECT_EQ(row, (std::vector<int32_t>{5, 6, 7, 8}));
  EXPECT_ERROR(openData(folder.write("a.bin", bytes({1, 1000, 3, 4}, 2)), shape, 0), "token 1000 at byte 2");
  EXPECT_ERROR(openData(folder.write("a.bin", "abc"), shape, 0), "tokens of 2 bytes");
  EXPECT_ERROR(openData(folder.write("b.txt", "abc"), shape, 0), "at least 4 tokens, but got 3");
  folder.write("a.bin", bytes({1, 2, 3, 4}, 2));
  EXPECT_ERROR(openData(folder.path, shape, 0), "not both");
  std::filesystem::remove(folder.file("a.bin"));
  folder.write("c.txt", "d");
  openData(folder.path, shape, 0)->batch(1, row.data());
  EXPECT_EQ(row, (std::vector<int32_t>{'a', 'b', 'c', 'd'}));
  EXPECT_ERROR(openData(folder.path, {1, 3, 99, 1}, 0), "byte 99 at position 2");
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
