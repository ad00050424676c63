//===- Schedules.cpp - fields, choice and words of schedules ----------------===//

#include "mhc/Codegen/Schedules.h"

#include "../NVGPU/GangPlan.h"
#include "../NVGPU/GroupPlan.h"

#include "mlir/IR/OwningOpRef.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/SHA256.h"

using namespace mlir;
using namespace mlir::mhc;

std::string mlir::mhc::kernelStructure(KernelOp kernel) {
  OwningOpRef<KernelOp> clone = kernel.clone();
  clone->setSymName("_");
  clone->removeAtAttr();
  for (StringRef name : {requestedAttr, requestedAtAttr})
    (*clone)->removeAttr(name);
  std::string text;
  llvm::raw_string_ostream stream(text);
  (*clone)->print(stream, OpPrintingFlags().useLocalScope());
  auto hash = llvm::SHA256::hash(ArrayRef(reinterpret_cast<const uint8_t *>(text.data()), text.size()));
  return llvm::toHex(ArrayRef(hash).take_front(8), /*LowerCase=*/true);
}

std::string mlir::mhc::kernelShape(KernelOp kernel) {
  WideType widest;
  kernel.walk([&](Operation *op) {
    for (Value value : llvm::concat<Value>(op->getOperands(), op->getResults()))
      if (auto type = dyn_cast<WideType>(value.getType()))
        if (isa<RowLoadOp, RowStoreOp>(op) && (!widest || type.getNumElements() > widest.getNumElements()))
          widest = type;
  });
  std::string text;
  if (widest)
    llvm::raw_string_ostream(text) << widest.getStreams() << "x" << widest.getChannels() << "x" << widest.getElementType();
  return text;
}

bool mlir::mhc::isScheduleFamily(StringRef family) { return family == "cpu" || family == "simple" || family == "group"; }

namespace {

constexpr StringRef cpuFields[] = {"tile", "vector", "channel_block"};
constexpr StringRef simpleFields[] = {"tile", "threads"};
constexpr StringRef groupFields[] = {"exchange",       "tile",           "threads",           "blocks", "slice", "stages", "lag",
                                       "passing_stages", "post_registers", "project_registers", "service_registers"};
constexpr StringRef gangFields[] = {"exchange",    "tile",           "threads",          "blocks",            "slice",           "stages", "other_stages",
                                      "kept_stages", "first_registers", "second_registers", "product_registers", "service_registers"};

class Chooser {
public:
  Chooser(KernelOp kernel, const ScheduleContext &context, ScheduleAttr asked, ScheduleRefusal &refusal, std::string *whyNot)
      : kernel(kernel), context(context), asked(asked), refusal(refusal), whyNot(whyNot) {}

  std::optional<ScheduleAttr> run() {
    const bool cpu = context.family == "cpu";
    StringRef family = asked ? asked.getFamily() : context.family;
    if (cpu != (family == "cpu") || !isScheduleFamily(family))
      return refuse("family", "expected " + Twine(cpu ? "cpu" : "simple or group") + " on target " + context.target.getName() + ", but got '" + family + "'");
    std::optional<ScheduleAttr> result = cpu ? onCpu() : family == "group" ? inGroups() : simple();
    // What follows from the rest, or is always the same, may be written, but not otherwise.
    if (result && asked)
      for (NamedAttribute field : asked.getFields())
        if (result->getFields().get(field.getName()) != field.getValue())
          return refuse(field.getName(), "expected " + word(result->getFields().get(field.getName())) + " (which follows from the kernel and the other fields), but got " + word(field.getValue()));
    return result;
  }

private:
  std::nullopt_t refuse(StringRef field, const Twine &why) {
    refusal = {why.str(), field.str()};
    return std::nullopt;
  }
  static std::string word(Attribute value) {
    if (auto number = dyn_cast<IntegerAttr>(value))
      return std::to_string(number.getInt());
    return "'" + cast<StringAttr>(value).getValue().str() + "'";
  }

