//===- MhcRoutingRows.cpp - how the ops of mixtures of experts compute a row -===//
//
// A token's E logits are a wide row. Each of its k choices is two reductions over it, the highest value and the lowest expert that has it, so that any E and k go through the phases that
// all kernels have (docs/design/routing.md).
//
//===----------------------------------------------------------------------===//

#include "mhc/Dialect/Mhc/IR/MhcOps.h"
#include "mhc/Dialect/Mhc/IR/MhcRowOps.h"

#include "ScalarBuilder.h"

using namespace mlir;
using namespace mlir::mhc;

namespace {
using Scalar = ScalarBuilder;
constexpr int64_t phaseSlot = 20, scaleSlot = 3; // of the step's scalars
constexpr double infinity = std::numeric_limits<double>::infinity();

Scalar scalar(RowContext &c, OpBuilder &b, Location loc) { return {b, loc, c.compute}; }
WideType wideOf(Value v) { return cast<WideType>(v.getType()); }
Type unrounded(RowContext &c, Value v) { return c.wide(wideOf(v).getStreams(), wideOf(v).getChannels()); }

using MapCode = function_ref<Value(Scalar, ValueRange)>;
Value map(RowContext &c, ValueRange inputs, Type type, MapCode code) {
  return c.map(inputs, type, [&](OpBuilder &b, Location l, ValueRange v) { return code(scalar(c, b, l), v); });
}
/// Narrow code with one result of one element.
Value narrow(RowContext &c, ValueRange inputs, MapCode code) {
  return c.narrowCode(inputs, c.narrow({1}), [&](OpBuilder &b, Location l, ValueRange v) { return SmallVector<Value>{code(scalar(c, b, l), v)}; })[0];
}
Value compare(Scalar s, arith::CmpFPredicate predicate, Value x, Value y) { return arith::CmpFOp::create(s.b, s.loc, predicate, x, y); }
Value both(Scalar s, Value x, Value y) { return arith::AndIOp::create(s.b, s.loc, x, y); }
Value either(Scalar s, Value x, Value y) { return arith::OrIOp::create(s.b, s.loc, x, y); }
Value integer(Scalar s, int64_t value) { return arith::ConstantOp::create(s.b, s.loc, s.b.getI32IntegerAttr(value)); }
Value sameInteger(Scalar s, Value x, Value y) { return arith::CmpIOp::create(s.b, s.loc, arith::CmpIPredicate::eq, x, y); }
/// The channel's number in its stream.
Value channel(Scalar s) { return RowChannelOp::create(s.b, s.loc, s.b.getI32Type()); }
Value channelFloat(Scalar s) { return arith::SIToFPOp::create(s.b, s.loc, s.type, channel(s)); }

Value reduceMax(RowContext &c, Value value, int64_t groups) { return RowReduceOp::create(c.builder, c.loc, c.narrow({groups}), ReduceKind::max, value); }
/// A vector of static shape, as a row of so many streams that is the same for all tokens.
Value vectorOf(RowContext &c, Value value, int64_t streams = 1) {
  auto type = cast<ShapedType>(value.getType());
  Type row = WideType::get(value.getContext(), streams, type.getNumElements() / streams, type.getElementType());
  return RowLoadOp::create(c.builder, c.loc, row, Access::uniform, c.parameter(value), Value(), 1, false);
}
Value numberOf(RowContext &c, Value value) { return c.uniform(value, NarrowType::get(value.getContext(), {1}, cast<ShapedType>(value.getType()).getElementType())); }

/// log(1 + e^z) without overflow, and with its small values for very negative z.
Value softplus(Scalar s, Value z) { return s.add(s.max(z, s.constant(0)), s.log1p(s.exp(s.neg(s.abs(z))))); }

/// softmax(z / tau) over the whole row.
struct Softmax {
  Value top, sum; ///< the highest logit, and the sum of exp((z - top) / tau)
  double tau;
  Softmax(RowContext &c, Value z, double tau = 1) : top(reduceMax(c, z, 1)), tau(tau) {
    Value e = map(c, {z, top}, unrounded(c, z), [&](Scalar s, ValueRange v) { return power(s, v[0], v[1]); });
    sum = c.reduceAdd(e, 1);
  }
  Value power(Scalar s, Value z, Value top) const {
    Value x = s.sub(z, top);
    return s.exp(tau == 1 ? x : s.div(x, s.constant(tau)));
  }
  Value probability(Scalar s, Value z, Value top, Value sum) const { return s.div(power(s, z, top), sum); }
  Value probabilities(RowContext &c, Value z) const {
    return map(c, {z, top, sum}, unrounded(c, z), [&](Scalar s, ValueRange v) { return probability(s, v[0], v[1], v[2]); });
  }
};

bool needsSoftmax(Score score) { return score == Score::softmax_before_topk; }
/// s of one logit; `v`: the logit, then what Softmax has, where the score needs it.
Value scoreOf(Scalar s, Score score, ValueRange v, const std::optional<Softmax> &softmax) {
  switch (score) {
  case Score::softmax_before_topk:
    return softmax->probability(s, v[0], v[1], v[2]);
  case Score::softmax_after_topk:
    return v[0];
  case Score::sigmoid:
    return s.sigmoid(v[0]);
  case Score::sqrt_softplus:
    return s.sqrt(softplus(s, v[0]));
  }
  llvm_unreachable("scores are above");
}

/// Of the chosen experts' logits `z`: g and the weights, which forward and backward must compute alike. `top`: what Softmax has, where the score needs it. `open`: which choices there
/// are in the present phase; empty: all.
struct Gates {
  SmallVector<Value> g, weight;
  template <typename Op> Gates(Scalar s, Op op, ValueRange z, ValueRange top, const std::optional<Softmax> &softmax, ArrayRef<Value> open) {
    const bool after = op.getScore() == Score::softmax_after_topk;
    auto among = [&](size_t j, Value value, double otherwise) { return open.empty() ? value : s.select(open[j], value, s.constant(otherwise)); };
    Value highest; // with a bias the first need not be the highest
    for (auto [j, each] : llvm::enumerate(z))
      highest = highest ? s.max(highest, among(j, each, -infinity)) : among(j, each, -infinity);
    for (auto [j, each] : llvm::enumerate(z)) {
      SmallVector<Value> of{each};
      llvm::append_range(of, top);
      g.push_back(among(j, after ? s.exp(s.sub(each, highest)) : scoreOf(s, op.getScore(), of, softmax), 0));
    }
    if (after || op.getNormalize()) {
      Value sum = s.sum(g);
      if (!after)
        sum = s.add(sum, s.constant(1e-20));
      for (Value &each : g)
        each = s.div(each, sum);
    }
    const double scale = op.getScale().convertToDouble();
    for (Value each : g) {
      Value a = op.getSqrtGate() ? s.sqrt(each) : each;
      weight.push_back(scale == 1 ? a : s.mul(a, s.constant(scale)));
    }
  }
};

/// The element `j` of a narrow value.
Value pick(RowContext &c, Value value, int64_t j) {
  Type element = cast<NarrowType>(value.getType()).getElementType();
  if (element.isF32() || element.isF64())
    element = c.compute;
  return c.narrowCode(value, NarrowType::get(value.getContext(), {1}, element), [&](OpBuilder &, Location, ValueRange v) { return SmallVector<Value>{v[j]}; })[0];
}
} // namespace

