//===- PlanRequest.h - what a kernel's plan is to keep to -------*- C++ -*-===//
#ifndef MHC_CODEGEN_NVGPU_PLANREQUEST_H
#define MHC_CODEGEN_NVGPU_PLANREQUEST_H

#include "mhc/Dialect/Mhc/IR/MhcRowOps.h"

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

/// Bytes of a token's coefficients as they lie in memory.
inline int64_t coefficientBytesOf(RowLoadOp load) {
  auto type = cast<NarrowType>(load.getResult().getType());
  return type.getNumElements() * type.getElementType().getIntOrFloatBitWidth() / 8;
}

/// A coefficient of before that is at hand for wide code: a row of f32 or bf16 (given to `take`), a parameter, or what follows from these by so few operations that each
/// thread makes it itself: constants, what is rounded.
inline bool isAtHand(Value narrow, function_ref<void(RowLoadOp)> take) {
  constexpr int64_t fewOperations = 64;
  Operation *op = narrow.getDefiningOp();
  if (auto load = dyn_cast_or_null<RowLoadOp>(op)) {
    if (load.getAccess() != Access::row)
      return load.getAccess() == Access::uniform;
    Type element = cast<NarrowType>(narrow.getType()).getElementType();
    if (!element.isF32() && !element.isBF16())
      return false;
    take(load);
    return true;
  }
  if (auto code = dyn_cast_or_null<RowNarrowOp>(op)) {
    Block &body = code.getBody().front();
    if (int64_t(body.getOperations().size()) > fewOperations || llvm::any_of(body, [](Operation &inside) { return inside.getNumRegions() > 0; }))
      return false;
  } else if (!isa_and_nonnull<RowCastOp>(op)) {
    return false;
  }
  return llvm::all_of(op->getOperands(), [&](Value operand) { return isAtHand(operand, take); });
}

} // namespace mlir::mhc::nvgpu

#endif // MHC_CODEGEN_NVGPU_PLANREQUEST_H
