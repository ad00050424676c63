//===- GangPlan.cpp - boundaries of backward in family group ----------------===//

#include "GangPlan.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/OperationSupport.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/SmallPtrSet.h"
#include "llvm/Support/MathExtras.h"

namespace mlir::mhc::nvgpu {
namespace {

int64_t elementsOf(Value narrow) { return cast<NarrowType>(narrow.getType()).getNumElements(); }
int64_t streamsOf(Value wide) { return cast<WideType>(wide.getType()).getStreams(); }

class Planner {
public:
  Planner(KernelOp kernel, PlanRequest &request) : kernel(kernel), request(request) {}

  std::optional<GangPlan> run() {
    if (!findPhases() || (plan.first && !plan.isOneWide() && !readFirst()) || !readSecond() || !findHomes() || !findCode() || !readNarrow() || !chooseRegisters() || !layOut())
      return std::nullopt;
    return plan;
  }

private:
  bool refuse(const Twine &reason) { return request.refuse(reason); }
  static auto ops(PhaseOp phase) { return phase.getBody().front().without_terminator(); }

  bool findPhases() {
    if (!kernel.getCompute().isF32())
      return refuse("arithmetic is not f32");
    SmallVector<PhaseOp> phases = llvm::to_vector(kernel.getBlock().getOps<PhaseOp>());
    size_t at = 0;
    auto take = [&](PhaseRole role) { return at < phases.size() && phases[at].getRole() == role ? phases[at++] : PhaseOp(); };
    plan.loads = take(PhaseRole::narrow);
    if (llvm::count_if(phases, [](PhaseOp phase) { return phase.getRole() == PhaseRole::wide; }) == 2) {
      plan.first = take(PhaseRole::wide);
      plan.narrow = take(PhaseRole::narrow);
    }
    plan.second = take(PhaseRole::wide);
    plan.late = take(PhaseRole::narrow);
    if (!plan.first && plan.second && plan.loads && !plan.second.getBody().front().getOps<RowProjectTOp>().empty()) {
      plan.first = plan.second;
      plan.narrow = plan.loads;
    }
    if ((plan.first && !plan.narrow) || !plan.second || (!plan.first && !plan.late) || at != phases.size())
      return refuse("its phases are not rows, coefficients, rows and what follows from their products");
    return true;
  }

  bool takeRows(Value wide, Value argument, bool interleaved) {
    auto type = cast<WideType>(wide.getType());
    if (!type.getElementType().isBF16())
      return refuse("rows are not bf16");
    if (plan.channels && type.getChannels() != plan.channels)
      return refuse("rows differ in length");
    if (type.getStreams() != 1 && type.getStreams() != GangPlan::streams)
      return refuse("rows are of " + Twine(type.getStreams()) + " streams");
    if (type.getStreams() > 1) {
      if (seesStreams && plan.interleaved != interleaved)
        return refuse("rows differ in how streams lie");
      plan.interleaved = interleaved;
      seesStreams = true;
    }
    plan.channels = type.getChannels();
    return true;
  }

  bool readLoad(RowLoadOp load) {
    if (!isa<WideType>(load.getResult().getType()))
      return refuse("wide code loads coefficients");
    if (load.getAccess() != Access::row)
      return refuse("a row is reached by " + stringifyAccess(load.getAccess()));
    return takeRows(load.getResult(), load.getSource(), load.getInterleaved());
  }

  bool readDot(RowDotOp dot, SmallVectorImpl<std::pair<RowDotOp, int64_t>> &dots, int64_t &count) {
    if (streamsOf(dot.getLhs()) != GangPlan::streams && streamsOf(dot.getRhs()) != GangPlan::streams)
      return refuse("a product of single rows");
    for (Value value : {dot.getLhs(), dot.getRhs()})
      if (!cast<WideType>(value.getType()).getElementType().isBF16())
        return refuse("a product of rows that are not bf16");
    dots.push_back({dot, count});
    count += elementsOf(dot.getResult());
    return true;
  }

  static bool isElementwise(Operation &op) { return isa<RowMapOp, RowMixOp, RowCastOp, RowStreamsOp, RowConcatOp>(op); }

