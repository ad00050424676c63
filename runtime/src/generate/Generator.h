//===- Generator.h - text from a language model, token by token ----*- C++ -*-===//
#ifndef MHCRT_GENERATE_GENERATOR_H
#define MHCRT_GENERATE_GENERATOR_H

#include "generate/Sampler.h"
#include "package/SafeTensors.h"
#include "plan/TokenEntry.h"

namespace mhcrt {

/// An error unless the package has an entry `forward` that gives logits.
void checkGenerates(const Manifest &manifest);

/// Nothing is kept from one token to the next but the parameters and the tokens: each token is a run of `forward` on
/// the last max_position_embeddings tokens, whose positions count from the first of these.
class Generator {
public:
  Generator(const Package &package, Device &device, const std::string &target, const SafeTensorsFile &weights,
            const Sampling &sampling);

  /// `prompt` has at least one token. Lays out what the longest of the runs for `count` tokens needs, so that memory
  /// that is not there is missed before the first token.
  void start(const std::vector<int32_t> &prompt, int64_t count);
  int32_t next();

private:
  void append(int32_t token);

  const Manifest &manifest;
  ModelArenas arenas;
  TokenEntry forward;
  Sampler sampler;
  std::vector<int32_t> window;
  std::vector<float> logits; ///< [vocab_size], of the last position
  uint64_t generated = 0;
};

} // namespace mhcrt

#endif // MHCRT_GENERATE_GENERATOR_H
