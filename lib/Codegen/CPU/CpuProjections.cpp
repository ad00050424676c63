//===- CpuProjections.cpp - reductions and products over block copies -------===//
//
// Small matrix products, blocked so that the sums stay in registers (at most 12 of 16) and that there are fewer loads than multiplications.
// The blocking does not show in the results: each sum is a chain of its own, in the order blocks of channels, streams, channels.
//
//===----------------------------------------------------------------------===//

#include "CpuEmitter.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace mlir::mhc::cpu {

CpuEmitter::Shape CpuEmitter::shapeOf(Value weight, bool transposed, WideType wide) {
  auto type = cast<MemRefType>(weight.getType());
  int64_t k = type.getDimSize(transposed ? 1 : 0), columns = type.getDimSize(transposed ? 0 : 1);
  return {k, columns, wide.getNumElements() / k, k / wide.getChannels()};
}

/// Tokens that share a block of `sums` sums each: a power of two, so that it divides the tile.
static int64_t tokensFor(int64_t sums, int64_t tile) {
  int64_t tokens = 1;
  while (tokens * 2 * sums <= 12 && tokens * 2 <= tile)
    tokens *= 2;
  return tokens;
}

/// Calls `body(first, count)` for blocks of `block` out of `count` things: a loop over the whole ones, and the rest.
template <typename Loop, typename Body>
static void inBlocks(int64_t count, int64_t block, Loop loop, Body body) {
  int64_t whole = count / block * block;
  if (whole)
    loop(0, whole, block, [&](Value first) { body(first, block); });
  if (whole != count)
    loop(whole, count, count - whole, [&](Value first) { body(first, count - whole); });
}

#define MHC_BLOCKS                                                                                                     \
  [&](int64_t from, int64_t to, int64_t step, function_ref<void(Value)> inner) { loop(i64(from), i64(to), step, inner); }

//===----------------------------------------------------------------------===//
// Gram products
//===----------------------------------------------------------------------===//

void CpuEmitter::emitLateDot(RowDotOp op) {
  int64_t left = op.getLhs().getType().getStreams(), right = op.getRhs().getType().getStreams();
  Value leftMemory = spills.lookup(op.getLhs()), rightMemory = spills.lookup(op.getRhs()), sums = lateMemory[op];
  auto at = [&](int64_t x, int64_t y, Value t) { return mul(add(t, (x * right + y) * tile), vectorLanes); };
  int64_t blockX = std::min<int64_t>(left, 4), blockY = std::min<int64_t>(right, 12 / blockX);
  loop(i64(0), valid, 1, [&](Value t) {
    for (int64_t x = 0; x < left; x += blockX)
      for (int64_t y = 0; y < right; y += blockY) {
        int64_t xs = std::min(blockX, left - x), ys = std::min(blockY, right - y);
        SmallVector<Value> acc;
        for (int64_t i = 0; i < xs * ys; ++i)
          acc.push_back(load(vector(compute, vectorLanes), sums, at(x + i / ys, y + i % ys, t)));
        acc = loop(i64(0), sub(blockMainEnd, blockStart), vectorLanes, acc, [&](Value c, ValueRange carried) {
          SmallVector<Value> next, factors;
          for (int64_t j = 0; j < ys; ++j)
            factors.push_back(load(vector(compute, vectorLanes), rightMemory, spillIndex(op.getRhs(), t, i64(y + j), c)));
          for (int64_t i = 0; i < xs; ++i) {
            Value factor = load(vector(compute, vectorLanes), leftMemory, spillIndex(op.getLhs(), t, i64(x + i), c));
            for (int64_t j = 0; j < ys; ++j)
              next.push_back(fma(factor, factors[j], carried[i * ys + j]));
          }
          return next;
        });
        for (int64_t i = 0; i < xs * ys; ++i)
          store(acc[i], sums, at(x + i / ys, y + i % ys, t));
      }
    if (mainChannels == channels)
      return;
    loop(max(blockStart, i64(mainChannels)), blockEnd, 1, [&](Value c) {
      Value inBlock = sub(c, blockStart), lane = sub(c, i64(mainChannels));
      for (int64_t x = 0; x < left; ++x)
        for (int64_t y = 0; y < right; ++y) {
          Value place = add(at(x, y, t), lane);
          store(fma(load(compute, leftMemory, spillIndex(op.getLhs(), t, i64(x), inBlock)),
                    load(compute, rightMemory, spillIndex(op.getRhs(), t, i64(y), inBlock)), load(compute, sums, place)),
                sums, place);
        }
    });
  });
}

