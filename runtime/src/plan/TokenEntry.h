//===- TokenEntry.h - an entry of a language model, run repeatedly -*- C++ -*-===//
#ifndef MHCRT_PLAN_TOKENENTRY_H
#define MHCRT_PLAN_TOKENENTRY_H

#include "plan/Executor.h"

namespace mhcrt {

/// An entry that reads `tokens` and parameters that lie on the device already: from run to run only tokens are copied
/// there, and only what is asked for is copied back.
class TokenEntry {
public:
  TokenEntry(const Package &package, Device &device, const std::string &target, const std::string &entry);

  /// Lays out everything for tokens [rows, columns]. Memory only grows, so that lengths may come in any order.
  void bind(int64_t rows, int64_t columns);
  /// Runs on as many tokens as were bound; `scalars`: instead of those that all entries but the step's have.
  void run(const int32_t *tokens, ModelArenas &arenas, Scalars *scalars = nullptr);
  /// Of the last run's output `name`, `bytes` bytes from byte `offset`.
  void read(const std::string &name, uint64_t offset, void *to, uint64_t bytes);
  /// After a run: the first of its commands that left a NaN or infinity behind; "" if none did.
  std::string findNonFinite() { return executor.findNonFinite(request); }

  /// As they are bound.
  const Symbols &symbols() const { return values; }

private:
  Device &device;
  const Manifest &manifest;
  const Entry &entry;
  Executor executor;
  Symbols values;
  DeviceMemory tokens;
  uint64_t tokenBytes = 0;
  std::map<std::string, DeviceMemory> outputs;
  std::map<std::string, uint64_t> outputBytes;
  Executor::Run request;
};

} // namespace mhcrt

#endif // MHCRT_PLAN_TOKENENTRY_H
