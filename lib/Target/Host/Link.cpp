//===- Link.cpp - from an object to a shared object -------------------------===//
//
// lld is called as a library where its development package is installed, else as a program. Both give the same bytes.
//
//===----------------------------------------------------------------------===//

#include "mhc/Target/Host.h"

#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Object/ObjectFile.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/raw_ostream.h"

#ifdef MHC_HAVE_LLD_LIBRARY
#include "lld/Common/Driver.h"
#include <mutex>
LLD_HAS_DRIVER(elf)
#endif

using namespace mlir;
using namespace mlir::mhc;

/// A linker of a shared object takes undefined symbols in silence, and the load fails later. So they are looked for
/// here.
static LogicalResult checkUndefined(StringRef object, Location loc) {
  auto file = llvm::object::ObjectFile::createObjectFile(llvm::MemoryBufferRef(object, "kernels.o"));
  if (!file)
    return emitError(loc) << "expected an object file: " << llvm::toString(file.takeError());
  SmallVector<std::string> undefined;
  for (const llvm::object::SymbolRef &symbol : (*file)->symbols()) {
    llvm::Expected<uint32_t> flags = symbol.getFlags();
    llvm::Expected<StringRef> name = symbol.getName();
    if (!flags || !name) {
      llvm::consumeError(flags.takeError());
      llvm::consumeError(name.takeError());
      return emitError(loc) << "damaged symbol table";
    }
    if ((*flags & llvm::object::SymbolRef::SF_Undefined) && !name->empty() && *name != "memcpy" && *name != "memset")
      undefined.push_back(name->str());
  }
  if (undefined.empty())
    return success();
  llvm::sort(undefined);
  return emitError(loc) << "undefined symbol" << (undefined.size() > 1 ? "s " : " ") << llvm::join(undefined, ", ")
                        << " in host code (only memcpy and memset may be)";
}

#ifdef MHC_HAVE_LLD_LIBRARY
static LogicalResult runLinker(ArrayRef<StringRef> arguments, StringRef logPath, Location loc) {
  // lld has global state.
  static std::mutex mutex;
  std::lock_guard<std::mutex> lock(mutex);
  SmallVector<std::string> strings = llvm::map_to_vector(arguments, [](StringRef s) { return s.str(); });
  SmallVector<const char *> argv = {"ld.lld"};
  for (std::string &string : strings)
    argv.push_back(string.c_str());
  std::string log;
  llvm::raw_string_ostream stream(log);
  lld::Result result = lld::lldMain(argv, stream, stream, {{lld::Gnu, &lld::elf::link}});
  if (result.retCode != 0)
    return emitError(loc) << "linking host code failed: " << StringRef(log).trim();
  return success();
}
#else
static LogicalResult runLinker(ArrayRef<StringRef> arguments, StringRef logPath, Location loc) {
  std::string linker = MHC_LLD_PROGRAM;
  if (linker.empty() || !llvm::sys::fs::can_execute(linker)) {
    llvm::ErrorOr<std::string> found = llvm::sys::findProgramByName("ld.lld");
    if (!found)
      return emitError(loc) << "expected the linker ld.lld at '" << MHC_LLD_PROGRAM << "' or on PATH (package lld-22)";
    linker = *found;
  }
  SmallVector<StringRef> argv = {"ld.lld"};
  llvm::append_range(argv, arguments);
  std::string message;
  std::optional<StringRef> redirects[] = {StringRef(""), logPath, logPath};
  int code = llvm::sys::ExecuteAndWait(linker, argv, /*Env=*/std::nullopt, redirects, /*SecondsToWait=*/0,
                                       /*MemoryLimit=*/0, &message);
  if (code == 0)
    return success();
  if (auto log = llvm::MemoryBuffer::getFile(logPath))
    message += (*log)->getBuffer().trim();
  return emitError(loc) << "linking host code failed: " << message;
}
#endif

FailureOr<std::string> mlir::mhc::linkHostSharedObject(StringRef object, Location loc) {
  if (failed(checkUndefined(object, loc)))
    return failure();
  // A folder of our own: no name in it is guessed by others, and none comes into the output.
  SmallString<128> folder;
  if (std::error_code error = llvm::sys::fs::createUniqueDirectory("mhc-link", folder))
    return emitError(loc) << "could not create a temporary folder: " << error.message();
  auto cleanup = llvm::make_scope_exit([&] { llvm::sys::fs::remove_directories(folder); });
  std::string input = (folder + "/kernels.o").str(), output = (folder + "/kernels.so").str(),
              log = (folder + "/log").str();
  {
    std::error_code error;
    llvm::raw_fd_ostream stream(input, error);
    stream << object;
    stream.close();
    if (error || stream.has_error()) {
      stream.clear_error();
      return emitError(loc) << "could not write " << input;
    }
  }
  StringRef arguments[] = {
      "-shared", "--build-id=none", "--strip-all", "--hash-style=gnu", "-z", "relro", "-z", "now", "-o", output, input};
  if (failed(runLinker(arguments, log, loc)))
    return failure();
  auto linked = llvm::MemoryBuffer::getFile(output);
  if (!linked)
    return emitError(loc) << "could not read the linked object: " << linked.getError().message();
  return (*linked)->getBuffer().str();
}
