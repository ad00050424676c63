//===- Destinations.cpp - values that are written where they belong ---------===//
//
// A value that a function returns is written straight to the result's place, and a part of a static sum straight to the
// sum, if its producer can do that and nobody sees the difference. All else gets a temporary, and a copy or an addition
// at the end.
//
//===----------------------------------------------------------------------===//

#include "EntryBuilder.h"
#include "mhc/Analysis/KernelFormer.h"

using namespace mlir;
using namespace mlir::mhc;

/// Commands write these; arguments, tables and the scalars have a place already.
static bool isWritten(Value root) {
  return isa_and_nonnull<LaunchOp, MatmulOp, LinearOp, LinearDxOp, LinearDwOp, AttentionOp, AttentionVjpOp, EmbeddingVjpOp,
                         SplitTokensOp, SumOp, ZerosOp, DispatchOp, GroupedMatmulOp, GroupedOuterOp, ExpertLoadOp, SequenceLoadOp, UpdateBiasOp>(root.getDefiningOp());
}

/// True if the command that gives the value can also add it to what is there.
static bool canAccumulate(Value root) {
  Operation *op = root.getDefiningOp();
  if (isa_and_nonnull<LinearDwOp, LinearDxOp, LinearOp, EmbeddingVjpOp, SumOp, ZerosOp, GroupedOuterOp>(op))
    return cast<RankedTensorType>(root.getType()).getElementType().isF32(); // rounding once means: into fp32 only
  auto launch = dyn_cast_or_null<LaunchOp>(op);
  if (!launch)
    return false;
  auto kernel = SymbolTable::lookupNearestSymbolFrom<KernelOp>(launch, launch.getKernelAttr());
  return kernel && cast<OpResult>(root).getResultNumber() >= kernel.getNumOutputs();
}

/// True if `operand` is all that its root is used for.
static bool isOnlyUse(OpOperand &operand) {
  for (Value value = operand.get();; value = value.getDefiningOp<ViewOp>().getValue()) {
    if (!value.hasOneUse())
      return false;
    if (!value.getDefiningOp<ViewOp>())
      return true;
  }
}

LogicalResult EntryBuilder::assignDestinations() {
  auto ret = cast<func::ReturnOp>(func.getBody().front().getTerminator());
  for (OpOperand &operand : ret->getOpOperands()) {
    Value root = rootOf(operand.get());
    unsigned index = operand.getOperandNumber();
    if (!isWritten(root) || destinations.count(root) || isDropped(index))
      continue;
    // Others that use the value would see what was added to.
    if (accumulates(index) && !(canAccumulate(root) && isOnlyUse(operand)))
      continue;
    if (func.getResultAttr(index, "mhc.state") && !isUpdatedInPlaceSafely(index, root))
      continue;
    assignResult(index, root);
  }
  func.walk([&](SumOp sum) { assignParts(sum); });
  return success();
}

void EntryBuilder::assignResult(unsigned index, Value root) {
  destinations[root] = {index, Value(), accumulates(index)};
  direct[index] = true;
}

void EntryBuilder::assignParts(SumOp sum) {
  if (hasRows(sum.getResult().getType()))
    return;
  auto found = destinations.find(sum.getResult());
  bool toAccumulator = found != destinations.end() && found->second.accumulate;
  // In the order in which they are computed: the first one is written, which any command can.
  SmallVector<OpOperand *> parts;
  for (OpOperand &operand : sum->getOpOperands())
    if (Value root = rootOf(operand.get());
        isWritten(root) && !isa<SumOp>(root.getDefiningOp()) && isOnlyUse(operand) && !destinations.count(root))
      parts.push_back(&operand);
  llvm::sort(parts, [](OpOperand *x, OpOperand *y) {
    auto a = cast<OpResult>(rootOf(x->get())), b = cast<OpResult>(rootOf(y->get()));
    return a.getOwner() == b.getOwner() ? a.getResultNumber() < b.getResultNumber()
                                        : a.getOwner()->isBeforeInBlock(b.getOwner());
  });
  bool first = !toAccumulator;
  for (OpOperand *part : parts) {
    Value root = rootOf(part->get());
    if (!first && !canAccumulate(root))
      continue;
    destinations[root] = {std::nullopt, sum.getResult(), false};
    first = false;
  }
}

namespace {
/// Elements [begin, end) of one of the model's arenas.
struct StateRange {
  StringRef arena;
  int64_t begin, end;
  bool overlaps(const StateRange &other) const {
    return arena == other.arena && begin < other.end && other.begin < end;
  }
  bool operator==(const StateRange &other) const {
    return arena == other.arena && begin == other.begin && end == other.end;
  }
};
} // namespace

static std::optional<StateRange> stateRange(DictionaryAttr attributes, Type type) {
  auto arena = attributes ? attributes.getAs<StringAttr>("mhc.state") : StringAttr();
  if (!arena)
    return std::nullopt;
  auto begin = attributes.getAs<IntegerAttr>("mhc.begin"), rows = attributes.getAs<IntegerAttr>("mhc.rows");
  int64_t from = begin ? begin.getInt() : 0;
  return StateRange{arena.getValue(), from, from + rowElements(type) * (rows ? rows.getInt() : 1)};
}

/// Whether it reads each element before it writes it, and none after.
static bool writesElementwise(Operation *writer) {
  auto launch = dyn_cast<LaunchOp>(writer);
  if (!launch)
    return true; // the commands on counts and biases are made so
  auto kernel = SymbolTable::lookupNearestSymbolFrom<KernelOp>(launch, launch.getKernelAttr());
  return kernel && updatesInPlace(kernel);
}

/// The result's range may be written by the launch if no argument that lies there is read any more: by a later command,
/// or by the launch itself other than element by element.
bool EntryBuilder::isUpdatedInPlaceSafely(unsigned result, Value root) {
  Operation *writer = root.getDefiningOp();
  std::optional<StateRange> range = stateRange(func.getResultAttrDict(result), func.getResultTypes()[result]);
  if (!isa_and_nonnull<LaunchOp, ExpertLoadOp, UpdateBiasOp>(writer) || !range)
    return false;
  for (BlockArgument argument : func.getArguments()) {
    std::optional<StateRange> other = stateRange(func.getArgAttrDict(argument.getArgNumber()), argument.getType());
    if (!other || !other->overlaps(*range))
      continue;
    SmallVector<Value> aliases{argument};
    for (size_t i = 0; i < aliases.size(); ++i)
      for (Operation *user : aliases[i].getUsers()) {
        if (auto view = dyn_cast<ViewOp>(user))
          aliases.push_back(view.getResult());
        else if (user == writer ? !(*other == *range && writesElementwise(writer)) : writer->isBeforeInBlock(user))
          return false;
      }
  }
  return true;
}
