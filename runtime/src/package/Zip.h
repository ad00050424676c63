//===- Zip.h - reader of stored ZIP files --------------------------*- C++ -*-===//
#ifndef MHCRT_PACKAGE_ZIP_H
#define MHCRT_PACKAGE_ZIP_H

#include "base/Memory.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mhcrt {

/// A ZIP file whose members are stored, held in memory. Everything is checked when it is opened: bounds, overlaps,
/// duplicate and unsafe names, CRC-32. No ZIP64, no encryption, no compression, one disk.
class ZipFile {
public:
  struct Member {
    std::string name;
    uint64_t offset = 0; ///< of the data
    uint64_t size = 0;
  };

  /// `source` is the name for messages.
  ZipFile(Memory content, std::string source);

  const std::vector<Member> &members() const { return table; }
  const Member *find(std::string_view name) const;
  std::string_view content(const Member &member) const { return {bytes.data() + member.offset, member.size}; }

private:
  uint32_t read16(uint64_t at) const;
  uint32_t read32(uint64_t at) const;
  void readTable();

  Memory bytes;
  std::string source;
  std::vector<Member> table;
};

} // namespace mhcrt

#endif // MHCRT_PACKAGE_ZIP_H
