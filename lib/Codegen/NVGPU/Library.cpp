//===- Library.cpp - kernels behind the library commands --------------------===//

#include "Library.h"

#include "mhc/Dialect/Plan/IR/PlanDialect.h"

#include "llvm/ADT/TypeSwitch.h"

#include <set>

namespace mlir::mhc {
namespace nvgpu {

void LibraryKernel::begin(StringRef name, int64_t pointers, int64_t integers, GpuLaunch launch) {
  MLIRContext *context = b.getContext();
  SmallVector<Type> types(pointers, LLVM::LLVMPointerType::get(context, 1));
  types.append(integers, b.getI64Type());
  b.setInsertionPointToEnd(target.getBody());
  function = LLVM::LLVMFuncOp::create(b, loc, name,
                                      LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(context), types));
  function->setAttr(NVVM::NVVMDialect::getKernelFuncAttrName(), b.getUnitAttr());
  function->setAttr(NVVM::NVVMDialect::getMaxntidAttrName(), b.getDenseI32ArrayAttr({int32_t(launch.threads)}));
  setGpuLaunch(function, launch);
  b.setInsertionPointToStart(function.addEntryBlock(b));
  thread = NVVM::ThreadIdXOp::create(b, loc, b.getI32Type());
  blockIndex = NVVM::BlockIdXOp::create(b, loc, b.getI32Type());
  if (launch.shared)
    shared = sharedMemory(target);
}

Value LibraryKernel::guarded(Value condition, Value otherwise, function_ref<Value()> from) {
  return scf::IfOp::create(
             b, loc, condition, [&](OpBuilder &, Location at) { scf::YieldOp::create(b, at, from()); },
             [&](OpBuilder &, Location at) { scf::YieldOp::create(b, at, otherwise); })
      .getResult(0);
}

Value LibraryKernel::loadWide(Value pointer, Type element) {
  return widen(load(storedType(element), pointer, width * bytesOf(element)), element);
}

void LibraryKernel::storeWide(Value value, Value pointer, Type element) {
  store(element.isBF16() ? round(value, element).stored : value, pointer, width * bytesOf(element));
}

Type parseElement(OpBuilder &builder, StringRef word) {
  return word == "f32" ? Type(builder.getF32Type()) : word == "bf16" ? Type(builder.getBF16Type()) : Type();
}

} // namespace nvgpu

LogicalResult emitLibraryKernel(StringRef name, gpu::GPUModuleOp target) {
  if (target.lookupSymbol(name))
    return success();
  OpBuilder builder(target.getContext());
  SmallVector<StringRef> parts;
  StringRef rest = name;
  if (rest.consume_front("mhc_"))
    rest.split(parts, '_');
  for (auto *emit : {nvgpu::emitElementKernel, nvgpu::emitTokenKernel, nvgpu::emitAttentionKernel,
                     nvgpu::emitDispatchKernel, nvgpu::emitGroupedKernel, nvgpu::emitRoutingKernel})
    if (!parts.empty() && emit(builder, target, name, parts))
      return success();
  return target.emitError() << "there is no library kernel '" << name << "'";
}

std::string whyNotOnGpu(Operation *op) {
  auto command = dyn_cast<plan::CommandInterface>(op);
  // Kernels are judged as such, fills and copies know no types.
  if (!command || isa<plan::LaunchOp, plan::LoopOp, plan::FillOp, plan::CopyOp>(op))
    return "";
  std::string name = ("'" + op->getName().stripDialect() + "'").str();
  SmallVector<plan::BufferUse> uses;
  command.getBufferUses(uses);
  for (const plan::BufferUse &use : uses) {
    Type type = use.buffer.getDefiningOp<plan::BufferOp>().getElementType();
    bool tokens = (type.isInteger(32) || type.isInteger(64)) && isa<plan::SplitTokensOp, plan::EmbeddingBackwardOp, plan::DispatchOp, plan::GroupedMatmulOp, plan::GroupedOuterOp,
                                                                    plan::ExpertLoadOp, plan::SequenceLoadOp, plan::UpdateBiasOp>(op);
    if (!type.isF32() && !type.isBF16() && !tokens) {
      llvm::raw_string_ostream(name) << " on " << type;
      return name;
    }
  }
  auto sizes = [&](auto attention) -> std::string {
    int64_t most = std::max(attention.getHeadDim(), attention.getValueDim());
    return most <= nvgpu::maxHeadDim ? "" : name + " with heads of " + std::to_string(most) + " elements";
  };
  if (auto attention = dyn_cast<plan::AttentionOp>(op))
    return sizes(attention);
  if (auto attention = dyn_cast<plan::AttentionBackwardOp>(op))
    return sizes(attention);
  return "";
}

