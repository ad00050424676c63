#include "train/Init.h"
#include "base/Hash.h"

#include <algorithm>
#include <cmath>

namespace mhcrt {
namespace {

/// A bijection of 64 bits in which every input bit reaches every output bit: multiply, fold, twice.
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93ull;
  x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93ull;
  return x ^ (x >> 32);
}

} // namespace

RandomStream::RandomStream(int64_t seed, std::string_view name) {
  std::string text(8, '\0');
  for (int i = 0; i < 8; ++i)
    text[i] = static_cast<char>(static_cast<uint64_t>(seed) >> (8 * i));
  text += name;
  auto digest = sha256(text.data(), text.size());
  key0 = key1 = 0;
  for (int i = 0; i < 8; ++i) {
    key0 |= uint64_t(digest[i]) << (8 * i);
    key1 |= uint64_t(digest[8 + i]) << (8 * i);
  }
}

uint64_t RandomStream::bits(uint64_t index) const { return mix(mix(index + key0) + key1); }

double RandomStream::uniform(uint64_t index) const { return static_cast<double>((bits(index) >> 11) + 1) * 0x1p-53; }

void RandomStream::normalPair(uint64_t index, double &first, double &second) const {
  double radius = std::sqrt(-2 * std::log(uniform(2 * index)));
  double angle = 6.283185307179586476925 * uniform(2 * index + 1);
  first = radius * std::cos(angle);
  second = radius * std::sin(angle);
}

namespace {

void fillRandom(const Initial &init, const RandomStream &stream, ThreadPool &pool, float *out, int64_t count) {
  constexpr int64_t chunk = 1 << 14; // even, so that pairs stay together
  pool.run((count + chunk - 1) / chunk, [&](int64_t task) {
    int64_t begin = task * chunk, end = std::min(count, begin + chunk);
    for (int64_t i = begin; i < end; i += 2) {
      double pair[2];
      if (init.kind == Initial::Kind::Normal) {
        stream.normalPair(i / 2, pair[0], pair[1]);
        pair[0] *= init.value, pair[1] *= init.value;
      } else {
        pair[0] = init.value * (2 * stream.uniform(i) - 1);
        pair[1] = init.value * (2 * stream.uniform(i + 1) - 1);
      }
      out[i] = static_cast<float>(pair[0]);
      if (i + 1 < end)
        out[i + 1] = static_cast<float>(pair[1]);
    }
  });
}

} // namespace

void initialValues(const ModelTensor &tensor, int64_t seed, ThreadPool &pool, float *out) {
  const Initial &init = tensor.init;
  switch (init.kind) {
  case Initial::Kind::Constant:
    std::fill(out, out + tensor.count, static_cast<float>(init.value));
    return;
  case Initial::Kind::Values:
    std::copy(init.values.begin(), init.values.end(), out);
    return;
  case Initial::Kind::Normal:
  case Initial::Kind::Uniform:
    break;
  }
  if (!init.stacked) {
    fillRandom(init, RandomStream(seed, tensor.name), pool, out, tensor.count);
    return;
  }
  // Each slice of the first dimension is drawn as a tensor of its own.
  int64_t slices = tensor.shape[0], size = slices ? tensor.count / slices : 0;
  for (int64_t slice = 0; slice < slices; ++slice)
    fillRandom(init, RandomStream(seed, tensor.name + "." + std::to_string(slice)), pool, out + slice * size, size);
}

} // namespace mhcrt
