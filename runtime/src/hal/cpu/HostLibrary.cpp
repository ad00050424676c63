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
#if defined(__x86_64__)
  __builtin_cpu_init();
  std::string missing;
  auto need = [&](bool has, const char *feature) {
    if (!has)
      missing += (missing.empty() ? "" : ", ") + std::string(feature);
  };
  for (const std::string &level : requirements) {
    missing.clear();
    need(__builtin_cpu_supports("sse4.2"), "sse4.2");
    need(__builtin_cpu_supports("popcnt"), "popcnt");
    if (level == "x86-64-v3" || level == "x86-64-v4") {
      need(__builtin_cpu_supports("avx"), "avx");
      need(__builtin_cpu_supports("avx2"), "avx2");
      need(__builtin_cpu_supports("fma"), "fma");
      need(__builtin_cpu_supports("bmi"), "bmi");
      need(__builtin_cpu_supports("bmi2"), "bmi2");
    }
    if (level == "x86-64-v4") {
      need(__builtin_cpu_supports("avx512f"), "avx512f");
      need(__builtin_cpu_supports("avx512bw"), "avx512bw");
      need(__builtin_cpu_supports("avx512cd"), "avx512cd");
      need(__builtin_cpu_supports("avx512dq"), "avx512dq");
      need(__builtin_cpu_supports("avx512vl"), "avx512vl");
    }
    if (!missing.empty())
      fail("the package was compiled for ", level, ", but this processor lacks ", missing,
           " (compile with another --mcpu)");
  }
#else
  if (!requirements.empty())
    fail("the package was compiled for ", requirements[0], ", but this is another kind of processor");
#endif
}

} // namespace mhcrt
