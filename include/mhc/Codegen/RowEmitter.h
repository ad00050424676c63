//===- RowEmitter.h - primitives of a kernel on chunk vectors ---------------===//
//
// What all schedule families share: inside the loop over channels a wide value is a *chunk*, one vector for each of its streams, and inside narrow code a
// value is one vector for each of its elements (lanes are tokens). A family derives from RowEmitter, says through the hooks how memory is
// reached and how values are rounded, and writes the loops around it. With `width` 1 vectors are plain scalars.
//
//===----------------------------------------------------------------------===//
#ifndef MHC_CODEGEN_ROWEMITTER_H
#define MHC_CODEGEN_ROWEMITTER_H

#include "mhc/Dialect/Mhc/IR/MhcRowOps.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/DenseMap.h"

namespace mlir::mhc {

class RowEmitter {
public:
  /// A rounded value: as memory holds it (of whatever IR type the family likes, say i16 for bf16), and widened to the compute type.
  struct Rounded {
    Value stored, widened;
  };

  RowEmitter(OpBuilder &builder, Location loc, Type compute) : b(builder), loc(loc), compute(compute) {}
  virtual ~RowEmitter() = default;

  //===--- Chunks ------------------------------------------------------------===//

  /// Chunks that follow have `width` lanes; the chunks of before are forgotten.
  void beginChunk(int64_t lanes) {
    width = lanes;
    chunks.clear();
  }
  /// The vectors of a wide value, one a stream, in the compute type.
  ArrayRef<Value> computed(Value wide);
  /// The same as memory holds them, for stores. Only values that were loaded or cast have this form if their type is not the compute type.
  ArrayRef<Value> stored(Value wide);
  void bindComputed(Value wide, ArrayRef<Value> vectors) { chunks[wide].computed.assign(vectors.begin(), vectors.end()); }
  void bindStored(Value wide, ArrayRef<Value> vectors) { chunks[wide].stored.assign(vectors.begin(), vectors.end()); }

  /// A wide value in the form that its element type has: computed where it is the compute type, else stored.
  ArrayRef<Value> inMemoryForm(Value wide);
  void bindInMemoryForm(Value wide, ArrayRef<Value> streams);

  /// Emits load, streams, concat, map, mix, cast and store of wide values. All else goes to emitOther. An op whose result is bound already is skipped.
  LogicalResult emitWide(Operation *op);

  //===--- Regions -----------------------------------------------------------===//

  /// Clones the scalar code of a map or narrow op onto vectors: `arguments` are the region's arguments (vectors of `width` lanes, or scalars that are
  /// the same in all lanes), `results` receives what is yielded, as vectors. Index values and what follows from them stay scalar.
  LogicalResult emitRegion(Region &region, ArrayRef<Value> arguments, SmallVectorImpl<Value> &results);

  //===--- Types and values --------------------------------------------------===//

  /// `scalar`, or a vector of `width` of them.
  Type lanes(Type scalar) const;
  /// A scalar in all lanes; a vector stays as it is.
  Value splat(Value value);
  /// Constants in all lanes.
  Value floatConstant(double value);
  Value intConstant(Type type, int64_t value);
  Value fma(Value x, Value y, Value z);
  /// x * y + z, or x * y where z is null: the terms of mix and project_t.
  Value term(Value x, Value y, Value z);

protected:
  //===--- Hooks -------------------------------------------------------------===//

  /// The present chunk of one stream, as memory holds it.
  virtual Value loadStream(RowLoadOp load, int64_t stream) = 0;
  virtual void storeStreams(RowStoreOp store, ArrayRef<Value> stored) = 0;
  /// One scalar of a narrow value of the present token, for wide code: compute type (i32 for indices); a scalar or splatted over the lanes.
  virtual Value narrowScalar(Value narrow, int64_t element) = 0;
  /// i32 numbers of the chunk's channels.
  virtual Value channel() = 0;
  /// From memory's form to the compute type.
  virtual Value widen(Value stored, Type elementType) = 0;
  /// Rounds to nearest even. Compute type in; elementType differs from it.
  virtual Rounded round(Value computed, Type elementType) = 0;
  /// True, as a scalar, if the condition holds in a lane of a token that exists.
  virtual Value any(Value condition) = 0;
  /// A token's own memory of a narrow region: by default an alloca in front of `allocas`. The element type is already `lanes(..)`.
  virtual Value allocate(MemRefType type);
  /// Reductions and what else is the family's own.
  virtual LogicalResult emitOther(Operation *op) = 0;

  LogicalResult emitMap(RowMapOp op);
  LogicalResult emitMix(RowMixOp op);
  LogicalResult emitCast(RowCastOp op);

  OpBuilder &b;
  Location loc;
  Type compute;
  int64_t width = 1;
  /// Where memory of narrow regions is allocated (the function's entry): an alloca inside the loops would grow the stack.
  Operation *allocas = nullptr;

private:
  struct Chunk {
    SmallVector<Value, 4> stored, computed;
  };
  DenseMap<Value, Chunk> chunks;

  LogicalResult cloneBlock(Block &block, IRMapping &map);
  LogicalResult cloneOp(Operation &op, IRMapping &map);
  Value vectorOf(Value old, IRMapping &map);
};

} // namespace mlir::mhc

#endif // MHC_CODEGEN_ROWEMITTER_H
