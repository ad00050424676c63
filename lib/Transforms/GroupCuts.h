//===- GroupCuts.h - what boundaries in groups leave to others --*- C++ -*-===//
//
// Where a target has boundaries as groups of blocks (schedule family `group`, docs/design/group.md), a kernel has one exchange of sums, and reaches its rows by their number. What else stands
// between two layers is then a kernel of its own.
//
//===----------------------------------------------------------------------===//
#ifndef MHC_TRANSFORMS_GROUPCUTS_H
#define MHC_TRANSFORMS_GROUPCUTS_H

#include "mhc/Dialect/Mhc/IR/MhcOps.h"

namespace mlir::mhc {

/// On ops that were cloned to rebuild a stream: they belong to the kernel that reads it.
constexpr llvm::StringLiteral rebuiltMark = "mhc.rebuilt";
/// On clones of the forward pass that backward runs again (mhc-differentiate): they run where they are read, or their memory would live from forward to backward after all.
constexpr llvm::StringLiteral recomputedMark = "mhc.recomputed";

/// The module's targets (`mhc.targets`): one program serves all of them.
SmallVector<TargetAttr> targetsOf(Operation *op);
/// Whether one of them runs backward's boundaries in groups; those of streams of this type.
bool hasGangs(Operation *op);
bool hasGangs(Operation *op, Type streams);

/// Whether `op` is to run in a kernel after that of `def`, whose result it reads, though one could hold both.
bool standsApart(Operation *op, Operation *def);

} // namespace mlir::mhc

#endif // MHC_TRANSFORMS_GROUPCUTS_H