//===----------------------------------------------------------------------===//
// route
//===----------------------------------------------------------------------===//

namespace {
/// The choice of experts, on the logits as [groups, E/groups]. `limit`: the number of choices in the present phase, null where it is always the same.
class Chooser {
public:
  Chooser(RowContext &c, RouteOp op, Value z, const std::optional<Softmax> &softmax, Value limit) : c(c), op(op), z(z), softmax(softmax), limit(limit), groups(wideOf(z).getStreams()), inGroup(wideOf(z).getChannels()) {
    SmallVector<double> first;
    for (int64_t g = 0; g < groups; ++g)
      first.push_back(g * inGroup);
    firsts = groups > 1 ? c.constantNarrow(first, {groups}) : Value();
    key = keys();
    if (groups > 1)
      maskGroups();
  }

  /// The next best expert: its number and its key.
  std::pair<Value, Value> next() {
    Value left = remaining(key, previous);
    Value best = reduceMax(c, left, 1);
    previous = {best, lowest(left, best, 1)};
    return {previous.index, previous.value};
  }

private:
  struct Place {
    Value value, index;
  };

  /// The expert's number, as a float (exact); `v` ends with the first number of its group where there are several.
  Value expert(Scalar s, ValueRange v) { return groups > 1 ? s.add(channelFloat(s), v.back()) : channelFloat(s); }
  SmallVector<Value> withFirsts(std::initializer_list<Value> values) {
    SmallVector<Value> all(values);
    if (groups > 1)
      all.push_back(firsts);
    return all;
  }

