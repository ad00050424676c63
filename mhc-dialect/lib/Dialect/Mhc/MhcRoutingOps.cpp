//===- MhcRoutingOps.cpp - verifiers of the ops of mixtures of experts ------===//
//
// Labels (C1, C2, ..) are those of the ops' descriptions; each has a negative test of its name.
//
//===----------------------------------------------------------------------===//

#include "mhc/Dialect/Mhc/IR/MhcOps.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace mlir::mhc;

#define GET_OP_CLASSES
#include "mhc/Dialect/Mhc/IR/MhcRoutingOps.cpp.inc"

static RankedTensorType tensor(Value v) { return cast<RankedTensorType>(v.getType()); }
static Type elementType(Value v) { return tensor(v).getElementType(); }
static int64_t elements(Value v) { return rowElements(v.getType()); }
static LogicalResult expect(Operation *op, bool holds, const Twine &message) { return holds ? success() : op->emitOpError(message); }

static bool isStatic(Value v, int64_t count) { return !hasRows(v.getType()) && tensor(v).getNumElements() == count; }
static bool narrowRows(Value v) { return hasRows(v.getType()) && isNarrow(v.getType()); }
/// Rows of one stream: [T, C].
static bool plainRows(Value v) { return hasRows(v.getType()) && !isNarrow(v.getType()) && tensor(v).getRank() == 2; }
/// A number for each row: [M] i32.
static bool numbers(Value v) { return hasRows(v.getType()) && tensor(v).getRank() == 1 && elementType(v).isInteger(32); }
static bool isIndex(Value v) { return narrowRows(v) && elementType(v).isInteger(32); }

LogicalResult BalanceAttr::verify(function_ref<InFlightDiagnostic()> emitError, BalanceKind kind, FloatAttr weight, FloatAttr tau) {
  if ((kind == BalanceKind::top1) != bool(tau))
    return emitError() << "expected a tau with top1, and with that alone";
  if (tau && !(tau.getValueAsDouble() > 0))
    return emitError() << "expected a tau above 0, but got " << tau;
  return success();
}

SmallVector<int64_t> BalanceAttr::statistics(int64_t experts) const {
  switch (getKind()) {
  case BalanceKind::switch_step:
    return {experts};
  case BalanceKind::top1:
    return {experts, 1};
  case BalanceKind::switch_sequence:
  case BalanceKind::z:
    return {1};
  }
  llvm_unreachable("kinds are above");
}

LogicalResult RouteOp::verify() {
  int64_t k = elements(getIndex()), experts = elements(getLogits());
  if (!plainRows(getLogits()) || !isIndex(getIndex()) || !narrowRows(getWeight()) || elements(getWeight()) != k || k > experts)
    return emitOpError("expected logits of [T, E], index and weight of [T, k]"); // C1
  int64_t groups = getGroupsAttr().getInt(), chosen = getChosenAttr().getInt();
  if (groups < 1 || experts % groups || chosen < 1 || chosen > groups || k % chosen || k / chosen > experts / groups)
    return emitOpError("expected groups that divide ") << experts << " experts, and chosen ones that divide " << k << " choices among enough of them, but got " << chosen << " of " << groups; // C2
  if (getBias() && !isStatic(getBias(), experts))
    return emitOpError("expected a bias of ") << experts << " elements, but got " << getBias().getType(); // C3
  ArrayRef<int64_t> phases = getPhases();
  auto fits = [&](int64_t choices) { return choices >= 1 && choices <= k && choices % chosen == 0; };
  bool most = phases.empty() || llvm::is_contained(phases, k);
  return expect(*this, llvm::all_of(phases, fits) && most && !phases.empty() == bool(getScalars()), "expected phases of 1 to " + Twine(k) + " choices, multiples of " + Twine(chosen) + ", and scalars with them alone"); // C4
}
LogicalResult RouteVjpOp::verify() {
  if (!plainRows(getLogits()) || tensor(getLogits()).getShape() != tensor(getDlogits()).getShape())
    return emitOpError("expected dlogits of the logits' shape"); // C1
  return expect(*this, isIndex(getIndex()) && narrowRows(getGradient()) && elements(getIndex()) == elements(getGradient()), "expected index and gradient of [T, k]"); // C2
}

