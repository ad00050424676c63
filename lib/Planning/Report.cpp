//===- Report.cpp - what a plan costs ---------------------------------------===//

#include "mhc/Planning/Report.h"
#include "mhc/Analysis/KernelFormer.h"
#include "mhc/Package/Allocator.h"

#include "llvm/Support/Format.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::mhc;
using plan::BufferKind;
using plan::ExprAttr;

static ExprAttr plus(ExprAttr x, ExprAttr y) { return x && y ? x.plus(y) : ExprAttr(); }

LaunchBytes mlir::mhc::planBytes(plan::LaunchOp launch) {
  auto kernel = SymbolTable::lookupNearestSymbolFrom<KernelOp>(launch, launch.getKernelAttr());
  Traffic row = kernel ? kernelTraffic(kernel) : Traffic();
  return {launch.getRows().times(row.read), launch.getRows().times(row.written)};
}

LaunchBytes mlir::mhc::planBytes(plan::EntryOp entry) {
  ExprAttr zero = ExprAttr::constant(entry.getContext(), 0);
  LaunchBytes sum{zero, zero};
  entry.walk([&](plan::LaunchOp launch) {
    LaunchBytes bytes = planBytes(launch);
    sum = {plus(sum.read, bytes.read), plus(sum.written, bytes.written)};
  });
  return sum;
}

namespace {
/// One entry of --memory.
class EntryReport {
public:
  EntryReport(plan::EntryOp entry, llvm::StringMap<int64_t> symbols, const llvm::StringMap<int64_t> &tiles)
      : entry(entry), symbols(std::move(symbols)), tiles(tiles) {}

  LogicalResult print(raw_ostream &os) {
    if (failed(bindDerived()) || failed(placeBuffers()))
      return failure();
    os << "entry " << entry.getSymName() << " (";
    llvm::interleaveComma(names, os, [&](StringRef name) { os << name << " = " << symbols.lookup(name); });
    os << ")\n  arena " << layout.bytes << " bytes for " << buffers.size() << " temporaries of " << total
       << " bytes in all; " << commands << " commands\n";
    LaunchBytes moved = planBytes(entry);
    if (moved.read && moved.written)
      os << "  kernels read " << moved.read.str() << " bytes and write " << moved.written.str() << "\n";
    SmallVector<size_t> order(buffers.size());
    for (size_t i = 0; i < order.size(); ++i)
      order[i] = i;
    llvm::stable_sort(order, [&](size_t a, size_t b) { return requests[a].bytes > requests[b].bytes; });
    for (size_t i : ArrayRef(order).take_front(10)) {
      plan::BufferOp buffer = buffers[i];
      os << "  " << llvm::format("%14llu", (unsigned long long)requests[i].bytes) << " at "
         << llvm::format("%-14llu", (unsigned long long)layout.offsets[i]) << " " << buffer.getElementType() << " x "
         << buffer.getSize().str() << ", live " << requests[i].first << ".." << requests[i].last;
      if (buffer.getName())
        os << ", " << *buffer.getName();
      os << "\n";
    }
    return success();
  }

private:
  LogicalResult bindDerived() {
    for (Attribute symbol : entry.getSymbols())
      names.push_back(cast<StringAttr>(symbol).getValue());
    for (StringRef name : names)
      if (!symbols.contains(name))
        return entry.emitError("expected a value of symbol '") << name << "'";
    for (Attribute item : entry.getDerived().value_or(ArrayAttr::get(entry.getContext(), {}))) {
      auto list = cast<ArrayAttr>(item);
      int64_t product = 1;
      for (Attribute factor : llvm::drop_begin(list))
        if (llvm::MulOverflow(product, symbols.lookup(cast<StringAttr>(factor).getValue()), product))
          return entry.emitError("expected a product of symbols that 64 bits hold");
      symbols[cast<StringAttr>(list[0]).getValue()] = product;
    }
    if (entry.getBlockRows())
      symbols["R"] = std::min<int64_t>(symbols.lookup("T"), *entry.getBlockRows());
    return success();
  }

  /// Partial sums of a launch; what the CPU makes is the larger number for few rows, and the GPU's depends on its tile.
  int64_t partials(plan::LaunchOp launch) {
    std::optional<int64_t> rows = launch.getRows().evaluate(symbols);
    auto tile = tiles.find(launch.getKernel());
    return rows ? ::mhc::cpuRowBlocks(*rows, tile == tiles.end() ? 1 : tile->second, /*reduces=*/true).count : 0;
  }

  LogicalResult placeBuffers() {
    commands = plan::numberCommands(entry).size();
    int64_t id = 0;
    for (auto buffer : entry.getBlock().getOps<plan::BufferOp>()) {
      int64_t number = id++;
      if (!buffer.isTemporary())
        continue;
      std::optional<int64_t> elements = buffer.getSize().evaluate(symbols);
      int64_t count = 1, bytes = 0;
      if (buffer.getKind() == BufferKind::partials) {
        count = 0;
        for (Operation *user : buffer.getBuffer().getUsers())
          if (auto launch = dyn_cast<plan::LaunchOp>(user))
            count = std::max(count, partials(launch));
      }
      if (!elements || *elements < 0 || llvm::MulOverflow(*elements, count * buffer.getElementBytes(), bytes))
        return buffer.emitError("expected a size that 64 bits hold");
      buffers.push_back(buffer);
      requests.push_back({number, (uint64_t)bytes, (*buffer.getLive())[0], (*buffer.getLive())[1]});
      total += bytes;
    }
    if (!::mhc::placeArena(requests, layout))
      return entry.emitError("expected an arena whose size 64 bits hold");
    return success();
  }

  plan::EntryOp entry;
  llvm::StringMap<int64_t> symbols;
  const llvm::StringMap<int64_t> &tiles;
  SmallVector<StringRef> names;
  SmallVector<plan::BufferOp> buffers;
  std::vector<::mhc::ArenaRequest> requests;
  ::mhc::ArenaLayout layout;
  uint64_t total = 0;
  size_t commands = 0;
};
} // namespace

LogicalResult mlir::mhc::printMemory(ModuleOp module, const llvm::StringMap<int64_t> &symbols,
                                     const llvm::StringMap<int64_t> &tiles, raw_ostream &os) {
  for (auto entry : module.getOps<plan::EntryOp>())
    if (failed(EntryReport(entry, symbols, tiles).print(os)))
      return failure();
  return success();
}
