//===- Register.h - everything that the tools know --------------------------===//
#ifndef MHC_TOOLS_REGISTER_H
#define MHC_TOOLS_REGISTER_H

namespace mlir {
class DialectRegistry;
namespace mhc {

/// All dialects, passes and pipelines of MLIR and of this project, for mhc-opt and the language server.
void registerEverything(DialectRegistry &registry);

} // namespace mhc
} // namespace mlir

#endif // MHC_TOOLS_REGISTER_H
