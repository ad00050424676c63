//===- MhcManifolds.cpp - projections onto manifolds, forward and backward --===//
//
// Scalar code of one token, written once for every target (ManifoldAttrInterface). To add a manifold: an attribute in MhcAttributes.td and
// its five methods here. The Birkhoff polytope is in MhcSinkhorn.cpp.
//
//===----------------------------------------------------------------------===//

#include "mhc/Dialect/Mhc/IR/MhcDialect.h"

#include "ScalarBuilder.h"

#include <algorithm>

using namespace mlir;
using namespace mlir::mhc;

using Values = SmallVector<Value>;

//===----------------------------------------------------------------------===//
// permutation_hull
//===----------------------------------------------------------------------===//

int64_t PermutationHullAttr::columns(int64_t streams) const { return streams * streams; }
StringRef PermutationHullAttr::guarantees() const { return "doubly stochastic, exactly"; }
std::pair<int64_t, int64_t> PermutationHullAttr::flops(int64_t n) const {
  int64_t count = 1;
  for (int64_t i = 2; i <= n; ++i)
    count *= i;
  return {count * (2 * n + 22), count * (6 * n + 24)};
}

namespace {
/// All permutations of n, in lexicographic order; p[i] is the output of input i.
SmallVector<SmallVector<int64_t>> permutations(int64_t n) {
  auto p = llvm::to_vector(llvm::seq<int64_t>(0, n));
  SmallVector<SmallVector<int64_t>> all;
  do {
    all.emplace_back(p.begin(), p.end());
  } while (std::next_permutation(p.begin(), p.end()));
  return all;
}

/// softmax over the permutations of l_p = sum_i Z[p(i), i].
Values permutationWeights(ScalarBuilder s, int64_t n, ValueRange z) {
  Values logits;
  for (ArrayRef<int64_t> p : permutations(n)) {
    Values terms;
    for (int64_t i = 0; i < n; ++i)
      terms.push_back(z[p[i] * n + i]);
    logits.push_back(s.sum(terms));
  }
  Value top = logits[0];
  for (Value l : ArrayRef(logits).drop_front())
    top = s.max(top, l);
  for (Value &l : logits)
    l = s.exp(s.sub(l, top));
  Value total = s.sum(logits);
  for (Value &l : logits)
    l = s.div(l, total);
  return logits;
}
} // namespace

SmallVector<Value> PermutationHullAttr::buildForward(OpBuilder &b, Location loc, int64_t n, ValueRange z) const {
  ScalarBuilder s{b, loc, z[0].getType()};
  Values weights = permutationWeights(s, n, z), h(n * n);
  for (auto [p, w] : llvm::zip(permutations(n), weights))
    for (int64_t i = 0; i < n; ++i) {
      Value &entry = h[p[i] * n + i];
      entry = entry ? s.add(entry, w) : w;
    }
  return h;
}
SmallVector<Value> PermutationHullAttr::buildBackward(OpBuilder &b, Location loc, int64_t n, ValueRange z, ValueRange dh) const {
  ScalarBuilder s{b, loc, z[0].getType()};
  Values weights = permutationWeights(s, n, z), products, dz(n * n);
  // Softmax: dl = w (dw - sum w dw), dw_p = sum_i dH[p(i), i].
  for (auto [p, w] : llvm::zip(permutations(n), weights)) {
    Values terms;
    for (int64_t i = 0; i < n; ++i)
      terms.push_back(dh[p[i] * n + i]);
    products.push_back(s.mul(w, s.sum(terms)));
  }
  Value total = s.sum(products);
  for (auto [p, w, product] : llvm::zip(permutations(n), weights, products)) {
    Value dl = s.sub(product, s.mul(w, total));
    for (int64_t i = 0; i < n; ++i) {
      Value &entry = dz[p[i] * n + i];
      entry = entry ? s.add(entry, dl) : dl;
    }
  }
  return dz;
}

//===----------------------------------------------------------------------===//
// orthogonal
//===----------------------------------------------------------------------===//

int64_t OrthogonalAttr::columns(int64_t streams) const { return streams * streams; }
StringRef OrthogonalAttr::guarantees() const { return "orthogonal: norms are kept"; }
std::pair<int64_t, int64_t> OrthogonalAttr::flops(int64_t n) const { return {4 * n * n * n, 10 * n * n * n}; }

