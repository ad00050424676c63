//===- EntryBuilder.cpp - plans from functions ------------------------------===//
//
// Values become buffers here: arguments and results of a function lie where the caller, the model's arenas or the
// scalars are, everything else in the arena. Destinations.cpp decides which values need no buffer of their own;
// Commands.cpp writes the commands.
//
//===----------------------------------------------------------------------===//

#include "EntryBuilder.h"

#include "llvm/ADT/StringSet.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::mhc;
using plan::BufferKind;
using plan::ExprAttr;

Value mhc::rootOf(Value value) {
  while (auto view = value.getDefiningOp<ViewOp>())
    value = view.getValue();
  return value;
}

EntryBuilder::EntryBuilder(ModuleOp module, StringRef name, ArrayAttr symbols, Location loc)
    : module(module), symbolTable(module), builder(module.getContext()) {
  builder.setInsertionPointToEnd(module.getBody());
  // Tokens are rows of B sequences of S: all other sizes go by their product.
  ArrayAttr derived;
  if (llvm::is_contained(symbols, builder.getStringAttr("B")) &&
      llvm::is_contained(symbols, builder.getStringAttr("S")))
    derived = builder.getArrayAttr(builder.getStrArrayAttr({"T", "B", "S"}));
  entry = plan::EntryOp::create(builder, loc, name, symbols, derived, /*block_rows=*/IntegerAttr());
  entry.getBody().emplaceBlock();
  builder.setInsertionPointToEnd(&entry.getBlock());
}

bool EntryBuilder::hasSymbol(StringRef name) {
  if (entry.getDerived() && name == "T")
    return true;
  return llvm::is_contained(entry.getSymbols(), builder.getStringAttr(name));
}

//===----------------------------------------------------------------------===//
// Functions
//===----------------------------------------------------------------------===//

LogicalResult EntryBuilder::emitFunction(func::FuncOp function, Results results) {
  func = function;
  mode = results;
  buffers.clear();
  destinations.clear();
  direct.clear();
  if (!func.getBody().hasOneBlock())
    return func.emitOpError("expected one block after phase 'kernels'");
  if (failed(checkTypes()))
    return failure();
  // What nobody uses is not run: the ops are pure.
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(func.getBody().front())))
    if (isOpTriviallyDead(&op))
      op.erase();
  if (failed(assignDestinations()))
    return failure();
  llvm::DenseSet<Operation *> again = computedAgain();
  for (Operation &op : func.getBody().front()) {
    Block *block = builder.getInsertionBlock();
    Operation *before = block->empty() ? nullptr : &block->back();
    if (failed(emit(op)))
      return failure();
    if (again.contains(&op))
      for (Operation *command = &block->back(); command != before; command = command->getPrevNode())
        if (isa<plan::CommandInterface>(command))
          command->setAttr("mhc.again", builder.getUnitAttr());
  }
  return success();
}

/// Of a function that takes gradients: the ops that none of them goes into. They compute what forward has computed.
llvm::DenseSet<Operation *> EntryBuilder::computedAgain() {
  llvm::DenseSet<Operation *> again;
  llvm::DenseSet<Value> gradients;
  for (BlockArgument argument : func.getArguments())
    if (func.getArgAttr(argument.getArgNumber(), "mhc.cotangent"))
      gradients.insert(argument);
  if (gradients.empty())
    return again;
  for (Operation &op : func.getBody().front().without_terminator())
    // Regions may read values from outside.
    if (op.walk([&](Operation *inside) {
            return llvm::any_of(inside->getOperands(), [&](Value v) { return gradients.contains(v); }) ? WalkResult::interrupt() : WalkResult::advance();
          }).wasInterrupted())
      gradients.insert_range(op.getResults());
    else
      again.insert(&op);
  return again;
}

/// The number of elements, or nothing if it leaves 64 bits.
static std::optional<int64_t> checkedElements(RankedTensorType type) {
  int64_t count = 1;
  for (int64_t dim : type.getShape())
    if (!ShapedType::isDynamic(dim) && llvm::MulOverflow(count, dim, count))
      return std::nullopt;
  return count;
}

