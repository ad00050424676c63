//===- Driver.cpp - a compilation from a description to a package -----------===//

#include "Compile.h"

#include "mhc/Dialect/Mhc/IR/MhcOps.h"
#include "mhc/Dialect/Mhc/IR/MhcRowOps.h"
#include "mhc/Dialect/Plan/IR/PlanDialect.h"
#include "mhc/Frontend/Description.h"
#include "mhc/Frontend/Import.h"
#include "mhc/Package/Manifest.h"
#include "mhc/Package/Package.h"
#include "mhc/Planning/Report.h"
#include "mhc/Tools/Register.h"

#include "mlir/IR/AsmState.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/SourceMgr.h"

using namespace mlir;
using namespace mlir::mhc;

namespace {

/// Prints diagnostics as `file:line:col: error: message`, with the place in the model where the file is not known.
void printDiagnostic(Diagnostic &diagnostic, StringRef input) {
  auto print = [&](Diagnostic &item, StringRef kind) {
    std::string where = input.str();
    item.getLocation()->walk([&](Location part) {
      auto file = dyn_cast<FileLineColLoc>(part);
      if (!file)
        return WalkResult::advance();
      where = file.getFilename().str() + ":" + std::to_string(file.getLine()) + ":" + std::to_string(file.getColumn());
      return WalkResult::interrupt();
    });
    std::string text = item.str(), place = placeName(item.getLocation());
    bool named = place.empty() || StringRef(text).contains(place);
    llvm::errs() << where << ": " << kind << ": " << text << (named ? "" : " [" + place + "]") << "\n";
  };
  switch (diagnostic.getSeverity()) {
  case DiagnosticSeverity::Error:
    print(diagnostic, "error");
    break;
  case DiagnosticSeverity::Warning:
    print(diagnostic, "warning");
    break;
  case DiagnosticSeverity::Note:
  case DiagnosticSeverity::Remark:
    return;
  }
  for (Diagnostic &note : diagnostic.getNotes())
    print(note, "note");
}

class Compilation {
public:
  explicit Compilation(const CompileOptions &options) : options(options), code(options.code), context(makeContext()) {
    context->getDiagEngine().registerHandler([this](Diagnostic &diagnostic) {
      printDiagnostic(diagnostic, this->options.input);
      return success();
    });
  }

  LogicalResult run() {
    if (options.explain != Explain::none && failed(remarks.attach(*context)))
      return failure();
    if (failed(options.fromIR ? readIR() : readDescription()))
      return failure();
    if (options.reportParameters)
      return success();
    if (!options.schedule.empty() && failed(readSchedules(context.get(), options.schedule, code.schedules)))
      return failure();
    if (failed(setTargets(*module, [](StringRef) { return true; })))
      return failure();
    if (dependsOnTarget()) {
      gpuModule = cast<ModuleOp>((*module)->clone());
      if (failed(setTargets(*module, isCpu)) || failed(setTargets(*gpuModule, [](StringRef name) { return !isCpu(name); })) ||
          failed(runPhases(*gpuModule, "gpu.")))
        return failure();
    }
    if (failed(runPhases(*module, "")))
      return failure();
    if (options.explain != Explain::none) {
      if (auto manifest = (*module)->getAttrOfType<StringAttr>(manifestAttr))
        remarks.describeParameters(manifest.getValue());
      addFigures();
    }
    // Schedules are chosen when code is made, so the decisions are complete after it; they are printed first where both go to standard output.
    bool explainFirst = options.output == "-";
    if (explainFirst)
      explain();
    LogicalResult result = options.output.empty() ? chooseSchedules() : writeResult();
    if (succeeded(result) && !options.writeSchedule.empty())
      result = writeSchedule();
    if (!explainFirst)
      explain();
    if (options.memory && failed(printMemoryReport()))
      return failure();
    return result;
  }

private:
  void explain() {
    if (options.explain != Explain::none)
      remarks.print(options.explain, llvm::outs());
  }

