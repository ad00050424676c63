#include "report/Run.h"
#include "base/File.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace mhcrt {
namespace {

constexpr size_t mostSamples = 240;           // of what a page draws as a picture
constexpr size_t longestLine = size_t(1) << 28;
constexpr double largest = 1e300;             // beyond it no axis has ticks

/// Calls `visit` with each line, its number and whether it ends with a newline.
template <typename Visit> void eachLine(const std::string &path, Visit &&visit) {
  InputFile file(path);
  std::string line;
  std::vector<char> chunk(size_t(1) << 20);
  size_t number = 1;
  for (uint64_t at = 0; at < file.size();) {
    const uint64_t count = std::min<uint64_t>(chunk.size(), file.size() - at);
    file.read(at, chunk.data(), count);
    at += count;
    for (size_t from = 0; from < count;) {
      const char *end = static_cast<const char *>(std::memchr(chunk.data() + from, '\n', count - from));
      const size_t to = end ? static_cast<size_t>(end - chunk.data()) : count;
      line.append(chunk.data() + from, to - from);
      if (line.size() > longestLine)
        fail(path, ":", number, ": the line is longer than ", longestLine, " bytes");
      from = to + 1;
      if (end) {
        visit(line, number++, true);
        line.clear();
      }
    }
  }
  if (!line.empty())
    visit(line, number, false);
}

/// The shape of nested lists, whose parts are all alike.
void readTensor(const JsonView &json, NumberTensor &tensor, size_t depth) {
  if (!json.isArray()) {
    if (depth != tensor.shape.size())
      fail(json.path(), ": expected lists of one depth");
    double value = json.isNull() ? missing : json.number();
    tensor.data.push_back(std::abs(value) <= largest ? value : missing);
    return;
  }
  const auto size = static_cast<int64_t>(json.size());
  if (depth == tensor.shape.size() && tensor.data.empty())
    tensor.shape.push_back(size);
  else if (depth >= tensor.shape.size() || tensor.shape[depth] != size)
    fail(json.path(), ": expected lists of one length");
  for (int64_t i = 0; i < size; ++i)
    readTensor(json[i], tensor, depth + 1);
}

void collect(const JsonView &json, const std::string &name, std::map<std::string, NumberTensor> &values) {
  if (json.isObject()) {
    json.members([&](const std::string &key, const JsonView &member) { collect(member, name.empty() ? key : name + "." + key, values); });
    return;
  }
  readTensor(json, values[name], 0);
}

class Reader {
public:
  explicit Reader(const std::string &path) : loads(mostSamples), watched(mostSamples) { run.source = path; }

  RunRecord read() {
    eachLine(run.source, [&](const std::string &text, size_t number, bool finished) { line(text, number, finished); });
    if (run.steps.empty())
      fail(run.source, lines ? ": expected lines with 'step' and 'loss', but found none" : ": expected metrics, but the file is empty");
    for (auto &[name, values] : run.scalars)
      values.resize(run.steps.size(), missing);
    run.loads = loads.take();
    run.watched = watched.take();
    if (others)
      run.notes.push_back(concat(others, others == 1 ? " line says" : " lines say", " nothing of a step (the first: line ", firstOther, ")"));
    return std::move(run);
  }

private:
  void line(const std::string &text, size_t number, bool finished) {
    if (text.find_first_not_of(" \t\r") == std::string::npos)
      return;
    ++lines;
    const std::string where = concat(run.source, ":", number);
    Json json;
    try {
      json = parseJson(text, where);
    } catch (const Error &problem) {
      // The text is one line: its number is that of the file.
      std::string message = problem.what();
      if (const std::string own = "parse error at line 1, "; message.find(own) != std::string::npos)
        message.replace(message.find(own), own.size(), "parse error at ");
      if (finished)
        throw Error(message);
      run.notes.push_back(concat("line ", number, " is not finished, as a run that was killed leaves it: left out"));
      return;
    }
    JsonView view(json, where + ": line");
    if (!view.isObject())
      fail(where, ": expected a JSON object");
    if (auto validation = view.find("validation_loss"))
      run.validation.emplace_back(static_cast<double>(view.at("step").integer(0)), numberOf(*validation));
    else if (view.has("step") && view.has("loss"))
      step(view);
    else if (view.has("package"))
      header(view);
    else if (++others == 1)
      firstOther = number;
  }