  bool readFirst() {
    for (Operation &op : ops(plan.first)) {
      if (auto load = dyn_cast<RowLoadOp>(op)) {
        if (!readLoad(load))
          return false;
      } else if (auto dot = dyn_cast<RowDotOp>(op)) {
        if (!readDot(dot, plan.dots, plan.sumCount))
          return false;
      } else if (!isElementwise(op)) {
        return refuse("a gang has no code for " + op.getName().getStringRef() + " before the exchange");
      }
    }
    return (plan.sumCount > 0 && plan.sumCount <= 8 && plan.sumCount % 4 == 0) || refuse("it exchanges " + Twine(plan.sumCount) + " sums");
  }

  bool takeWeight(Value value, Value weight, bool interleaved) {
    auto type = cast<NarrowType>(value.getType());
    plan.groups = type.getShape().size() == 2 ? type.getShape()[0] : 1;
    if (plan.groups != 1 && (plan.groups != GangPlan::streams || plan.interleaved))
      return refuse("a projection in " + Twine(plan.groups) + " groups");
    if (plan.given && plan.given != value)
      return refuse("phi and its gradient take different coefficients");
    plan.given = value;
    plan.columns = type.getNumElements() / plan.groups;
    plan.pieces = llvm::divideCeil(plan.columns, 8);
    if (plan.allPieces() > 4)
      return refuse("phi has " + Twine(plan.columns) + " columns in " + Twine(plan.groups) + " groups");
    if (!plan.narrow || value.getDefiningOp() != plan.narrow)
      return refuse("phi takes coefficients from elsewhere");
    return cast<MemRefType>(weight.getType()).getNumElements() == plan.columns * plan.phiRows() ||
           refuse("phi does not go with the rows");
  }

  bool readSecond() {
    for (Operation &op : ops(plan.second)) {
      if (auto load = dyn_cast<RowLoadOp>(op)) {
        if (!readLoad(load))
          return false;
      } else if (auto store = dyn_cast<RowStoreOp>(op)) {
        if (!isa<WideType>(store.getValue().getType()) || !takeRows(store.getValue(), store.getTarget(), store.getInterleaved()))
          return request.why.empty() ? refuse("wide code stores coefficients") : false;
        plan.rowStores.push_back(store);
      } else if (auto dot = dyn_cast<RowDotOp>(op)) {
        if (!readDot(dot, plan.lateDots, plan.lateCount))
          return false;
      } else if (auto project = dyn_cast<RowProjectTOp>(op)) {
        if (plan.projectT || streamsOf(project.getResult()) != GangPlan::streams)
          return refuse("more than one product with a parameter's transposed");
        plan.projectT = project;
        if (!takeWeight(project.getValue(), project.getWeight(), project.getInterleaved()))
          return false;
      } else if (auto outer = dyn_cast<RowOuterTokensOp>(op)) {
        if (plan.outer || streamsOf(outer.getValue()) != GangPlan::streams)
          return refuse("more than one gradient of a parameter");
        plan.outer = outer;
        if (!takeWeight(outer.getNarrow(), outer.getTarget(), outer.getInterleaved()))
          return false;
      } else if (!isElementwise(op)) {
        return refuse("a gang has no code for " + op.getName().getStringRef() + " after the exchange");
      }
    }
    plan.blocks = plan.channels / GangPlan::slice;
    if (plan.channels % GangPlan::slice || plan.blocks > request.gangSize)
      return refuse("rows of " + Twine(plan.channels) + " channels are not 1 to " + Twine(request.gangSize) + " slices of " + Twine(GangPlan::slice));
    if (plan.rowStores.empty() || (plan.first && (!plan.outer || !plan.projectT)))
      return refuse("it has no gradient of the rows, or none of phi");
    if (bool(plan.late) != (plan.lateCount > 0))
      return refuse("what it ends with has no products of rows, or these have nothing that takes them");
    return (plan.lateCount % 4 == 0 && plan.lateCount <= 32) || refuse("it ends with " + Twine(plan.lateCount) + " sums");
  }

