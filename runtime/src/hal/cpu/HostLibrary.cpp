#include "base/CpuFeatures.h"
#include "hal/cpu/CpuDevice.h"

#include <cerrno>
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

namespace mhcrt {

HostLibrary::HostLibrary(std::string_view object) {
  descriptor = ::memfd_create("mhc-kernels", MFD_CLOEXEC);
  if (descriptor < 0)
    fail("host/kernels.so: cannot create a file in memory: ", std::strerror(errno));
  for (size_t at = 0; at < object.size();) {
    ssize_t done = ::write(descriptor, object.data() + at, object.size() - at);
    if (done < 0 && errno == EINTR)
      continue;
    if (done <= 0) {
      int reason = errno;
      ::close(descriptor);
      fail("host/kernels.so: cannot write it to memory: ", std::strerror(reason));
    }
    at += done;
  }
  // The descriptor stays open as long as the library is loaded: dlopen compares names, and a number used again would
  // give back the library of another package.
  std::string path = "/proc/self/fd/" + std::to_string(descriptor);
  handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    std::string reason = ::dlerror();
    ::close(descriptor);
    fail("host/kernels.so: cannot load it: ", reason);
  }
}

HostLibrary::~HostLibrary() {
  ::dlclose(handle);
  ::close(descriptor);
}

HostKernel HostLibrary::find(const std::string &symbol) const {
  return reinterpret_cast<HostKernel>(::dlsym(handle, symbol.c_str()));
}

void checkCpuFeatures(const std::vector<std::string> &requirements) {
  std::string list;
  for (const std::string &feature : missingCpuFeatures(requirements))
    list += (list.empty() ? "" : ", ") + feature;
  if (!list.empty())
    fail("the package's host code needs ", list, ", which this processor lacks (compile with another --mcpu)");
}

} // namespace mhcrt
