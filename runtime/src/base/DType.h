//===- DType.h - element types and bf16 ----------------------------*- C++ -*-===//
#ifndef MHCRT_BASE_DTYPE_H
#define MHCRT_BASE_DTYPE_H

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace mhcrt {

enum class DType { BF16, F32, F64, I32, I64 };

int64_t byteSize(DType dtype);
/// "bf16", "f32", ...: the names in manifest and plan.
const char *name(DType dtype);
/// False if `text` is none of the names.
bool parseDType(std::string_view text, DType &dtype);
std::string shapeText(const std::vector<int64_t> &shape);

/// bf16 is the upper half of an fp32 number.
inline float fromBf16(uint16_t bits) {
  uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

/// To nearest, ties to even. A NaN stays a NaN (its payload's upper bits, made quiet).
inline uint16_t toBf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return static_cast<uint16_t>(nan ? ((bits >> 16) | 0x40u) : rounded);
}

} // namespace mhcrt

#endif // MHCRT_BASE_DTYPE_H
