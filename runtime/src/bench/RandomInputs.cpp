#include "bench/RandomInputs.h"
#include "base/Checked.h"
#include "train/Init.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace mhcrt {
namespace {

/// mean + deviation * N(0, 1).
struct Scale {
  double mean = 0, deviation = 1;
};

Scale chooseScale(const std::string &name, const std::vector<int64_t> &shape) {
  if (name == "phi" || name == "theta") { // [.., nC, m] or [.., m, nC]: the longer side is summed over
    int64_t length = 1;
    for (size_t i = shape.size() - std::min<size_t>(2, shape.size()); i < shape.size(); ++i)
      length = std::max(length, shape[i]);
    return {0, 1 / std::sqrt(static_cast<double>(length))};
  }
  if (name == "alpha")
    return {0.01, 0.001};
  if (name == "bias" || name == "f_bias")
    return {0, 0.1};
  if (name == "norm_weight")
    return {1, 0.1};
  if (name == "radius" || name == "exp_avg_sq") // norms and squares are not negative
    return {1, 0.01};
  if (name == "h_pre_in") // coefficients of a sublayer before: about 1/n
    return {0.25, 0.05};
  return {};
}

} // namespace

void randomInput(const Manifest &manifest, const TensorSpec &spec, const std::vector<int64_t> &shape, int64_t seed,
                 ThreadPool &pool, char *to) {
  const RandomStream stream(seed, spec.name);
  const Scale scale = chooseScale(spec.name, shape);
  const int64_t count = elementCount(shape, spec.name);
  const uint64_t vocab = static_cast<uint64_t>(std::max<int64_t>(1, manifest.vocabSize));
  constexpr int64_t chunk = 1 << 14; // even, so that pairs stay together
  auto fill = [&](auto *data, auto convert) {
    pool.run((count + chunk - 1) / chunk, [&](int64_t task) {
      int64_t begin = task * chunk, end = std::min(count, begin + chunk);
      for (int64_t i = begin; i < end; i += 2) {
        double pair[2];
        stream.normalPair(i / 2, pair[0], pair[1]);
        for (int64_t j = i; j < std::min(i + 2, end); ++j)
          data[j] = convert(scale.mean + scale.deviation * pair[j - i]);
      }
    });
  };
  auto tokens = [&](auto *data) {
    for (int64_t i = 0; i < count; ++i)
      data[i] = static_cast<std::remove_reference_t<decltype(*data)>>(stream.bits(i) % vocab);
  };
  switch (spec.dtype) {
  case DType::BF16:
    return fill(reinterpret_cast<uint16_t *>(to), [](double value) { return toBf16(static_cast<float>(value)); });
  case DType::F32:
    return fill(reinterpret_cast<float *>(to), [](double value) { return static_cast<float>(value); });
  case DType::F64:
    return fill(reinterpret_cast<double *>(to), [](double value) { return value; });
  case DType::I32:
    return tokens(reinterpret_cast<int32_t *>(to));
  case DType::I64:
    return tokens(reinterpret_cast<int64_t *>(to));
  }
}

} // namespace mhcrt
