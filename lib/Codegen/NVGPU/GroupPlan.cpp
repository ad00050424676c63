//===- GroupPlan.cpp - which kernels family group takes, and how ------------===//

#include "GroupPlan.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/SmallPtrSet.h"
#include "llvm/Support/MathExtras.h"

namespace mlir::mhc::nvgpu {
namespace {

/// What leaves the first-level cache enough for parameters and what roles spill: with less a boundary took 1.3 times as long.
constexpr int64_t comfortableShared = 192 * 1024;
/// Registers that a projection warp works with beside phi's, and what it can have in all.
constexpr int64_t workRegisters = 44, mostRegisters = 152;

class Planner {
public:
  Planner(KernelOp kernel, PlanRequest &request) : kernel(kernel), request(request) {}

  std::optional<GroupPlan> run() {
    if (!findPhases() || !readFirst() || !readSecond() || !findHomes() || !chooseSlice())
      return std::nullopt;
    return plan;
  }

private:
  bool refuse(const Twine &reason) { return request.refuse(reason); }

  bool findPhases() {
    if (!kernel.getCompute().isF32())
      return refuse("arithmetic is not f32");
    if (kernel.getNumReductions())
      return refuse("it sums over tokens");
    SmallVector<PhaseOp> phases = llvm::to_vector(kernel.getBlock().getOps<PhaseOp>());
    auto isWide = [&](size_t i) { return i < phases.size() && phases[i].getRole() == PhaseRole::wide; };
    auto isNarrow = [&](size_t i) { return i < phases.size() && phases[i].getRole() == PhaseRole::narrow; };
    size_t at = 0;
    if (isNarrow(at))
      plan.loads = phases[at++];
    if (!isWide(at))
      return refuse("it does not begin with wide code");
    plan.first = phases[at++];
    if (!isNarrow(at))
      return refuse("nothing is made of sums over the channels");
    plan.narrow = phases[at++];
    if (isWide(at))
      plan.second = phases[at++];
    if (at != phases.size())
      return refuse("it has more phases than one exchange of sums serves");
    if (plan.loads) {
      for (Operation &op : plan.loads.getBody().front())
        if (!isa<RowLoadOp, RowStoreOp, RowCastOp, RowNarrowOp, RowYieldOp>(op))
          return refuse("family group has no code for " + op.getName().getStringRef() + " before its rows");
      for (Value value : plan.loads.getBody().front().getTerminator()->getOperands()) {
        if (auto load = value.getDefiningOp<RowLoadOp>(); load && cast<NarrowType>(value.getType()).getElementType().isInteger())
          return refuse("rows are reached by their number in another tensor");
        if (!isAtHand(value, [&](RowLoadOp load) { plan.coefficientLoads[load] = 0; }))
          return refuse("coefficients of before take more than a few operations");
      }
    }
    return true;
  }

  /// A wide value of bf16 with the kernel's channels.
  bool takeChannels(WideType type) {
    if (plan.channels && type.getChannels() != plan.channels)
      return false;
    plan.channels = type.getChannels();
    return true;
  }

  /// All rows of more streams than one lie alike.
  bool takeLayout(WideType type, bool interleaved) {
    if (type.getStreams() == 1)
      return true;
    int64_t streams = interleaved ? type.getStreams() : 0;
    if (interleaved && streams != 2 && streams != 4)
      return refuse(Twine(streams) + " streams are interleaved");
    if (layout && *layout != streams)
      return refuse("rows differ in how streams lie");
    layout = plan.interleaved = streams;
    return true;
  }

  bool readLoad(RowLoadOp load) {
    auto type = dyn_cast<WideType>(load.getResult().getType());
    if (!type)
      return refuse("wide code loads coefficients");
    if (!takeChannels(type))
      return refuse("rows differ in length");
    if (load.getAccess() == Access::uniform && type.getElementType().isF32()) // a parameter, read from the cache
      return type.getStreams() == 1 || !load.getInterleaved() || refuse("streams of a parameter are interleaved");
    if (load.getAccess() != Access::row)
      return refuse("a row is reached by " + stringifyAccess(load.getAccess()));
    return type.getElementType().isBF16() ? takeLayout(type, load.getInterleaved()) : refuse("rows are not bf16");
  }

