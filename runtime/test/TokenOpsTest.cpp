#include "Support.h"

using namespace mhcrt;
using namespace mhcrt::test;

TEST(SplitTokens, CutsInputsAndTargets) {
  auto device = plainDevice(1);
  std::vector<int32_t> tokens = {1, 2, 3, 4, 5, 6}, inputs(6, -1), targets(4, -1);
  device->splitTokens({tokens.data(), inputs.data(), targets.data(), 2, 3, 7, 0});
  EXPECT_EQ(std::vector<int32_t>(inputs.begin(), inputs.begin() + 4), (std::vector<int32_t>{1, 2, 4, 5}));
  EXPECT_EQ(targets, (std::vector<int32_t>{2, 3, 5, 6}));
  device->splitTokens({tokens.data(), inputs.data(), nullptr, 2, 3, 7, 0});
  EXPECT_EQ(inputs, tokens);
}

TEST(SplitTokens, NamesRowColumnAndToken) {
  auto device = plainDevice(1);
  std::vector<int32_t> tokens = {1, 2, 3, 4, 5, 6}, inputs(6), targets(4);
  SplitTokensArgs args{tokens.data(), inputs.data(), targets.data(), 2, 3, 6, 4};
  EXPECT_ERROR(device->splitTokens(args), "tokens: expected token ids from 0 to 5, but got 6 in row 5, column 2");
  tokens = {1, -1, 3, 4, 5, 5};
  EXPECT_ERROR(device->splitTokens(args), "but got -1 in row 4, column 1");
}

TEST(EmbeddingBackward, SumsInTheOrderOfTheTokens) {
  std::mt19937 random(12);
  const int64_t count = 500, channels = 7, vocab = 90;
  std::vector<int32_t> tokens(count);
  for (int32_t &token : tokens)
    token = random() % 20 == 0 ? 89 : random() % 40; // most tokens of the vocabulary never occur
  for (bool narrow : {false, true})
    for (bool accumulate : {false, true}) {
      std::vector<float> dx = randomFloats(random, count * channels), before = randomFloats(random, vocab * channels);
      auto bits = test::toBf16(dx);
      std::vector<float> want = accumulate ? before : std::vector<float>(before.size());
      for (int64_t t = 0; t < count; ++t)
        for (int64_t c = 0; c < channels; ++c)
          want[tokens[t] * channels + c] += narrow ? fromBf16(bits[t * channels + c]) : dx[t * channels + c];
      for (int threads : {1, 3}) {
        std::vector<float> out = before;
        EmbeddingBackwardArgs args;
        args.tokens = tokens.data();
        args.dx = narrow ? (const void *)bits.data() : dx.data();
        args.typeDx = narrow ? DType::BF16 : DType::F32;
        args.out = out.data();
        args.count = count, args.channels = channels, args.vocab = vocab, args.accumulate = accumulate;
        plainDevice(threads)->embeddingBackward(args);
        EXPECT_EQ(out, want);
      }
    }
}

TEST(Elementwise, FillAddCopy) {
  auto device = plainDevice(2);
  std::vector<float> a(200000), b(200000, 2);
  device->fill(a.data(), DType::F32, a.size(), 1.5);
  device->add(a.data(), b.data(), DType::F32, a.size());
  EXPECT_EQ(a, std::vector<float>(a.size(), 3.5f));
  device->copy(b.data(), a.data(), a.size() * 4);
  EXPECT_EQ(b, a);
  std::vector<uint16_t> c(3);
  device->fill(c.data(), DType::BF16, 3, 1);
  EXPECT_EQ(c, std::vector<uint16_t>(3, 0x3f80));
  std::vector<int64_t> d(3);
  device->fill(d.data(), DType::I64, 3, -2);
  EXPECT_EQ(d, std::vector<int64_t>(3, -2));
}
