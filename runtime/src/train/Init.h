//===- Init.h - initial values of a model's tensors ----------------*- C++ -*-===//
#ifndef MHCRT_TRAIN_INIT_H
#define MHCRT_TRAIN_INIT_H

#include "base/ThreadPool.h"
#include "package/Package.h"

#include <string_view>

namespace mhcrt {

/// A counter-based generator: value number i of a stream is a function of (seed, name, i), so tensors can be filled in
/// any order and by any number of threads.
class RandomStream {
public:
  RandomStream(int64_t seed, std::string_view name);
  uint64_t bits(uint64_t index) const;
  /// In (0, 1].
  double uniform(uint64_t index) const;
  /// Two independent N(0, 1) values from the numbers 2 index and 2 index + 1 (Box-Muller in double).
  void normalPair(uint64_t index, double &first, double &second) const;

private:
  uint64_t key0, key1;
};

/// Fills `out` [tensor.count] as the tensor's `init` says.
void initialValues(const ModelTensor &tensor, int64_t seed, ThreadPool &pool, float *out);

} // namespace mhcrt

#endif // MHCRT_TRAIN_INIT_H