  bool readStore(RowStoreOp store) {
    auto type = dyn_cast<WideType>(store.getValue().getType());
    if (!type || !type.getElementType().isBF16() || !takeChannels(type))
      return refuse("a row of something else than bf16 is stored");
    return takeLayout(type, store.getInterleaved());
  }

  bool readFirst() {
    for (Operation &op : plan.first.getBody().front().without_terminator()) {
      if (auto load = dyn_cast<RowLoadOp>(op)) {
        if (!readLoad(load))
          return false;
        if (load.getAccess() == Access::row)
          plan.rowLoads.push_back(load);
      } else if (auto store = dyn_cast<RowStoreOp>(op)) {
        if (!readStore(store))
          return false;
      } else if (auto project = dyn_cast<RowProjectOp>(op)) {
        if (plan.project)
          return refuse("it has two projections");
        plan.project = project;
        auto weight = cast<MemRefType>(project.getWeight().getType());
        int64_t k = weight.getDimSize(project.getTransposed() ? 1 : 0);
        plan.columns = weight.getDimSize(project.getTransposed() ? 0 : 1);
        plan.pieces = llvm::divideCeil(plan.columns, 8);
        WideType row = project.getValue().getType();
        plan.apart = row.getNumElements() / k;
        if (!row.getElementType().isBF16())
          return refuse("the projection is not one of bf16 rows");
        if (plan.apart > 1 && (plan.apart != row.getStreams() || plan.apart % 2))
          return refuse(Twine(plan.apart) + " streams are projected on their own, which are not pairs");
        if (plan.apart > 1 && plan.interleaved)
          return refuse("streams are interleaved, and each is projected on its own");
        addSums(&op, plan.projected());
      } else if (auto reduce = dyn_cast<RowReduceOp>(op)) {
        if (reduce.getKind() == ReduceKind::max)
          return refuse("it takes a maximum over the channels");
        plan.reduces.push_back(reduce);
      } else if (!isa<RowMapOp, RowMixOp, RowCastOp, RowStreamsOp, RowConcatOp>(op)) {
        return refuse("family group has no code for " + op.getName().getStringRef());
      }
    }
    for (RowReduceOp reduce : plan.reduces)
      addSums(reduce, cast<NarrowType>(reduce->getResult(0).getType()).getNumElements());
    plan.reduced = plan.sumCount - plan.projected();
    plan.sumWords = llvm::alignTo(plan.sumCount, 8);
    if (!plan.sumCount)
      return refuse("there is nothing to exchange");
    return plan.sumWords <= 4 * 32 || refuse("a token has more sums than a warp takes at a time");
  }

  void addSums(Operation *op, int64_t count) {
    plan.sums[op] = plan.sumCount;
    plan.sumCount += count;
  }

  bool readSecond() {
    if (!plan.second) {
      plan.resultCount = 1; // nothing but the message that the sums have been taken, so that no block runs ahead
      return true;
    }
    for (Operation &op : plan.second.getBody().front().without_terminator()) {
      if (auto load = dyn_cast<RowLoadOp>(op)) {
        if (!readLoad(load))
          return false;
      } else if (auto store = dyn_cast<RowStoreOp>(op)) {
        if (!readStore(store))
          return false;
      } else if (!isa<RowMapOp, RowMixOp, RowCastOp, RowStreamsOp, RowConcatOp>(op)) {
        return refuse("family group has no code for " + op.getName().getStringRef() + " after the exchange");
      }
      for (Value operand : op.getOperands())
        if (isa<NarrowType>(operand.getType())) {
          if (operand.getDefiningOp() == plan.narrow && !llvm::is_contained(plan.results, operand)) {
            plan.results.push_back(operand);
            plan.resultCount += cast<NarrowType>(operand.getType()).getNumElements();
          } else if (operand.getDefiningOp() != plan.narrow) {
            return refuse("the second wide phase takes coefficients of before");
          }
        }
    }
    return plan.resultCount > 0 || refuse("nothing of the sums comes back to the rows");
  }

