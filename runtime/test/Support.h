//===- Support.h - what the runtime's tests share ------------------*- C++ -*-===//
#ifndef MHCRT_TEST_SUPPORT_H
#define MHCRT_TEST_SUPPORT_H

#include "hal/cpu/CpuDevice.h"
#include "package/Package.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <utility>
#include <vector>

namespace mhcrt::test {

using Members = std::vector<std::pair<std::string, std::string>>;

/// A stored ZIP file, byte by byte.
std::string makeZip(const Members &members);
/// A package: completes the manifest's sections and puts it in front. Kernels of kernels.c come with it on demand.
std::string makePackage(Json manifest, const Json &plan, bool withKernels = true);
Package openPackage(const std::string &bytes);
Memory toMemory(const std::string &bytes);

/// The small packages that several tests start from.
Json exampleManifest();
Json examplePlan(); ///< entry `forward`: x [T, 4] -> y = 2 x, s [4] = sum over T, by kernel double_and_sum
void inRowBlocks(Json &plan); ///< examplePlan's command in a loop over blocks of three rows, its first two buffers seen through windows
Json toyManifest(); ///< a language model with one weight a token (kernels.c)
Json toyPlan();
/// The same plan with a kernel table that says what each kernel reads and writes, as compilers write it now.
Json described(Json plan);

/// A folder that goes when the test ends.
class Folder {
public:
  Folder();
  ~Folder();
  std::string file(const std::string &name) const { return path + "/" + name; }
  std::string write(const std::string &name, const std::string &content) const;
  std::string path;
};
std::string readText(const std::string &path);

/// A CPU device without kernels, for the library commands.
std::unique_ptr<CpuDevice> plainDevice(int threads);

/// The message of the error that `function` throws, or "" if it throws none.
template <typename Function> std::string errorOf(Function &&function) {
  try {
    function();
  } catch (const Error &problem) {
    return problem.what();
  }
  return "";
}

#define EXPECT_ERROR(statement, text)                                                                                  \
  do {                                                                                                                 \
    std::string message = ::mhcrt::test::errorOf([&] { statement; });                                                  \
    EXPECT_NE(message.find(text), std::string::npos)                                                                   \
        << "expected an error with '" << text << "', but got '" << message << "'";                                     \
  } while (0)

std::vector<float> randomFloats(std::mt19937 &random, size_t count);
std::vector<uint16_t> toBf16(const std::vector<float> &values);

} // namespace mhcrt::test

#endif // MHCRT_TEST_SUPPORT_H