  /// Every field that is asked for is one of the family's, and of its type.
  bool known(StringRef of, ArrayRef<StringRef> names) {
    if (!asked)
      return true;
    for (NamedAttribute field : asked.getFields()) {
      StringRef name = field.getName();
      if (!llvm::is_contained(names, name)) {
        refuse(name, "unknown field '" + name + "'; " + of + " has 'family', '" + llvm::join(names, "', '") + "'");
        return false;
      }
      bool isWord = name == "exchange";
      if (isWord != isa<StringAttr>(field.getValue())) {
        refuse(name, "expected '" + name + "' to be " + (isWord ? "a word" : "a number") + ", but got " + word(field.getValue()));
        return false;
      }
    }
    return true;
  }

  int64_t pick(StringRef name, int64_t otherwise) { return asked ? asked.getNumber(name, otherwise) : otherwise; }
  ScheduleAttr make(StringRef family, std::initializer_list<std::pair<StringRef, int64_t>> numbers) {
    Builder b(kernel.getContext());
    NamedAttrList fields;
    for (auto [name, value] : numbers)
      fields.append(name, b.getI64IntegerAttr(value));
    return ScheduleAttr::get(kernel.getContext(), family, fields.getDictionary(kernel.getContext()));
  }

  std::optional<ScheduleAttr> onCpu() {
    if (!known("family cpu", cpuFields))
      return std::nullopt;
    // A tile of one vector of tokens, so that its rows and phi's share the second-level cache; pieces of rows long enough for memory, and blocks
    // of them (tile * streams * channel_block) that stay near the first-level cache between the chunk loop and the projections (docs/performance/cpu.md).
    const int64_t lanes = kernel.getCompute().isF64() ? 4 : 8;
    const int64_t vector = pick("vector", lanes), tile = pick("tile", 8), block = pick("channel_block", 256);
    if (vector != 4 && vector != lanes)
      return refuse("vector", "expected 4" + Twine(lanes == 8 ? " or 8" : "") + ", but got " + Twine(vector));
    if (!llvm::isPowerOf2_64(tile) || tile < vector || tile > 64)
      return refuse("tile", "expected a power of two from 'vector' (" + Twine(vector) + ") to 64, but got " + Twine(tile));
    if (block < 64 || block > 8192 || block % 64)
      return refuse("channel_block", "expected a multiple of 64 from 64 to 8192, but got " + Twine(block));
    return make("cpu", {{"tile", tile}, {"vector", vector}, {"channel_block", block}});
  }

  std::optional<ScheduleAttr> simple() {
    if (!known("family simple", simpleFields))
      return std::nullopt;
    const int64_t tile = pick("tile", 8), threads = pick("threads", 256);
    if (!llvm::isPowerOf2_64(threads) || threads < 32 || threads > 1024)
      return refuse("threads", "expected a power of two from 32 to 1024, but got " + Twine(threads));
    if (!llvm::isPowerOf2_64(tile) || tile > threads)
      return refuse("tile", "expected a power of two of at most 'threads' (" + Twine(threads) + "), but got " + Twine(tile));
    return make("simple", {{"tile", tile}, {"threads", threads}});
  }

