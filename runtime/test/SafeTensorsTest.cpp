#include "package/SafeTensors.h"
#include "Support.h"
#include "base/File.h"

using namespace mhcrt;
using namespace mhcrt::test;

namespace {

std::string raw(const std::string &header, size_t data) {
  std::string text(8, '\0');
  for (int i = 0; i < 8; ++i)
    text[i] = static_cast<char>(uint64_t(header.size()) >> (8 * i));
  return text + header + std::string(data, 'd');
}

std::string refusal(const std::string &content) {
  Folder folder;
  std::string path = folder.write("f", content);
  return errorOf([&] { SafeTensorsFile file(path); });
}

} // namespace

TEST(SafeTensors, WritesWhatItReads) {
  Folder folder;
  std::string path = folder.file("f");
  std::vector<float> a = {1, 2, 3, 4, 5, 6};
  std::vector<int64_t> b = {7};
  std::vector<uint16_t> c = {1, 2, 3};
  writeSafeTensors(path,
                   {{"z", DType::BF16, {3}, c.data()},
                    {"a", DType::F32, {2, 3}, a.data()},
                    {"b", DType::I64, {1}, b.data()},
                    {"empty", DType::F32, {0, 5}, nullptr}},
                   {{"k", "v"}});
  SafeTensorsFile file(path);
  EXPECT_EQ(file.tensors().size(), 4u);
  EXPECT_EQ(file.metadata().at("k"), "v");
  std::vector<float> got(6);
  file.read(*file.find("a"), got.data());
  EXPECT_EQ(got, a);
  EXPECT_EQ(file.find("a")->begin % 4, 0u); // wider types come first
  EXPECT_EQ(file.find("b")->begin, 0u);
  EXPECT_EQ(file.find("empty")->shape, (std::vector<int64_t>{0, 5}));
  std::string first = readText(path);
  writeSafeTensors(path,
                   {{"empty", DType::F32, {0, 5}, nullptr},
                    {"b", DType::I64, {1}, b.data()},
                    {"a", DType::F32, {2, 3}, a.data()},
                    {"z", DType::BF16, {3}, c.data()}},
                   {{"k", "v"}});
  EXPECT_EQ(readText(path), first);
  EXPECT_ERROR(file.read(*file.find("a"), 20, got.data(), 8), "outside of a tensor");
}

TEST(SafeTensors, RefusesHostileFiles) {
  auto has = [](const std::string &message, const char *text) {
    EXPECT_NE(message.find(text), std::string::npos) << "expected '" << text << "', but got '" << message << "'";
  };
  auto tensor = [](const char *name, const char *type, const char *shape, int64_t begin, int64_t end) {
    return concat("\"", name, "\": {\"dtype\": \"", type, "\", \"shape\": ", shape, ", \"data_offsets\": [", begin, ",",
                  end, "]}");
  };
  EXPECT_EQ(refusal(raw("{" + tensor("a", "F32", "[2]", 0, 8) + "}", 8)), "");
  has(refusal(""), "not a safetensors file");
  has(refusal(std::string(8, '\xff')), "not a safetensors file");
  has(refusal(raw("{", 0).substr(0, 8)), "not a safetensors file");
  has(refusal(raw("{", 0)), "f: ");
  has(refusal(raw("[]", 0)), "expected an object");
  has(refusal(raw("{" + tensor("a", "F32", "[2]", 0, 8) + "}", 7)), "only 7 bytes");
  has(refusal(raw("{" + tensor("a", "F32", "[2]", 0, 8) + "}", 9)), "belong to no tensor");
  has(refusal(raw("{" + tensor("a", "F32", "[3]", 0, 8) + "}", 8)), "expected 12 bytes");
  has(refusal(raw("{" + tensor("a", "F32", "[-2]", 0, 8) + "}", 8)), "a.shape[0]");
  has(refusal(raw("{" + tensor("a", "F31", "[2]", 0, 8) + "}", 8)), "unknown type 'F31'");
  has(refusal(raw("{" + tensor("a", "F32", "[2]", 8, 0) + "}", 8)), "data_offsets");
  has(refusal(raw("{" + tensor("a", "F32", "[4611686018427387904, 4]", 0, 0) + "}", 0)), "overflows");
  has(refusal(raw("{" + tensor("a", "F32", "[2]", 0, 8) + "," + tensor("b", "F32", "[1]", 4, 8) + "}", 8)), "overlap");
  has(refusal(raw("{" + tensor("a", "F32", "[1]", 0, 4) + "," + tensor("b", "F32", "[1]", 8, 12) + "}", 12)), "gap");
  has(refusal(raw("{" + tensor("a", "F32", "[1]", 0, 4) + "," + tensor("a", "F32", "[1]", 4, 8) + "}", 8)),
      "duplicate key 'a'");
  has(refusal(raw("{\"__metadata__\": {\"a\": 1}}", 0)), "expected a string");
}

TEST(SafeTensors, SurvivesRandomDamage) {
  Folder folder;
  std::vector<float> a = {1, 2, 3, 4};
  writeSafeTensors(folder.file("f"), {{"a", DType::F32, {2, 2}, a.data()}, {"b", DType::F32, {4}, a.data()}});
  std::string good = readText(folder.file("f"));
  std::mt19937 random(11);
  for (int round = 0; round < 600; ++round) {
    std::string bad = good;
    bad[random() % bad.size()] = static_cast<char>(random());
    if (random() % 3 == 0)
      bad.resize(random() % bad.size());
    std::string path = folder.write("g", bad);
    errorOf([&] {
      SafeTensorsFile file(path);
      for (const auto &[name, tensor] : file.tensors()) {
        Memory data(tensor.end - tensor.begin);
        file.read(tensor, data.data());
      }
    });
  }
}
