//===- RandomInputs.h - values to measure an entry with ------------*- C++ -*-===//
#ifndef MHCRT_BENCH_RANDOMINPUTS_H
#define MHCRT_BENCH_RANDOMINPUTS_H

#include "base/ThreadPool.h"
#include "package/Package.h"

namespace mhcrt {

/// Fills an input of an entry: a function of the seed and the tensor's name only. The scale goes by the name, as the
/// tensors of a hyper-connection have theirs (docs/descriptions.md), so that coefficients come out as in a model that
/// trains; anything else is N(0, 1), and integers are tokens.
void randomInput(const Manifest &manifest, const TensorSpec &spec, const std::vector<int64_t> &shape, int64_t seed,
                 ThreadPool &pool, char *to);

} // namespace mhcrt

#endif // MHCRT_BENCH_RANDOMINPUTS_H
