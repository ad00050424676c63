//===- FileTest.cpp - the package as a file ---------------------------------===//

#include "mhc/Package/Package.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "gtest/gtest.h"

#include <sys/stat.h>

using namespace mlir;
using namespace mlir::mhc;

namespace {
std::string read(StringRef path) {
  auto buffer = llvm::MemoryBuffer::getFile(path);
  return buffer ? (*buffer)->getBuffer().str() : "<none>";
}

class FileTest : public testing::Test {
protected:
  FileTest() { EXPECT_FALSE(llvm::sys::fs::createUniqueDirectory("mhc-file-test", folder)); }
  ~FileTest() override { llvm::sys::fs::remove_directories(folder); }

  std::string path(StringRef name) {
    SmallString<128> full(folder);
    llvm::sys::path::append(full, name);
    return std::string(full);
  }
  size_t count() {
    std::error_code code;
    size_t files = 0;
    for (llvm::sys::fs::directory_iterator it(folder, code), end; it != end && !code; it.increment(code))
      ++files;
    return files;
  }

  SmallString<128> folder;
  std::string error;
};

TEST_F(FileTest, WritesAndReplaces) {
  EXPECT_TRUE(writeFileAtomically(path("p"), "one", error)) << error;
  EXPECT_EQ(read(path("p")), "one");
  EXPECT_TRUE(writeFileAtomically(path("p"), "two", error)) << error;
  EXPECT_EQ(read(path("p")), "two");
  EXPECT_EQ(count(), 1u) << "what was written aside has been renamed";
}

TEST_F(FileTest, LeavesNothingBehindWhereItCannotWrite) {
  EXPECT_FALSE(writeFileAtomically(path("no/p"), "one", error));
  EXPECT_NE(error.find("could not write"), std::string::npos) << error;
  // The name is taken by a folder with something in it: the rename fails after all has been written.
  ASSERT_FALSE(llvm::sys::fs::create_directories(path("p/q")));
  EXPECT_FALSE(writeFileAtomically(path("p"), "one", error));
  EXPECT_EQ(count(), 1u);
}

TEST_F(FileTest, WritesIntoPipesAndDevices) {
  EXPECT_TRUE(writeFileAtomically("/dev/null", "one", error)) << error;
  EXPECT_FALSE(writeFileAtomically("/dev/full", "one", error));
}

TEST(ZipTest, IsAFunctionOfItsMembers) {
  std::string error;
  FailureOr<std::string> a = buildZip({{"a", "1"}, {"b/c", ""}}, error), b = buildZip({{"a", "1"}, {"b/c", ""}}, error);
  ASSERT_TRUE(succeeded(a) && succeeded(b));
  EXPECT_EQ(*a, *b);
  FailureOr<std::string> c = buildZip({{"b/c", ""}, {"a", "1"}}, error);
  ASSERT_TRUE(succeeded(c));
  EXPECT_NE(*a, *c) << "the order of members is part of the file";
  EXPECT_EQ(a->substr(0, 4), std::string("PK\3\4"));
}
} // namespace
