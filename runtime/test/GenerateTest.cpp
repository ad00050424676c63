#include "Support.h"
#include "generate/Generator.h"
#include "generate/Sampler.h"

#include <cmath>
#include <cstdio>
#include <numeric>
#include <sys/wait.h>

using namespace mhcrt;
using namespace mhcrt::test;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

int32_t choose(const Sampling &sampling, const std::vector<float> &logits, uint64_t index = 0) {
  return Sampler(sampling).choose(logits.data(), static_cast<int64_t>(logits.size()), index);
}

/// How often each token is drawn in `draws` draws.
std::vector<int64_t> counts(const Sampling &sampling, const std::vector<float> &logits, int64_t draws) {
  Sampler sampler(sampling);
  std::vector<int64_t> result(logits.size());
  for (int64_t i = 0; i < draws; ++i)
    ++result.at(sampler.choose(logits.data(), static_cast<int64_t>(logits.size()), i));
  return result;
}

/// Pearson's statistic of `draws` draws against exact probabilities; tokens of probability 0 must not occur.
double chiSquare(const Sampling &sampling, const std::vector<float> &logits, const std::vector<double> &exact,
                 int64_t draws) {
  std::vector<int64_t> got = counts(sampling, logits, draws);
  double sum = 0;
  for (size_t token = 0; token < exact.size(); ++token) {
    double want = exact[token] * static_cast<double>(draws);
    if (want == 0)
      EXPECT_EQ(got[token], 0) << "token " << token;
    else
      sum += (static_cast<double>(got[token]) - want) * (static_cast<double>(got[token]) - want) / want;
  }
  return sum;
}

/// exp(logits / temperature) of some tokens, over their sum.
std::vector<double> softmax(const std::vector<float> &logits, double temperature, const std::vector<int> &tokens) {
  std::vector<double> result(logits.size());
  double sum = 0;
  for (int token : tokens)
    sum += result[token] = std::exp(static_cast<double>(logits[token]) / temperature);
  for (double &value : result)
    value /= sum;
  return result;
}

/// The toy model with an entry `forward` (kernels.c), whose kernel knows 256 tokens.
std::string packageBytes(int64_t vocab = 256) {
  Json manifest = toyManifest(), plan = toyPlan();
  manifest["model"]["vocab_size"] = vocab;
  manifest["entries"] = Json::parse(R"({"forward": {"symbols": ["B", "S"], "derived": [["T", "B", "S"]],
    "parameters": true, "inputs": [{"name": "tokens", "dtype": "i32", "shape": [{"B": 1}, {"S": 1}]}],
    "outputs": [{"name": "logits", "dtype": "f32", "shape": [{"B": 1}, {"S": 1}]}]}})");
  manifest["entries"]["forward"]["outputs"][0]["shape"].push_back(vocab);
  Json &kernel = plan["targets"]["cpu"]["kernels"].emplace_back(Json::parse(
      R"({"name": "forward", "symbol": "toy_forward", "tile": 1000000, "reduces": false, "ints": [],
        "args": [{"dtype": "i32", "elements": 1, "rows": ["token"]}, {"dtype": "f32", "elements": 256},
                 {"dtype": "f32", "rows": ["token"], "written": true}], "reductions": [], "elementwise": false})"));
  kernel["args"][2]["elements"] = vocab;
  Json &forward = plan["targets"]["cpu"]["entries"] = Json::parse(R"({"forward": {"buffers": [
      {"id": 1, "name": "tokens", "dtype": "i32", "size": {"T": 1}, "kind": "input", "tensor": "tokens"},
      {"id": 2, "name": "inputs", "dtype": "i32", "size": {"T": 1}, "kind": "arena", "live": [0, 1]},
      {"id": 3, "name": "w", "dtype": "f32", "size": 256, "kind": "parameter", "tensor": "model.w"},
      {"id": 4, "name": "logits", "dtype": "f32", "size": {"T": 1}, "kind": "output", "tensor": "logits"}],
    "commands": [
      {"op": "split_tokens", "tokens": 1, "inputs": 2, "targets": null, "vocab": 256},
      {"op": "launch", "at": "toy forward", "kernel": "forward", "args": [2, 3, 4], "rows": {"T": 1}}]}})");
  forward["forward"]["buffers"][3]["size"]["T"] = vocab;
  forward["forward"]["commands"][0]["vocab"] = std::min<int64_t>(vocab, 256);
  return makePackage(manifest, plan);
}