  /// A stage holds rows as [stream][box][token]. What the projection or the second phase reads of what the first one computed takes the place of a load
  /// of as many streams that is not needed then; loads that only the first phase reads pass through a ring of their own.
  bool findHomes() {
    llvm::MapVector<Value, Value> loaded; // argument -> the load's result
    for (RowLoadOp load : plan.rowLoads)
      if (!loaded.insert({load.getSource(), load.getResult()}).second)
        return refuse("an argument is loaded twice");
    llvm::SetVector<Value> wanted; // beyond the first phase
    if (plan.project)
      wanted.insert(plan.project.getValue());
    llvm::MapVector<Value, Value> storedTo;
    plan.first.walk([&](RowStoreOp store) { storedTo[store.getTarget()] = store.getValue(); });
    if (plan.second) {
      bool good = true;
      plan.second.walk([&](RowLoadOp load) {
        if (load.getAccess() == Access::uniform)
          return;
        Value value = storedTo.lookup(load.getSource());
        if (!value)
          value = loaded.lookup(load.getSource());
        if (value)
          wanted.insert(value);
        good &= value != Value();
      });
      if (!good)
        return refuse("the second wide phase loads other rows");
    }
    int64_t streams = 0;
    auto streamsOf = [](Value value) { return cast<WideType>(value.getType()).getStreams(); };
    llvm::SmallPtrSet<Operation *, 4> kept; // loads whose place is taken
    for (Value value : wanted)
      if (auto load = value.getDefiningOp<RowLoadOp>()) {
        kept.insert(load);
        plan.homes[value] = streams;
        streams += streamsOf(value);
      }
    for (Value value : wanted) {
      if (plan.homes.count(value))
        continue;
      auto place = llvm::find_if(plan.rowLoads, [&](RowLoadOp load) {
        return streamsOf(load.getResult()) == streamsOf(value) && !kept.contains(load);
      });
      if (place == plan.rowLoads.end())
        return refuse("no load gives its place to what is computed");
      kept.insert(*place);
      plan.homes[place->getResult()] = plan.homes[value] = streams;
      streams += streamsOf(value);
    }
    int64_t passingStreams = 0;
    for (RowLoadOp load : plan.rowLoads)
      if (!kept.contains(load)) {
        plan.passing[load.getResult()] = passingStreams;
        passingStreams += streamsOf(load.getResult());
      }
    plan.stageBytes = streams * GroupPlan::boxBytes; // of one box of channels, for now
    plan.passingBytes = passingStreams * GroupPlan::boxBytes;
    for (RowLoadOp load : plan.rowLoads)
      plan.maps.push_back(cast<BlockArgument>(load.getSource()).getArgNumber());
    bool apart = false;
    plan.first.walk([&](RowStoreOp store) {
      if (plan.homes.count(store.getValue()))
        plan.maps.push_back(cast<BlockArgument>(store.getTarget()).getArgNumber());
      else
        apart |= streamsOf(store.getValue()) > 1;
    });
    if (plan.second)
      plan.second.walk([&](RowStoreOp store) { apart |= streamsOf(store.getValue()) > 1; });
    if (plan.interleaved && apart)
      return refuse("interleaved streams are stored that have no place on chip");
    return streams > 0 || refuse("no rows are kept");
  }

