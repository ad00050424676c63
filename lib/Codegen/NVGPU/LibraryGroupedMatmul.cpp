//===- LibraryGroupedMatmul.cpp - tiles of groups, and their results --------===//

#include "LibraryGrouped.h"

#include <numeric>

namespace mlir::mhc::nvgpu {

void GroupedKernel::begin(StringRef name, int64_t integers) {
  constexpr int64_t searchBytes = 64;
  GpuLaunch figures = launch();
  int64_t own = figures.shared;
  figures.shared += searchBytes;
  LibraryKernel::begin(name, 4, integers, figures);
  searchWords = address(shared, b.getI8Type(), own);
}

int64_t GroupedKernel::accessWidth(int64_t stride) const { return std::gcd<int64_t>(16 / bytesOf(element), stride); }

Value GroupedKernel::isThere(const Operand &operand, const Sum &sum, Value from, Value row, Value i) {
  Value inResult, inSum, along = operand.alongSum ? row : i, summed = operand.alongSum ? i : row;
  if (operand.valid)
    inResult = less(along, operand.valid);
  if (!sum.isWhole)
    inSum = less(summed, sub(sum.length, from));
  return inResult && inSum ? both(inResult, inSum) : inResult ? inResult : inSum;
}

//===----------------------------------------------------------------------===//
// Where a tile lies
//===----------------------------------------------------------------------===//

/// The sum over the threads before one's own (a block has at most 16 warps).
Value GroupedKernel::scanThreads(Value value) {
  Value laneOf = bitAnd(thread, warpSize - 1), warp = shiftRight(thread, 5), upTo = value;
  Type i32Type = b.getI32Type();
  for (int64_t distance = 1; distance < warpSize; distance *= 2) {
    Value other =
        NVVM::ShflOp::create(b, loc, i32Type, i32(-1), upTo, i32(distance), i32(0), NVVM::ShflKind::up, UnitAttr());
    upTo = add(upTo, select(less(laneOf, i32(distance)), i32(0), other));
  }
  when(compare(arith::CmpIPredicate::eq, laneOf, i32(warpSize - 1)),
       [&] { store(upTo, address(searchWords, i32Type, warp), 4); });
  barrier();
  Value before = sub(upTo, value);
  for (int64_t w = 0; w + 1 < launch().threads / warpSize; ++w)
    before = add(before, select(less(i32(w), warp), load(i32Type, address(searchWords, i32Type, w), 4), i32(0)));
  barrier(); // the words were read
  return before;
}

/// Group -1: no such tile. Each thread counts the tiles of some groups; the one that has the tile says where it is. The
/// rows of no group are group number `groups`.
GroupedKernel::Place GroupedKernel::findTile(Value offsets, Value rows, Value groups, Value tile) {
  Type i32Type = b.getI32Type();
  int64_t threads = launch().threads;
  Value all = add(groups, 1), each = divide(add(all, threads - 1), i64(threads));
  Value from = mul(widen64(thread), each), to = min(add(from, each), all);
  auto tilesOf = [&](Value group) -> std::pair<Value, Value> {
    Value first = load(i32Type, address(offsets, i32Type, group), 4);
    Value last = guarded(less(group, groups), narrow32(rows),
                         [&] { return load(i32Type, address(offsets, i32Type, add(group, 1)), 4); });
    return {shiftRight(add(sub(last, first), tileRows - 1), llvm::Log2_64(tileRows)), sub(last, first)};
  };
  Value mine = loop(from, to, i64(1), i32(0), [&](Value group, ValueRange carried) {
                 return SmallVector<Value>{add(carried.front(), tilesOf(group).first)};
               }).front();
  Value before = scanThreads(mine), wanted = narrow32(tile);
  when(compare(arith::CmpIPredicate::eq, thread, i32(0)), [&] { store(i32(-1), searchWords, 4); });
  barrier();
  Value isMine = both(compare(arith::CmpIPredicate::sle, before, wanted), less(wanted, add(before, mine)));
  when(isMine, [&] {
    loop(from, to, i64(1), before, [&](Value group, ValueRange carried) {
      auto [tiles, size] = tilesOf(group);
      Value number = sub(wanted, carried.front());
      Value here = both(compare(arith::CmpIPredicate::sge, number, i32(0)), less(number, tiles));
      when(here, [&] {
        store(narrow32(group), address(searchWords, i32Type, 0), 4);
        Value start = mul(number, tileRows), left = sub(size, start);
        store(add(load(i32Type, address(offsets, i32Type, group), 4), start), address(searchWords, i32Type, 1), 4);
        store(min(left, i32(tileRows)), address(searchWords, i32Type, 2), 4);
      });
      return SmallVector<Value>{add(carried.front(), tiles)};
    });
  });
  barrier();
  auto word = [&](int64_t i) { return load(i32Type, address(searchWords, i32Type, i), 4); };
  return {word(0), widen64(word(1)), word(2)};
}

//===----------------------------------------------------------------------===//
// Kernels
//===----------------------------------------------------------------------===//

void GroupedKernel::matmul(StringRef name, bool transposed, Type result) {
  begin(name, 2);
  Value x = argument(0), w = argument(1), offsets = argument(2), y = argument(3), rows = argument(4),
        groups = argument(5);
  const int64_t columns = launch().tile, tilesOfColumns = llvm::divideCeil(n, columns);
  Value block = widen64(blockIndex), column = mul(remainder(block, i64(tilesOfColumns)), columns);
  Place place = findTile(offsets, rows, groups, divide(block, i64(tilesOfColumns)));
  when(compare(arith::CmpIPredicate::sge, place.group, i32(0)), [&] {
    Value group = widen64(place.group), isGroup = less(group, groups);
    Value validColumns = n % columns ? narrow32(min(i64(columns), sub(i64(n), column))) : Value();
    Operand left{address(x, element, mul(place.first, k)), k, /*alongSum=*/true, tileRows, place.valid};
    Value matrix = address(w, element, mul(group, k * n));
    Operand right{address(matrix, element, mul(column, transposed ? k : 1)), transposed ? k : n, transposed, columns,
                  validColumns};
    Sum sum{select(isGroup, i32(k), i32(0)), k % stepLength() == 0};
    Tile sums = multiply(left, right, sum);
    Value base = address(address(y, result, mul(place.first, n)), result, column);
    storeTile(sums, base, result, place.valid, validColumns, Value());
  });
  end();
}

void GroupedKernel::outer(StringRef name) {
  begin(name, 1);
  Type i32Type = b.getI32Type();
  Value x = argument(0), y = argument(1), offsets = argument(2), out = argument(3);
  Value accumulate = compare(arith::CmpIPredicate::ne, argument(4), i64(0));
  const int64_t columns = launch().tile, tilesOfColumns = llvm::divideCeil(n, columns);
  const int64_t tilesOfRows = llvm::divideCeil(k, tileRows);
  Value block = widen64(blockIndex), column = mul(remainder(block, i64(tilesOfColumns)), columns);
  Value rest = divide(block, i64(tilesOfColumns)), row = mul(remainder(rest, i64(tilesOfRows)), tileRows);
  Value group = divide(rest, i64(tilesOfRows));
  Value first = load(i32Type, address(offsets, i32Type, group), 4);
  Value length = sub(load(i32Type, address(offsets, i32Type, add(group, 1)), 4), first);
  auto validOf = [&](int64_t size, int64_t tile, Value from) {
    return size % tile ? narrow32(min(i64(tile), sub(i64(size), from))) : Value();
  };
  Value validRows = validOf(k, tileRows, row), validColumns = validOf(n, columns, column);
  Operand left{address(address(x, element, mul(widen64(first), k)), element, row), k, false, tileRows, validRows};
  Operand right{address(address(y, element, mul(widen64(first), n)), element, column), n, false, columns, validColumns};
  Value isEmpty = compare(arith::CmpIPredicate::eq, length, i32(0));
  Value changesNothing = both(accumulate, isEmpty);
  when(compare(arith::CmpIPredicate::eq, changesNothing, arith::ConstantOp::create(b, loc, b.getBoolAttr(false))), [&] {
    Tile sums = multiply(left, right, {length, /*isWhole=*/false});
    Value base = address(out, compute, add(mul(add(mul(group, k), row), n), column));
    storeTile(sums, base, compute, validRows, validColumns, accumulate);
  });
  end();
}

void GroupedKernel::storeTile(ArrayRef<Value> sums, Value base, Type type, Value validRows, Value validColumns,
                              Value accumulate) {
  auto guard = [&](Value condition, function_ref<void()> body) { condition ? when(condition, body) : body(); };
  forEachRow(sums, [&](Value row, ArrayRef<Neighbours> pieces) {
    guard(validRows ? less(row, validRows) : Value(), [&] {
      Value start = address(base, type, mul(widen64(row), n));
      for (const Neighbours &piece : pieces) {
        width = std::gcd<int64_t>(piece.values.size(), n);
        for (int64_t j = 0; j < (int64_t)piece.values.size(); j += width) {
          Value column = add(piece.column, j);
          guard(validColumns ? less(column, validColumns) : Value(), [&] {
            Value place = address(start, type, column), value = vectorOf(ArrayRef(piece.values).slice(j, width));
            if (accumulate) {
              Value zero = floatConstant(0.0); // memory that is not added to may hold anything
              value = addFloat(value, guarded(accumulate, zero, [&] { return loadWide(place, type); }));
            }
            storeWide(value, place, type);
          });
        }
        width = 1;
      }
    });
  });
}

bool emitGroupedKernel(OpBuilder &builder, gpu::GPUModuleOp target, StringRef name, NameParts parts) {
  if (parts.size() < 5 || parts.front() != "grouped")
    return false;
  bool isOuter = parts[1] == "outer", transposed = !isOuter && parts[2] == "t";
  parts = parts.drop_front(transposed ? 3 : 2);
  Type element = parts.empty() ? Type() : parseElement(builder, parts[0]), result = element;
  if (!isOuter && parts.size() == 4 && element && element.isBF16() && parts[1] == "f32") {
    result = builder.getF32Type();
    parts = parts.drop_front();
  }
  if (parts.size() != 3)
    return false;
  int64_t k = 0, n = 0;
  if (!element || parts[1].getAsInteger(10, k) || parts[2].getAsInteger(10, n) || k < 1 || n < 1 || k > INT32_MAX ||
      n > INT32_MAX || (!isOuter && !name.starts_with("mhc_grouped_matmul_")))
    return false;
  auto emit = [&](GroupedKernel &&kernel) { isOuter ? kernel.outer(name) : kernel.matmul(name, transposed, result); };
  if (element.isBF16())
    emit(GroupedTensorKernel(builder, target, element, k, n));
  else
    emit(GroupedFmaKernel(builder, target, element, k, n));
  return true;
}

} // namespace mlir::mhc::nvgpu