  /// Kernels with sums over the tokens are those of backward, and the one form's reasons say more than the other's.
  std::optional<ScheduleAttr> inGroups() {
    nvgpu::PlanRequest cluster, memory;
    for (nvgpu::PlanRequest *request : {&cluster, &memory}) {
      request->asked = asked;
      request->clusterSize = context.target.getClusterSize();
      request->gangSize = context.target.getGangSize();
      request->sharedBytes = context.target.getSharedBytes();
    }
    StringRef exchange = asked ? asked.getWord("exchange") : "";
    if (!exchange.empty() && exchange != "cluster" && exchange != "memory")
      return refuse("exchange", "expected 'cluster' or 'memory', but got '" + exchange + "'");
    bool isAsked = asked && asked.getFamily() == "group";
    const bool hasClusters = cluster.clusterSize > 1 && exchange != "memory", hasMemory = memory.gangSize > 1 && exchange != "cluster";
    auto take = [&](ScheduleAttr schedule, StringRef of, ArrayRef<StringRef> fields) { return known(of, fields) ? std::optional(schedule) : std::nullopt; };
    // Forward's kernels, by whichever exchange is the better one; then backward's, whose blocks are too many for a cluster.
    cluster.why = "no groups on target " + context.target.getName().str() + " (or --exchange=none)";
    if (hasClusters || hasMemory)
      if (std::optional<nvgpu::GroupPlan> plan = nvgpu::planGroup(kernel, cluster))
        return take(plan->schedule(kernel.getContext()), plan->choice.ring ? "family group with exchange memory" : "family group with exchange cluster", groupFields);
    memory.why = "boundaries of backward exchange through memory, which the schedule or --exchange excludes";
    if (hasMemory)
      if (std::optional<nvgpu::GangPlan> plan = nvgpu::planGang(kernel, memory))
        return take(plan->schedule(kernel.getContext()), "family group of a boundary of backward", gangFields);
    const bool isBackward = kernel.getNumReductions();
    if (!isAsked) {
      if (whyNot)
        *whyNot = isBackward ? memory.why : cluster.why;
      return simple();
    }
    if (!cluster.field.empty())
      return refuse(cluster.field, cluster.why);
    if (!memory.field.empty())
      return refuse(memory.field, memory.why);
    return refuse("family", "family group does not take this kernel: " + (isBackward ? memory.why : cluster.why));
  }

  KernelOp kernel;
  const ScheduleContext &context;
  ScheduleAttr asked;
  ScheduleRefusal &refusal;
  std::string *whyNot;
};

/// Of the two forms of family group.
bool isOfForward(ScheduleAttr schedule) { return schedule.getFields().contains("post_registers"); }

/// The fields of schedules that differ from the default in some of these, one value each.
struct Axis {
  StringRef name;
  SmallVector<int64_t> values;
};

SmallVector<SmallVector<Axis>> axesOf(ScheduleAttr base) {
  if (base.getFamily() == "cpu")
    return {{{"tile", {8, 16, 32}}, {"channel_block", {128, 256, 512, 1024}}}};
  if (base.getFamily() == "simple")
    return {{{"tile", {4, 8, 16, 32}}, {"threads", {128, 256, 512}}}};
  if (isOfForward(base))
    return {{{"blocks", {1, 2, 4, 5, 8, 10, 16, 28, 56}}, {"stages", {2, 3, 4, 5}}, {"lag", {0, 1, 2}}}, {{"project_registers", {120, 128, 136, 144, 152}}}, {{"passing_stages", {2, 3}}}};
  return {{{"stages", {3, 4, 5, 6}}, {"other_stages", {2, 3, 4, 5}}, {"kept_stages", {2, 3, 4}}},
          {{"first_registers", {72, 80, 88, 96}}, {"second_registers", {184, 192, 200, 208, 216}}, {"product_registers", {128, 136, 144, 152, 160}}}};
}

} // namespace

std::optional<ScheduleAttr> mlir::mhc::chooseSchedule(KernelOp kernel, const ScheduleContext &context, ScheduleAttr asked, ScheduleRefusal &refusal, std::string *whyNot) {
  return Chooser(kernel, context, asked, refusal, whyNot).run();
}

