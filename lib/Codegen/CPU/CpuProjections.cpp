//===- CpuProjections.cpp - project, project_t, outer_tokens ----------------===//
//
// Small matrix products over the block copies of a tile, blocked so that the sums stay in registers (at most 12 of 16) and that there are fewer
// loads than multiplications. The blocking does not show in the results: each sum is a chain of its own.
//
// Lanes are columns where the parameter lies as [K, M], or is copied so for the block (CpuPack.cpp): then a row of the parameter meets one broadcast
// element of the wide value, and nothing is added up across lanes. Projections to fewer columns than lanes, and project_t, have their lanes on channels.
//
//===----------------------------------------------------------------------===//

#include "CpuEmitter.h"

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
void CpuEmitter::inBlocks(int64_t count, int64_t block, function_ref<void(Value, int64_t)> body) {
  int64_t whole = count / block * block;
  if (whole)
    loop(i64(0), i64(whole), block, [&](Value first) { body(first, block); });
  if (whole != count)
    body(i64(whole), count - whole);
}

/// Columns as vectors: whole ones, then halves down to single columns, so that nothing beyond a row of the parameter is touched.
static SmallVector<CpuEmitter::Piece> pieces(int64_t columns, int64_t lanes) {
  SmallVector<CpuEmitter::Piece> result;
  for (int64_t at = 0; at < columns; at += lanes) {
    while (lanes > columns - at)
      lanes /= 2;
    result.push_back({at, lanes});
  }
  return result;
}

/// Blocks of pieces: those of whole vectors by threes, then what is left.
void CpuEmitter::inPieces(int64_t columns, function_ref<void(Value, ArrayRef<Piece>)> body) {
  inBlocks(columns, 3 * vectorLanes, [&](Value first, int64_t count) { body(first, pieces(count, vectorLanes)); });
}

//===----------------------------------------------------------------------===//
// project
//===----------------------------------------------------------------------===//

void CpuEmitter::emitProject(RowProjectOp op) {
  if (lanesAreColumns(op))
    emitProjectColumns(op);
  else
    emitProjectChannels(op);
}

/// Lanes are channels, sums [R][g, m][W].
void CpuEmitter::emitProjectChannels(RowProjectOp op) {
  Shape shape = shapeOf(op.getWeight(), op.getTransposed(), op.getValue().getType());
  Value sums = lateMemory[op], weight = pointer(op.getWeight());
  Type vectorType = vector(compute, vectorLanes);
  loop(i64(0), i64(shape.groups), 1, [&](Value g) {
    Value firstStream = mul(g, shape.inGroup);
    auto sumIndex = [&](Value m, Value u) {
      return mul(add(add(mul(u, shape.groups * shape.columns), mul(g, shape.columns)), m), vectorLanes);
    };
    auto weightIndex = [&](Value m, Value s, Value c) { return add(add(mul(m, shape.k), mul(s, channels)), c); };
    inBlocks(shape.columns, 6, [&](Value m, int64_t count) {
      int64_t tokens = tokensFor(count, tile);
      loop(i64(0), valid, tokens, [&](Value u) {
        SmallVector<Value> acc;
        for (int64_t q = 0; q < tokens; ++q)
          for (int64_t j = 0; j < count; ++j)
            acc.push_back(load(vectorType, sums, sumIndex(add(m, j), add(u, q))));
        acc = loop(i64(0), i64(shape.inGroup), 1, acc, [&](Value s, ValueRange outer) {
          return loop(blockStart, blockMainEnd, vectorLanes, outer, [&](Value c, ValueRange carried) {
            SmallVector<Value> factors, next(carried.size());
            for (int64_t q = 0; q < tokens; ++q)
              factors.push_back(loadCopy(vectorLanes, op.getValue(), add(u, q), add(firstStream, s), sub(c, blockStart)));
            for (int64_t j = 0; j < count; ++j) {
              Value w = load(vectorType, weight, weightIndex(add(m, j), s, c));
              for (int64_t q = 0; q < tokens; ++q)
                next[q * count + j] = fma(factors[q], w, carried[q * count + j]);
            }
            return next;
          });
        });
        for (int64_t q = 0; q < tokens; ++q)
          for (int64_t j = 0; j < count; ++j)
            store(acc[q * count + j], sums, sumIndex(add(m, j), add(u, q)));
      });
    });
    if (mainChannels == channels)
      return;
    loop(i64(0), valid, 1, [&](Value u) {
      loop(i64(0), i64(shape.columns), 1, [&](Value m) {
        loop(i64(0), i64(shape.inGroup), 1, [&](Value s) {
          loop(max(blockStart, i64(mainChannels)), blockEnd, 1, [&](Value c) {
            Value place = add(sumIndex(m, u), sub(c, i64(mainChannels)));
            Value x = loadCopy(1, op.getValue(), u, add(firstStream, s), sub(c, blockStart));
            Value w = load(compute, weight, weightIndex(m, s, c));
            store(fma(x, w, load(compute, sums, place)), sums, place);
          });
        });
      });
    });
  });
}

