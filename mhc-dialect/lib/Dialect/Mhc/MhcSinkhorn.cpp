//===- MhcSinkhorn.cpp - the Birkhoff polytope by Sinkhorn-Knopp ------------===//
//
// Scalar code of one token (ManifoldAttrInterface). A half step divides every line of one axis by its sum; an iteration is a half step
// over the first axis and one over the second.
//
// Two forms of the same iteration. Linear: M = diag(r) M0 diag(c), so that a half step is a matrix-vector product and one division a line.
// It needs M0's entries (at most 1) to be far from underflow. Logarithmic, for tokens where they are not: L = log M. Both are compiled; the second runs only
// where a token asks for it, and then each token still takes its own form, so that no result depends on its neighbours.
//
// Backward of a half step, with G = dM * M (the gradient by log M), is G -= M' sum(G) over each line, in both forms and for every denominator
// (not where the maximum took eps): nothing is divided, so that nothing overflows. The linear form carries H with G = M0 * H, whose update is the outer
// product of the scale factors: H(a, b) -= r[a] c[b] sum(M0 * H).
//
//===----------------------------------------------------------------------===//

#include "mhc/Dialect/Mhc/IR/MhcDialect.h"
#include "mhc/Dialect/Mhc/IR/MhcRowOps.h"

#include "ScalarBuilder.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace mlir::mhc;

LogicalResult BirkhoffAttr::verify(function_ref<InFlightDiagnostic()> emitError, int64_t iterations, bool, SinkhornStart,
                                   SinkhornDenominator denominator, FloatAttr eps) {
  if (iterations < 1)
    return emitError() << "expected at least one iteration, but got " << iterations;
  if (eps && !(eps.getValueAsDouble() >= 0))
    return emitError() << "expected eps of at least 0, but got " << eps;
  return success();
}

int64_t BirkhoffAttr::columns(int64_t streams) const { return streams * streams; }
StringRef BirkhoffAttr::guarantees() const {
  if (getEpsValue() != 0)
    return "doubly stochastic up to eps";
  return getFirstOverInputs() ? "doubly stochastic; columns sum to 1 exactly" : "doubly stochastic; rows sum to 1 exactly";
}
double BirkhoffAttr::getEpsValue() const {
  bool used = getStart() == SinkhornStart::softmax || getDenominator() != SinkhornDenominator::none;
  return used && getEps() ? getEps().getValueAsDouble() : 0;
}
std::pair<int64_t, int64_t> BirkhoffAttr::flops(int64_t n) const {
  // An exponential counts 20 operations. Half step: a matrix-vector product and a division a line; its backward: a sum, an outer product, and the first half again.
  int64_t start = n * n * 20, half = 2 * n * n + n;
  int64_t forward = start + 2 * getIterations() * half;
  return {forward, forward + getIterations() * (8 * n * n + 2 * n + half)};
}

namespace {
/// Entries of M0 of at least this much keep everything in the linear form within the range of f32: its scale factors stay within the square's inverse.
constexpr double linearLimit = 1e-17;

struct Sinkhorn : ScalarBuilder {
  BirkhoffAttr attr;
  int64_t n;
  bool softmax, addEps, maxEps;
  double eps;

  Sinkhorn(OpBuilder &b, Location loc, BirkhoffAttr attr, int64_t n, Type type)
      : ScalarBuilder{b, loc, type}, attr(attr), n(n), softmax(attr.getStart() == SinkhornStart::softmax),
        addEps(attr.getDenominator() == SinkhornDenominator::add_eps && attr.getEpsValue() != 0),
        maxEps(attr.getDenominator() == SinkhornDenominator::max_eps && attr.getEpsValue() != 0), eps(attr.getEpsValue()) {}

  /// Place in the row-major matrix: line a of the axis normalised first, line b of the other.
  int64_t at(int64_t a, int64_t b) const { return attr.getFirstOverInputs() ? a * n + b : b * n + a; }
  /// The same with the line that is normalised first named, whichever axis is.
  int64_t at(bool second, int64_t line, int64_t k) const { return second ? at(k, line) : at(line, k); }

  using Values = SmallVector<Value>;