SmallVector<ScheduleAttr> mlir::mhc::listSchedules(KernelOp kernel, const ScheduleContext &context, ScheduleAttr asked, size_t most) {
  ScheduleRefusal refusal;
  std::optional<ScheduleAttr> base = chooseSchedule(kernel, context, asked, refusal);
  if (!base || most == 0)
    return {};
  SmallVector<ScheduleAttr> found{*base};
  if (most == 1)
    return found;
  Builder b(kernel.getContext());
  for (ArrayRef<Axis> axes : axesOf(*base)) {
    SmallVector<size_t> at(axes.size(), 0);
    for (bool more = true; more;) {
      NamedAttrList fields(asked ? asked.getFields() : b.getDictionaryAttr({}));
      if (auto exchange = base->getFields().get("exchange"))
        fields.set("exchange", exchange);
      for (auto [axis, i] : llvm::zip(axes, at))
        if (!asked || !asked.getFields().contains(axis.name)) // what was asked for is not varied
          fields.set(axis.name, b.getI64IntegerAttr(axis.values[i]));
      auto variant = ScheduleAttr::get(kernel.getContext(), base->getFamily(), fields.getDictionary(kernel.getContext()));
      if (std::optional<ScheduleAttr> full = chooseSchedule(kernel, context, variant, refusal); full && !llvm::is_contained(found, *full))
        found.push_back(*full);
      more = false;
      for (size_t i = axes.size(); i-- > 0 && !more;) {
        more = ++at[i] < axes[i].values.size();
        if (!more)
          at[i] = 0;
      }
    }
  }
  // The first is the planners' choice, whose rules were measured; the model orders the others.
  constexpr double tokens = 8192;
  DenseMap<Attribute, double> seconds;
  for (ScheduleAttr schedule : found)
    seconds[schedule] = estimateSeconds(kernel, schedule, context.target, tokens);
  std::stable_sort(found.begin() + 1, found.end(), [&](ScheduleAttr a, ScheduleAttr b) { return seconds[a] < seconds[b]; });
  if (found.size() > most)
    found.truncate(most);
  return found;
}

std::vector<ScheduleRole> mlir::mhc::rolesOf(ScheduleAttr schedule) {
  using nvgpu::GangPlan, nvgpu::GroupPlan;
  if (schedule.getFamily() == "cpu")
    return {};
  if (schedule.getFamily() == "simple")
    return {{"all", schedule.getThreads() / 32, 0}};
  int64_t service = schedule.getNumber("service_registers");
  if (isOfForward(schedule))
    return {{"post", GroupPlan::postWarps, schedule.getNumber("post_registers")},
            {"projection", GroupPlan::projectWarps, schedule.getNumber("project_registers")},
            {"coefficients", GroupPlan::coefficientWarps, service},
            {"loader", 1, service}};
  return {{"first", GangPlan::firstWarps, schedule.getNumber("first_registers")},
          {"second", GangPlan::secondWarps, schedule.getNumber("second_registers")},
          {"products", GangPlan::productWarps, schedule.getNumber("product_registers")},
          {"exchange", GangPlan::exchangeWarps, service},
          {"late", 1, service},
          {"mover", 1, service}};
}

std::string mlir::mhc::placesOf(KernelOp kernel, ScheduleAttr schedule) {
  auto phases = kernel.getBlock().getOps<PhaseOp>();
  int64_t wide = llvm::count_if(phases, [](PhaseOp phase) { return phase.getRole() == PhaseRole::wide; });
  auto has = [&](auto tag) {
    return kernel.walk([](decltype(tag)) { return WalkResult::interrupt(); }).wasInterrupted();
  };
  auto number = [&](StringRef name) { return std::to_string(schedule.getNumber(name)); };
  bool projects = has(RowProjectOp()) || has(RowProjectTOp());
  std::string again = wide > 1 ? "rows from memory or cache by each of " + std::to_string(wide) + " wide phases" : wide == 1 ? "rows once from memory" : "";
  if (schedule.getFamily() == "cpu")
    return "coefficients on the stack" + (again.empty() ? "" : "; " + again + (projects ? ", blocks of " + number("channel_block") + " channels copied for products" : ""));
  if (schedule.getFamily() == "simple")
    return "coefficients in shared memory" + (again.empty() ? "" : "; " + again) + (projects ? "; parameters from cache" : "");
  std::string text = projects ? has(RowOuterTokensOp()) ? "parameter's slice and its gradient in registers; " : "parameter's slice in registers; " : "";
  if (schedule.getWord("exchange") == "cluster")
    return text + "rows of " + number("stages") + " tiles in shared memory, read once; sums in shared memory of the cluster";
  return text + "rows of " + number("stages") + " tiles in shared memory, read once; sums through memory";
}
