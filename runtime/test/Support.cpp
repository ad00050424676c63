#include "Support.h"
#include "base/File.h"
#include "base/Hash.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

namespace mhcrt::test {
namespace {

void put(std::string &to, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i)
    to += static_cast<char>(i < 8 ? value >> (8 * i) : 0);
}

Json size(const char *symbol, int64_t coefficient) { return Json{{symbol, coefficient}}; }

} // namespace

std::string makeZip(const Members &members) {
  std::string file, directory;
  for (const auto &[name, data] : members) {
    std::string common;
    put(common, 20, 2);                              // version
    put(common, 0, 4);                               // flags, stored
    put(common, 0x00210000, 4);                      // 1980-01-01
    put(common, crc32(data.data(), data.size()), 4); //
    put(common, data.size(), 4);
    put(common, data.size(), 4);
    put(common, name.size(), 2);
    put(common, 0, 2); // extra
    put(directory, 0x02014b50, 4);
    put(directory, 20, 2);
    directory += common;
    put(directory, 0, 2 + 2 + 2 + 4); // comment, disk, attributes
    put(directory, file.size(), 4);
    directory += name;
    put(file, 0x04034b50, 4);
    file += common + name + data;
  }
  std::string end;
  put(end, 0x06054b50, 4);
  put(end, 0, 4);
  put(end, members.size(), 2);
  put(end, members.size(), 2);
  put(end, directory.size(), 4);
  put(end, file.size(), 4);
  put(end, 0, 2);
  return file + directory + end;
}

std::string makePackage(Json manifest, const Json &plan, bool withKernels) {
  Members members = {{"plan.json", plan.dump()}};
  if (withKernels)
    members.emplace_back("host/kernels.so", readText(TEST_KERNELS));
  manifest["sections"] = Json::array();
  for (const auto &[name, data] : members)
    manifest["sections"].push_back(
        {{"path", name}, {"sha256", sha256Hex(data.data(), data.size())}, {"size", data.size()}});
  members.insert(members.begin(), {"manifest.json", manifest.dump()});
  return makeZip(members);
}

Memory toMemory(const std::string &bytes) {
  Memory memory(bytes.size());
  if (!bytes.empty())
    std::memcpy(memory.data(), bytes.data(), bytes.size());
  return memory;
}

Package openPackage(const std::string &bytes) { return Package::parse(toMemory(bytes), "p.mhcpkg"); }

Json exampleManifest() {
  return {{"format", 1},
          {"producer", "test"},
          {"kind", "hyper_connection"},
          {"dtype", "fp32"},
          {"requires", Json::array()},
          {"targets", {"cpu"}},
          {"entries",
           {{"forward",
             {{"symbols", {"T"}},
              {"inputs", {{{"name", "x"}, {"dtype", "f32"}, {"shape", {size("T", 1), 4}}}}},
              {"outputs",
               {{{"name", "y"}, {"dtype", "f32"}, {"shape", {size("T", 1), 4}}},
                {{"name", "s"}, {"dtype", "f32"}, {"shape", {4}}}}}}}}}};
}

Json examplePlan() {
  return Json::parse(R"({"targets": {"cpu": {
    "kernels": [{"name": "k", "symbol": "double_and_sum", "tile": 16, "reduces": true, "shared": 0, "threads": 0, "ints": []}],
    "entries": {"forward": {
      "buffers": [
        {"id": 0, "name": "x", "dtype": "f32", "size": {"T": 4}, "kind": "input", "tensor": "x"},
        {"id": 1, "name": "y", "dtype": "f32", "size": {"T": 4}, "kind": "output", "tensor": "y"},
        {"id": 2, "name": "s", "dtype": "f32", "size": 4, "kind": "output", "tensor": "s"},
        {"id": 3, "name": "p", "dtype": "f32", "size": 4, "kind": "partials", "live": [0, 0]}],
      "commands": [
        {"op": "launch", "at": "here", "kernel": "k", "args": [0, 1], "rows": {"T": 1}, "ints": [],
         "reductions": [{"partial": 3, "out": 2, "accumulate": false}]}]}}}}})");
}

void inRowBlocks(Json &plan) {
  Json &entry = plan["targets"]["cpu"]["entries"]["forward"];
  entry["block_rows"] = 3;
  Json command = entry["commands"][0];
  for (int64_t i : {0, 1}) {
    entry["buffers"].push_back({{"id", 4 + i}, {"dtype", "f32"}, {"size", {{"R", 4}}}, {"kind", "window"}, {"base", i}});
    command["args"][i] = 4 + i;
  }
  command["rows"] = {{"R", 1}};
  command["reductions"][0]["accumulate"] = true;
  entry["buffers"][3]["live"] = {1, 1};
  entry["commands"] = Json::array({{{"op", "loop"}, {"count", "row_blocks"}, {"body", Json::array({command})}}});
}