  bool chooseSlice() {
    int64_t streams = plan.project ? plan.project.getValue().getType().getStreams() : 1;
    // An exchange that is asked for, or both where the target has them.
    StringRef exchange = request.asked ? request.asked.getWord("exchange") : "";
    const int64_t largest = exchange == "memory" ? 0 : request.clusterSize > 1 ? request.clusterSize : 0;
    const bool rings = exchange != "cluster" && request.gangSize > 1;
    std::optional<GroupSlice> slice = GroupSlice::choose(streams, plan.channels, plan.columns, largest, rings, plan.apart);
    if (request.has("blocks")) {
      int64_t blocks = request.pick("blocks", 0);
      bool ring = rings && (largest == 0 || (slice && slice->ring));
      slice = blocks >= 1 && blocks <= (ring ? GroupSlice::units : largest) ? GroupSlice::make(ring, blocks, streams, plan.channels, plan.columns, plan.apart) : std::nullopt;
      if (!slice)
        return request.refuse("blocks", ring ? "expected 2 to " + Twine(GroupSlice::units) + " blocks with whole boxes of 64 channels and their part of phi in registers, but got " + Twine(blocks)
                                             : "expected a cluster of at most " + Twine(largest) +
                                                   " blocks, each with as many tokens to finish, with whole boxes of 64 channels and their part of phi in registers, but got " + Twine(blocks));
    }
    if (!slice)
      return refuse("no group of blocks can have whole boxes of 64 channels and its part of phi in registers");
    plan.choice.ring = slice->ring;
    plan.choice.slice = slice->channels;
    plan.blocks = slice->blocks;
    plan.boxes = slice->channels / GroupPlan::boxChannels;
    plan.share = llvm::divideCeil(GroupPlan::tokens, plan.blocks);
    plan.steps = plan.project ? slice->steps : 0;
    return chooseRegisters() && chooseStages();
  }

  bool chooseRegisters() {
    // Roles that have fewer registers than at the start give them to the projection.
    plan.projectRegisters = std::clamp<int64_t>(llvm::alignTo(plan.steps * plan.pieces * 4 + workRegisters, 8), plan.registers, mostRegisters);
    if (!request.takeRegisters("project_registers", plan.projectRegisters))
      return false;
    // Each further sum over the channels (norms of streams) goes through the loop over the boxes.
    plan.postRegisters = llvm::alignTo((plan.projectRegisters > 136 ? 56 : 64) + std::max<int64_t>(plan.reduced - 1, 0), 8);
    if (!request.takeRegisters("post_registers", plan.postRegisters))
      return false;
    const int64_t pool = GroupPlan::threads / 32 * plan.registers, service = GroupPlan::threads / 32 - plan.postWarps - plan.projectWarps;
    plan.serviceRegisters = std::max<int64_t>((pool - plan.postWarps * plan.postRegisters - plan.projectWarps * plan.projectRegisters) / service / 8 * 8, 24);
    plan.serviceRegisters = std::min<int64_t>(plan.serviceRegisters, 248);
    if (!request.takeRegisters("service_registers", plan.serviceRegisters))
      return false;
    int64_t sum = plan.postWarps * plan.postRegisters + plan.projectWarps * plan.projectRegisters + service * plan.serviceRegisters;
    return sum <= pool || request.refuse(request.has("project_registers") ? "project_registers" : request.has("post_registers") ? "post_registers" : "service_registers",
                                         "expected registers of all warps of at most " + Twine(pool * 32) + " together, but got " + Twine(sum * 32));
  }

  bool chooseStages() {
    plan.passingStages = request.pick("passing_stages", plan.passingStages);
    if (plan.passingStages < 1 || plan.passingStages > 4)
      return request.refuse("passing_stages", "expected 1 to 4, but got " + Twine(plan.passingStages));
    const int64_t box = plan.stageBytes, passingBox = plan.passingBytes;
    if (request.has("stages")) {
      int64_t stages = request.pick("stages", 0);
      if (stages < 2 || stages > 8)
        return request.refuse("stages", "expected 2 to 8, but got " + Twine(stages));
      return (chooseLag(stages) && layOut(stages, box, passingBox)) ||
             (request.field.empty() && request.refuse("stages", "expected stages that fit into " + Twine(request.sharedBytes) + " bytes of shared memory, but " + Twine(stages) + " take " + Twine(plan.sharedBytes)));
    }
    // What comes back through memory takes longer: more stages are worth the first-level cache, and the end of a tile lags by two.
    for (int64_t limit : {plan.choice.ring ? request.sharedBytes : comfortableShared, request.sharedBytes})
      for (int64_t stages : {5, 4, 3, 2}) {
        if (!plan.choice.ring && stages > 4)
          continue;
        if (!chooseLag(stages))
          return false;
        if (layOut(stages, box, passingBox) && plan.sharedBytes <= limit)
          return true;
      }
    return refuse("the rows of 16 tokens do not fit into shared memory");
  }

