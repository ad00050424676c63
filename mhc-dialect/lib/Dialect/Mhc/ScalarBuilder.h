//===- ScalarBuilder.h - scalar arithmetic in few words ---------*- C++ -*-===//
#ifndef MHC_LIB_DIALECT_MHC_SCALARBUILDER_H
#define MHC_LIB_DIALECT_MHC_SCALARBUILDER_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

namespace mlir::mhc {

/// Builds scalar code of one floating-point type (`arith`, `math`): what stands in the regions of row programs.
struct ScalarBuilder {
  OpBuilder &b;
  Location loc;
  Type type;

  Value constant(double v) { return arith::ConstantOp::create(b, loc, b.getFloatAttr(type, v)); }
  Value index(int64_t v) { return arith::ConstantIndexOp::create(b, loc, v); }
  Value add(Value x, Value y) { return arith::AddFOp::create(b, loc, x, y); }
  Value sub(Value x, Value y) { return arith::SubFOp::create(b, loc, x, y); }
  Value mul(Value x, Value y) { return arith::MulFOp::create(b, loc, x, y); }
  Value div(Value x, Value y) { return arith::DivFOp::create(b, loc, x, y); }
  Value fma(Value x, Value y, Value z) { return math::FmaOp::create(b, loc, x, y, z); }
  Value neg(Value x) { return arith::NegFOp::create(b, loc, x); }
  Value abs(Value x) { return math::AbsFOp::create(b, loc, x); }
  Value max(Value x, Value y) { return arith::MaximumFOp::create(b, loc, x, y); }
  Value min(Value x, Value y) { return arith::MinimumFOp::create(b, loc, x, y); }
  Value exp(Value x) { return math::ExpOp::create(b, loc, x); }
  Value log(Value x) { return math::LogOp::create(b, loc, x); }
  Value log1p(Value x) { return math::Log1pOp::create(b, loc, x); }
  Value sqrt(Value x) { return math::SqrtOp::create(b, loc, x); }
  Value tanh(Value x) { return math::TanhOp::create(b, loc, x); }
  Value sigmoid(Value x) { return div(constant(1), add(constant(1), exp(neg(x)))); }
  Value equal(Value x, Value y) { return arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OEQ, x, y); }
  Value less(Value x, Value y) { return arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OLT, x, y); }
  Value select(Value c, Value x, Value y) { return arith::SelectOp::create(b, loc, c, x, y); }
  /// Left to right; there is at least one term.
  Value sum(ArrayRef<Value> terms) {
    Value total = terms.front();
    for (Value term : terms.drop_front())
      total = add(total, term);
    return total;
  }
};

} // namespace mlir::mhc

#endif // MHC_LIB_DIALECT_MHC_SCALARBUILDER_H
