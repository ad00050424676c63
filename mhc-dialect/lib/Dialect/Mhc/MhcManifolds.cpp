//===- MhcManifolds.cpp - projections onto manifolds, forward and backward --===//
//
// Scalar code of one token, written once for every target (ManifoldAttrInterface). To add a manifold: an attribute in MhcAttributes.td and
// its five methods here.
//
//===----------------------------------------------------------------------===//

#include "mhc/Dialect/Mhc/IR/MhcDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace mlir::mhc;

//===----------------------------------------------------------------------===//
// birkhoff
//===----------------------------------------------------------------------===//

LogicalResult BirkhoffAttr::verify(function_ref<InFlightDiagnostic()> emitError, int64_t iterations, bool) {
  if (iterations < 1)
    return emitError() << "expected at least one iteration, but got " << iterations;
  return success();
}

int64_t BirkhoffAttr::columns(int64_t streams) const { return streams * streams; }
StringRef BirkhoffAttr::guarantees() const {
  return getFirstOverInputs() ? "doubly stochastic; columns sum to 1 exactly" : "doubly stochastic; rows sum to 1 exactly";
}
std::pair<int64_t, int64_t> BirkhoffAttr::flops(int64_t n) const {
  // Two divisions an iteration; an exponential counts 20 operations, a logarithm 25.
  int64_t division = n * (n * (20 + 3) + 25);
  return {2 * getIterations() * division, 2 * getIterations() * (2 * division + 4 * n * n)};
}

namespace {
/// Sinkhorn-Knopp in the log domain on an n x n matrix of scalars.
struct LogSinkhorn {
  OpBuilder &b;
  Location loc;
  int64_t n;
  bool firstOverInputs;

  /// Index of element `k` of line `line`: a line is what one division normalises. `over inputs`: a row.
  int64_t at(bool overInputs, int64_t line, int64_t k) const { return overInputs ? line * n + k : k * n + line; }

  /// L' = L - lse(L) over each line.
  void divide(bool overInputs, SmallVectorImpl<Value> &l) {
    for (int64_t line = 0; line < n; ++line) {
      Value top = l[at(overInputs, line, 0)];
      for (int64_t k = 1; k < n; ++k)
        top = b.create<arith::MaximumFOp>(loc, top, l[at(overInputs, line, k)]);
      Value sum;
      for (int64_t k = 0; k < n; ++k) {
        Value e = b.create<math::ExpOp>(loc, b.create<arith::SubFOp>(loc, l[at(overInputs, line, k)], top));
        sum = sum ? b.create<arith::AddFOp>(loc, sum, e).getResult() : e;
      }
      Value lse = b.create<arith::AddFOp>(loc, top, b.create<math::LogOp>(loc, sum));
      for (int64_t k = 0; k < n; ++k) {
        Value &v = l[at(overInputs, line, k)];
        v = b.create<arith::SubFOp>(loc, v, lse);
      }
    }
  }

  /// dL = dL' - exp(L') sum(dL') over each line, from the divided L'.
  void divideBackward(bool overInputs, ArrayRef<Value> divided, SmallVectorImpl<Value> &d) {
    for (int64_t line = 0; line < n; ++line) {
      Value sum = d[at(overInputs, line, 0)];
      for (int64_t k = 1; k < n; ++k)
        sum = b.create<arith::AddFOp>(loc, sum, d[at(overInputs, line, k)]);
      for (int64_t k = 0; k < n; ++k) {
        int64_t i = at(overInputs, line, k);
        Value share = b.create<arith::MulFOp>(loc, b.create<math::ExpOp>(loc, divided[i]), sum);
        d[i] = b.create<arith::SubFOp>(loc, d[i], share);
      }
    }
  }

  void iterate(SmallVectorImpl<Value> &l) {
    divide(firstOverInputs, l);
    divide(!firstOverInputs, l);
  }
};
} // namespace

SmallVector<Value> BirkhoffAttr::buildForward(OpBuilder &b, Location loc, int64_t n, ValueRange z) const {
  LogSinkhorn sinkhorn{b, loc, n, getFirstOverInputs()};
  Value zero = b.create<arith::ConstantIndexOp>(loc, 0), one = b.create<arith::ConstantIndexOp>(loc, 1);
  Value count = b.create<arith::ConstantIndexOp>(loc, getIterations());
  auto loop = b.create<scf::ForOp>(loc, zero, count, one, z, [&](OpBuilder &inner, Location l, Value, ValueRange carried) {
    LogSinkhorn body{inner, l, n, getFirstOverInputs()};
    SmallVector<Value> values(carried);
    body.iterate(values);
    inner.create<scf::YieldOp>(l, values);
  });
  SmallVector<Value> h;
  for (Value value : loop.getResults())
    h.push_back(b.create<math::ExpOp>(loc, value));
  return h;
}

