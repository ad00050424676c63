//===- LaunchCheck.cpp - launches against what their kernels reach ---------===//
//
// A kernel trusts its arguments. The kernel table says what it reads and writes of each, so a plan can be held against
// it when it is read, once for all values of the symbols: sizes and rows are linear in them.
//
//===----------------------------------------------------------------------===//
#include "base/Checked.h"
#include "package/Package.h"

#include <algorithm>

namespace mhcrt {
namespace {

/// size >= rows * elements, whatever the symbols are (at least 0). T = B * S counts as a symbol of its own: what the
/// compiler writes needs no more.
bool holds(const Affine &size, const Affine &rows, int64_t elements, const std::string &what) {
  std::map<std::string, int64_t> rest = {{"", size.constant}};
  for (const auto &[symbol, coefficient] : size.terms)
    rest[symbol] = coefficient;
  auto take = [&](const std::string &symbol, int64_t coefficient) {
    int64_t wanted = checkedMultiply(coefficient, elements, what);
    rest[symbol] = checkedAdd(rest[symbol], checkedMultiply(wanted, -1, what), what);
  };
  take("", rows.constant);
  for (const auto &[symbol, coefficient] : rows.terms)
    take(symbol, coefficient);
  return std::all_of(rest.begin(), rest.end(), [](auto &item) { return item.second >= 0; });
}

/// rows / divisor, which must be exact.
Affine divided(const Affine &rows, int64_t divisor, const std::string &what) {
  Affine result = rows;
  auto divide = [&](int64_t &number) {
    if (number % divisor)
      fail(what, ": expected ", divisor, " tokens for each of its rows, but the launch has ", rows.text());
    number /= divisor;
  };
  divide(result.constant);
  for (auto &[symbol, coefficient] : result.terms)
    divide(coefficient);
  return result;
}

/// Where a buffer lies, as far as that is known before its memory is: elements [begin, end) of one of the arenas or of
/// the scalars.
struct Range {
  int space = -1;
  int64_t begin = 0, end = 0;
};

Range rangeOf(const Manifest &manifest, const Buffer &buffer) {
  constexpr int scalars = static_cast<int>(stateArenas);
  auto from = [&](int space, int64_t begin) { // a size that depends on symbols may reach anywhere
    return Range{space, begin,
                 buffer.size.terms.empty() ? begin + std::max<int64_t>(0, buffer.size.constant) : INT64_MAX};
  };
  switch (buffer.kind) {
  case BufferKind::Parameter:
    return from(static_cast<int>(StateArena::Parameters), manifest.findTensor(buffer.tensor)->offset);
  case BufferKind::Gradient:
    return from(static_cast<int>(StateArena::Gradients), manifest.findTensor(buffer.tensor)->offset);
  case BufferKind::State:
    return from(static_cast<int>(buffer.arena), buffer.begin);
  case BufferKind::Scalars:
    return from(scalars, buffer.begin);
  default:
    return {};
  }
}

class LaunchCheck {
public:
  LaunchCheck(const Manifest &manifest, const Kernel &kernel, const EntryPlan &plan, const Command &command,
              const std::string &where)
      : manifest(manifest), kernel(kernel), plan(plan), command(command), where(where) {}

  void run() const {
    if (command.args.size() != kernel.args.size())
      fail(where, ": kernel '", kernel.name, "' takes ", kernel.args.size(), " buffers, but got ", command.args.size());
    if (command.reductions.size() != kernel.reductions.size())
      fail(where, ": kernel '", kernel.name, "' has ", kernel.reductions.size(), " reductions, but got ",
           command.reductions.size());
    for (size_t i = 0; i < command.args.size(); ++i)
      checkSize(i);
    for (size_t i = 0; i < command.args.size(); ++i)
      if (kernel.args[i].written)
        checkWritten(i);
    for (size_t i = 0; i < command.reductions.size(); ++i)
      checkReduction(i);
  }

private:
  const Buffer &argument(size_t i) const { return plan.buffers[command.args[i]]; }
  const Buffer &rootOf(const Buffer &buffer) const {
    return buffer.kind == BufferKind::Window ? plan.buffers[buffer.base] : buffer;
  }
  std::string text(size_t i) const {
    return concat(where, ": argument ", i, " of kernel '", kernel.name, "', buffer ", argument(i).id);
  }

