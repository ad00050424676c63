//===- LibraryDispatch.cpp - choices sorted by expert -----------------------===//
//
// A stable counting sort of index [tokens, choices] by expert, in four launches whose sizes the host knows (it never
// waits for a count). The choices are cut into `blocks` pieces of `piece`; table [experts, blocks]:
//   mhc_dispatch_count(index, table; count, experts, blocks, piece)   choices of each expert in each piece
//   mhc_dispatch_prefix(table, counts; blocks)                        sums along a row of the table; counts [experts]
//   mhc_dispatch_offsets(counts, offsets, dropped; experts, tokens, most) offsets [experts + 1]
//   mhc_dispatch_scatter(index, table, offsets, gather, order, reverse; count, choices, experts, blocks, piece)
// count = tokens * choices. A choice's rank among those of its expert is the table's entry plus its rank in the piece:
// one warp goes through a piece in order, 32 choices at a time, and lanes of the same expert are ranked by the word
// that says which lanes these are. The only atomics are counters, which any order leaves alike.
//
// A capacity cuts an expert off after ceil(most k / experts) choices, the first ones being kept; `most` is the bits of
// the fp64 number capacity factor * tokens (0: any number), k = sum of counts / tokens, which may be less than
// `choices` in a phase of the training and is known here alone. A dropped choice has reverse -1 and no slot, as have
// those outside [0, experts). So offsets, gather and order speak of kept choices alone
// and all that follows need not know of capacities; counts are those before the cut, and dropped (if not null) is their
// sum less offsets[experts]. Slots from offsets[experts] on have gather = order = 0: a place that exists.
//
// Traffic: index twice, gather, order and reverse once, the table four times; pieces are as long as the table needs
// them to stay below the index (CudaExperts.cpp).
//
//===----------------------------------------------------------------------===//

#include "Library.h"

namespace mlir::mhc::nvgpu {
namespace {

class DispatchKernel : public LibraryKernel {
public:
  using LibraryKernel::LibraryKernel;
  static constexpr int64_t threads = 256, warps = threads / warpSize;
  static constexpr int64_t range = 4096; ///< experts at a time: a word of shared memory for each

  void count(StringRef name) {
    begin(name, 2, 4, {1, threads, range * 4});
    Value index = argument(0), table = argument(1), count = argument(2), experts = argument(3), blocks = argument(4),
          piece = argument(5);
    Value block = widen64(blockIndex), me = widen64(thread), start = mul(block, piece);
    Value last = min(add(start, piece), count);
    loop(i64(0), experts, i64(range), [&](Value base) {
      Value words = min(i64(range), sub(experts, base));
      loop(me, words, i64(threads), [&](Value e) { store(i32(0), word(e), 4); });
      barrier();
      loop(add(start, me), last, i64(threads), [&](Value place) {
        Value expert = expertAt(index, place, base);
        when(compare(arith::CmpIPredicate::ult, expert, words), [&] {
          LLVM::AtomicRMWOp::create(b, loc, LLVM::AtomicBinOp::add, word(expert), i32(1),
                                    LLVM::AtomicOrdering::monotonic,
                                    /*syncscope=*/StringRef(), /*alignment=*/4);
        });
      });
      barrier();
      loop(me, words, i64(threads),
           [&](Value e) { store(load(b.getI32Type(), word(e), 4), entry(table, add(base, e), blocks, block), 4); });
      barrier(); // the words were read
    });
    end();
  }

  /// A block for each expert.
  void prefix(StringRef name) {
    begin(name, 2, 1, {1, threads, warps * 4});
    Value table = argument(0), counts = argument(1), blocks = argument(2), expert = widen64(blockIndex);
    Value total = loop(i64(0), blocks, i64(threads), i32(0), [&](Value from, ValueRange carried) {
                    Value block = add(from, widen64(thread)), place = entry(table, expert, blocks, block);
                    Value inside = less(block, blocks);
                    Value mine = guarded(inside, i32(0), [&] { return load(b.getI32Type(), place, 4); });
                    auto [before, sum] = scanBlock(mine);
                    when(inside, [&] { store(add(carried.front(), before), place, 4); });
                    return SmallVector<Value>{add(carried.front(), sum)};
                  }).front();
    when(compare(arith::CmpIPredicate::eq, thread, i32(0)),
         [&] { store(total, address(counts, b.getI32Type(), expert), 4); });
    end();
  }