//===----------------------------------------------------------------------===//
// project
//===----------------------------------------------------------------------===//

void CpuEmitter::emitProject(RowProjectOp op) {
  if (!op.getTransposed())
    return emitProjectRows(op);
  // Parameter [M, K]: lanes are channels, sums [g, m][R][W].
  auto [k, columns, groups, inGroup] = shapeOf(op.getWeight(), true, op.getValue().getType());
  Value memory = spills.lookup(op.getValue()), sums = lateMemory[op], weight = pointer(op.getWeight());
  Type vectorType = vector(compute, vectorLanes);
  int64_t k_ = k, columns_ = columns, inGroup_ = inGroup;
  loop(i64(0), i64(groups), 1, [&](Value g) {
    Value firstStream = mul(g, inGroup_);
    inBlocks(columns_, 6, MHC_BLOCKS, [&](Value m, int64_t count) {
      int64_t tokens = tokensFor(count, tile);
      loop(i64(0), valid, tokens, [&](Value t) {
        auto place = [&](int64_t q, int64_t j) {
          return mul(add(mul(add(add(mul(g, columns_), m), j), tile), add(t, q)), vectorLanes);
        };
        SmallVector<Value> acc;
        for (int64_t q = 0; q < tokens; ++q)
          for (int64_t j = 0; j < count; ++j)
            acc.push_back(load(vectorType, sums, place(q, j)));
        acc = loop(i64(0), i64(inGroup_), 1, acc, [&](Value s, ValueRange outer) {
          return loop(blockStart, blockMainEnd, vectorLanes, outer, [&](Value c, ValueRange carried) {
            SmallVector<Value> factors, next(carried.size());
            for (int64_t q = 0; q < tokens; ++q)
              factors.push_back(load(vectorType, memory, spillIndex(op.getValue(), add(t, q), add(firstStream, s), sub(c, blockStart))));
            for (int64_t j = 0; j < count; ++j) {
              Value w = load(vectorType, weight, add(add(mul(add(m, j), k_), mul(s, channels)), c));
              for (int64_t q = 0; q < tokens; ++q)
                next[q * count + j] = fma(factors[q], w, carried[q * count + j]);
            }
            return next;
          });
        });
        for (int64_t q = 0; q < tokens; ++q)
          for (int64_t j = 0; j < count; ++j)
            store(acc[q * count + j], sums, place(q, j));
      });
    });
    if (mainChannels == channels)
      return;
    loop(i64(0), valid, 1, [&](Value t) {
      loop(i64(0), i64(columns_), 1, [&](Value m) {
        loop(i64(0), i64(inGroup_), 1, [&](Value s) {
          loop(max(blockStart, i64(mainChannels)), blockEnd, 1, [&](Value c) {
            Value place = add(mul(add(mul(add(mul(g, columns_), m), tile), t), vectorLanes), sub(c, i64(mainChannels)));
            Value x = load(compute, memory, spillIndex(op.getValue(), t, add(firstStream, s), sub(c, blockStart)));
            Value w = load(compute, weight, add(add(mul(m, k_), mul(s, channels)), c));
            store(fma(x, w, load(compute, sums, place)), sums, place);
          });
        });
      });
    });
  });
}

/// Columns as vectors: whole ones, then halves down to single columns, so that nothing beyond a row of the parameter is touched.
/// Returns (first column, lanes).
static SmallVector<std::pair<int64_t, int64_t>> pieces(int64_t columns, int64_t lanes) {
  SmallVector<std::pair<int64_t, int64_t>> result;
  for (int64_t at = 0; at < columns;) {
    while (lanes > columns - at)
      lanes /= 2;
    result.push_back({at, lanes});
    at += lanes;
  }
  return result;
}

