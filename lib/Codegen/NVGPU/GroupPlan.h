//===- GroupPlan.h - which kernels family group takes, and how --*- C++ -*-===//
//
// Family `group`: a group of K blocks shares a tile of 16 tokens, each block owns S = C / K channels of all streams,
// and one persistent grid of groups runs over the tiles. A group is a cluster, which exchanges through its shared memory,
// or any number of blocks, which exchange through rings in memory. It takes scheduled kernels of this form:
//
//   narrow  (optional) loads of the tokens' coefficients
//   wide    rows are loaded, mixed, rounded, stored; a projection and sums over the channels
//   narrow  coefficients from these sums
//   wide    (optional) the rows of before, with the new coefficients
//
// which is a boundary of hyper-connections: combine, norm and projection, coefficients, aggregate of the next sublayer.
// Whatever else a kernel has, family `simple` takes it; the request says what stood against it.
//
//===----------------------------------------------------------------------===//
#ifndef MHC_CODEGEN_NVGPU_GROUPPLAN_H
#define MHC_CODEGEN_NVGPU_GROUPPLAN_H

#include "PlanRequest.h"

#include "mhc/Analysis/GroupSlice.h"
#include "mhc/Dialect/Mhc/IR/MhcRowOps.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/Support/MathExtras.h"

#include <optional>

namespace mlir::mhc::nvgpu {

struct GroupPlan {
  /// Tokens of a tile, channels of a box (128 bytes of bf16, which the hardware swizzles), bytes of a box.
  static constexpr int64_t tokens = GroupSlice::tokens, boxChannels = GroupSlice::box, boxBytes = tokens * boxChannels * 2;
  /// Warps: elementwise code of the first wide phase; projection and the second wide phase; coefficients; one loads.
  static constexpr int64_t postWarps = 8, projectWarps = GroupSlice::warps, coefficientWarps = 3, threads = 20 * 32;
  /// Registers of a thread at the start, of which the roles get more or fewer; postWarps, projectWarps and the four others share 20 * 96.
  static constexpr int64_t registers = 96;
  /// Exchange buffers: tiles whose sums may be under way at a time, at least two more than the lag.
  static constexpr int64_t exchanges = 4;
  /// Tokens whose coefficients a warp computes to the end at a time.
  static constexpr int64_t lateTokens = 16;

  /// How a group exchanges and what it has under way.
  struct Choice {
    bool ring = false;                    ///< exchange through memory instead of the cluster's shared memory
    int64_t slice = 0, stages = 0, lag = 0; ///< S; of the ring of rows; tiles between projection and second phase
  };

  PhaseOp loads, first, narrow, second; ///< loads and second may be null
  Choice choice;
  int64_t channels = 0; ///< C
  int64_t blocks = 0;   ///< K
  int64_t boxes = 0;    ///< S / 64, of a stream
  int64_t interleaved = 0; ///< rows of more streams than one are [C, streams], of so many streams; 0: [streams, C]
  int64_t share = 0;    ///< tokens whose coefficients a block finishes; with more than 16 blocks some have none
  /// Of the ring for what the first phase alone reads: it is free again long before the tile is done.
  int64_t passingStages = 2;

  /// Wide values that lie in a stage: their first stream in it. What is computed takes the place of a load that nobody needs any more.
  llvm::MapVector<Value, int64_t> homes;
  /// The same of loads that lie in a stage of the other ring.
  llvm::MapVector<Value, int64_t> passing;
  SmallVector<RowLoadOp> rowLoads;                      ///< wide rows of the first phase, by tensor map
  llvm::MapVector<Operation *, int64_t> coefficientLoads; ///< narrow rows of the first narrow phase: where in a stage of the other ring
  RowProjectOp project;                                 ///< null: sums only
  int64_t columns = 0, pieces = 0, steps = 0;           ///< of phi; pieces of 8 columns; times 16 rows a warp
  int64_t apart = 1;                                    ///< streams that are each multiplied by phi, which has C rows then; 1: the whole row is
  int64_t postRegisters = 0, projectRegisters = 0, serviceRegisters = 0; ///< of a thread, by role
  SmallVector<RowReduceOp> reduces;
  llvm::MapVector<Operation *, int64_t> sums; ///< of projection (whole pieces of 8, of streams that are apart one after the other) and reduces: the first one's number
  int64_t sumCount = 0, reduced = 0;          ///< with what is left free between; of the reduces alone
  int64_t sumWords = 0;                       ///< of a token where they are exchanged: whole sectors of memory
  SmallVector<Value> results;                 ///< narrow values that the second wide phase takes from the coefficients
  int64_t resultCount = 0, resultWords = 0;   ///< as they are; in memory
  SmallVector<unsigned> maps;                 ///< arguments that are reached by tensor maps

  /// Shared memory, in bytes.
  int64_t stageBytes = 0, passingBytes = 0;
  int64_t passingRing, partialSums, squares, exchanged, scratch, pending, returned, barriers, sharedBytes;

  /// Cluster: bytes of the sums that a tile brings to a block, and of the coefficients that come back.
  int64_t exchangeBytes() const { return blocks * share * sumWords * 4; }
  int64_t resultBytes() const { return tokens * resultCount * 4; }
  /// Ring: bytes of one place for sums, [token][block][sum], and for coefficients, [token][word]; of all places of a group.
  int64_t sumPlace() const { return tokens * blocks * sumWords * 4; }
  int64_t resultPlace() const { return tokens * resultWords * 4; }
  int64_t workspace() const { return exchanges * (sumPlace() + resultPlace()); }
  /// Streams of a warp, if they are projected apart: every second one.
  int64_t streamsOfWarp() const { return llvm::divideCeil(apart, 2); }
  int64_t projected() const { return pieces * 8 * apart; } ///< sums of a token
  /// Sums of partials of the warps: [half by the tile's number][warp][token][stream of the warp][column].
  int64_t partialRow() const { return streamsOfWarp() * pieces * 8 * 4; }
  int64_t partialBytes() const { return projectWarps * tokens * partialRow(); }
  /// Sums of a token that await the end of its coefficients: a row of so many bytes, which eight lanes read without conflicts; tiles of a warp.
  int64_t pendingRow() const { return (sumWords + 4) * 4; }
  int64_t pendingTiles() const { return lateTokens / share; }

  /// All that was chosen, as the kernel's schedule: a request for it gives the same plan again.
  ScheduleAttr schedule(MLIRContext *context) const;
};

/// The plan of a kernel that has been cut into phases, or nothing and why (in the request).
std::optional<GroupPlan> planGroup(KernelOp kernel, PlanRequest &request);

} // namespace mlir::mhc::nvgpu

#endif // MHC_CODEGEN_NVGPU_GROUPPLAN_H
