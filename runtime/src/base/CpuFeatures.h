//===- CpuFeatures.h - what host code may need of a processor ------*- C++ -*-===//
#ifndef MHCRT_BASE_CPUFEATURES_H
#define MHCRT_BASE_CPUFEATURES_H

#include <string>
#include <vector>

namespace mhcrt {

/// Words of a manifest's `requires`: a level ("x86-64-v3") or a feature as LLVM names it ("avx512bf16"). Known are
/// those whose instructions a code generator may choose by itself.
bool isCpuFeature(const std::string &word);

/// The features among `words` (a level stands for several) that this processor or its system lacks.
std::vector<std::string> missingCpuFeatures(const std::vector<std::string> &words);

} // namespace mhcrt

#endif // MHCRT_BASE_CPUFEATURES_H
