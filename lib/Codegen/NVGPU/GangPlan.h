//===- GangPlan.h - boundaries of backward in family group ------*- C++ -*-===//
//
// The second form of family `group`: a gang of K = C / 128 blocks shares a tile of 16 tokens, each block owns 128 channels of all streams. The blocks
// are no cluster, whose size would bound C: they exchange through memory, and run at a time. It takes scheduled kernels of this form:
//
//   narrow  (optional) coefficients of before
//   wide    rows are mixed and rounded; dot products of rows
//   narrow  from these, and sums over the tokens
//   wide    rows with the new coefficients, which are stored; the product with a parameter's transposed; the parameter's gradient; dot products
//   narrow  (optional) from these, stored
//
// or only the last two, which exchange nothing that rows wait for. That is a boundary of backward: x' again, dh_pre; the coefficients' gradients; dx,
// df, dphi, dh_res, dh_post; back through the manifold. Where the coefficients' gradients are known before the rows (`delayed`) there is one wide phase,
// with the narrow one in front of it: the same roles, without an exchange in between. Whatever else a kernel has, another form or family takes it; the
// request says what stood against it.
//
//===----------------------------------------------------------------------===//
#ifndef MHC_CODEGEN_NVGPU_GANGPLAN_H
#define MHC_CODEGEN_NVGPU_GANGPLAN_H

#include "PlanRequest.h"

#include "mhc/Analysis/GroupSlice.h"
#include "mhc/Dialect/Mhc/IR/MhcRowOps.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"

#include <optional>

namespace mlir::mhc::nvgpu {

struct GangPlan {
  /// Of a tile; of a block; of a box (128 bytes of bf16, which the hardware swizzles). A stream of a box is `boxBytes`.
  static constexpr int64_t tokens = GroupSlice::tokens, slice = GangSlice::channels, boxChannels = 64, boxes = slice / boxChannels, boxBytes = tokens * boxChannels * 2,
                           streamBytes = boxes * boxBytes;
  /// Streams that products with phi and of rows are made for.
  static constexpr int64_t streams = GangSlice::streams;
  /// Warps: the first wide phase; the second; products by tensor cores; two that exchange, one for late sums, one that moves rows.
  static constexpr int64_t firstWarps = 4, secondWarps = 4, productWarps = 4, exchangeWarps = 2, serviceWarps = 4, threads = 512;
  /// Registers of a thread at the start, and by role: their sum over the warps is the same.
  static constexpr int64_t registers = 128;
  int64_t firstRegisters = 80, secondRegisters = 200, productRegisters = 144, serviceRegisters = 88;
  /// Tiles whose sums may be under way, at least twice the kept stages; slots of what the narrow code gives.
  static constexpr int64_t exchanges = 16, givenStages = 3;

  /// loads and late may be null, first and narrow both. Without an exchange first and second are one phase, narrow and loads too.
  PhaseOp loads, first, narrow, second, late;
  int64_t channels = 0, blocks = 0;
  bool interleaved = false; ///< rows of several streams are [C, streams]: boxes of 64 elements follow each other, 4 times as many

  /// Rings of stages of rows: what the first phase loads, what only the second one loads, and what the first one computes for the second.
  enum RingOf { early, other, kept, ringCount };
  int64_t stages[ringCount] = {0, 0, 0}, stageStreams[ringCount] = {0, 0, 0}, ringAt[ringCount] = {0, 0, 0}, loadedBytes[ringCount] = {0, 0, 0};
  struct Home {
    RingOf ring;
    int64_t first, streams; ///< within a stage
  };
  /// Where wide values of both phases lie. What is stored takes the place of a load that nobody needs any more.
  llvm::MapVector<Value, Home> homes;
  SmallVector<RowLoadOp> rowLoads;              ///< one of each argument
  SmallVector<RowStoreOp> rowStores;            ///< of the second phase
  SmallVector<unsigned> maps;                   ///< arguments of rowLoads, then of rowStores
  SmallVector<Operation *> firstOps, secondOps; ///< elementwise code of the phases
  SmallVector<Value> keptFirst;                 ///< computed in the first phase and kept
  SmallVector<Value> keptSecond;                ///< the same values in the second phase

  /// Products of rows, and the number of their first sum.
  SmallVector<std::pair<RowDotOp, int64_t>> dots, lateDots;
  int64_t sumCount = 0, lateCount = 0;
  bool lateReadsKept = false;

  RowProjectTOp projectT; ///< null: none
  RowOuterTokensOp outer; ///< null: none
  /// Of phi: columns, and pieces of 8 of them. Groups are streams that have a product of their own with the same phi (HC), or one of all.
  int64_t columns = 0, pieces = 0, groups = 1;
  Value given; ///< the narrow value that both multiply with
  /// Other narrow values that the second phase takes from the narrow one, by their first word.
  llvm::MapVector<Value, int64_t> results;
  /// Coefficients of before that wide code takes; the rows that they are or follow from, and those that the narrow phase takes, by bytes.
  llvm::SetVector<Value> before;
  llvm::MapVector<Operation *, int64_t> coefficients, fetched;
  int64_t resultCount = 0;
  SmallVector<std::pair<RowSumTokensOp, int64_t>> sums; ///< over the tokens, by their first number
  int64_t totals = 0;

  /// Shared memory, in bytes: beside the rings.
  int64_t coefficientBytes = 0, coefficientsAt = 0, fetchedBytes = 0, fetchedAt = 0, givenBytes = 0, givenAt = 0, totalsAt = 0, finishedAt = 0, knownAt = 0,
          barriers = 0, lateMemoryAt = 0, lateMemoryBytes = 0, sharedBytes = 0;
  /// The workspace, which begins as ones: sums under way, then late sums of so many tiles.
  int64_t lateTiles = 0, exchangeBytes = 0, workspace = 0;
  /// A block waits before a tile's late sums until it has added up its own share of those so many tiles before.
  int64_t lateLag = 0;

  int64_t allPieces() const { return groups * pieces; }
  /// Rows of phi; steps of 16 rows of its gradient that a warp of the products has.
  int64_t phiRows() const { return groups == 1 ? streams * channels : channels; }
  int64_t outerSteps() const { return slice * (groups == 1 ? streams : 1) / 16 / productWarps; }
  bool isOneWide() const { return first && first == second; }
  /// Whether rows wait for sums of other blocks.
  bool waits() const { return sumCount > 0; }
  /// Bytes of a tile's rows of coefficients: they are copied as whole 16 bytes.
  static int64_t rowBytesOf(RowLoadOp load) { return tokens * coefficientBytesOf(load); }
  /// Bytes of one half (high or low parts) of a slot's coefficients: 4 pieces of 8 columns a token.
  static constexpr int64_t partBytes = tokens * 64;
  /// Bytes of a block's late sums of a tile.
  int64_t lateBytes() const { return tokens * lateCount * 4; }
  /// Bytes of what late narrow code keeps, of the tokens of a tile: [element][token].
  static int64_t lateBytesOf(MemRefType type) { return type.getNumElements() * tokens * 4; }

  /// All that was chosen, as the kernel's schedule: a request for it gives the same plan again.
  ScheduleAttr schedule(MLIRContext *context) const;
};

/// The plan of a kernel that has been cut into phases, or nothing and why (in the request).
std::optional<GangPlan> planGang(KernelOp kernel, PlanRequest &request);

} // namespace mlir::mhc::nvgpu

#endif // MHC_CODEGEN_NVGPU_GANGPLAN_H
