//===- MathExpansion.cpp - math functions as arithmetic ---------------------===//
//
// Each function is a range reduction and a polynomial, the same code for scalars and vectors, f32 and f64, and without
// branches. The coefficients are minimax (Remez in 200 bits). Largest errors seen on the host
// (test/Target/math_accuracy.py): exp 0.97 ulp, exp2 1.04, expm1 1.8, log 0.8, log2 1.7, log1p 1.44, tanh 2.5,
// rsqrt 1.5. Infinities, NaN, signed zeros and numbers below the least normal one come out as libm has them.
//
//===----------------------------------------------------------------------===//

#include "mhc/Codegen/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Matchers.h"

#include "llvm/ADT/TypeSwitch.h"

namespace mlir::mhc {
#define GEN_PASS_DEF_EXPANDMATHPASS
#include "mhc/Codegen/Passes.h.inc"

namespace {

constexpr double ln2 = 0.69314718055994530942, log2e = 1.4426950408889634074,
                 infinity = std::numeric_limits<double>::infinity();

/// What the algorithms need to know of a floating-point format.
struct Format {
  int64_t mantissa, bias;
  /// ln2 in two parts; n * ln2High is exact for every n that occurs.
  double ln2High, ln2Low;
  /// Below the first exp is 0, above the second infinity.
  double expLow, expHigh;
  /// Below it expm1 is -1, above the second tanh is 1 (as rounded).
  double expm1Low, tanhHigh;
  double leastNormal;
  /// A power of two that lifts numbers below leastNormal into the normal range.
  int64_t lift;
  /// (e^r - 1 - r) / r^2 on |r| <= ln2 / 2, lowest order first.
  ArrayRef<double> expm1;
  /// f32: (log(1+f) - f + f^2/2) / f^3. f64: (log((1+s)/(1-s)) - 2s) / s^3 as a polynomial in s^2.
  ArrayRef<double> log;
};

constexpr double expm1F32[] = {0.5, 0.166666672, 0.0416662395, 0.00833328627, 0.00139486999, 0.00019907704};
constexpr double expm1F64[] = {0.5,
                               0.16666666666666677,
                               0.041666666666666699,
                               0.0083333333333215319,
                               0.0013888888888866681,
                               0.00019841269886401828,
                               2.480158736087068e-05,
                               2.7557243911015523e-06,
                               2.7557242487450517e-07,
                               2.5109147596142116e-08,
                               2.0924528297398188e-09};
constexpr double logF32[] = {0.333333135,  -0.249999836, 0.20002231,   -0.16669488, 0.142160967,
                             -0.123768367, 0.118963555,  -0.118536107, 0.0692766234};
constexpr double logF64[] = {0.66666666666667118, 0.39999999999503266, 0.28571428733822535, 0.22222198558135201,
                             0.18183601938339847, 0.15312332078831384, 0.14819283244088521};

const Format formatF32 = {23,   127,      0.693359375, -2.12194440e-4, -104.0, 89.0, -18.0,
                          10.0, 0x1p-126, 25,          expm1F32,       logF32};
const Format formatF64 = {
    52,       1023,  6.93147180369123816490e-01, 1.90821492927058770002e-10, -746.0, 710.0, -40.0, 20.0, 0x1p-1022, 54,
    expm1F64, logF64};

/// Writes functions of one type at one place.
class Expander {
public:
  Expander(OpBuilder &builder, Location loc, Type type)
      : b(builder), loc(loc), type(type), format(getElementTypeOrSelf(type).isF32() ? formatF32 : formatF64),
        bits(like(b.getIntegerType(getElementTypeOrSelf(type).getIntOrFloatBitWidth()))) {}

  Value exp(Value x) {
    Reduced reduced = reduceExp(clamp(x, format.expLow, format.expHigh));
    return scale(reduced);
  }

