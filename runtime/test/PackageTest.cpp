#include "Support.h"
#include "plan/Executor.h"

#include <functional>

using namespace mhcrt;
using namespace mhcrt::test;

namespace {

/// Opens the example with the manifest and plan changed.
std::string refusal(const std::function<void(Json &manifest, Json &plan)> &change, bool toy = false) {
  Json manifest = toy ? toyManifest() : exampleManifest(), plan = toy ? toyPlan() : examplePlan();
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
