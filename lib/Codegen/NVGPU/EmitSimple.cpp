//===- EmitSimple.cpp - kernels of schedule family simple -------------------===//

#include "GangEmitter.h"
#include "GroupEmitter.h"
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
    if (failed(emitGpuKernels(getOperation(), target)))
      return signalPassFailure();
    for (const std::string &name : library)
      if (failed(emitLibraryKernel(name, target)))
        return signalPassFailure();
    keepCode(getOperation());
  }
};

} // namespace
} // namespace nvgpu

LogicalResult emitGpuKernels(ModuleOp source, gpu::GPUModuleOp target) {
  OpBuilder builder(source.getContext());
  for (KernelOp kernel : source.getOps<KernelOp>()) {
    StringRef family = kernel.getSchedule() ? kernel.getSchedule()->getFamily() : "";
    if (family == "group") {
      // The plan that the schedule is the record of.
      nvgpu::PlanRequest request;
      request.asked = *kernel.getSchedule();
      LogicalResult status = failure();
      if (std::optional<nvgpu::GroupPlan> plan = nvgpu::planGroup(kernel, request)) {
        status = nvgpu::GroupEmitter::create(builder, kernel, target, std::move(*plan))->run();
      } else if (nvgpu::PlanRequest again; (again.asked = request.asked).getWord("exchange") == "memory") {
        if (std::optional<nvgpu::GangPlan> plan = nvgpu::planGang(kernel, again))
          status = nvgpu::GangEmitter(builder, kernel, target, std::move(*plan)).run();
        request.why = again.why;
      }
      if (!request.why.empty())
        return kernel.emitOpError("expected a kernel that family group takes with this schedule, but ") << request.why;
      if (failed(status))
        return failure();
      continue;
    }
    if (family != "simple")
      return kernel.emitOpError("expected a schedule of family simple or group (run mhc-schedule-kernels first)");
    if (failed(nvgpu::SimpleEmitter(builder, kernel, target).run()))
      return failure();
  }
  // The first for programs that launch kernels on their own, the second for the runtime, which sums all partials of a launch at once.
  return success(succeeded(emitLibraryKernel("mhc_sum_partials_f32", target)) && succeeded(emitLibraryKernel("mhc_sum_all_partials_f32", target)));
}

void setGpuLaunch(LLVM::LLVMFuncOp function, GpuLaunch launch) {
  Builder b(function.getContext());
  SmallVector<NamedAttribute> figures;
  auto number = [&](StringRef name, int64_t value) { figures.push_back(b.getNamedAttr(name, b.getI64IntegerAttr(value))); };
  number("tile", launch.tile);
  number("threads", launch.threads);
  number("shared", launch.shared);
  if (!launch.maps.empty()) {
    number("cluster", launch.cluster);
    number("map_channels", launch.mapChannels);
    number("boxes", launch.boxes);
    if (launch.interleaved)
      figures.push_back(b.getNamedAttr("interleaved", b.getUnitAttr()));
    figures.push_back(b.getNamedAttr("maps", b.getDenseI64ArrayAttr(launch.maps)));
  }
  function->setAttr("mhc.launch", b.getDictionaryAttr(figures));
}

std::optional<GpuLaunch> getGpuLaunch(LLVM::LLVMFuncOp function) {
  auto launch = function->getAttrOfType<DictionaryAttr>("mhc.launch");
  if (!launch)
    return std::nullopt;
  auto number = [&](StringRef name) { return launch.getAs<IntegerAttr>(name).getInt(); };
  GpuLaunch result{number("tile"), number("threads"), number("shared")};
  if (auto maps = launch.getAs<DenseI64ArrayAttr>("maps")) {
    result.cluster = number("cluster");
    result.mapChannels = number("map_channels");
    result.boxes = number("boxes");
    result.interleaved = launch.contains("interleaved");
    result.maps = llvm::to_vector(maps.asArrayRef());
  }
  return result;
}

} // namespace mlir::mhc
