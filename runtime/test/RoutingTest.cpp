//===- RoutingTest.cpp - dispatch on the CPU ------------------------------===//
#include "SortedChoices.h"
#include "Support.h"

#include <algorithm>

using namespace mhcrt;
using namespace mhcrt::test;

namespace {

class CpuRouting : public testing::TestWithParam<int> {
protected:
  void SetUp() override {
    std::string target;
    device = openDevice("cpu", package, GetParam(), target);
  }
  Package package = openPackage(makePackage(exampleManifest(), examplePlan()));
  std::unique_ptr<Device> device;
  std::mt19937 random{21};
};

} // namespace

TEST_P(CpuRouting, SortChoices) {
  struct Case {
    int64_t tokens, choices, experts, capacity;
    int32_t least, most; ///< of the choices
  };
  for (Case c : {Case{0, 3, 4, 0, 0, 3}, Case{1, 1, 1, 0, 0, 0}, Case{700, 6, 64, 0, 0, 63}, Case{300, 2, 72, 0, 71, 71},
                 Case{411, 4, 63, 0, -1, 66}, Case{300, 4, 9, 20, 0, 8}, Case{100, 7, 500, 0, 0, 499},
                 Case{300, 2, 72, 5, 71, 71}, Case{64, 2, 4, 1, 0, 3}, Case{64, 2, 4, 128, 0, 3}}) {
    const int64_t count = c.tokens * c.choices;
    Indices index(count);
    for (int32_t &choice : index)
      choice = std::uniform_int_distribution<int32_t>(c.least, c.most)(random);
    auto room = [](int64_t size) { return Indices(size, -77); };
    Indices counts = room(c.experts), offsets = room(c.experts + 1), gather = room(count), order = room(count),
            reverse = room(count), dropped = room(1);
    DispatchArgs args{index.data(),   counts.data(), offsets.data(), gather.data(), order.data(), reverse.data(),
                      dropped.data(), c.tokens,      c.choices,      c.experts};
    if (c.capacity) // of every expert between c.capacity - 1 and c.capacity
      args.capacity = (static_cast<double>(c.capacity) - 0.5) * static_cast<double>(c.experts) / static_cast<double>(count);
    device->dispatch(args);
    Sorted want(index, c.choices, c.experts, c.capacity);
    EXPECT_EQ(counts, want.counts);
    EXPECT_EQ(offsets, want.offsets);
    EXPECT_EQ(gather, want.gather);
    EXPECT_EQ(order, want.order);
    EXPECT_EQ(reverse, want.reverse);
    EXPECT_EQ(dropped, want.dropped);
    // Who counts what is dropped may not care to know.
    args.dropped = nullptr;
    std::fill(reverse.begin(), reverse.end(), -77);
    device->dispatch(args);
    EXPECT_EQ(reverse, want.reverse);
  }
}

TEST_P(CpuRouting, FirstTokensAreKept) {
  // Two of each expert: the third and fourth choice of expert 1 and the third of expert 0 are dropped.
  Indices index = {1, 0, 1, 2, 0, 1, 1, 0}, counts(3), offsets(4), gather(8), order(8), reverse(8), dropped(1);
  DispatchArgs args{index.data(), counts.data(), offsets.data(), gather.data(), order.data(), reverse.data(), dropped.data(), 4, 2, 3};
  args.capacity = 0.6; // ceil(0.6 * 8 / 3) = 2
  device->dispatch(args);
  EXPECT_EQ(counts, Indices({3, 4, 1}));
  EXPECT_EQ(offsets, Indices({0, 2, 4, 5}));
  EXPECT_EQ(reverse, Indices({2, 0, 3, 4, 1, -1, -1, -1}));
  EXPECT_EQ(gather, Indices({0, 2, 0, 1, 1, 0, 0, 0}));
  EXPECT_EQ(order, Indices({1, 4, 0, 2, 3, 0, 0, 0}));
  EXPECT_EQ(dropped, Indices({3}));
}

TEST_P(CpuRouting, NotFinite) {
  Indices index = {0, 1, -2, 0}, counts(2), offsets(3), gather(4), order(4), reverse(4), dropped(1);
  DispatchArgs args{index.data(), counts.data(), offsets.data(), gather.data(), order.data(), reverse.data(), dropped.data(), 2, 2, 2};
  EXPECT_ERROR(device->dispatch(args), "route: the router's logits of token 1 are not finite");
}

INSTANTIATE_TEST_SUITE_P(Threads, CpuRouting, testing::Values(1, 2));