/// Blocks of pieces: those of whole vectors by threes, then what is left.
template <typename Loop, typename Body>
static void inPieces(int64_t columns, int64_t lanes, Loop loop, Body body) {
  int64_t whole = columns / (3 * lanes) * (3 * lanes);
  if (whole)
    loop(0, whole, 3 * lanes, [&](Value first) { body(first, pieces(3 * lanes, lanes)); });
  if (whole != columns)
    loop(whole, columns, columns - whole, [&](Value first) { body(first, pieces(columns - whole, lanes)); });
}

void CpuEmitter::emitProjectRows(RowProjectOp op) {
  // Parameter [K, M]: lanes are columns, sums [R][g, m]. A block of 64 channels is summed by itself: a chain over all of K would lose digits.
  auto [k, columns, groups, inGroup] = shapeOf(op.getWeight(), false, op.getValue().getType());
  Value memory = spills.lookup(op.getValue()), sums = lateMemory[op], weight = pointer(op.getWeight());
  int64_t columns_ = columns, groups_ = groups, inGroup_ = inGroup;
  loop(blockStart, blockEnd, 64, [&](Value start) {
    Value end = min(add(start, 64), blockEnd);
    loop(i64(0), i64(groups_), 1, [&](Value g) {
      inPieces(columns_, vectorLanes, MHC_BLOCKS, [&](Value m, ArrayRef<std::pair<int64_t, int64_t>> parts) {
        int64_t tokens = tokensFor(parts.size(), tile);
        loop(i64(0), valid, tokens, [&](Value t) {
          SmallVector<Value> acc;
          for (int64_t q = 0; q < tokens; ++q)
            for (auto [at, lanes] : parts)
              acc.push_back(zeros(vector(compute, lanes)));
          acc = loop(i64(0), i64(inGroup_), 1, acc, [&](Value s, ValueRange outer) {
            return loop(start, end, 1, outer, [&](Value c, ValueRange carried) {
              SmallVector<Value> next, weights;
              Value row = mul(add(mul(s, channels), c), columns_);
              for (auto [at, lanes] : parts)
                weights.push_back(load(vector(compute, lanes), weight, add(add(row, m), at)));
              for (int64_t q = 0; q < tokens; ++q) {
                Value x = load(compute, memory, spillIndex(op.getValue(), add(t, q), add(mul(g, inGroup_), s), sub(c, blockStart)));
                for (auto [p, part] : llvm::enumerate(parts))
                  next.push_back(fma(broadcast(x, part.second), weights[p], carried[q * parts.size() + p]));
              }
              return next;
            });
          });
          for (int64_t q = 0; q < tokens; ++q)
            for (auto [p, part] : llvm::enumerate(parts)) {
              Value place = add(add(mul(add(t, q), groups_ * columns_), add(mul(g, columns_), m)), part.first);
              Value sum = load(vector(compute, part.second), sums, place);
              store(arith::AddFOp::create(b, loc, sum, acc[q * parts.size() + p]), sums, place);
            }
        });
      });
    });
  });
}

//===----------------------------------------------------------------------===//
// project_t
//===----------------------------------------------------------------------===//

/// Copies the block's slice of a [K, M] parameter as [M][inGroup][spillStride].
Value CpuEmitter::transposeWeights(Value weight, int64_t columns, int64_t inGroup) {
  Value copy = phaseStack(columns * inGroup * spillStride * bytesOf(compute));
  loop(i64(0), i64(inGroup), 1, [&](Value s) {
    loop(blockStart, blockEnd, 1, [&](Value c) {
      Value row = mul(add(mul(s, channels), c), columns), to = add(mul(s, spillStride), sub(c, blockStart));
      loop(i64(0), i64(columns), 1, [&](Value m) {
        store(load(compute, pointer(weight), add(row, m)), copy, add(mul(m, inGroup * spillStride), to));
      });
    });
  });
  return copy;
}

