//===- PlanOps.cpp - verifiers of plans, lifetimes --------------------------===//

#include "mhc/Dialect/Mhc/IR/MhcRowOps.h"
#include "mhc/Dialect/Plan/IR/PlanDialect.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;
using namespace mlir::plan;

#include "mhc/Dialect/Plan/IR/PlanInterfaces.cpp.inc"
#define GET_OP_CLASSES
#include "mhc/Dialect/Plan/IR/PlanOps.cpp.inc"

static BufferOp bufferOf(Value value) { return value.getDefiningOp<BufferOp>(); }
static Type elementType(Value value) { return bufferOf(value).getElementType(); }
static ExprAttr sizeOf(Value value) { return bufferOf(value).getSize(); }

static bool isPackageType(Type type) {
  return type.isBF16() || type.isF32() || type.isF64() || type.isInteger(32) || type.isInteger(64);
}

LogicalResult plan::detail::verifyCommand(Operation *command) {
  for (auto [i, operand] : llvm::enumerate(command->getOperands()))
    if (!bufferOf(operand))
      return command->emitOpError("expected operand ") << i << " to be the result of a plan.buffer"; // C1 of plan.entry
  return success();
}

bool plan::hasTokenRows(mhc::KernelOp kernel, unsigned argument) {
  BlockArgument value = kernel.getBlock().getArgument(argument);
  if (cast<MemRefType>(value.getType()).hasStaticShape())
    return false;
  if (value.use_empty())
    return true; // it is there for the number of its rows
  return llvm::any_of(value.getUsers(), [](Operation *user) {
    auto load = dyn_cast<mhc::RowLoadOp>(user);
    return isa<mhc::RowStoreOp>(user) || (load && load.getAccess() == mhc::Access::row);
  });
}

//===----------------------------------------------------------------------===//
// Order and lifetimes
//===----------------------------------------------------------------------===//

static int64_t number(Block &block, int64_t next, SmallVectorImpl<NumberedCommand> &out) {
  for (Operation &op : block) {
    auto command = dyn_cast<CommandInterface>(op);
    if (!command)
      continue;
    size_t place = out.size();
    out.push_back({command, next, next});
    ++next;
    if (auto loop = dyn_cast<LoopOp>(op)) {
      next = number(loop.getBody().front(), next, out);
      out[place].last = next - 1;
    }
  }
  return next;
}

SmallVector<NumberedCommand> plan::numberCommands(EntryOp entry) {
  SmallVector<NumberedCommand> commands;
  number(entry.getBlock(), 0, commands);
  return commands;
}

DenseMap<Value, LiveRange> plan::computeLiveRanges(EntryOp entry) {
  SmallVector<NumberedCommand> commands = numberCommands(entry);
  DenseMap<Operation *, NumberedCommand> loops;
  struct Use {
    int64_t index;
    bool reads, writes;
    Operation *loop;
  };
  DenseMap<Value, SmallVector<Use>> uses;
  DenseMap<Value, LiveRange> windows; // over whole loops, of what windows look at
  for (const NumberedCommand &numbered : commands) {
    CommandInterface command = numbered.command;
    if (isa<LoopOp>(command))
      loops[command] = numbered;
    SmallVector<BufferUse> touched;
    command.getBufferUses(touched);
    Operation *loop = isa<LoopOp>(command->getParentOp()) ? command->getParentOp() : nullptr;
    for (const BufferUse &use : touched) {
      if (Value base = bufferOf(use.buffer).getBase(); base && loop) {
        const NumberedCommand &around = loops[loop];
        LiveRange &range = windows.try_emplace(base, LiveRange{around.index, around.last}).first->second;
        range = {std::min(range.first, around.index), std::max(range.last, around.last)};
      }
      uses[use.buffer].push_back({numbered.index, use.reads, use.writes, loop});
    }
  }
  DenseMap<Value, LiveRange> ranges;
  for (auto &[buffer, list] : uses) {
    LiveRange range{list.front().index, list.back().index};
    for (const Use &use : list)
      for (Operation *loop = use.loop; loop; loop = isa<LoopOp>(loop->getParentOp()) ? loop->getParentOp() : nullptr) {
        auto isInside = [&](const Use &other) {
          return other.loop == loop || (other.loop && loop->isProperAncestor(other.loop));
        };
        if (llvm::all_of(list, isInside) && !list.front().reads)
          continue; // each iteration starts anew
        range.first = std::min(range.first, loops[loop].index);
        range.last = std::max(range.last, loops[loop].last);
      }
    ranges[buffer] = range;
  }
  for (auto [base, range] : windows) {
    auto [found, isNew] = ranges.try_emplace(base, range);
    if (!isNew)
      found->second = {std::min(found->second.first, range.first), std::max(found->second.last, range.last)};
  }
  return ranges;
}

