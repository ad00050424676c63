//===- TokenOps.cpp - split_tokens and embedding_backward ------------------===//
#include "hal/cpu/CpuDevice.h"

#include <mhc/Package/Allocator.h>

#include <algorithm>

namespace mhcrt {

void CpuDevice::splitTokens(const SplitTokensArgs &args) {
  int64_t used = args.targets ? args.columns - 1 : args.columns; // positions that the model sees
  for (int64_t row = 0; row < args.rows; ++row)
    for (int64_t column = 0; column < args.columns; ++column) {
      int32_t token = args.tokens[row * args.columns + column];
      if (token < 0 || token >= args.vocab)
        fail("tokens: expected token ids from 0 to ", args.vocab - 1, ", but got ", token, " in row ",
             args.firstRow + row, ", column ", column);
      if (column < used)
        args.inputs[row * used + column] = token;
      if (args.targets && column > 0)
        args.targets[row * used + column - 1] = token;
    }
}

namespace {

template <typename In, typename Out, typename Widen>
void sumRows(ThreadPool &pool, const EmbeddingBackwardArgs &args, const std::vector<int64_t> &order,
             const std::vector<int64_t> &begin, Widen &&widen) {
  const In *dx = static_cast<const In *>(args.dx);
  Out *out = static_cast<Out *>(args.out);
  constexpr int64_t rowsPerTask = 64;
  pool.run(mhc::ceilDivide(args.vocab, rowsPerTask), [&](int64_t task) {
    int64_t end = std::min(args.vocab, (task + 1) * rowsPerTask);
    for (int64_t token = task * rowsPerTask; token < end; ++token) {
      Out *row = out + token * args.channels;
      if (!args.accumulate)
        std::fill(row, row + args.channels, Out(0));
      for (int64_t i = begin[token]; i < begin[token + 1]; ++i) {
        const In *from = dx + order[i] * args.channels;
        for (int64_t c = 0; c < args.channels; ++c)
          row[c] += widen(from[c]);
      }
    }
  });
}

} // namespace

void CpuDevice::embeddingBackward(const EmbeddingBackwardArgs &args) {
  // A stable counting sort: order[begin[v] .. begin[v + 1]) are the positions of token v, ascending.
  std::vector<int64_t> begin(args.vocab + 1), order(args.count);
  for (int64_t t = 0; t < args.count; ++t) {
    int32_t token = args.tokens[t];
    if (token < 0 || token >= args.vocab)
      fail("embedding_backward: token ", token, " at position ", t, " is outside the vocabulary");
    ++begin[token + 1];
  }
  for (int64_t v = 0; v < args.vocab; ++v)
    begin[v + 1] += begin[v];
  std::vector<int64_t> next(begin.begin(), begin.end() - 1);
  for (int64_t t = 0; t < args.count; ++t)
    order[next[args.tokens[t]]++] = t;

  if (args.typeOut == DType::F64)
    sumRows<double, double>(threads, args, order, begin, [](double x) { return x; });
  else if (args.typeDx == DType::F32)
    sumRows<float, float>(threads, args, order, begin, [](float x) { return x; });
  else
    sumRows<uint16_t, float>(threads, args, order, begin, [](uint16_t x) { return fromBf16(x); });
}

} // namespace mhcrt
