//===- Sampler.h - the next token from logits ----------------------*- C++ -*-===//
#ifndef MHCRT_GENERATE_SAMPLER_H
#define MHCRT_GENERATE_SAMPLER_H

#include "train/Init.h"

#include <cstdint>
#include <vector>

namespace mhcrt {

struct Sampling {
  double temperature = 1; ///< 0: always the token of the highest logit
  int64_t topK = 0;       ///< 0: no limit
  double topP = 1;
  int64_t seed = 0;
};

/// Logits over the temperature, then the `topK` highest, then of these the fewest that together have at least the
/// probability `topP`. From what is left a token is drawn by its softmax. Of equal logits the lower token counts as
/// the higher one.
class Sampler {
public:
  explicit Sampler(const Sampling &sampling);

  /// `index` is the number of the token in the text to come: the random number is a function of it and the seed alone.
  int32_t choose(const float *logits, int64_t count, uint64_t index);

private:
  Sampling sampling;
  RandomStream stream;
  std::vector<int32_t> order;  ///< tokens, the most likely first
  std::vector<double> weights; ///< of these, up to a factor
};

} // namespace mhcrt

#endif // MHCRT_GENERATE_SAMPLER_H