/// IR may come from a file: everything after this relies on tensors of sane sizes.
LogicalResult EntryBuilder::checkTypes() {
  if (!isa<func::ReturnOp>(func.getBody().front().back()))
    return func.emitOpError("expected a function that returns");
  // Two tensors of one name would be one to the caller.
  llvm::StringSet<> inputs, outputs;
  auto isNew = [](llvm::StringSet<> &names, DictionaryAttr attributes) {
    if (!attributes || attributes.get("mhc.state"))
      return true;
    auto name = attributes.getAs<StringAttr>("mhc.name");
    auto slice = attributes.getAs<IntegerAttr>("mhc.slice");
    return !name || names.insert((name.getValue() + "/" + Twine(slice ? slice.getInt() : 0)).str()).second;
  };
  for (unsigned i = 0, e = func.getNumArguments(); i < e; ++i)
    if (!isNew(inputs, func.getArgAttrDict(i)))
      return func.emitOpError("expected arguments of different names, but got ") << func.getArgAttr(i, "mhc.name") << " twice";
  for (unsigned i = 0, e = func.getNumResults(); i < e; ++i)
    if (!isNew(outputs, func.getResultAttrDict(i)))
      return func.emitOpError("expected results of different names, but got ") << func.getResultAttr(i, "mhc.name") << " twice";
  auto check = [&](Value value) -> LogicalResult {
    auto type = dyn_cast<RankedTensorType>(value.getType());
    if (!type)
      return emitError(value.getLoc(), "expected tensors after phase 'kernels', but got ") << value.getType();
    if (!checkedElements(type) || (type.hasRank() && type.getRank() == 0))
      return emitError(value.getLoc(), "expected a tensor of at least one dimension whose size 64 bits hold, but got ")
             << type;
    return success();
  };
  for (BlockArgument argument : func.getArguments())
    if (failed(check(argument)))
      return failure();
  for (Operation &op : func.getBody().front())
    for (Value result : op.getResults())
      if (failed(check(result)))
        return failure();
  return success();
}

void EntryBuilder::fillState(StringRef arena, int64_t elements, double value) {
  BufferSpec spec{BufferKind::state, arena == "expert_counts" ? Type(builder.getI64Type()) : Type(builder.getF32Type()), constant(elements)};
  spec.name = spec.arena = arena;
  spec.begin = 0;
  plan::FillOp::create(builder, entry.getLoc(), sharedBuffer(spec, entry.getLoc()), builder.getF64FloatAttr(value),
                       StringAttr());
}

void EntryBuilder::fillScalar(int64_t slot, double value) {
  BufferSpec spec{BufferKind::scalars, builder.getF32Type(), constant(1)};
  spec.begin = slot;
  plan::FillOp::create(builder, entry.getLoc(), sharedBuffer(spec, entry.getLoc()), builder.getF64FloatAttr(value),
                       StringAttr());
}

void EntryBuilder::beginLoop(StringRef count) {
  auto loop = plan::LoopOp::create(builder, entry.getLoc(), count, StringAttr());
  loop.getBody().emplaceBlock();
  builder.setInsertionPointToEnd(&loop.getBody().front());
}

void EntryBuilder::endLoop() { builder.setInsertionPointToEnd(&entry.getBlock()); }

plan::EntryOp EntryBuilder::finish() {
  DenseMap<Value, plan::LiveRange> ranges = plan::computeLiveRanges(entry);
  for (Operation &op : llvm::make_early_inc_range(entry.getBlock())) {
    auto buffer = dyn_cast<plan::BufferOp>(op);
    if (!buffer)
      continue;
    if (buffer.getBuffer().use_empty())
      buffer.erase();
    else if (buffer.isTemporary()) {
      plan::LiveRange range = ranges.lookup(buffer.getBuffer());
      buffer.setLiveAttr(builder.getDenseI64ArrayAttr({range.first, range.last}));
    }
  }
  return entry;
}

//===----------------------------------------------------------------------===//
// Buffers
//===----------------------------------------------------------------------===//

