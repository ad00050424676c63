//===- Data.h - where the training tokens come from ----------------*- C++ -*-===//
#ifndef MHCRT_TRAIN_DATA_H
#define MHCRT_TRAIN_DATA_H

#include <cstdint>
#include <memory>
#include <string>

namespace mhcrt {

struct DataShape {
  int64_t sequences = 1, sequenceLength = 1, vocabSize = 1, steps = 1;
};

class DataSource {
public:
  virtual ~DataSource() = default;
  /// The first `rows` rows of step `step` (from 1): tokens [rows, sequenceLength + 1], at most `sequences`. A function of
  /// seed and step only, so that a resumed run sees what the first one would have seen.
  virtual void batch(int64_t step, int64_t rows, int32_t *tokens) = 0;
  /// Rows that are held out for validation; 0 if this source has none.
  virtual int64_t validationRows() const { return 0; }
  virtual void validationRow(int64_t row, int32_t *tokens);
  virtual std::string description() const = 0;
};

/// What `path` is follows from its name and content:
///   a safetensors file   `tokens` [steps, sequences, S + 1] i32; step s takes tokens[s - 1]
///   *.bin                token ids, little-endian. With the 8 bytes "MHCTOK16" or "MHCTOK32" in front the ids after
///                        them have 16 or 32 bits; without, 16 bits if vocab_size <= 65536, else 32
///   anything else        bytes, each a token
///   a folder             its files (one of the latter two kinds), in order of their names, one after another
/// From bytes and token files rows are drawn at random; the last 5% are held out for validation.
std::unique_ptr<DataSource> openData(const std::string &path, const DataShape &shape, int64_t seed);

} // namespace mhcrt

#endif // MHCRT_TRAIN_DATA_H
