#include "package/SafeTensors.h"
#include "base/Checked.h"
#include "base/Json.h"

#include <algorithm>

namespace mhcrt {
namespace {

constexpr uint64_t largestHeader = 256u << 20;

/// Bytes an element of a type of the format; 0 if there is none of this name.
int64_t typeSize(const std::string &type) {
  static const std::map<std::string, int64_t> sizes = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"I16", 2}, {"U16", 2}, {"F16", 2},
      {"BF16", 2}, {"I32", 4}, {"U32", 4}, {"F32", 4},     {"F64", 8},     {"I64", 8}, {"U64", 8}};
  auto found = sizes.find(type);
  return found == sizes.end() ? 0 : found->second;
}

} // namespace

const char *fileName(DType dtype) {
  switch (dtype) {
  case DType::BF16:
    return "BF16";
  case DType::F32:
    return "F32";
  case DType::F64:
    return "F64";
  case DType::I32:
    return "I32";
  case DType::I64:
    return "I64";
  }
  return "?";
}

std::string typeText(const std::string &fileType) {
  std::string text = fileType;
  for (char &c : text)
    c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return text;
}

SafeTensorsFile::SafeTensorsFile(const std::string &path) : file(path) {
  uint8_t length[8];
  if (file.size() < sizeof length)
    fail(path, ": not a safetensors file: it has only ", file.size(), " bytes");
  file.read(0, length, sizeof length);
  uint64_t headerSize = 0;
  for (int i = 0; i < 8; ++i)
    headerSize |= uint64_t(length[i]) << (8 * i);
  if (headerSize > file.size() - 8 || headerSize > largestHeader)
    fail(path, ": not a safetensors file: its header would have ", headerSize, " bytes");
  std::string header(headerSize, ' ');
  file.read(8, header.data(), headerSize);
  dataStart = 8 + headerSize;
  uint64_t dataSize = file.size() - dataStart;

  Json document = parseJson(header, path);
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  JsonView(document, path).members([&](const std::string &name, const JsonView &json) {
    if (name == "__metadata__") {
      json.members([&](const std::string &key, const JsonView &value) { notes[key] = value.string(); });
      return;
    }
    Tensor tensor;
    tensor.type = json.at("dtype").string();
    int64_t element = typeSize(tensor.type);
    if (element == 0)
      fail(json.path(), ": unknown type '", tensor.type, "'");
    JsonView shape = json.at("shape"), offsets = json.at("data_offsets");
    for (size_t i = 0; i < shape.size(); ++i)
      tensor.shape.push_back(shape[i].integer(0));
    int64_t size = checkedMultiply(elementCount(tensor.shape, json.path()), element, json.path());
    if (offsets.size() != 2)
      fail(offsets.path(), ": expected [begin, end]");
    int64_t begin = offsets[0].integer(0), end = offsets[1].integer(begin);
    if (static_cast<uint64_t>(end) > dataSize)
      fail(json.path(), ": ends at byte ", end, ", but the file has only ", dataSize, " bytes of data");
    if (end - begin != size)
      fail(json.path(), ": expected ", size, " bytes for shape ", shapeText(tensor.shape), ", but got ", end - begin);
    tensor.begin = begin;
    tensor.end = end;
    ranges.emplace_back(tensor.begin, tensor.end);
    table.emplace(name, std::move(tensor));
  });
  std::sort(ranges.begin(), ranges.end());
  uint64_t at = 0;
  for (const auto &[begin, end] : ranges) {
    if (begin != at)
      fail(path, ": tensors ", begin < at ? "overlap" : "leave a gap", " at byte ", begin, " of the data");
    at = end;
  }
  if (at != dataSize)
    fail(path, ": ", dataSize - at, " bytes at the end belong to no tensor");
}

const SafeTensorsFile::Tensor *SafeTensorsFile::find(const std::string &name) const {
  auto found = table.find(name);
  return found == table.end() ? nullptr : &found->second;
}

void SafeTensorsFile::read(const Tensor &tensor, void *target) const {
  file.read(dataStart + tensor.begin, target, tensor.end - tensor.begin);
}

void SafeTensorsFile::read(const Tensor &tensor, uint64_t offset, void *target, uint64_t count) const {
  if (offset > tensor.end - tensor.begin || count > tensor.end - tensor.begin - offset)
    fail(path(), ": read outside of a tensor");
  file.read(dataStart + tensor.begin + offset, target, count);
}

void writeSafeTensors(const std::string &path, std::vector<TensorToWrite> tensors,
                      const std::map<std::string, std::string> &metadata) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorToWrite &a, const TensorToWrite &b) {
    int64_t sizeA = byteSize(a.dtype), sizeB = byteSize(b.dtype);
    return sizeA != sizeB ? sizeA > sizeB : a.name < b.name;
  });
  Json header = Json::object();
  if (!metadata.empty())
    header["__metadata__"] = metadata;
  int64_t at = 0;
  std::vector<int64_t> sizes;
  for (const TensorToWrite &tensor : tensors) {
    sizes.push_back(checkedMultiply(elementCount(tensor.shape, tensor.name), byteSize(tensor.dtype), tensor.name));
    int64_t end = checkedAdd(at, sizes.back(), tensor.name);
    header[tensor.name] = {{"dtype", fileName(tensor.dtype)}, {"shape", tensor.shape}, {"data_offsets", {at, end}}};
    at = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' '); // the data starts at a multiple of 8
  uint8_t length[8];
  for (int i = 0; i < 8; ++i)
    length[i] = static_cast<uint8_t>(uint64_t(text.size()) >> (8 * i));
  OutputFile file(path);
  file.write(length, sizeof length);
  file.write(text.data(), text.size());
  for (size_t i = 0; i < tensors.size(); ++i)
    file.write(tensors[i].data, sizes[i]);
  file.commit();
}

} // namespace mhcrt
