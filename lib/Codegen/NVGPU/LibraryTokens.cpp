//===- LibraryTokens.cpp - kernels over token ids ---------------------------===//
//
// mhc_split_tokens(tokens, inputs, targets, status; rows, columns, vocab, first_row)
// mhc_embedding_backward_<type>(tokens, dx, out; count, channels, vocab)
//
//===----------------------------------------------------------------------===//

#include "Library.h"

namespace mlir::mhc::nvgpu {
namespace {

class TokenKernel : public LibraryKernel {
public:
  using LibraryKernel::LibraryKernel;
  static constexpr int64_t threads = 256;

  /// One token a thread. tokens [rows, columns]; inputs, targets [rows, columns - 1], or without targets (null) inputs
  /// [rows, columns]. A token outside the vocabulary is replaced by 0, since other kernels take it for an index, and
  /// the status word becomes the least of place << 32 | token: the first wrong token, whatever the order of threads.
  /// Beside it stand columns and vocab, to say it in words.
  void splitTokens(StringRef name) {
    begin(name, 4, 4, {threads, threads, 0});
    Type i32Type = b.getI32Type();
    Value tokens = argument(0), inputs = argument(1), targets = argument(2), status = argument(3);
    Value rows = argument(4), columns = argument(5), vocab = argument(6), firstRow = argument(7);
    Value hasTargets = compare(arith::CmpIPredicate::ne, LLVM::PtrToIntOp::create(b, loc, b.getI64Type(), targets),
                               i64(0));
    Value used = sub(columns, LLVM::ZExtOp::create(b, loc, b.getI64Type(), hasTargets));
    Value i = add(mul(widen64(blockIndex), threads), widen64(thread));
    when(compare(arith::CmpIPredicate::eq, i, i64(0)), [&] {
      store(columns, address(status, b.getI64Type(), 1), 8);
      store(vocab, address(status, b.getI64Type(), 2), 8);
    });
    when(less(i, mul(rows, columns)), [&] {
      Value row = divide(i, columns), column = remainder(i, columns);
      Value token = load(i32Type, address(tokens, i32Type, i), 4);
      Value wide = arith::ExtUIOp::create(b, loc, b.getI64Type(), token); // negative ones become large
      Value known = compare(arith::CmpIPredicate::ult, wide, vocab);
      when(compare(arith::CmpIPredicate::eq, known, arith::ConstantOp::create(b, loc, b.getBoolAttr(false))), [&] {
        Value place = min(add(mul(add(firstRow, row), columns), column), i64(INT32_MAX));
        Value word = arith::OrIOp::create(b, loc, arith::ShLIOp::create(b, loc, place, i64(32)), wide);
        LLVM::AtomicRMWOp::create(b, loc, LLVM::AtomicBinOp::min, status, word, LLVM::AtomicOrdering::monotonic,
                                  /*syncscope=*/StringRef(), /*alignment=*/8);
      });
      Value safe = select(known, token, i32(0));
      when(less(column, used),
           [&] { store(safe, address(inputs, i32Type, add(mul(row, used), column)), 4); });
      when(both(hasTargets, less(i64(0), column)),
           [&] { store(safe, address(targets, i32Type, sub(add(mul(row, used), column), i64(1))), 4); });
    });
    end();
  }

  /// out[tokens[t]] += dx[t]. A block has the token at its number; if that is the first one of its id, the block adds up
  /// all tokens of this id in their order. So every row of `out` belongs to one block, without sorting or atomics.
  void embeddingBackward(StringRef name, Type element) {
    constexpr int64_t warps = threads / warpSize;
    begin(name, 3, 3, {1, threads, (warps + 1) * 4});
    Type i32Type = b.getI32Type();
    Value tokens = argument(0), dx = argument(1), out = argument(2), count = argument(3), channels = argument(4),
          vocab = argument(5);
    Value me = widen64(blockIndex), id = load(i32Type, address(tokens, i32Type, me), 4);
    Value seen = address(shared, i32Type, warps), laneOf = bitAnd(thread, warpSize - 1), warp = shiftRight(thread, 5);
    when(compare(arith::CmpIPredicate::eq, thread, i32(0)), [&] { store(i32(0), seen, 4); });
    barrier();
    loop(widen64(thread), me, i64(threads), [&](Value t) {
      Value other = load(i32Type, address(tokens, i32Type, t), 4);
      when(compare(arith::CmpIPredicate::eq, other, id), [&] { store(i32(1), seen, 4); });
    });
    barrier();
    Value first = compare(arith::CmpIPredicate::eq, load(i32Type, seen, 4), i32(0));
    Value known =
        compare(arith::CmpIPredicate::ult, arith::ExtUIOp::create(b, loc, b.getI64Type(), id), vocab);
    when(both(first, known), [&] {
      Value row = address(out, compute, mul(widen64(id), channels));
      loop(me, count, i64(threads), [&](Value from) {
        Value t = add(from, widen64(thread));
        Value other = guarded(less(t, count), arith::XOrIOp::create(b, loc, id, i32(1)),
                              [&] { return load(i32Type, address(tokens, i32Type, t), 4); });
        Value same = compare(arith::CmpIPredicate::eq, other, id);
        Value votes = NVVM::VoteSyncOp::create(b, loc, i32Type, i32(-1), same, NVVM::VoteSyncKind::ballot);
        barrier(); // the words of the step before were read
        when(compare(arith::CmpIPredicate::eq, laneOf, i32(0)), [&] { store(votes, address(shared, i32Type, warp), 4); });
        barrier();
        for (int64_t w = 0; w < warps; ++w)
          addRows(load(i32Type, address(shared, i32Type, w), 4), add(from, w * warpSize), dx, row, channels, element);
      });
    });
    end();
  }

private:
  /// row += dx[from + i] for each bit i of the word, from the lowest on.
  void addRows(Value word, Value from, Value dx, Value row, Value channels, Type element) {
    auto whileOp = scf::WhileOp::create(
        b, loc, word.getType(), word,
        [&](OpBuilder &, Location at, ValueRange left) {
          Value more = compare(arith::CmpIPredicate::ne, left.front(), i32(0));
          scf::ConditionOp::create(b, at, more, left);
        },
        [&](OpBuilder &, Location at, ValueRange left) {
          Value bit = LLVM::CountTrailingZerosOp::create(b, loc, b.getI32Type(), left.front(), /*is_zero_poison=*/true);
          Value source = address(dx, element, mul(add(from, widen64(bit)), channels));
          loop(widen64(thread), channels, i64(threads), [&](Value c) {
            Value place = address(row, compute, c);
            store(addFloat(load(compute, place, 4), loadWide(address(source, element, c), element)), place, 4);
          });
          Value rest = arith::AndIOp::create(b, loc, left.front(), sub(left.front(), i32(1)));
          scf::YieldOp::create(b, at, rest);
        });
    (void)whileOp;
  }
};

} // namespace

bool emitTokenKernel(OpBuilder &builder, gpu::GPUModuleOp target, StringRef name, NameParts parts) {
  TokenKernel kernel(builder, target);
  if (name == "mhc_split_tokens") {
    kernel.splitTokens(name);
    return true;
  }
  if (parts.size() != 3 || parts[0] != "embedding" || parts[1] != "backward" || !parseElement(builder, parts[2]))
    return false;
  kernel.embeddingBackward(name, parseElement(builder, parts[2]));
  return true;
}

} // namespace mlir::mhc::nvgpu