  /// Whether two ops of the first and the second phase compute the same.
  bool same(Operation *a, Operation *b) {
    auto known = equal.find({a, b});
    if (known != equal.end())
      return known->second;
    auto operands = [&](Value x, Value y) {
      return success(x == y || (x.getDefiningOp() && y.getDefiningOp() && x.getType() == y.getType() && same(x.getDefiningOp(), y.getDefiningOp())));
    };
    bool result = a->getNumResults() == 1 && OperationEquivalence::isEquivalentTo(a, b, operands, nullptr, OperationEquivalence::IgnoreLocations);
    equal[{a, b}] = result;
    return result;
  }

  void take(Value value, GangPlan::RingOf ring) {
    plan.homes[value] = {ring, plan.stageStreams[ring], streamsOf(value)};
    plan.stageStreams[ring] += streamsOf(value);
  }

  /// What the first phase rounds, and a product or the second phase takes, has a ring of its own. Of one wide phase that is what products take and is not stored (x', for phi's gradient).
  void keepRounded(RowCastOp cast, bool isFactor) {
    Value again;
    for (auto other : plan.second.getBody().front().getOps<RowCastOp>())
      if (same(cast, other))
        again = other.getResult();
    if (plan.isOneWide() && (!isFactor || llvm::any_of(plan.rowStores, [&](RowStoreOp store) { return store.getValue() == cast.getResult(); })))
      return;
    if (!mlir::cast<WideType>(cast.getResult().getType()).getElementType().isBF16() || (!again && !isFactor))
      return;
    take(cast.getResult(), GangPlan::kept);
    plan.keptFirst.push_back(cast.getResult());
    if (again) {
      plan.homes[again] = GangPlan::Home(plan.homes.lookup(cast.getResult()));
      plan.keptSecond.push_back(again);
    }
  }

  void placeLoads() {
    llvm::MapVector<Value, Value> loaded; // argument -> the load's result
    auto place = [&](PhaseOp phase, GangPlan::RingOf ring, function_ref<bool(RowLoadOp)> test) {
      for (auto load : phase.getBody().front().getOps<RowLoadOp>()) {
        if (!test(load) || plan.homes.count(load.getResult()))
          continue;
        auto [it, isNew] = loaded.insert({load.getSource(), load.getResult()});
        if (isNew) {
          take(load.getResult(), ring);
          plan.rowLoads.push_back(load);
        } else {
          plan.homes[load.getResult()] = GangPlan::Home(plan.homes.lookup(it->second));
        }
      }
    };
    auto all = [](RowLoadOp) { return true; };
    if (plan.isOneWide() && !plan.keptFirst.empty()) {
      llvm::SmallPtrSet<Operation *, 16> needed = reach(plan.keptFirst, {});
      place(plan.first, GangPlan::early, [&](RowLoadOp load) { return needed.contains(load); });
    } else if (plan.first) {
      place(plan.first, GangPlan::early, all);
    }
    place(plan.second, plan.first ? GangPlan::other : GangPlan::early, all);
  }

