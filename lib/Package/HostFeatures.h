//===- HostFeatures.h - what host code needs of a processor -----------------===//
#ifndef MHC_LIB_PACKAGE_HOSTFEATURES_H
#define MHC_LIB_PACKAGE_HOSTFEATURES_H

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <string>
#include <vector>

namespace mlir::mhc {

/// The manifest's `requires` for code that is generated for `cpu` (a name that LLVM knows, or `native`): the highest
/// level of x86-64 that it includes, then each feature beyond whose instructions the code generator may choose. An
/// error, in the words of --mcpu, for an unknown processor and for one below x86-64-v3.
llvm::Expected<std::vector<std::string>> hostRequirements(llvm::StringRef cpu);

} // namespace mlir::mhc

#endif // MHC_LIB_PACKAGE_HOSTFEATURES_H