namespace {
/// A = (Z - Z^T) / 2 and solutions of (I + A) X = B. I + A has a positive definite symmetric part, so elimination needs no pivots.
struct Cayley : ScalarBuilder {
  int64_t n;
  Values a;
  Cayley(OpBuilder &b, Location loc, int64_t n, ValueRange z) : ScalarBuilder{b, loc, z[0].getType()}, n(n), a(n * n) {
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j)
        a[i * n + j] = i == j ? constant(0) : mul(constant(0.5), sub(z[i * n + j], z[j * n + i]));
  }
  /// I + sign A.
  Values identityPlus(double sign) {
    Values m(n * n);
    for (int64_t i = 0; i < n * n; ++i)
      m[i] = i % (n + 1) == 0 ? constant(1) : sign > 0 ? a[i] : neg(a[i]);
    return m;
  }
  /// X with M X = B.
  Values solve(Values m, Values x) {
    for (int64_t k = 0; k < n; ++k) {
      Value inverse = div(constant(1), m[k * n + k]);
      for (int64_t i = k + 1; i < n; ++i) {
        Value factor = neg(mul(m[i * n + k], inverse));
        for (int64_t j = k + 1; j < n; ++j)
          m[i * n + j] = fma(factor, m[k * n + j], m[i * n + j]);
        for (int64_t j = 0; j < n; ++j)
          x[i * n + j] = fma(factor, x[k * n + j], x[i * n + j]);
      }
    }
    for (int64_t k = n; k-- > 0;) {
      Value inverse = div(constant(1), m[k * n + k]);
      for (int64_t j = 0; j < n; ++j) {
        for (int64_t i = k + 1; i < n; ++i)
          x[k * n + j] = fma(neg(m[k * n + i]), x[i * n + j], x[k * n + j]);
        x[k * n + j] = mul(x[k * n + j], inverse);
      }
    }
    return x;
  }
};
} // namespace

SmallVector<Value> OrthogonalAttr::buildForward(OpBuilder &b, Location loc, int64_t n, ValueRange z) const {
  Cayley cayley(b, loc, n, z);
  return cayley.solve(cayley.identityPlus(1), cayley.identityPlus(-1));
}
SmallVector<Value> OrthogonalAttr::buildBackward(OpBuilder &b, Location loc, int64_t n, ValueRange z, ValueRange dh) const {
  // (I + A) H = I - A, so dA = -(I + A)^-T dH (H + I)^T, and (I + A)^T = I - A.
  Cayley s(b, loc, n, z);
  Values h = s.solve(s.identityPlus(1), s.identityPlus(-1)), w = s.solve(s.identityPlus(-1), Values(dh)), da(n * n), dz(n * n);
  for (int64_t i = 0; i < n; ++i)
    h[i * n + i] = s.add(h[i * n + i], s.constant(1));
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      Value sum = s.mul(w[i * n], h[j * n]);
      for (int64_t k = 1; k < n; ++k)
        sum = s.fma(w[i * n + k], h[j * n + k], sum);
      da[i * n + j] = s.neg(sum);
    }
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j)
      dz[i * n + j] = s.mul(s.constant(0.5), s.sub(da[i * n + j], da[j * n + i]));
  return dz;
}

//===----------------------------------------------------------------------===//
// sphere
//===----------------------------------------------------------------------===//

LogicalResult SphereAttr::verify(function_ref<InFlightDiagnostic()> emitError, FloatAttr radius, FloatAttr eps) {
  if (radius && !(radius.getValueAsDouble() > 0))
    return emitError() << "expected a radius above 0, but got " << radius;
  if (eps && !(eps.getValueAsDouble() >= 0))
    return emitError() << "expected eps of at least 0, but got " << eps;
  return success();
}
int64_t SphereAttr::columns(int64_t streams) const { return streams * streams; }
StringRef SphereAttr::guarantees() const { return "of constant Frobenius norm, up to eps"; }
std::pair<int64_t, int64_t> SphereAttr::flops(int64_t n) const { return {3 * n * n + 5, 7 * n * n + 10}; }

namespace {
struct Sphere : ScalarBuilder {
  Value inverse, radius; ///< 1 / sqrt(||Z||^2 + eps^2); 0 where both are 0
  Sphere(OpBuilder &b, Location loc, SphereAttr attr, int64_t n, ValueRange z) : ScalarBuilder{b, loc, z[0].getType()} {
    double eps = attr.getEps() ? attr.getEps().getValueAsDouble() : 1e-6;
    radius = constant(attr.getRadius() ? attr.getRadius().getValueAsDouble() : std::sqrt(double(n)));
    // Scaled by the largest entry, so that squares neither overflow nor vanish.
    Value top = constant(eps);
    for (Value v : z)
      top = max(top, abs(v));
    Value zero = constant(0), one = constant(1), some = less(zero, top), scale = div(one, select(some, top, one));
    Value scaledEps = mul(constant(eps), scale), square = mul(scaledEps, scaledEps);
    for (Value v : z) {
      Value scaled = mul(v, scale);
      square = fma(scaled, scaled, square);
    }
    inverse = select(some, div(scale, sqrt(select(some, square, one))), zero);
  }
};
} // namespace