//===----------------------------------------------------------------------===//
// Entry and buffers
//===----------------------------------------------------------------------===//

LogicalResult EntryOp::verifyRegions() {
  llvm::StringSet<> known;
  for (Attribute symbol : getSymbols())
    if (!known.insert(cast<StringAttr>(symbol).getValue()).second)
      return emitOpError("expected each symbol once, but got ") << symbol << " twice";
  if (ArrayAttr derived = getDerivedAttr())
    for (Attribute item : derived) {
      auto names = dyn_cast<ArrayAttr>(item);
      if (!names || names.size() < 2 || !llvm::all_of(names, llvm::IsaPred<StringAttr>))
        return emitOpError("expected a derived symbol and its factors, but got ") << item;
      for (Attribute factor : llvm::drop_begin(names))
        if (!known.contains(cast<StringAttr>(factor).getValue()))
          return emitOpError("expected factors that are symbols, but got ") << factor;
      known.insert(cast<StringAttr>(names[0]).getValue());
    }
  if (getBlockRows()) {
    if (static_cast<int64_t>(*getBlockRows()) < 1 || !known.contains("T") || known.contains("R"))
      return emitOpError("expected block_rows of at least 1 and a symbol 'T' that it cuts, but got ") << static_cast<int64_t>(*getBlockRows());
    known.insert("R");
  }
  bool commands = false;
  for (Operation &op : getBlock()) {
    if (!isa<BufferOp, CommandInterface>(op))
      return op.emitOpError("expected buffers and commands only inside plan.entry");
    if (isa<BufferOp>(op) && commands)
      return op.emitOpError("expected buffers before all commands"); // C1
    commands |= isa<CommandInterface>(op);
  }

  // C2: every expression, wherever it stands.
  WalkResult result = walk([&](Operation *op) -> WalkResult {
    if (op != getOperation() && !isa<BufferOp, CommandInterface>(op))
      return op->emitOpError("expected commands only inside plan.loop");
    AttrTypeWalker walker;
    StringRef unknown;
    walker.addWalk([&](ExprAttr expr) {
      for (StringAttr symbol : expr.getSymbols())
        if (!known.contains(symbol.getValue()))
          unknown = symbol.getValue();
    });
    walker.walk(op->getAttrDictionary());
    if (!unknown.empty())
      return op->emitOpError("expected symbols of the entry, but got '") << unknown << "'";
    return WalkResult::advance();
  });
  if (result.wasInterrupted())
    return failure();

  DenseSet<Value> used;
  for (const NumberedCommand &numbered : numberCommands(*this)) {
    SmallVector<BufferUse> uses;
    CommandInterface command = numbered.command;
    command.getBufferUses(uses);
    auto loop = dyn_cast<LoopOp>(command->getParentOp());
    for (const BufferUse &use : uses) {
      if (bufferOf(use.buffer).getBase() && !(loop && loop.getCount() == "row_blocks"))
        return command->emitOpError("expected windows in loops over row blocks only"); // C3 of plan.loop
      BufferOp buffer = bufferOf(bufferOf(use.buffer).getBase() ? bufferOf(use.buffer).getBase() : use.buffer);
      if (buffer.getKind() == BufferKind::arena && use.reads && !used.contains(buffer.getBuffer())) {
        InFlightDiagnostic diagnostic =
            command->emitOpError("expected the first command on a temporary to write it"); // C4
        diagnostic.attachNote(buffer.getLoc()) << "the buffer";
        return diagnostic;
      }
    }
    for (const BufferUse &use : uses) {
      used.insert(use.buffer);
      if (Value base = bufferOf(use.buffer).getBase())
        used.insert(base);
    }
  }
  for (auto [value, range] : computeLiveRanges(*this)) {
    BufferOp buffer = bufferOf(value);
    if (!buffer.isTemporary())
      continue;
    ArrayRef<int64_t> live = *buffer.getLive();
    if (live[0] > range.first || live[1] < range.last)
      return buffer.emitOpError("expected a live range that covers [")
             << range.first << ", " << range.last << "], but got [" << live[0] << ", " << live[1] << "]"; // C3
  }
  return success();
}

