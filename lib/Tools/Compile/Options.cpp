//===- Options.cpp - the command line of mhc-compile ------------------------===//

#include "Compile.h"

#include "mhc/Target/NVPTX.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace mlir::mhc;
namespace cl = llvm::cl;

namespace {

/// The options as written. They are made after those of the libraries have been dropped, so that nobody else's can be
/// given, suggested or listed.
struct CommandLine {
  cl::OptionCategory category{"Options"};
  cl::opt<std::string> input{cl::Positional, cl::desc("<model description, or IR with --compile-from>"),
                             cl::cat(category)};
  cl::opt<std::string> output{"o", cl::desc("Where the result goes ('-': standard output)"), cl::value_desc("file"),
                              cl::cat(category)};
  cl::list<std::string> targets{"target", cl::CommaSeparated,
                                cl::desc("cpu and GPU chips, such as cpu,sm_80,sm_90a (default: cpu)"),
                                cl::value_desc("list"), cl::cat(category)};
  cl::opt<std::string> cpu{"mcpu", cl::init("x86-64-v3"),
                           cl::desc("Processor of target cpu: x86-64-v3 (default), native, or one that LLVM knows"),
                           cl::value_desc("name"), cl::cat(category)};
  cl::opt<std::string> to{
      "compile-to",
      cl::desc("Stop after this phase and print its IR: import, optimize, differentiate, fuse, kernels, plan"),
      cl::value_desc("phase"), cl::cat(category)};
  cl::opt<std::string> from{"compile-from", cl::desc("The input is the IR at the end of this phase"),
                            cl::value_desc("phase"), cl::cat(category)};
  cl::opt<std::string> dump{"dump-phases-to",
                            cl::desc("Write the IR at the end of each phase to <folder>/<phase>.mlir"),
                            cl::value_desc("folder"), cl::cat(category)};
  cl::opt<bool> locations{"print-locations", cl::desc("Print locations with the IR"), cl::cat(category)};
  cl::opt<std::string> emit{"emit",
                            cl::desc("What to write: pkg (default), mlir, llvm, obj (target cpu), ptx, cubin (needs "
                                     "ptxas), c-header (a GPU target: how to launch its kernels from C)"),
                            cl::value_desc("kind"), cl::cat(category)};
  cl::opt<std::string> explain{"explain", cl::ValueOptional,
                               cl::desc("Print the passes' decisions, as a table or --explain=yaml"),
                               cl::value_desc("format"), cl::cat(category)};
  cl::opt<std::string> memory{
      "memory", cl::ValueOptional,
      cl::desc("Print the memory of each entry point, by default for T=4096 or the description's batch"),
      cl::value_desc("symbol=value,.."), cl::cat(category)};
  cl::opt<std::string> report{"report", cl::desc("Print a report and compile nothing: parameters"),
                              cl::value_desc("name"), cl::cat(category)};
  cl::opt<bool> noReorder{"no-reorder", cl::desc("Leave norms before matmuls"), cl::cat(category)};
  cl::opt<bool> noCoefficients{"no-fuse-coefficients", cl::desc("Do not fuse the small ops of a token"),
                               cl::cat(category)};
  cl::opt<bool> noBoundaries{"no-fuse-boundaries", cl::desc("Do not fuse what stands between two layers"),
                             cl::cat(category)};
  cl::opt<bool> noRebuild{"no-rebuild", cl::desc("Read streams in backward kernels instead of rebuilding them"),
                          cl::cat(category)};
  cl::opt<std::string> exchange{"exchange", cl::init("memory"),
                                cl::desc("How far blocks of a GPU's kernels may share a tile: none (schedule family simple alone), cluster, or memory (default: groups "
                                         "without a cluster too, which boundaries of backward are)"),
                                cl::value_desc("kind"), cl::cat(category)};
  cl::list<std::string> schedule{"schedule", cl::desc("Schedules of kernels that hold whatever the cost model likes (JSON, docs/design/schedules.md); given once"), cl::value_desc("file"),
                                 cl::cat(category)};
  cl::opt<std::string> writeSchedule{"write-schedule", cl::desc("Write the schedules of all kernels as a file for --schedule"), cl::value_desc("file"), cl::cat(category)};
  cl::opt<int64_t> candidates{"tune-candidates", cl::init(1), cl::desc("Schedules of each kernel that the package holds, for mhc-run tune: the planner's own and the N - 1 others that the "
                                       "cost model likes best (1)"),
                              cl::value_desc("N"), cl::cat(category)};
  cl::opt<std::string> rowBlock{
      "row-block", cl::init("4096"),
      cl::desc("Tokens that are there at a time of tensors with very large rows (logits): a number (4096), or none"),
      cl::value_desc("N"), cl::cat(category)};
  cl::opt<int64_t> rowBlockBytes{"row-block-bytes", cl::init(65536),
                                 cl::desc("Bytes from which a row is very large (65536)"), cl::value_desc("N"),
                                 cl::cat(category)};
  cl::opt<std::string> recompute{"recompute-block", cl::init("auto"),
                                 cl::desc("Sublayers of a recomputed block: a number, auto (default) or none"),
                                 cl::value_desc("N"), cl::cat(category)};
};

/// Turns what was written into CompileOptions; the first error ends it.
class Resolver {
public:
  Resolver(CommandLine &line, CompileOptions &options) : line(line), options(options) {}

