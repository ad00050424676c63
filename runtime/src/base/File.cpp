#include "base/File.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace mhcrt {

InputFile::InputFile(const std::string &path) : name(path) {
  // Without O_NONBLOCK, opening a FIFO waits for a writer, maybe for ever. Regular files know no difference.
  descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0)
    fail(path, ": cannot open: ", std::strerror(errno));
  struct stat status;
  int failed = ::fstat(descriptor, &status);
  if (failed || !S_ISREG(status.st_mode)) {
    ::close(descriptor);
    fail(path, ": expected a regular file");
  }
  bytes = static_cast<uint64_t>(status.st_size);
}

InputFile::~InputFile() { ::close(descriptor); }

void InputFile::read(uint64_t offset, void *target, uint64_t count) const {
  auto *to = static_cast<char *>(target);
  while (count > 0) {
    ssize_t got = ::pread(descriptor, to, std::min<uint64_t>(count, 1u << 30), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      fail(name, ": cannot read: ", std::strerror(errno));
    if (got == 0)
      fail(name, ": the file ends at byte ", offset, ", expected ", count, " more bytes");
    to += got, offset += got, count -= got;
  }
}

Memory readFile(const std::string &path) {
  InputFile file(path);
  Memory content(file.size());
  file.read(0, content.data(), content.size());
  return content;
}

OutputFile::OutputFile(const std::string &path) : name(path), aside(path + ".XXXXXX") {
  struct stat status;
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) // a rename would put a file in a device's place
    fail(path, ": expected a regular file, or nothing there");
  descriptor = ::mkstemp(aside.data());
  if (descriptor < 0)
    fail(path, ": cannot create a file there: ", std::strerror(errno));
  mode_t mask = ::umask(0); // mkstemp gives 0600; give what open() would have given
  ::umask(mask);
  ::fchmod(descriptor, 0666 & ~mask);
}

OutputFile::~OutputFile() {
  if (descriptor >= 0) {
    ::close(descriptor);
    ::unlink(aside.c_str());
  }
}

void OutputFile::write(const void *data, uint64_t count) {
  const auto *from = static_cast<const char *>(data);
  while (count > 0) {
    ssize_t done = ::write(descriptor, from, std::min<uint64_t>(count, 1u << 30));
    if (done < 0 && errno == EINTR)
      continue;
    if (done < 0)
      fail(name, ": cannot write: ", std::strerror(errno));
    from += done, count -= done;
  }
}

void OutputFile::commit() {
  if (::fsync(descriptor) != 0)
    fail(name, ": cannot write: ", std::strerror(errno));
  ::close(descriptor);
  descriptor = -1;
  if (::rename(aside.c_str(), name.c_str()) != 0) {
    int reason = errno;
    ::unlink(aside.c_str());
    fail(name, ": cannot rename the finished file: ", std::strerror(reason));
  }
  // The rename itself must survive a crash too: sync the folder. A file system that cannot is no failure.
  size_t slash = name.rfind('/');
  std::string folder = slash == std::string::npos ? "." : slash == 0 ? "/" : name.substr(0, slash);
  int directory = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory >= 0) {
    (void)::fsync(directory);
    ::close(directory);
  }
}

void writeFile(const std::string &path, const std::string &text) {
  OutputFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

} // namespace mhcrt