  Value exp2(Value x) {
    // The bounds of exp, in powers of two; generous, for what is beyond overflows or vanishes by itself.
    x = clamp(x, format.expLow * 1.45, format.expHigh * 1.45);
    Reduced reduced = nearestInteger(x, constant(1.0));
    reduced.r = mul(sub(x, reduced.n), constant(ln2));
    return scale(reduced);
  }

  Value expm1(Value x) {
    Reduced reduced = reduceExp(clamp(x, format.expm1Low, format.expHigh));
    // 2^n (e^r - 1) + (2^n - 1), halved: 2^n itself may be too large.
    Value half = power(arith::SubIOp::create(b, loc, reduced.nBits, integer(1)));
    Value y = fma(half, expm1Reduced(reduced.r), sub(half, constant(0.5)));
    // e^r - 1 of -0 is 0: the sum loses the sign.
    return select(compare(arith::CmpFPredicate::OEQ, x, constant(0.0)), x, add(y, y));
  }

  Value tanh(Value x) {
    Value magnitude = abs(x);
    magnitude = select(compare(arith::CmpFPredicate::OGT, magnitude, constant(format.tanhHigh)),
                       constant(format.tanhHigh), magnitude);
    // (e^2a - 1) / (e^2a + 1)
    Value e = expm1(add(magnitude, magnitude));
    return math::CopySignOp::create(b, loc, arith::DivFOp::create(b, loc, e, add(e, constant(2.0))), x);
  }

  Value log(Value x) {
    // x = 2^e (1 + f), 1 + f in [sqrt(1/2), sqrt(2)). Integer arithmetic on the bits, shifted so that all numbers are
    // positive: AVX2 has no arithmetic shift of 64-bit integers, nor their conversion.
    Value small = compare(arith::CmpFPredicate::OLT, x, constant(format.leastNormal));
    Value lifted = select(small, mul(x, constant(std::ldexp(1.0, format.lift))), x);
    Value word = bitcast(lifted, bits);
    int64_t one = format.bias << format.mantissa;
    Value shifted = arith::AddIOp::create(b, loc, word, integer(one - bitsOf(std::sqrt(0.5))));
    Value biased = arith::ShRUIOp::create(b, loc, shifted, integer(format.mantissa));
    Value fraction =
        arith::SubIOp::create(b, loc, word, arith::ShLIOp::create(b, loc, biased, integer(format.mantissa)));
    Value f = sub(bitcast(arith::AddIOp::create(b, loc, fraction, integer(one)), type), constant(1.0));
    double magic = std::ldexp(1.0, format.mantissa);
    Value exponent = bitcast(arith::OrIOp::create(b, loc, biased, integer(bitsOf(magic))), type);
    Value offset = select(small, constant(magic + format.bias + format.lift), constant(magic + format.bias));
    Value y = logReduced(f, sub(exponent, offset));
    y = select(compare(arith::CmpFPredicate::OEQ, x, constant(infinity)), x, y);
    Value outside =
        select(compare(arith::CmpFPredicate::OEQ, x, constant(0.0)), constant(-infinity), constant(std::nan("")));
    return select(compare(arith::CmpFPredicate::OGT, x, constant(0.0)), y, outside);
  }

  Value log1p(Value x) {
    // log(u) + c/u, where u = 1 + x as rounded and c = (1 + x) - u. The difference is taken from the larger of 1 and x,
    // so that it is exact.
    Value one = constant(1.0), u = add(x, one);
    Value large = compare(arith::CmpFPredicate::OGT, x, one);
    Value c = select(large, sub(one, sub(u, x)), sub(x, sub(u, one)));
    Value y = log(u), corrected = add(y, arith::DivFOp::create(b, loc, c, u));
    // Not where u is 0 or infinite.
    Value inside = arith::AndIOp::create(b, loc, compare(arith::CmpFPredicate::OGT, u, constant(0.0)),
                                         compare(arith::CmpFPredicate::OLT, u, constant(infinity)));
    y = select(inside, corrected, y);
    return select(compare(arith::CmpFPredicate::OEQ, x, constant(0.0)), x, y);
  }

