//===- SortedChoices.h - what dispatch is to make ---------------*- C++ -*-===//
#ifndef MHCRT_TEST_SORTEDCHOICES_H
#define MHCRT_TEST_SORTEDCHOICES_H

#include <cstddef>
#include <cstdint>
#include <vector>

namespace mhcrt::test {

using Indices = std::vector<int32_t>;

/// What dispatch makes of choices, expert by expert and choice by choice; capacity: of every expert, 0: any number.
struct Sorted {
  Sorted(const Indices &index, int64_t choices, int64_t experts, int64_t capacity)
      : counts(experts), offsets(1), gather(index.size()), order(index.size()), reverse(index.size(), -1) {
    int32_t slots = 0;
    for (int64_t e = 0; e < experts; ++e) {
      for (std::size_t place = 0; place < index.size(); ++place)
        if (index[place] == e && (counts[e]++ < capacity || capacity == 0)) {
          gather[slots] = static_cast<int32_t>(place / choices);
          order[slots] = static_cast<int32_t>(place);
          reverse[place] = slots++;
        }
      offsets.push_back(slots);
      dropped[0] += counts[e];
    }
    dropped[0] -= slots;
  }
  Indices counts, offsets, gather, order, reverse, dropped = {0};
};

} // namespace mhcrt::test

#endif
