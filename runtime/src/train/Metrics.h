//===- Metrics.h - one JSON object a line --------------------------*- C++ -*-===//
#ifndef MHCRT_TRAIN_METRICS_H
#define MHCRT_TRAIN_METRICS_H

#include "base/Json.h"

#include <string>

namespace mhcrt {

/// Appends whole lines. A resumed run first drops the lines of steps that it will do again.
class MetricsFile {
public:
  MetricsFile() = default;
  ~MetricsFile();
  MetricsFile(const MetricsFile &) = delete;
  MetricsFile &operator=(const MetricsFile &) = delete;

  /// Starts an empty file; `keepUntil` > 0 keeps the lines up to that step of what is there already.
  void open(const std::string &path, int64_t keepUntil);
  void write(const Json &line);

private:
  std::string name;
  int descriptor = -1;
};

} // namespace mhcrt

#endif // MHCRT_TRAIN_METRICS_H
