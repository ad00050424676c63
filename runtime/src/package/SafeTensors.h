//===- SafeTensors.h - tensor files --------------------------------*- C++ -*-===//
#ifndef MHCRT_PACKAGE_SAFETENSORS_H
#define MHCRT_PACKAGE_SAFETENSORS_H

#include "base/DType.h"
#include "base/File.h"

#include <map>
#include <string>
#include <vector>

namespace mhcrt {

/// A file open for reading; the header is checked as a whole when it is opened (sizes, overlaps, gaps, duplicates).
class SafeTensorsFile {
public:
  struct Tensor {
    std::string type; ///< as in the file: "BF16", "F32", ...
    std::vector<int64_t> shape;
    uint64_t begin = 0, end = 0; ///< bytes, from the start of the data
  };

  explicit SafeTensorsFile(const std::string &path);

  const std::string &path() const { return file.path(); }
  const std::map<std::string, Tensor> &tensors() const { return table; }
  const std::map<std::string, std::string> &metadata() const { return notes; }
  const Tensor *find(const std::string &name) const;
  void read(const Tensor &tensor, void *target) const;
  /// `count` bytes from byte `offset` of the tensor.
  void read(const Tensor &tensor, uint64_t offset, void *target, uint64_t count) const;

private:
  InputFile file;
  uint64_t dataStart = 0;
  std::map<std::string, Tensor> table;
  std::map<std::string, std::string> notes;
};

/// The file format's name of a type: "F32".
const char *fileName(DType dtype);
/// "f32" for "F32"; the file's own word for types that the runtime does not have.
std::string typeText(const std::string &fileType);

struct TensorToWrite {
  std::string name;
  DType dtype = DType::F32;
  std::vector<int64_t> shape;
  const void *data = nullptr;
};

/// Deterministic: wider types first (so that all are aligned), then by name. Replaces the file in one step.
void writeSafeTensors(const std::string &path, std::vector<TensorToWrite> tensors,
                      const std::map<std::string, std::string> &metadata = {});

} // namespace mhcrt

#endif // MHCRT_PACKAGE_SAFETENSORS_H
