#include <mhc/Package/Allocator.h>

#include <gtest/gtest.h>

#include <random>

using mhc::ArenaRequest;

namespace {

bool conflict(const ArenaRequest &a, const ArenaRequest &b) { return a.first <= b.last && b.first <= a.last; }

/// The definition, word by word: for each buffer in order, try every multiple of 256 from 0.
std::vector<uint64_t> slowly(const std::vector<ArenaRequest> &requests) {
  std::vector<size_t> order(requests.size());
  for (size_t i = 0; i < order.size(); ++i)
    order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return requests[a].bytes != requests[b].bytes ? requests[a].bytes > requests[b].bytes
                                                  : requests[a].id < requests[b].id;
  });
  std::vector<uint64_t> offsets(requests.size());
  std::vector<size_t> placed;
  for (size_t index : order) {
    if (!requests[index].bytes)
      continue;
    for (uint64_t offset = 0;; offset += 256) {
      bool free = true;
      for (size_t other : placed)
        free &= !conflict(requests[index], requests[other]) || offsets[other] >= offset + requests[index].bytes ||
                offset >= offsets[other] + requests[other].bytes;
      if (free) {
        offsets[index] = offset;
        break;
      }
    }
    placed.push_back(index);
  }
  return offsets;
}

} // namespace

TEST(Allocator, AgreesWithTheDefinition) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<ArenaRequest> requests;
    int count = random() % 40;
    for (int i = 0; i < count; ++i) {
      int64_t first = random() % 20;
      requests.push_back({int64_t(random() % 1000) * 100 + i, random() % 4 ? random() % 5000 : 0, first,
                          first + int64_t(random() % 8)});
    }
    mhc::ArenaLayout layout;
    ASSERT_TRUE(mhc::placeArena(requests, layout));
    EXPECT_EQ(layout.offsets, slowly(requests));
    uint64_t end = 0;
    for (size_t i = 0; i < requests.size(); ++i)
      if (requests[i].bytes)
        end = std::max(end, layout.offsets[i] + requests[i].bytes);
    EXPECT_EQ(layout.bytes, end);
  }
}

TEST(Allocator, RefusesSizesThatWrap) {
  mhc::ArenaLayout layout;
  EXPECT_FALSE(mhc::placeArena({{0, UINT64_MAX, 0, 1}}, layout));
  EXPECT_FALSE(mhc::placeArena({{0, UINT64_MAX / 2, 0, 1}, {1, UINT64_MAX / 2, 0, 1}, {2, 256, 0, 1}}, layout));
}

TEST(RowBlocks, CutsRowsByTheirNumberOnly) {
  EXPECT_EQ(mhc::cpuRowBlocks(0, 16, true).count, 0);
  auto check = [](int64_t rows, int64_t tile, bool reduces, int64_t size, int64_t count) {
    mhc::RowBlocks blocks = mhc::cpuRowBlocks(rows, tile, reduces);
    EXPECT_EQ(blocks.size, size) << rows << " " << tile;
    EXPECT_EQ(blocks.count, count) << rows << " " << tile;
  };
  check(1, 16, true, 16, 1);
  check(64, 16, true, 64, 1);
  check(65, 16, true, 48, 2); // two partials: ceil(65 / 2) = 33, rounded up to 48
  check(4096, 16, true, 256, 16);
  check(4097, 16, true, 272, 16); // ceil(4097 / 16) = 257 -> 272; 16 blocks of it are needed
  check(1000, 100, true, 100, 10);
  check(1000, 128, true, 128, 8);
  check(130, 16, false, 64, 3);
  check(130, 48, false, 96, 2);
  EXPECT_EQ(mhc::gpuGrid(0, 16, false), 0);
  EXPECT_EQ(mhc::gpuGrid(17, 16, false), 2);
  EXPECT_EQ(mhc::gpuGrid(1 << 20, 16, false), 1024);
  EXPECT_EQ(mhc::gpuGrid(1 << 20, 16, true), 128);
}
