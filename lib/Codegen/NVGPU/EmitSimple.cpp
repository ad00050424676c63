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

/// mhc_sum_partials_f32(partials, out, size, count, accumulate): one element a thread,
/// out[i] = (accumulate ? out[i] : 0) + partials[0][i] + partials[1][i] + ..
class SumPartials : public GpuBuilder {
public:
  SumPartials(OpBuilder &builder, Location at) : GpuBuilder(builder, at, builder.getF32Type()) {}

  void emit(gpu::GPUModuleOp target) {
    static constexpr StringLiteral name = "mhc_sum_partials_f32";
    static constexpr int32_t threads = 256;
    if (target.lookupSymbol(name))
      return;
    MLIRContext *context = b.getContext();
    Type global = LLVM::LLVMPointerType::get(context, 1), int64 = b.getI64Type();
    b.setInsertionPointToEnd(target.getBody());
    auto function = LLVM::LLVMFuncOp::create(
        b, loc, name,
        LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(context), {global, global, int64, int64, int64}));
    function->setAttr(NVVM::NVVMDialect::getKernelFuncAttrName(), b.getUnitAttr());
    function->setAttr(NVVM::NVVMDialect::getMaxntidAttrName(), b.getDenseI32ArrayAttr({threads}));
    Block *entry = function.addEntryBlock(b);
    b.setInsertionPointToStart(entry);
    Value partials = entry->getArgument(0), out = entry->getArgument(1), size = entry->getArgument(2);
    Value count = entry->getArgument(3), flag = entry->getArgument(4);
    Value block = widen64(NVVM::BlockIdXOp::create(b, loc, b.getI32Type()));
    Value i = add(mul(block, threads), widen64(NVVM::ThreadIdXOp::create(b, loc, b.getI32Type())));
    when(less(i, size), [&] {
      Value place = address(out, compute, i);
      Value accumulate = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ne, flag, i64(0));
      // Not read where it is not added to: it may hold anything, NaN among it.
      Value first = scf::IfOp::create(
                        b, loc, accumulate,
                        [&](OpBuilder &, Location at) { scf::YieldOp::create(b, at, load(compute, place, 4)); },
                        [&](OpBuilder &, Location at) { scf::YieldOp::create(b, at, f32(0.0)); })
                        .getResult(0);
      Value sum = loop(i64(0), count, i64(1), first, [&](Value p, ValueRange carried) {
                    Value partial = load(compute, address(partials, compute, add(mul(p, size), i)), 4);
                    return SmallVector<Value>{addFloat(carried.front(), partial)};
                  }).front();
      store(sum, place, 4);
    });
    LLVM::ReturnOp::create(b, loc, ValueRange{});
  }

private:
  Value loadStream(RowLoadOp, int64_t) override { return {}; }
  void storeStreams(RowStoreOp, ArrayRef<Value>) override {}
  Value narrowScalar(Value, int64_t) override { return {}; }
  Value channel() override { return {}; }
  Value any(Value) override { return {}; }
  LogicalResult emitOther(Operation *) override { return failure(); }
};

struct EmitSimplePass : impl::EmitSimplePassBase<EmitSimplePass> {
  void runOnOperation() override {
    OpBuilder builder(&getContext());
    builder.setInsertionPointToEnd(getOperation().getBody());
    auto target = gpu::GPUModuleOp::create(builder, getOperation().getLoc(), "kernels");
    if (failed(emitSimpleKernels(getOperation(), target)))
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
  nvgpu::SumPartials(builder, source.getLoc()).emit(target);
  return success();
}

std::optional<GpuLaunch> getGpuLaunch(LLVM::LLVMFuncOp function) {
  auto launch = function->getAttrOfType<DictionaryAttr>("mhc.launch");
  if (!launch)
    return std::nullopt;
  auto number = [&](StringRef name) { return launch.getAs<IntegerAttr>(name).getInt(); };
  return GpuLaunch{number("tile"), number("threads"), number("shared")};
}

} // namespace mlir::mhc