void BufferOp::getAsmResultNames(function_ref<void(Value, StringRef)> setName) {
  // Places ("model.layers.3.hc_attn") would make long names that say little; tensors' names are the words of the
  // caller.
  StringRef name = getTensor().value_or(getName().value_or(""));
  if (!name.empty() && llvm::all_of(name, [](char c) { return llvm::isAlnum(c) || c == '_'; }) &&
      !llvm::isDigit(name.front()))
    setName(getBuffer(), name);
}

LogicalResult BufferOp::verify() {
  BufferKind kind = getKind();
  auto expect = [&](bool there, bool wanted, StringRef what) -> LogicalResult {
    if (there == wanted)
      return success();
    return emitOpError("expected ") << (wanted ? "" : "no ") << what << " of a buffer of kind "
                                    << stringifyBufferKind(kind); // C1
  };
  bool caller = kind == BufferKind::input || kind == BufferKind::output;
  if (failed(expect(getTensor().has_value(), caller || kind == BufferKind::parameter || kind == BufferKind::gradient,
                    "tensor")) ||
      failed(expect(getLive().has_value(), isTemporary(), "live range")) ||
      failed(expect(getArena().has_value(), kind == BufferKind::state, "arena")) ||
      failed(expect(getGenerator() && getTheta() && getPairs(), kind == BufferKind::constant, "generator")) ||
      failed(expect(bool(getBase()), kind == BufferKind::window, "base")))
    return failure();
  if (kind == BufferKind::window) {
    BufferOp base = bufferOf(getBase());
    auto rowOf = [&](ExprAttr size, StringRef symbol) -> int64_t { // of a size that is so many times the symbol
      bool one = size.getSymbols().size() == 1 && size.getSymbols()[0] == symbol && !size.getConstant();
      return one ? size.getCoefficients()[0] : 0;
    };
    int64_t row = rowOf(getSize(), "R");
    if (!base || row < 1 || rowOf(base.getSize(), "T") != row || base.getElementType() != getElementType() || base.getKind() == BufferKind::partials)
      return emitOpError("expected R rows of a base of T rows, of its elements and type, but got ") << getSize().str() << " of " << (base ? base.getSize().str() : "no buffer"); // C5
  }
  if (getBegin() && kind != BufferKind::state && kind != BufferKind::scalars)
    return expect(true, false, "begin");
  if (kind == BufferKind::state && !getBegin())
    return expect(false, true, "begin");
  if (getBegin() && static_cast<int64_t>(*getBegin()) < 0)
    return emitOpError("expected a begin of at least 0, but got ") << static_cast<int64_t>(*getBegin());
  if (getSlice().has_value() != getSlices().has_value() || (getSlice() && !caller))
    return emitOpError("expected slice and slices together, of inputs and outputs only");
  if (getSlice() && (static_cast<int64_t>(*getSlice()) < 0 || *getSlice() >= *getSlices()))
    return emitOpError("expected a slice below ")
           << *getSlices() << ", but got " << static_cast<int64_t>(*getSlice()); // C2
  if (getLive() && (getLive()->size() != 2 || (*getLive())[0] < 0 || (*getLive())[1] < (*getLive())[0]))
    return emitOpError("expected a live range [first, last]"); // C3
  if (!isPackageType(getElementType()))
    return emitOpError("expected element type bf16, f32, f64, i32 or i64, but got ") << getElementType(); // C4
  bool counts = kind == BufferKind::state && getArena() == "expert_counts";
  if ((kind == BufferKind::parameter || kind == BufferKind::gradient || kind == BufferKind::state ||
       kind == BufferKind::scalars) &&
      !(counts ? getElementType().isInteger(64) : getElementType().isF32()))
    return emitOpError("expected element type ") << (counts ? "i64" : "f32") << " of a buffer of kind "
           << stringifyBufferKind(kind) << ", but got " << getElementType(); // C4
  if (kind == BufferKind::state &&
      !llvm::is_contained({"parameters", "gradients", "exp_avg", "exp_avg_sq", "momentum", "radius", "expert_counts", "previous"}, *getArena()))
    return emitOpError("expected arena parameters, gradients, exp_avg, exp_avg_sq, momentum, radius or expert_counts, but got '") << *getArena() << "'";
  if (kind == BufferKind::scalars &&
      (!getSize().isConstant() || getSize().getConstant() + static_cast<int64_t>(getBegin().value_or(0)) > 64))
    return emitOpError("expected scalars inside the 64 that there are");
  return success();
}

