#include "base/Hash.h"

#include <cmath>
#include <cstring>

namespace mhcrt {
namespace {

/// The constants are the fractional bits of square and cube roots of the first primes (FIPS 180-4, 4.2.2, 5.3.3).
/// They are computed in integers, so that no table has to be believed.
uint32_t rootBits(uint32_t prime, int degree) {
  // The largest x with x^degree <= prime * 2^(32 * degree); its lower 32 bits are the fraction.
  using Wide = unsigned __int128;
  uint64_t low = 0, high = uint64_t(1) << 37;
  while (high - low > 1) {
    uint64_t middle = low + (high - low) / 2;
    bool small;
    if (degree == 2) {
      small = Wide(middle) * middle <= (Wide(prime) << 64);
    } else {
      // middle^3 has up to 111 bits; prime * 2^96 has up to 105.
      small = Wide(middle) * middle * middle <= (Wide(prime) << 96);
    }
    (small ? low : high) = middle;
  }
  return static_cast<uint32_t>(low);
}

struct Constants {
  uint32_t start[8];
  uint32_t round[64];
  Constants() {
    int count = 0;
    for (uint32_t candidate = 2; count < 64; ++candidate) {
      bool prime = true;
      for (uint32_t divisor = 2; divisor * divisor <= candidate; ++divisor)
        prime &= candidate % divisor != 0;
      if (!prime)
        continue;
      if (count < 8)
        start[count] = rootBits(candidate, 2);
      round[count++] = rootBits(candidate, 3);
    }
  }
};

uint32_t rotate(uint32_t x, int n) { return (x >> n) | (x << (32 - n)); }

void compress(const Constants &constants, uint32_t (&state)[8], const uint8_t *block) {
  uint32_t w[64];
  for (int i = 0; i < 16; ++i)
    w[i] = uint32_t(block[4 * i]) << 24 | uint32_t(block[4 * i + 1]) << 16 | uint32_t(block[4 * i + 2]) << 8 |
           block[4 * i + 3];
  for (int i = 16; i < 64; ++i) {
    uint32_t s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ (w[i - 15] >> 3);
    uint32_t s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ (w[i - 2] >> 10);
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
  uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
  for (int i = 0; i < 64; ++i) {
    uint32_t t1 = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + constants.round[i] + w[i];
    uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
  }
  uint32_t sums[8] = {a, b, c, d, e, f, g, h};
  for (int i = 0; i < 8; ++i)
    state[i] += sums[i];
}

} // namespace

std::array<uint8_t, 32> sha256(const void *data, size_t size) {
  static const Constants constants;
  uint32_t state[8];
  std::memcpy(state, constants.start, sizeof state);
  const auto *bytes = static_cast<const uint8_t *>(data);
  size_t full = size / 64 * 64;
  for (size_t at = 0; at < full; at += 64)
    compress(constants, state, bytes + at);
  uint8_t tail[128] = {};
  size_t rest = size - full;
  if (rest)
    std::memcpy(tail, bytes + full, rest);
  tail[rest] = 0x80;
  size_t padded = rest + 9 <= 64 ? 64 : 128;
  uint64_t bits = uint64_t(size) * 8;
  for (int i = 0; i < 8; ++i)
    tail[padded - 1 - i] = static_cast<uint8_t>(bits >> (8 * i));
  for (size_t at = 0; at < padded; at += 64)
    compress(constants, state, tail + at);
  std::array<uint8_t, 32> digest;
  for (int i = 0; i < 32; ++i)
    digest[i] = static_cast<uint8_t>(state[i / 4] >> (24 - 8 * (i % 4)));
  return digest;
}

std::string sha256Hex(const void *data, size_t size) {
  std::string text;
  for (uint8_t byte : sha256(data, size)) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

uint32_t crc32(const void *data, size_t size) {
  static const auto table = [] {
    std::array<uint32_t, 256> entries;
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit)
        value = value & 1 ? 0xEDB88320u ^ (value >> 1) : value >> 1;
      entries[i] = value;
    }
    return entries;
  }();
  uint32_t crc = ~0u;
  const auto *bytes = static_cast<const uint8_t *>(data);
  for (size_t i = 0; i < size; ++i)
    crc = table[(crc ^ bytes[i]) & 255] ^ (crc >> 8);
  return ~crc;
}

} // namespace mhcrt
