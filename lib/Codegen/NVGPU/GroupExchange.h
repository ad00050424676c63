//===- GroupExchange.h - how blocks of family group exchange ----*- C++ -*-===//
#ifndef MHC_CODEGEN_NVGPU_GROUPEXCHANGE_H
#define MHC_CODEGEN_NVGPU_GROUPEXCHANGE_H

#include "GroupEmitter.h"

namespace mlir::mhc::nvgpu {

/// Through the shared memory of a cluster.
class ClusterEmitter : public GroupEmitter {
public:
  using GroupEmitter::GroupEmitter;

private:
  void beginExchange(GpuLaunch launch) override;
  void initExchange() override;
  void armExchange() override;
  void join() override;
  void sendSums(Value tile, Value token, Value quad, ArrayRef<Value> sums) override;
  void receiveSums(Value tile, Value rows) override;
  void sendResults(Value tile, ArrayRef<Value> results) override;
  SmallVector<Value> receiveResults(Value tile, ArrayRef<Value> asked) override;

  Value sumsHere(Value place) { return barrierAt(exchangeBarriers(), place); }
  Value resultsHere(Value place) { return barrierAt(exchangeBarriers() + GroupPlan::exchanges, place); }
  /// Values into the shared memory of block `block`, and their bytes onto that block's barrier.
  void send(ArrayRef<Value> values, Value place, Value barrier, Value block);
};

/// Through rings in memory.
class RingEmitter : public GroupEmitter {
public:
  using GroupEmitter::GroupEmitter;

private:
  void beginExchange(GpuLaunch launch) override;
  void sendSums(Value tile, Value token, Value quad, ArrayRef<Value> sums) override;
  void receiveSums(Value tile, Value rows) override;
  void sendResults(Value tile, ArrayRef<Value> results) override;
  SmallVector<Value> askResults(Value tile) override;
  SmallVector<Value> askAgain(Value tile, ArrayRef<Value> asked) override;
  SmallVector<Value> receiveResults(Value tile, ArrayRef<Value> asked) override;

  Value groupMemory();
  Value resultPlace(Value tile, Value token);
  /// Four numbers with the round's parity.
  void publish(ArrayRef<Value> four, Value to, Value parity);
};

} // namespace mlir::mhc::nvgpu

#endif // MHC_CODEGEN_NVGPU_GROUPEXCHANGE_H