//===----------------------------------------------------------------------===//
// Commands
//===----------------------------------------------------------------------===//

static void read(SmallVectorImpl<BufferUse> &uses, ValueRange buffers) {
  for (Value buffer : buffers)
    uses.push_back({buffer, true, false});
}
static void write(SmallVectorImpl<BufferUse> &uses, ValueRange buffers, bool accumulate = false) {
  for (Value buffer : buffers)
    uses.push_back({buffer, accumulate, true});
}

void LaunchOp::getBufferUses(SmallVectorImpl<BufferUse> &uses) {
  // A kernel that cannot be found (the verifier says so) counts as reading all it gets.
  auto kernel = SymbolTable::lookupNearestSymbolFrom<mhc::KernelOp>(*this, getKernelAttr());
  size_t inputs = kernel ? std::min<size_t>(kernel.getNumInputs(), getArgs().size()) : getArgs().size();
  read(uses, getArgs().take_front(inputs));
  write(uses, getArgs().drop_front(inputs));
  write(uses, getPartials());
  ArrayRef<bool> accumulate = getAccumulate().value_or(ArrayRef<bool>());
  for (auto [i, out] : llvm::enumerate(getOuts()))
    write(uses, out, i < accumulate.size() && accumulate[i]);
}

LogicalResult LaunchOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto kernel = symbols.lookupNearestSymbolFrom<mhc::KernelOp>(*this, getKernelAttr());
  if (!kernel)
    return emitOpError("expected a kernel '") << getKernel() << "'"; // C1
  int64_t count = kernel.getNumInputs() + kernel.getNumOutputs();
  if ((int64_t)getArgs().size() != count)
    return emitOpError("expected ") << count << " arguments of '" << getKernel() << "', but got "
                                    << getArgs().size(); // C1
  size_t reductions = kernel.getNumReductions();
  if (getPartials().size() != reductions || getOuts().size() != reductions ||
      getAccumulate().value_or(ArrayRef<bool>()).size() != reductions)
    return emitOpError("expected ") << reductions << " reductions of '" << getKernel() << "'"; // C5
  if (getInts().value_or(ArrayAttr::get(getContext(), {})).size() != kernel.getInts().size())
    return emitOpError("expected ") << kernel.getInts().size() << " integers of '" << getKernel() << "'"; // C4
  for (auto [i, type] : llvm::enumerate(kernel.getBlock().getArgumentTypes())) {
    auto memref = cast<MemRefType>(type);
    int64_t elements = 1;
    for (int64_t dim : memref.getShape())
      elements *= ShapedType::isDynamic(dim) ? 1 : dim;
    SmallVector<Value> buffers;
    if ((int64_t)i < count)
      buffers.push_back(getArgs()[i]);
    else
      buffers.append({getPartials()[i - count], getOuts()[i - count]});
    for (Value buffer : buffers) {
      if (elementType(buffer) != memref.getElementType())
        return emitOpError("expected argument ")
               << i << " of element type " << memref.getElementType() << ", but got " << elementType(buffer); // C2
      bool ownRows = !memref.hasStaticShape() && !hasTokenRows(kernel, i);
      ExprAttr wanted =
          memref.hasStaticShape() ? ExprAttr::constant(getContext(), elements) : getRows().times(elements);
      // A table with rows of its own (gather, position) has as many as it likes.
      if (ownRows ? !sizeOf(buffer).dividedBy(elements) : sizeOf(buffer) != wanted)
        return emitOpError("expected argument ") << i << " of " << (wanted ? wanted.str() : "fewer than 2^63")
                                                 << " elements, but got " << sizeOf(buffer).str(); // C3
    }
  }
  return success();
}

