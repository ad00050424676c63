#include "hal/cuda/SharedLibrary.h"

#include <cstdlib>
#include <dlfcn.h>
#include <vector>

namespace mhcrt::cuda {

SharedLibrary SharedLibrary::open(std::initializer_list<const char *> names) {
  std::vector<std::string> folders = {""};
  if (const char *home = std::getenv("CUDA_HOME"))
    folders.push_back(std::string(home) + "/lib64/");
  folders.push_back("/usr/local/cuda/lib64/");
  SharedLibrary library;
  for (const std::string &folder : folders)
    for (const char *name : names)
      if (!library.handle) {
        library.path = folder + name;
        library.handle = ::dlopen(library.path.c_str(), RTLD_NOW | RTLD_LOCAL);
      }
  return library;
}

void *SharedLibrary::address(const char *symbol) const { return ::dlsym(handle, symbol); }

} // namespace mhcrt::cuda