Value EntryBuilder::makeBuffer(const BufferSpec &spec, Location loc) {
  OpBuilder::InsertionGuard guard(builder);
  if (lastBuffer)
    builder.setInsertionPointAfter(lastBuffer);
  else
    builder.setInsertionPointToStart(&entry.getBlock());
  auto text = [&](StringRef value) { return value.empty() ? StringAttr() : builder.getStringAttr(value); };
  auto number = [&](std::optional<int64_t> value) { return value ? builder.getI64IntegerAttr(*value) : IntegerAttr(); };
  bool temporary = spec.kind == BufferKind::arena || spec.kind == BufferKind::partials;
  auto op = plan::BufferOp::create(builder, loc, builder.getType<plan::BufferType>(), /*base=*/Value(), spec.kind, spec.elementType,
                                   spec.size, temporary ? builder.getDenseI64ArrayAttr({0, 0}) : DenseI64ArrayAttr(),
                                   text(spec.name), text(spec.tensor), number(spec.slice), number(spec.slices),
                                   text(spec.arena), number(spec.begin), /*generator=*/StringAttr(),
                                   /*theta=*/FloatAttr(), /*pairs=*/IntegerAttr());
  lastBuffer = op;
  return op.getBuffer();
}

Value EntryBuilder::sharedBuffer(const BufferSpec &spec, Location loc) {
  std::string key = (plan::stringifyBufferKind(spec.kind) + "|" + spec.tensor + "|" + spec.arena + "|" +
                     Twine(spec.slice.value_or(0)) + "|" + Twine(spec.begin.value_or(0)) + "|" + spec.size.str())
                        .str();
  Value &buffer = shared[key];
  if (!buffer)
    buffer = makeBuffer(spec, loc);
  return buffer;
}

static std::optional<int64_t> integer(DictionaryAttr attributes, StringRef name) {
  if (!attributes)
    return std::nullopt;
  auto value = attributes.getAs<IntegerAttr>(name);
  return value ? std::optional<int64_t>(value.getInt()) : std::nullopt;
}
static StringRef text(DictionaryAttr attributes, StringRef name) {
  auto value = attributes ? attributes.getAs<StringAttr>(name) : StringAttr();
  return value ? value.getValue() : StringRef();
}

FailureOr<Value> EntryBuilder::argumentBuffer(BlockArgument argument) {
  unsigned index = argument.getArgNumber();
  DictionaryAttr attributes = func.getArgAttrDict(index);
  auto type = cast<RankedTensorType>(argument.getType());
  BufferSpec spec{BufferKind::input, type.getElementType(), {}};
  spec.tensor = text(attributes, "mhc.name");
  int64_t elements = rowElements(type), dynamic = type.getNumDynamicDims();
  if (!dynamic)
    spec.size = constant(elements);
  else if (std::optional<int64_t> rows = integer(attributes, "mhc.rows"))
    spec.size = constant(*rows).times(elements);
  else if (dynamic == 2 && type.getRank() == 2 && hasSymbol("B") && hasSymbol("T"))
    spec.size = symbol("T").plus(symbol("B").times(integer(attributes, "mhc.shift").value_or(0)));
  else if (dynamic == 1 && hasRows(type) && hasSymbol("T"))
    spec.size = symbol("T").times(elements);
  if (!spec.size)
    return func.emitOpError("expected argument ") << index << " to have a row for each of T tokens, but got " << type;
  StringRef state = text(attributes, "mhc.state");
  if (!state.empty()) {
    spec.kind = BufferKind::state;
    spec.arena = state;
    spec.name = spec.tensor;
    spec.tensor = {};
    spec.begin = integer(attributes, "mhc.begin").value_or(0);
    return sharedBuffer(spec, argument.getLoc());
  }
  if (spec.tensor.empty())
    return func.emitOpError("expected attribute 'mhc.name' of argument ") << index;
  if (attributes.contains("mhc.parameter"))
    spec.kind = BufferKind::parameter;
  spec.slice = integer(attributes, "mhc.slice");
  spec.slices = integer(attributes, "mhc.slices");
  return sharedBuffer(spec, argument.getLoc());
}

/// The slot of a result of train_step's parts; by attribute, or one of the known names.
static std::optional<int64_t> scalarSlot(DictionaryAttr attributes, bool known) {
  if (std::optional<int64_t> slot = integer(attributes, "mhc.scalar"))
    return slot;
  if (!known)
    return std::nullopt;
  return llvm::StringSwitch<std::optional<int64_t>>(text(attributes, "mhc.name"))
      .Case("loss", lossSlot)
      .Case("cross_entropy", crossEntropySlot)
      .Case("sum_squares", sumOfSquaresSlot)
      .Case("clip_factor", clipFactorSlot)
      .Default(std::nullopt);
}

