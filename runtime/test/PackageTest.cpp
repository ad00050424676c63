#include "Support.h"
#include "base/CpuFeatures.h"
#include "plan/Call.h"
#include "plan/Executor.h"

#include <cctype>
#include <functional>

using namespace mhcrt;
using namespace mhcrt::test;

namespace {

/// Opens the example with the manifest and plan changed.
std::string refusal(const std::function<void(Json &manifest, Json &plan)> &change, bool toy = false) {
  Json manifest = toy ? toyManifest() : exampleManifest(), plan = described(toy ? toyPlan() : examplePlan());
  change(manifest, plan);
  return errorOf([&] { openPackage(makePackage(manifest, plan)); });
}

void expectRefusal(const std::string &text, const std::function<void(Json &manifest, Json &plan)> &change,
                   bool toy = false) {
  std::string message = refusal(change, toy);
  EXPECT_NE(message.find(text), std::string::npos) << "expected '" << text << "', but got '" << message << "'";
}

Json &entryPlan(Json &plan) { return plan["targets"]["cpu"]["entries"]["forward"]; }

} // namespace

TEST(Package, OpensGoodOnes) {
  EXPECT_EQ(refusal([](Json &, Json &) {}), "");
  EXPECT_EQ(refusal([](Json &, Json &) {}, true), "");
  Package package = openPackage(makePackage(toyManifest(), toyPlan()));
  EXPECT_EQ(package.manifest().tensors.size(), 2u);
  EXPECT_EQ(package.targets().at("cpu").entries.at("train_step").commands[1].body[2].index, 4);
}

TEST(Package, RefusesManifests) {
  expectRefusal("expected format 1, but got 2", [](Json &m, Json &) { m["format"] = 2; });
  expectRefusal("'format' is missing", [](Json &m, Json &) { m.erase("format"); });
  expectRefusal("does not know the required feature 'x87'", [](Json &m, Json &) { m["requires"] = {"x87"}; });
  expectRefusal("no plan for the target 'sm_90a'", [](Json &m, Json &) { m["targets"] = {"cpu", "sm_90a"}; });
  expectRefusal("does not name this target", [](Json &m, Json &) { m["targets"] = Json::array(); });
  expectRefusal("unknown type 'f8'", [](Json &m, Json &) { m["entries"]["forward"]["inputs"][0]["dtype"] = "f8"; });
  expectRefusal("unknown symbol 'Q'",
                [](Json &m, Json &) { m["entries"]["forward"]["inputs"][0]["shape"][0] = {{"Q", 1}}; });
  expectRefusal("an integer or an object of coefficients, but got 4.5",
                [](Json &m, Json &) { m["entries"]["forward"]["inputs"][0]["shape"][1] = 4.5; });
  expectRefusal("overlaps another tensor", [](Json &m, Json &) { m["tensors"][1]["offset"] = 192; }, true);
  expectRefusal("multiple of 64", [](Json &m, Json &) { m["tensors"][1]["offset"] = 257; }, true);
  expectRefusal("ends at element", [](Json &m, Json &) { m["arenas"] = {{"parameters", 256}}; }, true);
  expectRefusal("an integer from 0", [](Json &m, Json &) { m["tensors"][0]["offset"] = -64; }, true);
  expectRefusal(
      "overflows", [](Json &m, Json &) { m["tensors"][0]["shape"] = {int64_t(1) << 40, int64_t(1) << 40}; }, true);
  expectRefusal("'model.b' occurs twice", [](Json &m, Json &) { m["tensors"][0]["name"] = "model.b"; }, true);
  expectRefusal(
      "expected 3 values, but got 2", [](Json &m, Json &) { m["tensors"][1]["init"]["values"] = {1, 2}; }, true);
}

