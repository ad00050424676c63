//===- ScheduleKernels.cpp - cut kernels into phases ------------------------===//
//
// Level of a narrow value: the number of wide phases that must have run before it is known. Level of a wide value: that of the latest narrow value
// it depends on. Phases follow in the order narrow 0, wide 0, narrow 1, wide 1, ..; wide values of different channel counts get phases of their own.
//
// Placement of wide ops is by demand. A phase starts from what must happen in it (stores, reductions) and takes in what that needs, down to the
// loads. So nothing unused is kept, and what two phases need is there twice: loaded again from the output where it was stored, exactly as it was
// rounded, or computed again.
//
//===----------------------------------------------------------------------===//

#include "../NVGPU/GangPlan.h"
#include "../NVGPU/GroupPlan.h"

#include "mhc/Codegen/Passes.h"
#include "mhc/Dialect/Mhc/IR/MhcRowOps.h"
#include "mhc/Transforms/Decision.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"

namespace mlir::mhc {
void keepCode(ModuleOp module) {
  for (Operation &op : llvm::make_early_inc_range(*module.getBody()))
    if (isa<KernelOp>(op) || op.hasAttr("mhc.entry") || op.getName().getDialectNamespace() == "plan")
      op.erase();
  // What the tools of LLVM would not know.
  for (StringRef name : {"mhc.manifest", "mhc.targets"})
    module->removeAttr(name);
}

#define GEN_PASS_DEF_SCHEDULEKERNELSPASS
#include "mhc/Codegen/Passes.h.inc"

namespace {

bool isWide(Value value) { return isa<WideType>(value.getType()); }
bool isNarrow(Value value) { return isa<NarrowType>(value.getType()); }

/// The channels that an op of wide code runs over; 0 for narrow code.
int64_t channelsOf(Operation *op) {
  for (Value value : llvm::concat<Value>(op->getOperands(), op->getResults()))
    if (auto type = dyn_cast<WideType>(value.getType()))
      return type.getChannels();
  return 0;
}

/// Parameters are the same for every token: loading one again costs nothing, keeping it would cost a value for each token.
bool isUniformLoad(Operation *op) {
  auto load = dyn_cast_or_null<RowLoadOp>(op);
  return load && load.getAccess() == Access::uniform;
}

class Scheduler {
public:
  explicit Scheduler(KernelOp kernel) : kernel(kernel), builder(kernel.getContext()) {}

  LogicalResult run() {
    findLive();
    computeLevels();
    SmallVector<Operation *> flat = llvm::map_to_vector(kernel.getBlock(), [](Operation &op) { return &op; });
    for (int64_t level = 0; level <= lastLevel; ++level) {
      buildNarrow(level);
      for (int64_t channels : channelsAt(level))
        buildWide(level, channels);
    }
    for (Operation *op : llvm::reverse(flat)) {
      op->dropAllUses();
      op->erase();
    }
    return verify();
  }

private:
  void findLive() {
    for (Operation &op : llvm::reverse(kernel.getBlock()))
      if (op.getNumResults() == 0 ||
          llvm::any_of(op.getUsers(), [&](Operation *user) { return live.contains(ownOp(user)); }))
        live.insert(&op);
  }

  /// The op of the kernel's block around a use (uses inside regions do not occur, but cost nothing to allow).
  Operation *ownOp(Operation *op) { return kernel.getBlock().findAncestorOpInBlock(*op); }

  void computeLevels() {
    for (Operation &op : kernel.getBlock()) {
      if (!live.contains(&op))
        continue;
      int64_t level = 0;
      for (Value operand : op.getOperands())
        if (isWide(operand) || isNarrow(operand))
          level = std::max(level, levels.lookup(operand));
      opLevels[&op] = level;
      lastLevel = std::max(lastLevel, level);
      for (Value result : op.getResults())
        levels[result] = level + (channelsOf(&op) && isNarrow(result) ? 1 : 0);
    }
  }

  /// What a wide phase is there for: all else it computes by demand.
  bool isAnchor(Operation *op) {
    return live.contains(op) && channelsOf(op) && (op->getNumResults() == 0 || isNarrow(op->getResult(0)));
  }

