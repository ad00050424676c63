//===- Rates.cpp - what the processor and its memory can do at most --------===//
#include "hal/cpu/CpuDevice.h"

#include <algorithm>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace mhcrt {
namespace {

/// Both addresses are multiples of 64 bytes, and so is the size.
void streamPiece(char *to, const char *from, uint64_t bytes) {
#if defined(__x86_64__)
  // Stores past the caches: an ordinary store reads its cache line from memory before it writes it, half as much
  // traffic again.
  for (uint64_t at = 0; at < bytes; at += 64)
    for (int part = 0; part < 64; part += 16)
      _mm_stream_si128(reinterpret_cast<__m128i *>(to + at + part),
                       _mm_load_si128(reinterpret_cast<const __m128i *>(from + at + part)));
  _mm_sfence();
#else
  std::memcpy(to, from, bytes);
#endif
}

/// So many independent sums hide the latency of an fma (4 or 5 cycles) on two units, and leave registers for the
/// operands.
constexpr int sums = 12;
constexpr int64_t rounds = 400000;

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) double spinAvx2(float start) {
  __m256 sum[sums], factor = _mm256_set1_ps(0.999f), term = _mm256_set1_ps(start);
#pragma GCC unroll 12
  for (int i = 0; i < sums; ++i)
    sum[i] = _mm256_set1_ps(start + i);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < sums; ++i)
      sum[i] = _mm256_fmadd_ps(sum[i], factor, term);
  }
  for (int i = 1; i < sums; ++i)
    sum[0] = _mm256_add_ps(sum[0], sum[i]);
  return _mm256_cvtss_f32(sum[0]);
}

__attribute__((target("avx512f"))) double spinAvx512(float start) {
  __m512 sum[sums], factor = _mm512_set1_ps(0.999f), term = _mm512_set1_ps(start);
#pragma GCC unroll 12
  for (int i = 0; i < sums; ++i)
    sum[i] = _mm512_set1_ps(start + i);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < sums; ++i)
      sum[i] = _mm512_fmadd_ps(sum[i], factor, term);
  }
  for (int i = 1; i < sums; ++i)
    sum[0] = _mm512_add_ps(sum[0], sum[i]);
  return _mm512_cvtss_f32(sum[0]);
}
#endif

} // namespace

void CpuDevice::streamCopy(void *to, const void *from, uint64_t bytes) {
  constexpr uint64_t piece = 1 << 20;
  bool aligned = (reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) % 64 == 0;
  uint64_t whole = aligned ? bytes / 64 * 64 : 0;
  auto *target = static_cast<char *>(to);
  const auto *source = static_cast<const char *>(from);
  threads.run((whole + piece - 1) / piece, [&](int64_t i) {
    uint64_t begin = i * piece;
    streamPiece(target + begin, source + begin, std::min(piece, whole - begin));
  });
  copy(target + whole, source + whole, bytes - whole);
}

double CpuDevice::spinMultiplyAdds() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool wide = wideVectors && __builtin_cpu_supports("avx512f");
  if (!wide && !(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")))
    return 0;
  volatile double sink = 0; // what is computed must be used
  threads.run(threads.threads(), [&](int64_t i) {
    float start = 1 + static_cast<float>(i);
    sink = wide ? spinAvx512(start) : spinAvx2(start);
  });
  return 2.0 * (wide ? 16 : 8) * sums * static_cast<double>(rounds) * threads.threads();
#else
  return 0;
#endif
}

} // namespace mhcrt