SmallVector<Value> SphereAttr::buildForward(OpBuilder &b, Location loc, int64_t n, ValueRange z) const {
  Sphere s(b, loc, *this, n, z);
  return llvm::map_to_vector<8>(z, [&](Value v) { return s.mul(s.radius, s.mul(v, s.inverse)); });
}
SmallVector<Value> SphereAttr::buildBackward(OpBuilder &b, Location loc, int64_t n, ValueRange z, ValueRange dh) const {
  // With y = Z / q: dZ = R / q (dH - y (y . dH)).
  Sphere s(b, loc, *this, n, z);
  Values y, dz;
  Value dot;
  for (auto [v, d] : llvm::zip(z, dh)) {
    y.push_back(s.mul(v, s.inverse));
    dot = dot ? s.fma(y.back(), d, dot) : s.mul(y.back(), d);
  }
  Value factor = s.mul(s.radius, s.inverse);
  for (auto [v, d] : llvm::zip(y, dh))
    dz.push_back(s.mul(factor, s.fma(s.neg(v), dot, d)));
  return dz;
}

//===----------------------------------------------------------------------===//
// simplex
//===----------------------------------------------------------------------===//

int64_t SimplexAttr::columns(int64_t streams) const { return streams * streams; }
StringRef SimplexAttr::guarantees() const { return "nonnegative, rows sum to 1"; }
std::pair<int64_t, int64_t> SimplexAttr::flops(int64_t n) const { return {23 * n * n, 27 * n * n}; }

SmallVector<Value> SimplexAttr::buildForward(OpBuilder &b, Location loc, int64_t n, ValueRange z) const {
  ScalarBuilder s{b, loc, z[0].getType()};
  Values h;
  for (int64_t o = 0; o < n; ++o) {
    Values row(z.slice(o * n, n));
    Value top = row[0];
    for (Value v : ArrayRef(row).drop_front())
      top = s.max(top, v);
    for (Value &v : row)
      v = s.exp(s.sub(v, top));
    Value total = s.sum(row);
    for (Value v : row)
      h.push_back(s.div(v, total));
  }
  return h;
}
SmallVector<Value> SimplexAttr::buildBackward(OpBuilder &b, Location loc, int64_t n, ValueRange z, ValueRange dh) const {
  ScalarBuilder s{b, loc, z[0].getType()};
  Values h = buildForward(b, loc, n, z), dz;
  for (int64_t o = 0; o < n; ++o) {
    Values products;
    for (int64_t i = 0; i < n; ++i)
      products.push_back(s.mul(h[o * n + i], dh[o * n + i]));
    Value total = s.sum(products);
    for (int64_t i = 0; i < n; ++i)
      dz.push_back(s.sub(products[i], s.mul(h[o * n + i], total)));
  }
  return dz;
}

//===----------------------------------------------------------------------===//
// unconstrained, identity
//===----------------------------------------------------------------------===//

int64_t UnconstrainedAttr::columns(int64_t streams) const { return streams * streams; }
StringRef UnconstrainedAttr::guarantees() const { return "nothing"; }
std::pair<int64_t, int64_t> UnconstrainedAttr::flops(int64_t) const { return {0, 0}; }
SmallVector<Value> UnconstrainedAttr::buildForward(OpBuilder &, Location, int64_t, ValueRange z) const { return SmallVector<Value>(z); }
SmallVector<Value> UnconstrainedAttr::buildBackward(OpBuilder &, Location, int64_t, ValueRange, ValueRange dh) const {
  return SmallVector<Value>(dh);
}

/// `identity` has no Z: its rows come from `mhc.constant_rows`, and `project` is never built with it.
int64_t IdentityAttr::columns(int64_t) const { return 0; }
StringRef IdentityAttr::guarantees() const { return "the identity"; }
std::pair<int64_t, int64_t> IdentityAttr::flops(int64_t) const { return {0, 0}; }
SmallVector<Value> IdentityAttr::buildForward(OpBuilder &, Location, int64_t, ValueRange z) const { return SmallVector<Value>(z); }
SmallVector<Value> IdentityAttr::buildBackward(OpBuilder &, Location, int64_t, ValueRange, ValueRange dh) const {
  return SmallVector<Value>(dh);
}

//===----------------------------------------------------------------------===//
// connection
//===----------------------------------------------------------------------===//