  SmallVector<int64_t> channelsAt(int64_t level) {
    llvm::SetVector<int64_t> found;
    for (auto &[op, opLevel] : opLevels)
      if (opLevel == level && isAnchor(op))
        found.insert(channelsOf(op));
    return found.takeVector();
  }

  //===--- Phases ------------------------------------------------------------===//

  /// Makes a phase around what `fill` emits; `fill` returns, for each old narrow value that leaves it, the value inside.
  void buildPhase(PhaseRole role, function_ref<void(IRMapping &, llvm::MapVector<Value, Value> &)> fill) {
    Block body;
    builder.setInsertionPointToStart(&body);
    IRMapping map = crossing;
    llvm::MapVector<Value, Value> results;
    fill(map, results);
    if (body.empty())
      return;
    SmallVector<Value> yields;
    SmallVector<Type> types;
    for (auto &[old, inside] : results) {
      yields.push_back(inside);
      types.push_back(inside.getType());
    }
    RowYieldOp::create(builder, kernel.getLoc(), yields);
    builder.setInsertionPointToEnd(&kernel.getBlock());
    auto phase = PhaseOp::create(builder, kernel.getLoc(), types, role);
    Block &block = phase.getBody().emplaceBlock();
    block.getOperations().splice(block.end(), body.getOperations());
    for (auto [entry, result] : llvm::zip(results, phase.getResults()))
      crossing.map(entry.first, result);
    ++phases;
  }

  void buildNarrow(int64_t level) {
    buildPhase(PhaseRole::narrow, [&](IRMapping &map, llvm::MapVector<Value, Value> &results) {
      for (auto &[op, opLevel] : opLevels) {
        if (opLevel != level || channelsOf(op))
          continue;
        bool wideUser = llvm::any_of(op->getUsers(), [&](Operation *user) { return live.contains(user) && channelsOf(user); });
        if (isUniformLoad(op) && !wideUser)
          continue; // by demand below
        for (Value operand : op->getOperands())
          if (Operation *load = operand.getDefiningOp(); isUniformLoad(load) && !map.contains(operand))
            builder.clone(*load, map);
        builder.clone(*op, map);
        for (Value result : op->getResults())
          if (llvm::any_of(result.getUsers(), [&](Operation *user) {
                return live.contains(user) && (channelsOf(user) || (opLevels.lookup(user) != level && !isUniformLoad(op)));
              }))
            results[result] = map.lookup(result);
      }
    });
  }

  void buildWide(int64_t level, int64_t channels) {
    SmallVector<std::pair<Value, Value>> stores;
    buildPhase(PhaseRole::wide, [&](IRMapping &map, llvm::MapVector<Value, Value> &results) {
      for (auto &[op, opLevel] : opLevels) {
        if (opLevel != level || !isAnchor(op) || channelsOf(op) != channels)
          continue;
        for (Value operand : op->getOperands())
          if (isWide(operand))
            demand(operand, map);
        builder.clone(*op, map);
        for (Value result : op->getResults())
          results[result] = map.lookup(result);
        if (auto store = dyn_cast<RowStoreOp>(op))
          stores.push_back({store.getValue(), store.getTarget()});
      }
    });
    storedIn.insert(stores.begin(), stores.end());
  }

  /// Brings a wide value into the phase being built.
  void demand(Value wide, IRMapping &map) {
    if (map.contains(wide))
      return;
    Operation *op = wide.getDefiningOp();
    if (Value target = storedIn.lookup(wide); target && !isa<RowLoadOp>(op)) {
      bool interleaved = llvm::any_of(target.getUsers(), [](Operation *user) {
        auto store = dyn_cast<RowStoreOp>(user);
        return store && store.getInterleaved();
      });
      auto load = RowLoadOp::create(builder, op->getLoc(), wide.getType(), Access::row, target, /*index=*/Value(), /*divisor=*/1, interleaved);
      map.map(wide, load.getResult());
      return;
    }
    for (Value operand : op->getOperands())
      if (isWide(operand))
        demand(operand, map);
    builder.clone(*op, map);
  }

