//===- Report.h - what a plan costs -----------------------------------------===//
#ifndef MHC_PLANNING_REPORT_H
#define MHC_PLANNING_REPORT_H

#include "mhc/Dialect/Plan/IR/PlanDialect.h"

#include "mlir/IR/BuiltinOps.h"

namespace mlir::mhc {

/// Bytes that a launch reads and writes in memory, as an expression of the symbols: each argument with rows once, of a
/// table one row for each row of the launch. Parameters and the partial sums of reductions are not counted: they do not
/// grow with the tokens. Remarks name the same figures.
struct LaunchBytes {
  plan::ExprAttr read, written;
};
LaunchBytes planBytes(plan::LaunchOp launch);

/// Sum of planBytes over an entry's launches (null expressions where it leaves 64 bits).
LaunchBytes planBytes(plan::EntryOp entry);

/// What `mhc-compile --memory` prints: for each entry the size of its arena and its largest buffers. Every symbol of an
/// entry needs a value. `tiles`: rows of a tile of each kernel, by name, for the number of partial sums.
LogicalResult printMemory(ModuleOp module, const llvm::StringMap<int64_t> &symbols,
                          const llvm::StringMap<int64_t> &tiles, raw_ostream &os);

} // namespace mlir::mhc

#endif // MHC_PLANNING_REPORT_H