Json toyManifest() {
  return Json::parse(R"({"format": 1, "producer": "test", "kind": "language_model", "dtype": "fp32",
    "requires": [], "targets": ["cpu"],
    "parameters": {"total": 256},
    "arenas": {"parameters": 320, "groups": {"decay": [0, 256], "no_decay": [256, 320]}},
    "tensors": [
      {"name": "model.w", "shape": [256], "role": "embedding", "offset": 0, "group": "decay",
       "init": {"kind": "normal", "std": 0.5}},
      {"name": "model.b", "shape": [3], "role": "bias", "offset": 256, "group": "no_decay",
       "init": {"kind": "values", "values": [1, 2, 3]}}],
    "model": {"vocab_size": 256, "max_position_embeddings": 16},
    "training": {
      "optimizer": {"kind": "adamw", "learning_rate": 0.05, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.0},
      "schedule": {"kind": "linear", "warmup_steps": 2, "final_fraction": 0.1},
      "batch": {"sequences": 4, "sequence_length": 8, "steps": 12, "micro_batch": 2, "ramp": null}, "clip": null},
    "entries": {
      "init": {"symbols": [], "inputs": [{"name": "seed", "dtype": "i64", "shape": [1]}], "outputs": []},
      "train_step": {"symbols": ["B", "S"], "derived": [["T", "B", "S"]], "parameters": true,
        "inputs": [{"name": "tokens", "dtype": "i32", "shape": [{"B": 1}, {"S": 1, "1": 1}]}], "outputs": []},
      "eval": {"symbols": ["B", "S"], "derived": [["T", "B", "S"]], "parameters": true,
        "inputs": [{"name": "tokens", "dtype": "i32", "shape": [{"B": 1}, {"S": 1, "1": 1}]}],
        "outputs": [{"name": "cross_entropy", "dtype": "f32", "shape": [1]}]},
      "loss_and_gradients": {"symbols": ["B", "S"], "derived": [["T", "B", "S"]], "parameters": true, "gradients": true,
        "inputs": [{"name": "tokens", "dtype": "i32", "shape": [{"B": 1}, {"S": 1, "1": 1}]}],
        "outputs": [{"name": "loss", "dtype": "f32", "shape": [1]}]}}})");
}

Json toyPlan() {
  Json plan = Json::parse(R"({"targets": {"cpu": {"kernels": [
      {"name": "loss", "symbol": "toy_loss", "tile": 1000000, "reduces": true, "ints": []},
      {"name": "add_loss", "symbol": "toy_add_loss", "tile": 1, "reduces": false, "ints": []},
      {"name": "norm", "symbol": "toy_norm", "tile": 1000000, "reduces": false, "ints": []},
      {"name": "update", "symbol": "toy_update", "tile": 16, "reduces": false, "ints": []}],
    "entries": {}}}})");
  Json common = Json::parse(R"([
    {"id": 1, "name": "tokens", "dtype": "i32", "size": {"T": 1, "B": 1}, "kind": "input", "tensor": "tokens"},
    {"id": 2, "name": "inputs", "dtype": "i32", "size": {"T": 1}, "kind": "arena", "live": [0, 2]},
    {"id": 3, "name": "targets", "dtype": "i32", "size": {"T": 1}, "kind": "arena", "live": [0, 2]},
    {"id": 4, "name": "w", "dtype": "f32", "size": 256, "kind": "parameter", "tensor": "model.w"},
    {"id": 6, "name": "losses", "dtype": "f32", "size": 1, "kind": "partials", "live": [0, 2]},
    {"id": 8, "name": "scalars", "dtype": "f32", "size": 64, "kind": "scalars"}])");
  Json split = Json::parse(R"({"op": "split_tokens", "tokens": 1, "inputs": 2, "targets": 3, "vocab": 256})");
  auto entry = [&](Json buffers, Json commands, bool inLoop = false) {
    Json all = common;
    for (Json &buffer : all)
      if (inLoop && buffer.contains("live"))
        buffer["live"] = {2, 4}; // after the fill and the loop itself
    for (Json &buffer : buffers)
      all.push_back(buffer);
    return Json{{"buffers", all}, {"commands", commands}};
  };
  auto loss = [](int dw, int out) {
    return Json{{"op", "launch"},     {"at", "toy loss"},
                {"kernel", "loss"},   {"args", {2, 3, 4, dw, 8}},
                {"rows", {{"T", 1}}}, {"reductions", {{{"partial", 6}, {"out", out}, {"accumulate", false}}}}};
  };
  Json &entries = plan["targets"]["cpu"]["entries"];
  Json gradient = {{"id", 5}, {"dtype", "f32"}, {"size", 256}, {"kind", "gradient"}, {"tensor", "model.w"}};
  Json scratch = {{"id", 5}, {"dtype", "f32"}, {"size", 256}, {"kind", "arena"}, {"live", {0, 2}}};
  entries["loss_and_gradients"] =
      entry({gradient, {{"id", 7}, {"dtype", "f32"}, {"size", 1}, {"kind", "output"}, {"tensor", "loss"}}},
            {split, {{"op", "fill"}, {"buffer", 5}, {"value", 0.0}}, loss(5, 7)});
  entries["eval"] =
      entry({scratch, {{"id", 7}, {"dtype", "f32"}, {"size", 1}, {"kind", "output"}, {"tensor", "cross_entropy"}}},
            {split, {{"op", "fill"}, {"buffer", 5}, {"value", 0.0}}, loss(5, 7)});
  auto state = [](int id, const char *arena) {
    return Json{{"id", id}, {"dtype", "f32"}, {"size", 256}, {"kind", "state"}, {"arena", arena}, {"begin", 0}};
  };
  Json addLoss = {{"op", "launch"}, {"kernel", "add_loss"}, {"args", {7, 8}}, {"rows", 1}};
  Json body = {split, loss(5, 7), addLoss};
  entries["train_step"] =
      entry({gradient,
             {{"id", 7}, {"dtype", "f32"}, {"size", 1}, {"kind", "arena"}, {"live", {0, 4}}},
             state(10, "parameters"),
             state(11, "gradients"),
             state(12, "exp_avg"),
             state(13, "exp_avg_sq")},
            {{{"op", "fill"}, {"buffer", 11}, {"value", 0.0}},
             {{"op", "loop"}, {"count", "micro_batches"}, {"body", body}},
             {{"op", "launch"}, {"kernel", "norm"}, {"args", {11, 8}}, {"rows", 256}},
             {{"op", "launch"}, {"kernel", "update"}, {"args", {10, 11, 12, 13, 8}}, {"rows", 256}}},
            true);
  return plan;
}

