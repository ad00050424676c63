#include "Support.h"

#include <cmath>

using namespace mhcrt;
using namespace mhcrt::test;

namespace {

struct Problem {
  int64_t sequences, length, heads, kvHeads, headDim, valueDim;
  double scale;
  int64_t tokens() const { return sequences * length; }
};

/// The definition, in fp64, one row at a time. Values are those of the operands.
template <typename T>
std::vector<double> reference(const Problem &p, const std::vector<T> &q, const std::vector<T> &k,
                              const std::vector<T> &v) {
  std::vector<double> out(p.tokens() * p.heads * p.valueDim);
  for (int64_t s = 0; s < p.sequences; ++s)
    for (int64_t h = 0; h < p.heads; ++h)
      for (int64_t i = 0; i < p.length; ++i) {
        int64_t shared = h / (p.heads / p.kvHeads), row = s * p.length + i;
        std::vector<double> weight;
        double sum = 0;
        for (int64_t j = 0; j <= i; ++j) {
          double score = 0;
          for (int64_t d = 0; d < p.headDim; ++d)
            score += double(q[(row * p.heads + h) * p.headDim + d]) *
                     k[((s * p.length + j) * p.kvHeads + shared) * p.headDim + d];
          weight.push_back(std::exp(p.scale * score));
          sum += weight.back();
        }
        for (int64_t j = 0; j <= i; ++j)
          for (int64_t d = 0; d < p.valueDim; ++d)
            out[(row * p.heads + h) * p.valueDim + d] +=
                weight[j] / sum * v[((s * p.length + j) * p.kvHeads + shared) * p.valueDim + d];
      }
  return out;
}

template <typename T> struct Tensors {
  std::vector<T> q, k, v, out, dout, dq, dk, dv, lse;
  Tensors(const Problem &p, std::mt19937 &random) {
    std::normal_distribution<double> normal;
    auto draw = [&](int64_t count) {
      std::vector<T> values(count);
      for (T &value : values)
        value = static_cast<T>(normal(random));
      return values;
    };
    q = draw(p.tokens() * p.heads * p.headDim);
    k = draw(p.tokens() * p.kvHeads * p.headDim);
    v = draw(p.tokens() * p.kvHeads * p.valueDim);
    dout = draw(p.tokens() * p.heads * p.valueDim);
    out.assign(dout.size(), NAN), lse.assign(p.tokens() * p.heads, NAN);
    dq.assign(q.size(), NAN), dk.assign(k.size(), NAN), dv.assign(v.size(), NAN);
  }
  AttentionArgs args(const Problem &p) {
    AttentionArgs a;
    a.q = q.data(), a.k = k.data(), a.v = v.data(), a.out = out.data(), a.lse = lse.data();
    a.dout = dout.data(), a.dq = dq.data(), a.dk = dk.data(), a.dv = dv.data();
    a.type = a.lseType = sizeof(T) == 8 ? DType::F64 : DType::F32;
    a.sequences = p.sequences, a.length = p.length, a.heads = p.heads, a.kvHeads = p.kvHeads;
    a.headDim = p.headDim, a.valueDim = p.valueDim, a.scale = p.scale;
    return a;
  }
};

const Problem problems[] = {
    {2, 9, 4, 2, 8, 8, 0.35}, {1, 130, 3, 1, 16, 12, 0.25}, {3, 1, 2, 2, 4, 6, 0.5}, {2, 65, 6, 3, 5, 7, 0.4}};

} // namespace

TEST(Attention, ForwardAgreesWithTheDefinition) {
  std::mt19937 random(5);
  auto device = plainDevice(2);
  for (const Problem &p : problems) {
    Tensors<float> t(p, random);
    device->attention(t.args(p));
    std::vector<double> want = reference(p, t.q, t.k, t.v);
    for (size_t i = 0; i < want.size(); ++i)
      ASSERT_NEAR(t.out[i], want[i], 5e-6);
    Tensors<double> wide(p, random);
    device->attention(wide.args(p));
    want = reference(p, wide.q, wide.k, wide.v);
    for (size_t i = 0; i < want.size(); ++i)
      ASSERT_NEAR(wide.out[i], want[i], 1e-13);
  }
}