  /// The common start: logits less the maximum of their first line (a constant in backward), and their softmax.
  Values shifted, start, probabilities;
  void begin(ValueRange z) {
    shifted.resize(n * n), start.resize(n * n), probabilities.resize(n * n);
    for (int64_t a = 0; a < n; ++a) {
      Value top = z[at(a, 0)];
      for (int64_t k = 1; k < n; ++k)
        top = max(top, z[at(a, k)]);
      Values line;
      for (int64_t k = 0; k < n; ++k) {
        shifted[at(a, k)] = sub(z[at(a, k)], top);
        line.push_back(start[at(a, k)] = exp(shifted[at(a, k)]));
      }
      if (!softmax)
        continue;
      Value total = sum(line);
      for (int64_t k = 0; k < n; ++k) {
        Value p = div(line[k], total);
        probabilities[at(a, k)] = p;
        start[at(a, k)] = eps == 0 ? p : add(p, constant(eps));
      }
    }
  }

  /// Every entry of M0 is large enough for the linear form. Null: always.
  Value isLinear() {
    if (softmax && eps >= linearLimit)
      return {};
    Value least = start[0];
    for (Value value : ArrayRef(start).drop_front())
      least = min(least, value);
    return arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OGE, least, constant(linearLimit));
  }

  /// Gradient of Z from G after the start.
  Values end(ArrayRef<Value> g) {
    if (!softmax)
      return Values(g);
    // M0 = p + eps: dp p = G p / (p + eps), then the softmax.
    Values dz(n * n);
    for (int64_t a = 0; a < n; ++a) {
      Values w;
      for (int64_t k = 0; k < n; ++k) {
        int64_t i = at(a, k);
        w.push_back(eps == 0 ? g[i] : mul(g[i], div(probabilities[i], start[i])));
      }
      Value total = sum(w);
      for (int64_t k = 0; k < n; ++k)
        dz[at(a, k)] = sub(w[k], mul(probabilities[at(a, k)], total));
    }
    return dz;
  }

  //===--- Linear form ---------------------------------------------------------===//

  /// Scale factors of both axes: M(a, b) = M0(a, b) r[a] c[b]. `values` holds r, then c, then (with max_eps) whether each line was divided by its sum.
  int64_t stateSize() const { return maxEps ? 4 * n : 2 * n; }

  void halfStep(bool second, MutableArrayRef<Value> state) {
    MutableArrayRef<Value> own = state.slice(second ? n : 0, n);
    ArrayRef<Value> other = state.slice(second ? 0 : n, n);
    for (int64_t line = 0; line < n; ++line) {
      Value total;
      for (int64_t k = 0; k < n; ++k) {
        Value m = start[at(second, line, k)];
        total = total ? fma(m, other[k], total) : mul(m, other[k]);
      }
      if (!addEps && !maxEps) {
        own[line] = div(constant(1), total);
        continue;
      }
      Value lineSum = mul(own[line], total);
      if (addEps) {
        own[line] = div(own[line], add(lineSum, constant(eps)));
        continue;
      }
      Value bySum = less(constant(eps), lineSum);
      own[line] = div(own[line], select(bySum, lineSum, constant(eps)));
      state[(second ? 3 : 2) * n + line] = select(bySum, constant(1), constant(0));
    }
  }

  Values initialState() {
    Values state(stateSize(), constant(1));
    if (softmax)
      halfStep(true, state);
    return state;
  }
  int64_t fullIterations() const { return attr.getIterations() - (softmax ? 1 : 0); }

  Sinkhorn in(OpBuilder &inner, Location l) {
    Sinkhorn copy(inner, l, attr, n, type);
    copy.shifted = shifted, copy.start = start, copy.probabilities = probabilities;
    return copy;
  }

  /// The final state; `each` sees the state before the first iteration (index 0) and after every one.
  Values iterate(function_ref<void(Sinkhorn &, Value, ArrayRef<Value>)> each) {
    Values state = initialState();
    Value zero = index(0), one = index(1);
    each(*this, zero, state);
    auto loop = scf::ForOp::create(b, loc, one, index(fullIterations() + 1), one, state, [&](OpBuilder &inner, Location l, Value i, ValueRange carried) {
      Sinkhorn body = in(inner, l);
      Values next(carried);
      body.halfStep(false, next);
      body.halfStep(true, next);
      each(body, i, next);
      scf::YieldOp::create(inner, l, next);
    });
    return Values(loop.getResults());
  }

