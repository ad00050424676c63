//===- LibraryElements.cpp - kernels over elements --------------------------===//
//
// mhc_sum_partials_f32(partials, out; size, count, accumulate), mhc_sum_all_partials_f32 (the same arguments of eight sums), mhc_add_<type>(src, dst; size),
// mhc_widen_bf16(src, dst; size), mhc_round_bf16(src, dst; size), mhc_part_bf16(src, dst; size, part). One element a thread and step; a block takes 1024
// elements, so that a thread has four independent ones.
//
//===----------------------------------------------------------------------===//

#include "Library.h"

namespace mlir::mhc::nvgpu {
namespace {

class ElementKernel : public LibraryKernel {
public:
  using LibraryKernel::LibraryKernel;
  static constexpr int64_t threads = 256;
  static constexpr int64_t mostSumsAtOnce = 8; ///< docs/design/package.md

  void sumPartials(StringRef name) {
    begin(name, 2, 3, {threads, threads, 0});
    sumElement({argument(0), argument(1), argument(2), argument(3), argument(4)}, widen64(blockIndex));
    end();
  }

  /// The sums of up to eight launches in one: a block finds the sum that it has a part in. Pointers are partials, then out, of each sum.
  void sumAllPartials(StringRef name) {
    constexpr int64_t most = mostSumsAtOnce;
    begin(name, 2 * most, 3 * most, {threads, threads, 0});
    SmallVector<Sum> sums;
    SmallVector<Value> first{i64(0)}; // block of each sum, and the number of all
    for (int64_t s = 0; s < most; ++s) {
      sums.push_back({argument(s), argument(most + s), argument(2 * most + s), argument(3 * most + s), argument(4 * most + s)});
      first.push_back(add(first.back(), shiftRight(add(sums[s].size, threads - 1), llvm::Log2_64(threads))));
    }
    Value block = widen64(blockIndex), from = first[most - 1];
    Sum sum = sums.back();
    for (int64_t s = most - 2; s >= 0; --s) {
      Value isHere = less(block, first[s + 1]);
      for (Value Sum::*field : {&Sum::partials, &Sum::out, &Sum::size, &Sum::count, &Sum::flag})
        sum.*field = select(isHere, sums[s].*field, sum.*field);
      from = select(isHere, first[s], from);
    }
    sumElement(sum, sub(block, from));
    end();
  }

  /// dst[i] = src[i], or dst[i] + src[i], between two types.
  void move(StringRef name, Type from, Type to, bool addsUp) {
    constexpr int64_t each = 4;
    begin(name, 2, 1, {threads * each, threads, 0});
    Value src = argument(0), dst = argument(1), size = argument(2);
    Value first = add(mul(widen64(blockIndex), threads * each), widen64(thread));
    for (int64_t n = 0; n < each; ++n) {
      Value i = add(first, n * threads);
      when(less(i, size), [&] {
        Value value = loadWide(address(src, from, i), from), place = address(dst, to, i);
        storeWide(addsUp ? addFloat(loadWide(place, to), value) : value, place, to);
      });
    }
    end();
  }

  /// dst[i] = the bf16 number nearest to what the parts before left of src[i]. Three parts are all of an f32: 3 x 8 bits.
  void part(StringRef name, Type from, Type to) {
    constexpr int64_t each = 4;
    begin(name, 2, 2, {threads * each, threads, 0});
    Value src = argument(0), dst = argument(1), size = argument(2), part = argument(3);
    Value first = add(mul(widen64(blockIndex), threads * each), widen64(thread));
    for (int64_t n = 0; n < each; ++n) {
      Value i = add(first, n * threads);
      when(less(i, size), [&] {
        Value left = load(from, address(src, from, i), 4), chosen;
        for (int64_t p = 0; p < 3; ++p) {
          auto [bits, rounded] = round(left, to);
          chosen = p == 0 ? bits : select(compare(arith::CmpIPredicate::eq, part, i64(p)), bits, chosen);
          left = arith::SubFOp::create(b, loc, left, rounded);
        }
        store(chosen, address(dst, to, i), 2);
      });
    }
    end();
  }

private:
  struct Sum {
    Value partials, out, size, count, flag;
  };

  /// out[i] = (accumulate ? out[i] : 0) + partials[0][i] + partials[1][i] + .., in this order; i is the thread's in this block of the sum. Several partials are on their way at a time:
  /// a sum waits for memory once in so many, not for each.
  void sumElement(const Sum &sum, Value block) {
    constexpr int64_t atOnce = 8;
    Value i = add(mul(block, threads), widen64(thread));
    when(less(i, sum.size), [&] {
      Value place = address(sum.out, compute, i);
      auto partial = [&](Value p) { return load(compute, address(sum.partials, compute, add(mul(p, sum.size), i)), 4); };
      auto addInOrder = [&](Value start, ArrayRef<Value> values) {
        for (Value value : values)
          start = addFloat(start, value);
        return start;
      };
      // Not read where it is not added to: it may hold anything, NaN among it.
      Value total = guarded(compare(arith::CmpIPredicate::ne, sum.flag, i64(0)), f32(0.0), [&] { return load(compute, place, 4); });
      Value whole = bitAnd(sum.count, -atOnce);
      total = loop(i64(0), whole, i64(atOnce), total, [&](Value p, ValueRange carried) {
                SmallVector<Value> values;
                for (int64_t n = 0; n < atOnce; ++n)
                  values.push_back(partial(add(p, n)));
                return SmallVector<Value>{addInOrder(carried.front(), values)};
              }).front();
      SmallVector<Value> rest;
      for (int64_t n = 0; n < atOnce - 1; ++n) {
        Value p = add(whole, n);
        rest.push_back(guarded(less(p, sum.count), f32(-0.0), [&] { return partial(p); })); // x + -0 is x, whatever x
      }
      store(addInOrder(total, rest), place, 4);
    });
  }
};

} // namespace

bool emitElementKernel(OpBuilder &builder, gpu::GPUModuleOp target, StringRef name, NameParts parts) {
  ElementKernel kernel(builder, target);
  Type f32 = builder.getF32Type(), bf16 = builder.getBF16Type();
  if (name == "mhc_sum_partials_f32") {
    kernel.sumPartials(name);
  } else if (name == "mhc_sum_all_partials_f32") {
    kernel.sumAllPartials(name);
  } else if (parts.size() == 2 && parts[0] == "add" && parseElement(builder, parts[1])) {
    Type type = parseElement(builder, parts[1]);
    kernel.move(name, type, type, /*addsUp=*/true);
  } else if (name == "mhc_widen_bf16") {
    kernel.move(name, bf16, f32, /*addsUp=*/false);
  } else if (name == "mhc_round_bf16") {
    kernel.move(name, f32, bf16, /*addsUp=*/false);
  } else if (name == "mhc_part_bf16") {
    kernel.part(name, f32, bf16);
  } else {
    return false;
  }
  return true;
}

} // namespace mlir::mhc::nvgpu
