//===- EmitCpu.cpp - kernels as functions of the host -----------------------===//

#include "CpuEmitter.h"

#include "mhc/Codegen/Passes.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace mlir::mhc {
#define GEN_PASS_DEF_EMITCPUPASS
#include "mhc/Codegen/Passes.h.inc"

namespace cpu {
namespace {

/// void (void *const *args /* partials, out */, const int64_t *ints /* size, count, accumulate */, begin, end, unused):
/// out[i] = (accumulate ? out[i] : 0) + partials[0][i] + partials[1][i] + ..
class SumPartials : public CpuBuilder {
public:
  SumPartials(OpBuilder &builder, Location at, Type element) : CpuBuilder(builder, at, element) {}

  void emit(ModuleOp module) {
    std::string name = compute.isF64() ? "mhc_sum_partials_f64" : "mhc_sum_partials_f32";
    if (module.lookupSymbol(name))
      return;
    Type pointer = LLVM::LLVMPointerType::get(b.getContext()), int64 = b.getI64Type();
    auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(b.getContext()), {pointer, pointer, int64, int64, int64});
    b.setInsertionPointToEnd(module.getBody());
    auto function = LLVM::LLVMFuncOp::create(b, loc, name, type);
    Block *entry = function.addEntryBlock(b);
    b.setInsertionPointToStart(entry);
    Value partials = load(pointer, entry->getArgument(0), i64(0)), out = load(pointer, entry->getArgument(0), i64(1));
    Value size = load(int64, entry->getArgument(1), i64(0)), count = load(int64, entry->getArgument(1), i64(1));
    Value flag = load(int64, entry->getArgument(1), i64(2));
    Value accumulate = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ne, flag, i64(0));
    Value begin = entry->getArgument(2), end = entry->getArgument(3);
    auto sumAt = [&](Value i, Type element) {
      Value first = arith::SelectOp::create(b, loc, accumulate, load(element, out, i), zeros(element));
      Value sum = loop(i64(0), count, 1, first, [&](Value p, ValueRange carried) {
                    Value partial = load(element, partials, add(mul(p, size), i));
                    return SmallVector<Value>{arith::AddFOp::create(b, loc, carried.front(), partial)};
                  }).front();
      store(sum, out, i);
    };
    int64_t step = compute.isF64() ? 16 : 32;
    Value whole = add(begin, mul(arith::DivSIOp::create(b, loc, max(sub(end, begin), i64(0)), i64(step)), step));
    loop(begin, whole, step, [&](Value i) { sumAt(i, vector(compute, step)); });
    loop(whole, end, 1, [&](Value i) { sumAt(i, compute); });
    LLVM::ReturnOp::create(b, loc, ValueRange{});
  }

private:
  Value loadStream(RowLoadOp, int64_t) override { return {}; }
  void storeStreams(RowStoreOp, ArrayRef<Value>) override {}
  Value narrowScalar(Value, int64_t) override { return {}; }
  Value channel() override { return {}; }
  Value widen(Value, Type) override { return {}; }
  Rounded round(Value, Type) override { return {}; }
  Value any(Value) override { return {}; }
  LogicalResult emitOther(Operation *) override { return failure(); }
};

struct EmitCpuPass : impl::EmitCpuPassBase<EmitCpuPass> {
  void runOnOperation() override {
    if (failed(emitCpuKernels(getOperation())))
      return signalPassFailure();
    keepCode(getOperation());
  }
};

} // namespace
} // namespace cpu

LogicalResult emitCpuKernels(ModuleOp module) {
  OpBuilder builder(module.getContext());
  SmallVector<KernelOp> kernels = llvm::to_vector(module.getOps<KernelOp>());
  for (KernelOp kernel : kernels) {
    std::optional<ScheduleAttr> schedule = kernel.getSchedule();
    if (!schedule || schedule->getFamily() != "cpu")
      return kernel.emitOpError("expected a schedule of family cpu (run mhc-schedule-kernels first)");
    int64_t vector = schedule->getNumber("vector");
    if (vector < 1 || schedule->getTile() % vector || schedule->getNumber("channel_block") % 64)
      return kernel.emitOpError("expected a tile that is a multiple of the vector, and blocks of 64 channels");
    bool positions = kernel.getBody().walk([](RowLoadOp load) {
      return load.getAccess() == Access::position ? WalkResult::interrupt() : WalkResult::advance();
    }).wasInterrupted();
    if (positions && !llvm::is_contained(kernel.getInts(), builder.getStringAttr("S")))
      return kernel.emitOpError("expected an int \"S\", which position accesses go by");
    if (failed(cpu::CpuEmitter(builder, kernel).run()))
      return failure();
    kernel.erase();
  }
  for (Type element : {Type(builder.getF32Type()), Type(builder.getF64Type())})
    cpu::SumPartials(builder, module.getLoc(), element).emit(module);
  return success();
}

} // namespace mlir::mhc
