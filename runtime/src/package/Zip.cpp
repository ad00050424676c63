#include "package/Zip.h"
#include "base/Hash.h"

#include <algorithm>
#include <set>

namespace mhcrt {
namespace {
constexpr uint32_t localSignature = 0x04034b50, centralSignature = 0x02014b50, endSignature = 0x06054b50;
constexpr uint64_t localSize = 30, centralSize = 46, endSize = 22;

/// Names become nothing but keys here, yet people unpack packages too: no way out of the folder, no control characters.
bool safeName(std::string_view name) {
  if (name.empty() || name.front() == '/' || name.back() == '/')
    return false;
  for (char c : name)
    if (static_cast<unsigned char>(c) < 0x21 || static_cast<unsigned char>(c) > 0x7e || c == '\\' || c == ':')
      return false;
  for (size_t begin = 0; begin <= name.size();) {
    size_t end = std::min(name.find('/', begin), name.size());
    std::string_view part = name.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..")
      return false;
    begin = end + 1;
  }
  return true;
}
} // namespace

ZipFile::ZipFile(Memory content, std::string name) : bytes(std::move(content)), source(std::move(name)) { readTable(); }

uint32_t ZipFile::read16(uint64_t at) const {
  auto *data = reinterpret_cast<const uint8_t *>(bytes.data()) + at;
  return data[0] | uint32_t(data[1]) << 8;
}

uint32_t ZipFile::read32(uint64_t at) const { return read16(at) | read16(at + 2) << 16; }

const ZipFile::Member *ZipFile::find(std::string_view name) const {
  for (const Member &member : table)
    if (member.name == name)
      return &member;
  return nullptr;
}

void ZipFile::readTable() {
  uint64_t size = bytes.size();
  if (size < endSize)
    fail(source, ": not a package: the file has only ", size, " bytes");
  // The end record is last; a comment of up to 65535 bytes may follow it.
  uint64_t end = size - endSize;
  uint64_t lowest = size > endSize + 65535 ? size - endSize - 65535 : 0;
  while (read32(end) != endSignature || end + endSize + read16(end + 20) != size) {
    if (end == lowest)
      fail(source, ": not a package: no end of a ZIP file found");
    --end;
  }
  if (read16(end + 4) != 0 || read16(end + 6) != 0 || read16(end + 8) != read16(end + 10))
    fail(source, ": expected a ZIP file on one disk");
  uint64_t count = read16(end + 10), directorySize = read32(end + 12), directory = read32(end + 16);
  if (count == 0xffff || directorySize == 0xffffffff || directory == 0xffffffff)
    fail(source, ": ZIP64 is not supported");
  if (directory > end || directorySize != end - directory)
    fail(source, ": the ZIP directory does not end where its size says");

  std::set<std::string> names;
  std::vector<std::pair<uint64_t, uint64_t>> ranges; // local header and data
  uint64_t at = directory;
  for (uint64_t i = 0; i < count; ++i) {
    if (end - at < centralSize || read32(at) != centralSignature)
      fail(source, ": entry ", i, " of the ZIP directory is damaged");
    uint32_t flags = read16(at + 8), method = read16(at + 10), crc = read32(at + 16);
    uint64_t packed = read32(at + 20), plain = read32(at + 24), header = read32(at + 42);
    uint64_t nameSize = read16(at + 28), extra = read16(at + 30), comment = read16(at + 32);
    if (end - at - centralSize < nameSize + extra + comment)
      fail(source, ": entry ", i, " of the ZIP directory is damaged");
    Member member;
    member.name.assign(bytes.data() + at + centralSize, nameSize);
    if (!safeName(member.name))
      fail(source, ": member ", i, " has an unsafe name");
    const std::string what = source + ": member '" + member.name + "'";
    if (!names.insert(member.name).second)
      fail(what, ": the name occurs twice");
    if (method != 0 || packed != plain)
      fail(what, ": expected a stored member, but got compression method ", method);
    if (flags & ~0x0800u) // bit 11 says that the name is UTF-8
      fail(what, ": unsupported ZIP flags ", flags);
    if (header > directory || directory - header < localSize || read32(header) != localSignature)
      fail(what, ": its header is outside the file or damaged");
    uint64_t localName = read16(header + 26), localExtra = read16(header + 28);
    uint64_t room = directory - header - localSize;
    if (room < localName + localExtra || room - localName - localExtra < plain)
      fail(what, ": its ", plain, " bytes reach beyond the file's data");
    if (std::string_view(bytes.data() + header + localSize, localName) != member.name || read16(header + 8) != 0 ||
        read32(header + 18) != plain || read32(header + 22) != plain || read32(header + 14) != crc)
      fail(what, ": its header and the ZIP directory disagree");
    member.offset = header + localSize + localName + localExtra;
    member.size = plain;
    if (crc32(bytes.data() + member.offset, plain) != crc)
      fail(what, ": the CRC-32 does not match: the file is damaged");
    ranges.emplace_back(header, member.offset + plain);
    table.push_back(std::move(member));
    at += centralSize + nameSize + extra + comment;
  }
  if (at != end)
    fail(source, ": the ZIP directory has more bytes than entries");
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 1; i < ranges.size(); ++i)
    if (ranges[i].first < ranges[i - 1].second)
      fail(source, ": two members of the ZIP file overlap");
}

} // namespace mhcrt
