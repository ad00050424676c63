//===- Schedules.h - how kernels may be run, and what that costs -*- C++ -*-===//
//
// docs/design/schedules.md. A schedule is data: a family and its fields (#mhc.schedule). A kernel's schedule is what somebody has asked for, the rest as
// the family's planner chooses; what cannot be is refused with the field that stands against it.
//
//===----------------------------------------------------------------------===//
#ifndef MHC_CODEGEN_SCHEDULES_H
#define MHC_CODEGEN_SCHEDULES_H

#include "mhc/Dialect/Mhc/IR/MhcRowOps.h"

#include <optional>
#include <string>
#include <vector>

namespace mlir::mhc {

/// On a kernel before it has a schedule: the fields that are asked for, and where each was written (locations by name; `family` is always there).
constexpr StringLiteral requestedAttr = "mhc.requested", requestedAtAttr = "mhc.requested_at";
/// On a kernel that is another schedule of one: that one's name.
constexpr StringLiteral variantOfAttr = "mhc.variant_of";

/// What a kernel computes, whatever its name is: 16 hexadecimal digits. Of a kernel before it is cut into phases.
std::string kernelStructure(KernelOp kernel);
/// Its largest row, "4x2560xbf16"; "" for kernels without wide rows.
std::string kernelShape(KernelOp kernel);

/// Families that the kernels of a target may have.
bool isScheduleFamily(StringRef family);

struct ScheduleRefusal {
  std::string why;
  std::string field; ///< of what was asked for; "": the kernel itself
};

/// What schedules are chosen for.
struct ScheduleContext {
  StringRef family;  ///< cpu; on GPUs simple, or group where the kernel's form allows it
  TargetAttr target;
};

/// The complete schedule of a kernel that has been cut into phases: `asked` (may be null) and the planners' choice of the rest. Nothing where what was
/// asked for cannot be. `whyNot`: why a kernel that might have been of family group is not (untouched where it is).
std::optional<ScheduleAttr> chooseSchedule(KernelOp kernel, const ScheduleContext &context, ScheduleAttr asked, ScheduleRefusal &refusal, std::string *whyNot = nullptr);

/// At most `most` schedules of a kernel: chooseSchedule's own first, whatever the cost model says of it, then the others that the cost model likes best.
SmallVector<ScheduleAttr> listSchedules(KernelOp kernel, const ScheduleContext &context, ScheduleAttr asked, size_t most);

/// What a kernel does for each token, and for its parameters once.
struct KernelWork {
  double bytes = 0;          ///< of rows, read and written
  double elementwise = 0;    ///< operations on channels, dot products of rows among them
  double products = 0;       ///< multiply-adds with parameters of few columns (projection, its transposed, its gradient)
  double narrow = 0;         ///< operations of narrow code
  double parameterBytes = 0; ///< that each tile takes from a cache
};
KernelWork workOf(KernelOp kernel);

/// The cost model: seconds that `tokens` tokens take. Of the kernel as it has been cut into phases.
double estimateSeconds(KernelOp kernel, ScheduleAttr schedule, TargetAttr target, double tokens);

/// A schedule for people.
struct ScheduleRole {
  std::string name;
  int64_t warps;
  int64_t registers; ///< of a thread; 0: what ptxas gives
};
std::vector<ScheduleRole> rolesOf(ScheduleAttr schedule);
/// What lies where while a tile is worked on.
std::string placesOf(KernelOp kernel, ScheduleAttr schedule);

} // namespace mlir::mhc

#endif // MHC_CODEGEN_SCHEDULES_H
