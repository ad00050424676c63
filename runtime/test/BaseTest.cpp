#include "Support.h"
#include "base/Checked.h"
#include "base/CpuFeatures.h"
#include "base/File.h"
#include "base/Hash.h"
#include "base/ThreadPool.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <sys/resource.h>
#include <sys/stat.h>

using namespace mhcrt;
using namespace mhcrt::test;

TEST(Hash, Sha256KnownVectors) {
  EXPECT_EQ(sha256Hex("", 0), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256Hex("abc", 3), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  const char *two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
  EXPECT_EQ(sha256Hex(two, 56), "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  std::string million(1000000, 'a');
  EXPECT_EQ(sha256Hex(million.data(), million.size()),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Hash, Crc32KnownVectors) {
  EXPECT_EQ(crc32("", 0), 0u);
  EXPECT_EQ(crc32("123456789", 9), 0xCBF43926u);
}

TEST(Bf16, RoundsToNearestEven) {
  EXPECT_EQ(mhcrt::toBf16(1.0f), 0x3f80);
  EXPECT_EQ(mhcrt::toBf16(1.00390625f), 0x3f80); // halfway between 0x3f80 and 0x3f81: to even
  EXPECT_EQ(mhcrt::toBf16(1.01171875f), 0x3f82); // halfway between 0x3f81 and 0x3f82
  EXPECT_EQ(mhcrt::toBf16(std::nextafter(1.00390625f, 2.0f)), 0x3f81);
  EXPECT_EQ(mhcrt::toBf16(-0.0f), 0x8000);
  EXPECT_EQ(mhcrt::toBf16(3.4e38f), 0x7f80); // rounds to infinity
  EXPECT_EQ(mhcrt::toBf16(INFINITY), 0x7f80);
  EXPECT_TRUE(std::isnan(fromBf16(mhcrt::toBf16(NAN))));
  uint32_t bits = 0x7f800001; // a NaN whose payload lies in the lower half only
  float payload;
  std::memcpy(&payload, &bits, 4);
  EXPECT_TRUE(std::isnan(fromBf16(mhcrt::toBf16(payload))));
  for (uint32_t i = 0; i < 65536; ++i)
    if (!std::isnan(fromBf16(i))) {
      EXPECT_EQ(mhcrt::toBf16(fromBf16(i)), i);
    }
}

TEST(Json, RefusesDuplicatesDepthAndGarbage) {
  EXPECT_ERROR(parseJson(R"({"a": 1, "b": {"c": 1, "c": 2}})", "f"), "duplicate key 'c'");
  EXPECT_EQ(errorOf([] { parseJson(R"({"a": {"c": 1}, "b": {"c": 2}})", "f"); }), "");
  EXPECT_EQ(errorOf([] { parseJson(std::string(64, '[') + std::string(64, ']'), "f"); }), "");
  EXPECT_ERROR(parseJson(std::string(65, '[') + std::string(65, ']'), "f"), "64 levels");
  EXPECT_ERROR(parseJson(std::string(1000000, '['), "f"), "64 levels");
  EXPECT_ERROR(parseJson("{\"a\": 1} x", "f"), "f: ");
  EXPECT_ERROR(parseJson("", "f"), "f: ");
  EXPECT_ERROR(parseJson("\"\xff\"", "f"), "f: ");
  Json json = parseJson(R"({"a": [1, 18446744073709551615, 1.5, "s"]})", "f");
  JsonView list = JsonView(json, "f").at("a");
  EXPECT_EQ(list[0].integer(), 1);
  EXPECT_ERROR(list[1].integer(), "f.a[1]: expected a 64-bit integer");
  EXPECT_ERROR(list[2].integer(), "f.a[2]");
  EXPECT_ERROR(list[0].integer(2, 3), "from 2 to 3");
  EXPECT_ERROR(list[3].boolean(), "expected true or false, but got \"s\"");
}

TEST(Checked, NoticesOverflow) {
  EXPECT_ERROR(elementCount({int64_t(1) << 32, int64_t(1) << 32}, "x"), "overflows");
  EXPECT_ERROR(elementCount({-1}, "x"), "at least 0");
  EXPECT_EQ(elementCount({}, "x"), 1);
  EXPECT_EQ(elementCount({5, 0, 7}, "x"), 0);
}

TEST(File, ReplacesInOneStepOrNotAtAll) {
  Folder folder;
  std::string path = folder.write("a", "old");
  {
    OutputFile file(path);
    file.write("half", 4); // no commit
  }
  EXPECT_EQ(readText(path), "old");
  writeFile(path, "new");
  EXPECT_EQ(readText(path), "new");
  int count = 0;
  for (auto &item : std::filesystem::directory_iterator(folder.path))
    ++count, (void)item;
  EXPECT_EQ(count, 1);
  EXPECT_ERROR(writeFile(folder.file("no/such"), "x"), "cannot create");
  EXPECT_ERROR(readFile(folder.path), "expected a regular file");
  ASSERT_EQ(::mkfifo(folder.file("fifo").c_str(), 0600), 0);
  EXPECT_ERROR(readFile(folder.file("fifo")), "expected a regular file"); // without waiting for a writer
}

TEST(ThreadPool, RunsAllAndRethrowsTheFirstError) {
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 200; ++round) {
      std::vector<int> seen(37);
      pool.run(37, [&](int64_t i) { ++seen[i]; });
      EXPECT_EQ(seen, std::vector<int>(37, 1));
    }
    EXPECT_ERROR(pool.run(100,
                          [](int64_t i) {
                            if (i >= 3 || i == 2)
                              fail("task ", i);
                          }),
                 "task 2");
    pool.run(0, [](int64_t) { FAIL(); });
  }
}

/// Threads that did start must not take the program with them.
TEST(ThreadPool, SaysThatThreadsAreNotToBeHad) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers need the address space that the test takes away";
#endif
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  auto narrow = [] {
    // Root is above RLIMIT_NPROC, but nobody above the address space that the stacks need.
    rlimit limit{uint64_t(1) << 31, uint64_t(1) << 31};
    setrlimit(RLIMIT_AS, &limit);
    std::string message = errorOf([] { ThreadPool pool(1024); });
    std::fprintf(stderr, "%s\n", message.c_str());
    std::_Exit(message.empty() ? 1 : 0);
  };
  EXPECT_EXIT(narrow(), testing::ExitedWithCode(0), "cannot start 1024 threads: the system refuses more than [0-9]+ ");
  EXPECT_ERROR(chooseThreads(1025), "at most 1024 threads");
}