  bool findHomes() {
    llvm::SmallPtrSet<Value, 8> products;
    for (auto &list : {plan.dots, plan.lateDots})
      for (auto [dot, at] : list)
        products.insert_range(ArrayRef<Value>{dot.getLhs(), dot.getRhs()});
    if (plan.outer)
      products.insert(plan.outer.getValue());
    for (auto cast : plan.first ? llvm::to_vector(plan.first.getBody().front().getOps<RowCastOp>()) : SmallVector<RowCastOp>())
      keepRounded(cast, products.contains(cast.getResult()));
    placeLoads();
    for (RowLoadOp load : plan.rowLoads)
      plan.loadedBytes[plan.homes.lookup(load.getResult()).ring] += streamsOf(load.getResult()) * GangPlan::streamBytes;
    // What is stored: in the place of a load that no product takes, read and written by the same thread, or else in its own.
    SmallVector<Value> taken;
    for (RowStoreOp store : plan.rowStores) {
      Value value = store.getValue();
      if (plan.homes.count(value))
        return refuse("a row is stored as it was loaded, or twice");
      RowLoadOp place;
      for (GangPlan::RingOf ring : {GangPlan::other, GangPlan::early})
        for (RowLoadOp load : plan.rowLoads) {
          bool free = plan.homes.lookup(load.getResult()).ring == ring && streamsOf(load.getResult()) == streamsOf(value) &&
                      !llvm::is_contained(taken, load.getSource());
          for (Value user : products)
            if (auto other = user.getDefiningOp<RowLoadOp>())
              free &= other.getSource() != load.getSource() || (plan.homes.lookup(user).ring == ring && isOnlyBefore(user));
          if (free && !place)
            place = load;
        }
      if (!place) {
        take(value, plan.loadedBytes[GangPlan::other] ? GangPlan::other : GangPlan::early);
        continue;
      }
      taken.push_back(place.getSource());
      plan.homes[value] = GangPlan::Home(plan.homes.lookup(place.getResult()));
    }
    for (Value value : products) {
      auto found = plan.homes.find(value);
      if (found == plan.homes.end())
        return refuse("a product takes what is not in shared memory");
      plan.lateReadsKept |= found->second.ring == GangPlan::kept &&
                            llvm::any_of(plan.lateDots, [&](auto &dot) { return dot.first.getLhs() == value || dot.first.getRhs() == value; });
    }
    if (plan.first && plan.outer) {
      Value rows = plan.outer.getValue();
      if (plan.homes.find(rows)->second.ring == GangPlan::other || llvm::any_of(plan.rowStores, [&](RowStoreOp store) { return store.getValue() == rows; }))
        return refuse("phi's gradient takes rows that only come after the exchange");
    }
    for (RowLoadOp load : plan.rowLoads)
      plan.maps.push_back(cast<BlockArgument>(load.getSource()).getArgNumber());
    for (RowStoreOp store : plan.rowStores)
      plan.maps.push_back(cast<BlockArgument>(store.getTarget()).getArgNumber());
    return true;
  }

  /// Products of the first phase have been made when the second one writes.
  bool isOnlyBefore(Value value) { return plan.first && !plan.isOneWide() && value.getParentBlock() == &plan.first.getBody().front(); }

  static Value insideOf(PhaseOp phase, Value result) { return phase.getBody().front().getTerminator()->getOperand(cast<OpResult>(result).getResultNumber()); }

  /// What narrow code needs of a phase's block, following operands; loads of rows among it go into `found`.
  void collect(Value value, llvm::SetVector<Operation *> &found) {
    if (plan.loads && value.getDefiningOp() == plan.loads)
      value = insideOf(plan.loads, value);
    Operation *op = value.getDefiningOp();
    if (!op || isa<PhaseOp>(op) || !found.insert(op))
      return;
    for (Value operand : op->getOperands())
      if (isa<NarrowType>(operand.getType()))
        collect(operand, found);
  }