  Values matrix(ArrayRef<Value> state) {
    Values m(n * n);
    for (int64_t a = 0; a < n; ++a)
      for (int64_t k = 0; k < n; ++k)
        m[at(a, k)] = mul(mul(start[at(a, k)], state[a]), state[n + k]);
    return m;
  }

  /// What backward keeps of a state. Without a denominator's eps c says all: r follows from the c before it.
  int64_t keptSize() const { return addEps || maxEps ? stateSize() : n; }
  int64_t cOffset() const { return addEps || maxEps ? n : 0; } ///< c among what is kept
  ArrayRef<Value> keptOf(ArrayRef<Value> state) const { return state.drop_front(n - cOffset()); }
  /// The state after an iteration, from what was kept after and before it.
  Values stateAfter(ArrayRef<Value> after, ArrayRef<Value> before) {
    if (cOffset())
      return Values(after);
    Values state(n); // r is not read
    llvm::append_range(state, before);
    halfStep(false, state);
    llvm::copy(after, state.begin() + n);
    return state;
  }

  void halfStepBackward(bool second, ArrayRef<Value> r, ArrayRef<Value> c, ArrayRef<Value> bySum, MutableArrayRef<Value> h) {
    ArrayRef<Value> own = second ? c : r, other = second ? r : c;
    for (int64_t line = 0; line < n; ++line) {
      Value total;
      for (int64_t k = 0; k < n; ++k) {
        int64_t i = at(second, line, k);
        total = total ? fma(start[i], h[i], total) : mul(start[i], h[i]);
      }
      if (maxEps)
        total = mul(total, bySum[line]);
      Value scaled = neg(mul(total, own[line]));
      for (int64_t k = 0; k < n; ++k) {
        Value &entry = h[at(second, line, k)];
        entry = fma(other[k], scaled, entry);
      }
    }
  }

  Values linear(ValueRange dh) {
    if (dh.empty())
      return matrix(iterate([](Sinkhorn &, Value, ArrayRef<Value>) {}));
    Value kept = memref::AllocaOp::create(b, loc, MemRefType::get({fullIterations() + 1, keptSize()}, type));
    Values columns;
    for (int64_t i = 0; i < keptSize(); ++i)
      columns.push_back(index(i));
    Values last = iterate([&](Sinkhorn &body, Value row, ArrayRef<Value> state) {
      for (auto [column, value] : llvm::zip(columns, keptOf(state)))
        memref::StoreOp::create(body.b, body.loc, value, kept, ValueRange{row, column});
    });
    auto load = [&](ScalarBuilder &at, Value row) {
      return llvm::map_to_vector<0>(columns, [&](Value column) -> Value { return memref::LoadOp::create(at.b, at.loc, kept, ValueRange{row, column}); });
    };
    auto bySum = [&](ArrayRef<Value> state, bool second) { return maxEps ? state.slice((second ? 3 : 2) * n, n) : ArrayRef<Value>(); };

    // Carried: H, what was kept after and before the step. What is kept is asked for a step ahead, since its memory may be far.
    Values carried(n * n);
    for (int64_t a = 0; a < n; ++a)
      for (int64_t k = 0; k < n; ++k)
        carried[at(a, k)] = mul(mul(last[a], last[n + k]), dh[at(a, k)]);
    Value zero = index(0), one = index(1), two = index(2), top = index(fullIterations());
    llvm::append_range(carried, keptOf(last));
    llvm::append_range(carried, load(*this, index(std::max<int64_t>(fullIterations() - 1, 0))));
    auto loop = scf::ForOp::create(b, loc, zero, top, one, carried, [&](OpBuilder &inner, Location l, Value step, ValueRange values) {
      Sinkhorn body = in(inner, l);
      Value row = arith::SubIOp::create(inner, l, top, step), ahead = arith::SubIOp::create(inner, l, arith::MaxSIOp::create(inner, l, row, two), two);
      auto further = load(body, ahead);
      Values h(values.take_front(n * n)), after(values.slice(n * n, keptSize())), before(values.take_back(keptSize()));
      Values now = body.stateAfter(after, before);
      ArrayRef<Value> state(now), other = ArrayRef(before).take_back(keptSize() - cOffset()).take_front(n);
      body.halfStepBackward(true, state.take_front(n), state.slice(n, n), bySum(state, true), h);
      body.halfStepBackward(false, state.take_front(n), other, bySum(state, false), h);
      llvm::append_range(h, before);
      llvm::append_range(h, further);
      scf::YieldOp::create(inner, l, h);
    });
    ValueRange results = loop.getResults();
    Values first(results.take_front(n * n));
    if (softmax) {
      Values state = initialState(); // of which nothing is used but what was not kept
      llvm::copy(results.slice(n * n, keptSize()), state.begin() + (n - cOffset()));
      ArrayRef<Value> values(state);
      halfStepBackward(true, values.take_front(n), values.slice(n, n), bySum(values, true), first);
    }
    for (auto [entry, m] : llvm::zip(first, start))
      entry = mul(entry, m);
    return first;
  }