  /// From three stages on the end of a tile lags behind.
  bool chooseLag(int64_t stages) {
    int64_t &lag = plan.choice.lag;
    lag = request.pick("lag", std::min<int64_t>(stages - 2, stages > 4 ? 2 : 1));
    const int64_t most = std::min<int64_t>(stages - 1, GroupPlan::exchanges - 2);
    return (lag >= 0 && lag <= most) || request.refuse("lag", "expected 0 to " + Twine(most) + " with " + Twine(stages) + " stages, but got " + Twine(lag));
  }

  /// Shared memory for this number of stages.
  bool layOut(int64_t stages, int64_t box, int64_t passingBox) {
    plan.choice.stages = stages;
    plan.stageBytes = box * plan.boxes;
    int64_t at = passingBox * plan.boxes;
    for (auto &[load, place] : plan.coefficientLoads) {
      place = at;
      at += GroupPlan::tokens * coefficientBytesOf(cast<RowLoadOp>(load));
    }
    plan.passingBytes = llvm::alignTo(at, 1024);
    at = stages * plan.stageBytes;
    auto take = [&](int64_t bytes) {
      int64_t place = llvm::alignTo(at, 16);
      at = place + bytes;
      return place;
    };
    plan.resultWords = llvm::alignTo(plan.resultCount, 8);
    plan.passingRing = take(plan.passingStages * plan.passingBytes);
    plan.partialSums = take(2 * plan.partialBytes());
    plan.squares = take(stages * GroupPlan::tokens * plan.reduced * 4);
    plan.pending = take(GroupPlan::coefficientWarps * plan.pendingTiles() * plan.share * plan.pendingRow());
    bool cluster = !plan.choice.ring;
    plan.exchanged = take(cluster * GroupPlan::exchanges * plan.exchangeBytes());
    plan.scratch = take(cluster * GroupPlan::coefficientWarps * plan.share * plan.resultCount * 4);
    plan.returned = take(cluster * GroupPlan::exchanges * plan.resultBytes());
    plan.barriers = take((3 * stages + plan.passingStages + cluster * 2 * GroupPlan::exchanges) * 8);
    plan.sharedBytes = at;
    return at <= request.sharedBytes;
  }

  KernelOp kernel;
  PlanRequest &request;
  GroupPlan plan;
  std::optional<int64_t> layout; ///< plan.interleaved, once a row of several streams has been seen
};

} // namespace

std::optional<GroupPlan> planGroup(KernelOp kernel, PlanRequest &request) { return Planner(kernel, request).run(); }

ScheduleAttr GroupPlan::schedule(MLIRContext *context) const {
  Builder b(context);
  NamedAttrList fields;
  fields.append("exchange", b.getStringAttr(choice.ring ? "memory" : "cluster"));
  for (auto [name, value] : std::initializer_list<std::pair<StringRef, int64_t>>{
           {"tile", tokens}, {"threads", threads}, {"blocks", blocks}, {"slice", choice.slice}, {"stages", choice.stages}, {"lag", choice.lag}, {"passing_stages", passingStages},
           {"post_registers", postRegisters}, {"project_registers", projectRegisters}, {"service_registers", serviceRegisters}})
    fields.append(name, b.getI64IntegerAttr(value));
  return ScheduleAttr::get(context, "group", fields.getDictionary(context));
}

} // namespace mlir::mhc::nvgpu