  LogicalResult verify() {
    for (Operation &phase : kernel.getBlock())
      for (Operation &op : cast<PhaseOp>(phase).getBody().front())
        for (Value operand : op.getOperands())
          if (isWide(operand) && operand.getParentBlock() != op.getBlock())
            return op.emitOpError("expected a wide value to stay inside its phase");
    return success();
  }

  KernelOp kernel;
  OpBuilder builder;
  DenseSet<Operation *> live;
  llvm::MapVector<Operation *, int64_t> opLevels;
  DenseMap<Value, int64_t> levels;
  int64_t lastLevel = 0, phases = 0;
  /// From the flat program's narrow values to the phases' results.
  IRMapping crossing;
  /// Wide values that earlier phases have stored, and where.
  DenseMap<Value, Value> storedIn;
};

struct ScheduleKernelsPass : impl::ScheduleKernelsPassBase<ScheduleKernelsPass> {
  using ScheduleKernelsPassBase::ScheduleKernelsPassBase;

  void runOnOperation() override {
    if (family != "cpu" && family != "simple" && family != "group" && family != "gang") {
      getOperation().emitError("expected schedule family cpu, simple, group or gang, but got ") << family;
      return signalPassFailure();
    }
    for (KernelOp kernel : getOperation().getOps<KernelOp>()) {
      if (kernel.getSchedule())
        continue;
      if (failed(Scheduler(kernel).run()))
        return signalPassFailure();
      kernel.setScheduleAttr(schedule(kernel));
    }
  }

  /// Kernels that project rows are those of hyper-connections' boundaries; no one asks why others are not taken.
  static bool isWorthGroup(KernelOp kernel) {
    return kernel.getBody().walk([](Operation *op) { return isa<RowProjectOp, RowProjectTOp>(op) ? WalkResult::interrupt() : WalkResult::advance(); }).wasInterrupted();
  }

  ScheduleAttr schedule(KernelOp kernel) {
    auto pick = [](int64_t option, int64_t otherwise) { return option ? option : otherwise; };
    if (family == "cpu") {
      // A tile of one vector of tokens, so that its rows and phi's share the second-level cache; pieces of rows long enough for memory, and blocks
      // of them (tile * streams * channelBlock) that stay near the first-level cache between the chunk loop and the projections (docs/performance/cpu.md).
      int64_t lanes = kernel.getCompute().isF64() ? 4 : 8;
      return ScheduleAttr::get(&getContext(), family, pick(tile, 8), lanes, pick(channelBlock, 256), 0);
    }
    if (family == "group" || family == "gang") {
      std::string why, whyNoGang = "boundaries of backward are not asked for in groups (mhc-compile --backward-groups)";
      std::optional<nvgpu::GroupPlan> plan = nvgpu::planGroup(kernel, why);
      std::optional<nvgpu::GangPlan> gang = plan || family == "group" ? std::nullopt : nvgpu::planGang(kernel, whyNoGang);
      // Kernels with sums over the tokens are those of backward.
      const std::string &reason = kernel.getNumReductions() ? whyNoGang : why;
      if (isWorthGroup(kernel))
        emitDecision(kernel.getLoc(), "mhc-schedule-kernels", "group", kernel, plan || gang,
                     plan   ? "a group of " + Twine(plan->blocks) + " blocks" + (plan->choice.ring ? " without a cluster" : "") + " keeps a tile of 16 tokens"
                     : gang ? "a group of " + Twine(gang->blocks) + " blocks without a cluster keeps a tile of 16 tokens"
                            : "family simple: " + Twine(reason));
      if (plan) {
        nvgpu::setGroupChoice(kernel, plan->choice);
        return ScheduleAttr::get(&getContext(), "group", plan->tokens, 4, plan->choice.slice, plan->threads);
      }
      if (gang)
        return ScheduleAttr::get(&getContext(), "group", gang->tokens, 4, gang->slice, gang->threads);
    }
    return ScheduleAttr::get(&getContext(), "simple", pick(tile, 8), 1, pick(channelBlock, 0), pick(threads, 256));
  }
};
} // namespace
} // namespace mlir::mhc
