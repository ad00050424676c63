#include "Support.h"

#include <cmath>

using namespace mhcrt;
using namespace mhcrt::test;

namespace {

struct Operand {
  std::vector<float> values; // what is multiplied, after rounding to the type
  std::vector<uint16_t> narrow;
  DType type;
  Operand(std::mt19937 &random, size_t count, DType type) : values(randomFloats(random, count)), type(type) {
    if (type == DType::BF16) {
      narrow = test::toBf16(values);
      for (size_t i = 0; i < count; ++i)
        values[i] = fromBf16(narrow[i]);
    }
  }
  const void *data() const { return type == DType::BF16 ? (const void *)narrow.data() : values.data(); }
  void *data() { return type == DType::BF16 ? (void *)narrow.data() : values.data(); }
  float at(size_t i) const { return type == DType::BF16 ? fromBf16(narrow[i]) : values[i]; }
};

} // namespace

TEST(Gemm, AgreesWithTheDefinition) {
  std::mt19937 random(2);
  auto device = plainDevice(3);
  const int64_t sizes[][3] = {{1, 1, 1},    {7, 5, 3},     {64, 64, 64}, {130, 67, 33},
                              {1, 300, 17}, {257, 3, 129}, {5, 4, 0}};
  for (auto [m, n, k] : sizes)
    for (int bits = 0; bits < 8; ++bits)
      for (DType type : {DType::F32, DType::BF16}) {
        bool transA = bits & 1, transB = bits & 2, accumulate = bits & 4;
        Operand a(random, m * k, type), b(random, k * n, DType::F32), c(random, m * n, type);
        Operand before = c;
        device->gemm({m, n, k, a.data(), b.data(), c.data(), a.type, b.type, c.type, transA, transB, accumulate});
        for (int64_t i = 0; i < m; ++i)
          for (int64_t j = 0; j < n; ++j) {
            double sum = accumulate ? before.at(i * n + j) : 0, size = std::fabs(sum);
            for (int64_t p = 0; p < k; ++p) {
              double term = double(a.at(transA ? p * m + i : i * k + p)) * b.at(transB ? j * k + p : p * n + j);
              sum += term;
              size += std::fabs(term);
            }
            double tolerance = 1e-6 * size + (type == DType::BF16 ? std::fabs(sum) / 256 : 0);
            ASSERT_NEAR(c.at(i * n + j), sum, tolerance) << m << " " << n << " " << k << " bits " << bits;
          }
      }
}

TEST(Gemm, Fp64) {
  std::mt19937 random(3);
  auto device = plainDevice(2);
  const int64_t m = 70, n = 90, k = 50;
  std::vector<double> a(m * k), b(k * n), c(m * n, 1);
  std::normal_distribution<double> normal;
  for (auto *list : {&a, &b})
    for (double &value : *list)
      value = normal(random);
  device->gemm({m, n, k, a.data(), b.data(), c.data(), DType::F64, DType::F64, DType::F64, false, true, true});
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = 1;
      for (int64_t p = 0; p < k; ++p)
        sum += a[i * k + p] * b[j * k + p];
      ASSERT_NEAR(c[i * n + j], sum, 1e-12);
    }
}

TEST(Gemm, SameBitsForAnyNumberOfThreads) {
  std::mt19937 random(4);
  const int64_t m = 333, n = 517, k = 211;
  std::vector<float> a = randomFloats(random, m * k), b = randomFloats(random, k * n);
  std::vector<float> first;
  for (int threads : {1, 2, 3, 7}) {
    std::vector<float> c(m * n);
    plainDevice(threads)->gemm({m, n, k, a.data(), b.data(), c.data()});
    if (first.empty())
      first = c;
    EXPECT_EQ(std::memcmp(first.data(), c.data(), c.size() * 4), 0) << threads;
  }
}
