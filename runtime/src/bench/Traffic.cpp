#include "bench/Traffic.h"

#include <set>

namespace mhcrt {
namespace {

/// The plan does not say which arguments of a launch a kernel reads and which it writes. Inputs stand in front of
/// outputs, so it is enough to find the first argument that nobody has written before.
class TrafficCounter {
public:
  TrafficCounter(const Manifest &manifest, const EntryPlan &plan, const Layout &layout)
      : manifest(manifest), plan(plan), layout(layout) {
    result.resize(layout.commands.size());
    count(plan.commands);
  }

  std::vector<Traffic> result;

private:
  void count(const std::vector<Command> &list) {
    for (const Command &command : list) {
      count(command, result[command.index]);
      for (size_t buffer : command.buffers())
        seen.insert(buffer);
      count(command.body);
    }
  }

  void count(const Command &command, Traffic &traffic) const {
    const BoundCommand &values = layout.commands[command.index];
    auto read = [&](std::initializer_list<size_t> buffers) {
      for (size_t buffer : buffers)
        traffic.read += bytes(buffer);
    };
    auto written = [&](std::initializer_list<size_t> buffers) {
      for (size_t buffer : buffers)
        traffic.written += bytes(buffer);
    };
    switch (command.op) {
    case Op::Launch:
      return countLaunch(command, values.rows, traffic);
    case Op::Gemm: // an operand may be a part of a larger buffer
      traffic.read += values.m * values.k * width(command.a) + values.k * values.n * width(command.b) +
                      (command.accumulate ? values.m * values.n * width(command.c) : 0);
      traffic.written += values.m * values.n * width(command.c);
      return;
    case Op::Attention:
      read({command.q, command.kk, command.v});
      return written({command.out, command.lse});
    case Op::AttentionBackward:
      read({command.q, command.kk, command.v, command.out, command.lse, command.dout});
      return written({command.dq, command.dk, command.dv});
    case Op::SplitTokens:
      read({command.tokens});
      return written({command.inputs, command.targets});
    case Op::EmbeddingBackward:
      read({command.tokens, command.dx});
      if (command.accumulate)
        read({command.out});
      return written({command.out});
    case Op::Fill:
      return written({command.buffer});
    case Op::Add:
      read({command.src, command.dst});
      return written({command.dst});
    case Op::Copy:
      read({command.src});
      return written({command.dst});
    case Op::Loop:
      return;
    }
  }

  void countLaunch(const Command &command, int64_t rows, Traffic &traffic) const {
    bool output = false;
    std::set<std::pair<StateArena, int64_t>> states;
    for (size_t argument : command.args) {
      const Buffer &buffer = plan.buffers[argument];
      switch (buffer.kind) {
      case BufferKind::Arena:
        output |= buffer.first == command.index;
        break;
      case BufferKind::Output:
      case BufferKind::Gradient:
        output |= !seen.count(argument);
        break;
      case BufferKind::State: // updated in place: the same range of an arena once more
        output |= !states.emplace(buffer.arena, buffer.begin).second;
        break;
      default:
        break;
      }
      (output ? traffic.written : traffic.read) += rowBytes(command, argument) * rows;
    }
  }

  /// What a row of a launch takes of a buffer.
  int64_t rowBytes(const Command &command, size_t index) const {
    const Buffer &buffer = plan.buffers[index];
    if (buffer.kind == BufferKind::Parameter) { // the table of embeddings is read one row a token
      const ModelTensor *tensor = manifest.findTensor(buffer.tensor);
      return tensor && tensor->role == "embedding" && tensor->shape.size() == 2 ? tensor->shape[1] * width(index) : 0;
    }
    if (buffer.kind == BufferKind::Scalars || buffer.kind == BufferKind::Constant)
      return 0;
    return multiple(buffer.size, command.rows) * width(index);
  }

  /// The k with size = k * rows as expressions; 0 if there is none.
  static int64_t multiple(const Affine &size, const Affine &rows) {
    if (size.terms.size() != rows.terms.size())
      return 0;
    int64_t whole = rows.terms.empty() ? rows.constant : rows.terms[0].second;
    int64_t k = whole > 0 ? (rows.terms.empty() ? size.constant : size.terms[0].second) / whole : 0;
    for (size_t i = 0; i < rows.terms.size(); ++i)
      if (size.terms[i] != std::pair(rows.terms[i].first, rows.terms[i].second * k))
        return 0;
    return size.constant == rows.constant * k ? k : 0;
  }

  int64_t width(size_t buffer) const { return byteSize(plan.buffers[buffer].dtype); }
  int64_t bytes(size_t buffer) const { return buffer == noBuffer ? 0 : layout.counts[buffer] * width(buffer); }

  const Manifest &manifest;
  const EntryPlan &plan;
  const Layout &layout;
  std::set<size_t> seen; ///< buffers that a command before this one touches
};

} // namespace

std::vector<Traffic> planTraffic(const Manifest &manifest, const EntryPlan &plan, const Layout &layout) {
  return TrafficCounter(manifest, plan, layout).result;
}

} // namespace mhcrt