struct Toy {
  Folder folder;
  std::vector<float> w = std::vector<float>(256), b = std::vector<float>(3);
  std::string package = folder.write("p.mhcpkg", packageBytes());
  std::string weights = folder.file("w.safetensors");
  Toy() { writeWeights(); }

  void writeWeights() const {
    writeSafeTensors(weights, {{"model.w", DType::F32, {256}, w.data()}, {"model.b", DType::F32, {3}, b.data()}});
  }
  std::vector<int32_t> generate(const std::vector<int32_t> &prompt, int64_t count, const Sampling &sampling) const {
    Package opened = Package::open(package);
    std::string target;
    auto device = openDevice("cpu", opened, 1, target);
    Generator generator(opened, *device, target, SafeTensorsFile(weights), sampling);
    generator.start(prompt, count);
    std::vector<int32_t> tokens;
    for (int64_t i = 0; i < count; ++i)
      tokens.push_back(generator.next());
    return tokens;
  }
};

struct Output {
  int status = -1;
  std::string text;
};

/// What a command line prints on the standard output, or with `errors` on the standard error.
Output run(const std::string &arguments, bool errors = false) {
  Output output;
  const std::string redirected = errors ? ") 2>&1 >/dev/null" : ") 2>/dev/null";
  FILE *pipe = ::popen((std::string("(") + MHC_RUN + " " + arguments + redirected).c_str(), "r");
  char buffer[4096];
  for (size_t got; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;)
    output.text.append(buffer, got);
  int status = ::pclose(pipe);
  output.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return output;
}

} // namespace

TEST(Sampler, GreedyTakesTheLowestOfEqualTokens) {
  Sampling greedy{0, 0, 1, 0};
  EXPECT_EQ(choose(greedy, {1, 3, -2, 3, 3}), 1);
  EXPECT_EQ(choose(greedy, {-5, -7, -5}), 0);
  EXPECT_EQ(choose(greedy, {-infinity, -9, -infinity}), 1);
  for (uint64_t index = 0; index < 20; ++index) // neither the place nor what else is asked for matters
    EXPECT_EQ(choose({0, 3, 0.9, 7}, {0, 2, 2, 1}, index), 1);
}

TEST(Sampler, TopKLeavesTheLowestOfEqualTokens) {
  const std::vector<float> logits = {0, 1, 2, 1, 1, -3};
  std::vector<int64_t> got = counts({1, 3, 1, 1}, logits, 2000);
  EXPECT_GT(got[1], 0);
  EXPECT_GT(got[2], 0);
  EXPECT_GT(got[3], 0);
  EXPECT_EQ(got[0] + got[4] + got[5], 0) << "token 4 is equal to 3, but comes later";
  for (uint64_t index = 0; index < 50; ++index)
    EXPECT_EQ(choose({100, 1, 1, 1}, {4, 4.5, 4.5, 4}, index), 1);
}

/// Probabilities 1/2, 1/4, 1/8, 1/8 are exact in binary: the cut lies where it must.
TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
  const float ln2 = std::log(2.0f);
  const std::vector<float> logits = {-3 * ln2, -ln2, -3 * ln2, -2 * ln2};
  auto kept = [&](double topP, int64_t topK = 0) {
    std::string result;
    std::vector<int64_t> got = counts({1, topK, topP, 2}, logits, 3000);
    for (size_t token = 0; token < got.size(); ++token)
      if (got[token])
        result += static_cast<char>('0' + token);
    return result;
  };
  EXPECT_EQ(kept(0), "1"); // one is always left
  EXPECT_EQ(kept(0.49), "1");
  EXPECT_EQ(kept(0.51), "13");
  EXPECT_EQ(kept(0.74), "13");
  EXPECT_EQ(kept(0.76), "013"); // 0 before its equal 2
  EXPECT_EQ(kept(0.87), "013");
  EXPECT_EQ(kept(0.88), "0123");
  EXPECT_EQ(kept(1), "0123");
  // Of the two that top-k leaves, the first has 2/3: the cut is made after top-k and on what it left.
  EXPECT_EQ(kept(0.66, 2), "1");
  EXPECT_EQ(kept(0.67, 2), "13");
}

