//===- SharedLibrary.h - libraries of CUDA, opened at run time -----*- C++ -*-===//
#ifndef MHCRT_HAL_CUDA_SHAREDLIBRARY_H
#define MHCRT_HAL_CUDA_SHAREDLIBRARY_H

#include <initializer_list>
#include <string>
#include <type_traits>

namespace mhcrt::cuda {

/// Where `open` looks, for messages.
constexpr const char *searchedFolders = "LD_LIBRARY_PATH, $CUDA_HOME/lib64, /usr/local/cuda/lib64";

/// An open library; it stays open as long as the process runs.
class SharedLibrary {
public:
  /// The first of the names that is there: by the loader's own search first, then where the toolkit lies. Empty if none is.
  static SharedLibrary open(std::initializer_list<const char *> names);

  explicit operator bool() const { return handle; }
  /// That it was found under.
  const std::string &name() const { return path; }
  /// Sets the function pointer (null without the symbol, which the result says).
  template <typename Function> bool find(Function &function, const char *symbol) const {
    function = reinterpret_cast<Function>(address(symbol));
    return function;
  }

private:
  void *address(const char *symbol) const;

  std::string path;
  void *handle = nullptr;
};

} // namespace mhcrt::cuda

#endif // MHCRT_HAL_CUDA_SHAREDLIBRARY_H