void GemmOp::getBufferUses(SmallVectorImpl<BufferUse> &uses) {
  read(uses, {getA(), getB()});
  if (getD())
    read(uses, getD());
  write(uses, getC(), getAccumulate());
}

LogicalResult GemmOp::verify() {
  SmallVector<Value> buffers{getA(), getB(), getC()};
  if (getD())
    buffers.push_back(getD());
  for (Value buffer : buffers)
    if (Type type = elementType(buffer); !isa<FloatType>(type) || type.isF64() != elementType(getA()).isF64())
      return emitOpError("expected floating-point buffers, f64 with f64 only, but got ") << type; // C2
  if (getBatchAttr().getInt() < 1 || (getAccumulate() && getD()))
    return emitOpError("expected a batch of at least 1, and 'accumulate' or 'plus', but not both"); // C3
  auto product = [&](ExprAttr x, ExprAttr y) {
    if (!x.isConstant() && !y.isConstant())
      return ExprAttr();
    ExprAttr size = x.isConstant() ? y.times(x.getConstant()) : x.times(y.getConstant());
    return size ? size.times(getBatch()) : size;
  };
  std::tuple<StringRef, Value, ExprAttr> sizes[] = {{"a", getA(), product(getM(), getK())},
                                                    {"b", getB(), product(getK(), getN())},
                                                    {"c", getC(), product(getM(), getN())},
                                                    {"d", getD() ? getD() : getC(), product(getM(), getN())}};
  for (auto [name, buffer, size] : sizes)
    if (sizeOf(buffer) != size)
      return emitOpError("expected ") << name << " of " << (size ? size.str() : "affine size") << " elements, but got "
                                      << sizeOf(buffer).str(); // C1
  return success();
}

void AttentionOp::getBufferUses(SmallVectorImpl<BufferUse> &uses) {
  read(uses, {getQ(), getK(), getV()});
  write(uses, {getOut(), getLse()});
}
void AttentionBackwardOp::getBufferUses(SmallVectorImpl<BufferUse> &uses) {
  read(uses, {getQ(), getK(), getV(), getOut(), getLse(), getDout()});
  write(uses, {getDq(), getDk(), getDv()});
}

template <typename Op> static LogicalResult verifyHeads(Op op) {
  if (op.getKvHeads() < 1 || op.getHeads() < 1 || op.getHeads() % op.getKvHeads())
    return op.emitOpError("expected heads to be a multiple of kv_heads, but got ")
           << op.getHeads() << " and " << op.getKvHeads(); // C1
  return success();
}
LogicalResult AttentionOp::verify() { return verifyHeads(*this); }
LogicalResult AttentionBackwardOp::verify() { return verifyHeads(*this); }

void SplitTokensOp::getBufferUses(SmallVectorImpl<BufferUse> &uses) {
  read(uses, getTokens());
  write(uses, getInputs());
  if (getTargets())
    write(uses, getTargets());
}

void EmbeddingBackwardOp::getBufferUses(SmallVectorImpl<BufferUse> &uses) {
  read(uses, {getTokens(), getDx()});
  write(uses, getOut(), getAccumulate());
}

//===----------------------------------------------------------------------===//
// Mixtures of experts
//===----------------------------------------------------------------------===//

/// An expression times a number, null beyond 64 bits.
static ExprAttr times(ExprAttr expr, int64_t a, int64_t b = 1) {
  ExprAttr product = expr.times(a);
  return product ? product.times(b) : product;
}
static LogicalResult expectSize(Operation *op, StringRef name, Value buffer, ExprAttr size) {
  if (sizeOf(buffer) == size)
    return success();
  return op->emitOpError("expected ") << name << " of " << (size ? size.str() : "fewer than 2^63") << " elements, but got " << sizeOf(buffer).str();
}
static LogicalResult expectType(Operation *op, StringRef name, Value buffer, bool holds, StringRef wanted) {
  if (holds)
    return success();
  return op->emitOpError("expected ") << name << " of " << wanted << ", but got " << elementType(buffer);
}
static LogicalResult expectInts(Operation *op, ArrayRef<std::pair<StringRef, Value>> buffers) {
  for (auto [name, buffer] : buffers)
    if (failed(expectType(op, name, buffer, elementType(buffer).isInteger(32), "i32")))
      return failure();
  return success();
}