TEST(Package, RefusesPlans) {
  expectRefusal("unknown op 'lunch'", [](Json &, Json &p) { entryPlan(p)["commands"][0]["op"] = "lunch"; });
  expectRefusal("no kernel 'kk'", [](Json &, Json &p) { entryPlan(p)["commands"][0]["kernel"] = "kk"; });
  expectRefusal("there is no buffer 9", [](Json &, Json &p) { entryPlan(p)["commands"][0]["args"][1] = 9; });
  expectRefusal("takes 0 integers, but got 1", [](Json &, Json &p) { entryPlan(p)["commands"][0]["ints"] = {1}; });
  expectRefusal("unknown field 'tiles'", [](Json &, Json &p) { entryPlan(p)["commands"][0]["tiles"] = 1; });
  expectRefusal("reduces, but there are no", [](Json &, Json &p) { entryPlan(p)["commands"][0].erase("reductions"); });
  expectRefusal("the id 0 occurs twice", [](Json &, Json &p) { entryPlan(p)["buffers"][1]["id"] = 0; });
  expectRefusal("no input 'z'", [](Json &, Json &p) { entryPlan(p)["buffers"][0]["tensor"] = "z"; });
  expectRefusal("expected type f32 of tensor 'x'",
                [](Json &, Json &p) { entryPlan(p)["buffers"][0]["dtype"] = "bf16"; });
  expectRefusal("live range ends at command 1", [](Json &, Json &p) { entryPlan(p)["buffers"][3]["live"] = {0, 1}; });
  expectRefusal("outside its live range", [](Json &, Json &p) {
    entryPlan(p)["commands"].push_back(entryPlan(p)["commands"][0]); // uses the partials after their end
  });
  expectRefusal("unknown symbol 'Q'", [](Json &, Json &p) { entryPlan(p)["commands"][0]["rows"] = {{"Q", 1}}; });
  expectRefusal("unknown run-time count", [](Json &, Json &p) {
    entryPlan(p)["commands"].push_back({{"op", "loop"}, {"count", "forever"}, {"body", Json::array()}});
  });
  expectRefusal(
      "no tensor 'model.x'",
      [](Json &, Json &p) { p["targets"]["cpu"]["entries"]["eval"]["buffers"][3]["tensor"] = "model.x"; }, true);
}

TEST(Package, RowBlocks) {
  auto buffer = [](Json &p, int64_t i) -> Json & { return entryPlan(p)["buffers"][i]; };
  auto loop = [](Json &p) -> Json & { return entryPlan(p)["commands"][0]; };
  EXPECT_EQ(refusal([&](Json &, Json &p) { inRowBlocks(p); }), "");
  auto broken = [&](const char *message, auto &&change) {
    expectRefusal(message, [&](Json &, Json &p) {
      inRowBlocks(p);
      change(p);
    });
  };
  broken("expected an entry with 'block_rows'", [&](Json &p) {
    inRowBlocks(p);
    entryPlan(p)["buffers"] = Json::array();
    loop(p)["body"] = Json::array();
    entryPlan(p).erase("block_rows");
  });
  broken("block_rows", [&](Json &p) { entryPlan(p)["block_rows"] = 0; });
  broken("unknown symbol 'R'", [&](Json &p) { entryPlan(p).erase("block_rows"); });
  broken("expected R rows of a buffer of T rows, of its elements and type, but got 5 R of 4 T", [&](Json &p) { buffer(p, 4)["size"] = {{"R", 5}}; });
  broken("expected R rows", [&](Json &p) { buffer(p, 4)["size"] = {{"T", 4}}; });
  broken("expected R rows", [&](Json &p) { buffer(p, 4)["size"] = 4; });
  broken("expected R rows", [&](Json &p) { buffer(p, 4)["dtype"] = "bf16"; });
  broken("expected R rows", [&](Json &p) { buffer(p, 5)["base"] = 4; }); // a window of a window
  broken("there is no buffer 5", [&](Json &p) { buffer(p, 5)["base"] = 5; });
  broken("is a window, outside a loop over row blocks", [&](Json &p) { entryPlan(p)["commands"].push_back(loop(p)["body"][0]); buffer(p, 3)["live"] = {1, 2}; });
  broken("a loop inside a loop is not supported", [&](Json &p) { loop(p)["body"].push_back({{"op", "loop"}, {"count", "row_blocks"}, {"body", Json::array()}}); });
  broken("expected launches and matmuls only", [&](Json &p) { loop(p)["body"].push_back({{"op", "fill"}, {"buffer", 5}, {"value", 0}}); });
  broken("cannot lie in the memory of argument 0", [&](Json &p) { buffer(p, 5)["base"] = 1, buffer(p, 4)["base"] = 1; });
  broken("cannot be an input", [&](Json &p) { buffer(p, 5)["base"] = 0; buffer(p, 4)["base"] = 0; loop(p)["body"][0]["args"] = {4, 5}; });
  broken("is seen through a window, and lives in [1, 1] only", [&](Json &p) {
    buffer(p, 1) = {{"id", 1}, {"dtype", "f32"}, {"size", {{"T", 4}}}, {"kind", "arena"}, {"live", {1, 1}}};
  });
}

