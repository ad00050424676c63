//===- Attention.cpp - causal attention, forward and backward --------------===//
//
// Blocks of 64 queries against all keys that they see, so that a whole row of the softmax is at hand: no running
// maxima. Backward takes the probabilities from the log-sum-exps that forward has kept.
// Everything between the operands and the results is in T (fp32, or fp64 for f64 buffers).
//
// The last keys of a block are later than some of its queries. Their probabilities are zeros in the matrix products,
// which is nothing only where the other factor is finite: see MaskedOperand.
//
//===----------------------------------------------------------------------===//
#include "hal/cpu/Blas.h"
#include "hal/cpu/CpuDevice.h"

#include <mhc/Package/Allocator.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

namespace mhcrt {
namespace {

constexpr int64_t blockRows = 64;

/// The operands widened to T, and the results before rounding (or in place where no rounding is needed).
template <typename T> struct Operands {
  const T *q, *k, *v, *dout;
  int64_t length, headDim, valueDim, strideQ, strideK, strideV, strideOut; // strides between tokens
  T scale;
};

/// scores [rows, keys] of queries first .. first + rows of one head; keys = first + rows.
template <typename T>
void scoresBlock(const Operands<T> &o, const T *q, const T *k, int64_t first, int64_t rows, T *scores) {
  blas::gemm(false, true, rows, first + rows, o.headDim, o.scale, q + first * o.strideQ, o.strideQ, k, o.strideK, T(0),
             scores, first + rows);
}

/// Scores to probabilities, zeros where a key is masked. Also log-sum-exps.
template <typename T> void softmaxBlock(int64_t first, int64_t rows, T *probabilities, T *lse) {
  int64_t keys = first + rows;
  for (int64_t i = 0; i < rows; ++i) {
    T *row = probabilities + i * keys;
    int64_t seen = first + i + 1;
    T largest = row[0];
    for (int64_t j = 1; j < seen; ++j)
      largest = std::max(largest, row[j]);
    T sum = 0;
    for (int64_t j = 0; j < seen; ++j) {
      row[j] = std::exp(row[j] - largest);
      sum += row[j];
    }
    T inverse = T(1) / sum;
    for (int64_t j = 0; j < seen; ++j)
      row[j] *= inverse;
    std::fill(row + seen, row + keys, T(0));
    lse[i] = largest + std::log(sum);
  }
}

/// The same from the log-sum-exps that softmaxBlock gave; lse(i) is that of query first + i.
template <typename T, typename Lse>
void probabilitiesBlock(int64_t first, int64_t rows, const Lse &lse, T *probabilities) {
  int64_t keys = first + rows;
  for (int64_t i = 0; i < rows; ++i) {
    T *row = probabilities + i * keys, shift = lse(i);
    for (int64_t j = 0; j <= first + i; ++j)
      row[j] = std::exp(row[j] - shift);
    std::fill(row + first + i + 1, row + keys, T(0));
  }
}

/// A factor [count, width] of a product over tokens with a masked matrix. A NaN or infinity in it would spread through
/// the mask's zeros to tokens that must not see it (0 * NaN is NaN). So the product is taken without such elements, and
/// they are added afterwards where they are seen. Without any, which is the rule, this is the operand itself.
template <typename T> class MaskedOperand {
public:
  /// Looks at the tokens from `begin` on, those that the mask tells apart.
  MaskedOperand(const T *operand, int64_t stride, int64_t begin, int64_t count, int64_t width)
      : operand(operand), stride(stride), width(width) {
    for (int64_t token = begin; token < count; ++token) {
      const T *row = operand + token * stride;
      int bad = 0; // counted, not left early: this loop is vectorized
      for (int64_t d = 0; d < width; ++d)
        bad += !(std::abs(row[d]) <= std::numeric_limits<T>::max());
      if (bad)
        tokens.push_back(token);
    }
    if (tokens.empty())
      return;
    copy.resize(count * width);
    for (int64_t token = 0; token < count; ++token)
      std::copy_n(operand + token * stride, width, copy.data() + token * width);
    for (int64_t token : tokens)
      for (int64_t d = 0; d < width; ++d)
        if (T &value = copy[token * width + d]; !std::isfinite(value))
          value = 0;
  }

  const T *data() const { return tokens.empty() ? operand : copy.data(); }
  int64_t leading() const { return tokens.empty() ? stride : width; }

  /// result(t)[d] += factor(t, token) * operand[token][d] for what was left out, and each t of the range seen(token).
  template <typename Factor, typename Range, typename Row>
  void addTheRest(const Factor &factor, const Range &seen, const Row &result) const {
    for (int64_t token : tokens)
      for (auto [t, end] = seen(token); t < end; ++t)
        for (int64_t d = 0; d < width; ++d)
          if (T value = operand[token * stride + d]; !std::isfinite(value))
            result(t)[d] += factor(t, token) * value;
  }

private:
  const T *operand;
  int64_t stride, width;
  std::vector<int64_t> tokens; // that hold such elements
  std::vector<T> copy;
};

} // namespace

template <typename T> void CpuDevice::attentionTyped(const AttentionArgs &args, bool backward) {
  const int64_t tokens = args.sequences * args.length, group = args.heads / args.kvHeads;
  const int64_t countQ = tokens * args.heads * args.headDim, countK = tokens * args.kvHeads * args.headDim;
  const int64_t countV = tokens * args.kvHeads * args.valueDim, countOut = tokens * args.heads * args.valueDim;
  if (tokens == 0)
    return;
  auto operand = [&](const void *data, int64_t count, int slot) -> const T * {
    if constexpr (std::is_same_v<T, float>)
      return widened(data, args.type, count, slot);
    return static_cast<const T *>(data);
  };
  auto lse = [&](int64_t at) -> T {
    return args.lseType == DType::F64 ? static_cast<T>(static_cast<const double *>(args.lse)[at])
                                      : static_cast<T>(static_cast<const float *>(args.lse)[at]);
  };
  const bool round = args.type == DType::BF16;
  auto store = [&](void *result, int64_t at, T value) {
    if (round)
      static_cast<uint16_t *>(result)[at] = toBf16(static_cast<float>(value));
    else
      static_cast<T *>(result)[at] = value;
  };

  Operands<T> o;
  o.q = operand(args.q, countQ, 0);
  o.k = operand(args.k, countK, 1);
  o.v = operand(args.v, countV, 2);
  o.dout = backward ? operand(args.dout, countOut, 3) : nullptr;
  o.length = args.length;
  o.headDim = args.headDim;
  o.valueDim = args.valueDim;
  o.strideQ = args.heads * args.headDim;
  o.strideK = args.kvHeads * args.headDim;
  o.strideV = args.kvHeads * args.valueDim;
  o.strideOut = args.heads * args.valueDim;
  o.scale = static_cast<T>(args.scale);
  const int64_t blocks = mhc::ceilDivide(args.length, blockRows);

  if (!backward) {
    // Every block of queries is a task of its own; the last blocks see most keys, so they start first.
    threads.run(args.sequences * args.heads * blocks, [&](int64_t task) {
      int64_t block = blocks - 1 - task / (args.sequences * args.heads);
      int64_t head = task % args.heads, start = task / args.heads % args.sequences * args.length;
      int64_t first = block * blockRows, rows = std::min(blockRows, args.length - first), keys = first + rows;
      thread_local std::vector<T> probabilities, result, logSums;
      probabilities.resize(rows * keys);
      result.resize(rows * args.valueDim);
      logSums.resize(rows);
      scoresBlock(o, o.q + start * o.strideQ + head * args.headDim,
                  o.k + start * o.strideK + head / group * args.headDim, first, rows, probabilities.data());
      softmaxBlock(first, rows, probabilities.data(), logSums.data());
      MaskedOperand<T> v(o.v + start * o.strideV + head / group * args.valueDim, o.strideV, first, keys, args.valueDim);
      blas::gemm(false, false, rows, args.valueDim, keys, T(1), probabilities.data(), keys, v.data(), v.leading(), T(0),
                 result.data(), args.valueDim);
      v.addTheRest([&](int64_t i, int64_t key) { return probabilities[i * keys + key]; },
                   [&](int64_t key) { return std::pair(key - first, rows); }, // queries from the key's own on
                   [&](int64_t i) { return result.data() + i * args.valueDim; });
      for (int64_t i = 0; i < rows; ++i) {
        int64_t token = start + first + i;
        for (int64_t d = 0; d < args.valueDim; ++d)
          store(args.out, token * o.strideOut + head * args.valueDim + d, result[i * args.valueDim + d]);
        if (args.lseType == DType::F64)
          static_cast<double *>(args.lse)[token * args.heads + head] = logSums[i];
        else
          static_cast<float *>(args.lse)[token * args.heads + head] = static_cast<float>(logSums[i]);
      }
    });
    return;
  }

  // One task a sequence and key-value head: dk and dv of a shared head are summed by one thread, in the order of the
  // query heads and their blocks.
  threads.run(args.sequences * args.kvHeads, [&](int64_t task) {
    int64_t kvHead = task % args.kvHeads, start = task / args.kvHeads * args.length;
    const T *k = o.k + start * o.strideK + kvHead * args.headDim;
    const T *v = o.v + start * o.strideV + kvHead * args.valueDim;
    thread_local std::vector<T> probabilities, dScores, dq, dk, dv;
    dk.assign(args.length * args.headDim, 0);
    dv.assign(args.length * args.valueDim, 0);
    for (int64_t head = kvHead * group; head < (kvHead + 1) * group; ++head) {
      const T *q = o.q + start * o.strideQ + head * args.headDim;
      const T *dout = o.dout + start * o.strideOut + head * args.valueDim;
      for (int64_t first = 0; first < args.length; first += blockRows) {
        int64_t rows = std::min(blockRows, args.length - first), keys = first + rows;
        probabilities.resize(rows * keys);
        dScores.resize(rows * keys);
        dq.resize(rows * args.headDim);
        scoresBlock(o, q, k, first, rows, probabilities.data());
        probabilitiesBlock(
            first, rows, [&](int64_t i) { return lse((start + first + i) * args.heads + head); }, probabilities.data());
        auto P = [&](int64_t i, int64_t key) { return probabilities[i * keys + key]; };
        auto dS = [&](int64_t i, int64_t key) { return dScores[i * keys + key]; };
        auto keysOf = [&](int64_t i) { return std::pair(int64_t(0), first + i + 1); }; // of a query of the block
        auto queriesOf = [&](int64_t key) { return std::pair(key - first, rows); };    // of a key of the block
        // dv += P^T dout;  dP = dout v^T;  dS = scale P (dP - sum_j P dP);  dq = dS k;  dk += dS^T q
        MaskedOperand<T> doutBlock(dout + first * o.strideOut, o.strideOut, 0, rows, args.valueDim);
        blas::gemm(true, false, keys, args.valueDim, rows, T(1), probabilities.data(), keys, doutBlock.data(),
                   doutBlock.leading(), T(1), dv.data(), args.valueDim);
        doutBlock.addTheRest([&](int64_t key, int64_t i) { return P(i, key); }, keysOf,
                             [&](int64_t key) { return dv.data() + key * args.valueDim; });
        blas::gemm(false, true, rows, keys, args.valueDim, T(1), dout + first * o.strideOut, o.strideOut, v, o.strideV,
                   T(0), dScores.data(), keys);
        for (int64_t i = 0; i < rows; ++i) {
          const T *p = probabilities.data() + i * keys;
          T *ds = dScores.data() + i * keys;
          int64_t seen = first + i + 1;
          T mean = 0;
          for (int64_t j = 0; j < seen; ++j)
            mean += p[j] * ds[j];
          for (int64_t j = 0; j < seen; ++j)
            ds[j] = o.scale * p[j] * (ds[j] - mean);
          std::fill(ds + seen, ds + keys, T(0)); // masked, whatever dout v^T is there
        }
        MaskedOperand<T> kBlock(k, o.strideK, first, keys, args.headDim);
        blas::gemm(false, false, rows, args.headDim, keys, T(1), dScores.data(), keys, kBlock.data(), kBlock.leading(),
                   T(0), dq.data(), args.headDim);
        kBlock.addTheRest(dS, queriesOf, [&](int64_t i) { return dq.data() + i * args.headDim; });
        MaskedOperand<T> qBlock(q + first * o.strideQ, o.strideQ, 0, rows, args.headDim);
        blas::gemm(true, false, keys, args.headDim, rows, T(1), dScores.data(), keys, qBlock.data(), qBlock.leading(),
                   T(1), dk.data(), args.headDim);
        qBlock.addTheRest([&](int64_t key, int64_t i) { return dS(i, key); }, keysOf,
                          [&](int64_t key) { return dk.data() + key * args.headDim; });
        for (int64_t i = 0; i < rows; ++i)
          for (int64_t d = 0; d < args.headDim; ++d)
            store(args.dq, (start + first + i) * o.strideQ + head * args.headDim + d, dq[i * args.headDim + d]);
      }
    }
    for (int64_t t = 0; t < args.length; ++t) {
      for (int64_t d = 0; d < args.headDim; ++d)
        store(args.dk, (start + t) * o.strideK + kvHead * args.headDim + d, dk[t * args.headDim + d]);
      for (int64_t d = 0; d < args.valueDim; ++d)
        store(args.dv, (start + t) * o.strideV + kvHead * args.valueDim + d, dv[t * args.valueDim + d]);
    }
  });
}

void CpuDevice::attention(const AttentionArgs &args) {
  args.type == DType::F64 ? attentionTyped<double>(args, false) : attentionTyped<float>(args, false);
}

void CpuDevice::attentionBackward(const AttentionArgs &args) {
  args.type == DType::F64 ? attentionTyped<double>(args, true) : attentionTyped<float>(args, true);
}

} // namespace mhcrt