  bool readNarrow() {
    // What comes before the rows is computed where it is asked for, if it is.
    if (plan.loads && plan.loads != plan.narrow)
      for (Operation &op : ops(plan.loads))
        if (!isa<RowLoadOp, RowCastOp, RowNarrowOp>(op))
          return refuse("a gang has no code for " + op.getName().getStringRef() + " before its rows");
    llvm::SetVector<Operation *> needed;
    SmallVector<Operation *> code;
    if (plan.narrow)
      for (Operation &op : ops(plan.narrow))
        code.push_back(&op);
    for (Operation *each : code) {
      Operation &op = *each;
      if (auto sum = dyn_cast<RowSumTokensOp>(op)) {
        plan.sums.push_back({sum, plan.totals});
        plan.totals += elementsOf(sum.getValue());
      } else if (!isa<RowLoadOp, RowStoreOp, RowCastOp, RowNarrowOp>(op)) {
        return refuse("a gang has no code for " + op.getName().getStringRef() + " in narrow code");
      }
      // Of one wide phase the narrow code has loads for wide code alone, too.
      if (plan.isOneWide() && op.getNumResults())
        continue;
      needed.insert(&op);
      for (Value operand : op.getOperands())
        if (isa<NarrowType>(operand.getType()))
          collect(operand, needed);
    }
    if (plan.isOneWide()) {
      collect(plan.given, needed);
      for (auto [result, place] : plan.results)
        collect(result, needed);
    }
    for (Operation *op : needed)
      if (auto load = dyn_cast<RowLoadOp>(op)) {
        if (load.getAccess() == Access::row && isAtHand(load.getResult(), [](RowLoadOp) {})) {
          plan.fetched[op] = plan.fetchedBytes;
          plan.fetchedBytes += GangPlan::rowBytesOf(load);
        } else if (load.getAccess() != Access::uniform) {
          return refuse("rows are reached by their number in another tensor");
        }
      }
    if (plan.late)
      for (Operation &op : ops(plan.late)) {
        if (!isa<RowLoadOp, RowStoreOp, RowCastOp, RowNarrowOp>(op))
          return refuse("a gang has no code for " + op.getName().getStringRef() + " in its last narrow code");
        for (Value operand : op.getOperands())
          if (auto phase = operand.getDefiningOp<PhaseOp>(); phase && phase != plan.loads && phase != plan.second)
            return refuse("its last coefficients take others than those of before and of the last products");
      }
    return true;
  }

  bool takeNarrow(Value value, bool isFirst) {
    auto fromNarrow = [&] {
      if (plan.results.insert({value, plan.resultCount}).second)
        plan.resultCount += elementsOf(value);
      return true;
    };
    if (plan.narrow && plan.narrow != plan.loads && value.getDefiningOp() == plan.narrow)
      return fromNarrow();
    if (!plan.loads || value.getDefiningOp() != plan.loads)
      return refuse("wide code takes coefficients from elsewhere");
    SmallVector<RowLoadOp> rows;
    if (!isAtHand(insideOf(plan.loads, value), [&](RowLoadOp load) { rows.push_back(load); }))
      return plan.narrow == plan.loads && !isFirst ? fromNarrow() : refuse("coefficients of before take more than a few operations");
    plan.before.insert(value);
    for (RowLoadOp load : rows)
      if (plan.coefficients.insert({load, plan.coefficientBytes}).second)
        plan.coefficientBytes += GangPlan::rowBytesOf(load);
    return true;
  }

  /// The ops that lead to `wanted`, up to the values that are kept.
  static llvm::SmallPtrSet<Operation *, 16> reach(ArrayRef<Value> wanted, ArrayRef<Value> kept) {
    llvm::SmallPtrSet<Operation *, 16> needed;
    SmallVector<Operation *> open = llvm::map_to_vector(wanted, [](Value value) { return value.getDefiningOp(); });
    while (!open.empty()) {
      Operation *op = open.pop_back_val();
      if (!op || !needed.insert(op).second)
        continue;
      for (Value operand : op->getOperands())
        if (isa<WideType>(operand.getType()) && !llvm::is_contained(kept, operand))
          open.push_back(operand.getDefiningOp());
    }
    return needed;
  }

  /// The elementwise ops that lead to `wanted`; `isFirst`: before the narrow code.
  bool demand(PhaseOp phase, bool isFirst, ArrayRef<Value> wanted, SmallVectorImpl<Operation *> &code) {
    llvm::SmallPtrSet<Operation *, 16> needed = reach(wanted, isFirst ? plan.keptFirst : plan.keptSecond);
    for (Operation &op : ops(phase)) {
      if (!needed.contains(&op) || &op == plan.projectT)
        continue;
      code.push_back(&op);
      for (Value operand : op.getOperands())
        if (isa<NarrowType>(operand.getType()) && !takeNarrow(operand, isFirst))
          return false;
    }
    return true;
  }

  bool findCode() {
    SmallVector<Value> stored = llvm::map_to_vector(plan.rowStores, [](RowStoreOp store) { return Value(store.getValue()); });
    return (!plan.first || demand(plan.first, true, plan.keptFirst, plan.firstOps)) && demand(plan.second, false, stored, plan.secondOps);
  }