TEST(Package, RefusesLaunchesThatLeaveTheirBuffers) {
  auto command = [](Json &p) -> Json & { return entryPlan(p)["commands"][0]; };
  auto kernel = [](Json &p) -> Json & { return p["targets"]["cpu"]["kernels"][0]; };
  expectRefusal("kernel 'k' takes 2 buffers, but got 1", [&](Json &, Json &p) { command(p)["args"] = {0}; });
  expectRefusal("argument 0 of kernel 'k', buffer 0: expected room for 4 elements in each of 2 T rows, but it has 4 T",
                [&](Json &, Json &p) { command(p)["rows"] = {{"T", 2}}; });
  expectRefusal("in each of T + 1 rows", [&](Json &, Json &p) { command(p)["rows"] = {{"T", 1}, {"1", 1}}; });
  expectRefusal("overflows", [&](Json &, Json &p) { command(p)["rows"] = {{"T", INT64_MIN}}; });
  expectRefusal("cannot be an input", [&](Json &, Json &p) { command(p)["args"] = {0, 0}; });
  expectRefusal("argument 1 of kernel 'k', buffer 1: it is written, and cannot lie in the memory of argument 0",
                [&](Json &, Json &p) { command(p)["args"] = {1, 1}; });
  EXPECT_EQ(refusal([&](Json &, Json &p) {
              command(p)["args"] = {1, 1};
              kernel(p)["elementwise"] = true;
            }),
            "");
  expectRefusal("buffer 2: expected room for 4 elements", [&](Json &, Json &p) { command(p)["args"] = {0, 2}; });
  expectRefusal("in the memory of a reduction", [&](Json &, Json &p) { command(p)["reductions"][0]["out"] = 1; });
  expectRefusal("expected 4 elements, but got 5", [&](Json &, Json &p) { entryPlan(p)["buffers"][3]["size"] = 5; });
  expectRefusal("its sum: it is written", [&](Json &, Json &p) { command(p)["reductions"][0]["out"] = 0; });
  expectRefusal("it is used by something else", [&](Json &, Json &p) { command(p)["reductions"][0]["out"] = 3; });
  expectRefusal("expected type f64, but got f32", [&](Json &, Json &p) { kernel(p)["args"][0]["dtype"] = "f64"; });
  expectRefusal("has 2 reductions, but got 1",
                [&](Json &, Json &p) { kernel(p)["reductions"].push_back(kernel(p)["reductions"][0]); });
  expectRefusal("'reduces' and 'reductions' disagree", [&](Json &, Json &p) { kernel(p)["reduces"] = false; });
  expectRefusal("unknown count of rows 'tokens'", [&](Json &, Json &p) { kernel(p)["args"][0]["rows"] = {"tokens"}; });
  // Rows that several tokens share: half as many for two tokens each.
  auto shared = [&](Json &p, int64_t tokens, const Json &size) {
    kernel(p)["args"].push_back({{"dtype", "f32"}, {"elements", 4}, {"rows", {"shared"}}, {"tokens_per_row", tokens}});
    entryPlan(p)["buffers"].push_back({{"id", 4}, {"dtype", "f32"}, {"size", size}, {"kind", "arena"}, {"live", {0, 0}}});
    command(p)["args"] = {0, 1, 4};
    command(p)["rows"] = {{"T", 6}};
    for (int64_t i : {0, 1})
      entryPlan(p)["buffers"][i]["size"] = {{"T", 24}};
  };
  EXPECT_EQ(refusal([&](Json &, Json &p) { shared(p, 2, {{"T", 12}}); }), "");
  expectRefusal("expected room for 4 elements in each of 3 T rows", [&](Json &, Json &p) { shared(p, 2, {{"T", 11}}); });
  expectRefusal("expected 4 tokens for each of its rows, but the launch has 6 T", [&](Json &, Json &p) { shared(p, 4, {{"T", 12}}); });
  expectRefusal("tokens_per_row", [&](Json &, Json &p) { shared(p, 0, {{"T", 12}}); });
  // A table of positions: S rows, and S is one of the kernel's integers.
  auto positions = [&](Json &p, const Json &length) {
    kernel(p)["args"].push_back({{"dtype", "f32"}, {"elements", 2}, {"rows", {"position"}}});
    entryPlan(p)["buffers"].push_back({{"id", 4},
                                       {"dtype", "f32"},
                                       {"size", {{"T", 2}}},
                                       {"kind", "constant"},
                                       {"generator", {{"kind", "rope_cos"}, {"theta", 10}, {"pairs", 2}}}});
    command(p)["args"] = {0, 1, 4};
    kernel(p)["ints"] = {"S"};
    command(p)["ints"] = {length};
  };
  EXPECT_EQ(refusal([&](Json &, Json &p) { positions(p, {{"T", 1}}); }), "");
  expectRefusal("in each of T + 1 rows", [&](Json &, Json &p) { positions(p, {{"T", 1}, {"1", 1}}); });
  expectRefusal("positions need the integer 'S'", [&](Json &, Json &p) {
    positions(p, {{"T", 1}});
    kernel(p)["ints"] = {"s"};
  });
  Json plan = described(examplePlan());
  positions(plan, 0);
  Package package = openPackage(makePackage(exampleManifest(), plan));
  auto device = plainDevice(1);
  EXPECT_ERROR(Executor(package, *device, "cpu", "forward").bind({{"T", 8}}), "expected an integer S of at least 1");
  Executor(package, *device, "cpu", "forward").bind({{"T", 0}});

  // Of older compilers.
  EXPECT_EQ(refusal([&](Json &, Json &p) {
              for (const char *key : {"args", "reductions", "elementwise"})
                kernel(p).erase(key);
            }),
            "");
}

