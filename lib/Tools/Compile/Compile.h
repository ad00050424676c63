//===- Compile.h - mhc-compile ----------------------------------------------===//
#ifndef MHC_LIB_TOOLS_COMPILE_COMPILE_H
#define MHC_LIB_TOOLS_COMPILE_COMPILE_H

#include "mhc/Package/Package.h"
#include "mhc/Pipelines/Pipelines.h"

#include "mlir/IR/Diagnostics.h"
#include "llvm/ADT/StringMap.h"

#include <optional>
#include <string>
#include <vector>

namespace mlir::mhc {

enum class Emit { mlir, llvm, ptx, cubin, cHeader, obj, pkg };
enum class Explain { none, table, yaml };

/// What a call of mhc-compile asks for.
struct CompileOptions {
  std::string input, output; ///< output "": none was named; "-": standard output
  std::vector<std::string> targets;
  CodeOptions code;                       ///< its schedules are read when there is a context
  std::string schedule, writeSchedule;    ///< files
  Phase from = Phase::import, to = Phase::package;
  bool fromIR = false; ///< --compile-from: the input is IR
  Emit emit = Emit::pkg;
  Explain explain = Explain::none;
  bool memory = false, reportParameters = false, printLocations = false;
  llvm::StringMap<int64_t> symbols; ///< of --memory
  std::string dumpPhasesTo;
  PhaseOptions phases;

  bool writesPackage() const { return to == Phase::package && emit == Emit::pkg && !output.empty(); }
};

/// Reads the command line. Nothing where the program is to end with `exitCode` (2 after a usage error, which has been
/// printed).
bool parseCommandLine(int argc, char **argv, CompileOptions &options, int &exitCode);

/// Runs it; the exit status.
int compile(const CompileOptions &options);

/// Collects remarks and prints them for --explain.
class RemarkLog {
public:
  struct Entry {
    std::string pass, name, function, place, decision, reason;
    std::vector<std::pair<std::string, std::string>> metrics; ///< other arguments, in their order
  };

  /// Every remark of the context goes to the log from now on. The log must outlive the context's compilation.
  LogicalResult attach(MLIRContext &context);
  void print(Explain format, raw_ostream &os) const;
  /// How each kernel of a target is run.
  void describeSchedules(StringRef target, const TargetCode &code);
  /// Further lines at the end: figures of the whole module.
  void note(StringRef key, const Twine &value) { notes.emplace_back(key.str(), value.str()); }

  /// A line for each parameter of the manifest (experts: for each stack), and what the parametrization multiplies. Nothing where the text tells of none.
  void describeParameters(StringRef manifest);

  std::vector<Entry> entries;
  std::vector<std::pair<std::string, TargetCode::Kernel>> schedules; ///< by target

private:
  void printSchedules(Explain format, raw_ostream &os) const;

  struct Parameter {
    std::string name, shape, role, optimizer, norm, rate, decay, init;
  };
  std::vector<Parameter> parameters;
  std::vector<std::pair<std::string, std::string>> notes;
};

/// Reads a schedule file; says what is wrong with it, where and what was expected.
LogicalResult readSchedules(MLIRContext *context, StringRef file, std::vector<ScheduleRequest> &requests);
/// The file that asks for these schedules, variants left out.
std::string writeSchedules(ArrayRef<std::pair<std::string, TargetCode::Kernel>> kernels);

/// The first name in a location ("model.layers.3.hc_attn"), or "".
std::string placeName(Location loc);

} // namespace mlir::mhc

#endif // MHC_LIB_TOOLS_COMPILE_COMPILE_H
