//===- ScheduleKernels.cpp - cut kernels into phases ------------------------===//

#include "mhc/Codegen/Passes.h"
#include "mhc/Dialect/Mhc/IR/MhcRowOps.h"

namespace mlir::mhc {
#define GEN_PASS_DEF_SCHEDULEKERNELSPASS
#include "mhc/Codegen/Passes.h.inc"

namespace {
struct ScheduleKernelsPass : impl::ScheduleKernelsPassBase<ScheduleKernelsPass> {
  using ScheduleKernelsPassBase::ScheduleKernelsPassBase;
  void runOnOperation() override {}
};
} // namespace
} // namespace mlir::mhc