  /// One block.
  void offsets(StringRef name) {
    begin(name, 3, 3, {1, threads, warps * 4});
    Type i32Type = b.getI32Type();
    Value counts = argument(0), offsets = argument(1), dropped = argument(2), experts = argument(3);
    // over(body): body(expert's number, whether it is one, its count) for all experts, with what it carries
    auto over = [&](ArrayRef<Value> start, auto body) {
      return loop(i64(0), experts, i64(threads), start, [&](Value base, ValueRange carried) {
        Value expert = add(base, widen64(thread)), inside = less(expert, experts);
        Value all = guarded(inside, i32(0), [&] { return load(i32Type, address(counts, i32Type, expert), 4); });
        return body(expert, inside, all, carried);
      });
    };
    Value sum = over({i32(0)}, [&](Value, Value, Value all, ValueRange carried) {
                  return SmallVector<Value>{add(carried[0], scanBlock(all).second)};
                }).front();
    Value most = mostOf(sum, experts, argument(4), argument(5));
    Value kept = over({i32(0)}, [&](Value expert, Value inside, Value all, ValueRange carried) {
                   auto [before, keptSum] = scanBlock(min(all, most));
                   when(inside, [&] { store(add(carried[0], before), address(offsets, i32Type, expert), 4); });
                   return SmallVector<Value>{add(carried[0], keptSum)};
                 }).front();
    when(compare(arith::CmpIPredicate::eq, thread, i32(0)), [&] {
      store(kept, address(offsets, i32Type, experts), 4);
      Value wanted = LLVM::PtrToIntOp::create(b, loc, b.getI64Type(), dropped);
      when(compare(arith::CmpIPredicate::ne, wanted, i64(0)), [&] { store(sub(sum, kept), dropped, 4); });
    });
    end();
  }

  /// A warp for each piece. The word of an expert is the rank of its next choice.
  void scatter(StringRef name) {
    constexpr int64_t ahead = 6; // loads in flight before the first is needed
    begin(name, 6, 5, {1, warpSize, range * 4});
    Type i32Type = b.getI32Type();
    Value index = argument(0), table = argument(1), experts = argument(8), blocks = argument(9), piece = argument(10);
    offsetsOf = argument(2), gather = argument(3), order = argument(4), reverse = argument(5);
    placeCount = argument(6), choices = argument(7);
    Value block = widen64(blockIndex), me = widen64(thread), start = mul(block, piece);
    used = widen64(load(i32Type, address(offsetsOf, i32Type, experts), 4));
    loop(i64(0), experts, i64(range), [&](Value base) {
      Value words = min(i64(range), sub(experts, base));
      loop(me, words, i64(warpSize),
           [&](Value e) { store(load(i32Type, entry(table, add(base, e), blocks, block), 4), word(e), 4); });
      barrier();
      loop(i64(0), piece, i64(ahead * warpSize), [&](Value from) {
        SmallVector<Value> places, chosen;
        for (int64_t u = 0; u < ahead; ++u) {
          places.push_back(add(add(start, from), add(me, u * warpSize)));
          chosen.push_back(guarded(less(places[u], placeCount), i32(-1),
                                   [&] { return load(i32Type, address(index, i32Type, places[u]), 4); }));
        }
        when(compare(arith::CmpIPredicate::eq, base, i64(0)), [&] {
          for (int64_t u = 0; u < ahead; ++u)
            fillUnused(places[u], compare(arith::CmpIPredicate::uge, widenUnsigned(chosen[u]), experts));
        });
        for (int64_t u = 0; u < ahead; ++u)
          placeChoices(places[u], sub(widenUnsigned(chosen[u]), base), base, words);
      });
      barrier(); // the words were read
    });
    end();
  }

private:
  /// The most choices that an expert keeps.
  Value mostOf(Value sum, Value experts, Value tokens, Value most) {
    Type f64 = b.getF64Type();
    auto number = [&](Value x) { return arith::SIToFPOp::create(b, loc, f64, x).getResult(); };
    Value choices = arith::DivUIOp::create(b, loc, widen64(sum), arith::MaxUIOp::create(b, loc, tokens, i64(1)));
    Value all = arith::MulFOp::create(b, loc, arith::BitcastOp::create(b, loc, f64, most), number(choices));
    Value each = arith::DivFOp::create(b, loc, all, number(experts));
    Value bound = arith::ConstantOp::create(b, loc, b.getF64FloatAttr(INT32_MAX - 1));
    each = arith::MinimumFOp::create(b, loc, each, bound);
    Value whole = arith::FPToSIOp::create(b, loc, b.getI32Type(), each); // towards zero
    Value rest = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OLT, number(whole), each);
    return select(compare(arith::CmpIPredicate::eq, most, i64(0)), i32(INT32_MAX), select(rest, add(whole, 1), whole));
  }
  Value widenUnsigned(Value x) { return arith::ExtUIOp::create(b, loc, b.getI64Type(), x); }
  Value word(Value i) { return address(shared, b.getI32Type(), i); }
  Value entry(Value table, Value expert, Value blocks, Value block) {
    return address(table, b.getI32Type(), add(mul(expert, blocks), block));
  }
  /// The choice's expert less `base`: below the number of words where it is one of these, read as unsigned.
  Value expertAt(Value index, Value place, Value base) {
    return sub(widenUnsigned(load(b.getI32Type(), address(index, b.getI32Type(), place), 4)), base);
  }
  Value countBits(Value x) { return LLVM::CtPopOp::create(b, loc, x.getType(), x); }

