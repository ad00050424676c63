#include "plan/Layout.h"
#include "base/Checked.h"
#include "plan/Binding.h"

#include <mhc/Package/Allocator.h>

#include <algorithm>

namespace mhcrt {
namespace {

std::string bufferText(const Buffer &buffer) {
  return "buffer " + std::to_string(buffer.id) + (buffer.name.empty() ? "" : " '" + buffer.name + "'");
}

class Builder {
public:
  Builder(const Manifest &manifest, const Entry &entry, const TargetPlan &target, const EntryPlan &plan,
          const Symbols &given, const PartialCount &partials)
      : manifest(manifest), entry(entry), target(target), plan(plan), symbols(given), partialCount(partials) {}

  Layout build() {
    const int64_t rows = plan.blockRows ? symbols.at("T") : 0;
    if (plan.blockRows) {
      layout.blockRows = symbols["R"] = std::min(rows, plan.blockRows);
      layout.rowBlocks = mhc::ceilDivide(rows, plan.blockRows);
    }
    for (const Buffer &buffer : plan.buffers)
      layout.counts.push_back(count(buffer));
    multiples.assign(plan.buffers.size(), 0);
    commands(plan.commands, layout.commands);
    if (layout.rowBlocks) {
      symbols["R"] = rows - (layout.rowBlocks - 1) * layout.blockRows;
      commands(plan.commands, layout.lastBlock);
    }
    place();
    return std::move(layout);
  }

private:
  int64_t count(const Buffer &buffer) const {
    const std::string what = bufferText(buffer);
    int64_t size = buffer.size.evaluate(symbols, what);
    if (size < 0)
      fail(what, ": its size would be ", size);
    checkedMultiply(size, 8, what); // bytes fit for every type
    switch (buffer.kind) {
    case BufferKind::Input:
    case BufferKind::Output: {
      const auto &list = buffer.kind == BufferKind::Input ? entry.inputs : entry.outputs;
      auto spec = std::find_if(list.begin(), list.end(), [&](auto &item) { return item.name == buffer.tensor; });
      std::vector<int64_t> shape = evaluateShape(*spec, symbols);
      int64_t whole = elementCount(shape, what);
      if (buffer.slices > 1 && (shape.empty() || shape[0] % buffer.slices))
        fail(what, ": '", buffer.tensor, "' of shape ", shapeText(shape), " cannot be cut into ", buffer.slices,
             " slices");
      if (whole / buffer.slices != size)
        fail(what, ": its size is ", size, ", but '", buffer.tensor, "' has ", whole, " elements in ", buffer.slices,
             " slices");
      break;
    }
    case BufferKind::Parameter:
    case BufferKind::Gradient:
      if (manifest.findTensor(buffer.tensor)->count != size)
        fail(what, ": its size is ", size, ", but '", buffer.tensor, "' has ",
             manifest.findTensor(buffer.tensor)->count, " elements");
      break;
    case BufferKind::State:
      if (size > manifest.elementsOf(buffer.arena) - buffer.begin)
        fail(what, ": elements ", buffer.begin, " to ", buffer.begin + size, " are outside an arena of ",
             manifest.elementsOf(buffer.arena));
      break;
    case BufferKind::Scalars:
      if (size > 64 - buffer.begin)
        fail(what, ": scalars ", buffer.begin, " to ", buffer.begin + size, " are outside the 64 that there are");
      break;
    case BufferKind::Constant:
      if (size % buffer.pairs)
        fail(what, ": its size ", size, " is not a multiple of ", buffer.pairs, " pairs");
      break;
    case BufferKind::Arena:
    case BufferKind::Partials:
    case BufferKind::Window:
      break;
    }
    return size;
  }

  int64_t value(const Affine &expression, const std::string &what) const {
    int64_t result = expression.evaluate(symbols, what);
    if (result < 0)
      fail(what, ": expected a value of at least 0, but got ", result);
    return result;
  }

  /// Buffer `index` must hold the product of `dimensions`.
  void need(const std::string &what, size_t index, std::initializer_list<int64_t> dimensions) const {
    int64_t wanted = elementCount(std::vector<int64_t>(dimensions), what);
    if (layout.counts[index] < wanted)
      fail(what, ": ", bufferText(plan.buffers[index]), " has ", layout.counts[index], " elements, expected ", wanted);
  }

  void commands(const std::vector<Command> &list, std::vector<BoundCommand> &result) {
    for (const Command &command : list) {
      size_t index = result.size();
      result.emplace_back();
      const std::string what = (command.at.empty() ? "" : command.at + ": ") + name(command.op);
      BoundCommand bound = bind(command, what);
      result[index] = std::move(bound);
      commands(command.body, result);
    }
  }