/// What CPUID says against what the kernel read from it.
TEST(CpuFeatures, AgreeWithTheKernel) {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line) && line.rfind("flags", 0) != 0) {
  }
  std::istringstream words(line);
  std::set<std::string> flags{std::istream_iterator<std::string>(words), {}};
  if (!flags.count("sse2"))
    GTEST_SKIP() << "no x86-64";
  const std::pair<const char *, const char *> names[] = {{"sse3", "pni"},
                                                         {"ssse3", "ssse3"},
                                                         {"sse4.1", "sse4_1"},
                                                         {"sse4.2", "sse4_2"},
                                                         {"popcnt", "popcnt"},
                                                         {"cx16", "cx16"},
                                                         {"sahf", "lahf_lm"},
                                                         {"fma", "fma"},
                                                         {"movbe", "movbe"},
                                                         {"avx", "avx"},
                                                         {"f16c", "f16c"},
                                                         {"lzcnt", "abm"},
                                                         {"bmi", "bmi1"},
                                                         {"avx2", "avx2"},
                                                         {"bmi2", "bmi2"},
                                                         {"avx512f", "avx512f"},
                                                         {"avx512dq", "avx512dq"},
                                                         {"avx512cd", "avx512cd"},
                                                         {"avx512bw", "avx512bw"},
                                                         {"avx512vl", "avx512vl"},
                                                         {"sse4a", "sse4a"},
                                                         {"prfchw", "3dnowprefetch"},
                                                         {"xop", "xop"},
                                                         {"fma4", "fma4"},
                                                         {"tbm", "tbm"},
                                                         {"adx", "adx"},
                                                         {"avx512ifma", "avx512ifma"},
                                                         {"avx512vbmi", "avx512vbmi"},
                                                         {"avx512vbmi2", "avx512_vbmi2"},
                                                         {"gfni", "gfni"},
                                                         {"avx512vnni", "avx512_vnni"},
                                                         {"avx512bitalg", "avx512_bitalg"},
                                                         {"avx512vpopcntdq", "avx512_vpopcntdq"},
                                                         {"avx512fp16", "avx512_fp16"},
                                                         {"avxvnni", "avx_vnni"},
                                                         {"avx512bf16", "avx512_bf16"}};
  for (auto [name, flag] : names) {
    EXPECT_TRUE(isCpuFeature(name)) << name;
    EXPECT_EQ(missingCpuFeatures({name}).empty(), flags.count(flag) == 1) << name;
  }
  EXPECT_EQ(missingCpuFeatures({"x86-64-v3", "x86-64-v4"}), missingCpuFeatures({"x86-64-v4"}));
  EXPECT_FALSE(isCpuFeature("avx3"));
  EXPECT_EQ(missingCpuFeatures({"avx3"}), std::vector<std::string>{"avx3"});
}
