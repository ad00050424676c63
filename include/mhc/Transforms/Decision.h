//===- Decision.h - the remark of a pass's decision -------------------------===//
#ifndef MHC_TRANSFORMS_DECISION_H
#define MHC_TRANSFORMS_DECISION_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Remarks.h"

#include <optional>

namespace mlir::mhc {

/// What a decision costs and saves: bytes a token before and after, operations a token added.
struct DecisionFigures {
  int64_t bytesBefore, bytesAfter, flopsAdded;
};

/// Emits the remark of a decision, taken or refused, with its reason and figures.
inline void emitDecision(Location loc, StringRef pass, StringRef name, Operation *inside, bool taken, const Twine &reason,
                         std::optional<DecisionFigures> figures = std::nullopt) {
  StringRef function; // or the plan's entry
  for (Operation *op = inside; op && function.empty(); op = op->getParentOp())
    if (auto symbol = op->getAttrOfType<StringAttr>(SymbolTable::getSymbolAttrName()))
      function = symbol.getValue();
  remark::RemarkOpts options = remark::RemarkOpts::name(name).category(pass).function(function);
  std::string text = reason.str();
  auto fill = [&](auto &&remark) {
    remark << remark::detail::LazyTextBuild{"Reason", [text] { return text; }};
    if (figures)
      remark << remark::metric("bytes_before", figures->bytesBefore) << remark::metric("bytes_after", figures->bytesAfter)
             << remark::metric("bytes_saved", figures->bytesBefore - figures->bytesAfter) << remark::metric("flops_added", figures->flopsAdded);
  };
  if (taken)
    fill(remark::passed(loc, options));
  else
    fill(remark::missed(loc, options));
}

} // namespace mlir::mhc

#endif // MHC_TRANSFORMS_DECISION_H