/// Lanes are columns, sums [R][g, m]. 64 channels of a stream are summed by themselves: a chain over all of K would lose digits, and this much of the
/// parameter stays in the first-level cache while the tokens pass.
void CpuEmitter::emitProjectColumns(RowProjectOp op) {
  Shape shape = shapeOf(op.getWeight(), op.getTransposed(), op.getValue().getType());
  Value sums = lateMemory[op];
  auto block = [&](Value g, Value s, Value start, Value end, Value m, ArrayRef<Piece> parts) {
    int64_t tokens = tokensFor(parts.size(), tile);
    Value stream = add(mul(g, shape.inGroup), s);
    loop(i64(0), valid, tokens, [&](Value u) {
      SmallVector<Value> acc;
      for (int64_t q = 0; q < tokens; ++q)
        for (Piece part : parts)
          acc.push_back(zeros(vector(compute, part.lanes)));
      acc = loop(start, end, 1, acc, [&](Value c, ValueRange carried) {
        SmallVector<Value> next, weights;
        auto [weight, row] = columnsOf(op, shape, s, c);
        for (Piece part : parts)
          weights.push_back(load(vector(compute, part.lanes), weight, add(add(row, m), part.first)));
        for (int64_t q = 0; q < tokens; ++q) {
          Value x = loadCopy(1, op.getValue(), add(u, q), stream, sub(c, blockStart));
          for (auto [p, part] : llvm::enumerate(parts))
            next.push_back(fma(broadcast(x, part.lanes), weights[p], carried[q * parts.size() + p]));
        }
        return next;
      });
      for (int64_t q = 0; q < tokens; ++q)
        for (auto [p, part] : llvm::enumerate(parts)) {
          Value t = add(u, q);
          Value place = add(add(mul(t, shape.groups * shape.columns), add(mul(g, shape.columns), m)), part.first);
          Value sum = load(vector(compute, part.lanes), sums, place);
          store(arith::AddFOp::create(b, loc, sum, acc[q * parts.size() + p]), sums, place);
        }
    });
  };
  loop(blockStart, blockEnd, 64, [&](Value start) {
    Value end = min(add(start, 64), blockEnd);
    loop(i64(0), i64(shape.groups), 1, [&](Value g) {
      loop(i64(0), i64(shape.inGroup), 1, [&](Value s) {
        inPieces(shape.columns, [&](Value m, ArrayRef<Piece> parts) { block(g, s, start, end, m, parts); });
      });
    });
  });
}

//===----------------------------------------------------------------------===//
// project_t
//===----------------------------------------------------------------------===//

void CpuEmitter::emitProjectT(RowProjectTOp op) {
  loc = op.getLoc();
  Shape shape = shapeOf(op.getWeight(), op.getTransposed(), op.getResult().getType());
  auto blocks = [&](Value g, Value s, Value from, Value to, int64_t vectors, int64_t lanes) {
    int64_t tokens = tokensFor(vectors * 2, tile) * 2; // 8 or more sums hide the latency
    Value stream = add(mul(g, shape.inGroup), s);
    loop(from, to, vectors * lanes, [&](Value c) {
      loop(i64(0), valid, tokens, [&](Value u) {
        SmallVector<Value> acc(tokens * vectors, zeros(vector(compute, lanes)));
        acc = loop(i64(0), i64(shape.columns), 1, acc, [&](Value m, ValueRange carried) {
          SmallVector<Value> next, weights;
          auto [weight, row] = rowsOf(op, shape, m, s, c);
          for (int64_t v = 0; v < vectors; ++v)
            weights.push_back(load(vector(compute, lanes), weight, add(row, v * lanes)));
          for (int64_t q = 0; q < tokens; ++q) {
            Value z = narrowAt(op.getValue(), add(mul(g, shape.columns), m), add(u, q));
            for (int64_t v = 0; v < vectors; ++v)
              next.push_back(fma(broadcast(z, lanes), weights[v], carried[q * vectors + v]));
          }
          return next;
        });
        for (int64_t q = 0; q < tokens; ++q)
          for (int64_t v = 0; v < vectors; ++v)
            storeCopy(acc[q * vectors + v], op.getResult(), add(u, q), stream, add(c, v * lanes));
      });
    });
  };
  loop(i64(0), i64(shape.groups), 1, [&](Value g) {
    loop(i64(0), i64(shape.inGroup), 1, [&](Value s) { inChunks([&](Value from, Value to, int64_t vectors, int64_t lanes) { blocks(g, s, from, to, vectors, lanes); }); });
  });
}

/// The block's channels, counted from its start: four vectors at a time, one vector, one channel.
void CpuEmitter::inChunks(function_ref<void(Value, Value, int64_t, int64_t)> body) {
  Value mainEnd = max(sub(blockMainEnd, blockStart), i64(0)), end = sub(blockEnd, blockStart);
  Value wide = b.createOrFold<arith::AndIOp>(loc, mainEnd, i64(-4 * vectorLanes));
  body(i64(0), wide, 4, vectorLanes);
  if (!wholeBlocks || blockSize % (4 * vectorLanes))
    body(wide, mainEnd, 1, vectorLanes);
  if (mainChannels != channels)
    body(mainEnd, end, 1, 1);
}

