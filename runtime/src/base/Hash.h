//===- Hash.h - SHA-256 and CRC-32 ---------------------------------*- C++ -*-===//
#ifndef MHCRT_BASE_HASH_H
#define MHCRT_BASE_HASH_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace mhcrt {

/// FIPS 180-4.
std::array<uint8_t, 32> sha256(const void *data, size_t size);
std::string sha256Hex(const void *data, size_t size);
/// The CRC of ZIP (polynomial 0xEDB88320).
uint32_t crc32(const void *data, size_t size);

} // namespace mhcrt

#endif // MHCRT_BASE_HASH_H