Json described(Json plan) {
  const Json token = Json::parse(R"({"dtype": "f32", "elements": 1, "rows": ["token"]})");
  auto with = [](Json argument, const char *key, const Json &value) {
    argument[key] = value;
    return argument;
  };
  const Json id = with(token, "dtype", "i32"), four = with(token, "elements", 4),
             updated = with(token, "written", true);
  const Json table = with(with(token, "rows", {"indexed"}), "index", 0), one = {{"dtype", "f32"}, {"elements", 1}};
  const Json scalars = with(one, "elements", 64), none = Json::array();
  const std::map<std::string, std::pair<Json, Json>> known = {
      {"k", {{four, with(four, "written", true)}, Json::array({with(one, "elements", 4)})}},
      {"loss", {{id, id, table, with(table, "written", true), scalars}, Json::array({one})}},
      {"add_loss", {{one, with(scalars, "written", true)}, none}},
      {"norm", {{token, with(scalars, "written", true)}, none}},
      {"update", {{updated, token, updated, updated, scalars}, none}}};
  for (Json &kernel : plan["targets"]["cpu"]["kernels"]) {
    const auto &[args, reductions] = known.at(kernel["name"].get<std::string>());
    kernel["args"] = args;
    kernel["reductions"] = reductions;
    kernel["elementwise"] = false;
  }
  return plan;
}

Folder::Folder() {
  std::string name = (std::filesystem::temp_directory_path() / "mhc-rt-XXXXXX").string();
  if (!::mkdtemp(name.data()))
    throw std::runtime_error("cannot create a folder");
  path = name;
}

Folder::~Folder() {
  std::error_code code;
  std::filesystem::remove_all(path, code);
}

std::string Folder::write(const std::string &name, const std::string &content) const {
  writeFile(file(name), content);
  return file(name);
}

std::string readText(const std::string &path) {
  Memory content = readFile(path);
  return content.size() ? std::string(content.data(), content.size()) : std::string();
}

std::unique_ptr<CpuDevice> plainDevice(int threads) {
  static const TargetPlan none;
  return std::make_unique<CpuDevice>(none, std::string_view(), threads);
}

std::vector<float> randomFloats(std::mt19937 &random, size_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float &value : values)
    value = normal(random);
  return values;
}

std::vector<uint16_t> toBf16(const std::vector<float> &values) {
  std::vector<uint16_t> result;
  for (float value : values)
    result.push_back(mhcrt::toBf16(value));
  return result;
}

} // namespace mhcrt::test
