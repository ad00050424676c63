//===- HostFeatures.cpp - what host code needs of a processor ---------------===//

#include "HostFeatures.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/Twine.h"
#include "llvm/TargetParser/Host.h"
#include "llvm/TargetParser/X86TargetParser.h"

#include <set>

using namespace mlir::mhc;
using llvm::StringRef;

namespace {

/// Of the system, of cryptography, of tiles: code gets these instructions by asking for them, which ours never does. A
/// processor may hide them from a virtual machine, and the code runs all the same. What is not in this list is
/// required, so a feature that a later LLVM adds is one requirement too many rather than one too few.
constexpr llvm::StringLiteral neverChosen[] = {
    "64bit",     "aes",        "cldemote", "clflushopt", "clwb",    "clzero", "enqcmd",   "fsgsbase", "hreset",
    "invpcid",   "kl",         "lwp",      "movdir64b",  "movdiri", "mwaitx", "pclmul",   "pconfig",  "pku",
    "prefetchi", "ptwrite",    "raoint",   "rdpid",      "rdpru",   "rdrnd",  "rdseed",   "rtm",      "serialize",
    "sgx",       "sha",        "sha512",   "shstk",      "sm3",     "sm4",    "tsxldtrk", "uintr",    "usermsr",
    "vaes",      "vpclmulqdq", "waitpkg",  "wbnoinvd",   "widekl",  "xsave",  "xsavec",   "xsaveopt", "xsaves"};

/// What the subtarget of a processor has, by the names that LLVM knows (Host.cpp: emitHostObject makes it).
std::set<std::string> featuresOf(StringRef cpu) {
  llvm::StringMap<bool> all;
  auto set = [&](StringRef feature, bool enabled) {
    llvm::X86::updateImpliedFeatures(feature, enabled, all);
    all[feature] = enabled;
  };
  bool native = cpu == "native";
  StringRef name = native ? llvm::sys::getHostCPUName() : cpu;
  if (llvm::X86::parseArchX86(name, /*Only64Bit=*/true) != llvm::X86::CK_None) {
    llvm::SmallVector<StringRef> own;
    llvm::X86::getFeaturesForCPU(name, own);
    for (StringRef feature : own)
      set(feature, true);
  }
  if (native) { // the machine has the last word, and what it lacks comes after what it has
    auto host = llvm::sys::getHostCPUFeatures();
    for (bool enabled : {true, false})
      for (const auto &entry : host)
        if (entry.getValue() == enabled)
          set(entry.getKey(), enabled);
  }
  std::set<std::string> features;
  for (const auto &entry : all)
    if (entry.getValue() && !llvm::is_contained(neverChosen, entry.getKey()) && !entry.getKey().starts_with("amx-"))
      features.insert(entry.getKey().str());
  return features;
}

std::vector<std::string> without(const std::set<std::string> &features, const std::set<std::string> &others) {
  std::vector<std::string> rest;
  for (const std::string &feature : features)
    if (!others.count(feature))
      rest.push_back(feature);
  return rest;
}

} // namespace

llvm::Expected<std::vector<std::string>> mlir::mhc::hostRequirements(StringRef cpu) {
  auto error = [&](const llvm::Twine &message) { return llvm::createStringError("--mcpu=" + cpu + ": " + message); };
  if (cpu != "native" && llvm::X86::parseArchX86(cpu, /*Only64Bit=*/true) == llvm::X86::CK_None)
    return error("unknown processor; expected x86-64-v3, x86-64-v4, native, or a name such as znver4 or "
                 "skylake-avx512");
  std::set<std::string> features = featuresOf(cpu), always = featuresOf("x86-64"), v3 = featuresOf("x86-64-v3"),
                        v4 = featuresOf("x86-64-v4");
  features.insert(always.begin(), always.end()); // no 64-bit processor lacks these
  std::vector<std::string> missing = without(v3, features);
  if (!missing.empty())
    return error("host code needs at least x86-64-v3, and this processor lacks " + llvm::join(missing, ", "));
  bool wide = without(v4, features).empty();
  std::vector<std::string> words = {wide ? "x86-64-v4" : "x86-64-v3"};
  llvm::append_range(words, without(features, wide ? v4 : v3));
  return words;
}
