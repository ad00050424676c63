//===- EmitSimple.cpp - kernels of schedule family simple -------------------===//

#include "SimpleEmitter.h"

#include "mhc/Codegen/Passes.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace mlir::mhc {
#define GEN_PASS_DEF_EMITSIMPLEPASS
#include "mhc/Codegen/Passes.h.inc"

namespace nvgpu {
namespace {

struct EmitSimplePass : impl::EmitSimplePassBase<EmitSimplePass> {
  using EmitSimplePassBase::EmitSimplePassBase;

  void runOnOperation() override {
    OpBuilder builder(&getContext());
    builder.setInsertionPointToEnd(getOperation().getBody());
    auto target = gpu::GPUModuleOp::create(builder, getOperation().getLoc(), "kernels");
    if (failed(emitSimpleKernels(getOperation(), target)))
      return signalPassFailure();
    for (const std::string &name : library)
      if (failed(emitLibraryKernel(name, target)))
        return signalPassFailure();
    keepCode(getOperation());
  }
};

} // namespace
} // namespace nvgpu

LogicalResult emitSimpleKernels(ModuleOp source, gpu::GPUModuleOp target) {
  OpBuilder builder(source.getContext());
  for (KernelOp kernel : source.getOps<KernelOp>()) {
    std::optional<ScheduleAttr> schedule = kernel.getSchedule();
    if (!schedule || schedule->getFamily() != "simple")
      return kernel.emitOpError("expected a schedule of family simple (run mhc-schedule-kernels first)");
    if (failed(nvgpu::SimpleEmitter(builder, kernel, target).run()))
      return failure();
  }
  return emitLibraryKernel("mhc_sum_partials_f32", target);
}

void setGpuLaunch(LLVM::LLVMFuncOp function, GpuLaunch launch) {
  Builder b(function.getContext());
  function->setAttr("mhc.launch", b.getDictionaryAttr({b.getNamedAttr("tile", b.getI64IntegerAttr(launch.tile)),
                                                       b.getNamedAttr("threads", b.getI64IntegerAttr(launch.threads)),
                                                       b.getNamedAttr("shared", b.getI64IntegerAttr(launch.shared))}));
}

std::optional<GpuLaunch> getGpuLaunch(LLVM::LLVMFuncOp function) {
  auto launch = function->getAttrOfType<DictionaryAttr>("mhc.launch");
  if (!launch)
    return std::nullopt;
  auto number = [&](StringRef name) { return launch.getAs<IntegerAttr>(name).getInt(); };
  return GpuLaunch{number("tile"), number("threads"), number("shared")};
}

} // namespace mlir::mhc
