//===- Binding.h - from the inputs' shapes to the symbols' values --*- C++ -*-===//
#ifndef MHCRT_PLAN_BINDING_H
#define MHCRT_PLAN_BINDING_H

#include "package/Package.h"

namespace mhcrt {

/// What is known of a tensor before its data is read.
struct TensorInfo {
  std::string type; ///< "f32", ...; may be a word that the runtime has no type for
  std::vector<int64_t> shape;
};
using TensorInfos = std::map<std::string, TensorInfo>;

/// Checks that exactly the entry's inputs are there, of the right types and shapes, and returns the symbols' values,
/// derived ones included. Every error names the tensor.
Symbols bindInputs(const Manifest &manifest, const Entry &entry, const TensorInfos &inputs);

/// Only the symbols of `entry`, given by hand (`info --memory`): adds the derived ones and checks the limits.
Symbols bindValues(const Manifest &manifest, const Entry &entry, Symbols values);

/// Of an entry of a language model whose only input is `tokens`; its parameters are on the device already.
Symbols bindTokens(const Manifest &manifest, const Entry &entry, int64_t rows, int64_t columns);

std::vector<int64_t> evaluateShape(const TensorSpec &spec, const Symbols &symbols);

} // namespace mhcrt

#endif // MHCRT_PLAN_BINDING_H
