#include "bench/Traffic.h"

namespace mhcrt {
namespace {

class TrafficCounter {
public:
  TrafficCounter(const TargetPlan &target, const EntryPlan &plan, const Layout &layout)
      : target(target), plan(plan), layout(layout) {
    result.resize(layout.commands.size());
    count(plan.commands);
  }

  std::vector<Traffic> result;

private:
  void count(const std::vector<Command> &list) {
    for (const Command &command : list) {
      count(command, layout.commands[command.index], result[command.index]);
      count(command.body);
      if (command.op == Op::Loop && command.rowBlocks)
        for (const Command &item : command.body) { // whole blocks, and the last one
          Traffic &traffic = result[item.index], last;
          if (!layout.rowBlocks) {
            traffic = {};
            continue;
          }
          count(item, layout.lastBlock.at(item.index), last);
          traffic.read = traffic.read * (layout.rowBlocks - 1) + last.read;
          traffic.written = traffic.written * (layout.rowBlocks - 1) + last.written;
        }
    }
  }

  void count(const Command &command, const BoundCommand &values, Traffic &traffic) const {
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
      traffic.read += command.batch * (values.m * values.k * width(command.a) + values.k * values.n * width(command.b) +
                                       (command.accumulate || command.d != noBuffer ? values.m * values.n * width(command.c) : 0));
      traffic.written += command.batch * values.m * values.n * width(command.c);
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
    case Op::Dispatch:
      read({command.choice});
      return written({command.counts, command.offsets, command.gather, command.order, command.reverse});
    case Op::GroupedMatmul:
      read({command.x, command.w, command.offsets});
      return written({command.y});
    case Op::GroupedOuter:
      read({command.x, command.w, command.offsets});
      if (command.accumulate)
        read({command.y});
      return written({command.y});
    case Op::ExpertLoad:
      read({command.counts, command.previous});
      return written({command.share, command.total});
    case Op::SequenceLoad:
      read({command.choice});
      return written({command.share});
    case Op::UpdateBias:
      read({command.bias, command.counts});
      return written({command.y});
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

  /// As the kernel table describes the arguments; packages of older compilers have no such table.
  void countLaunch(const Command &command, int64_t rows, Traffic &traffic) const {
    for (const KernelArgument &argument : target.kernels[command.kernel].args)
      if (argument.token || argument.index != SIZE_MAX) // a row of a table for each token
        (argument.written ? traffic.written : traffic.read) += rows * argument.elements * byteSize(argument.dtype);
      else if (argument.tokensPerRow)
        traffic.read += rows / argument.tokensPerRow * argument.elements * byteSize(argument.dtype);
  }

  int64_t width(size_t buffer) const { return byteSize(plan.buffers[buffer].dtype); }
  int64_t bytes(size_t buffer) const { return buffer == noBuffer ? 0 : layout.counts[buffer] * width(buffer); }

  const TargetPlan &target;
  const EntryPlan &plan;
  const Layout &layout;
};

} // namespace

std::vector<Traffic> planTraffic(const TargetPlan &target, const EntryPlan &plan, const Layout &layout) {
  return TrafficCounter(target, plan, layout).result;
}

} // namespace mhcrt