  Value log2(Value x) { return mul(log(x), constant(log2e)); }
  Value rsqrt(Value x) { return arith::DivFOp::create(b, loc, constant(1.0), math::SqrtOp::create(b, loc, x)); }

  //===--- NVPTX: instructions, f32 ------------------------------------------===//

  /// `intrinsic` of each lane.
  Value lanewise(StringRef intrinsic, ValueRange operands) {
    auto call = [&](ValueRange scalars) -> Value {
      auto name = b.getStringAttr(intrinsic);
      return LLVM::CallIntrinsicOp::create(b, loc, b.getF32Type(), name, scalars).getResult(0);
    };
    auto vector = dyn_cast<VectorType>(type);
    if (!vector)
      return call(operands);
    SmallVector<Value> lanes;
    for (int64_t i = 0; i < vector.getNumElements(); ++i)
      lanes.push_back(call(
          llvm::map_to_vector(operands, [&](Value v) -> Value { return vector::ExtractOp::create(b, loc, v, i); })));
    return vector::FromElementsOp::create(b, loc, vector, lanes);
  }

  /// 2^(x log2(e)); the product's rounding error, times ln2, is put on afterwards.
  Value expNvptx(Value x, bool approximate) {
    Value p = mul(x, constant(log2e)), r = lanewise("llvm.nvvm.ex2.approx.ftz", p);
    if (approximate)
      return r;
    Value e = fma(x, constant(log2e), arith::NegFOp::create(b, loc, p));
    e = fma(x, constant(log2e - double(float(log2e))), e);
    Value y = fma(r, mul(e, constant(ln2)), r);
    // Where x is infinite, or r overflows, the correction is not a number, and r is right.
    return select(compare(arith::CmpFPredicate::ORD, y, y), y, r);
  }
  Value exp2Nvptx(Value x) { return lanewise("llvm.nvvm.ex2.approx.ftz", x); }
  /// Its error is absolute near 1, 2^-22: good enough for sums of exponentials, if asked for.
  Value logApproximateNvptx(Value x) { return mul(lanewise("llvm.nvvm.lg2.approx.ftz.f", x), constant(ln2)); }
  /// x / y by the reciprocal, within 2 ulp. A denominator that is no normal number (below 1.2e-38) counts as zero, and the quotient by one above 8.5e37,
  /// whose reciprocal is none, is zero: without this a reciprocal is seven instructions, and not one.
  Value divNvptx(Value x, Value y) {
    Value reciprocal = lanewise("llvm.nvvm.rcp.approx.ftz.f", y);
    return matchPattern(x, m_OneFloat()) ? reciprocal : mul(x, reciprocal);
  }
  Value rsqrtNvptx(Value x) { return lanewise("llvm.nvvm.rsqrt.approx.f", x); }

  //===--- Rounding ----------------------------------------------------------===//

  /// f64 to bf16 through f32, which rounds to odd: a second rounding to nearest is then as good as one.
  Value toBF16(Value x, Type result) {
    Type f32 = like(b.getF32Type()), i32 = like(b.getI32Type());
    Value nearest = arith::TruncFOp::create(b, loc, f32, x), back = arith::ExtFOp::create(b, loc, type, nearest);
    Value word = bitcast(nearest, i32);
    auto constantOf = [&](int64_t v) { return splat(b.getI32IntegerAttr(v), i32); };
    Value above = compare(arith::CmpFPredicate::OGT, abs(back), abs(x)),
          inexact = compare(arith::CmpFPredicate::ONE, back, x);
    Value down = arith::SubIOp::create(b, loc, word, arith::ExtUIOp::create(b, loc, i32, above));
    Value odd = arith::OrIOp::create(b, loc, down, constantOf(1));
    return arith::TruncFOp::create(b, loc, result, bitcast(select(inexact, odd, word), f32));
  }

private:
  /// n, also as an integer, and r = x - n ln2.
  struct Reduced {
    Value n, nBits, r;
  };