  bool chooseRegisters() {
    if (plan.projectT) {
      // Beside phi's registers, and its gradient's: what these roles work with. What is left is the exchange's and its neighbours'.
      constexpr int64_t secondWork = 104, productWork = 48, leastProducts = 96;
      const int64_t ofPhi = 8 * GangPlan::streams / plan.groups * plan.pieces, ofGradient = 4 * plan.outerSteps() * plan.pieces;
      plan.secondRegisters = llvm::alignTo(secondWork + ofPhi + (plan.groups > 1 ? 24 : 0), 8);
      plan.productRegisters = std::max<int64_t>(llvm::alignTo(productWork + ofGradient, 8), leastProducts);
      const int64_t left = GangPlan::threads / 32 * GangPlan::registers - plan.firstWarps * plan.firstRegisters - plan.secondWarps * plan.secondRegisters - plan.productWarps * plan.productRegisters;
      plan.serviceRegisters = std::clamp<int64_t>(left / plan.serviceWarps / 8 * 8, 24, 248);
    }
    if (!request.takeRegisters("first_registers", plan.firstRegisters) || !request.takeRegisters("second_registers", plan.secondRegisters) ||
        !request.takeRegisters("product_registers", plan.productRegisters) || !request.takeRegisters("service_registers", plan.serviceRegisters))
      return false;
    int64_t sum = plan.firstWarps * plan.firstRegisters + plan.secondWarps * plan.secondRegisters + plan.productWarps * plan.productRegisters + plan.serviceWarps * plan.serviceRegisters;
    int64_t pool = GangPlan::threads / 32 * GangPlan::registers;
    if (sum <= pool)
      return true;
    for (StringRef name : {"first_registers", "second_registers", "product_registers", "service_registers"})
      if (request.has(name))
        return request.refuse(name, "expected registers of all warps of at most " + Twine(pool * 32) + " together, but got " + Twine(sum * 32));
    return refuse("registers do not suffice");
  }

  bool layOut() {
    // The most stages that fit, where rows are waited for most.
    constexpr int64_t choices[][3] = {{6, 5, 3}, {5, 4, 3}, {5, 3, 3}, {4, 3, 4}, {4, 3, 3}, {5, 2, 3}, {4, 2, 3}, {3, 2, 3}, {3, 2, 2}, {2, 2, 2}};
    constexpr StringRef names[GangPlan::ringCount] = {"stages", "other_stages", "kept_stages"};
    for (auto &choice : choices) {
      for (int64_t ring = 0; ring < GangPlan::ringCount; ++ring) {
        plan.stages[ring] = request.pick(names[ring], choice[ring]);
        if (plan.stages[ring] < 2 || plan.stages[ring] > GangPlan::exchanges / 2)
          return request.refuse(names[ring], "expected 2 to " + Twine(GangPlan::exchanges / 2) + ", but got " + Twine(plan.stages[ring]));
      }
      if (plan.stages[GangPlan::early] < plan.stages[GangPlan::other] && request.has("other_stages"))
        return request.refuse("other_stages", "expected at most 'stages' (" + Twine(plan.stages[GangPlan::early]) + "), but got " + Twine(plan.stages[GangPlan::other]));
      if (plan.stages[GangPlan::early] >= plan.stages[GangPlan::other] && place())
        return true;
    }
    for (StringRef name : names)
      if (request.has(name))
        return request.refuse(name, "expected stages that fit into " + Twine(request.sharedBytes) + " bytes of shared memory, but they take " + Twine(plan.sharedBytes));
    return refuse("the rows of 16 tokens do not fit into shared memory");
  }

