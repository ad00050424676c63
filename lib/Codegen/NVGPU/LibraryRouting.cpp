//===- LibraryRouting.cpp - counts of experts and the selection bias --------===//
//
// mhc_expert_load(counts, previous, share, total; experts)                  one block; previous may be null
// mhc_sequence_load(index, share; length, choices, experts)                 a block a sequence
// mhc_update_bias_<i32|i64>(bias, counts, factor, out; experts, rate)       a block a row; factor may be null; rate: the bits of an f32
//
// mhc_route_check(index, status; count, choices)                            a choice a thread
//
// Counts are integers of 64 bits, so that their sum is the same in any order.
//
//===----------------------------------------------------------------------===//

#include "Library.h"

namespace mlir::mhc::nvgpu {
namespace {

class RoutingKernel : public LibraryKernel {
public:
  using LibraryKernel::LibraryKernel;
  static constexpr int64_t threads = 256, warps = threads / warpSize;

  /// A choice below -1 says that the token's logits are not finite: the status' fourth word becomes the least such token.
  void routeCheck(StringRef name) {
    begin(name, 2, 2, {threads, threads, 0});
    Type i32Type = b.getI32Type(), i64Type = b.getI64Type();
    Value i = add(mul(widen64(blockIndex), threads), widen64(thread));
    when(less(i, argument(2)), [&] {
      when(less(load(i32Type, address(argument(0), i32Type, i), 4), i32(-1)), [&] {
        LLVM::AtomicRMWOp::create(b, loc, LLVM::AtomicBinOp::min, address(argument(1), i64Type, 3), divide(i, argument(3)), LLVM::AtomicOrdering::monotonic, /*syncscope=*/StringRef(),
                                  /*alignment=*/8);
      });
    });
    end();
  }

  void expertLoad(StringRef name) {
    begin(name, 4, 1, {1, threads, warps * 8});
    Type i64Type = b.getI64Type();
    Value counts = argument(0), previous = argument(1), share = argument(2), total = argument(3), experts = argument(4);
    Value hasPrevious = isThere(previous);
    Value sum = blockSum(experts, [&](Value e) -> Value {
      Value before = guarded(hasPrevious, i64(0), [&] { return load(i64Type, address(previous, i64Type, e), 8); });
      Value all = add(before, widen64(load(b.getI32Type(), address(counts, b.getI32Type(), e), 4)));
      store(all, address(total, i64Type, e), 8);
      return all;
    });
    // Each thread reads what it has written itself.
    loop(widen64(thread), experts, i64(threads), [&](Value e) { storeShare(load(i64Type, address(total, i64Type, e), 8), sum, address(share, compute, e)); });
    end();
  }

  void sequenceLoad(StringRef name) {
    begin(name, 2, 3, {1, threads, warps * 8});
    Type i32Type = b.getI32Type();
    Value length = argument(2), choices = argument(3), experts = argument(4), count = mul(length, choices);
    Value index = address(argument(0), i32Type, mul(widen64(blockIndex), count)), share = address(argument(1), compute, mul(widen64(blockIndex), experts));
    auto at = [&](Value i) { return load(i32Type, address(index, i32Type, i), 4); };
    Value known = blockSum(count, [&](Value i) -> Value {
      Value wide = arith::ExtUIOp::create(b, loc, b.getI64Type(), at(i)); // negative ones become large
      return arith::ExtUIOp::create(b, loc, b.getI64Type(), compare(arith::CmpIPredicate::ult, wide, experts));
    });
    // A thread counts for its experts; all threads of a warp read the same word.
    loop(widen64(thread), experts, i64(threads), [&](Value e) {
      Value expert = narrow32(e);
      Value found = loop(i64(0), count, i64(1), i64(0), [&](Value i, ValueRange carried) {
                      Value same = compare(arith::CmpIPredicate::eq, at(i), expert);
                      return SmallVector<Value>{add(carried.front(), arith::ExtUIOp::create(b, loc, b.getI64Type(), same))};
                    }).front();
      storeShare(found, known, address(share, compute, e));
    });
    end();
  }

