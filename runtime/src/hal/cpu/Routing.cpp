//===- Routing.cpp - dispatch, and counts of experts ----------------------===//
#include "hal/cpu/CpuDevice.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace mhcrt {

void CpuDevice::dispatch(const DispatchArgs &args) {
  const int64_t slots = args.tokens * args.choices;
  std::fill(args.counts, args.counts + args.experts, 0);
  auto isChoice = [&](int32_t expert) { return expert >= 0 && expert < args.experts; };
  for (int64_t i = 0; i < slots; ++i) {
    if (args.index[i] < -1)
      fail("route: the router's logits of token ", i / args.choices, " are not finite, or its selection bias");
    if (isChoice(args.index[i]))
      ++args.counts[args.index[i]];
  }
  int32_t most = INT32_MAX;
  if (args.capacity > 0 && slots > 0) {
    const int64_t choices = std::accumulate(args.counts, args.counts + args.experts, int64_t(0)) / args.tokens;
    const double each = std::ceil(args.capacity * static_cast<double>(args.tokens) * static_cast<double>(choices) / static_cast<double>(args.experts));
    most = static_cast<int32_t>(std::min<double>(each, INT32_MAX));
  }
  std::vector<int32_t> next(args.experts), end(args.experts);
  int32_t offset = 0, dropped = 0;
  for (int64_t e = 0; e < args.experts; ++e) {
    const int32_t taken = std::min(args.counts[e], most);
    dropped += args.counts[e] - taken;
    args.offsets[e] = next[e] = offset;
    end[e] = offset += taken;
  }
  args.offsets[args.experts] = offset;
  if (args.dropped)
    *args.dropped = dropped;
  for (int64_t i = 0; i < slots; ++i) {
    int32_t expert = args.index[i];
    if (!isChoice(expert) || next[expert] == end[expert]) {
      args.reverse[i] = -1;
      continue;
    }
    int32_t slot = next[expert]++;
    args.reverse[i] = slot;
    args.order[slot] = static_cast<int32_t>(i);
    args.gather[slot] = static_cast<int32_t>(i / args.choices);
  }
  std::fill(args.gather + offset, args.gather + slots, 0);
  std::fill(args.order + offset, args.order + slots, 0);
}

void CpuDevice::expertLoad(const ExpertLoadArgs &args) {
  int64_t sum = 0;
  for (int64_t e = 0; e < args.experts; ++e)
    sum += args.total[e] = (args.previous ? args.previous[e] : 0) + args.counts[e];
  auto divide = [&](auto *share) {
    using T = std::remove_pointer_t<decltype(share)>;
    for (int64_t e = 0; e < args.experts; ++e)
      share[e] = sum ? static_cast<T>(static_cast<double>(args.total[e]) / static_cast<double>(sum)) : T(0);
  };
  args.typeShare == DType::F64 ? divide(static_cast<double *>(args.share)) : divide(static_cast<float *>(args.share));
}

void CpuDevice::sequenceLoad(const SequenceLoadArgs &args) {
  auto each = [&](auto *share) {
    using T = std::remove_pointer_t<decltype(share)>;
    threads.run(args.sequences, [&](int64_t b) {
      std::vector<int64_t> counts(args.experts);
      const int32_t *index = args.index + b * args.length * args.choices;
      int64_t sum = 0;
      for (int64_t i = 0; i < args.length * args.choices; ++i)
        if (index[i] >= 0 && index[i] < args.experts) {
          ++counts[index[i]];
          ++sum;
        }
      for (int64_t e = 0; e < args.experts; ++e)
        share[b * args.experts + e] = sum ? static_cast<T>(static_cast<double>(counts[e]) / static_cast<double>(sum)) : T(0);
    });
  };
  args.typeShare == DType::F64 ? each(static_cast<double *>(args.share)) : each(static_cast<float *>(args.share));
}

void CpuDevice::updateBias(const UpdateBiasArgs &args) {
  const bool skip = args.factor && *args.factor < 0;
  auto count = [&](int64_t i) -> int64_t {
    return args.typeCounts == DType::I64 ? static_cast<const int64_t *>(args.counts)[i] : static_cast<const int32_t *>(args.counts)[i];
  };
  auto update = [&](const auto *bias, auto *out) {
    using T = std::remove_pointer_t<decltype(out)>;
    for (int64_t r = 0; r < args.rows; ++r) {
      int64_t sum = 0;
      for (int64_t e = 0; e < args.experts; ++e)
        sum += count(r * args.experts + e);
      for (int64_t e = 0; e < args.experts; ++e) {
        int64_t i = r * args.experts + e, difference = sum - args.experts * count(i);
        T step = static_cast<T>(args.rate) * static_cast<T>((difference > 0) - (difference < 0));
        out[i] = skip ? bias[i] : bias[i] + step;
      }
    }
  };
  if (args.type == DType::F64)
    update(static_cast<const double *>(args.bias), static_cast<double *>(args.out));
  else
    update(static_cast<const float *>(args.bias), static_cast<float *>(args.out));
}

} // namespace mhcrt
