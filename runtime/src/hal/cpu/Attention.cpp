//===- Attention.cpp - causal attention, forward and backward --------------===//
//
// Blocks of 64 queries against all keys that they see, so that a whole row of the softmax is at hand: no running
// maxima, and backward recomputes the probabilities the same way instead of trusting a rounded log-sum-exp.
// Everything between the operands and the results is in T (fp32, or fp64 for f64 buffers).
//
//===----------------------------------------------------------------------===//
#include "hal/cpu/Blas.h"
#include "hal/cpu/CpuDevice.h"

#include <mhc/Package/Allocator.h>

#include <algorithm>
#include <cmath>
#include <type_traits>

namespace mhcrt {
namespace {

constexpr int64_t blockRows = 64;

/// The operands widened to T, and the results before rounding (or in place where no rounding is needed).
template <typename T> struct Operands {
  const T *q, *k, *v, *dout;
  int64_t length, headDim, valueDim, strideQ, strideK, strideV, strideOut; // strides between tokens
  T scale;
};

/// probabilities [rows, keys] of queries first .. first + rows of one head; keys = first + rows. Also log-sum-exps.
template <typename T>
void softmaxBlock(const Operands<T> &o, const T *q, const T *k, int64_t first, int64_t rows, T *probabilities, T *lse) {
  int64_t keys = first + rows;
  blas::gemm(false, true, rows, keys, o.headDim, o.scale, q + first * o.strideQ, o.strideQ, k, o.strideK, T(0),
             probabilities, keys);
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
      thread_local std::vector<T> probabilities, result, lse;
      probabilities.resize(rows * keys);
      result.resize(rows * args.valueDim);
      lse.resize(rows);
      softmaxBlock(o, o.q + start * o.strideQ + head * args.headDim,
                   o.k + start * o.strideK + head / group * args.headDim, first, rows, probabilities.data(),
                   lse.data());
      blas::gemm(false, false, rows, args.valueDim, keys, T(1), probabilities.data(), keys,
                 o.v + start * o.strideV + head / group * args.valueDim, o.strideV, T(0), result.data(), args.valueDim);
      for (int64_t i = 0; i < rows; ++i) {
        int64_t token = start + first + i;
        for (int64_t d = 0; d < args.valueDim; ++d)
          store(args.out, token * o.strideOut + head * args.valueDim + d, result[i * args.valueDim + d]);
        if (args.lseType == DType::F64)
          static_cast<double *>(args.lse)[token * args.heads + head] = lse[i];
        else
          static_cast<float *>(args.lse)[token * args.heads + head] = static_cast<float>(lse[i]);
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
    thread_local std::vector<T> probabilities, dScores, lse, dq, dk, dv;
    dk.assign(args.length * args.headDim, 0);
    dv.assign(args.length * args.valueDim, 0);
    for (int64_t head = kvHead * group; head < (kvHead + 1) * group; ++head) {
      const T *q = o.q + start * o.strideQ + head * args.headDim;
      const T *dout = o.dout + start * o.strideOut + head * args.valueDim;
      for (int64_t first = 0; first < args.length; first += blockRows) {
        int64_t rows = std::min(blockRows, args.length - first), keys = first + rows;
        probabilities.resize(rows * keys);
        dScores.resize(rows * keys);
        lse.resize(rows);
        dq.resize(rows * args.headDim);
        softmaxBlock(o, q, k, first, rows, probabilities.data(), lse.data());
        const T *doutBlock = dout + first * o.strideOut;
        // dv += P^T dout;  dP = dout v^T;  dS = scale P (dP - sum_j P dP);  dq = dS k;  dk += dS^T q
        blas::gemm(true, false, keys, args.valueDim, rows, T(1), probabilities.data(), keys, doutBlock, o.strideOut,
                   T(1), dv.data(), args.valueDim);
        blas::gemm(false, true, rows, keys, args.valueDim, T(1), doutBlock, o.strideOut, v, o.strideV, T(0),
                   dScores.data(), keys);
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
        blas::gemm(false, false, rows, args.headDim, keys, T(1), dScores.data(), keys, k, o.strideK, T(0), dq.data(),
                   args.headDim);
        blas::gemm(true, false, keys, args.headDim, rows, T(1), dScores.data(), keys, q + first * o.strideQ, o.strideQ,
                   T(1), dk.data(), args.headDim);
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