  Reduced nearestInteger(Value x, Value factor) {
    // Adding 1.5 * 2^mantissa leaves the nearest integer in the low bits; a conversion would be undefined for NaN.
    double magic = 1.5 * std::ldexp(1.0, format.mantissa);
    Value sum = fma(x, factor, constant(magic));
    return {sub(sum, constant(magic)), arith::SubIOp::create(b, loc, bitcast(sum, bits), integer(bitsOf(magic))),
            Value()};
  }

  Reduced reduceExp(Value x) {
    Reduced reduced = nearestInteger(x, constant(log2e));
    reduced.r = fma(reduced.n, constant(-format.ln2High), x);
    reduced.r = fma(reduced.n, constant(-format.ln2Low), reduced.r);
    return reduced;
  }

  Value expm1Reduced(Value r) { return fma(mul(r, r), polynomial(format.expm1, r), r); }

  /// e^r 2^n in two factors: at either end of the range 2^n is no normal number.
  Value scale(Reduced reduced) {
    Reduced first = nearestInteger(reduced.n, constant(0.5));
    Value factor = power(first.nBits);
    Value y = fma(factor, expm1Reduced(reduced.r), factor);
    return mul(y, power(arith::SubIOp::create(b, loc, reduced.nBits, first.nBits)));
  }

  /// 2^n, n in the range of normal numbers.
  Value power(Value n) {
    Value biased = arith::AddIOp::create(b, loc, n, integer(format.bias));
    return bitcast(arith::ShLIOp::create(b, loc, biased, integer(format.mantissa)), type);
  }

  /// log(1 + f) + e ln2.
  Value logReduced(Value f, Value e) {
    Value square = mul(f, f);
    if (format.mantissa == 23) {
      Value y = mul(mul(square, f), polynomial(format.log, f));
      y = fma(e, constant(format.ln2Low), y);
      y = fma(square, constant(-0.5), y);
      return fma(e, constant(format.ln2High), add(f, y));
    }
    Value s = arith::DivFOp::create(b, loc, f, add(f, constant(2.0))), z = mul(s, s);
    Value half = mul(square, constant(0.5)), rest = mul(z, polynomial(format.log, z));
    Value y = fma(s, add(half, rest), mul(e, constant(format.ln2Low)));
    return fma(e, constant(format.ln2High), sub(f, sub(half, y)));
  }

  Value polynomial(ArrayRef<double> coefficients, Value x) {
    Value y = constant(coefficients.back());
    for (double coefficient : llvm::reverse(coefficients.drop_back()))
      y = fma(y, x, constant(coefficient));
    return y;
  }

  /// NaN passes.
  Value clamp(Value x, double low, double high) {
    x = select(compare(arith::CmpFPredicate::OLT, x, constant(low)), constant(low), x);
    return select(compare(arith::CmpFPredicate::OGT, x, constant(high)), constant(high), x);
  }

  int64_t bitsOf(double value) {
    return format.mantissa == 23 ? int64_t(llvm::bit_cast<uint32_t>(float(value))) : llvm::bit_cast<int64_t>(value);
  }
  Type like(Type element) {
    auto vector = dyn_cast<VectorType>(type);
    return vector ? Type(vector.clone(element)) : element;
  }
  Value splat(TypedAttr value, Type as) {
    if (auto vector = dyn_cast<VectorType>(as))
      return arith::ConstantOp::create(b, loc, DenseElementsAttr::get(vector, Attribute(value)));
    return arith::ConstantOp::create(b, loc, value);
  }
  Value constant(double value) { return splat(b.getFloatAttr(getElementTypeOrSelf(type), value), type); }
  Value integer(int64_t value) { return splat(b.getIntegerAttr(getElementTypeOrSelf(bits), value), bits); }
  Value bitcast(Value value, Type to) { return arith::BitcastOp::create(b, loc, to, value); }
  Value add(Value x, Value y) { return arith::AddFOp::create(b, loc, x, y); }
  Value sub(Value x, Value y) { return arith::SubFOp::create(b, loc, x, y); }
  Value mul(Value x, Value y) { return arith::MulFOp::create(b, loc, x, y); }
  Value fma(Value x, Value y, Value z) { return math::FmaOp::create(b, loc, x, y, z); }
  Value abs(Value x) { return math::AbsFOp::create(b, loc, x); }
  Value compare(arith::CmpFPredicate predicate, Value x, Value y) {
    return arith::CmpFOp::create(b, loc, predicate, x, y);
  }
  Value select(Value condition, Value x, Value y) { return arith::SelectOp::create(b, loc, condition, x, y); }