  /// Without a package to write: only for the decisions to be shown.
  LogicalResult chooseSchedules() {
    if ((options.explain == Explain::none && options.writeSchedule.empty()) || options.to != Phase::package)
      return success();
    for (const std::string &target : options.targets) {
      ModuleOp program = gpuModule && !isCpu(target) ? *gpuModule : *module;
      if (!findMissingCommands(program, target).empty())
        continue;
      FailureOr<TargetCode> made = generateCode(program, target, code, CodeStage::figures);
      if (failed(made))
        return failure();
      remarks.describeSchedules(target, *made);
    }
    return success();
  }

  LogicalResult writeSchedule() {
    std::string problem;
    if (!writeFileAtomically(options.writeSchedule, writeSchedules(remarks.schedules), problem))
      return error("mhc-compile: error: " + problem);
    return success();
  }

  static std::unique_ptr<MLIRContext> makeContext() {
    DialectRegistry registry;
    registerEverything(registry);
    auto context = std::make_unique<MLIRContext>(registry, MLIRContext::Threading::DISABLED);
    context->printOpOnDiagnostic(false);
    context->loadDialect<MhcDialect, plan::PlanDialect>();
    return context;
  }

  LogicalResult error(const Twine &message) {
    llvm::errs() << message << "\n";
    return failure();
  }

  //===--- Input -------------------------------------------------------------===//

  FailureOr<std::unique_ptr<llvm::MemoryBuffer>> readInput() {
    auto buffer = llvm::MemoryBuffer::getFileOrSTDIN(options.input, /*IsText=*/true);
    if (!buffer)
      return error(options.input + ": error: could not read the file: " + buffer.getError().message());
    return std::move(*buffer);
  }

  LogicalResult readDescription() {
    FailureOr<std::unique_ptr<llvm::MemoryBuffer>> text = readInput();
    if (failed(text))
      return failure();
    auto parsed = ::mhc::parseDescription((*text)->getBuffer().str(), options.input);
    if (auto *problem = std::get_if<::mhc::DescriptionError>(&parsed))
      return error(problem->str());
    const auto &description = std::get<::mhc::Description>(parsed);
    if (options.reportParameters)
      return reportParameters(description);
    if (std::optional<::mhc::DescriptionError> problem = ::mhc::findUnsupported(description))
      return error(problem->str());
    module = importDescription(description, *context);
    if (!module)
      return failure();
    OpBuilder builder(context.get());
    (*module)->setAttr(manifestAttr, builder.getStringAttr(manifestHeader(description)));
    return verify(*module);
  }

  LogicalResult reportParameters(const ::mhc::Description &description) {
    auto *model = std::get_if<::mhc::LanguageModel>(&description.value);
    if (!model)
      return error(::mhc::DescriptionError{description.file, description.at("kind"),
                                           "only a language_model has a report of its parameters", ""}
                       .str());
    std::string problem;
    if (!writeFileAtomically(options.output.empty() ? "-" : options.output, ::mhc::parameterReport(*model) + "\n",
                             problem))
      return error("mhc-compile: error: " + problem);
    return success();
  }

  LogicalResult readIR() {
    FailureOr<std::unique_ptr<llvm::MemoryBuffer>> text = readInput();
    if (failed(text))
      return failure();
    llvm::SourceMgr sources;
    sources.AddNewSourceBuffer(std::move(*text), llvm::SMLoc());
    module = parseSourceFile<ModuleOp>(sources, ParserConfig(context.get()));
    if (!module)
      return failure();
    // What a phase leaves behind is checked before the next one relies on it.
    PassManager pm(context.get());
    VerifyPhasePassOptions verify;
    verify.phase = phaseName(options.from).str();
    pm.addPass(createVerifyPhasePass(verify));
    return pm.run(*module);
  }

  //===--- Phases ------------------------------------------------------------===//

  static bool isCpu(StringRef target) { return target == "cpu"; }