  /// What experts are compared by.
  Value keys() {
    Value bias = op.getBias();
    if (!bias && op.getGroups() == 1)
      return z;
    SmallVector<Value> inputs{z};
    if (softmax)
      inputs.append({softmax->top, softmax->sum});
    if (bias)
      inputs.push_back(vectorOf(c, bias, groups));
    return map(c, inputs, unrounded(c, z), [&](Scalar s, ValueRange v) {
      Value score = scoreOf(s, op.getScore(), v, softmax);
      return bias ? s.add(score, v.back()) : score;
    });
  }

  /// The keys that come after `taken` in the order of choice: lower, or equal with a higher number. The others are minus infinity. `taken` is one place, or one for each group.
  Value remaining(Value keys, const Place &taken) {
    if (!taken.value)
      return keys;
    return map(c, withFirsts({keys, taken.value, taken.index}), unrounded(c, keys), [&](Scalar s, ValueRange v) {
      Value later = either(s, s.less(v[0], v[1]), both(s, s.equal(v[0], v[1]), s.less(v[2], expert(s, v))));
      return s.select(later, v[0], s.constant(-infinity));
    });
  }

  /// The lowest number of an expert with key `best`.
  Value lowest(Value keys, Value best, int64_t count) {
    Value negated = map(c, withFirsts({keys, best}), unrounded(c, keys), [&](Scalar s, ValueRange v) {
      return s.select(s.equal(v[0], v[1]), s.neg(expert(s, v)), s.constant(-infinity));
    });
    return c.narrowCode(reduceMax(c, negated, count), c.narrow({count}), [&](OpBuilder &b, Location l, ValueRange v) {
      return llvm::map_to_vector<8>(v, [&](Value x) { return scalar(c, b, l).neg(x); });
    })[0];
  }

  /// Experts of groups that are not chosen get minus infinity.
  void maskGroups() {
    int64_t chosen = op.getChosen(), best = rowElements(op.getIndex().getType()) / chosen;
    SmallVector<Value> sums; // the best of each group, one after the other
    Place taken;
    for (int64_t i = 0; i < best; ++i) {
      Value left = remaining(key, taken);
      taken.value = reduceMax(c, left, groups);
      sums.push_back(taken.value);
      if (i + 1 < best)
        taken.index = lowest(left, taken.value, groups);
    }
    if (limit)
      sums.push_back(limit);
    Value mask = c.narrowCode(sums, c.narrow({groups}), [&](OpBuilder &b, Location l, ValueRange v) {
      Scalar s = scalar(c, b, l);
      // Of each group as many count as are chosen from a group in the present phase.
      auto counted = [&](int64_t i, int64_t g) {
        Value value = v[i * groups + g];
        return limit ? s.select(s.less(s.constant(i * chosen), v.back()), value, s.constant(0)) : value;
      };
      SmallVector<Value> score, kept(groups, s.constant(0));
      for (int64_t g = 0; g < groups; ++g) {
        Value sum = v[g];
        for (int64_t i = 1; i < best; ++i)
          sum = s.add(sum, counted(i, g));
        score.push_back(sum);
      }
      for (int64_t i = 0; i < chosen; ++i) {
        Value top = score[0];
        for (Value each : ArrayRef(score).drop_front())
          top = s.select(s.less(top, each), each, top);
        Value found = arith::ConstantOp::create(b, l, b.getBoolAttr(false));
        for (int64_t g = 0; g < groups; ++g) { // the first group with it
          Value is = both(s, s.equal(score[g], top), arith::XOrIOp::create(b, l, found, arith::ConstantOp::create(b, l, b.getBoolAttr(true))));
          found = either(s, found, is);
          kept[g] = s.select(is, s.constant(1), kept[g]);
          score[g] = s.select(is, s.constant(-infinity), score[g]);
        }
      }
      return kept;
    })[0];
    key = map(c, {key, mask}, unrounded(c, key), [&](Scalar s, ValueRange v) { return s.select(s.equal(v[1], s.constant(1)), v[0], s.constant(-infinity)); });
  }

  RowContext &c;
  RouteOp op;
  Value z;
  const std::optional<Softmax> &softmax;
  Value limit;
  int64_t groups, inGroup;
  Value firsts, key;
  Place previous;
};
} // namespace

/// Groups that are streams of the row. Groups of one expert each are chosen as experts are.
static int64_t streamsOf(RouteOp op) { return op.getGroupsAttr().getInt() == rowElements(op.getLogits().getType()) ? 1 : op.getGroupsAttr().getInt(); }

// A row that the kernel has just computed could not be seen as streams of groups.
OperandUse RouteOp::operandUse(unsigned index) { return index == 0 && streamsOf(*this) > 1 ? OperandUse::lookup : OperandUse::row; }