std::vector<std::string> listLibraryKernels(ModuleOp module) {
  std::set<std::string> names;
  auto text = [](Type type) {
    std::string word;
    llvm::raw_string_ostream(word) << type;
    return word;
  };
  auto typeOf = [](Value buffer) { return buffer.getDefiningOp<plan::BufferOp>().getElementType(); };
  auto sizes = [&](auto op) {
    return (text(typeOf(op.getQ())) + "_" + Twine(op.getHeadDim()) + "_" + Twine(op.getValueDim())).str();
  };
  module.walk([&](plan::CommandInterface command) {
    if (!whyNotOnGpu(command).empty())
      return;
    llvm::TypeSwitch<Operation *>(command)
        .Case([&](plan::AddOp op) { names.insert("mhc_add_" + text(typeOf(op.getDst()))); })
        .Case([&](plan::SplitTokensOp) { names.insert("mhc_split_tokens"); })
        .Case([&](plan::EmbeddingBackwardOp op) {
          names.insert("mhc_embedding_backward_" + text(typeOf(op.getDx())));
        })
        .Case([&](plan::DispatchOp) { names.insert({"mhc_dispatch_count", "mhc_dispatch_offsets", "mhc_dispatch_prefix", "mhc_dispatch_scatter", "mhc_route_check"}); })
        .Case([&](plan::GroupedMatmulOp op) {
          std::string unrounded = typeOf(op.getX()) == typeOf(op.getY()) ? "" : text(typeOf(op.getY())) + "_";
          names.insert(("mhc_grouped_matmul_" + Twine(op.getTransposed() ? "t_" : "") + text(typeOf(op.getX())) + "_" + unrounded + Twine(op.getK()) + "_" + Twine(op.getN())).str());
        })
        .Case([&](plan::GroupedOuterOp op) { names.insert(("mhc_grouped_outer_" + text(typeOf(op.getX())) + "_" + Twine(op.getK()) + "_" + Twine(op.getN())).str()); })
        .Case([&](plan::ExpertLoadOp) { names.insert("mhc_expert_load"); })
        .Case([&](plan::SequenceLoadOp) { names.insert("mhc_sequence_load"); })
        .Case([&](plan::UpdateBiasOp op) { names.insert("mhc_update_bias_" + text(typeOf(op.getCounts()))); })
        .Case([&](plan::GemmOp op) {
          // cuBLASLt multiplies bf16 by bf16 and f32 by f32 (into f32); a large f32 operand beside a bf16 one goes in parts.
          bool a = typeOf(op.getA()).isBF16(), b = typeOf(op.getB()).isBF16(), c = typeOf(op.getC()).isBF16();
          if (a != b || (!a && c && (op.getAccumulate() || op.getD())))
            names.insert("mhc_widen_bf16");
          if (a != b)
            names.insert("mhc_part_bf16");
          if (!(a && b) && c)
            names.insert("mhc_round_bf16");
        })
        .Case([&](plan::AttentionOp op) { names.insert("mhc_attention_" + sizes(op)); })
        .Case([&](plan::AttentionBackwardOp op) {
          names.insert("mhc_attention_dq_" + sizes(op));
          names.insert("mhc_attention_dkv_" + sizes(op));
          names.insert("mhc_attention_delta_" + text(typeOf(op.getQ())) + "_" + std::to_string(op.getValueDim()));
        });
  });
  return {names.begin(), names.end()};
}

} // namespace mlir::mhc