  void updateBias(StringRef name, Type element) {
    begin(name, 4, 2, {1, threads, warps * 8});
    Value experts = argument(4), first = mul(widen64(blockIndex), experts);
    Value bias = address(argument(0), compute, first), counts = address(argument(1), element, first), factor = argument(2), out = address(argument(3), compute, first);
    Value rate = arith::BitcastOp::create(b, loc, compute, narrow32(argument(5)));
    auto at = [&](Value e) -> Value {
      Value count = load(element, address(counts, element, e), bytesOf(element));
      return element.isInteger(64) ? count : widen64(count);
    };
    Value sum = blockSum(experts, at);
    Value skip = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OLT, guarded(isThere(factor), f32(0.0), [&] { return load(compute, factor, 4); }), f32(0.0));
    loop(widen64(thread), experts, i64(threads), [&](Value e) {
      Value mean = sum, mine = mul(experts, at(e)), place = address(bias, compute, e);
      Value step = select(less(mine, mean), rate, select(less(mean, mine), arith::NegFOp::create(b, loc, rate), f32(0.0)));
      Value before = load(compute, place, 4);
      store(select(skip, before, addFloat(before, step)), address(out, compute, e), 4);
    });
    end();
  }

private:
  Value isThere(Value pointer) {
    return compare(arith::CmpIPredicate::ne, LLVM::PtrToIntOp::create(b, loc, b.getI64Type(), pointer), i64(0));
  }

  /// The sum over i < count of value(i), the same in all threads.
  Value blockSum(Value count, function_ref<Value(Value)> value) {
    Type i64Type = b.getI64Type();
    Value sum = loop(widen64(thread), count, i64(threads), i64(0), [&](Value i, ValueRange carried) {
                  return SmallVector<Value>{add(carried.front(), value(i))};
                }).front();
    // 32 bits at a time through the warp: the halves are put together again.
    for (int64_t distance = warpSize / 2; distance > 0; distance /= 2) {
      Value low = shuffle(narrow32(sum), distance), high = shuffle(narrow32(shiftRight(sum, 32)), distance);
      Value other = arith::OrIOp::create(b, loc, arith::ShLIOp::create(b, loc, arith::ExtUIOp::create(b, loc, i64Type, high), i64(32)),
                                         arith::ExtUIOp::create(b, loc, i64Type, low));
      sum = add(sum, other);
    }
    when(compare(arith::CmpIPredicate::eq, bitAnd(thread, warpSize - 1), i32(0)), [&] { store(sum, address(shared, i64Type, shiftRight(thread, 5)), 8); });
    barrier();
    Value all = i64(0);
    for (int64_t w = 0; w < warps; ++w)
      all = add(all, load(i64Type, address(shared, i64Type, w), 8));
    barrier();
    return all;
  }

  /// part / whole by way of f64, as the CPU does it; 0 where nothing is there.
  void storeShare(Value part, Value whole, Value place) {
    Type f64 = b.getF64Type();
    Value none = compare(arith::CmpIPredicate::eq, whole, i64(0));
    Value quotient = arith::DivFOp::create(b, loc, arith::SIToFPOp::create(b, loc, f64, part), arith::SIToFPOp::create(b, loc, f64, select(none, i64(1), whole)));
    store(select(none, f32(0.0), arith::TruncFOp::create(b, loc, compute, quotient)), place, 4);
  }
};

} // namespace

bool emitRoutingKernel(OpBuilder &builder, gpu::GPUModuleOp target, StringRef name, NameParts) {
  RoutingKernel kernel(builder, target);
  if (name == "mhc_expert_load")
    kernel.expertLoad(name);
  else if (name == "mhc_route_check")
    kernel.routeCheck(name);
  else if (name == "mhc_sequence_load")
    kernel.sequenceLoad(name);
  else if (name == "mhc_update_bias_i32" || name == "mhc_update_bias_i64")
    kernel.updateBias(name, builder.getIntegerType(name.ends_with("i64") ? 64 : 32));
  else
    return false;
  return true;
}

} // namespace mlir::mhc::nvgpu