/// The number of choices in the present phase; that of the last one from there on.
static Value choicesOf(RowContext &c, ArrayRef<int64_t> phases, Value phase) {
  return c.narrowCode({phase}, c.narrow({1}), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    Value limit = s.constant(phases.back());
    for (int64_t p = (int64_t)phases.size() - 1; p-- > 0;)
      limit = s.select(s.less(v[0], s.constant(p + 0.5)), s.constant(phases[p]), limit);
    return SmallVector<Value>{limit};
  })[0];
}

void RouteOp::buildRow(RowContext &c) {
  int64_t k = rowElements(getIndex().getType()), groups = streamsOf(*this), experts = rowElements(getLogits().getType());
  Value z;
  if (groups > 1) {
    Type type = WideType::get(getContext(), groups, experts / groups, cast<ShapedType>(getLogits().getType()).getElementType());
    z = RowLoadOp::create(c.builder, c.loc, type, Access::row, c.parameter(getLogits()), Value(), 1, false);
  } else {
    z = c.input(getLogits());
  }
  std::optional<Softmax> softmax;
  if (needsSoftmax(getScore()))
    softmax.emplace(c, z);
  // A sum of z - z: NaN if a logit is not finite, or the bias.
  SmallVector<Value> checked{z};
  if (getBias())
    checked.push_back(vectorOf(c, getBias(), groups));
  SmallVector<Value> inputs{c.reduceAdd(map(c, checked, unrounded(c, z), [&](Scalar s, ValueRange v) {
    Value zero = s.sub(v[0], v[0]);
    return v.size() == 1 ? zero : s.add(zero, s.sub(v[1], v[1]));
  }), 1)};
  if (softmax)
    inputs.append({softmax->top, softmax->sum});
  Value limit;
  if (!getPhases().empty()) {
    Value phase = pick(c, c.uniform(getScalars(), NarrowType::get(getContext(), {64}, cast<ShapedType>(getScalars().getType()).getElementType())), phaseSlot);
    limit = choicesOf(c, getPhases(), phase);
    inputs.push_back(limit);
  }

  Chooser chooser(c, *this, z, softmax, limit);
  SmallVector<Value> chosen, logits;
  bool byLogits = !getBias() && getGroups() == 1;
  SmallVector<double> first;
  for (int64_t g = 0; g < groups; ++g)
    first.push_back(g * (experts / groups));
  for (int64_t j = 0; j < k; ++j) {
    auto [index, value] = chooser.next();
    chosen.push_back(index);
    if (byLogits) {
      logits.push_back(value);
      continue;
    }
    SmallVector<Value> operands{z, index};
    if (groups > 1)
      operands.push_back(c.constantNarrow(first, {groups}));
    Value only = map(c, operands, unrounded(c, z), [&](Scalar s, ValueRange v) {
      Value number = groups > 1 ? s.add(channelFloat(s), v[2]) : channelFloat(s);
      return s.select(s.equal(number, v[1]), v[0], s.constant(0));
    });
    logits.push_back(c.reduceAdd(only, 1));
  }
  size_t before = inputs.size();
  inputs.append(chosen);
  inputs.append(logits);
  Type types[] = {c.narrow({k}), NarrowType::get(getContext(), {k}, c.builder.getI32Type())};
  SmallVector<Value> results = c.narrowCode(inputs, types, [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    ValueRange index = v.slice(before, k), z = v.slice(before + k, k);
    Value zero = s.constant(0);
    SmallVector<Value> open;
    for (int64_t j = 0; limit && j < k; ++j)
      open.push_back(s.less(s.constant(j), v[before - 1]));
    SmallVector<Value> out = Gates(s, *this, z, softmax ? v.slice(1, 2) : ValueRange(), softmax, open).weight;
    Value finite = s.equal(v[0], zero);
    for (int64_t j = 0; j < k; ++j) {
      Value number = arith::FPToSIOp::create(b, l, b.getI32Type(), s.select(finite, index[j], zero));
      if (limit)
        number = s.select(open[j], number, integer(s, -1));
      out.push_back(s.select(finite, number, integer(s, -2)));
    }
    return out;
  });
  c.setResult(0, results[0]);
  c.setResult(1, results[1]);
}

