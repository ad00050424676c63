//===- CpuFeatures.cpp - what host code may need of a processor ------------===//
//
// Each feature is one bit of CPUID (Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E). Registers beyond those of
// SSE also need the system to save them, which XCR0 tells.
//
//===----------------------------------------------------------------------===//
#include "base/CpuFeatures.h"

#include <algorithm>
#include <cstdint>
#include <map>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace mhcrt {
namespace {

enum Register { eax, ebx, ecx, edx };
/// Which registers the system has to save, as bits of XCR0.
enum Saved : uint64_t { plain = 0, ymm = 0x6, zmm = 0xe6, apx = 0x80000 };

struct Feature {
  const char *name;
  uint32_t leaf, subleaf;
  Register where;
  int bit;
  Saved saved;
};

constexpr uint32_t extended = 0x80000001;
constexpr Feature features[] = {
    // x86-64-v2
    {"sse3", 1, 0, ecx, 0, plain},
    {"ssse3", 1, 0, ecx, 9, plain},
    {"cx16", 1, 0, ecx, 13, plain},
    {"sse4.1", 1, 0, ecx, 19, plain},
    {"sse4.2", 1, 0, ecx, 20, plain},
    {"popcnt", 1, 0, ecx, 23, plain},
    {"sahf", extended, 0, ecx, 0, plain},
    // x86-64-v3
    {"fma", 1, 0, ecx, 12, ymm},
    {"movbe", 1, 0, ecx, 22, plain},
    {"avx", 1, 0, ecx, 28, ymm},
    {"f16c", 1, 0, ecx, 29, ymm},
    {"lzcnt", extended, 0, ecx, 5, plain},
    {"bmi", 7, 0, ebx, 3, plain},
    {"avx2", 7, 0, ebx, 5, ymm},
    {"bmi2", 7, 0, ebx, 8, plain},
    // x86-64-v4
    {"avx512f", 7, 0, ebx, 16, zmm},
    {"avx512dq", 7, 0, ebx, 17, zmm},
    {"avx512cd", 7, 0, ebx, 28, zmm},
    {"avx512bw", 7, 0, ebx, 30, zmm},
    {"avx512vl", 7, 0, ebx, 31, zmm},
    // in no level
    {"sse4a", extended, 0, ecx, 6, plain},
    {"prfchw", extended, 0, ecx, 8, plain},
    {"xop", extended, 0, ecx, 11, ymm},
    {"fma4", extended, 0, ecx, 16, ymm},
    {"tbm", extended, 0, ecx, 21, plain},
    {"adx", 7, 0, ebx, 19, plain},
    {"avx512ifma", 7, 0, ebx, 21, zmm},
    {"avx512vbmi", 7, 0, ecx, 1, zmm},
    {"avx512vbmi2", 7, 0, ecx, 6, zmm},
    {"gfni", 7, 0, ecx, 8, plain},
    {"avx512vnni", 7, 0, ecx, 11, zmm},
    {"avx512bitalg", 7, 0, ecx, 12, zmm},
    {"avx512vpopcntdq", 7, 0, ecx, 14, zmm},
    {"avx512vp2intersect", 7, 0, edx, 8, zmm},
    {"avx512fp16", 7, 0, edx, 23, zmm},
    {"avxvnni", 7, 1, eax, 4, ymm},
    {"avx512bf16", 7, 1, eax, 5, zmm},
    {"cmpccxadd", 7, 1, eax, 7, plain},
    {"avxifma", 7, 1, eax, 23, ymm},
    {"movrs", 7, 1, eax, 31, plain},
    {"avxvnniint8", 7, 1, edx, 4, ymm},
    {"avxneconvert", 7, 1, edx, 5, ymm},
    {"avxvnniint16", 7, 1, edx, 10, ymm},
    {"avx10.1", 7, 1, edx, 19, zmm},
    {"egpr", 7, 1, edx, 21, apx},
    {"push2pop2", 7, 1, edx, 21, apx},
    {"ppx", 7, 1, edx, 21, apx},
    {"ndd", 7, 1, edx, 21, apx},
    {"ccmp", 7, 1, edx, 21, apx},
    {"nf", 7, 1, edx, 21, apx},
    {"cf", 7, 1, edx, 21, apx},
    {"zu", 7, 1, edx, 21, apx},
};

/// A level has the features of the one before it, too.
const std::map<std::string, std::vector<std::string>> levels = {
    {"x86-64-v2", {"cx16", "sahf", "popcnt", "sse3", "ssse3", "sse4.1", "sse4.2"}},
    {"x86-64-v3", {"x86-64-v2", "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"}},
    {"x86-64-v4", {"x86-64-v3", "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}}};

const Feature *find(const std::string &name) {
  auto found = std::find_if(std::begin(features), std::end(features), [&](auto &item) { return name == item.name; });
  return found == std::end(features) ? nullptr : found;
}

#if defined(__x86_64__)
uint64_t savedRegisters() {
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) // OSXSAVE: xgetbv may be used
    return 0;
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t(high) << 32 | low;
}

bool has(const Feature &feature) {
  uint32_t values[4] = {};
  if (feature.subleaf) { // a processor without the subleaf may answer with anything
    uint32_t most, b, c, d;
    if (!__get_cpuid_count(feature.leaf, 0, &most, &b, &c, &d) || most < feature.subleaf)
      return false;
  }
  if (!__get_cpuid_count(feature.leaf, feature.subleaf, &values[eax], &values[ebx], &values[ecx], &values[edx]))
    return false;
  bool there = values[feature.where] >> feature.bit & 1;
  return there && (feature.saved == plain || (savedRegisters() & feature.saved) == feature.saved);
}
#else
bool has(const Feature &) { return false; }
#endif

} // namespace

bool isCpuFeature(const std::string &word) { return levels.count(word) || find(word); }

std::vector<std::string> missingCpuFeatures(const std::vector<std::string> &words) {
  std::vector<std::string> missing;
  for (const std::string &word : words) {
    if (auto level = levels.find(word); level != levels.end()) {
      auto more = missingCpuFeatures(level->second);
      missing.insert(missing.end(), more.begin(), more.end());
    } else if (const Feature *feature = find(word); !feature || !has(*feature)) {
      missing.push_back(word);
    }
  }
  std::sort(missing.begin(), missing.end());
  missing.erase(std::unique(missing.begin(), missing.end()), missing.end());
  return missing;
}

} // namespace mhcrt