TEST(Attention, RoundsBf16Once) {
  std::mt19937 random(6);
  Problem p{2, 33, 4, 2, 8, 8, 0.35};
  Tensors<float> t(p, random);
  auto q = test::toBf16(t.q), k = test::toBf16(t.k), v = test::toBf16(t.v);
  std::vector<uint16_t> out(t.out.size());
  for (auto [wide, narrow] : {std::pair(&t.q, &q), std::pair(&t.k, &k), std::pair(&t.v, &v)})
    for (size_t i = 0; i < wide->size(); ++i)
      (*wide)[i] = fromBf16((*narrow)[i]);
  AttentionArgs args = t.args(p);
  args.q = q.data(), args.k = k.data(), args.v = v.data(), args.out = out.data(), args.type = DType::BF16;
  auto device = plainDevice(1);
  device->attention(args);
  std::vector<double> want = reference(p, t.q, t.k, t.v);
  int off = 0;
  for (size_t i = 0; i < want.size(); ++i)
    off += out[i] != mhcrt::toBf16(static_cast<float>(want[i]));
  EXPECT_LT(off, int(want.size() / 100)); // only where fp32 lies on the other side of a tie
}

TEST(Attention, BackwardAgreesWithFiniteDifferences) {
  std::mt19937 random(7);
  auto device = plainDevice(2);
  for (const Problem &p : problems) {
    Tensors<double> t(p, random);
    device->attention(t.args(p));
    device->attentionBackward(t.args(p));
    auto objective = [&] {
      std::vector<double> out = reference(p, t.q, t.k, t.v);
      double sum = 0;
      for (size_t i = 0; i < out.size(); ++i)
        sum += out[i] * t.dout[i];
      return sum;
    };
    struct {
      std::vector<double> *value, *gradient;
    } pairs[] = {{&t.q, &t.dq}, {&t.k, &t.dk}, {&t.v, &t.dv}};
    for (auto [value, gradient] : pairs)
      for (int sample = 0; sample < 12; ++sample) {
        size_t i = random() % value->size();
        const double step = 1e-5, kept = (*value)[i];
        (*value)[i] = kept + step;
        double above = objective();
        (*value)[i] = kept - step;
        double below = objective();
        (*value)[i] = kept;
        ASSERT_NEAR((*gradient)[i], (above - below) / (2 * step), 1e-7);
      }
    // fp32 against fp64, every element.
    Tensors<float> narrow(p, random);
    std::copy(t.q.begin(), t.q.end(), narrow.q.begin());
    std::copy(t.k.begin(), t.k.end(), narrow.k.begin());
    std::copy(t.v.begin(), t.v.end(), narrow.v.begin());
    std::copy(t.dout.begin(), t.dout.end(), narrow.dout.begin());
    device->attention(narrow.args(p));
    device->attentionBackward(narrow.args(p));
    for (size_t i = 0; i < t.dq.size(); ++i)
      ASSERT_NEAR(narrow.dq[i], t.dq[i], 3e-5);
    for (size_t i = 0; i < t.dk.size(); ++i)
      ASSERT_NEAR(narrow.dk[i], t.dk[i], 3e-5);
    for (size_t i = 0; i < t.dv.size(); ++i)
      ASSERT_NEAR(narrow.dv[i], t.dv[i], 3e-5);
  }
}

TEST(Attention, SameBitsForAnyNumberOfThreads) {
  std::mt19937 random(8);
  Problem p{3, 150, 6, 3, 16, 16, 0.25};
  Tensors<float> first(p, random);
  plainDevice(1)->attention(first.args(p));
  plainDevice(1)->attentionBackward(first.args(p));
  for (int threads : {2, 5}) {
    Tensors<float> t = first;
    for (auto *result : {&t.out, &t.dq, &t.dk, &t.dv})
      std::fill(result->begin(), result->end(), NAN);
    auto device = plainDevice(threads);
    device->attention(t.args(p));
    device->attentionBackward(t.args(p));
    EXPECT_EQ(t.out, first.out);
    EXPECT_EQ(t.dq, first.dq);
    EXPECT_EQ(t.dk, first.dk);
    EXPECT_EQ(t.dv, first.dv);
  }
}

