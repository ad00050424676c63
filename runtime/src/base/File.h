//===- File.h - reading files, and writing them so that a kill leaves no half file -*- C++ -*-===//
#ifndef MHCRT_BASE_FILE_H
#define MHCRT_BASE_FILE_H

#include "base/Memory.h"

#include <cstdint>
#include <string>

namespace mhcrt {

/// A regular file open for reading at any offset.
class InputFile {
public:
  explicit InputFile(const std::string &path);
  ~InputFile();
  InputFile(const InputFile &) = delete;
  InputFile &operator=(const InputFile &) = delete;

  uint64_t size() const { return bytes; }
  const std::string &path() const { return name; }
  /// Exactly `count` bytes from `offset`, or an error (a file that shrank meanwhile included).
  void read(uint64_t offset, void *target, uint64_t count) const;

private:
  std::string name;
  int descriptor = -1;
  uint64_t bytes = 0;
};

Memory readFile(const std::string &path);

/// Writes beside the final name; commit() syncs and renames. Without commit() the final name stays as it was, so an
/// object that is made and dropped tells whether a file can be written there.
class OutputFile {
public:
  explicit OutputFile(const std::string &path);
  ~OutputFile();
  OutputFile(const OutputFile &) = delete;
  OutputFile &operator=(const OutputFile &) = delete;

  void write(const void *data, uint64_t count);
  void commit();

private:
  std::string name, aside;
  int descriptor = -1;
};

void writeFile(const std::string &path, const std::string &text);

} // namespace mhcrt

#endif // MHCRT_BASE_FILE_H