void RouteVjpOp::buildRow(RowContext &c) {
  Value z = c.input(getLogits()), indices = c.input(getIndex()), da = c.input(getGradient());
  int64_t k = rowElements(getIndex().getType());
  Score score = getScore();
  bool normalized = getNormalize() || score == Score::softmax_after_topk;
  std::optional<Softmax> softmax;
  if (needsSoftmax(score))
    softmax.emplace(c, z);
  SmallVector<Value> index, logits, inputs{da, indices};
  if (softmax)
    inputs.append({softmax->top, softmax->sum});
  for (int64_t j = 0; j < k; ++j) {
    index.push_back(pick(c, indices, j));
    Value only = map(c, {z, index[j]}, unrounded(c, z), [&](Scalar s, ValueRange v) { return s.select(sameInteger(s, channel(s), v[1]), v[0], s.constant(0)); });
    logits.push_back(c.reduceAdd(only, 1));
  }
  inputs.append(logits);
  // For each choice the part that only chosen experts have; the sum of a da.
  SmallVector<Type> types(k + 1, c.narrow({1}));
  SmallVector<Value> parts = c.narrowCode(inputs, types, [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    ValueRange z = v.take_back(k);
    Value zero = s.constant(0);
    SmallVector<Value> open;
    for (int64_t j = 0; j < k; ++j)
      open.push_back(arith::CmpIOp::create(b, l, arith::CmpIPredicate::sge, v[k + j], integer(s, 0)));
    auto [g, weight] = Gates(s, *this, z, softmax ? v.slice(2 * k, 2) : ValueRange(), softmax, open);
    Value total;
    SmallVector<Value> product;
    for (int64_t j = 0; j < k; ++j) {
      product.push_back(s.select(open[j], s.mul(weight[j], v[j]), zero));
      total = total ? s.add(total, product[j]) : product[j];
    }
    Value half = s.constant(getSqrtGate() ? 0.5 : 1.0);
    SmallVector<Value> out;
    for (int64_t j = 0; j < k; ++j) {
      Value part = normalized ? s.sub(product[j], s.mul(g[j], total)) : product[j];
      if (score == Score::sigmoid) {
        // 1 - sigmoid(z) = sigmoid(-z)
        part = s.mul(part, s.sigmoid(s.neg(z[j])));
      } else if (score == Score::sqrt_softplus) {
        // sigmoid(z) / softplus(z): both are e^z far below 0
        Value low = s.less(z[j], s.constant(-30)), safe = s.select(low, zero, z[j]);
        part = s.mul(part, s.mul(s.constant(0.5), s.select(low, s.constant(1), s.div(s.sigmoid(safe), softplus(s, safe)))));
      }
      out.push_back(s.mul(half, part));
    }
    out.push_back(s.mul(half, total));
    return out;
  });
  bool everywhere = softmax && !normalized;
  SmallVector<Value> operands{z};
  if (everywhere)
    operands.append({softmax->top, softmax->sum, parts[k]});
  size_t before = operands.size();
  for (int64_t j = 0; j < k; ++j)
    operands.append({index[j], parts[j]});
  c.setResult(0, map(c, operands, unrounded(c, z), [&](Scalar s, ValueRange v) {
    Value sum = s.constant(0);
    for (int64_t j = 0; j < k; ++j)
      sum = s.select(sameInteger(s, channel(s), v[before + 2 * j]), v[before + 2 * j + 1], sum); // no expert is chosen twice
    return everywhere ? s.sub(sum, s.mul(softmax->probability(s, v[0], v[1], v[2]), v[3])) : sum;
  }));
}

//===----------------------------------------------------------------------===//
// Balance
//===----------------------------------------------------------------------===//

OperandUse RouterStatisticsOp::operandUse(unsigned index) { return index == 0 ? OperandUse::row : OperandUse::lookup; }
OperandUse RouterStatisticsVjpOp::operandUse(unsigned index) { return index == 1 && getShares() ? OperandUse::lookup : OperandUse::row; }

/// The shares of the token's sequence.
static Value sharesOf(RowContext &c, Value shares, int64_t length) {
  return RowLoadOp::create(c.builder, c.loc, rowTypeOf(shares.getType()), Access::sequence, c.parameter(shares), Value(), length, false);
}
static void sumTokens(RowContext &c, Value value, unsigned result) { RowSumTokensOp::create(c.builder, c.loc, value, c.reduction(result)); }
static Value logSumExp(Scalar s, Value top, Value sum) { return s.add(top, s.log(sum)); }