  //===--- Logarithmic form: rare, so its code is small and its values lie in memory ------------------------===//

  Value element(Value memory, Value row, Value column) { return memref::LoadOp::create(b, loc, memory, ValueRange{row, column}); }
  void setElement(Value memory, Value row, Value column, Value value) { memref::StoreOp::create(b, loc, value, memory, ValueRange{row, column}); }

  /// for (line) body(places of the line's elements), lines of the half step `half` (even: first axis).
  void forLines(Value half, function_ref<void(Sinkhorn &, Value, ArrayRef<Value>)> body) {
    Value two = index(2), even = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, arith::RemUIOp::create(b, loc, half, two), index(0));
    // Strides of a line and of an element in it.
    int64_t lineFirst = at(1, 0), elementFirst = at(0, 1);
    Value lineStride = select(even, index(lineFirst), index(elementFirst)), elementStride = select(even, index(elementFirst), index(lineFirst));
    scf::ForOp::create(b, loc, index(0), index(n), index(1), ValueRange{}, [&](OpBuilder &inner, Location l, Value line, ValueRange) {
      Sinkhorn at = in(inner, l);
      Values places{arith::MulIOp::create(inner, l, line, lineStride)};
      for (int64_t k = 1; k < n; ++k)
        places.push_back(arith::AddIOp::create(inner, l, places.back(), elementStride));
      body(at, line, places);
      scf::YieldOp::create(inner, l);
    });
  }

  Values logarithmic(ValueRange dh) {
    bool backward = !dh.empty();
    int64_t halves = 2 * attr.getIterations(), firstHalf = softmax ? 1 : 0;
    // Backward keeps L after every half step, forward the last one.
    Value memory = memref::AllocaOp::create(b, loc, MemRefType::get({backward ? halves + 1 : 1, n * n}, type));
    Value flags = backward && maxEps ? memref::AllocaOp::create(b, loc, MemRefType::get({halves + 1, n}, type)).getResult() : Value();
    Value zero = index(0), one = index(1), end = index(halves), begin = index(firstHalf);
    auto rowOf = [&](ScalarBuilder &at, Value half, int64_t offset) -> Value {
      return backward ? arith::AddIOp::create(at.b, at.loc, half, at.index(offset)).getResult() : zero;
    };
    for (int64_t a = 0; a < n; ++a) {
      Values exps;
      for (int64_t k = 0; k < n && softmax; ++k)
        exps.push_back(exp(shifted[at(a, k)]));
      Value logTotal = softmax ? log(sum(exps)) : Value();
      for (int64_t k = 0; k < n; ++k) {
        Value l = shifted[at(a, k)];
        if (softmax)
          l = eps == 0 ? sub(l, logTotal) : log(start[at(a, k)]);
        setElement(memory, rowOf(*this, begin, 0), index(at(a, k)), l);
      }
    }
    scf::ForOp::create(b, loc, begin, end, one, ValueRange{}, [&](OpBuilder &inner, Location l, Value half, ValueRange) {
      Sinkhorn outer = in(inner, l);
      Value from = rowOf(outer, half, 0), to = rowOf(outer, half, 1);
      outer.forLines(half, [&](Sinkhorn &s, Value line, ArrayRef<Value> places) {
        Values values, exps;
        for (Value place : places)
          values.push_back(s.element(memory, from, place));
        Value top = values[0];
        for (Value value : ArrayRef(values).drop_front())
          top = s.max(top, value);
        for (Value value : values)
          exps.push_back(s.exp(s.sub(value, top)));
        Value d = s.add(top, s.log(s.sum(exps)));
        if (addEps || maxEps) {
          Value logEps = s.constant(std::log(eps)), larger = s.max(d, logEps);
          if (flags)
            s.setElement(flags, to, line, s.select(s.less(logEps, d), s.constant(1), s.constant(0)));
          d = maxEps ? larger : s.add(larger, s.log1p(s.exp(s.neg(s.abs(s.sub(d, logEps))))));
        }
        for (auto [place, value] : llvm::zip(places, values))
          s.setElement(memory, to, place, s.sub(value, d));
      });
      scf::YieldOp::create(inner, l);
    });
    Values h;
    Value last = rowOf(*this, end, 0);
    for (int64_t i = 0; i < n * n; ++i)
      h.push_back(exp(element(memory, last, index(i))));
    if (!backward)
      return h;

    Value g = memref::AllocaOp::create(b, loc, MemRefType::get({1, n * n}, type));
    for (int64_t i = 0; i < n * n; ++i)
      setElement(g, zero, index(i), mul(h[i], dh[i]));
    scf::ForOp::create(b, loc, begin, end, one, ValueRange{}, [&](OpBuilder &inner, Location l, Value step, ValueRange) {
      Sinkhorn outer = in(inner, l);
      // halves - 1, .., firstHalf
      Value half = arith::SubIOp::create(inner, l, outer.index(halves - 1 + firstHalf), step), row = rowOf(outer, half, 1);
      outer.forLines(half, [&](Sinkhorn &s, Value line, ArrayRef<Value> places) {
        Values values;
        for (Value place : places)
          values.push_back(s.element(g, zero, place));
        Value total = s.sum(values);
        if (flags)
          total = s.mul(total, s.element(flags, row, line));
        for (auto [place, value] : llvm::zip(places, values))
          s.setElement(g, zero, place, s.sub(value, s.mul(s.exp(s.element(memory, row, place)), total)));
      });
      scf::YieldOp::create(inner, l);
    });
    Values result;
    for (int64_t i = 0; i < n * n; ++i)
      result.push_back(element(g, zero, index(i)));
    return result;
  }

  /// Each token takes its form; the logarithmic one runs if any token needs it.
  Values run(ValueRange z, ValueRange dh) {
    begin(z);
    Values result = linear(dh);
    if (Value ok = isLinear()) {
      Value wide = arith::XOrIOp::create(b, loc, ok, arith::ConstantOp::create(b, loc, b.getBoolAttr(true)));
      auto branch = scf::IfOp::create(
          b, loc, RowAnyOp::create(b, loc, b.getI1Type(), wide),
          [&](OpBuilder &inner, Location l) {
            Sinkhorn s = in(inner, l);
            Values other = s.logarithmic(dh);
            for (auto [value, plain] : llvm::zip(other, result))
              value = s.select(ok, plain, value);
            scf::YieldOp::create(inner, l, other);
          },
          [&](OpBuilder &inner, Location l) { scf::YieldOp::create(inner, l, result); });
      result.assign(branch.result_begin(), branch.result_end());
    }
    return dh.empty() ? result : end(result);
  }
};
} // namespace

SmallVector<Value> BirkhoffAttr::buildForward(OpBuilder &b, Location loc, int64_t n, ValueRange z) const {
  return Sinkhorn(b, loc, *this, n, z[0].getType()).run(z, {});
}

SmallVector<Value> BirkhoffAttr::buildBackward(OpBuilder &b, Location loc, int64_t n, ValueRange z, ValueRange dh) const {
  return Sinkhorn(b, loc, *this, n, z[0].getType()).run(z, dh);
}
