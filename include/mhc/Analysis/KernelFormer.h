//===- KernelFormer.h - row ops as one kernel -------------------*- C++ -*-===//
#ifndef MHC_ANALYSIS_KERNELFORMER_H
#define MHC_ANALYSIS_KERNELFORMER_H

#include "mhc/Analysis/Rows.h"
#include "mhc/Dialect/Mhc/IR/MhcRowOps.h"

namespace mlir::mhc {

/// A kernel, and the values that a launch of it takes and gives, in the order of its arguments.
struct FormedKernel {
  KernelOp kernel;
  SmallVector<Value> inputs, results;
};

/// Writes row ops of one block as one kernel named `_`, at the builder's place. `outside`: their results that are used elsewhere. The ops stay as they are.
FormedKernel formKernel(OpBuilder &b, ArrayRef<Operation *> ops, ArrayRef<Value> outside);

/// True for a kernel (before it is cut into phases) whose every element depends on the same element of its inputs, and on numbers of its row.
bool isElementwise(KernelOp kernel);

/// True for a kernel that may write over its inputs, row over row: it is elementwise, or sums beside that over the rows which it goes over once.
bool updatesInPlace(KernelOp kernel);

/// What the kernel moves for each token: the truth that remarks, plans and reports share.
Traffic kernelTraffic(KernelOp kernel);

} // namespace mlir::mhc

#endif // MHC_ANALYSIS_KERNELFORMER_H
