#include "train/Data.h"
#include "base/File.h"
#include "package/SafeTensors.h"
#include "train/Init.h"

#include <algorithm>
#include <filesystem>
#include <vector>

namespace mhcrt {

void DataSource::validationRow(int64_t, int32_t *) { fail("this data has no validation part"); }

namespace {

bool endsWith(const std::string &text, const std::string &ending) {
  return text.size() >= ending.size() && text.compare(text.size() - ending.size(), ending.size(), ending) == 0;
}

/// Given batch by batch in a file.
class BatchFile final : public DataSource {
public:
  BatchFile(const std::string &path, const DataShape &shape) : file(path), shape(shape) {
    tensor = file.find("tokens");
    if (!tensor)
      fail(path, ": the tensor 'tokens' is missing");
    if (typeText(tensor->type) != "i32")
      fail(path, ": tokens: expected type i32, but got ", typeText(tensor->type));
    const auto &got = tensor->shape;
    if (got.size() != 3 || got[1] != shape.sequences || got[2] != shape.sequenceLength + 1)
      fail(path, ": tokens: expected shape [steps, ", shape.sequences, ", ", shape.sequenceLength + 1, "], but got ",
           shapeText(got));
    if (got[0] < shape.steps)
      fail(path, ": tokens: expected at least ", shape.steps, " steps, but got ", got[0]);
  }

  void batch(int64_t step, int64_t rows, int32_t *tokens) override {
    if (step < 1 || step > tensor->shape[0])
      fail(file.path(), ": tokens: there is no step ", step);
    uint64_t bytes = shape.sequences * (shape.sequenceLength + 1) * sizeof(int32_t);
    file.read(*tensor, (step - 1) * bytes, tokens, rows * (shape.sequenceLength + 1) * sizeof(int32_t));
  }
  std::string description() const override {
    return concat(file.path(), ", ", tensor->shape[0], " steps of given tokens");
  }

private:
  SafeTensorsFile file;
  const SafeTensorsFile::Tensor *tensor;
  DataShape shape;
};

/// One long run of tokens from which rows are drawn.
class TokenStream final : public DataSource {
public:
  TokenStream(const std::vector<std::string> &files, const DataShape &shape, int64_t seed, std::string name)
      : shape(shape), stream(seed, "training data"), name(std::move(name)) {
    bool binary = endsWith(files[0], ".bin");
    for (const std::string &path : files) {
      if (endsWith(path, ".bin") != binary)
        fail(path, ": a folder of data holds either .bin files or text, not both");
      binary ? addTokens(path) : addBytes(path);
    }
    // Validation takes the end of the data, so that text held out is not the neighbour of every sample.
    total = static_cast<int64_t>(binary ? wide.size() : bytes.size());
    int64_t held = total / 20;
    if (held < shape.sequenceLength + 1)
      held = 0;
    training = total - held;
    if (training < shape.sequenceLength + 1)
      fail(this->name, ": expected at least ", shape.sequenceLength + 1, " tokens, but got ", training);
  }

  void batch(int64_t step, int64_t rows, int32_t *tokens) override {
    uint64_t places = training - shape.sequenceLength; // where a row can start
    for (int64_t row = 0; row < rows; ++row) {
      uint64_t random = stream.bits((static_cast<uint64_t>(step) << 24) + row);
      auto start = static_cast<int64_t>((static_cast<unsigned __int128>(random) * places) >> 64);
      copyRow(start, tokens + row * (shape.sequenceLength + 1));
    }
  }
  int64_t validationRows() const override {
    return total > training ? (total - training - 1) / shape.sequenceLength : 0;
  }
  void validationRow(int64_t row, int32_t *tokens) override { copyRow(training + row * shape.sequenceLength, tokens); }
  std::string description() const override {
    return concat(name, ", ", training, " tokens, ", total - training, " more for validation");
  }

private:
  void copyRow(int64_t start, int32_t *tokens) const {
    for (int64_t i = 0; i <= shape.sequenceLength; ++i)
      tokens[i] = wide.empty() ? static_cast<uint8_t>(bytes[start + i]) : wide[start + i];
  }

  void addBytes(const std::string &path) {
    Memory content = readFile(path);
    for (uint64_t i = 0; i < content.size(); ++i)
      if (static_cast<uint8_t>(content.data()[i]) >= shape.vocabSize)
        fail(path, ": byte ", int(static_cast<uint8_t>(content.data()[i])), " at position ", i,
             " is outside a vocabulary of ", shape.vocabSize);
    bytes.append(content.data(), content.size());
  }

  void addTokens(const std::string &path) {
    Memory content = readFile(path);
    uint64_t at = 0;
    int64_t width = shape.vocabSize <= 65536 ? 2 : 4;
    if (content.size() >= 8 &&
        (!std::memcmp(content.data(), "MHCTOK16", 8) || !std::memcmp(content.data(), "MHCTOK32", 8))) {
      width = content.data()[6] == '1' ? 2 : 4;
      at = 8;
    }
    if ((content.size() - at) % width)
      fail(path, ": expected tokens of ", width, " bytes, but the file has ", content.size() - at, " bytes");
    wide.reserve(wide.size() + (content.size() - at) / width);
    for (; at < content.size(); at += width) {
      uint32_t token = 0;
      for (int64_t i = 0; i < width; ++i)
        token |= uint32_t(static_cast<uint8_t>(content.data()[at + i])) << (8 * i);
      if (token >= static_cast<uint64_t>(shape.vocabSize))
        fail(path, ": token ", token, " at byte ", at, " is outside a vocabulary of ", shape.vocabSize);
      wide.push_back(static_cast<int32_t>(token));
    }
  }

  DataShape shape;
  RandomStream stream;
  std::string name;
  std::string bytes;
  std::vector<int32_t> wide; // tokens of .bin files
  int64_t total = 0, training = 0;
};

} // namespace

std::unique_ptr<DataSource> openData(const std::string &path, const DataShape &shape, int64_t seed) {
  namespace fs = std::filesystem;
  std::error_code code;
  std::vector<std::string> files;
  if (fs::is_directory(path, code)) {
    fs::directory_iterator items(path, code);
    if (code)
      fail(path, ": cannot read the folder: ", code.message());
    for (const auto &item : items)
      if (item.is_regular_file() && item.path().filename().string()[0] != '.')
        files.push_back(item.path().string());
    std::sort(files.begin(), files.end());
    if (files.empty())
      fail(path, ": the folder has no files");
    for (const std::string &file : files)
      if (endsWith(file, ".safetensors"))
        fail(file, ": a safetensors file of tokens is given by itself, not in a folder");
  } else if (endsWith(path, ".safetensors")) {
    return std::make_unique<BatchFile>(path, shape);
  } else {
    files.push_back(path);
  }
  return std::make_unique<TokenStream>(files, shape, seed, path);
}

} // namespace mhcrt
