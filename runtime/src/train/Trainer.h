//===- Trainer.h - the training loop -------------------------------*- C++ -*-===//
#ifndef MHCRT_TRAIN_TRAINER_H
#define MHCRT_TRAIN_TRAINER_H

#include <cstdint>
#include <optional>
#include <string>

namespace mhcrt {

struct TrainOptions {
  std::string package, device = "cpu", data;
  int threads = 1;
  std::optional<int64_t> steps, sequences, seed;
  std::optional<double> learningRate;
  std::optional<std::string> initial, resume, save, metrics;
  int64_t saveEvery = 0, evalEvery = 0, evalBatches = 8;
  int64_t monitorEvery = 0; ///< 0: never
};

/// Runs to the last step. Progress on stderr, validation losses on stdout.
void train(const TrainOptions &options);

} // namespace mhcrt

#endif // MHCRT_TRAIN_TRAINER_H
