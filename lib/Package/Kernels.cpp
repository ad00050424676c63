//===- Kernels.cpp - code of a target ---------------------------------------===//

#include "HostFeatures.h"
#include "mhc/Analysis/KernelFormer.h"
#include "mhc/Codegen/GangLaunch.h"
#include "mhc/Codegen/Passes.h"
#include "mhc/Codegen/Schedules.h"
#include "mhc/Dialect/Mhc/IR/MhcRowOps.h"
#include "mhc/Dialect/Plan/IR/PlanDialect.h"
#include "mhc/Package/Package.h"
#include "mhc/Target/Host.h"
#include "mhc/Target/NVPTX.h"

#include "mlir/Pass/PassManager.h"

using namespace mlir;
using namespace mlir::mhc;

/// A module with the kernels alone.
static OwningOpRef<ModuleOp> cloneKernels(ModuleOp module) {
  OwningOpRef<ModuleOp> clone = ModuleOp::create(module.getLoc());
  OpBuilder builder = OpBuilder::atBlockEnd(clone->getBody());
  for (KernelOp kernel : module.getOps<KernelOp>())
    builder.clone(*kernel);
  return clone;
}

static LogicalResult schedule(ModuleOp kernels, StringRef target, StringRef exchange, int64_t candidates) {
  PassManager pm(kernels.getContext());
  ScheduleKernelsPassOptions options;
  std::optional<NVPTXChip> chip = lookupNVPTXChip(target);
  options.family = target == "cpu" ? "cpu" : chip && chip->clusters && exchange != "none" ? "group" : "simple";
  options.target = target.str();
  options.exchange = exchange.str();
  options.candidates = candidates;
  pm.addPass(createScheduleKernelsPass(options));
  return pm.run(kernels);
}

/// The argument of numbers that a load goes by: as they lie there, or as narrow code has changed them (choices without a slot read slot 0).
static BlockArgument indexArgument(RowLoadOp gather) {
  SmallVector<Value> from{gather.getIndex()};
  for (size_t i = 0; i < from.size(); ++i) {
    if (auto load = from[i].getDefiningOp<RowLoadOp>())
      return cast<BlockArgument>(load.getSource());
    if (auto narrow = from[i].getDefiningOp<RowNarrowOp>())
      llvm::copy_if(narrow.getInputs(), std::back_inserter(from), [](Value input) { return cast<NarrowType>(input.getType()).getElementType().isInteger(32); });
  }
  return {};
}

/// What of argument `index` the kernel reaches in a launch. The runtime holds the buffers of a plan against it.
static TargetCode::Argument describe(KernelOp kernel, unsigned index) {
  BlockArgument value = kernel.getBlock().getArgument(index);
  auto type = cast<MemRefType>(value.getType());
  TargetCode::Argument argument;
  llvm::raw_string_ostream(argument.dtype) << type.getElementType();
  argument.written = index >= kernel.getNumInputs() && index < kernel.getNumInputs() + kernel.getNumOutputs();
  bool position = false;
  int64_t shared = 0; // tokens that share a row, at least
  for (Operation *user : value.getUsers())
    if (auto load = dyn_cast<RowLoadOp>(user); load && load.getSource() == value) {
      if (load.getAccess() == Access::gather)
        if (BlockArgument by = indexArgument(load))
          argument.index = by.getArgNumber();
      if (load.getAccess() == Access::sequence)
        argument.sequence = load.getDivisor();
      position |= load.getAccess() == Access::position;
      if (load.getAccess() == Access::shared)
        shared = shared ? std::min<int64_t>(shared, load.getDivisor()) : load.getDivisor();
    }
  if (plan::hasTokenRows(kernel, index))
    argument.rows.push_back("token");
  if (position)
    argument.rows.push_back("position");
  if (argument.index)
    argument.rows.push_back("indexed");
  if (argument.sequence)
    argument.rows.push_back("sequence");
  if (shared) {
    argument.rows.push_back("shared");
    argument.tokensPerRow = shared;
  }
  // Rows lie in the first dimension, whether its size is known (a table that is gathered from) or not.
  bool whole = argument.rows.empty() && type.hasStaticShape();
  argument.elements = 1;
  for (int64_t size : whole ? type.getShape() : type.getShape().drop_front())
    argument.elements *= size;
  return argument;
}