//===----------------------------------------------------------------------===//
// outer_tokens
//===----------------------------------------------------------------------===//

void CpuEmitter::emitOuter(RowOuterTokensOp op) {
  if (lanesAreColumns(op))
    emitOuterColumns(op);
  else
    emitOuterChannels(op);
}

/// Target [M, K] with few columns: lanes are channels. The sums are the target's own, loaded and stored once a tile.
void CpuEmitter::emitOuterChannels(RowOuterTokensOp op) {
  Shape shape = shapeOf(op.getTarget(), true, op.getValue().getType());
  Value target = pointer(op.getTarget());
  auto blocks = [&](Value s, Value from, Value to, int64_t vectors, int64_t lanes) {
    loop(from, to, vectors * lanes, [&](Value c) {
      inBlocks(shape.columns, 3, [&](Value m, int64_t count) {
        auto place = [&](int64_t v, int64_t j) {
          return add(add(mul(add(m, j), shape.k), mul(s, channels)), add(add(blockStart, c), v * lanes));
        };
        SmallVector<Value> acc;
        for (int64_t j = 0; j < count; ++j)
          for (int64_t v = 0; v < vectors; ++v)
            acc.push_back(load(vector(compute, lanes), target, place(v, j)));
        acc = loop(i64(0), valid, 1, acc, [&](Value u, ValueRange carried) {
          SmallVector<Value> next = llvm::to_vector_of<Value>(carried);
          for (int64_t g = 0; g < shape.groups; ++g) {
            SmallVector<Value> factors;
            for (int64_t v = 0; v < vectors; ++v)
              factors.push_back(loadCopy(lanes, op.getValue(), u, add(s, g * shape.inGroup), add(c, v * lanes)));
            for (int64_t j = 0; j < count; ++j) {
              Value z = broadcast(narrowAt(op.getNarrow(), add(add(m, j), g * shape.columns), u), lanes);
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
  loop(i64(0), i64(shape.inGroup), 1, [&](Value s) {
    inChunks([&](Value from, Value to, int64_t vectors, int64_t lanes) { blocks(s, from, to, vectors, lanes); });
  });
}

/// Lanes are columns. The narrow factor lies as [R][g, m] for this.
void CpuEmitter::emitOuterColumns(RowOuterTokensOp op) {
  Shape shape = shapeOf(op.getTarget(), op.getTransposed(), op.getValue().getType());
  Value narrow = lateMemory[op];
  auto blocks = [&](Value s, Value from, Value to, int64_t rowCount) {
    loop(from, to, rowCount, [&](Value c) {
      inPieces(shape.columns, [&](Value m, ArrayRef<Piece> parts) {
        auto [target, row] = columnsOf(op, shape, s, add(blockStart, c));
        Value base = target, first = add(row, m);
        int64_t rowStride = shape.columns * (blockPacks.count(op) ? 1 : interleavedStreams(op, shape));
        auto place = [&](int64_t r, int64_t at) { return add(first, r * rowStride + at); };
        SmallVector<Value> acc;
        for (int64_t r = 0; r < rowCount; ++r)
          for (Piece part : parts)
            acc.push_back(load(vector(compute, part.lanes), base, place(r, part.first)));
        acc = loop(i64(0), valid, 1, acc, [&](Value u, ValueRange carried) {
          SmallVector<Value> next = llvm::to_vector_of<Value>(carried);
          for (int64_t g = 0; g < shape.groups; ++g) {
            SmallVector<Value> factors;
            for (Piece part : parts)
              factors.push_back(load(vector(compute, part.lanes), narrow,
                                     add(add(mul(u, shape.groups * shape.columns), m), g * shape.columns + part.first)));
            for (int64_t r = 0; r < rowCount; ++r) {
              Value x = loadCopy(1, op.getValue(), u, add(s, g * shape.inGroup), add(c, r));
              for (auto [p, part] : llvm::enumerate(parts)) {
                Value &sum = next[r * parts.size() + p];
                sum = fma(broadcast(x, part.lanes), factors[p], sum);
              }
            }
          }
          return next;
        });
        for (int64_t r = 0; r < rowCount; ++r)
          for (auto [p, part] : llvm::enumerate(parts))
            store(acc[r * parts.size() + p], base, place(r, part.first));
      });
    });
  };
  Value end = sub(blockEnd, blockStart);
  loop(i64(0), i64(shape.inGroup), 1, [&](Value s) {
    Value whole = b.createOrFold<arith::AndIOp>(loc, end, i64(-4));
    blocks(s, i64(0), whole, 4);
    if (channels % 4)
      blocks(s, whole, end, 1);
  });
}

} // namespace mlir::mhc::cpu
