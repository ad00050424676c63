//===- Checked.h - 64-bit arithmetic that notices wrapping ---------*- C++ -*-===//
#ifndef MHCRT_BASE_CHECKED_H
#define MHCRT_BASE_CHECKED_H

#include "base/Error.h"

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

namespace mhcrt {

inline int64_t checkedMultiply(int64_t a, int64_t b, const std::string &what) {
  int64_t result;
  if (__builtin_mul_overflow(a, b, &result))
    fail(what, ": ", a, " * ", b, " overflows 64 bits");
  return result;
}

inline int64_t checkedAdd(int64_t a, int64_t b, const std::string &what) {
  int64_t result;
  if (__builtin_add_overflow(a, b, &result))
    fail(what, ": ", a, " + ", b, " overflows 64 bits");
  return result;
}

/// Number of elements of a shape; negative dimensions are an error.
inline int64_t elementCount(const std::vector<int64_t> &shape, const std::string &what) {
  int64_t count = 1;
  for (int64_t dimension : shape) {
    if (dimension < 0)
      fail(what, ": expected dimensions of at least 0, but got ", dimension);
    count = checkedMultiply(count, dimension, what);
  }
  return count;
}

/// Values that came from outside: all finite and at least `least`.
inline void checkRange(const std::string &what, const float *values, int64_t count, double least) {
  for (int64_t i = 0; i < count; ++i)
    if (!std::isfinite(values[i]) || static_cast<double>(values[i]) < least) {
      const std::string bound = std::isinf(least) ? "finite numbers" : "finite numbers of at least " + std::to_string(static_cast<int64_t>(least));
      fail(what, ": expected ", bound, ", but element ", i, " is ", values[i]);
    }
}

} // namespace mhcrt

#endif // MHCRT_BASE_CHECKED_H