  /// What the passes' cost models go by.
  LogicalResult setTargets(ModuleOp to, function_ref<bool(StringRef)> chosen) {
    SmallVector<Attribute> targets;
    for (const std::string &name : options.targets) {
      if (!chosen(name))
        continue;
      TargetAttr target = TargetAttr::get(context.get(), name);
      if (!target)
        return error("mhc-compile: error: nothing is known of the sizes and rates of target '" + name + "'");
      targets.push_back(target.withExchange(options.code.exchange));
    }
    to->setAttr("mhc.targets", ArrayAttr::get(context.get(), targets));
    return success();
  }

  /// True where CPUs and GPUs of one package need programs of their own: what Newton-Schulz multiplies is of another type.
  bool dependsOnTarget() {
    bool both = llvm::any_of(options.targets, isCpu) && !llvm::all_of(options.targets, isCpu);
    return both && options.to == Phase::package && module->walk([](NewtonSchulzOp) { return WalkResult::interrupt(); }).wasInterrupted();
  }

  LogicalResult runPhases(ModuleOp program, StringRef prefix) {
    if (!options.dumpPhasesTo.empty())
      if (std::error_code code = llvm::sys::fs::create_directories(options.dumpPhasesTo))
        return error("mhc-compile: error: could not make folder '" + options.dumpPhasesTo + "': " + code.message());
    for (Phase phase : allPhases()) {
      if (phase == Phase::package || phase > options.to)
        break;
      if (phase < options.from || (options.fromIR && phase == options.from))
        continue;
      PassManager pm(context.get());
      buildPhase(pm, phase, options.phases);
      if (failed(pm.run(program)))
        return failure();
      if (options.dumpPhasesTo.empty())
        continue;
      SmallString<128> path(options.dumpPhasesTo);
      llvm::sys::path::append(path, prefix + phaseName(phase) + ".mlir");
      std::string problem;
      if (!writeFileAtomically(path, printModule(program), problem))
        return error("mhc-compile: error: " + problem);
    }
    return success();
  }

  std::string printModule(ModuleOp program) {
    std::string text;
    llvm::raw_string_ostream stream(text);
    OpPrintingFlags flags;
    if (options.printLocations)
      flags.enableDebugInfo(true);
    program.print(stream, flags);
    return text + "\n";
  }

  //===--- Reports -----------------------------------------------------------===//

  void addFigures() {
    size_t kernels = std::distance(module->getOps<KernelOp>().begin(), module->getOps<KernelOp>().end());
    if (options.to >= Phase::kernels)
      remarks.note("distinct kernels", Twine(kernels));
    for (auto entry : module->getOps<plan::EntryOp>()) {
      size_t launches = 0;
      entry.walk([&](plan::LaunchOp) { ++launches; });
      remarks.note(("launches of " + entry.getSymName()).str(), Twine(launches));
      LaunchBytes bytes = planBytes(entry);
      if (bytes.read && bytes.written) {
        remarks.note(("bytes read by " + entry.getSymName()).str(), bytes.read.str());
        remarks.note(("bytes written by " + entry.getSymName()).str(), bytes.written.str());
      }
    }
  }

  /// The description's batch where nothing else is asked for, 4096 tokens elsewhere.
  llvm::StringMap<int64_t> memorySymbols() {
    llvm::StringMap<int64_t> symbols;
    symbols["T"] = 4096;
    symbols["B"] = 1;
    symbols["S"] = 4096;
    if (auto text = (*module)->getAttrOfType<StringAttr>(manifestAttr)) {
      llvm::Expected<llvm::json::Value> manifest = llvm::json::parse(text.getValue());
      if (!manifest)
        llvm::consumeError(manifest.takeError());
      else if (const llvm::json::Object *object = manifest->getAsObject())
        if (const llvm::json::Object *training = object->getObject("training"))
          if (const llvm::json::Object *batch = training->getObject("batch")) {
            symbols["B"] = batch->getInteger("micro_batch").value_or(1);
            symbols["S"] = batch->getInteger("sequence_length").value_or(4096);
          }
    }
    for (const auto &entry : options.symbols)
      symbols[entry.getKey()] = entry.getValue();
    return symbols;
  }