  void checkSize(size_t i) const {
    const KernelArgument &wanted = kernel.args[i];
    const Buffer &buffer = argument(i);
    const std::string what = text(i);
    if (buffer.dtype != wanted.dtype)
      fail(what, ": expected type ", name(wanted.dtype), ", but got ", name(buffer.dtype));
    auto need = [&](const Affine &rows) {
      if (!holds(buffer.size, rows, wanted.elements, what))
        fail(what, ": expected room for ", wanted.elements, " elements in each of ", rows.text(), " rows, but it has ",
             buffer.size.text(), " elements");
    };
    Affine count;
    count.constant = 1;
    if (!wanted.token && !wanted.position && !wanted.vocabulary && !wanted.tokensPerRow)
      need(count);
    if (wanted.token)
      need(command.rows);
    if (wanted.tokensPerRow)
      need(divided(command.rows, wanted.tokensPerRow, what));
    if (wanted.position)
      need(command.ints.at(kernel.lengthIndex()));
    count.constant = manifest.vocabSize;
    if (wanted.vocabulary)
      need(count);
  }

  /// Whether `a`, which is written, may share memory with `b`. Temporaries that are alive together never do, nor do the
  /// caller's tensors.
  bool overlap(const Buffer &mine, const Buffer &other) const {
    const Buffer &a = rootOf(mine), &b = rootOf(other);
    if (&a == &b)
      return true;
    if (a.kind == BufferKind::Arena || a.kind == BufferKind::Partials || b.kind == BufferKind::Arena)
      return false;
    if (a.kind == BufferKind::Output) { // slices, as fractions of the tensor
      using Wide = unsigned __int128;
      return b.kind == BufferKind::Output && a.tensor == b.tensor &&
             Wide(a.slice) * b.slices < Wide(b.slice + 1) * a.slices &&
             Wide(b.slice) * a.slices < Wide(a.slice + 1) * b.slices;
    }
    Range x = rangeOf(manifest, a), y = rangeOf(manifest, b);
    return x.space >= 0 && x.space == y.space && x.begin < y.end && y.begin < x.end;
  }

  /// Element by element over the same memory: a kernel may do that if it reads each element before it writes it.
  bool updates(size_t input, size_t output) const {
    const KernelArgument &from = kernel.args[input], &to = kernel.args[output];
    const Buffer &a = rootOf(argument(input)), &b = rootOf(argument(output));
    Range x = rangeOf(manifest, a), y = rangeOf(manifest, b);
    bool same = &a == &b || (x.space >= 0 && x.space == y.space && x.begin == y.begin && x.end == y.end);
    return kernel.elementwise && same && !from.written && from.token && to.token && from.elements == to.elements;
  }

  static void checkKind(const Buffer &buffer, const std::string &what) {
    if (buffer.kind == BufferKind::Input || buffer.kind == BufferKind::Parameter || buffer.kind == BufferKind::Constant)
      fail(what, ": it is written, and cannot be an input, a parameter or a constant");
  }

  void checkWritten(size_t i) const {
    const Buffer &buffer = argument(i);
    checkKind(rootOf(buffer), text(i));
    if (buffer.dtype == DType::I32 || buffer.dtype == DType::I64)
      fail(text(i), ": only split_tokens writes token ids");
    for (size_t other = 0; other < command.args.size(); ++other)
      if (other != i && overlap(buffer, argument(other)) && !updates(other, i))
        fail(text(i), ": it is written, and cannot lie in the memory of argument ", other);
    for (const Reduction &reduction : command.reductions)
      if (overlap(buffer, plan.buffers[reduction.partial]) || overlap(buffer, plan.buffers[reduction.out]))
        fail(text(i), ": it is written, and cannot lie in the memory of a reduction");
  }

  void checkReduction(size_t i) const {
    const KernelArgument &wanted = kernel.reductions[i];
    const Buffer &partial = plan.buffers[command.reductions[i].partial];
    const std::string what = concat(where, ": reduction ", i, " of kernel '", kernel.name, "', buffer ", partial.id);
    checkKind(plan.buffers[command.reductions[i].out], what + ": its sum");
    if (partial.dtype != wanted.dtype)
      fail(what, ": expected type ", name(wanted.dtype), ", but got ", name(partial.dtype));
    // Not more either: partials lie one after another.
    if (!partial.size.terms.empty() || partial.size.constant != wanted.elements)
      fail(what, ": expected ", wanted.elements, " elements, but got ", partial.size.text());
    size_t index = command.reductions[i].partial;
    size_t uses = std::count(command.args.begin(), command.args.end(), index);
    for (const Reduction &other : command.reductions)
      uses += (other.partial == index) + (other.out == index);
    if (uses != 1)
      fail(what, ": it is used by something else, too");
  }

  const Manifest &manifest;
  const Kernel &kernel;
  const EntryPlan &plan;
  const Command &command;
  const std::string &where;
};

} // namespace

void checkLaunch(const Manifest &manifest, const Kernel &kernel, const EntryPlan &plan, const Command &command,
                 const std::string &where) {
  LaunchCheck(manifest, kernel, plan, command, where).run();
}

} // namespace mhcrt
