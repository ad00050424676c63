//===- Assemble.cpp - from PTX to a cubin -----------------------------------===//

#include "mhc/Target/NVPTX.h"

#include "llvm/ADT/ScopeExit.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace mlir::mhc;

static std::optional<std::string> findPtxas() {
  if (llvm::ErrorOr<std::string> found = llvm::sys::findProgramByName("ptxas"))
    return *found;
  SmallVector<std::string> folders;
  if (std::optional<std::string> home = llvm::sys::Process::GetEnv("CUDA_HOME"))
    folders.push_back(*home + "/bin");
  folders.push_back("/usr/local/cuda/bin");
  for (const std::string &folder : folders)
    if (llvm::ErrorOr<std::string> found = llvm::sys::findProgramByName("ptxas", {folder}))
      return *found;
  return std::nullopt;
}

AssembledPtx mlir::mhc::assemblePtx(StringRef ptx, StringRef chip) {
  using Status = AssembledPtx::Status;
  std::optional<std::string> ptxas = findPtxas();
  if (!ptxas)
    return {Status::noAssembler, "", "no ptxas on PATH, in $CUDA_HOME/bin or in /usr/local/cuda/bin"};
  SmallString<128> folder;
  if (std::error_code error = llvm::sys::fs::createUniqueDirectory("mhc-ptxas", folder))
    return {Status::failed, "", "could not create a temporary folder: " + error.message()};
  auto cleanup = llvm::make_scope_exit([&] { llvm::sys::fs::remove_directories(folder); });
  std::string input = (folder + "/kernels.ptx").str(), output = (folder + "/kernels.cubin").str(),
              log = (folder + "/log").str();
  {
    std::error_code error;
    llvm::raw_fd_ostream stream(input, error);
    stream << ptx;
    stream.close();
    if (error || stream.has_error()) {
      stream.clear_error();
      return {Status::failed, "", "could not write " + input};
    }
  }
  std::string arch = ("-arch=" + chip).str(), message;
  StringRef argv[] = {"ptxas", arch, "-v", input, "-o", output};
  std::optional<StringRef> redirects[] = {StringRef(""), StringRef(log), StringRef(log)};
  int code = llvm::sys::ExecuteAndWait(*ptxas, argv, /*Env=*/std::nullopt, redirects, /*SecondsToWait=*/0,
                                       /*MemoryLimit=*/0, &message);
  std::string said = message;
  if (auto buffer = llvm::MemoryBuffer::getFile(log))
    said += (*buffer)->getBuffer();
  if (code != 0) {
    // An assembler older than the chip or the PTX is as good as none: the driver still loads the PTX.
    bool old = StringRef(said).contains("is not defined for option 'gpu-name'") ||
               StringRef(said).contains("Unsupported .version");
    return {old ? Status::noAssembler : Status::failed, "", *ptxas + ": " + StringRef(said).trim().str()};
  }
  auto cubin = llvm::MemoryBuffer::getFile(output, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!cubin)
    return {Status::failed, "", "could not read the cubin: " + cubin.getError().message()};
  return {Status::ok, (*cubin)->getBuffer().str(), said};
}

llvm::StringMap<AssembledKernel> mlir::mhc::readAssemblerLog(StringRef log) {
  llvm::StringMap<AssembledKernel> kernels;
  StringRef current;
  auto numberBefore = [](StringRef line, StringRef words) {
    StringRef digits = line.split(words).first.rtrim();
    int64_t number = 0;
    digits = digits.take_back(digits.size() - (digits.find_last_not_of("0123456789") + 1));
    return digits.getAsInteger(10, number) ? 0 : number;
  };
  while (!log.empty()) {
    StringRef line;
    std::tie(line, log) = log.split('\n');
    // "Function properties for NAME" and, of an entry, "Compiling entry function 'NAME' for 'sm_90a'".
    if (size_t at = line.find("Function properties for "); at != StringRef::npos)
      current = line.substr(at + strlen("Function properties for ")).trim();
    else if (size_t at = line.find("Compiling entry function '"); at != StringRef::npos)
      current = line.substr(at + strlen("Compiling entry function '")).split('\'').first;
    if (line.contains("bytes spill stores"))
      kernels[current].spilled += numberBefore(line, " bytes spill stores") + numberBefore(line, " bytes spill loads");
    if (line.contains("Used ") && line.contains(" registers"))
      kernels[current].registers = numberBefore(line, " registers");
  }
  return kernels;
}