  LogicalResult printMemoryReport() {
    if (options.to < Phase::plan)
      return error("mhc-compile: error: --memory needs phase 'plan'");
    for (const auto &given : options.symbols) {
      bool known = false;
      for (auto entry : module->getOps<plan::EntryOp>())
        known |= llvm::any_of(entry.getSymbols(), [&](Attribute symbol) { return cast<StringAttr>(symbol).getValue() == given.getKey(); });
      if (!known)
        return error("mhc-compile: error: --memory: no entry point has a symbol '" + given.getKey().str() + "' that can be given");
    }
    FailureOr<llvm::StringMap<int64_t>> tiles = kernelTiles(*module, llvm::is_contained(options.targets, "cpu") ? ArrayRef(code.schedules) : ArrayRef<ScheduleRequest>());
    if (failed(tiles))
      return failure();
    return printMemory(*module, memorySymbols(), *tiles, llvm::outs());
  }

  //===--- Output ------------------------------------------------------------===//

  LogicalResult writeResult() {
    if (options.to != Phase::package)
      return write(printModule(*module));
    if (options.emit == Emit::pkg) {
      PackageOptions package;
      package.targets = options.targets;
      package.code = code;
      package.seen = [&](StringRef target, const TargetCode &made) { remarks.describeSchedules(target, made); };
      auto programOf = [&](StringRef target) { return gpuModule && !isCpu(target) ? *gpuModule : *module; };
      return writePackage(programOf, package, options.output);
    }
    const std::string &target = options.targets.front();
    for (const MissingCommand &missing : findMissingCommands(*module, target))
      llvm::errs() << options.input << ": note: left out: " << missing.text
                   << (missing.count > 1 ? " and " + std::to_string(missing.count - 1) + " more" : "") << "\n";
    FailureOr<TargetCode> made = generateCode(*module, target, code, codeStage());
    if (failed(made))
      return failure();
    remarks.describeSchedules(target, *made);
    switch (options.emit) {
    case Emit::llvm:
      return write(made->llvm);
    case Emit::obj:
      return write(made->object);
    case Emit::ptx:
      return write(made->ptx);
    case Emit::cubin:
      if (made->cubin.empty())
        return error("mhc-compile: error: no cubin for target " + target + ": " + made->whyNoCubin +
                     "; --emit=ptx writes PTX, which needs no ptxas and which the driver loads, too");
      return write(made->cubin);
    case Emit::cHeader:
      return write(writeCHeader(*module, target, *made, llvm::sys::path::filename(options.input)));
    case Emit::mlir:
    case Emit::pkg:
      break; // written above
    }
    llvm_unreachable("all that is emitted is written");
  }

  /// How far code must be generated for what is to be written.
  CodeStage codeStage() const {
    switch (options.emit) {
    case Emit::llvm:
      return CodeStage::llvm;
    case Emit::cHeader:
      return CodeStage::figures;
    case Emit::cubin:
      return CodeStage::package;
    default:
      return CodeStage::object;
    }
  }

  LogicalResult write(StringRef content) {
    std::string problem;
    if (!writeFileAtomically(options.output, content, problem))
      return error("mhc-compile: error: " + problem);
    return success();
  }

  const CompileOptions &options;
  CodeOptions code; ///< with what the schedule file asks for
  RemarkLog remarks; // outlives the context, whose engine writes into it
  std::unique_ptr<MLIRContext> context;
  OwningOpRef<ModuleOp> module, gpuModule; ///< the latter where GPUs need a program of their own
};
} // namespace

int mlir::mhc::compile(const CompileOptions &options) { return succeeded(Compilation(options).run()) ? 0 : 1; }