TEST(Sampler, TopPComesAfterTheTemperature) {
  const float ln2 = std::log(2.0f);
  const std::vector<float> logits = {0, ln2, -2 * ln2}; // 4/13, 8/13, 1/13; at temperature 1/2 16/81, 64/81, 1/81
  EXPECT_EQ(counts({1, 0, 0.75, 3}, logits, 2000)[2], 0);
  EXPECT_GT(counts({1, 0, 0.75, 3}, logits, 2000)[0], 0);
  EXPECT_EQ(counts({0.5, 0, 0.75, 3}, logits, 2000)[1], 2000);
}

/// Chi-square over n - 1 degrees of freedom has the mean n - 1 and the deviation sqrt(2 (n - 1)): 5 deviations.
TEST(Sampler, DrawsByTheExactProbabilities) {
  const std::vector<float> logits = {1.5f, -0.25f, 0.75f, 2.0f, -1.0f, 0.75f, 1.0f, 0.0f};
  std::vector<int> all(8);
  std::iota(all.begin(), all.end(), 0);
  const int64_t draws = 200000;
  auto limit = [](double freedom) { return freedom + 5 * std::sqrt(2 * freedom); };
  for (double temperature : {0.5, 1.0, 3.0}) {
    EXPECT_LT(chiSquare({temperature, 0, 1, 4}, logits, softmax(logits, temperature, all), draws), limit(7));
    EXPECT_LT(chiSquare({temperature, 4, 1, 5}, logits, softmax(logits, temperature, {3, 0, 6, 2}), draws), limit(3));
  }
  // 3 and 0 have 0.566 of all, 3, 0 and 6 have 0.696.
  EXPECT_LT(chiSquare({1, 0, 0.69, 6}, logits, softmax(logits, 1, {3, 0, 6}), draws), limit(2));
  // Were the temperature not used, the statistic would say so.
  EXPECT_GT(chiSquare({1, 0, 1, 4}, logits, softmax(logits, 1.1, all), draws), 10 * limit(7));
}