  /// What the late narrow code keeps (Sinkhorn's states) lies in shared memory as far as the stages leave room: beside them the first-level cache is
  /// too small for it, and each step of a token would wait for the second-level one. Not what stands in a branch: that is rare, and may be written in
  /// place, where both lanes of a token have one place (GangEmitter::allocate).
  int64_t takeLateMemory(int64_t at) {
    plan.lateMemoryAt = llvm::alignTo(at, 16);
    plan.lateMemoryBytes = 0;
    if (plan.late)
      plan.late->walk([&](memref::AllocaOp op) {
        int64_t bytes = GangPlan::lateBytesOf(op.getType());
        if (isa<RowNarrowOp>(op->getParentOp()) && plan.lateMemoryAt + plan.lateMemoryBytes + bytes <= request.sharedBytes)
          plan.lateMemoryBytes += bytes;
      });
    return plan.lateMemoryBytes ? plan.lateMemoryAt + plan.lateMemoryBytes : at;
  }

  bool place() {
    int64_t at = 0;
    auto take = [&](int64_t bytes) {
      int64_t place = llvm::alignTo(at, 16);
      at = place + bytes;
      return place;
    };
    for (int64_t ring = 0; ring < GangPlan::ringCount; ++ring)
      plan.ringAt[ring] = take(plan.stages[ring] * plan.stageStreams[ring] * GangPlan::streamBytes);
    plan.givenBytes = 2 * GangPlan::partBytes + llvm::alignTo(GangPlan::tokens * plan.resultCount * 4, 128);
    plan.givenAt = take(GangPlan::givenStages * plan.givenBytes);
    plan.coefficientBytes = std::max(plan.coefficientBytes, plan.lateBytes());
    plan.coefficientsAt = take(plan.stages[GangPlan::early] * plan.coefficientBytes);
    plan.fetchedAt = take(GangPlan::exchangeWarps * plan.fetchedBytes);
    plan.totalsAt = take(GangPlan::exchangeWarps * plan.totals * GangPlan::tokens * 4);
    plan.finishedAt = take(16);
    plan.knownAt = take(32);
    plan.barriers = take(8 * (3 * plan.stages[GangPlan::early] + plan.stages[GangPlan::other] + 2 * plan.stages[GangPlan::kept] +
                              2 * GangPlan::givenStages + GangPlan::exchangeWarps));
    if (at <= request.sharedBytes)
      at = takeLateMemory(at);
    plan.sharedBytes = at;
    // Late sums of a tile are added up by one block, in turn; a block may be a round of the blocks behind with its share. What another block has not
    // yet read must not be overwritten. Where rows wait for sums no block is more than `stages` tiles ahead of another; otherwise it is ahead
    // by what its own share allows, so that two lags come together.
    plan.lateLag = plan.blocks + 2;
    plan.lateTiles = plan.waits() ? plan.lateLag + plan.stages[GangPlan::early] + 2 : 2 * plan.lateLag + plan.blocks + 1;
    plan.exchangeBytes = GangPlan::exchanges * plan.blocks * GangPlan::tokens * plan.sumCount * 4;
    // Blocks that exchange nothing are launched like others, which have some.
    plan.workspace = std::max<int64_t>(plan.exchangeBytes + plan.lateTiles * plan.blocks * plan.lateBytes(), 128);
    return at <= request.sharedBytes;
  }

  KernelOp kernel;
  PlanRequest &request;
  GangPlan plan;
  bool seesStreams = false; ///< whether plan.interleaved is known
  llvm::DenseMap<std::pair<Operation *, Operation *>, bool> equal;
};

} // namespace

std::optional<GangPlan> planGang(KernelOp kernel, PlanRequest &request) { return Planner(kernel, request).run(); }

ScheduleAttr GangPlan::schedule(MLIRContext *context) const {
  Builder b(context);
  NamedAttrList fields;
  fields.append("exchange", b.getStringAttr("memory"));
  for (auto [name, value] : std::initializer_list<std::pair<StringRef, int64_t>>{
           {"tile", tokens}, {"threads", threads}, {"blocks", blocks}, {"slice", slice}, {"stages", stages[early]}, {"other_stages", stages[other]}, {"kept_stages", stages[kept]},
           {"first_registers", firstRegisters}, {"second_registers", secondRegisters}, {"product_registers", productRegisters}, {"service_registers", serviceRegisters}})
    fields.append(name, b.getI64IntegerAttr(value));
  return ScheduleAttr::get(context, "group", fields.getDictionary(context));
}

} // namespace mlir::mhc::nvgpu
