//===- PlanRequest.h - what a kernel's plan is to keep to -------*- C++ -*-===//
#ifndef MHC_CODEGEN_NVGPU_PLANREQUEST_H
#define MHC_CODEGEN_NVGPU_PLANREQUEST_H

#include "mhc/Dialect/Mhc/IR/MhcDialect.h"

#include <string>

namespace mlir::mhc::nvgpu {

/// A planner chooses what nobody has asked for. What is asked for it takes as it is, or refuses.
struct PlanRequest {
  ScheduleAttr asked; ///< fields of a schedule; null: nothing
  /// Of the target (#mhc.target).
  int64_t clusterSize = 16, gangSize = 64, sharedBytes = 227 * 1024;

  /// Of a refusal: why, and which field of `asked` stands against it ("": the kernel itself).
  std::string why, field;

  bool has(StringRef name) const { return asked && asked.getFields().contains(name); }
  int64_t pick(StringRef name, int64_t otherwise) const { return asked ? asked.getNumber(name, otherwise) : otherwise; }

  bool refuse(const Twine &reason) {
    why = reason.str();
    field.clear();
    return false;
  }
  bool refuse(StringRef name, const Twine &reason) {
    why = reason.str();
    field = name.str();
    return false;
  }
  /// Registers of a thread as setmaxnreg takes them.
  bool takeRegisters(StringRef name, int64_t &registers) {
    registers = pick(name, registers);
    return (registers >= 24 && registers <= 248 && registers % 8 == 0) || refuse(name, "expected a multiple of 8 from 24 to 248, but got " + Twine(registers));
  }
};

} // namespace mlir::mhc::nvgpu

#endif // MHC_CODEGEN_NVGPU_PLANREQUEST_H