  OpBuilder &b;
  Location loc;
  Type type;
  const Format &format;
  Type bits;
};

bool dividesByReciprocal(arith::DivFOp op) {
  return getElementTypeOrSelf(op.getType()).isF32() && arith::bitEnumContainsAll(op.getFastmath(), arith::FastMathFlags::arcp | arith::FastMathFlags::afn);
}

bool approximates(arith::FastMathFlags flags) { return arith::bitEnumContainsAll(flags, arith::FastMathFlags::afn); }

/// The function written out, or null where `op` stays as it is. Its parts may be math ops again, of the kind that the
/// second step takes.
Value expand(Operation *op, bool nvptx, OpBuilder &b) {
  Expander x(b, op->getLoc(), op->getOperand(0).getType());
  Value operand = op->getOperand(0);
  return llvm::TypeSwitch<Operation *, Value>(op)
      .Case([&](math::ExpOp e) { return nvptx ? x.expNvptx(operand, approximates(e.getFastmath())) : x.exp(operand); })
      .Case([&](math::Exp2Op) { return nvptx ? x.exp2Nvptx(operand) : x.exp2(operand); })
      .Case([&](math::ExpM1Op) { return x.expm1(operand); })
      .Case([&](math::LogOp l) {
        return nvptx && approximates(l.getFastmath()) ? x.logApproximateNvptx(operand) : x.log(operand);
      })
      .Case([&](math::Log2Op) { return x.log2(operand); })
      .Case([&](math::Log1pOp) { return x.log1p(operand); })
      .Case([&](math::TanhOp) { return x.tanh(operand); })
      .Case([&](math::RsqrtOp) { return nvptx ? x.rsqrtNvptx(operand) : x.rsqrt(operand); })
      .Case([&](arith::DivFOp d) { return nvptx && dividesByReciprocal(d) ? x.divNvptx(operand, d.getRhs()) : Value(); })
      .Case([&](arith::TruncFOp t) {
        bool direct = !getElementTypeOrSelf(operand).isF64() || !getElementTypeOrSelf(t.getType()).isBF16();
        return direct ? Value() : x.toBF16(operand, t.getType());
      })
      .Default(Value());
}

/// What host code has instructions for (the conversions to LLVM make intrinsics of it).
bool isNativeOnHost(Operation *op) {
  return isa<math::AbsFOp, math::AbsIOp, math::CeilOp, math::CopySignOp, math::FloorOp, math::FmaOp, math::RoundEvenOp,
             math::SqrtOp, math::TruncOp, math::IsNaNOp, math::IsInfOp, math::IsFiniteOp>(op);
}

/// The same for NVPTX, as LLVM ops: the conversion of math ops there would call libdevice. Intrinsics without an op of
/// their own are called by name where the conversion holds their ops for illegal.
Value nativeOnNvptx(Operation *op, OpBuilder &b) {
  Location loc = op->getLoc();
  Expander x(b, loc, op->getOperand(0).getType());
  OperandRange operands = op->getOperands();
  auto intrinsic = [&](StringRef name) { return x.lanewise(name, operands); };
  return llvm::TypeSwitch<Operation *, Value>(op)
      .Case([&](math::AbsFOp) { return intrinsic("llvm.fabs"); })
      .Case([&](math::CeilOp) { return intrinsic("llvm.ceil"); })
      .Case([&](math::CopySignOp) { return intrinsic("llvm.copysign"); })
      .Case([&](math::FloorOp) { return intrinsic("llvm.floor"); })
      .Case([&](math::RoundEvenOp) { return intrinsic("llvm.roundeven"); })
      .Case([&](math::SqrtOp) { return intrinsic("llvm.sqrt"); })
      .Case([&](math::TruncOp) { return intrinsic("llvm.trunc"); })
      .Case([&](math::FmaOp) { return Value(LLVM::FMAOp::create(b, loc, operands[0], operands[1], operands[2])); })
      .Case([&](arith::MaxNumFOp) { return Value(LLVM::MaxNumOp::create(b, loc, operands[0], operands[1])); })
      .Case([&](arith::MinNumFOp) { return Value(LLVM::MinNumOp::create(b, loc, operands[0], operands[1])); })
      .Case([&](math::IsNaNOp) {
        return Value(arith::CmpFOp::create(b, loc, arith::CmpFPredicate::UNO, operands[0], operands[0]));
      })
      .Case([&](math::AbsIOp a) {
        return Value(LLVM::AbsOp::create(b, loc, a.getType(), operands[0], /*is_int_min_poison=*/false));
      })
      .Default(Value());
}

struct ExpandMathPass : impl::ExpandMathPassBase<ExpandMathPass> {
  using ExpandMathPassBase::ExpandMathPassBase;

