//===- mhc-opt.cpp - mlir-opt with the project's dialects and passes --------===//

#include "mhc/Tools/Register.h"

#include "mlir/Tools/mlir-opt/MlirOptMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  mlir::mhc::registerEverything(registry);
  return mlir::asMainReturnCode(mlir::MlirOptMain(argc, argv, "mhc-opt: optimizer of models whose residual topology is learned\n", registry));
}
