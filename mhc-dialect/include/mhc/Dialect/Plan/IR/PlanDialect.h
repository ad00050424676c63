//===- PlanDialect.h - the plan dialect -------------------------------------===//
#ifndef MHC_DIALECT_PLAN_IR_PLANDIALECT_H
#define MHC_DIALECT_PLAN_IR_PLANDIALECT_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/StringMap.h"

#include <optional>
#include <string>

namespace mlir::mhc {
class KernelOp;
}

#include "mhc/Dialect/Plan/IR/PlanDialect.h.inc"
#include "mhc/Dialect/Plan/IR/PlanEnums.h.inc"

#define GET_TYPEDEF_CLASSES
#include "mhc/Dialect/Plan/IR/PlanTypes.h.inc"

#define GET_ATTRDEF_CLASSES
#include "mhc/Dialect/Plan/IR/PlanAttributes.h.inc"

namespace mlir::plan {
/// What a command does to a buffer. A reduction that accumulates reads and writes.
struct BufferUse {
  Value buffer;
  bool reads, writes;
};
namespace detail {
/// Commands work on buffers of their entry.
LogicalResult verifyCommand(Operation *command);
} // namespace detail
} // namespace mlir::plan

#include "mhc/Dialect/Plan/IR/PlanInterfaces.h.inc"

#define GET_OP_CLASSES
#include "mhc/Dialect/Plan/IR/PlanOps.h.inc"

namespace mlir::plan {

/// True if the kernel reads or writes a row of this argument for each of its rows (and not rows of the argument's own,
/// by index or position).
bool hasTokenRows(mhc::KernelOp kernel, unsigned argument);

/// Commands in preorder, the order that live ranges count in, with the number of the last command inside each (its own
/// number unless it is a loop).
struct NumberedCommand {
  CommandInterface command;
  int64_t index, last;
};
SmallVector<NumberedCommand> numberCommands(EntryOp entry);

/// The first and last command between which each temporary holds a value. A value that comes from outside a loop, or
/// that an iteration reads before writing it, lives over the whole loop.
struct LiveRange {
  int64_t first, last;
};
DenseMap<Value, LiveRange> computeLiveRanges(EntryOp entry);

} // namespace mlir::plan

#endif // MHC_DIALECT_PLAN_IR_PLANDIALECT_H