  /// Sums over the lanes up to one's own.
  Value scanWarp(Value value, Value laneOf) {
    for (int64_t distance = 1; distance < warpSize; distance *= 2) {
      Value other = NVVM::ShflOp::create(b, loc, value.getType(), i32(-1), value, i32(distance), i32(0),
                                         NVVM::ShflKind::up, UnitAttr());
      value = add(value, select(less(laneOf, i32(distance)), i32(0), other));
    }
    return value;
  }

  /// The sum over the threads before one's own, and over all.
  std::pair<Value, Value> scanBlock(Value value) {
    Value laneOf = bitAnd(thread, warpSize - 1), warp = shiftRight(thread, 5), upTo = scanWarp(value, laneOf);
    when(compare(arith::CmpIPredicate::eq, laneOf, i32(warpSize - 1)), [&] { store(upTo, word(warp), 4); });
    barrier();
    Value before = sub(upTo, value), total = i32(0);
    for (int64_t w = 0; w < warps; ++w) {
      Value sum = load(b.getI32Type(), word(i32(w)), 4);
      before = add(before, select(less(i32(w), warp), sum, i32(0)));
      total = add(total, sum);
    }
    barrier(); // the words were read
    return {before, total};
  }

  /// What no choice writes.
  void fillUnused(Value place, Value isNone) {
    Type i32Type = b.getI32Type();
    Value inside = less(place, placeCount);
    when(both(inside, isNone), [&] { store(i32(-1), address(reverse, i32Type, place), 4); });
    when(both(inside, compare(arith::CmpIPredicate::sge, place, used)), [&] {
      store(i32(0), address(gather, i32Type, place), 4);
      store(i32(0), address(order, i32Type, place), 4);
    });
  }

  /// 32 choices, one a lane.
  void placeChoices(Value place, Value expert, Value base, Value words) {
    Type i32Type = b.getI32Type();
    Value counts = compare(arith::CmpIPredicate::ult, expert, words);
    Value key = select(counts, narrow32(expert), i32(-1));
    Value same = NVVM::MatchSyncOp::create(b, loc, i32Type, i32(-1), key, NVVM::MatchSyncKind::any);
    Value lower = sub(arith::ShLIOp::create(b, loc, i32(1), thread), i32(1));
    Value rank = countBits(arith::AndIOp::create(b, loc, same, lower));
    Value before = guarded(counts, i32(0), [&] { return load(i32Type, word(expert), 4); });
    barrier(); // all have read
    when(both(counts, compare(arith::CmpIPredicate::eq, rank, i32(0))),
         [&] { store(add(before, countBits(same)), word(expert), 4); });
    barrier();
    when(counts, [&] {
      rank = add(before, rank);
      Value bounds = address(offsetsOf, i32Type, add(base, expert));
      Value slot = add(load(i32Type, bounds, 4), rank);
      Value kept = less(slot, load(i32Type, address(bounds, i32Type, i64(1)), 4));
      store(select(kept, slot, i32(-1)), address(reverse, i32Type, place), 4);
      when(kept, [&] {
        store(narrow32(divide(place, choices)), address(gather, i32Type, widen64(slot)), 4);
        store(narrow32(place), address(order, i32Type, widen64(slot)), 4);
      });
    });
  }

  Value offsetsOf, gather, order, reverse, placeCount, choices, used; // of scatter
};

} // namespace

bool emitDispatchKernel(OpBuilder &builder, gpu::GPUModuleOp target, StringRef name, NameParts) {
  DispatchKernel kernel(builder, target);
  if (name == "mhc_dispatch_count")
    kernel.count(name);
  else if (name == "mhc_dispatch_prefix")
    kernel.prefix(name);
  else if (name == "mhc_dispatch_offsets")
    kernel.offsets(name);
  else if (name == "mhc_dispatch_scatter")
    kernel.scatter(name);
  else
    return false;
  return true;
}

} // namespace mlir::mhc::nvgpu
