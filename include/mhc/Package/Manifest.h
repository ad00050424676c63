//===- Manifest.h - what a package says of its model ------------------------===//
#ifndef MHC_PACKAGE_MANIFEST_H
#define MHC_PACKAGE_MANIFEST_H

#include "mhc/Frontend/Description.h"

#include <cstdint>
#include <string>
#include <vector>

namespace mlir::mhc {

/// Module attribute that carries `manifestHeader` through the phases, so that a package can be written from IR alone.
inline constexpr const char *manifestAttr = "mhc.manifest";

/// The parts of manifest.json that come from the description: kind, dtype, tensors, arenas, training, entries. JSON
/// text with stable order.
std::string manifestHeader(const ::mhc::Description &description);

} // namespace mlir::mhc

#endif // MHC_PACKAGE_MANIFEST_H