TEST(Package, RefusesIndicesThatNobodyChecked) {
  auto eval = [](Json &p) -> Json & { return p["targets"]["cpu"]["entries"]["eval"]; };
  auto step = [](Json &p) -> Json & { return p["targets"]["cpu"]["entries"]["train_step"]; };
  expectRefusal(
      "buffer 1 holds no indices that split_tokens or dispatch has written",
      [&](Json &, Json &p) { eval(p)["commands"][2]["args"][0] = 1; }, true);
  expectRefusal(
      "buffer 2 holds no indices",
      [&](Json &, Json &p) { std::swap(eval(p)["commands"][0], eval(p)["commands"][2]); }, true);
  expectRefusal(
      "only split_tokens and dispatch write indices (buffer 2)", [&](Json &, Json &p) { eval(p)["commands"][1]["buffer"] = 2; },
      true);
  expectRefusal("an integer from 1 to 256", [&](Json &, Json &p) { eval(p)["commands"][0]["vocab"] = 257; }, true);
  expectRefusal(
      "expected room for 1 elements in each of 256 rows that are looked up, but it has 3 elements",
      [&](Json &, Json &p) {
        eval(p)["buffers"][3]["tensor"] = "model.b";
        eval(p)["buffers"][3]["size"] = 3;
      },
      true);
  // Ranges of one arena, under two names.
  expectRefusal(
      "argument 2 of kernel 'update', buffer 12: it is written, and cannot lie in the memory of argument 3",
      [&](Json &, Json &p) { step(p)["buffers"].back()["arena"] = "exp_avg"; }, true);
  expectRefusal(
      "buffer 10: it is written, and cannot lie in the memory of argument 1",
      [&](Json &, Json &p) { step(p)["commands"][3]["args"][1] = 4; }, true);
}