LogicalResult ConnectionAttr::verify(function_ref<InFlightDiagnostic()> emitError, StringRef topology, int64_t streams,
                                     ManifoldAttrInterface manifold, FloatAttr eps, FloatAttr postScale, bool, bool, FloatAttr, bool, Type coefficientType, Mapping,
                                     Mapping, Mapping, bool, bool, bool, bool) {
  if (topology != "mhc" && topology != "hc")
    return emitError() << "expected topology \"mhc\" or \"hc\", but got \"" << topology << "\"";
  if (streams < 1 || streams > 8)
    return emitError() << "expected 1 to 8 streams, but got " << streams;
  if (!manifold)
    return emitError() << "expected a manifold";
  if (topology == "hc" && !isa<UnconstrainedAttr>(manifold))
    return emitError() << "expected manifold unconstrained with topology \"hc\", but got " << manifold;
  if (!eps || !postScale || !(eps.getValueAsDouble() > 0))
    return emitError() << "expected eps above 0";
  if (coefficientType && !isa<FloatType>(coefficientType))
    return emitError() << "expected a floating-point type of coefficients, but got " << coefficientType;
  if (isa<PermutationHullAttr>(manifold) && streams > 4)
    return emitError() << "expected at most 4 streams with permutation_hull (n! permutations), but got " << streams;
  return success();
}

int64_t ConnectionAttr::phiColumns() const {
  int64_t n = getStreams();
  return isHc() ? n + 2 : 2 * n + getManifold().columns(n);
}
int64_t ConnectionAttr::biasSize() const {
  int64_t n = getStreams();
  return isHc() ? 2 * n + n * n : 2 * n + getManifold().columns(n);
}

//===----------------------------------------------------------------------===//
// target
//===----------------------------------------------------------------------===//

TargetAttr TargetAttr::get(MLIRContext *context, StringRef name) {
  // cpu: an x86-64-v3 core, its level 2 cache, its share of the memory's rate while others work, too. GPUs: registers and shared memory of a multiprocessor, data sheet rates (fp32 FMA); clusters where
  // the target has all that schedule family group is made of.
  constexpr int64_t registers = 64 << 10;
  auto gpu = [&](int64_t units, int64_t sharedKiB, int64_t copyRate, int64_t fmaRate, bool groups = false) {
    return get(context, name, units, registers * 4 + (sharedKiB << 10), copyRate, fmaRate, groups ? 16 : 1, groups ? 64 : 1, (sharedKiB == 164 ? 163 : sharedKiB) << 10, registers, groups ? 1400 : 0);
  };
  if (name == "cpu")
    return get(context, name, 1, 1 << 20, 20, 100, 1, 1, 0, 0, 0);
  if (name == "sm_80")
    return gpu(108, 164, 1550, 19500);
  if (name == "sm_86")
    return gpu(84, 99, 760, 37000);
  if (name == "sm_89")
    return gpu(142, 99, 860, 91000);
  if (name == "sm_90" || name == "sm_90a")
    return gpu(132, 227, 4300, 67000, name == "sm_90a");
  if (name == "sm_100" || name == "sm_100a")
    return gpu(148, 227, 7000, 75000, name == "sm_100a");
  if (name == "sm_120")
    return gpu(188, 99, 1600, 110000);
  return {};
}

TargetAttr TargetAttr::withExchange(StringRef most) const {
  bool none = most == "none", memory = most == "memory";
  return get(getContext(), getName(), getUnits(), getOnChipBytes(), getCopyRate(), getFmaRate(), none ? 1 : getClusterSize(), memory ? getGangSize() : 1, getSharedBytes(), getRegisters(),
             memory ? getExchangeTime() : 0);
}

//===----------------------------------------------------------------------===//
// schedule
//===----------------------------------------------------------------------===//

int64_t ScheduleAttr::getNumber(StringRef name, int64_t otherwise) const {
  auto number = getFields().getAs<IntegerAttr>(name);
  return number ? number.getInt() : otherwise;
}

StringRef ScheduleAttr::getWord(StringRef name) const {
  auto word = getFields().getAs<StringAttr>(name);
  return word ? word.getValue() : StringRef();
}

LogicalResult ScheduleAttr::verify(function_ref<InFlightDiagnostic()> emitError, StringRef family, DictionaryAttr fields) {
  if (family.empty() || !fields)
    return emitError() << "expected a schedule family";
  for (NamedAttribute field : fields) {
    auto number = dyn_cast<IntegerAttr>(field.getValue());
    bool good = number ? number.getType().isInteger(64) && number.getInt() >= 0 : isa<StringAttr>(field.getValue());
    if (!good)
      return emitError() << "expected '" << field.getName().getValue() << "' of a schedule to be a number from 0 on or a word, but got " << field.getValue();
  }
  return success();
}

