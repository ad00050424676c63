//===- Manifest.h - what a package says of its model ------------------------===//
#ifndef MHC_PACKAGE_MANIFEST_H
#define MHC_PACKAGE_MANIFEST_H

#include "mhc/Frontend/Description.h"

#include <cstdint>
#include <string>
#include <vector>

namespace mlir::mhc {

/// Where a model's parameters lie in their arena (docs/design/package.md): decayed tensors first, each at a multiple of
/// 64 elements. Gradients and the optimizer's states have the same layout.
struct ParameterArena {
  struct Tensor {
    ::mhc::ParameterInfo info;
    int64_t offset = 0, elements = 0;
  };
  std::vector<Tensor> tensors; ///< in the order of the model
  int64_t decayEnd = 0;        ///< decayed tensors are the elements [0, decayEnd), the others [decayEnd, elements)
  int64_t elements = 0;        ///< size of the arena
};
ParameterArena layOutParameters(const ::mhc::LanguageModel &model);

/// Module attribute that carries `manifestHeader` through the phases, so that a package can be written from IR alone.
inline constexpr const char *manifestAttr = "mhc.manifest";

/// The parts of manifest.json that come from the description: kind, dtype, tensors, arenas, training, entries. JSON
/// text with stable order.
std::string manifestHeader(const ::mhc::Description &description);

} // namespace mlir::mhc

#endif // MHC_PACKAGE_MANIFEST_H