/// What is accepted runs, and touches no memory but its own (which MHC_POISON, the allocator or a sanitizer would
/// tell).
TEST(Package, WhateverIsAcceptedRuns) {
  std::mt19937 random(12);
  const std::string plan = examplePlan()["targets"]["cpu"]["entries"].dump();
  std::vector<float> x(4 * 9, 1);
  int ran = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text = plan;
    for (int edit = 0; edit < 1 + round % 3; ++edit) {
      size_t at = random() % text.size();
      while (!std::isdigit(static_cast<unsigned char>(text[at])))
        at = (at + 1) % text.size();
      text[at] = static_cast<char>('0' + random() % 6);
    }
    Json changed = described(examplePlan());
    changed["targets"]["cpu"]["entries"] = Json::parse(text);
    errorOf([&] {
      Package package = openPackage(makePackage(exampleManifest(), changed));
      std::string target;
      auto device = openDevice("cpu", package, 1, target);
      callEntry(
          package, *device, target, "forward", {{"x", {"f32", {9, 4}}}},
          [&](const std::string &, void *to) { std::memcpy(to, x.data(), x.size() * sizeof(float)); }, 1);
      ++ran;
    });
  }
  EXPECT_GT(ran, 10);
}

TEST(Package, RefusesCodeForAnotherProcessor) {
  auto message = [](Json requirements) {
    Json manifest = exampleManifest();
    manifest["requires"] = std::move(requirements);
    Package package = openPackage(makePackage(manifest, examplePlan()));
    std::string target;
    return errorOf([&] { openDevice("cpu", package, 1, target); });
  };
  EXPECT_EQ(message(Json::array()), "");
  EXPECT_EQ(message({"x86-64-v2"}), "");
  // No processor has both: AMD's of one decade, and Intel's of another.
  const std::vector<std::string> lacking = missingCpuFeatures({"fma4", "avxvnniint16"});
  ASSERT_FALSE(lacking.empty());
  std::string text = message({"x86-64-v2", "fma4", "avxvnniint16"});
  EXPECT_EQ(text.rfind("the package's host code needs " + lacking[0], 0), 0u) << text;
  EXPECT_NE(text.find("which this processor lacks (compile with another --mcpu)"), std::string::npos) << text;
}