  void header(const JsonView &view) {
    if (run.header.empty())
      run.header = view.json();
    if (auto after = view.find("resumed_after_step"); after && after->isInteger())
      run.notes.push_back(concat("resumed after step ", after->integer()));
  }

  static double numberOf(const JsonView &view) {
    const double value = view.isNull() ? missing : view.number();
    return std::abs(value) <= largest ? value : missing;
  }

  void step(const JsonView &view) {
    const int64_t step = view.at("step").integer(1, int64_t(1) << 53);
    if (!run.steps.empty() && static_cast<double>(step) <= run.steps.back())
      again(step);
    run.steps.push_back(static_cast<double>(step));
    view.members([&](const std::string &key, const JsonView &member) {
      if (key == "monitor") {
        StepTensors sample{step, {}};
        collect(member, "", sample.values);
        checkShapes(shapes, sample, member.path());
        watched.add(std::move(sample));
      } else if (key == "expert_counts") {
        StepTensors sample{step, {}};
        collect(member, key, sample.values);
        if (sample.values[key].shape.size() != 2)
          fail(member.path(), ": expected a list of blocks with a count for each expert");
        checkShapes(loadShapes, sample, member.path());
        loads.add(std::move(sample));
      } else if (member.isNull() || member.json().is_number()) {
        std::vector<double> &values = run.scalars[key];
        values.resize(run.steps.size() - 1, missing);
        values.push_back(numberOf(member));
      } else if (key == "loss" || key == "cross_entropy" || key == "learning_rate" || key == "gradient_norm") {
        fail(member.path(), ": expected a number or null");
      }
    });
  }

  /// The run was resumed from a checkpoint before this step: what came after that is not part of it.
  void again(int64_t step) {
    const auto from = static_cast<double>(step);
    const size_t keep = std::lower_bound(run.steps.begin(), run.steps.end(), from) - run.steps.begin();
    run.notes.push_back(concat("steps ", step, " to ", static_cast<int64_t>(run.steps.back()), " were done again: the later ones are shown"));
    run.steps.resize(keep);
    for (auto &[name, values] : run.scalars)
      values.resize(std::min(values.size(), keep));
    std::erase_if(run.validation, [&](const auto &each) { return each.first >= from; });
    loads.dropFrom(step);
    watched.dropFrom(step);
  }

  /// A page draws one model: every step must have tensors of the same shapes.
  static void checkShapes(std::map<std::string, std::vector<int64_t>> &known, const StepTensors &sample, const std::string &where) {
    for (const auto &[name, tensor] : sample.values)
      if (auto [at, isNew] = known.emplace(name, tensor.shape); !isNew && at->second != tensor.shape)
        fail(where, ": expected '", name, "' of the same shape as in the steps before");
  }

  RunRecord run;
  Samples loads, watched;
  std::map<std::string, std::vector<int64_t>> shapes, loadShapes;
  size_t lines = 0, others = 0, firstOther = 0;
};

} // namespace

void Samples::add(StepTensors sample) {
  if (seen++ % stride == 0)
    kept.push_back(sample);
  last.assign(1, std::move(sample));
  if (kept.size() <= most)
    return;
  for (size_t i = 1; 2 * i < kept.size(); ++i)
    kept[i] = std::move(kept[2 * i]);
  kept.resize((kept.size() + 1) / 2);
  stride *= 2;
}

void Samples::dropFrom(int64_t step) {
  std::erase_if(kept, [&](const StepTensors &sample) { return sample.step >= step; });
  if (!last.empty() && last[0].step >= step)
    last.clear();
  if (last.empty() && !kept.empty())
    last.push_back(kept.back());
  seen = kept.size() * stride;
}

std::vector<StepTensors> Samples::take() {
  if (!last.empty() && (kept.empty() || kept.back().step != last[0].step))
    kept.push_back(std::move(last[0]));
  return std::move(kept);
}

RunRecord readRun(const std::string &path) { return Reader(path).read(); }

} // namespace mhcrt
