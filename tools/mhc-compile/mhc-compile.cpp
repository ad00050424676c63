//===- mhc-compile.cpp - from a model description to a package --------------===//

#include "../../lib/Tools/Compile/Compile.h"

#include "llvm/Support/InitLLVM.h"

int main(int argc, char **argv) {
  llvm::InitLLVM init(argc, argv);
  mlir::mhc::CompileOptions options;
  int exitCode = 0;
  if (!mlir::mhc::parseCommandLine(argc, argv, options, exitCode))
    return exitCode;
  return mlir::mhc::compile(options);
}