  bool run() {
    options.input = line.input;
    options.output = line.output;
    options.code.cpu = line.cpu;
    options.schedule = line.schedule.empty() ? "" : line.schedule.front();
    options.writeSchedule = line.writeSchedule;
    options.dumpPhasesTo = line.dump;
    options.printLocations = line.locations;
    return targets() && phases() && schedules() && emit() && reports() && passes() && places();
  }

private:
  bool error(const Twine &message) {
    llvm::errs() << "mhc-compile: error: " << message << "\n";
    return false;
  }

  bool targets() {
    for (const std::string &target : line.targets) {
      if (target != "cpu" && !lookupNVPTXChip(target))
        return error("unknown target '" + target + "'; expected cpu, " + listNVPTXChips());
      if (!llvm::is_contained(options.targets, target))
        options.targets.push_back(target);
    }
    if (options.targets.empty())
      options.targets = {"cpu"};
    return true;
  }

  bool phase(StringRef option, StringRef name, Phase &result) {
    std::optional<Phase> found = parsePhase(name);
    if (!found)
      return error("unknown phase '" + name + "' of --" + option + "; expected " + listPhases());
    result = *found;
    return true;
  }

  bool phases() {
    if (line.to.getNumOccurrences() && !phase("compile-to", line.to, options.to))
      return false;
    if (line.from.getNumOccurrences()) {
      if (!phase("compile-from", line.from, options.from))
        return false;
      options.fromIR = true;
      if (options.from == Phase::package)
        return error("a package cannot be compiled further; --compile-from takes a phase before it");
    }
    if (options.to < options.from)
      return error("--compile-to=" + phaseName(options.to) + " lies before --compile-from=" + phaseName(options.from));
    return true;
  }

  bool schedules() {
    options.code.exchange = line.exchange;
    if (line.exchange != "none" && line.exchange != "cluster" && line.exchange != "memory")
      return error("unknown kind '" + line.exchange + "' of --exchange; expected none, cluster or memory");
    if (line.schedule.size() > 1)
      return error("--schedule is given more than once; it names one file, whose entries hold in order (join the lists)");
    options.code.candidates = line.candidates;
    if (line.candidates < 1 || line.candidates > 64)
      return error("expected --tune-candidates to be a number from 1 to 64, but got " + Twine(line.candidates));
    bool chosen = line.candidates > 1 || !options.schedule.empty() || !options.writeSchedule.empty();
    if (chosen && options.to != Phase::package)
      return error("schedules are chosen when code is made; --schedule, --write-schedule and --tune-candidates do not go with --compile-to=" + phaseName(options.to));
    return true;
  }