  BoundCommand bind(const Command &command, const std::string &what) {
    BoundCommand bound;
    switch (command.op) {
    case Op::Launch: {
      bound.rows = value(command.rows, what);
      for (const Affine &expression : command.ints)
        bound.ints.push_back(expression.evaluate(symbols, what));
      const Kernel &kernel = target.kernels[command.kernel];
      bool positions = std::any_of(kernel.args.begin(), kernel.args.end(), [](auto &arg) { return arg.position; });
      if (positions && bound.rows > 0 && bound.ints[kernel.lengthIndex()] < 1) // positions are taken modulo S
        fail(what, ": expected an integer S of at least 1, but got ", bound.ints[kernel.lengthIndex()]);
      bound.partials = partialCount(kernel, bound.rows);
      for (const Reduction &reduction : command.reductions) {
        multiples[reduction.partial] = std::max(multiples[reduction.partial], bound.partials);
        need(what, reduction.out, {layout.counts[reduction.partial]});
      }
      break;
    }
    case Op::Gemm:
      bound.m = value(command.m, what);
      bound.n = value(command.n, what);
      bound.k = value(command.k, what);
      need(what, command.a, {command.batch, bound.m, bound.k});
      need(what, command.b, {command.batch, bound.k, bound.n});
      need(what, command.c, {command.batch, bound.m, bound.n});
      if (command.d != noBuffer)
        need(what, command.d, {command.batch, bound.m, bound.n});
      break;
    case Op::Attention:
    case Op::AttentionBackward: {
      bound.sequences = value(command.sequences, what);
      bound.length = value(command.length, what);
      int64_t tokens = checkedMultiply(bound.sequences, bound.length, what);
      need(what, command.q, {tokens, command.heads, command.headDim});
      need(what, command.kk, {tokens, command.kvHeads, command.headDim});
      need(what, command.v, {tokens, command.kvHeads, command.valueDim});
      need(what, command.out, {tokens, command.heads, command.valueDim});
      need(what, command.lse, {tokens, command.heads});
      if (command.op == Op::AttentionBackward) {
        need(what, command.dout, {tokens, command.heads, command.valueDim});
        need(what, command.dq, {tokens, command.heads, command.headDim});
        need(what, command.dk, {tokens, command.kvHeads, command.headDim});
        need(what, command.dv, {tokens, command.kvHeads, command.valueDim});
      }
      break;
    }
    case Op::SplitTokens: {
      const Buffer &tokens = plan.buffers[command.tokens];
      auto spec = std::find_if(entry.inputs.begin(), entry.inputs.end(),
                               [&](auto &item) { return item.name == tokens.tensor; });
      std::vector<int64_t> shape = evaluateShape(*spec, symbols);
      if (shape.size() != 2 || tokens.slices != 1)
        fail(what, ": expected tokens of two dimensions");
      bound.m = shape[0];
      bound.n = shape[1];
      int64_t used = command.targets == noBuffer ? bound.n : bound.n - 1;
      if (used < 0)
        fail(what, ": expected at least one column");
      need(what, command.inputs, {bound.m, used});
      if (command.targets != noBuffer)
        need(what, command.targets, {bound.m, used});
      break;
    }
    case Op::EmbeddingBackward: {
      // dx [T, C], out [V, C], tokens [T]: T is tokens' size, the others follow.
      int64_t tokens = layout.counts[command.tokens];
      const Buffer &out = plan.buffers[command.out];
      const ModelTensor *tensor = out.kind == BufferKind::Gradient || out.kind == BufferKind::Parameter
                                      ? manifest.findTensor(out.tensor)
                                      : nullptr;
      bound.m = tokens;
      bound.k = tensor && tensor->shape.size() == 2 ? tensor->shape[0] : manifest.vocabSize; // vocabulary
      if (bound.k == 0 || layout.counts[command.out] % bound.k)
        fail(what, ": ", bufferText(out), " is not [vocabulary, channels]");
      bound.n = layout.counts[command.out] / bound.k; // channels
      need(what, command.dx, {bound.m, bound.n});
      break;
    }
    case Op::Add:
    case Op::Copy:
      if (layout.counts[command.src] != layout.counts[command.dst])
        fail(what, ": expected the same size of src and dst, but got ", layout.counts[command.src], " and ",
             layout.counts[command.dst]);
      break;
    case Op::Loop:
    case Op::Fill:
      break;
    }
    return bound;
  }

  void place() {
    std::vector<mhc::ArenaRequest> requests;
    std::vector<size_t> which;
    for (size_t i = 0; i < plan.buffers.size(); ++i) {
      const Buffer &buffer = plan.buffers[i];
      int64_t multiple = buffer.kind == BufferKind::Arena ? 1 : buffer.kind == BufferKind::Partials ? multiples[i] : 0;
      if (buffer.kind != BufferKind::Arena && buffer.kind != BufferKind::Partials)
        continue;
      const std::string what = bufferText(buffer);
      int64_t bytes = checkedMultiply(checkedMultiply(layout.counts[i], multiple, what), byteSize(buffer.dtype), what);
      requests.push_back({buffer.id, static_cast<uint64_t>(bytes), buffer.first, buffer.last});
      which.push_back(i);
    }
    mhc::ArenaLayout placed;
    if (!mhc::placeArena(requests, placed))
      fail("entry '", entry.name, "': the sizes of its temporary buffers overflow 64 bits");
    layout.offsets.assign(plan.buffers.size(), 0);
    for (size_t i = 0; i < which.size(); ++i)
      layout.offsets[which[i]] = placed.offsets[i];
    layout.arenaBytes = placed.bytes;
  }

  const Manifest &manifest;
  const Entry &entry;
  const TargetPlan &target;
  const EntryPlan &plan;
  Symbols symbols;
  const PartialCount &partialCount;
  Layout layout;
  std::vector<int64_t> multiples; // of each partials buffer
};

} // namespace

Layout layOut(const Manifest &manifest, const Entry &entry, const TargetPlan &target, const EntryPlan &plan,
              const Symbols &symbols, const PartialCount &partials) {
  return Builder(manifest, entry, target, plan, symbols, partials).build();
}

} // namespace mhcrt
