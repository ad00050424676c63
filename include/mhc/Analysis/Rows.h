//===- Rows.h - which ops share their rows, and what they move --------------===//
#ifndef MHC_ANALYSIS_ROWS_H
#define MHC_ANALYSIS_ROWS_H

#include "mhc/Dialect/Mhc/IR/MhcOps.h"

#include "mlir/IR/Block.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/SetVector.h"

namespace mlir::mhc {

/// Rows of a value as a rational multiple of the tokens; ops may share a kernel when their rows agree.
/// `mhc.view` changes them; arenas and tables have rows of their own.
class RowDomains {
public:
  explicit RowDomains(Block &block);
  /// A key that is equal for values with as many rows; 0 for values without rows.
  int64_t of(Value value) const { return domains.lookup(value); }
  /// The domain of a row op's results and row operands; 0 if it has none.
  int64_t of(Operation *op) const;

private:
  llvm::DenseMap<Value, int64_t> domains;
};

/// True for ops that become row programs: row ops and fusions of them.
bool isRowOp(Operation *op);
/// True for row ops (not fusions) whose row operands and results are all narrow.
bool isNarrowOp(Operation *op);

/// What a set of row ops of one block reads from and writes to memory for each token when it runs as one kernel.
struct Traffic {
  int64_t read = 0, written = 0;
  int64_t total() const { return read + written; }
};
Traffic kernelTraffic(const llvm::SetVector<Operation *> &ops);
/// Values from outside that the ops use, in the order of first use, and results that are used outside.
SmallVector<Value> externalInputs(const llvm::SetVector<Operation *> &ops);
SmallVector<Value> externalResults(const llvm::SetVector<Operation *> &ops);

/// Wraps ops of one block into a fusion of `kind`; the block is in topological order afterwards.
FusionOp makeFusion(const llvm::SetVector<Operation *> &ops, StringRef kind);
/// Takes the block's fusions apart again.
void dissolveFusions(Block &block);

} // namespace mlir::mhc

#endif // MHC_ANALYSIS_ROWS_H