  bool emit() {
    if (!line.emit.getNumOccurrences())
      return true;
    std::optional<Emit> kind = llvm::StringSwitch<std::optional<Emit>>(line.emit)
                                   .Case("mlir", Emit::mlir)
                                   .Case("llvm", Emit::llvm)
                                   .Case("ptx", Emit::ptx)
                                   .Case("cubin", Emit::cubin)
                                   .Case("c-header", Emit::cHeader)
                                   .Case("obj", Emit::obj)
                                   .Case("pkg", Emit::pkg)
                                   .Default(std::nullopt);
    if (!kind)
      return error("unknown kind '" + line.emit + "' of --emit; expected pkg, mlir, llvm, obj, ptx, cubin or c-header");
    options.emit = *kind;
    if (options.emit != Emit::pkg && line.candidates > 1)
      return error("--tune-candidates needs a package to put schedules into; it does not go with --emit=" + line.emit);
    if (options.emit == Emit::mlir) {
      options.to = std::min(options.to, Phase::plan);
      return true;
    }
    if (options.to != Phase::package)
      return error("--emit=" + line.emit + " does not go with --compile-to=" + phaseName(options.to));
    if (options.emit == Emit::pkg)
      return true;
    bool gpu = options.emit == Emit::ptx || options.emit == Emit::cubin || options.emit == Emit::cHeader;
    // Their callers give pointers and rows; kernels of groups take tensor maps and launches of their own.
    if (gpu && line.exchange.getNumOccurrences() && line.exchange != "none")
      return error("--emit=" + line.emit + " gives kernels of plain pointers, which does not go with --exchange=" + line.exchange);
    if (gpu)
      options.code.exchange = "none";
    if (options.targets.size() != 1 || (options.targets[0] != "cpu") != gpu)
      return error("--emit=" + line.emit + " takes one target, " +
                   (gpu ? "a GPU's, such as --target=sm_90a" : "--target=cpu"));
    return true;
  }

  bool reports() {
    if (line.explain.getNumOccurrences()) {
      if (!line.explain.empty() && line.explain != "yaml" && line.explain != "table")
        return error("unknown format '" + line.explain + "' of --explain; expected table or yaml");
      options.explain = line.explain == "yaml" ? Explain::yaml : Explain::table;
    }
    if (line.report.getNumOccurrences()) {
      if (line.report != "parameters")
        return error("unknown report '" + line.report + "'; expected parameters");
      if (options.fromIR)
        return error("--report=parameters reads a model description, not IR");
      options.reportParameters = true;
    }
    if (!line.memory.getNumOccurrences())
      return true;
    options.memory = true;
    SmallVector<StringRef> bindings;
    StringRef(line.memory).split(bindings, ',', -1, /*KeepEmpty=*/false);
    for (StringRef binding : bindings) {
      auto [symbol, value] = binding.split('=');
      int64_t number;
      if (symbol.empty() || value.getAsInteger(10, number) || number < 0)
        return error("expected --memory=symbol=value, such as --memory=T=4096, but got '" + binding + "'");
      if (!options.symbols.try_emplace(symbol, number).second)
        return error("--memory gives '" + symbol + "' twice");
    }
    return true;
  }