TEST(Package, RefusesWrongSections) {
  std::string good = makePackage(exampleManifest(), examplePlan());
  // Another plan of the same size: the CRC is that of the ZIP writer, so only the SHA-256 can tell.
  Json manifest = exampleManifest();
  std::string plan = examplePlan().dump(), other = plan;
  other[other.find("here")] = 'H';
  Package reference = openPackage(good);
  manifest["sections"] = reference.manifest().document["sections"];
  std::string kernels(*reference.section("host/kernels.so"));
  auto open = [&](const Members &members) { return errorOf([&] { openPackage(makeZip(members)); }); };
  EXPECT_EQ(open({{"manifest.json", manifest.dump()}, {"plan.json", plan}, {"host/kernels.so", kernels}}), "");
  EXPECT_NE(open({{"manifest.json", manifest.dump()}, {"plan.json", other}, {"host/kernels.so", kernels}})
                .find("its SHA-256 is not"),
            std::string::npos);
  EXPECT_NE(open({{"manifest.json", manifest.dump()}, {"plan.json", plan}}).find("no member 'host/kernels.so'"),
            std::string::npos);
  EXPECT_NE(open({{"manifest.json", manifest.dump()}, {"plan.json", plan}, {"host/kernels.so", kernels}, {"x", ""}})
                .find("not in the manifest's sections"),
            std::string::npos);
  EXPECT_NE(open({{"plan.json", plan}, {"manifest.json", manifest.dump()}, {"host/kernels.so", kernels}})
                .find("as the first member"),
            std::string::npos);
  std::string twice = manifest.dump();
  twice.insert(1, "\"format\": 1, ");
  EXPECT_NE(open({{"manifest.json", twice}, {"plan.json", plan}, {"host/kernels.so", kernels}}).find("duplicate key"),
            std::string::npos);
}

TEST(Layout, LibraryCommandsStayInsideTheirBuffers) {
  Json manifest = exampleManifest(), plan = examplePlan();
  Json &entry = entryPlan(plan);
  plan["targets"]["cpu"]["kernels"] = Json::array();
  entry["buffers"][3] = {{"id", 3}, {"dtype", "f32"}, {"size", 16}, {"kind", "arena"}, {"live", {0, 0}}};
  auto message = [&](Json command) {
    entry["commands"] = {command};
    Package package = openPackage(makePackage(manifest, plan, false));
    auto device = plainDevice(1);
    return errorOf([&] { Executor(package, *device, "cpu", "forward").bind({{"T", 8}}); });
  };
  Json gemm = {{"op", "gemm"}, {"m", {{"T", 1}}}, {"n", 4}, {"k", 4}, {"a", 0}, {"b", 3}, {"c", 1}};
  EXPECT_EQ(message(gemm), "");
  gemm["k"] = 5;
  EXPECT_NE(message(gemm).find("has 32 elements, expected 40"), std::string::npos);
  gemm["k"] = 4, gemm["n"] = {{"T", -1}};
  EXPECT_NE(message(gemm).find("at least 0"), std::string::npos);
  gemm["n"] = {{"T", int64_t(1) << 61}};
  EXPECT_NE(message(gemm).find("overflows"), std::string::npos);
  EXPECT_NE(message({{"op", "copy"}, {"src", 0}, {"dst", 2}}).find("same size"), std::string::npos);
}

/// Whatever is in manifest or plan, opening and binding ends with an error or not at all.
TEST(Package, SurvivesRandomDamage) {
  std::mt19937 random(10);
  const std::string manifest = toyManifest().dump(), plan = toyPlan().dump();
  int accepted = 0;
  for (int round = 0; round < 1500; ++round) {
    std::string texts[2] = {manifest, plan};
    std::string &text = texts[random() % 2];
    int edits = 1 + random() % 3;
    for (int i = 0; i < edits; ++i) {
      static const char alphabet[] = "0123456789-{}[],:\"ntfe.";
      text[random() % text.size()] = alphabet[random() % (sizeof alphabet - 1)];
    }
    errorOf([&] {
      Json changed = Json::parse(texts[0], nullptr, false), changedPlan = Json::parse(texts[1], nullptr, false);
      if (changed.is_discarded() || changedPlan.is_discarded() || !changed.is_object())
        return;
      Package package = openPackage(makePackage(changed, changedPlan));
      ++accepted;
      auto device = plainDevice(1);
      for (const char *entry : {"eval", "train_step", "loss_and_gradients"})
        errorOf([&] { Executor(package, *device, "cpu", entry).bind({{"B", 2}, {"S", 3}, {"T", 6}}); });
    });
  }
  EXPECT_GT(accepted, 0);
}
