//===- CudaLibrary.cpp - library commands on NVIDIA GPUs -------------------===//
//
// Kernels of the package (lib/Codegen/NVGPU/Library*.cpp; names and arguments in docs/design/package.md), cuBLASLt and
// cuDNN.
//
//===----------------------------------------------------------------------===//
#include "hal/cuda/CudaDevice.h"

#include "base/Checked.h"

#include <mhc/Package/Allocator.h>

#include <cstring>

namespace mhcrt {
namespace {

uint64_t bitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

} // namespace

void CudaDevice::startLibrary(const std::string &symbol, int64_t count, std::vector<uint64_t> values) {
  auto [kernel, function] = module.library(symbol);
  if (count > 0)
    start(function, mhc::ceilDivide(count, kernel->tile), kernel->threads, kernel->shared, std::move(values), symbol);
}

void CudaDevice::add(void *to, const void *from, DType type, int64_t count) {
  startLibrary(concat("mhc_add_", name(type)), count, {pointer(from), pointer(to), static_cast<uint64_t>(count)});
}

//===----------------------------------------------------------------------===//
// Matrix products
//===----------------------------------------------------------------------===//

const void *CudaDevice::widened(const void *data, DType type, int64_t count, Slot slot) {
  if (type == DType::F32)
    return data;
  void *target = scratch(slot, count * sizeof(float));
  startLibrary("mhc_widen_bf16", count, {pointer(data), pointer(target), static_cast<uint64_t>(count)});
  return target;
}

/// The product of an f32 and a bf16 operand: the f32 one as three bf16 numbers, which are all of its bits, smallest
/// first. Tensor cores multiply these exactly; how they add, into f32, is theirs. One part is there at a time.
void CudaDevice::gemmInParts(GemmArgs product, void *workspace) {
  const bool ofA = product.typeA == DType::F32;
  const void *&wide = ofA ? product.a : product.b;
  const int64_t count = product.batch * product.k * (ofA ? product.m : product.n);
  const uint64_t whole = pointer(wide);
  wide = scratch(ofA ? WidenedA : WidenedB, count * sizeof(uint16_t));
  product.typeA = product.typeB = DType::BF16;
  for (uint64_t part = 3; part-- > 0;) {
    startLibrary("mhc_part_bf16", count, {whole, pointer(wide), static_cast<uint64_t>(count), part});
    blas->gemm(product, workspace, context.stream);
    product.accumulate = true;
    product.d = nullptr;
  }
}

/// cuBLASLt multiplies operands of one type; with f32 ones the result is f32. Everything else goes through f32, which
/// changes no bit of an operand and leaves one rounding at the end.
void CudaDevice::gemm(const GemmArgs &args) {
  if (args.m == 0 || args.n == 0)
    return;
  if (args.typeC == DType::F64)
    unsupported("gemm of f64");
  const int64_t countC = args.batch * args.m * args.n;
  if (args.k == 0) {
    if (args.d)
      unsupported("gemm of no columns with something to add");
    if (!args.accumulate)
      fillBytes(args.c, 0, countC * byteSize(args.typeC));
    return;
  }
  if (!blas)
    blas = std::make_unique<CublasLt>();
  GemmArgs product = args;
  const bool mixed = args.typeA != args.typeB;
  // Below, to take an operand apart costs more than multiplications by scalar instructions.
  constexpr double largeProduct = 4e9;
  const bool inParts = mixed && static_cast<double>(countC) * static_cast<double>(args.k) >= largeProduct;
  if (mixed || (args.typeA == DType::F32 && args.typeC == DType::BF16)) {
    if (!inParts) {
      product.a = widened(args.a, args.typeA, args.batch * args.m * args.k, WidenedA);
      product.b = widened(args.b, args.typeB, args.batch * args.k * args.n, WidenedB);
      product.typeA = product.typeB = DType::F32;
    }
    if (args.d)
      product.d = widened(args.d, args.typeC, countC, WidenedD);
    product.typeC = DType::F32;
    if (args.typeC == DType::BF16) {
      product.c = scratch(UnroundedC, countC * sizeof(float));
      if (args.accumulate)
        widened(args.c, args.typeC, countC, UnroundedC);
    }
  }
  void *workspace = scratch(Workspace, CublasLt::workspaceBytes);
  if (inParts)
    gemmInParts(product, workspace);
  else
    blas->gemm(product, workspace, context.stream);
  if (product.typeC != args.typeC)
    startLibrary("mhc_round_bf16", countC, {pointer(product.c), pointer(args.c), static_cast<uint64_t>(countC)});
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

/// A block for each tile of each of `blockHeads` heads of each sequence.
void CudaDevice::startAttention(const std::string &symbol, const AttentionArgs &args, int64_t blockHeads,
                                std::vector<const void *> pointers) {
  int64_t tiles = mhc::ceilDivide(args.length, module.library(symbol).first->tile);
  int64_t blocks = checkedMultiply(checkedMultiply(tiles, blockHeads, "attention"), args.sequences, "attention");
  std::vector<uint64_t> values;
  for (const void *address : pointers)
    values.push_back(pointer(address));
  for (int64_t value : {args.length, args.heads, args.kvHeads})
    values.push_back(value);
  values.push_back(bitsOf(static_cast<float>(args.scale)));
  values.push_back(blockHeads);
  auto [kernel, function] = module.library(symbol);
  if (blocks > 0)
    start(function, blocks, kernel->threads, kernel->shared, std::move(values), symbol);
}

bool CudaDevice::attentionByCudnn(CudnnAttention::Pass pass, const AttentionArgs &args) {
  if (!cudnn) {
    int major = 0;
    cuda::check(driver.deviceGetAttribute(&major, cuda::AttributeComputeMajor, context.device), "device 0");
    cudnn = std::make_unique<CudnnAttention>(context.stream, major);
  }
  std::optional<uint64_t> bytes = cudnn->prepare(pass, args);
  if (bytes)
    cudnn->run(pass, args, scratch(Workspace, *bytes));
  return bytes.has_value();
}

void CudaDevice::attention(const AttentionArgs &args) {
  if (attentionByCudnn(CudnnAttention::Pass::Forward, args))
    return;
  startAttention(concat("mhc_attention_", name(args.type), "_", args.headDim, "_", args.valueDim), args, args.heads,
                 {args.q, args.k, args.v, args.out, args.lse});
}

void CudaDevice::attentionBackward(const AttentionArgs &args) {
  const int64_t rows = args.sequences * args.length * args.heads;
  if (rows == 0 || attentionByCudnn(CudnnAttention::Pass::Backward, args))
    return;
  const void *deltas = scratch(Deltas, rows * sizeof(float));
  startLibrary(concat("mhc_attention_delta_", name(args.type), "_", args.valueDim), rows,
               {pointer(args.dout), pointer(args.out), pointer(deltas), static_cast<uint64_t>(rows)});
  const std::string sizes = concat(name(args.type), "_", args.headDim, "_", args.valueDim);
  startAttention("mhc_attention_dq_" + sizes, args, args.heads,
                 {args.q, args.k, args.v, args.dout, args.lse, deltas, args.dq});
  startAttention("mhc_attention_dkv_" + sizes, args, args.kvHeads,
                 {args.q, args.k, args.v, args.dout, args.lse, deltas, args.dk, args.dv});
}

//===----------------------------------------------------------------------===//
// Tokens
//===----------------------------------------------------------------------===//

/// A wrong token is found on the device, and reported by synchronize(): the status word becomes the least of
/// place << 32 | token, where place counts all the tokens of the call's input.
void CudaDevice::splitTokens(const SplitTokensArgs &args) {
  startLibrary("mhc_split_tokens", args.rows * args.columns,
               {pointer(args.tokens), pointer(args.inputs), pointer(args.targets), pointer(status.data()),
                static_cast<uint64_t>(args.rows), static_cast<uint64_t>(args.columns),
                static_cast<uint64_t>(args.vocab), static_cast<uint64_t>(args.firstRow)});
}

void CudaDevice::embeddingBackward(const EmbeddingBackwardArgs &args) {
  if (args.typeOut != DType::F32)
    unsupported("embedding_backward of f64");
  if (!args.accumulate)
    fillBytes(args.out, 0, args.vocab * args.channels * sizeof(float));
  startLibrary(concat("mhc_embedding_backward_", name(args.typeDx)), args.count,
               {pointer(args.tokens), pointer(args.dx), pointer(args.out), static_cast<uint64_t>(args.count),
                static_cast<uint64_t>(args.channels), static_cast<uint64_t>(args.vocab)});
}

} // namespace mhcrt