void RouterStatisticsOp::buildRow(RowContext &c) {
  Value z = c.input(getLogits());
  sumTokens(c, narrow(c, {}, [](Scalar s, ValueRange) { return s.constant(1); }), 0);
  std::optional<Softmax> plain;
  auto softmax = [&]() -> const Softmax & {
    if (!plain)
      plain.emplace(c, z);
    return *plain;
  };
  unsigned result = 1;
  for (auto loss : getLosses().getAsRange<BalanceAttr>()) {
    switch (loss.getKind()) {
    case BalanceKind::switch_step:
      sumTokens(c, softmax().probabilities(c, z), result++);
      break;
    case BalanceKind::switch_sequence:
      sumTokens(c, c.dot(sharesOf(c, getShares(), getLength()), softmax().probabilities(c, z)), result++);
      break;
    case BalanceKind::top1: {
      Softmax sharp(c, z, loss.getTau().getValueAsDouble());
      sumTokens(c, sharp.probabilities(c, z), result++);
      sumTokens(c, narrow(c, sharp.sum, [](Scalar s, ValueRange v) { return s.div(s.constant(1), v[0]); }), result++);
      break;
    }
    case BalanceKind::z:
      sumTokens(c, narrow(c, {softmax().top, softmax().sum}, [](Scalar s, ValueRange v) {
                  Value lse = logSumExp(s, v[0], v[1]);
                  return s.mul(lse, lse);
                }), result++);
      break;
    }
  }
}

void RouterStatisticsVjpOp::buildRow(RowContext &c) {
  Value z = c.input(getLogits());
  Type type = unrounded(c, z);
  Softmax plain(c, z);
  Value p = plain.probabilities(c, z), sum;
  auto add = [&](Value part) { sum = sum ? map(c, {sum, part}, type, [](Scalar s, ValueRange v) { return s.add(v[0], v[1]); }) : part; };
  // q (d - <q, d>)
  auto centered = [&](Value q, Value d) {
    return map(c, {q, d, c.dot(q, d)}, type, [](Scalar s, ValueRange v) { return s.mul(v[0], s.sub(v[1], v[2])); });
  };
  auto gradients = getGradients().begin();
  for (auto loss : getLosses().getAsRange<BalanceAttr>()) {
    switch (loss.getKind()) {
    case BalanceKind::switch_step:
      add(centered(p, vectorOf(c, *gradients++)));
      break;
    case BalanceKind::switch_sequence:
      add(map(c, {centered(p, sharesOf(c, getShares(), getLength())), numberOf(c, *gradients++)}, type, [](Scalar s, ValueRange v) { return s.mul(v[0], v[1]); }));
      break;
    case BalanceKind::top1: {
      double tau = loss.getTau().getValueAsDouble();
      Softmax sharp(c, z, tau);
      Value q = sharp.probabilities(c, z), each = vectorOf(c, *gradients++), peak = numberOf(c, *gradients++);
      Value negated = map(c, {z, plain.top}, type, [](Scalar s, ValueRange v) { return s.select(s.equal(v[0], v[1]), s.neg(channelFloat(s)), s.constant(-infinity)); });
      Value highest = narrow(c, reduceMax(c, negated, 1), [](Scalar s, ValueRange v) { return s.neg(v[0]); });
      Value d = map(c, {each, peak, highest}, type, [](Scalar s, ValueRange v) { return s.select(s.equal(channelFloat(s), v[2]), s.add(v[0], v[1]), v[0]); });
      add(map(c, centered(q, d), type, [&](Scalar s, ValueRange v) { return s.div(v[0], s.constant(tau)); }));
      break;
    }
    case BalanceKind::z: {
      Value factor = narrow(c, {plain.top, plain.sum, numberOf(c, *gradients++)}, [](Scalar s, ValueRange v) { return s.mul(s.mul(s.constant(2), v[2]), logSumExp(s, v[0], v[1])); });
      add(map(c, {p, factor}, type, [](Scalar s, ValueRange v) { return s.mul(v[0], v[1]); }));
      break;
    }
    }
  }
  c.setResult(0, sum);
}

namespace {
/// What stands among the operands of `mhc.balance_loss`: T, the losses' sums, the shares.
struct BalanceOperands {
  Value tokens;
  ValueRange sums, shares;
  BalanceOperands(ValueRange all, ArrayAttr losses, int64_t experts) : tokens(all[0]) {
    size_t count = 0;
    for (auto loss : losses.getAsRange<BalanceAttr>())
      count += loss.statistics(experts).size();
    sums = all.slice(1, count);
    shares = all.drop_front(1 + count);
  }
};
/// x / y, 0 where y is 0.
Value quotient(Scalar s, Value x, Value y) {
  Value none = s.equal(y, s.constant(0));
  return s.select(none, s.constant(0), s.div(x, s.select(none, s.constant(1), y)));
}
} // namespace