TEST(Attention, BackwardTakesTheLogSumExpsThatForwardKept) {
  std::mt19937 random(10);
  Problem p{1, 70, 2, 1, 8, 8, 0.3};
  Tensors<float> t(p, random);
  auto device = plainDevice(1);
  device->attention(t.args(p));
  device->attentionBackward(t.args(p));
  std::vector<float> dv = t.dv;
  const float two = std::log(2.0f);
  for (float &value : t.lse)
    value += two; // half of every probability, and dv is linear in them
  device->attentionBackward(t.args(p));
  for (size_t i = 0; i < dv.size(); ++i)
    ASSERT_NEAR(t.dv[i], dv[i] / 2, 1e-5);
}

/// What a token must not see leaves no trace, a NaN neither; what it sees does.
TEST(Attention, MaskedTokensLeaveNoTrace) {
  std::mt19937 random(11);
  auto device = plainDevice(2);
  const Problem p{2, 100, 2, 1, 8, 8, 0.3};
  Tensors<float> clean(p, random);
  device->attention(clean.args(p));
  device->attentionBackward(clean.args(p));
  // Rows of `a` and `b` from token `from` of the first sequence to `to`, bit for bit.
  auto same = [&](const std::vector<float> &a, const std::vector<float> &b, int64_t from, int64_t to) {
    size_t row = a.size() / p.tokens();
    return std::memcmp(a.data() + from * row, b.data() + from * row, (to - from) * row * sizeof(float)) == 0;
  };
  auto spoil = [&](std::vector<float> &values, int64_t token, float value) {
    size_t row = values.size() / p.tokens();
    values[token * row + 1] = value;
  };
  for (float bad : {NAN, INFINITY})
    for (int64_t j : {0, 3, 63, 64, 77, 99}) {
      // Keys and values: earlier queries do not see them.
      for (auto which : {&Tensors<float>::k, &Tensors<float>::v}) {
        Tensors<float> t = clean;
        spoil(t.*which, j, bad);
        device->attention(t.args(p));
        device->attentionBackward(t.args(p));
        EXPECT_TRUE(same(t.out, clean.out, 0, j)) << j;
        EXPECT_TRUE(same(t.lse, clean.lse, 0, j)) << j;
        EXPECT_TRUE(same(t.dq, clean.dq, 0, j)) << j;
        EXPECT_TRUE(same(t.out, clean.out, p.length, p.tokens())) << "the other sequence";
        EXPECT_TRUE(same(t.dv, clean.dv, p.length, p.tokens())) << "the other sequence";
        size_t row = t.out.size() / p.tokens();
        bool visible = which == &Tensors<float>::v || std::isnan(bad); // a score of -inf is the end of its key
        for (int64_t i = j; visible && i < p.length; ++i)
          EXPECT_FALSE(std::isfinite(t.out[i * row + 1])) << i << " sees " << j;
      }
      // Queries and what comes back to them: later keys are not seen by them, other queries have no part in them.
      for (auto which : {&Tensors<float>::q, &Tensors<float>::dout}) {
        Tensors<float> t = clean;
        spoil(t.*which, j, bad);
        device->attention(t.args(p));
        device->attentionBackward(t.args(p));
        EXPECT_TRUE(same(t.dk, clean.dk, j + 1, p.tokens())) << j;
        EXPECT_TRUE(same(t.dv, clean.dv, j + 1, p.tokens())) << j;
        EXPECT_TRUE(same(t.dq, clean.dq, 0, j) && same(t.dq, clean.dq, j + 1, p.tokens())) << j;
        size_t row = t.dv.size() / p.tokens();
        for (int64_t i = 0; i <= j; ++i)
          EXPECT_FALSE(std::isfinite(t.dv[i * row + 1])) << i << " is seen by " << j;
      }
    }
}

TEST(Attention, EmptyIsNothing) {
  std::mt19937 random(9);
  Problem p{0, 7, 2, 1, 4, 4, 1};
  Tensors<float> t(p, random);
  auto device = plainDevice(2);
  device->attention(t.args(p));
  device->attentionBackward(t.args(p));
}
