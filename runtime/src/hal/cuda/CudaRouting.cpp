//===- CudaRouting.cpp - counts of experts and the selection bias ----------===//
//
// Kernels of the package alone (lib/Codegen/NVGPU/LibraryRouting.cpp).
//
//===----------------------------------------------------------------------===//
#include "hal/cuda/CudaDevice.h"

#include <bit>

namespace mhcrt {

void CudaDevice::expertLoad(const ExpertLoadArgs &args) {
  if (args.typeShare != DType::F32)
    unsupported("expert_load of f64");
  startBlocks("mhc_expert_load", 1,
              {pointer(args.counts), pointer(args.previous), pointer(args.share), pointer(args.total), static_cast<uint64_t>(args.experts)});
}

void CudaDevice::sequenceLoad(const SequenceLoadArgs &args) {
  if (args.typeShare != DType::F32)
    unsupported("sequence_load of f64");
  startBlocks("mhc_sequence_load", args.sequences,
              {pointer(args.index), pointer(args.share), static_cast<uint64_t>(args.length), static_cast<uint64_t>(args.choices), static_cast<uint64_t>(args.experts)});
}

void CudaDevice::updateBias(const UpdateBiasArgs &args) {
  if (args.type != DType::F32)
    unsupported("update_bias of f64");
  startBlocks(concat("mhc_update_bias_", name(args.typeCounts)), args.rows,
              {pointer(args.bias), pointer(args.counts), pointer(args.factor), pointer(args.out), static_cast<uint64_t>(args.experts),
               std::bit_cast<uint32_t>(static_cast<float>(args.rate))});
}

} // namespace mhcrt
