//===- LibraryElements.cpp - kernels over elements --------------------------===//
//
// mhc_sum_partials_f32(partials, out; size, count, accumulate), mhc_add_<type>(src, dst; size),
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

  /// out[i] = (accumulate ? out[i] : 0) + partials[0][i] + partials[1][i] + ..
  void sumPartials(StringRef name) {
    begin(name, 2, 3, {threads, threads, 0});
    Value partials = argument(0), out = argument(1), size = argument(2), count = argument(3), flag = argument(4);
    Value i = add(mul(widen64(blockIndex), threads), widen64(thread));
    when(less(i, size), [&] {
      Value place = address(out, compute, i);
      // Not read where it is not added to: it may hold anything, NaN among it.
      Value first =
          guarded(compare(arith::CmpIPredicate::ne, flag, i64(0)), f32(0.0), [&] { return load(compute, place, 4); });
      Value sum = loop(i64(0), count, i64(1), first, [&](Value p, ValueRange carried) {
                    Value partial = load(compute, address(partials, compute, add(mul(p, size), i)), 4);
                    return SmallVector<Value>{addFloat(carried.front(), partial)};
                  }).front();
      store(sum, place, 4);
    });
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
};

} // namespace

bool emitElementKernel(OpBuilder &builder, gpu::GPUModuleOp target, StringRef name, NameParts parts) {
  ElementKernel kernel(builder, target);
  Type f32 = builder.getF32Type(), bf16 = builder.getBF16Type();
  if (name == "mhc_sum_partials_f32") {
    kernel.sumPartials(name);
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
