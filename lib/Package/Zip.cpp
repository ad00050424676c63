//===- Zip.cpp - stored ZIP files, written in one go ------------------------===//

#include "mhc/Package/Package.h"

#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/CRC.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Signals.h"
#include "llvm/Support/raw_ostream.h"

#include <fcntl.h>
#include <unistd.h>

using namespace mlir;
using namespace mlir::mhc;

namespace {
/// Little-endian fields.
struct Bytes {
  std::string &out;
  Bytes &u16(uint32_t value) {
    out.push_back(char(value & 0xff));
    out.push_back(char(value >> 8 & 0xff));
    return *this;
  }
  Bytes &u32(uint64_t value) { return u16(value & 0xffff).u16(value >> 16 & 0xffff); }
};

constexpr uint32_t version = 20;                // 2.0: what stored members need
constexpr uint32_t dosTime = 0, dosDate = 0x21; // 1980-01-01 00:00, the earliest there is
} // namespace

/// The fields that a member's header and its directory entry share.
static void common(Bytes bytes, StringRef name, StringRef content) {
  uint32_t crc = llvm::crc32(ArrayRef(reinterpret_cast<const uint8_t *>(content.data()), content.size()));
  bytes.u16(version)
      .u16(/*flags=*/0)
      .u16(/*stored=*/0)
      .u16(dosTime)
      .u16(dosDate)
      .u32(crc)
      .u32(content.size())
      .u32(content.size());
  bytes.u16(name.size()).u16(/*extra=*/0);
}

FailureOr<std::string> mlir::mhc::buildZip(ArrayRef<std::pair<std::string, std::string>> members, std::string &error) {
  std::string file, directory;
  for (const auto &[name, content] : members) {
    uint64_t offset = file.size();
    if (offset + content.size() + name.size() > 0xfffffff0u || members.size() >= 0xffff) {
      error = "a package holds less than 4 GiB and 65535 members";
      return failure();
    }
    Bytes header{file};
    header.u32(0x04034b50);
    common(header, name, content);
    file += name;
    file += content;
    Bytes entry{directory};
    entry.u32(0x02014b50).u16(/*made by Unix=*/3 << 8 | version);
    common(entry, name, content);
    entry.u16(/*comment=*/0).u16(/*disk=*/0).u16(/*internal=*/0).u32(0100644u << 16).u32(offset);
    directory += name;
  }
  uint64_t begin = file.size();
  file += directory;
  Bytes end{file};
  end.u32(0x06054b50).u16(0).u16(0).u16(members.size()).u16(members.size()).u32(directory.size()).u32(begin).u16(0);
  return file;
}

bool mlir::mhc::writeFileAtomically(StringRef path, StringRef content, std::string &error) {
  auto fail = [&](std::error_code code) {
    error = "could not write '" + path.str() + "': " + code.message();
    return false;
  };
  if (path == "-") {
    llvm::outs() << content;
    llvm::outs().flush();
    if (!llvm::outs().has_error())
      return true;
    std::error_code code = llvm::outs().error();
    llvm::outs().clear_error();
    return fail(code);
  }
  // Devices and pipes cannot be renamed onto.
  llvm::sys::fs::file_status status;
  if (!llvm::sys::fs::status(path, status) && llvm::sys::fs::exists(status) &&
      !llvm::sys::fs::is_regular_file(status)) {
    std::error_code code;
    llvm::raw_fd_ostream stream(path, code);
    if (!code) {
      stream << content;
      stream.close();
      code = stream.error();
      stream.clear_error();
    }
    return code ? fail(code) : true;
  }
  SmallString<128> aside;
  int fd = -1;
  if (std::error_code code = llvm::sys::fs::createUniqueFile(path + ".%%%%%%%%.partial", fd, aside))
    return fail(code);
  llvm::sys::RemoveFileOnSignal(aside);
  llvm::scope_exit remove([&] {
    llvm::sys::fs::remove(aside);
    llvm::sys::DontRemoveFileOnSignal(aside);
  });
  {
    llvm::raw_fd_ostream stream(fd, /*shouldClose=*/true);
    stream << content;
    stream.flush();
    if (!stream.has_error() && ::fsync(fd) != 0)
      return fail(std::error_code(errno, std::generic_category()));
    if (stream.has_error()) {
      std::error_code code = stream.error();
      stream.clear_error();
      return fail(code);
    }
  }
  if (std::error_code code = llvm::sys::fs::rename(aside, path))
    return fail(code);
  remove.release();
  llvm::sys::DontRemoveFileOnSignal(aside);
  return true;
}
