//===- ScheduleCost.cpp - what a schedule is expected to take ---------------===//
//
// Sizes and rates are the target's (#mhc.target). What is written here beside them are efficiencies, each from measurements on an H200
// (docs/performance/gpu.md) or a processor (docs/performance/cpu.md); docs/design/schedules.md holds the model against these.
//
//===----------------------------------------------------------------------===//

#include "mhc/Codegen/Schedules.h"

#include "mhc/Analysis/KernelFormer.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "llvm/ADT/SmallPtrSet.h"

using namespace mlir;
using namespace mlir::mhc;

/// Operations of scalar code: loops have constant bounds; a branch (on what is rare) counts as its shorter side.
static double operationsIn(Region &region) {
  double sum = 0;
  for (Operation &op : region.getOps()) {
    if (auto loop = dyn_cast<scf::ForOp>(op)) {
      auto bound = [](Value v) {
        APInt value;
        return matchPattern(v, m_ConstantInt(&value)) ? double(value.getSExtValue()) : 1.0;
      };
      double trips = (bound(loop.getUpperBound()) - bound(loop.getLowerBound())) / std::max(bound(loop.getStep()), 1.0);
      sum += std::max(trips, 0.0) * operationsIn(loop.getRegion());
    } else if (auto branch = dyn_cast<scf::IfOp>(op)) {
      double taken = operationsIn(branch.getThenRegion()), other = branch.getElseRegion().empty() ? 0 : operationsIn(branch.getElseRegion());
      sum += std::min(taken, other);
    } else if (isa<arith::ArithDialect, math::MathDialect>(op.getDialect()) && !op.hasTrait<OpTrait::ConstantLike>()) {
      sum += isa<math::MathDialect>(op.getDialect()) || isa<arith::DivFOp>(op) ? 8 : 1;
    }
  }
  return sum;
}

KernelWork mlir::mhc::workOf(KernelOp kernel) {
  KernelWork work;
  Traffic traffic = kernelTraffic(kernel);
  work.bytes = traffic.read + traffic.written;
  llvm::SmallPtrSet<Value, 4> parameters;
  auto wide = [](Value value) { return double(cast<WideType>(value.getType()).getNumElements()); };
  auto product = [&](Value value, Value weight, int64_t rows) {
    auto type = cast<MemRefType>(weight.getType());
    work.products += double(type.getNumElements());
    if (parameters.insert(weight).second)
      work.parameterBytes += double(type.getNumElements()) * type.getElementTypeBitWidth() / 8;
  };
  kernel.walk([&](Operation *op) {
    if (auto mix = dyn_cast<RowMixOp>(op))
      work.elementwise += 2 * wide(mix.getResult()) * cast<WideType>(mix.getStreams().getType()).getStreams();
    else if (auto map = dyn_cast<RowMapOp>(op))
      work.elementwise += wide(map.getResult()) * operationsIn(map.getBody());
    else if (auto cast = dyn_cast<RowCastOp>(op); cast && isa<WideType>(cast.getResult().getType()))
      work.elementwise += wide(cast.getResult());
    else if (auto reduce = dyn_cast<RowReduceOp>(op))
      work.elementwise += wide(reduce->getOperand(0));
    else if (auto dot = dyn_cast<RowDotOp>(op))
      work.elementwise += 2 * wide(dot.getLhs()) * mlir::cast<WideType>(dot.getRhs().getType()).getStreams();
    else if (auto project = dyn_cast<RowProjectOp>(op))
      product(project.getValue(), project.getWeight(), 1);
    else if (auto project = dyn_cast<RowProjectTOp>(op))
      product(project.getValue(), project.getWeight(), 1);
    else if (auto outer = dyn_cast<RowOuterTokensOp>(op))
      product(outer.getValue(), outer.getTarget(), 1);
    else if (auto narrow = dyn_cast<RowNarrowOp>(op))
      work.narrow += operationsIn(narrow.getBody());
  });
  return work;
}