void CpuEmitter::emitProjectT(RowProjectTOp op) {
  loc = op.getLoc();
  auto [k, columns, groups, inGroup] = shapeOf(op.getWeight(), op.getTransposed(), op.getResult().getType());
  int64_t columns_ = columns, inGroup_ = inGroup;
  Value memory = spills.lookup(op.getResult());
  // Element (m, stream in the group, channel in the block) of the parameter.
  Value weight = pointer(op.getWeight()), origin = blockStart;
  int64_t rowStride = k, streamStride = channels;
  if (!op.getTransposed()) {
    weight = transposeWeights(op.getWeight(), columns, inGroup);
    origin = i64(0);
    rowStride = inGroup * spillStride;
    streamStride = spillStride;
  }
  auto blocks = [&](Value g, Value s, Value from, Value to, int64_t vectors, int64_t lanes) {
    int64_t tokens = tokensFor(vectors * 2, tile) * 2; // 8 or more sums hide the latency
    Value stream = add(mul(g, inGroup_), s);
    loop(from, to, vectors * lanes, [&](Value c) {
      loop(i64(0), valid, tokens, [&](Value t) {
        SmallVector<Value> acc(tokens * vectors, zeros(vector(compute, lanes)));
        acc = loop(i64(0), i64(columns_), 1, acc, [&](Value m, ValueRange carried) {
          SmallVector<Value> next, weights;
          Value row = add(add(mul(m, rowStride), mul(s, streamStride)), add(origin, c));
          for (int64_t v = 0; v < vectors; ++v)
            weights.push_back(load(vector(compute, lanes), weight, add(row, v * lanes)));
          for (int64_t q = 0; q < tokens; ++q) {
            Value z = broadcast(narrowAt(op.getValue(), add(mul(g, columns_), m), add(t, q)), lanes);
            for (int64_t v = 0; v < vectors; ++v)
              next.push_back(fma(z, weights[v], carried[q * vectors + v]));
          }
          return next;
        });
        for (int64_t q = 0; q < tokens; ++q)
          for (int64_t v = 0; v < vectors; ++v)
            store(acc[q * vectors + v], memory, spillIndex(op.getResult(), add(t, q), stream, add(c, v * lanes)));
      });
    });
  };
  Value mainEnd = max(sub(blockMainEnd, blockStart), i64(0)), end = sub(blockEnd, blockStart);
  loop(i64(0), i64(groups), 1, [&](Value g) {
    loop(i64(0), i64(inGroup_), 1, [&](Value s) {
      Value wide = b.createOrFold<arith::AndIOp>(loc, mainEnd, i64(-4 * vectorLanes));
      blocks(g, s, i64(0), wide, 4, vectorLanes);
      if (channels % channelBlock || channelBlock % (4 * vectorLanes))
        blocks(g, s, wide, mainEnd, 1, vectorLanes);
      if (mainChannels != channels)
        blocks(g, s, mainEnd, end, 1, 1);
    });
  });
}

//===----------------------------------------------------------------------===//
// outer_tokens
//===----------------------------------------------------------------------===//

void CpuEmitter::emitOuter(RowOuterTokensOp op) {
  if (!op.getTransposed())
    return emitOuterRows(op);
  // Target [M, K]: lanes are channels. The sums are the target's own, loaded and stored once a tile.
  auto [k, columns, groups, inGroup] = shapeOf(op.getTarget(), true, op.getValue().getType());
  int64_t k_ = k, columns_ = columns, groups_ = groups, inGroup_ = inGroup;
  Value memory = spills.lookup(op.getValue()), target = pointer(op.getTarget());
  auto blocks = [&](Value s, Value from, Value to, int64_t vectors, int64_t lanes) {
    loop(from, to, vectors * lanes, [&](Value c) {
      inBlocks(columns_, 3, MHC_BLOCKS, [&](Value m, int64_t count) {
        auto place = [&](int64_t v, int64_t j) {
          return add(add(mul(add(m, j), k_), mul(s, channels)), add(add(blockStart, c), v * lanes));
        };
        SmallVector<Value> acc;
        for (int64_t j = 0; j < count; ++j)
          for (int64_t v = 0; v < vectors; ++v)
            acc.push_back(load(vector(compute, lanes), target, place(v, j)));
        acc = loop(i64(0), valid, 1, acc, [&](Value t, ValueRange carried) {
          SmallVector<Value> next = llvm::to_vector_of<Value>(carried);
          for (int64_t g = 0; g < groups_; ++g) {
            SmallVector<Value> factors;
            for (int64_t v = 0; v < vectors; ++v)
              factors.push_back(load(vector(compute, lanes), memory, spillIndex(op.getValue(), t, add(s, g * inGroup_), add(c, v * lanes))));
            for (int64_t j = 0; j < count; ++j) {
              Value z = broadcast(narrowAt(op.getNarrow(), add(add(m, j), g * columns_), t), lanes);
              for (int64_t v = 0; v < vectors; ++v)
                next[j * vectors + v] = fma(factors[v], z, next[j * vectors + v]);
            }
          }
          return next;
        });
        for (int64_t j = 0; j < count; ++j)
          for (int64_t v = 0; v < vectors; ++v)
            store(acc[j * vectors + v], target, place(v, j));
      });
    });
  };
  Value mainEnd = max(sub(blockMainEnd, blockStart), i64(0)), end = sub(blockEnd, blockStart);
  loop(i64(0), i64(inGroup_), 1, [&](Value s) {
    Value wide = b.createOrFold<arith::AndIOp>(loc, mainEnd, i64(-4 * vectorLanes));
    blocks(s, i64(0), wide, 4, vectorLanes);
    if (channels % channelBlock || channelBlock % (4 * vectorLanes))
      blocks(s, wide, mainEnd, 1, vectorLanes);
    if (mainChannels != channels)
      blocks(s, mainEnd, end, 1, 1);
  });
}

