//===- CudaExperts.cpp - dispatch and grouped products on NVIDIA GPUs ------===//
//
// Kernels of the package alone (lib/Codegen/NVGPU/LibraryDispatch.cpp, LibraryGrouped.h). Numbers of rows a group are
// on the device and stay there: launches are as large as they could become.
//
//===----------------------------------------------------------------------===//
#include "hal/cuda/CudaDevice.h"

#include "base/Checked.h"

#include <mhc/Package/Allocator.h>

#include <algorithm>
#include <bit>

namespace mhcrt {

void CudaDevice::startBlocks(const std::string &symbol, int64_t blocks, std::vector<uint64_t> values) {
  auto [kernel, function] = module.library(symbol);
  if (blocks > 0)
    start(function, blocks, kernel->threads, kernel->shared, std::move(values), symbol);
}

void CudaDevice::dispatch(const DispatchArgs &args) {
  const int64_t count = checkedMultiply(args.tokens, args.choices, "dispatch");
  if (count > INT32_MAX)
    fail("dispatch: expected at most ", INT32_MAX, " choices of experts, but got ", args.tokens, " * ", args.choices);
  startLibrary("mhc_route_check", count, {pointer(args.index), pointer(status.data()), static_cast<uint64_t>(count), static_cast<uint64_t>(args.choices)});
  // Short pieces are fast; longer ones keep the table below the choices, once there are enough for all multiprocessors,
  // and its rows short.
  constexpr int64_t unit = 256, enough = 512, most = 2048;
  const int64_t wanted = std::min(mhc::ceilDivide(args.experts, unit), mhc::ceilDivide(count, unit * enough));
  const int64_t piece = unit * std::max<int64_t>({1, wanted, mhc::ceilDivide(count, unit * most)});
  const int64_t blocks = mhc::ceilDivide(count, piece);
  void *memory = scratch(DispatchTable, checkedMultiply(args.experts, blocks, "dispatch") * sizeof(int32_t));
  const uint64_t table = pointer(memory), experts = args.experts, tokens = args.tokens;
  const uint64_t kept = std::bit_cast<uint64_t>(args.capacity * static_cast<double>(args.tokens));
  const uint64_t pieces = blocks, length = piece, all = count;
  startBlocks("mhc_dispatch_count", blocks, {pointer(args.index), table, all, experts, pieces, length});
  startBlocks("mhc_dispatch_prefix", args.experts, {table, pointer(args.counts), pieces});
  startBlocks("mhc_dispatch_offsets", 1,
              {pointer(args.counts), pointer(args.offsets), pointer(args.dropped), experts, tokens, kept});
  startBlocks("mhc_dispatch_scatter", blocks,
              {pointer(args.index), table, pointer(args.offsets), pointer(args.gather), pointer(args.order),
               pointer(args.reverse), all, static_cast<uint64_t>(args.choices), experts, pieces, length});
}

namespace {
constexpr int64_t tileRows = 128;
}

/// A tile of 128 rows has rows of one group, so that each group may leave one partly empty; those of no group are one
/// more.
void CudaDevice::groupedMatmul(const GroupedMatmulArgs &args) {
  const std::string symbol =
      concat("mhc_grouped_matmul_", args.transposed ? "t_" : "", name(args.type), args.typeY == args.type ? "" : "_f32", "_", args.k, "_", args.n);
  const int64_t partly = checkedMultiply(tileRows - 1, args.groups + 1, symbol);
  const int64_t tiles = std::min(args.rows, checkedAdd(args.rows, partly, symbol) / tileRows);
  const int64_t columns = mhc::ceilDivide(args.n, module.library(symbol).first->tile);
  startBlocks(symbol, checkedMultiply(tiles, columns, symbol),
              {pointer(args.x), pointer(args.w), pointer(args.offsets), pointer(args.y),
               static_cast<uint64_t>(args.rows), static_cast<uint64_t>(args.groups)});
}

void CudaDevice::groupedOuter(const GroupedOuterArgs &args) {
  if (args.typeOut != DType::F32)
    unsupported("grouped_outer of f64");
  const std::string symbol = concat("mhc_grouped_outer_", name(args.type), "_", args.k, "_", args.n);
  const int64_t columns = mhc::ceilDivide(args.n, module.library(symbol).first->tile);
  const int64_t tiles = checkedMultiply(mhc::ceilDivide(args.k, tileRows), columns, symbol);
  startBlocks(symbol, checkedMultiply(args.groups, tiles, symbol),
              {pointer(args.x), pointer(args.y), pointer(args.offsets), pointer(args.out), args.accumulate});
}

} // namespace mhcrt