  bool passes() {
    options.phases.reorder = !line.noReorder;
    options.phases.fuseCoefficients = !line.noCoefficients;
    options.phases.fuseBoundaries = !line.noBoundaries;
    options.phases.rebuild = !line.noRebuild;
    int64_t block;
    if (line.recompute == "auto")
      block = 0;
    else if (line.recompute == "none")
      block = -1;
    else if (StringRef(line.recompute).getAsInteger(10, block) || block < 1)
      return error("expected --recompute-block to be a number from 1 on, auto or none, but got '" + line.recompute +
                   "'");
    options.phases.recomputeBlock = block;
    int64_t rows = 0;
    if (line.rowBlock != "none" && (StringRef(line.rowBlock).getAsInteger(10, rows) || rows < 1))
      return error("expected --row-block to be a number from 1 on, or none, but got '" + line.rowBlock + "'");
    // A block's rows begin at multiples of 16 bytes then, which GPU kernels rely on.
    if (rows % 8 && llvm::any_of(options.targets, [](const std::string &target) { return target != "cpu"; }))
      return error("expected --row-block to be a multiple of 8 for GPU targets, but got " + Twine(rows));
    options.phases.rowBlock = rows;
    if (line.rowBlockBytes < 1)
      return error("expected --row-block-bytes to be a number from 1 on");
    options.phases.rowBlockBytes = line.rowBlockBytes;
    return true;
  }

  bool places() {
    if (options.input.empty())
      return error("expected a model description (mhc-compile model.json -o model.mhcpkg); see --help");
    if (!options.output.empty() && options.output != "-" && llvm::sys::fs::equivalent(options.input, options.output))
      return error("-o names the input, '" + options.input + "'");
    // Neither of them need exist yet.
    auto same = [](StringRef a, StringRef b) {
      if (a.empty() || b.empty() || a == "-" || b == "-")
        return false;
      SmallString<256> x(a), y(b);
      llvm::sys::fs::make_absolute(x);
      llvm::sys::fs::make_absolute(y);
      llvm::sys::path::remove_dots(x, /*remove_dot_dot=*/true);
      llvm::sys::path::remove_dots(y, /*remove_dot_dot=*/true);
      return x == y || llvm::sys::fs::equivalent(a, b);
    };
    for (auto [name, file] : {std::pair<StringRef, StringRef>{"the input", options.input}, {"-o", options.output}, {"--schedule", options.schedule}})
      if (same(options.writeSchedule, file))
        return error("--write-schedule names the file of " + name + ", '" + file + "'");
    if (options.writeSchedule == "-" && options.explain != Explain::none)
      return error("--write-schedule=- and --explain both write to standard output");
    bool prints = options.to != Phase::package || options.emit == Emit::llvm || options.emit == Emit::ptx ||
                  options.emit == Emit::cHeader || options.emit == Emit::mlir;
    bool reports =
        options.explain != Explain::none || options.memory || !options.writeSchedule.empty() || options.reportParameters || !options.dumpPhasesTo.empty();
    if (options.output.empty() && !prints && !reports)
      return error("expected -o <file>");
    // Text for people goes to standard output; so does IR where no file is named. Not both.
    if (options.output.empty() && prints && !reports)
      options.output = "-";
    return true;
  }

  CommandLine &line;
  CompileOptions &options;
};
} // namespace

bool mlir::mhc::parseCommandLine(int argc, char **argv, CompileOptions &options, int &exitCode) {
  cl::ResetCommandLineParser();
  auto *line = new CommandLine; // options unregister nothing when they end, so they live as long as the program
  cl::HideUnrelatedOptions(line->category);
  cl::SetVersionPrinter([](raw_ostream &os) { os << "mhc-compile " MHC_VERSION "\n"; });
  std::string errors;
  llvm::raw_string_ostream stream(errors);
  exitCode = 2;
  if (!cl::ParseCommandLineOptions(argc, argv,
                                   "compiler of models whose residual topology is learned\n\n"
                                   "  mhc-compile model.json -o model.mhcpkg --target=cpu,sm_90a\n",
                                   &stream)) {
    llvm::errs() << errors;
    return false;
  }
  bool resolved = Resolver(*line, options).run();
  // The linker that runs in this process registers options of its own, of which some have our names.
  cl::ResetCommandLineParser();
  return resolved;
}
