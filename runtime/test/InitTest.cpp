#include "train/Init.h"
#include "Support.h"

#include <cmath>

using namespace mhcrt;
using namespace mhcrt::test;

namespace {

std::vector<float> draw(ModelTensor tensor, int64_t seed, int threads = 1) {
  tensor.count = 1;
  for (int64_t dimension : tensor.shape)
    tensor.count *= dimension;
  std::vector<float> values(tensor.count);
  ThreadPool pool(threads);
  initialValues(tensor, seed, pool, values.data());
  return values;
}

ModelTensor normal(const char *name, std::vector<int64_t> shape, double std) {
  ModelTensor tensor;
  tensor.name = name;
  tensor.shape = std::move(shape);
  tensor.init.kind = Initial::Kind::Normal;
  tensor.init.value = std;
  return tensor;
}

} // namespace

TEST(Init, DependsOnSeedAndNameOnly) {
  auto tensor = normal("a", {301, 77}, 0.02);
  auto values = draw(tensor, 7);
  EXPECT_EQ(values, draw(tensor, 7, 4));
  EXPECT_NE(values, draw(tensor, 8));
  EXPECT_NE(values, draw(normal("b", {301, 77}, 0.02), 7));
}

TEST(Init, HasTheDistribution) {
  auto values = draw(normal("a", {1000, 200}, 0.02), 1);
  double sum = 0, squares = 0, fourth = 0, lag = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    double x = values[i] / 0.02;
    sum += x, squares += x * x, fourth += x * x * x * x;
    if (i)
      lag += x * values[i - 1] / 0.02;
  }
  double n = values.size();
  EXPECT_NEAR(sum / n, 0, 0.01);
  EXPECT_NEAR(squares / n, 1, 0.015);
  EXPECT_NEAR(fourth / n, 3, 0.12);
  EXPECT_NEAR(lag / n, 0, 0.01);

  ModelTensor uniform = normal("a", {1000, 100}, 0.5);
  uniform.init.kind = Initial::Kind::Uniform;
  squares = 0;
  for (float x : draw(uniform, 1)) {
    EXPECT_LE(std::fabs(x), 0.5f);
    squares += double(x) * x;
  }
  EXPECT_NEAR(squares / 100000, 0.25 / 3, 0.001);
}

TEST(Init, StackedSlicesAreTensorsOfTheirOwn) {
  auto stacked = normal("a", {3, 50}, 1);
  stacked.init.stacked = true;
  auto values = draw(stacked, 5);
  EXPECT_EQ(std::vector<float>(values.begin() + 50, values.begin() + 100), draw(normal("a.1", {50}, 1), 5));
}