/// The static sizes of the losses' sums, nothing where `losses` holds something else.
static std::optional<SmallVector<int64_t>> statistics(ArrayAttr losses, int64_t experts) {
  SmallVector<int64_t> sizes;
  for (Attribute loss : losses) {
    auto balance = dyn_cast<BalanceAttr>(loss);
    if (!balance)
      return std::nullopt;
    llvm::append_range(sizes, balance.statistics(experts));
  }
  return sizes;
}
static int64_t count(ArrayAttr losses, BalanceKind kind) {
  return llvm::count_if(losses, [&](Attribute loss) { return isa<BalanceAttr>(loss) && cast<BalanceAttr>(loss).getKind() == kind; });
}
static bool haveSizes(ValueRange values, ArrayRef<int64_t> sizes) {
  return values.size() == sizes.size() && llvm::all_of(llvm::zip(values, sizes), [](auto pair) { return isStatic(std::get<0>(pair), std::get<1>(pair)); });
}
static LogicalResult verifyShares(Operation *op, ArrayAttr losses, Value shares, int64_t length, int64_t experts) {
  bool wanted = count(losses, BalanceKind::switch_sequence) > 0;
  bool fits = wanted ? shares && hasRows(shares.getType()) && elements(shares) == experts && length >= 0 : !shares;
  return expect(op, fits, "expected shares of [B, E] with a loss of sequences, and with that alone");
}

LogicalResult RouterStatisticsOp::verify() {
  if (!plainRows(getLogits()))
    return emitOpError("expected logits of [T, E], but got ") << getLogits().getType(); // C1
  int64_t experts = elements(getLogits());
  std::optional<SmallVector<int64_t>> sizes = statistics(getLosses(), experts);
  if (!sizes || getSums().empty() || !isStatic(getSums()[0], 1) || !haveSizes(getSums().drop_front(), *sizes))
    return emitOpError("expected a sum for the tokens, and those of the losses"); // C2
  return verifyShares(*this, getLosses(), getShares(), getLengthAttr().getInt(), experts); // C3
}
LogicalResult RouterStatisticsVjpOp::verify() {
  if (!plainRows(getLogits()) || tensor(getLogits()).getShape() != tensor(getDlogits()).getShape())
    return emitOpError("expected dlogits of the logits' shape"); // C1
  std::optional<SmallVector<int64_t>> sizes = statistics(getLosses(), elements(getLogits()));
  if (!sizes || !haveSizes(getGradients(), *sizes))
    return emitOpError("expected a gradient for each sum of the losses"); // C2
  return verifyShares(*this, getLosses(), getShares(), getLengthAttr().getInt(), elements(getLogits())); // C3
}

/// What `mhc.balance_loss` reads: T, sums, shares.
static LogicalResult verifyBalance(Operation *op, ValueRange values, ArrayAttr losses, int64_t experts) {
  std::optional<SmallVector<int64_t>> sizes = experts < 1 ? std::nullopt : statistics(losses, experts);
  if (!sizes || values.size() <= sizes->size() || !isStatic(values[0], 1) || !haveSizes(values.slice(1, sizes->size()), *sizes))
    return op->emitOpError("expected the number of tokens, and the sums of the losses"); // C1
  SmallVector<int64_t> shares(count(losses, BalanceKind::switch_step), experts);
  return expect(op, haveSizes(values.drop_front(1 + sizes->size()), shares), "expected shares of " + Twine(experts) + " elements for each loss of the step"); // C2
}
LogicalResult BalanceLossOp::verify() {
  if (failed(verifyBalance(*this, getSums(), getLosses(), getExpertsAttr().getInt())))
    return failure();
  return expect(*this, !getLosses().empty() && isStatic(getResult(), getLosses().size()), "expected an element for each loss"); // C3
}
LogicalResult BalanceLossVjpOp::verify() {
  if (getSums().empty() || !isStatic(getSums().back(), getLosses().size()))
    return emitOpError("expected a gradient for each loss"); // C2
  if (failed(verifyBalance(*this, getSums().drop_back(), getLosses(), getExpertsAttr().getInt())))
    return failure();
  return expect(*this, haveSizes(getGradients(), *statistics(getLosses(), getExpertsAttr().getInt())), "expected a result for each sum of the losses"); // C1
}

LogicalResult TotalLossOp::verify() {
  return expect(*this, isStatic(getCrossEntropy(), 1) && isStatic(getResult(), 1) && isStatic(getScalars(), 64), "expected a cross-entropy and a loss of one element, and scalars");
}
LogicalResult LossScaleOp::verify() { return expect(*this, isStatic(getScalars(), 64) && !hasRows(getResult().getType()), "expected scalars"); }

static bool isCompute(Value v) { return elementType(v).isF32() || elementType(v).isF64(); }
LogicalResult ExpertLoadOp::verify() {
  int64_t experts = elements(getCounts());
  auto longs = [&](Value v) { return !v || (isStatic(v, experts) && elementType(v).isInteger(64)); };
  return expect(*this, isStatic(getCounts(), experts) && elementType(getCounts()).isInteger(32) && longs(getPrevious()) && longs(getTotal()) && isStatic(getShare(), experts) && isCompute(getShare()),
                "expected counts of i32, totals of i64 and shares, vectors of one length");
}
LogicalResult SequenceLoadOp::verify() {
  return expect(*this, isIndex(getIndex()) && getLengthAttr().getInt() >= 0 && plainRows(getShares()) && isCompute(getShares()), "expected an index of [T, k] and shares of [B, E]");
}
LogicalResult UpdateBiasOp::verify() {
  bool integers = elementType(getCounts()).isInteger(32) || elementType(getCounts()).isInteger(64);
  if (hasRows(getBias().getType()) || !integers || getBias().getType() != getResult().getType() || tensor(getCounts()).getShape() != tensor(getBias()).getShape())
    return emitOpError("expected bias, counts and result of one shape"); // C1
  return expect(*this, getRate().convertToDouble() >= 0, "expected a rate of at least 0"); // C2
}