void DispatchOp::getBufferUses(SmallVectorImpl<BufferUse> &uses) {
  read(uses, getIndex());
  write(uses, {getCounts(), getOffsets(), getGather(), getOrder(), getReverse(), getDropped()});
}
LogicalResult DispatchOp::verify() {
  int64_t choices = getChoicesAttr().getInt(), experts = getExpertsAttr().getInt();
  if (choices < 1 || experts < 1 || (getCapacity() && !(getCapacity()->convertToDouble() > 0)))
    return emitOpError("expected at least one choice and expert, and a capacity above 0"); // C2
  std::pair<StringRef, Value> all[] = {{"index", getIndex()}, {"counts", getCounts()}, {"offsets", getOffsets()}, {"gather", getGather()},
                                       {"order", getOrder()}, {"reverse", getReverse()}, {"dropped", getDropped()}};
  if (failed(expectInts(*this, all))) // C1
    return failure();
  auto number = [&](int64_t n) { return ExprAttr::constant(getContext(), n); };
  for (auto [i, item] : llvm::enumerate(all)) {
    ExprAttr size = i == 1 ? number(experts) : i == 2 ? number(experts + 1) : i == 6 ? number(1) : times(getRows(), choices);
    if (failed(expectSize(*this, item.first, item.second, size))) // C1
      return failure();
  }
  return success();
}

void GroupedMatmulOp::getBufferUses(SmallVectorImpl<BufferUse> &uses) {
  read(uses, {getX(), getW(), getOffsets()});
  write(uses, getY());
}
void GroupedOuterOp::getBufferUses(SmallVectorImpl<BufferUse> &uses) {
  read(uses, {getX(), getY(), getOffsets()});
  write(uses, getOut(), getAccumulate());
}
template <typename Op> static LogicalResult verifyGrouped(Op op, Value second, ExprAttr secondSize, Value result, ExprAttr resultSize) {
  Type type = elementType(op.getX()), out = elementType(result);
  if (failed(expectSize(op, "x", op.getX(), times(op.getRows(), op.getKAttr().getInt()))) ||
      failed(expectSize(op, "the second operand", second, secondSize)) || failed(expectSize(op, "the result", result, resultSize)) ||
      failed(expectSize(op, "offsets", op.getOffsets(), ExprAttr::constant(op.getContext(), op.getGroupsAttr().getInt() + 1)))) // C1
    return failure();
  bool fits = isa<FloatType>(type) && elementType(second) == type && type.isF64() == out.isF64();
  return failure(failed(expectType(op, "the second operand and the result", result, fits, "x's floating-point type")) ||
                 failed(expectInts(op, {{"offsets", op.getOffsets()}}))); // C2
}
LogicalResult GroupedMatmulOp::verify() {
  ExprAttr w = times(ExprAttr::constant(getContext(), getGroupsAttr().getInt()), getKAttr().getInt(), getNAttr().getInt());
  if (failed(verifyGrouped(*this, getW(), w, getY(), times(getRows(), getNAttr().getInt()))))
    return failure();
  Type y = elementType(getY());
  return expectType(*this, "y", getY(), y == elementType(getX()) || y.isF32(), "x's type or f32"); // C2
}
LogicalResult GroupedOuterOp::verify() {
  ExprAttr out = times(ExprAttr::constant(getContext(), getGroupsAttr().getInt()), getKAttr().getInt(), getNAttr().getInt());
  if (failed(verifyGrouped(*this, getY(), times(getRows(), getNAttr().getInt()), getOut(), out)))
    return failure();
  return expectType(*this, "out", getOut(), !elementType(getOut()).isBF16(), "f32, or f64 with f64"); // C2
}

void ExpertLoadOp::getBufferUses(SmallVectorImpl<BufferUse> &uses) {
  read(uses, getCounts());
  if (getPrevious())
    read(uses, getPrevious());
  write(uses, {getShare(), getTotal()});
}
LogicalResult ExpertLoadOp::verify() {
  for (Value buffer : getOperands())
    if (failed(expectSize(*this, "all buffers", buffer, sizeOf(getCounts())))) // C1
      return failure();
  auto isLong = [](Value buffer) { return !buffer || elementType(buffer).isInteger(64); };
  bool fits = elementType(getCounts()).isInteger(32) && isLong(getPrevious()) && isLong(getTotal()) && isa<FloatType>(elementType(getShare())) && !elementType(getShare()).isBF16();
  return expectType(*this, "counts, totals and shares", getShare(), fits, "i32, i64 and f32 or f64"); // C1
}