static std::vector<TargetCode::Kernel> listKernels(ModuleOp kernels) {
  std::vector<TargetCode::Kernel> list;
  for (KernelOp kernel : kernels.getOps<KernelOp>()) {
    TargetCode::Kernel entry;
    entry.name = kernel.getSymName().str();
    entry.structure = kernelStructure(kernel);
    entry.shape = kernelShape(kernel);
    Traffic traffic = kernelTraffic(kernel);
    entry.readBytes = traffic.read;
    entry.writtenBytes = traffic.written;
    entry.elementwise = updatesInPlace(kernel);
    for (unsigned i = 0, e = kernel.getBlock().getNumArguments(); i < e; ++i) {
      bool reduction = i >= kernel.getNumInputs() + kernel.getNumOutputs();
      (reduction ? entry.reductions : entry.args).push_back(describe(kernel, i));
    }
    for (Attribute name : kernel.getInts())
      entry.ints.push_back(cast<StringAttr>(name).str());
    list.push_back(std::move(entry));
  }
  return list;
}

/// Puts what a schedule file asks for onto the kernels of which it speaks: of several entries the last one holds.
static LogicalResult request(ModuleOp kernels, ArrayRef<TargetCode::Kernel> list, StringRef target, ArrayRef<ScheduleRequest> requests) {
  for (const ScheduleRequest &wanted : requests) {
    if (!wanted.target.empty() && wanted.target != target)
      continue;
    bool found = false;
    auto entry = list.begin();
    for (KernelOp kernel : kernels.getOps<KernelOp>()) {
      const TargetCode::Kernel &known = *entry++;
      bool named = !wanted.structure.empty() ? wanted.structure == known.structure : wanted.kernel == "*" || wanted.kernel == known.name;
      if (!named || (!wanted.shape.empty() && wanted.shape != known.shape))
        continue;
      found = true;
      kernel->setAttr(requestedAttr, wanted.schedule);
      kernel->setAttr(requestedAtAttr, wanted.fieldsAt);
    }
    if (found)
      continue;
    InFlightDiagnostic diagnostic = emitError(Location(wanted.at)) << "target " << target << " has no kernel "
        << (wanted.structure.empty() ? "'" + wanted.kernel + "'" : "of structure '" + wanted.structure + "'") << (wanted.shape.empty() ? "" : " and shape '" + wanted.shape + "'");
    std::string names;
    for (const TargetCode::Kernel &known : list.take_front(24))
      names += (names.empty() ? "" : ", ") + known.name + " (" + known.structure + (known.shape.empty() ? "" : ", " + known.shape) + ")";
    diagnostic.attachNote(Location(wanted.at)) << "it has " << names << (list.size() > 24 ? ", .." : "");
    return diagnostic;
  }
  return success();
}

/// What the schedules of the same kernels have decided; further schedules of a kernel follow it in the list.
static void addSchedules(ModuleOp kernels, TargetAttr target, std::vector<TargetCode::Kernel> &list) {
  llvm::StringMap<TargetCode::Kernel> known;
  for (TargetCode::Kernel &kernel : list)
    known[kernel.name] = std::move(kernel);
  list.clear();
  for (KernelOp kernel : kernels.getOps<KernelOp>()) {
    auto base = kernel->getAttrOfType<FlatSymbolRefAttr>(variantOfAttr);
    TargetCode::Kernel entry = known.lookup(base ? base.getValue() : kernel.getSymName());
    entry.name = kernel.getSymName().str();
    entry.variantOf = base ? base.getValue().str() : "";
    entry.schedule = *kernel.getSchedule();
    entry.tile = entry.schedule.getTile();
    entry.threads = entry.schedule.getThreads();
    entry.roles = rolesOf(entry.schedule);
    entry.places = placesOf(kernel, entry.schedule);
    if (target)
      entry.expectedSeconds = estimateSeconds(kernel, entry.schedule, target, TargetCode::expectedTokens);
    list.push_back(std::move(entry));
  }
}

