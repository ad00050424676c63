//===- Package.h - the file that the runtime reads --------------------------===//
#ifndef MHC_PACKAGE_PACKAGE_H
#define MHC_PACKAGE_PACKAGE_H

#include "mhc/Codegen/Schedules.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringMap.h"

#include <functional>
#include <string>
#include <vector>

namespace mlir::plan {
class EntryOp;
}

namespace mlir::mhc {

/// What the code of a target consists of.
struct TargetCode {
  /// Memory that a kernel reads or writes, as plan.json lists it.
  struct Argument {
    std::string dtype;
    int64_t elements = 0;          ///< of a row, or of the whole where it has no rows
    std::vector<std::string> rows; ///< what its rows are counted by: token, position, indexed, shared, sequence
    int64_t tokensPerRow = 0;      ///< with shared
    std::optional<int64_t> index;    ///< with indexed: the argument whose numbers its rows are looked up by
    std::optional<int64_t> sequence; ///< with sequence: tokens of one, 0: the int S
    bool written = false;
  };
  /// A kernel as plan.json lists it.
  struct Kernel {
    std::string name;
    int64_t tile = 1, shared = 0, threads = 0;
    int64_t cluster = 1;           ///< blocks of a cluster, which has the tile together
    std::vector<int64_t> maps;     ///< arguments of which the kernel takes tensor maps, of rows of `mapChannels` channels a stream
    int64_t mapChannels = 0, boxes = 1; ///< boxes of 64 channels that a tensor map takes at a time
    bool interleaved = false;           ///< these rows are [C, streams]
    int64_t group = 0;             ///< blocks that have the tile together without a cluster
    int64_t workspace = 0;                 ///< bytes a group of the memory that they exchange through
    bool elementwise = false;
    std::vector<std::string> ints;
    std::vector<Argument> args, reductions;

    // How it is run, and what is known of that (docs/design/schedules.md).
    ScheduleAttr schedule;
    std::string structure, shape, variantOf; ///< variantOf: the kernel that this is another schedule of; "": none
    std::vector<ScheduleRole> roles;
    std::string places;
    int64_t readBytes = 0, writtenBytes = 0; ///< of rows, a token
    double expectedSeconds = 0;              ///< of `expectedTokens` tokens, by the cost model
    /// What ptxas said: registers of a thread, bytes of spills (stores and loads).
    std::optional<int64_t> registers, spills;
  };
  static constexpr int64_t expectedTokens = 8192;
  std::vector<Kernel> kernels;
  /// GPU targets: a kernel behind library commands, how it is launched, and how many arguments of either sort it takes.
  struct LibraryKernel {
    std::string symbol;
    int64_t tile = 1, shared = 0, threads = 0;
    int64_t pointers = 0, integers = 0;
  };
  std::vector<LibraryKernel> library;
  LibraryKernel sumPartials; ///< the kernel that adds up what kernels with reductions leave; every GPU target has it
  std::vector<std::string> requirements;  ///< target cpu: words of the manifest's `requires`
  std::string llvm, object, sharedObject; ///< target cpu
  std::string ptx, cubin;                 ///< GPU targets; no cubin without ptxas
  std::string whyNoCubin;                 ///< where a cubin was asked for, but there is none
};

/// How far code is generated: what is known of kernels without their code, the text of LLVM IR, the object (PTX), or
/// what a package holds (shared object, cubin).
enum class CodeStage { figures, llvm, object, package };

/// An entry of a schedule file: these kernels have this schedule, whatever the planners like.
struct ScheduleRequest {
  std::string kernel, structure, shape, target; ///< "": any; kernel "*": any
  ScheduleAttr schedule;                        ///< the fields that are asked for
  LocationAttr at;                              ///< of what names the kernel
  DictionaryAttr fieldsAt;                      ///< of `family` and each field
};

struct CodeOptions {
  std::string cpu = "x86-64-v3";    ///< processor of target cpu, as LLVM names it or `native`
  std::string exchange = "memory"; ///< the farthest exchange between blocks of a GPU's kernels: none, cluster or memory
  int64_t candidates = 1;           ///< schedules of each kernel
  std::vector<ScheduleRequest> schedules;
};

/// Generates the code of all kernels in `module` (which is left as it is). `target` is `cpu` or a chip.
FailureOr<TargetCode> generateCode(ModuleOp module, StringRef target, const CodeOptions &options, CodeStage stage);

/// Rows of a tile of each kernel on target cpu, for printMemory.
FailureOr<llvm::StringMap<int64_t>> kernelTiles(ModuleOp module, ArrayRef<ScheduleRequest> requests);

/// What the target has no code for yet: an op's first command, with its place and the reason as a line, and how many
/// there are of it.
struct MissingCommand {
  Operation *command;
  std::string text;
  size_t count;
};
std::vector<MissingCommand> findMissingCommands(ModuleOp module, StringRef target);

struct PackageOptions {
  std::vector<std::string> targets = {"cpu"};
  CodeOptions code;
  /// Sees the code of each target before it is written.
  std::function<void(StringRef target, const TargetCode &)> seen;
  /// Further members, path and content (debug/*.mlir).
  std::vector<std::pair<std::string, std::string>> extras;
};

/// Writes the package of a module after phase `plan`, which carries attribute `mhc.manifest`; targets may have modules of
/// their own, which differ in their plans alone. Nothing stands under `path` unless all went well.
LogicalResult writePackage(function_ref<ModuleOp(StringRef target)> moduleOf, const PackageOptions &options, StringRef path);

/// plan.json's object of one entry, as text; for tests and tools.
std::string entryJson(plan::EntryOp entry);

/// A C header that says how to launch the kernels of a GPU target from a program of one's own. `code` is the module's;
/// `source` is the name of the file it comes from, of which the header's names are made.
std::string writeCHeader(ModuleOp module, StringRef target, const TargetCode &code, StringRef source);

/// Members of a ZIP file, stored, in this order; the same members give the same bytes.
FailureOr<std::string> buildZip(ArrayRef<std::pair<std::string, std::string>> members, std::string &error);

/// Writes aside, flushes to disk and renames, so that `path` holds the whole content or what it held before. False with
/// `error` set otherwise.
bool writeFileAtomically(StringRef path, StringRef content, std::string &error);

} // namespace mlir::mhc

#endif // MHC_PACKAGE_PACKAGE_H