void BalanceLossOp::buildRow(RowContext &c) {
  BalanceOperands all(getSums(), getLosses(), getExperts());
  Value tokens = numberOf(c, all.tokens);
  double experts = getExperts();
  SmallVector<Value> losses;
  size_t sum = 0, share = 0;
  for (auto loss : getLosses().getAsRange<BalanceAttr>()) {
    double weight = loss.getWeight().getValueAsDouble();
    auto mean = [&](Value value, double factor) {
      return narrow(c, {value, tokens}, [&](Scalar s, ValueRange v) { return quotient(s, s.mul(s.constant(factor), v[0]), v[1]); });
    };
    switch (loss.getKind()) {
    case BalanceKind::switch_step:
      losses.push_back(mean(c.dot(vectorOf(c, all.shares[share++]), vectorOf(c, all.sums[sum++])), weight * experts));
      break;
    case BalanceKind::switch_sequence:
      losses.push_back(mean(numberOf(c, all.sums[sum++]), weight * experts));
      break;
    case BalanceKind::top1: {
      Value q = vectorOf(c, all.sums[sum++]), peak = numberOf(c, all.sums[sum++]);
      losses.push_back(narrow(c, {c.dot(q, q), tokens, peak}, [&](Scalar s, ValueRange v) { return quotient(s, s.mul(s.constant(weight * experts), v[0]), s.mul(v[1], v[2])); }));
      break;
    }
    case BalanceKind::z:
      losses.push_back(mean(numberOf(c, all.sums[sum++]), weight));
      break;
    }
  }
  int64_t count = losses.size();
  Value together = c.narrowCode(losses, c.narrow({count}), [](OpBuilder &, Location, ValueRange v) { return SmallVector<Value>(v); })[0];
  sumTokens(c, together, 0);
}

void BalanceLossVjpOp::buildRow(RowContext &c) {
  BalanceOperands all(getSums().drop_back(), getLosses(), getExperts());
  Value tokens = numberOf(c, all.tokens), given = getSums().back();
  Value gradients = c.uniform(given, NarrowType::get(getContext(), {(int64_t)getLosses().size()}, cast<ShapedType>(given.getType()).getElementType()));
  double experts = getExperts();
  size_t sum = 0, share = 0;
  unsigned result = 0;
  for (auto [i, attribute] : llvm::enumerate(getLosses())) {
    auto loss = cast<BalanceAttr>(attribute);
    double weight = loss.getWeight().getValueAsDouble();
    auto mean = [&, i = i](double factor) {
      return narrow(c, {pick(c, gradients, i), tokens}, [&](Scalar s, ValueRange v) { return quotient(s, s.mul(s.constant(factor), v[0]), v[1]); });
    };
    switch (loss.getKind()) {
    case BalanceKind::switch_step: {
      Value shares = vectorOf(c, all.shares[share++]);
      ++sum;
      sumTokens(c, map(c, {shares, mean(weight * experts)}, unrounded(c, shares), [](Scalar s, ValueRange v) { return s.mul(v[0], v[1]); }), result++);
      break;
    }
    case BalanceKind::switch_sequence:
      ++sum;
      sumTokens(c, mean(weight * experts), result++);
      break;
    case BalanceKind::top1: {
      Value q = vectorOf(c, all.sums[sum++]), peak = numberOf(c, all.sums[sum++]);
      // dL/dq_i = 2 w E q_i / (T m), dL/dm = -w E |q|^2 / (T m^2)
      Value factor = narrow(c, {mean(2 * weight * experts), peak}, [](Scalar s, ValueRange v) { return quotient(s, v[0], v[1]); });
      sumTokens(c, map(c, {q, factor}, unrounded(c, q), [](Scalar s, ValueRange v) { return s.mul(v[0], v[1]); }), result++);
      sumTokens(c, narrow(c, {mean(-weight * experts), peak, c.dot(q, q)}, [](Scalar s, ValueRange v) { return quotient(s, s.mul(v[0], quotient(s, v[2], v[1])), v[1]); }), result++);
      break;
    }
    case BalanceKind::z:
      ++sum;
      sumTokens(c, mean(weight), result++);
      break;
    }
  }
}

/// scalars[3].
static Value lossScale(RowContext &c, Value scalars) {
  return pick(c, c.uniform(scalars, NarrowType::get(scalars.getContext(), {64}, cast<ShapedType>(scalars.getType()).getElementType())), scaleSlot);
}