static LogicalResult generateHost(ModuleOp kernels, StringRef cpu, CodeStage stage, TargetCode &code) {
  if (stage == CodeStage::figures)
    return success();
  PassManager pm(kernels.getContext());
  pm.addPass(createEmitCpuPass());
  buildHostLoweringPipeline(pm);
  if (failed(pm.run(kernels)))
    return failure();
  HostOptions options;
  options.cpu = cpu.str();
  options.emit = stage == CodeStage::llvm ? HostOutput::llvm : HostOutput::object;
  FailureOr<std::string> bytes = emitHostObject(kernels, options);
  if (failed(bytes))
    return failure();
  (stage == CodeStage::llvm ? code.llvm : code.object) = *bytes;
  if (stage != CodeStage::package)
    return success();
  FailureOr<std::string> shared = linkHostSharedObject(code.object, kernels.getLoc());
  if (failed(shared))
    return failure();
  code.sharedObject = *shared;
  return success();
}

static LogicalResult generateGpu(ModuleOp kernels, StringRef chip, CodeStage stage, TargetCode &code) {
  Location loc = kernels.getLoc();
  if (!lookupNVPTXChip(chip))
    return emitError(loc) << "unknown target '" << chip << "'; expected cpu, " << listNVPTXChips();
  llvm::StringMap<Location> locations; // where a schedule was asked for, of kernels that have one from a file
  for (KernelOp kernel : kernels.getOps<KernelOp>())
    locations.try_emplace(kernel.getSymName(), kernel.getLoc());
  auto locationOf = [&](StringRef name) {
    auto found = locations.find(name);
    return found == locations.end() ? loc : found->second;
  };
  PassManager pm(kernels.getContext());
  EmitSimplePassOptions options;
  for (const TargetCode::LibraryKernel &kernel : code.library)
    options.library.push_back(kernel.symbol);
  pm.addPass(createEmitSimplePass(options));
  if (failed(pm.run(kernels)))
    return failure();
  auto modules = kernels.getOps<gpu::GPUModuleOp>();
  if (!llvm::hasSingleElement(modules))
    return emitError(loc) << "expected one gpu.module of emitted kernels";
  gpu::GPUModuleOp gpuModule = *modules.begin();
  auto describeLaunch = [&](StringRef name, auto &kernel) -> LogicalResult {
    auto function = gpuModule.lookupSymbol<LLVM::LLVMFuncOp>(name);
    std::optional<GpuLaunch> launch = function ? getGpuLaunch(function) : std::nullopt;
    if (!launch)
      return emitError(loc) << "expected emitted code of kernel '" << name << "'";
    kernel.tile = launch->tile;
    kernel.threads = launch->threads;
    kernel.shared = launch->shared;
    TargetAttr sizes = TargetAttr::get(kernels.getContext(), chip);
    if (sizes && kernel.shared > sizes.getSharedBytes())
      return emitError(locationOf(name)) << "kernel '" << name << "': expected at most " << sizes.getSharedBytes() << " bytes of shared memory on target " << chip
                                                       << ", but its schedule takes " << kernel.shared;
    if constexpr (std::is_same_v<std::decay_t<decltype(kernel)>, TargetCode::Kernel>) {
      kernel.cluster = launch->cluster;
      kernel.maps.assign(launch->maps.begin(), launch->maps.end());
      kernel.mapChannels = launch->mapChannels;
      kernel.boxes = launch->boxes;
      kernel.interleaved = launch->interleaved;
      if (std::optional<GangLaunch> gang = getGangLaunch(function)) {
        kernel.group = gang->group;
        kernel.workspace = gang->workspace;
      }
    }
    return success();
  };
  for (TargetCode::Kernel &kernel : code.kernels)
    if (failed(describeLaunch(kernel.name, kernel)))
      return failure();
  auto describeLibrary = [&](TargetCode::LibraryKernel &kernel) -> LogicalResult {
    if (failed(describeLaunch(kernel.symbol, kernel)))
      return failure();
    ArrayRef<Type> types = gpuModule.lookupSymbol<LLVM::LLVMFuncOp>(kernel.symbol).getFunctionType().getParams();
    kernel.pointers = llvm::count_if(types, [](Type type) { return isa<LLVM::LLVMPointerType>(type); });
    kernel.integers = types.size() - kernel.pointers;
    return success();
  };
  for (TargetCode::LibraryKernel &kernel : code.library)
    if (failed(describeLibrary(kernel)))
      return failure();
  code.sumPartials.symbol = "mhc_sum_partials_f32";
  if (failed(describeLibrary(code.sumPartials)))
    return failure();
  if (stage == CodeStage::figures)
    return success();
  FailureOr<std::string> ptx = emitPtx(gpuModule, chip);
  if (failed(ptx))
    return failure();
  code.ptx = *ptx;
  if (stage != CodeStage::package)
    return success();
  AssembledPtx assembled = assemblePtx(code.ptx, chip);
  if (assembled.status == AssembledPtx::Status::failed)
    return emitError(loc) << "ptxas refuses the kernels of target " << chip << ": " << assembled.log;
  code.cubin = assembled.cubin; // empty without ptxas: the driver then compiles the PTX
  if (assembled.status == AssembledPtx::Status::noAssembler) {
    code.whyNoCubin = assembled.log;
    return success();
  }
  llvm::StringMap<AssembledKernel> said = readAssemblerLog(assembled.log);
  for (TargetCode::Kernel &kernel : code.kernels)
    if (auto found = said.find(kernel.name); found != said.end()) {
      kernel.registers = found->second.registers;
      kernel.spills = found->second.spilled;
    }
  return success();
}

