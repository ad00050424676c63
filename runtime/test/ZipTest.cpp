#include "package/Zip.h"
#include "Support.h"

using namespace mhcrt;
using namespace mhcrt::test;

namespace {
ZipFile open(const std::string &bytes) { return ZipFile(toMemory(bytes), "z"); }
} // namespace

TEST(Zip, ReadsStoredMembers) {
  ZipFile zip = open(makeZip({{"a", "hello"}, {"dir/b", ""}, {"c", std::string(100000, 'x')}}));
  ASSERT_EQ(zip.members().size(), 3u);
  EXPECT_EQ(zip.content(*zip.find("a")), "hello");
  EXPECT_EQ(zip.content(*zip.find("dir/b")), "");
  EXPECT_EQ(zip.content(*zip.find("c")).size(), 100000u);
  EXPECT_EQ(zip.find("d"), nullptr);
  EXPECT_EQ(open(makeZip({})).members().size(), 0u);
}

TEST(Zip, RefusesUnsafeAndDuplicateNames) {
  for (const char *name : {"/a", "../a", "a/../b", "a//b", "a/", "", "a\nb", ".", "a\\b", "c:d"})
    EXPECT_ERROR(open(makeZip({{name, "x"}})), "unsafe name");
  EXPECT_ERROR(open(makeZip({{"a", "x"}, {"a", "y"}})), "occurs twice");
}

TEST(Zip, RefusesDamage) {
  std::string good = makeZip({{"a", "hello"}, {"b", "world"}});
  EXPECT_ERROR(open(""), "not a package");
  EXPECT_ERROR(open(std::string(100, 'x')), "not a package");
  std::string content = good;
  content[good.find("hello")] = 'j';
  EXPECT_ERROR(open(content), "CRC-32");
  std::string compressed = good;
  compressed[good.find("PK\1\2") + 10] = 8;
  EXPECT_ERROR(open(compressed), "compression method 8");
  std::string overlap = good; // the second member's header offset points at the first
  size_t second = good.find("PK\1\2", good.find("PK\1\2") + 1);
  overlap[second + 42] = 0;
  EXPECT_ERROR(open(overlap), "disagree");
}

/// No truncation and no flipped bit may crash the reader or change a member unnoticed.
TEST(Zip, SurvivesEveryTruncationAndFlippedByte) {
  std::string good = makeZip({{"a", "hello"}, {"b/c", "world!"}});
  for (size_t size = 0; size < good.size(); ++size)
    EXPECT_NE(errorOf([&] { open(good.substr(0, size)); }), "") << size;
  for (size_t at = 0; at < good.size(); ++at)
    for (int value : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ value);
      errorOf([&] {
        ZipFile zip = open(bad);
        for (const auto &member : zip.members()) {
          std::string content(zip.content(member));
          EXPECT_TRUE(content == "hello" || content == "world!") << at;
        }
      });
    }
}