TEST(Sampler, ADrawIsAFunctionOfSeedAndIndex) {
  std::vector<float> logits(50);
  Sampling first{1, 0, 1, 11}, second{1, 0, 1, 12};
  Sampler sampler(first);
  std::vector<int32_t> a, b, c;
  for (uint64_t index : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
    a.push_back(sampler.choose(logits.data(), 50, index));
  for (uint64_t index : {9, 8, 7, 6, 5, 4, 3, 2, 1, 0})
    b.insert(b.begin(), sampler.choose(logits.data(), 50, index));
  for (uint64_t index : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
    c.push_back(choose(second, logits, index));
  EXPECT_EQ(a, b);
  EXPECT_NE(a, c);
  // Limits that leave all tokens change nothing.
  for (uint64_t index : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
    EXPECT_EQ(choose({1, 50, 1, 11}, logits, index), a[index]);
  // The same on every machine: the numbers come from integers alone.
  EXPECT_EQ(a, (std::vector<int32_t>{25, 4, 49, 23, 48, 3, 37, 25, 38, 20}));
}

TEST(Sampler, ExtremesAreNoReasonToFail) {
  const float most = std::numeric_limits<float>::max();
  for (uint64_t index = 0; index < 20; ++index) {
    EXPECT_EQ(choose({1, 0, 1, 0}, {-most, most, -infinity}, index), 1);
    EXPECT_EQ(choose({1e-300, 0, 1, 0}, {1, 1.0000001f, 0.5f}, index), 1); // colder than any difference
    EXPECT_NE(choose({1e6, 0, 1, 0}, {0, -infinity, 0}, index), 1);        // and no heat makes -infinity likely
    EXPECT_EQ(choose({1, 0, 1, 0}, {3}, index), 0);
  }
}

TEST(Sampler, NamesLogitsThatAreNoNumbers) {
  for (double temperature : {0.0, 1.0}) {
    Sampling sampling{temperature, 0, 1, 0};
    EXPECT_ERROR(choose(sampling, {1, 2, NAN, 3}), "expected logits that are finite, but got nan for token 2");
    EXPECT_ERROR(choose(sampling, {1, infinity}), "but got inf for token 1");
    EXPECT_ERROR(choose(sampling, {-infinity, -infinity}), "no token has one");
    EXPECT_ERROR(choose(sampling, {}), "no token has one");
  }
}

TEST(Generator, SeesTheLastTokensThatFit) {
  setenv("MHC_POISON", "1", 1);
  Toy toy;
  const Sampling greedy{0, 0, 1, 0};
  for (int64_t length : {1, 5, 15, 16, 17, 40}) {
    std::vector<int32_t> text;
    for (int64_t i = 0; i < length; ++i)
      text.push_back(static_cast<int32_t>((i * i * 31 + 7) % 256));
    std::vector<int32_t> got = toy.generate(text, 24, greedy), want;
    for (int i = 0; i < 24; ++i) {
      size_t seen = std::min<size_t>(text.size(), 16);
      want.push_back(std::accumulate(text.end() - seen, text.end(), static_cast<int32_t>(seen)) % 256);
      text.push_back(want.back());
    }
    EXPECT_EQ(got, want) << length;
  }
  unsetenv("MHC_POISON");
  EXPECT_ERROR(toy.generate({}, 1, greedy), "the prompt has no tokens");
}

TEST(Generator, UsesTheWeightsAndSamplesThem) {
  Toy toy;
  toy.w[77] = 100;
  toy.writeWeights();
  EXPECT_EQ(toy.generate({1, 2}, 3, {1, 0, 1, 5}), (std::vector<int32_t>{77, 77, 77}));
  toy.w[78] = 100; // as likely
  toy.writeWeights();
  std::vector<int32_t> tokens = toy.generate({1, 2}, 64, {1, 0, 1, 5});
  EXPECT_GT(std::count(tokens.begin(), tokens.end(), 77), 15);
  EXPECT_EQ(std::count(tokens.begin(), tokens.end(), 77) + std::count(tokens.begin(), tokens.end(), 78), 64);
  EXPECT_EQ(toy.generate({1, 2}, 64, {1, 0, 1, 5}), tokens);
  EXPECT_NE(toy.generate({1, 2}, 64, {1, 0, 1, 6}), tokens);
  EXPECT_EQ(toy.generate({1, 2}, 64, {0, 0, 1, 6}), std::vector<int32_t>(64, 77));
}

TEST(Generator, ReadsCheckpointsAndRefusesOtherFiles) {
  Toy toy;
  int64_t step = 3;
  auto write = [&](std::vector<TensorToWrite> tensors) { writeSafeTensors(toy.weights, std::move(tensors)); };
  auto error = [&] { return errorOf([&] { toy.generate({1}, 1, {0, 0, 1, 0}); }); };
  const TensorToWrite w = {"model.w", DType::F32, {256}, toy.w.data()}, b = {"model.b", DType::F32, {3}, toy.b.data()};
  write({w,
         b,
         {"optimizer.exp_avg.model.w", DType::F32, {256}, toy.w.data()},
         {"optimizer.exp_avg_sq.model.w", DType::F32, {256}, toy.w.data()},
         {"optimizer.step", DType::I64, {1}, &step}});
  EXPECT_EQ(error(), "");
  const std::string begin = toy.weights + ": ";
  write({w});
  EXPECT_EQ(error(), begin + "model.b: this tensor is missing");
  write({w, {"model.b", DType::F32, {1, 3}, toy.b.data()}});
  EXPECT_EQ(error(), begin + "model.b: expected shape [3], but got [1, 3]");
  write({w, {"model.b", DType::I32, {3}, toy.b.data()}});
  EXPECT_EQ(error(), begin + "model.b: expected type f32, but got i32");
  write({w, b, {"model.c", DType::F32, {3}, toy.b.data()}});
  EXPECT_EQ(error(), begin + "model.c: the model has no such tensor");
}

TEST(Generator, SaysWhereANaNComesFrom) {
  Toy toy;
  toy.w[5] = NAN;
  toy.writeWeights();
  EXPECT_ERROR(
      toy.generate({1, 2}, 3, {1, 0, 1, 0}),
      "generated token 1: expected logits that are finite, but got nan for token 5; the first command of the entry "
      "with a NaN or infinity in its result: launch of kernel 'forward' (toy forward)");
}

TEST(Generator, RefusesPackagesWithoutLogits) {
  auto check = [](const std::string &bytes) { checkGenerates(openPackage(bytes).manifest()); };
  EXPECT_ERROR(check(makePackage(exampleManifest(), examplePlan())), "expected a package of a language model");
  EXPECT_ERROR(check(makePackage(toyManifest(), toyPlan())), "unknown entry 'forward'");
  auto changed = [](auto &&change) {
    Manifest manifest = openPackage(packageBytes()).manifest();
    change(manifest.entries.at("forward"));
    return errorOf([&] { checkGenerates(manifest); });
  };
  EXPECT_EQ(changed([](Entry &) {}), "");
  EXPECT_EQ(changed([](Entry &entry) { entry.outputs[0].name = "y"; }), "entry 'forward' has no output 'logits'");
  EXPECT_EQ(changed([](Entry &entry) { entry.outputs[0].dtype = DType::BF16; }),
            "logits: expected type f32, but got bf16");
  EXPECT_EQ(changed([](Entry &entry) { entry.outputs[0].shape[2].constant = 255; }),
            "logits: expected vocab_size = 256 elements for one token, but got shape [1, 1, 255]");
  EXPECT_EQ(changed([](Entry &entry) { entry.outputs[0].shape.erase(entry.outputs[0].shape.begin()); }), "")
      << "[T, V] is as good";
  EXPECT_EQ(changed([](Entry &entry) { entry.inputs[0].name = "x"; }), "x: this input of entry 'forward' is missing");
}

TEST(GenerateCommand, WritesBytesOrTokens) {
  Toy toy;
  const std::string base = "generate " + toy.package + " --weights=" + toy.weights + " --temperature=0 --threads=1";
  // 'a' + 1 = 'b', 'a' + 'b' + 2 = 197, 'a' + 'b' + 197 + 3 = 395
  Output output = run(base + " --prompt=a --tokens=3");
  EXPECT_EQ(output.status, 0);
  EXPECT_EQ(output.text, "b\xc5\x8b");
  EXPECT_EQ(run(base + " --prompt-file=" + toy.folder.write("prompt", "a") + " --tokens=3").text, output.text);
  EXPECT_EQ(run(base + " --prompt-tokens=97 --tokens=3").text, "98 197 139\n");
  EXPECT_EQ(run(base + " --prompt-tokens=3,250,255 --tokens=1").text, "255\n");
  EXPECT_EQ(run(base + " --tokens=1").text, "\x0b"); // without a prompt, after a newline
  EXPECT_EQ(run(base).text.size(), 128u);

  Json json = Json::parse(run(base + " --prompt=a --tokens=2 --json --seed=-5").text);
  EXPECT_EQ(json["tokens"], (Json{98, 197}));
  EXPECT_EQ(json["prompt_tokens"], 1);
  EXPECT_EQ(json["seed"], -5);
  EXPECT_TRUE(json["top_k"].is_null());
  EXPECT_EQ(json["text"], std::string("b\uFFFD")); // the second byte is no UTF-8
  json = Json::parse(run(base + " --prompt-tokens=97 --tokens=3 --top-k=9 --json").text);
  EXPECT_FALSE(json.contains("text"));
  EXPECT_EQ(json["top_k"], 9);
  EXPECT_EQ(run(base + " --prompt=a --tokens=3 >/dev/full", true).status, 1);
}

TEST(GenerateCommand, RefusesWrongValues) {
  Toy toy;
  const std::string plain = "generate " + toy.package, base = plain + " --weights=" + toy.weights + " --tokens=1 ";
  EXPECT_EQ(run(base).status, 0);
  EXPECT_EQ(run(plain).status, 2);
  EXPECT_EQ(run("generate --weights=" + toy.weights).status, 2);
  EXPECT_EQ(run(base + "more").status, 2);
  for (const char *option : {"--tokens=2",
                             "--temperature=-1",
                             "--temperature=nan",
                             "--temperature=inf",
                             "--temperature=1e7",
                             "--temperature=",
                             "--temperature=x",
                             "--top-k=0",
                             "--top-k=-1",
                             "--top-k=1.5",
                             "--top-p=1.01",
                             "--top-p=-0.1",
                             "--top-p=nan",
                             "--seed=9223372036854775808",
                             "--seed=x",
                             "--threads=0",
                             "--device=tpu",
                             "--json=1",
                             "--prompt=",
                             "--prompt=a --prompt-tokens=1",
                             "--prompt=a --prompt-file=/no/such",
                             "--prompt-tokens=256",
                             "--prompt-tokens=-1",
                             "--prompt-tokens=1,,2",
                             "--prompt-tokens=1,",
                             "--prompt-tokens=,",
                             "--prompt-tokens='1, 2'",
                             "--prompt-tokens=99999999999999999999"})
    EXPECT_EQ(run(base + option).status, 2) << option;
  EXPECT_EQ(run(base + "--top-k=1099511627776 --top-p=0 --temperature=1e6 --seed=-9223372036854775808").status, 0);
  EXPECT_EQ(run(plain + " --weights=" + toy.weights + " --tokens=0").status, 2);
  EXPECT_EQ(run(plain + " --weights=" + toy.weights + " --tokens=1099511627777").status, 2);
  EXPECT_EQ(run(plain + " --weights=/no/such").status, 1);
  EXPECT_EQ(run(plain + " --weights=" + toy.package).status, 1);
  EXPECT_EQ(run(base + "--device=cuda").status, 1); // the package has no kernels for one
  EXPECT_EQ(run(base + "--prompt-file=/no/such").status, 1);
  EXPECT_EQ(run(base + "--prompt-file=" + toy.folder.path).status, 1);
  EXPECT_EQ(run(base + "--prompt-file=" + toy.folder.write("empty", "")).status, 1);
  EXPECT_NE(run(base + "--prompt-tokens=1,300", true)
                .text.find("--prompt-tokens: expected token ids from 0 to 255 with commas between them, but got '300'"),
            std::string::npos);
}

TEST(GenerateCommand, TextIsForVocabulariesOfBytes) {
  Toy toy;
  const std::string base = "generate " + toy.package + " --weights=" + toy.weights + " --tokens=1 --temperature=0 ";
  const std::string file = toy.folder.write("prompt", "\1\5");
  toy.folder.write("p.mhcpkg", packageBytes(300));
  for (const char *prompt : {"", "--prompt=a", "--prompt-file=/no/such"}) {
    Output output = run(base + prompt, true);
    EXPECT_EQ(output.status, 2);
    EXPECT_NE(output.text.find("the model has a vocabulary of 300 tokens, which are not bytes: give the prompt by "
                               "--prompt-tokens"),
              std::string::npos)
        << output.text;
  }
  EXPECT_EQ(run(base + "--prompt-tokens=41").text, "42\n");
  EXPECT_EQ(run(base + "--prompt-tokens=300").status, 2);

  toy.folder.write("p.mhcpkg", packageBytes(5));
  Output output = run(base + "--prompt=a", true);
  EXPECT_EQ(output.status, 2);
  EXPECT_NE(output.text.find("--prompt: byte 97 at position 0 is outside a vocabulary of 5"), std::string::npos);
  EXPECT_EQ(run(base).status, 2); // a newline is none of the five
  output = run(base + "--prompt-file=" + file, true);
  EXPECT_EQ(output.status, 1);
  EXPECT_NE(output.text.find(file + ": byte 5 at position 1 is outside a vocabulary of 5"), std::string::npos);
}