FailureOr<TargetCode> mlir::mhc::generateCode(ModuleOp module, StringRef target, const CodeOptions &options, CodeStage stage) {
  TargetCode code;
  if (target == "cpu") {
    llvm::Expected<std::vector<std::string>> requirements = hostRequirements(options.cpu);
    if (!requirements)
      return emitError(module.getLoc()) << llvm::toString(requirements.takeError());
    code.requirements = std::move(*requirements);
  }
  OwningOpRef<ModuleOp> kernels = cloneKernels(module);
  code.kernels = listKernels(*kernels);
  if (target != "cpu")
    for (std::string &symbol : listLibraryKernels(module))
      code.library.push_back({std::move(symbol)});
  if (failed(request(*kernels, code.kernels, target, options.schedules)) || failed(schedule(*kernels, target, options.exchange, options.candidates)))
    return failure();
  addSchedules(*kernels, TargetAttr::get(module.getContext(), target), code.kernels);
  if (failed(target == "cpu" ? generateHost(*kernels, options.cpu, stage, code) : generateGpu(*kernels, target, stage, code)))
    return failure();
  return code;
}

FailureOr<llvm::StringMap<int64_t>> mlir::mhc::kernelTiles(ModuleOp module, ArrayRef<ScheduleRequest> requests) {
  OwningOpRef<ModuleOp> kernels = cloneKernels(module);
  if (failed(request(*kernels, listKernels(*kernels), "cpu", requests)) || failed(schedule(*kernels, "cpu", "none", 1)))
    return failure();
  llvm::StringMap<int64_t> tiles;
  for (KernelOp kernel : kernels->getOps<KernelOp>()) {
    std::optional<ScheduleAttr> schedule = kernel.getSchedule();
    tiles[kernel.getSymName()] = schedule ? schedule->getTile() : 1;
  }
  return tiles;
}

std::vector<MissingCommand> mlir::mhc::findMissingCommands(ModuleOp module, StringRef target) {
  std::vector<MissingCommand> missing;
  if (target == "cpu")
    return missing;
  module.walk([&](plan::CommandInterface command) {
    std::string why = whyNotOnGpu(command);
    if (why.empty())
      return;
    // A model has hundreds of the same op: the first of each speaks for the others.
    auto same = llvm::find_if(
        missing, [&](const MissingCommand &other) { return other.command->getName() == command->getName(); });
    if (same != missing.end()) {
      ++same->count;
      return;
    }
    std::string text = ("target " + target + " has no code for " + why).str();
    if (auto at = command->getAttrOfType<StringAttr>("at"))
      text += " (" + at.str() + ")";
    missing.push_back({command, text, 1});
  });
  // GPU kernels are written in f32 arithmetic.
  for (KernelOp kernel : module.getOps<KernelOp>())
    if (kernel.getCompute().isF64()) {
      missing.push_back(
          {kernel,
           ("target " + target + " has no code for f64 arithmetic (kernel '" + kernel.getSymName() + "')").str(), 1});
      break;
    }
  return missing;
}