/// [R][elements] copy of the narrow factor, once a phase: then lanes can be columns.
void CpuEmitter::transposeNarrow(RowOuterTokensOp op) {
  int64_t count = op.getNarrow().getType().getNumElements();
  Value copy = phaseStack(count * tile * bytesOf(compute));
  lateMemory[op] = copy;
  loop(i64(0), i64(count), 1, [&](Value e) {
    loop(i64(0), valid, 1, [&](Value t) { store(narrowAt(op.getNarrow(), e, t), copy, add(mul(t, count), e)); });
  });
}

void CpuEmitter::emitOuterRows(RowOuterTokensOp op) {
  // Target [K, M]: lanes are columns.
  auto [k, columns, groups, inGroup] = shapeOf(op.getTarget(), false, op.getValue().getType());
  int64_t columns_ = columns, groups_ = groups, inGroup_ = inGroup;
  Value memory = spills.lookup(op.getValue()), narrow = lateMemory[op], target = pointer(op.getTarget());
  auto blocks = [&](Value s, Value from, Value to, int64_t rowCount) {
    loop(from, to, rowCount, [&](Value c) {
      inPieces(columns_, vectorLanes, MHC_BLOCKS, [&](Value m, ArrayRef<std::pair<int64_t, int64_t>> parts) {
        auto place = [&](int64_t r, int64_t at) {
          return add(add(mul(add(add(mul(s, channels), add(blockStart, c)), r), columns_), m), at);
        };
        SmallVector<Value> acc;
        for (int64_t r = 0; r < rowCount; ++r)
          for (auto [at, lanes] : parts)
            acc.push_back(load(vector(compute, lanes), target, place(r, at)));
        acc = loop(i64(0), valid, 1, acc, [&](Value t, ValueRange carried) {
          SmallVector<Value> next = llvm::to_vector_of<Value>(carried);
          for (int64_t g = 0; g < groups_; ++g) {
            SmallVector<Value> factors;
            for (auto [at, lanes] : parts)
              factors.push_back(load(vector(compute, lanes), narrow, add(add(mul(t, groups_ * columns_), m), g * columns_ + at)));
            for (int64_t r = 0; r < rowCount; ++r) {
              Value x = load(compute, memory, spillIndex(op.getValue(), t, add(s, g * inGroup_), add(c, r)));
              for (auto [p, part] : llvm::enumerate(parts)) {
                Value &sum = next[r * parts.size() + p];
                sum = fma(broadcast(x, part.second), factors[p], sum);
              }
            }
          }
          return next;
        });
        for (int64_t r = 0; r < rowCount; ++r)
          for (auto [p, part] : llvm::enumerate(parts))
            store(acc[r * parts.size() + p], target, place(r, part.first));
      });
    });
  };
  Value end = sub(blockEnd, blockStart);
  loop(i64(0), i64(inGroup_), 1, [&](Value s) {
    Value whole = b.createOrFold<arith::AndIOp>(loc, end, i64(-4));
    blocks(s, i64(0), whole, 4);
    if (channels % 4)
      blocks(s, whole, end, 1);
  });
}

} // namespace mlir::mhc::cpu