bool EntryBuilder::isDropped(unsigned result) { return mode != Results::caller && func.getResultAttr(result, "mhc.caller"); }

bool EntryBuilder::accumulates(unsigned result) {
  return mode == Results::accumulate && (!text(func.getResultAttrDict(result), "mhc.gradient").empty() ||
                                         scalarSlot(func.getResultAttrDict(result), true));
}

FailureOr<Value> EntryBuilder::resultBuffer(unsigned index, Type elementType, ExprAttr size) {
  DictionaryAttr attributes = func.getResultAttrDict(index);
  BufferSpec spec{BufferKind::output, elementType, size};
  spec.tensor = text(attributes, "mhc.name");
  StringRef state = text(attributes, "mhc.state"), gradient = text(attributes, "mhc.gradient");
  if (!state.empty()) {
    spec.kind = BufferKind::state;
    spec.arena = state;
    spec.name = spec.tensor;
    spec.tensor = {};
    spec.begin = integer(attributes, "mhc.begin").value_or(0);
  } else if (!gradient.empty()) {
    spec.kind = BufferKind::gradient;
    spec.tensor = gradient;
  } else if (std::optional<int64_t> slot = scalarSlot(attributes, mode != Results::caller)) {
    spec.kind = BufferKind::scalars;
    spec.name = spec.tensor;
    spec.tensor = {};
    spec.begin = slot;
  } else if (mode != Results::caller || spec.tensor.empty()) {
    return func.emitOpError("expected result ")
           << index << " to say where it goes ('mhc.name', 'mhc.gradient', 'mhc.state' or 'mhc.scalar')";
  } else {
    spec.slice = integer(attributes, "mhc.slice");
    spec.slices = integer(attributes, "mhc.slices");
  }
  return sharedBuffer(spec, func.getLoc());
}

FailureOr<Value> EntryBuilder::use(Value value) {
  value = rootOf(value);
  if (Value buffer = buffers.lookup(value))
    return buffer;
  auto argument = dyn_cast<BlockArgument>(value);
  if (!argument)
    return emitError(value.getLoc(), "expected a value that a command has written");
  FailureOr<Value> buffer = argumentBuffer(argument);
  if (succeeded(buffer))
    buffers[value] = *buffer;
  return buffer;
}

FailureOr<Value> EntryBuilder::define(Value value, ExprAttr size, bool *accumulate) {
  if (!size)
    return emitError(value.getLoc(), "expected a size that 64 bits hold");
  Type elementType = cast<RankedTensorType>(value.getType()).getElementType();
  bool add = false;
  FailureOr<Value> buffer = failure();
  auto found = destinations.find(value);
  if (found == destinations.end()) {
    BufferSpec spec{BufferKind::arena, elementType, size};
    if (auto name = dyn_cast<NameLoc>(value.getLoc()))
      spec.name = name.getName().getValue();
    buffer = makeBuffer(spec, value.getLoc());
  } else if (Value sum = found->second.sum) {
    // The first part of a sum makes its buffer and is written, the others are added.
    if (Value started = buffers.lookup(sum)) {
      buffer = started;
      add = true;
    } else {
      buffer = define(sum, size, &add);
    }
  } else {
    buffer = resultBuffer(*found->second.result, elementType, size);
    add = found->second.accumulate;
  }
  if (failed(buffer))
    return failure();
  if (add && !accumulate)
    return emitError(value.getLoc(), "expected a command that can add to its result");
  if (accumulate)
    *accumulate = add;
  buffers[value] = *buffer;
  return buffer;
}

FailureOr<ExprAttr> EntryBuilder::rowsOf(Value value) {
  FailureOr<Value> buffer = use(value);
  if (failed(buffer))
    return failure();
  ExprAttr rows = sizeOf(*buffer).dividedBy(rowElements(value.getType()));
  if (!rows)
    return emitError(value.getLoc(), "expected whole rows of ")
           << value.getType() << " in " << sizeOf(*buffer).str() << " elements";
  return rows;
}

StringAttr EntryBuilder::placeOf(Operation *op) {
  if (auto place = op->getAttrOfType<StringAttr>("mhc.place"))
    return place;
  if (auto name = dyn_cast<NameLoc>(op->getLoc()))
    return name.getName();
  return builder.getStringAttr(op->getName().stripDialect());
}