void TotalLossOp::buildRow(RowContext &c) {
  SmallVector<Value> inputs{numberOf(c, getCrossEntropy()), lossScale(c, getScalars())};
  for (Value losses : getBalance())
    inputs.push_back(c.uniform(losses, NarrowType::get(getContext(), {rowElements(losses.getType())}, cast<ShapedType>(losses.getType()).getElementType())));
  sumTokens(c, narrow(c, inputs, [](Scalar s, ValueRange v) {
              if (v.size() == 2)
                return v[0];
              return s.add(v[0], s.mul(v[1], s.sum(SmallVector<Value>(v.drop_front(2)))));
            }), 0);
}

void LossScaleOp::buildRow(RowContext &c) {
  int64_t count = rowElements(getResult().getType());
  sumTokens(c, c.narrowCode(lossScale(c, getScalars()), c.narrow({count}), [&](OpBuilder &, Location, ValueRange v) { return SmallVector<Value>(count, v[0]); })[0], 0);
}

//===----------------------------------------------------------------------===//
// Tokens to experts and back
//===----------------------------------------------------------------------===//

/// Row `index[element]` of a table.
static Value gathered(RowContext &c, Value table, Value index, int64_t element = 0) {
  return RowLoadOp::create(c.builder, c.loc, rowTypeOf(table.getType()), Access::gather, c.parameter(table), index, 1, false, element);
}

OperandUse GatherRowsOp::operandUse(unsigned index) { return index == 1 ? OperandUse::row : OperandUse::lookup; }
void GatherRowsOp::buildRow(RowContext &c) { c.setResult(0, gathered(c, getX(), c.input(getGather()))); }

/// The slots of a token's choices, 0 where there is none; and 1 where there is one, times the choice's weight.
static std::pair<Value, Value> slotsOf(RowContext &c, Value reverse, Value weight) {
  int64_t k = cast<NarrowType>(reverse.getType()).getNumElements();
  SmallVector<Value> inputs{reverse};
  if (weight)
    inputs.push_back(weight);
  Type types[] = {NarrowType::get(reverse.getContext(), {k}, c.builder.getI32Type()), c.narrow({k})};
  SmallVector<Value> out = c.narrowCode(inputs, types, [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    SmallVector<Value> slots, weights;
    for (int64_t j = 0; j < k; ++j) {
      Value none = arith::CmpIOp::create(b, l, arith::CmpIPredicate::slt, v[j], integer(s, 0));
      slots.push_back(s.select(none, integer(s, 0), v[j]));
      weights.push_back(s.select(none, s.constant(0), weight ? v[k + j] : s.constant(1)));
    }
    slots.append(weights);
    return slots;
  });
  return {out[0], out[1]};
}

OperandUse CombineRowsOp::operandUse(unsigned index) { return index == 1 || (index == 2 && getWeight()) ? OperandUse::row : OperandUse::lookup; }
void CombineRowsOp::buildRow(RowContext &c) {
  auto [slots, weights] = slotsOf(c, c.input(getReverse()), getWeight() ? c.input(getWeight()) : Value());
  Type type = c.wide(1, rowElements(getResult().getType()));
  Value sum;
  for (int64_t j = 0, k = rowElements(getReverse().getType()); j < k; ++j)
    sum = c.mix(pick(c, weights, j), gathered(c, getY(), slots, j), type, sum);
  c.setResult(0, sum);
}

OperandUse CombineRowsDyOp::operandUse(unsigned index) { return index < 2 ? OperandUse::lookup : OperandUse::row; }
void CombineRowsDyOp::buildRow(RowContext &c) {
  Value weight = gathered(c, getWeight(), c.input(getOrder())), row = gathered(c, getGradient(), c.input(getGather()));
  c.setResult(0, map(c, {row, weight}, unrounded(c, row), [](Scalar s, ValueRange v) { return s.mul(v[0], v[1]); }));
}

OperandUse CombineRowsDwOp::operandUse(unsigned index) { return index == 1 ? OperandUse::lookup : OperandUse::row; }
void CombineRowsDwOp::buildRow(RowContext &c) {
  Value gradient = c.input(getGradient());
  auto [slots, there] = slotsOf(c, c.input(getReverse()), Value());
  SmallVector<Value> inputs{there};
  int64_t k = rowElements(getReverse().getType());
  for (int64_t j = 0; j < k; ++j)
    inputs.push_back(c.dot(gradient, gathered(c, getY(), slots, j)));
  c.setResult(0, c.narrowCode(inputs, c.narrow({k}), [&](OpBuilder &b, Location l, ValueRange v) {
    Scalar s = scalar(c, b, l);
    SmallVector<Value> out;
    for (int64_t j = 0; j < k; ++j)
      out.push_back(s.mul(v[j], v[k + j]));
    return out;
  })[0]);
}