SmallVector<Value> BirkhoffAttr::buildBackward(OpBuilder &b, Location loc, int64_t n, ValueRange z, ValueRange dh) const {
  // Forward again, keeping L after every division; then the divisions in reverse.
  int64_t size = n * n, iterations = getIterations();
  auto historyType = MemRefType::get({2 * iterations, size}, z[0].getType());
  Value history = b.create<memref::AllocaOp>(loc, historyType);
  Value zero = b.create<arith::ConstantIndexOp>(loc, 0), one = b.create<arith::ConstantIndexOp>(loc, 1);
  Value two = b.create<arith::ConstantIndexOp>(loc, 2);
  Value count = b.create<arith::ConstantIndexOp>(loc, iterations), last = b.create<arith::ConstantIndexOp>(loc, iterations - 1);
  SmallVector<Value> columns;
  for (int64_t i = 0; i < size; ++i)
    columns.push_back(b.create<arith::ConstantIndexOp>(loc, i));

  auto forward = b.create<scf::ForOp>(loc, zero, count, one, z, [&](OpBuilder &inner, Location l, Value iteration, ValueRange carried) {
    LogSinkhorn body{inner, l, n, getFirstOverInputs()};
    SmallVector<Value> values(carried);
    Value row = inner.create<arith::MulIOp>(l, iteration, two);
    auto keep = [&](Value at) {
      for (int64_t i = 0; i < size; ++i)
        inner.create<memref::StoreOp>(l, values[i], history, ValueRange{at, columns[i]});
    };
    body.divide(getFirstOverInputs(), values);
    keep(row);
    body.divide(!getFirstOverInputs(), values);
    keep(inner.create<arith::AddIOp>(l, row, one));
    inner.create<scf::YieldOp>(l, values);
  });

  SmallVector<Value> d; // dL of the last state: H = exp(L)
  for (int64_t i = 0; i < size; ++i)
    d.push_back(b.create<arith::MulFOp>(loc, dh[i], b.create<math::ExpOp>(loc, forward.getResult(i))));
  auto backward = b.create<scf::ForOp>(loc, zero, count, one, d, [&](OpBuilder &inner, Location l, Value step, ValueRange carried) {
    LogSinkhorn body{inner, l, n, getFirstOverInputs()};
    SmallVector<Value> values(carried);
    Value row = inner.create<arith::MulIOp>(l, inner.create<arith::SubIOp>(l, last, step), two);
    auto kept = [&](Value at) {
      SmallVector<Value> state;
      for (int64_t i = 0; i < size; ++i)
        state.push_back(inner.create<memref::LoadOp>(l, history, ValueRange{at, columns[i]}));
      return state;
    };
    body.divideBackward(!getFirstOverInputs(), kept(inner.create<arith::AddIOp>(l, row, one)), values);
    body.divideBackward(getFirstOverInputs(), kept(row), values);
    inner.create<scf::YieldOp>(l, values);
  });
  return SmallVector<Value>(backward.getResults());
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
                                     ManifoldAttrInterface manifold, FloatAttr eps, FloatAttr postScale, bool) {
  if (topology != "mhc" && topology != "hc")
    return emitError() << "expected topology \"mhc\" or \"hc\", but got \"" << topology << "\"";
  if (streams < 1 || streams > 8)
    return emitError() << "expected 1 to 8 streams, but got " << streams;
  if (!manifold)
    return emitError() << "expected a manifold";
  if (!eps || !postScale || !(eps.getValueAsDouble() > 0))
    return emitError() << "expected eps above 0";
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
  // cpu: an x86-64-v3 core, its level 2 cache. GPUs: registers and shared memory of a multiprocessor, data sheet rates (fp32 FMA).
  if (name == "cpu")
    return get(context, name, 1, 1 << 20, 10, 80);
  if (name == "sm_80")
    return get(context, name, 108, (256 + 164) << 10, 1550, 19500);
  if (name == "sm_90a")
    return get(context, name, 132, (256 + 227) << 10, 4300, 67000);
  if (name == "sm_100")
    return get(context, name, 148, (256 + 227) << 10, 7000, 75000);
  return {};
}
