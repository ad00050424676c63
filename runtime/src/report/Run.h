//===- Run.h - the metrics of a run, read back ---------------------*- C++ -*-===//
#ifndef MHCRT_REPORT_RUN_H
#define MHCRT_REPORT_RUN_H

#include "base/Json.h"

#include <limits>
#include <map>
#include <string>
#include <vector>

namespace mhcrt {

constexpr double missing = std::numeric_limits<double>::quiet_NaN();

/// Numbers of a JSON value of nested lists; null is `missing`.
struct NumberTensor {
  std::vector<int64_t> shape;
  std::vector<double> data;
};

/// What a step's line says beside single numbers, by name; objects inside join their keys with '.'.
struct StepTensors {
  int64_t step = 0;
  std::map<std::string, NumberTensor> values;
  const NumberTensor *find(const std::string &name) const {
    auto found = values.find(name);
    return found == values.end() ? nullptr : &found->second;
  }
};

/// As many samples as a page shows, evenly over a run of any length: when there are too many, every second one goes.
/// The first and the last always stay.
class Samples {
public:
  explicit Samples(size_t most) : most(most) {}
  void add(StepTensors sample);
  /// Forgets this step and all later ones.
  void dropFrom(int64_t step);
  std::vector<StepTensors> take();

private:
  size_t most, stride = 1, seen = 0;
  std::vector<StepTensors> kept;
  std::vector<StepTensors> last; ///< one at most
};

struct RunRecord {
  std::string source;
  Json header = Json::object(); ///< the first line that names a package
  std::vector<double> steps;
  std::map<std::string, std::vector<double>> scalars; ///< a number for each of `steps`
  std::vector<std::pair<double, double>> validation;  ///< step, loss
  std::vector<StepTensors> loads;                     ///< expert_counts [blocks, E]
  std::vector<StepTensors> watched;                   ///< what `monitor` says
  std::vector<std::string> notes;                     ///< what was wrong with the file, and was left out

  bool has(const std::string &name) const { return scalars.count(name) != 0; }
};

/// Reads JSON lines. An unfinished last line and lines that say nothing of a step are left out with a note; all else that is wrong is an
/// error that names the line. Steps that come again (a run resumed from a checkpoint) take the place of the earlier ones.
RunRecord readRun(const std::string &path);

} // namespace mhcrt

#endif // MHCRT_REPORT_RUN_H
