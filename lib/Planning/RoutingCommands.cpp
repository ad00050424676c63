//===- RoutingCommands.cpp - commands of mixtures of experts ----------------===//

#include "EntryBuilder.h"

using namespace mlir;
using namespace mlir::mhc;
using plan::ExprAttr;

LogicalResult EntryBuilder::emitDispatch(DispatchOp op) {
  FailureOr<Value> index = use(op.getIndex());
  FailureOr<ExprAttr> rows = failed(index) ? FailureOr<ExprAttr>(failure()) : rowsOf(op.getIndex());
  if (failed(rows))
    return failure();
  int64_t choices = rowElements(op.getIndex().getType()), experts = rowElements(op.getCounts().getType());
  SmallVector<Value> out;
  for (Value result : op.getResults()) {
    FailureOr<Value> buffer = define(result, hasRows(result.getType()) ? rows->times(choices) : constant(rowElements(result.getType())), nullptr);
    if (failed(buffer))
      return failure();
    out.push_back(*buffer);
  }
  plan::DispatchOp::create(builder, op.getLoc(), *index, out[0], out[1], out[2], out[3], out[4], out[5], *rows, choices, experts, op.getCapacityAttr(), placeOf(op));
  return success();
}

LogicalResult EntryBuilder::emitGroupedMatmul(GroupedMatmulOp op) {
  FailureOr<Value> x = use(op.getX()), w = use(op.getW()), offsets = use(op.getOffsets());
  FailureOr<ExprAttr> rows = failed(x) ? FailureOr<ExprAttr>(failure()) : rowsOf(op.getX());
  if (failed(rows) || failed(w) || failed(offsets))
    return failure();
  int64_t k = rowElements(op.getX().getType()), n = rowElements(op.getY().getType());
  FailureOr<Value> y = define(op.getY(), rows->times(n), nullptr);
  if (failed(y))
    return failure();
  plan::GroupedMatmulOp::create(builder, op.getLoc(), *x, *w, *offsets, *y, *rows, k, n, rowElements(op.getOffsets().getType()) - 1, op.getTransposed(), placeOf(op));
  return success();
}

LogicalResult EntryBuilder::emitGroupedOuter(GroupedOuterOp op) {
  FailureOr<Value> x = use(op.getX()), y = use(op.getY()), offsets = use(op.getOffsets());
  FailureOr<ExprAttr> rows = failed(x) ? FailureOr<ExprAttr>(failure()) : rowsOf(op.getX());
  if (failed(rows) || failed(y) || failed(offsets))
    return failure();
  bool add;
  FailureOr<Value> out = define(op.getResult(), constant(rowElements(op.getResult().getType())), &add);
  if (failed(out))
    return failure();
  plan::GroupedOuterOp::create(builder, op.getLoc(), *x, *y, *offsets, *out, *rows, rowElements(op.getX().getType()), rowElements(op.getY().getType()),
                               rowElements(op.getOffsets().getType()) - 1, add, placeOf(op));
  return success();
}

LogicalResult EntryBuilder::emitExpertLoad(ExpertLoadOp op) {
  FailureOr<Value> counts = use(op.getCounts());
  FailureOr<Value> previous = op.getPrevious() ? use(op.getPrevious()) : FailureOr<Value>(Value());
  if (failed(counts) || failed(previous))
    return failure();
  ExprAttr size = constant(rowElements(op.getCounts().getType()));
  FailureOr<Value> share = define(op.getShare(), size, nullptr), total = define(op.getTotal(), size, nullptr);
  if (failed(share) || failed(total))
    return failure();
  plan::ExpertLoadOp::create(builder, op.getLoc(), *counts, *previous, *share, *total, placeOf(op));
  return success();
}

LogicalResult EntryBuilder::emitSequenceLoad(SequenceLoadOp op) {
  FailureOr<Value> index = use(op.getIndex());
  FailureOr<ExprAttr> rows = failed(index) ? FailureOr<ExprAttr>(failure()) : rowsOf(op.getIndex());
  if (failed(rows))
    return failure();
  int64_t length = op.getLength(), experts = rowElements(op.getShares().getType());
  if (!length && (!hasSymbol("B") || !hasSymbol("S")))
    return op.emitOpError("expected an entry with sequences, symbols 'B' and 'S'");
  // How often `length` goes into T is no affine expression: a row for each token is enough.
  FailureOr<Value> shares = define(op.getShares(), (length ? *rows : symbol("B")).times(experts), nullptr);
  if (failed(shares))
    return failure();
  plan::SequenceLoadOp::create(builder, op.getLoc(), *index, *shares, *rows, length ? constant(length) : symbol("S"), rowElements(op.getIndex().getType()), experts, placeOf(op));
  return success();
}

LogicalResult EntryBuilder::emitUpdateBias(UpdateBiasOp op) {
  FailureOr<Value> bias = use(op.getBias()), counts = use(op.getCounts());
  FailureOr<Value> factor = op.getFactor() ? use(op.getFactor()) : FailureOr<Value>(Value());
  if (failed(bias) || failed(counts) || failed(factor))
    return failure();
  auto type = cast<RankedTensorType>(op.getBias().getType());
  FailureOr<Value> out = define(op.getResult(), constant(type.getNumElements()), nullptr);
  if (failed(out))
    return failure();
  plan::UpdateBiasOp::create(builder, op.getLoc(), *bias, *counts, *factor, *out, builder.getI64IntegerAttr(type.getShape().back()), op.getRateAttr(), placeOf(op));
  return success();
}