namespace {
struct Rates {
  double copy, fma, units;
  explicit Rates(TargetAttr target) : copy(target.getCopyRate() * 1e9), fma(target.getFmaRate() * 1e9), units(double(target.getUnits())) {}
};

/// Loops over rows of a cache's worth. Rows of a tile beyond the second-level cache come from memory again in each wide phase; blocks beyond the first-level one
/// (32 KiB) are slower to come back to, and short ones cost a start each.
double cpuSeconds(KernelOp kernel, const KernelWork &work, ScheduleAttr schedule, TargetAttr target, double tokens) {
  Rates rates(target);
  auto phases = kernel.getBlock().getOps<PhaseOp>();
  double passes = std::max<double>(1, llvm::count_if(phases, [](PhaseOp phase) { return phase.getRole() == PhaseRole::wide; }));
  double tile = double(schedule.getTile()), block = double(schedule.getNumber("channel_block"));
  double here = tile * work.bytes + work.parameterBytes, again = here > double(target.getOnChipBytes()) ? passes : 1;
  double streams = 1;
  kernel.walk([&](RowLoadOp load) {
    if (auto type = dyn_cast<WideType>(load.getResult().getType()))
      streams = std::max(streams, double(type.getStreams()));
  });
  double copies = tile * streams * block * 4 / (32 << 10);
  double memory = tokens * work.bytes * again / rates.copy, arithmetic = tokens * (work.elementwise + 2 * work.products + work.narrow) / rates.fma;
  double parameters = tokens / tile * work.parameterBytes / (8 * rates.copy);
  return std::max(memory, (arithmetic + parameters) * (1 + 16 / block) * (copies > 1 ? 1 + 0.1 * std::log2(copies) : 1));
}

/// Products go by scalar multiply-adds that wait for their factors: a 32nd of the rate (0.9 to 1.3 T multiply-adds a second of 33.5).
double simpleSeconds(const KernelWork &work, ScheduleAttr schedule, TargetAttr target, double tokens) {
  Rates rates(target);
  double tile = double(schedule.getTile());
  double blocks = std::ceil(tokens / tile), waves = std::ceil(blocks / rates.units) * rates.units / std::max(blocks, 1.0);
  double parameters = tokens / tile * work.parameterBytes / (2 * rates.copy);
  double once = tokens * (work.bytes / rates.copy + (2 * work.elementwise + 64 * work.products + 4 * work.narrow) / rates.fma);
  return once * std::min(waves, 2.0) + parameters;
}

/// A tile takes as long as its rows need at the copy rate of the units that its groups keep busy, and the elementwise code that does not hide behind that, at
/// half the multiply-add rate; and the exchange, where nothing runs beside it.
double groupSeconds(const KernelWork &work, ScheduleAttr schedule, TargetAttr target, double tokens) {
  Rates rates(target);
  bool cluster = schedule.getWord("exchange") == "cluster";
  double tile = double(schedule.getTile()), blocks = double(schedule.getNumber("blocks"));
  // Clusters of more than four units do not fill every processing cluster of the chip.
  double groups = std::max(1.0, std::floor(rates.units / blocks) - (cluster && blocks > 4 ? 1 : 0));
  double rounds = std::ceil(tokens / tile / groups);
  double memory = tile * work.bytes * groups / rates.copy;
  double code = 2 * tile * work.elementwise / blocks / (rates.fma / rates.units);
  double exchange = double(target.getExchangeTime()) * 1e-9;
  double stages = double(schedule.getNumber("stages"));
  if (cluster)
    // With two stages, or without lag, everything of a tile comes one after the other.
    exchange = schedule.getNumber("lag") ? 0 : 1.0e-6;
  else
    exchange *= 1 + 0.1 * std::max(0.0, 4 - stages);
  if (cluster && stages == 3)
    code *= 1.02;
  double start = 10e-6; // parameters into registers, one way through the roles
  return start + rounds * (memory + code + exchange);
}
} // namespace

double mlir::mhc::estimateSeconds(KernelOp kernel, ScheduleAttr schedule, TargetAttr target, double tokens) {
  KernelWork work = workOf(kernel);
  if (schedule.getFamily() == "cpu")
    return cpuSeconds(kernel, work, schedule, target, tokens);
  return schedule.getFamily() == "simple" ? simpleSeconds(work, schedule, target, tokens) : groupSeconds(work, schedule, target, tokens);
}