LogicalResult DispatchOp::verify() {
  if (!isIndex(getIndex()) || !isIndex(getReverse()) || elements(getReverse()) != elements(getIndex()) || !numbers(getGather()) || !numbers(getOrder()))
    return emitOpError("expected index and reverse of [T, k], gather and order of [M], all i32"); // C1
  int64_t experts = elements(getCounts());
  for (Value v : {getCounts(), getOffsets(), getDropped()})
    if (!elementType(v).isInteger(32))
      return emitOpError("expected counts of i32, but got ") << v.getType(); // C2
  if (!isStatic(getCounts(), experts) || !isStatic(getOffsets(), experts + 1) || !isStatic(getDropped(), 1))
    return emitOpError("expected counts of E and offsets of E + 1 elements"); // C2
  return expect(*this, !getCapacity() || getCapacity()->convertToDouble() > 0, "expected a capacity above 0"); // C3
}
LogicalResult GatherRowsOp::verify() {
  if (!plainRows(getX()) || !plainRows(getResult()) || tensor(getX()).getShape() != tensor(getResult()).getShape() || elementType(getX()) != elementType(getResult()))
    return emitOpError("expected rows of one stream, and the result of x's type"); // C1
  return expect(*this, numbers(getGather()) && isIndex(getReverse()), "expected a token for each slot, and a slot for each choice"); // C2
}
LogicalResult CombineRowsOp::verify() {
  if (!plainRows(getY()) || !plainRows(getResult()) || elements(getY()) != elements(getResult()))
    return emitOpError("expected rows of one stream and of as many channels"); // C1
  if (!isIndex(getReverse()) || (getWeight() && (!narrowRows(getWeight()) || elements(getWeight()) != elements(getReverse()))))
    return emitOpError("expected a slot and a weight for each choice"); // C2
  bool slots = getGather() && getOrder() && numbers(getGather()) && numbers(getOrder());
  return expect(*this, getWeight() ? slots : !getGather() && !getOrder(), "expected the slots' tokens and choices with weights, and with those alone"); // C3
}
LogicalResult CombineRowsDyOp::verify() {
  if (!plainRows(getGradient()) || !plainRows(getDy()) || elements(getGradient()) != elements(getDy()))
    return emitOpError("expected rows of one stream and of as many channels"); // C1
  return expect(*this, narrowRows(getWeight()) && elements(getWeight()) == 1 && numbers(getGather()) && numbers(getOrder()), "expected a token and a choice for each slot, and one weight a row"); // C2
}
LogicalResult CombineRowsDwOp::verify() {
  if (!plainRows(getGradient()) || !plainRows(getY()) || elements(getGradient()) != elements(getY()))
    return emitOpError("expected rows of one stream and of as many channels"); // C1
  return expect(*this, isIndex(getReverse()) && narrowRows(getDweight()) && elements(getReverse()) == elements(getDweight()), "expected a slot and a gradient for each choice"); // C2
}

static bool offsetsOf(Value offsets, int64_t groups) { return isStatic(offsets, groups + 1) && elementType(offsets).isInteger(32); }
LogicalResult GroupedMatmulOp::verify() {
  ArrayRef<int64_t> w = tensor(getW()).getShape();
  int64_t k = elements(getX()), n = elements(getY());
  bool shapes = plainRows(getX()) && plainRows(getY()) && w.size() == 3 && w[1] == (getTransposed() ? n : k) && w[2] == (getTransposed() ? k : n) && offsetsOf(getOffsets(), w[0]);
  if (!shapes)
    return emitOpError("expected x of [M, K], W of [E, K, N] or [E, N, K], y of [M, N] and offsets of E + 1"); // C1
  Type x = elementType(getX()), y = elementType(getY());
  return expect(*this, elementType(getW()) == x && (y == x || (y.isF32() && !x.isF64())), "expected W of x's type, and y of x's type or f32"); // C2
}
LogicalResult GroupedOuterOp::verify() {
  ArrayRef<int64_t> out = tensor(getResult()).getShape();
  bool shapes = plainRows(getX()) && plainRows(getY()) && out.size() == 3 && out[1] == elements(getX()) && out[2] == elements(getY()) && offsetsOf(getOffsets(), out[0]);
  return expect(*this, shapes && elementType(getX()) == elementType(getY()), "expected x of [M, K], y of [M, N], a result of [E, K, N] and offsets of E + 1");
}