  void runOnOperation() override {
    if (target != "cpu" && target != "nvptx") {
      getOperation()->emitError() << "expected target cpu or nvptx, but got '" << target << "'";
      return signalPassFailure();
    }
    bool nvptx = target == "nvptx";
    // Expansions come before what they are made of.
    if (failed(rewrite([&](Operation *op, OpBuilder &b) { return expand(op, nvptx, b); }, nvptx)))
      return signalPassFailure();
    if (nvptx && failed(rewrite([&](Operation *op, OpBuilder &b) { return nativeOnNvptx(op, b); }, nvptx)))
      return signalPassFailure();
    getOperation()->walk([&](Operation *op) {
      bool math = isa_and_nonnull<math::MathDialect>(op->getDialect());
      if ((math && (nvptx || !isNativeOnHost(op))) || isa<arith::RemFOp>(op)) {
        op->emitError() << "no expansion of '" << op->getName() << "' for target " << target;
        signalPassFailure();
      }
    });
  }

  LogicalResult rewrite(function_ref<Value(Operation *, OpBuilder &)> replace, bool nvptx) {
    SmallVector<Operation *> ops;
    getOperation()->walk([&](Operation *op) {
      // Of arith only what is replaced below: its other ops may be on types that are no numbers (index).
      if (isa_and_nonnull<math::MathDialect>(op->getDialect()) || isa<arith::DivFOp, arith::TruncFOp, arith::MaxNumFOp, arith::MinNumFOp>(op))
        ops.push_back(op);
    });
    for (Operation *op : ops) {
      if (isa<math::MathDialect>(op->getDialect())) {
        Type element = getElementTypeOrSelf(op->getOperand(0).getType());
        auto vector = dyn_cast<VectorType>(op->getOperand(0).getType());
        bool known = element.isF32() || (element.isF64() && !nvptx) || isa<IntegerType>(element);
        if (!known || (vector && (vector.getRank() != 1 || vector.isScalable())))
          return op->emitError() << "expected '" << op->getName() << "' on scalars or vectors of "
                                 << (nvptx ? "f32" : "f32 or f64") << " for target " << target << ", but got "
                                 << op->getOperand(0).getType();
      }
      OpBuilder b(op);
      if (Value value = replace(op, b)) {
        op->getResult(0).replaceAllUsesWith(value);
        op->erase();
      }
    }
    return success();
  }
};

} // namespace
} // namespace mlir::mhc