void SequenceLoadOp::getBufferUses(SmallVectorImpl<BufferUse> &uses) {
  read(uses, getIndex());
  write(uses, getShare());
}
LogicalResult SequenceLoadOp::verify() {
  int64_t choices = getChoicesAttr().getInt(), experts = getExpertsAttr().getInt();
  if (choices < 1 || experts < 1)
    return emitOpError("expected at least one choice and expert"); // C2
  if (!sizeOf(getShare()).dividedBy(experts))
    return emitOpError("expected rows of ") << experts << " shares, but got " << sizeOf(getShare()).str() << " elements"; // C1
  return failure(failed(expectInts(*this, {{"index", getIndex()}})) || failed(expectSize(*this, "index", getIndex(), times(getRows(), choices)))); // C1
}

void UpdateBiasOp::getBufferUses(SmallVectorImpl<BufferUse> &uses) {
  read(uses, {getBias(), getCounts()});
  if (getFactor())
    read(uses, getFactor());
  write(uses, getOut());
}
LogicalResult UpdateBiasOp::verify() {
  if (!(getRate().convertToDouble() >= 0))
    return emitOpError("expected a rate of at least 0, but got ") << getRateAttr(); // C2
  int64_t experts = getExpertsAttr().getInt();
  if (experts < 1 || !sizeOf(getBias()).dividedBy(experts) || sizeOf(getCounts()) != sizeOf(getBias()) || sizeOf(getOut()) != sizeOf(getBias()))
    return emitOpError("expected bias, counts and result of whole rows of ") << experts << " elements"; // C1
  Type bias = elementType(getBias()), counts = elementType(getCounts());
  bool fits = isa<FloatType>(bias) && !bias.isBF16() && elementType(getOut()) == bias && (counts.isInteger(32) || counts.isInteger(64)) &&
              (!getFactor() || (elementType(getFactor()).isF32() && sizeOf(getFactor()).isConstant()));
  return expectType(*this, "bias and counts", getBias(), fits, "f32 or f64 and integers"); // C1
}

void LoopOp::getBufferUses(SmallVectorImpl<BufferUse> &uses) {}
LogicalResult LoopOp::verify() {
  if (getCount() != "micro_batches" && getCount() != "row_blocks")
    return emitOpError("expected count 'micro_batches' or 'row_blocks', but got '") << getCount() << "'"; // C1
  auto around = (*this)->getParentOfType<LoopOp>();
  if (around && (getCount() != "row_blocks" || around.getCount() != "micro_batches"))
    return emitOpError("expected no loop inside a loop, but over row blocks in one over micro-batches"); // C2
  auto entry = (*this)->getParentOfType<EntryOp>();
  if (getCount() == "row_blocks" && entry && !entry.getBlockRows())
    return emitOpError("expected an entry with block_rows"); // C3
  for (Operation &op : getBody().front()) {
    if (getCount() == "row_blocks" && !isa<LaunchOp, GemmOp, LoopOp>(op)) // loops say themselves that they do not nest
      return op.emitOpError("expected launches and matmuls only in a loop over row blocks"); // C3
  }
  return success();
}

void FillOp::getBufferUses(SmallVectorImpl<BufferUse> &uses) { write(uses, getBuffer()); }
void AddOp::getBufferUses(SmallVectorImpl<BufferUse> &uses) {
  read(uses, getSrc());
  write(uses, getDst(), /*accumulate=*/true);
}
void CopyOp::getBufferUses(SmallVectorImpl<BufferUse> &uses) {
  read(uses, getSrc());
  write(uses, getDst());
}

template <typename Op> static LogicalResult verifyAlike(Op op) {
  if (elementType(op.getSrc()) != elementType(op.getDst()) || sizeOf(op.getSrc()) != sizeOf(op.getDst()))
    return op.emitOpError("expected src and dst of one type and size"); // C1
  return success();
}
LogicalResult AddOp::verify() { return verifyAlike(*this); }
LogicalResult CopyOp::verify() { return verifyAlike(*this); }
