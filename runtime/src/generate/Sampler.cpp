#include "generate/Sampler.h"
#include "base/Error.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace mhcrt {

Sampler::Sampler(const Sampling &sampling) : sampling(sampling), stream(sampling.seed, "generated tokens") {}

int32_t Sampler::choose(const float *logits, int64_t count, uint64_t index) {
  // Before anything compares them: a NaN has no place in any order.
  for (int64_t token = 0; token < count; ++token)
    if (std::isnan(logits[token]) || logits[token] == std::numeric_limits<float>::infinity())
      fail("expected logits that are finite, but got ", logits[token], " for token ", token);
  const float *highest = std::max_element(logits, logits + count); // the first of equal ones
  if (highest == logits + count || std::isinf(*highest))
    fail("expected a finite logit, but no token has one");
  if (sampling.temperature == 0)
    return static_cast<int32_t>(highest - logits);

  auto before = [&](int32_t a, int32_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; };
  order.resize(count);
  std::iota(order.begin(), order.end(), 0);
  // Sorted without a limit too, so that a limit that leaves all tokens changes nothing.
  if (sampling.topK > 0 && sampling.topK < count) {
    std::partial_sort(order.begin(), order.begin() + sampling.topK, order.end(), before);
    order.resize(sampling.topK);
  } else {
    std::sort(order.begin(), order.end(), before);
  }

  double total = 0;
  weights.clear();
  for (int32_t token : order) {
    weights.push_back(std::exp((static_cast<double>(logits[token]) - *highest) / sampling.temperature));
    total += weights.back();
  }
  if (sampling.topP < 1) {
    double sum = 0;
    size_t kept = 0;
    while (kept < weights.size()) {
      sum += weights[kept++];
      if (sum >= sampling.topP * total)
        break;
    }
    order.resize(kept);
    total = sum;
  }
  // In (0, total]. The sum of all weights in the order of `total` is `total` itself, so a token is always found; one
  // without weight never is.
  const double draw = stream.uniform(index) * total;
  double sum = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    sum += weights[i];
    if (sum >= draw)
      return order[i];
  }
  return order.back();
}

} // namespace mhcrt
