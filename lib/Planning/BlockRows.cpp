//===- BlockRows.cpp - large rows, a block of them at a time ----------------===//
//
// The logits of a language model and their gradient are by far its largest temporaries: a row of each is a vocabulary of fp32 numbers. What works on them row by row, from the matmul that
// makes them to those that use their gradient, runs in a loop over blocks of rows, so that memory holds one block only.
//
//===----------------------------------------------------------------------===//

#include "mhc/Dialect/Mhc/IR/MhcRowOps.h"
#include "mhc/Dialect/Plan/IR/PlanDialect.h"
#include "mhc/Planning/Passes.h"
#include "mhc/Transforms/Decision.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"

namespace mlir::mhc {
#define GEN_PASS_DEF_BLOCKROWSPASS
#include "mhc/Planning/Passes.h.inc"

namespace {

using plan::BufferKind;
using plan::BufferOp;
using plan::ExprAttr;

BufferOp bufferOf(Value value) { return value.getDefiningOp<BufferOp>(); }

/// The factor of an expression that is so many times `symbol`; 0 for others.
int64_t multipleOf(ExprAttr expr, StringRef symbol) {
  bool one = expr.getSymbols().size() == 1 && expr.getSymbols()[0] == symbol && !expr.getConstant();
  return one ? expr.getCoefficients()[0] : 0;
}
int64_t rowElements(Value buffer) { return multipleOf(bufferOf(buffer).getSize(), "T"); }
int64_t rowBytes(Value buffer) { return rowElements(buffer) * bufferOf(buffer).getElementBytes(); }

/// What a command does when it runs on a block of its rows: buffers of which it takes the rows, and those it adds to over the blocks.
struct Blocked {
  SmallVector<Value> rows, sums;
};

/// Nothing where the command does not work row by row.
std::optional<Blocked> blockedForm(Operation *op) {
  Blocked form;
  if (auto gemm = dyn_cast<plan::GemmOp>(op)) {
    if (gemm.getBatch() != 1 || gemm.getD())
      return std::nullopt;
    if (multipleOf(gemm.getM(), "T") == 1 && !gemm.getTransA() && gemm.getN().isConstant() && gemm.getK().isConstant()) {
      form.rows = {gemm.getA(), gemm.getC()};
      return form;
    }
    bool sum = multipleOf(gemm.getK(), "T") == 1 && gemm.getTransA() && !gemm.getTransB() && gemm.getM().isConstant() && gemm.getN().isConstant();
    if (!sum || !bufferOf(gemm.getC()).getElementType().isF32())
      return std::nullopt;
    form.rows = {gemm.getA(), gemm.getB()};
    form.sums = {gemm.getC()};
    return form;
  }
  auto launch = dyn_cast<plan::LaunchOp>(op);
  if (!launch || multipleOf(launch.getRows(), "T") != 1 || launch.getInts())
    return std::nullopt;
  auto kernel = SymbolTable::lookupNearestSymbolFrom<KernelOp>(launch, launch.getKernelAttr());
  if (!kernel)
    return std::nullopt;
  for (auto [i, buffer] : llvm::enumerate(launch.getArgs()))
    if (plan::hasTokenRows(kernel, i))
      form.rows.push_back(buffer);
    else if (!bufferOf(buffer).getSize().isConstant())
      return std::nullopt; // a table with rows of its own
  llvm::append_range(form.sums, launch.getOuts());
  return form;
}

class Blocker {
public:
  Blocker(plan::EntryOp entry, int64_t rows, int64_t minRowBytes) : entry(entry), blockRows(rows), minRowBytes(minRowBytes) {}

  void run() {
    blockIn(entry.getBlock());
    for (auto loop : llvm::to_vector(entry.getBlock().getOps<plan::LoopOp>()))
      if (loop.getCount() == "micro_batches")
        blockIn(loop.getBody().front());
    if (!changed)
      return;
    entry.setBlockRowsAttr(IntegerAttr::get(IntegerType::get(entry.getContext(), 64), blockRows));
    for (auto [buffer, range] : plan::computeLiveRanges(entry))
      if (BufferOp op = bufferOf(buffer); op.isTemporary())
        op.setLive(ArrayRef<int64_t>{range.first, range.last});
  }

private:
  void blockIn(Block &block) {
    llvm::SetVector<Value> large;
    for (auto buffer : entry.getBlock().getOps<BufferOp>())
      if (buffer.getKind() == BufferKind::arena && rowBytes(buffer) >= minRowBytes &&
          llvm::all_of(buffer.getBuffer().getUsers(), [&](Operation *user) { return user->getBlock() == &block; }))
        large.insert(buffer);
    if (large.empty())
      return;
    if (const char *reason = collect(block, large))
      return refuse(large, reason);
    wrap(large);
  }

  void refuse(const llvm::SetVector<Value> &large, const char *reason) {
    emitDecision(large[0].getLoc(), "mhc-block-rows", "row_blocks", entry, false, reason, DecisionFigures{rowBytes(large[0]), rowBytes(large[0]), 0});
  }

  /// Fills `list` with the commands of the loop, in order, and `before` with those that stand between them; or says why there is no loop.
  const char *collect(Block &block, const llvm::SetVector<Value> &large) {
    list.clear();
    before.clear();
    Operation *first = nullptr, *last = nullptr;
    for (Operation &op : block)
      if (llvm::any_of(op.getOperands(), [&](Value v) { return large.contains(v); })) {
        first = first ? first : &op;
        last = &op;
      }
    llvm::DenseSet<Value> touched, written, sums;
    for (Operation *op = first;; op = op->getNextNode()) {
      SmallVector<plan::BufferUse> uses;
      if (auto command = dyn_cast<plan::CommandInterface>(op))
        command.getBufferUses(uses);
      bool depends = llvm::any_of(uses, [&](const plan::BufferUse &use) { return large.contains(use.buffer) || written.contains(use.buffer) || (use.writes && touched.contains(use.buffer)); });
      std::optional<Blocked> form = blockedForm(op);
      if (!depends && op != first) {
        before.push_back(op);
      } else if (!form) {
        return "what works on these rows does not work row by row";
      } else {
        for (const plan::BufferUse &use : uses) {
          if (sums.contains(use.buffer) && !llvm::is_contained(form->sums, use.buffer))
            return "a sum over all rows is read between them";
          touched.insert(use.buffer);
          if (use.writes)
            written.insert(use.buffer);
        }
        sums.insert_range(form->sums);
        list.insert({op, *form});
      }
      if (op == last)
        return nullptr;
    }
  }

  void wrap(const llvm::SetVector<Value> &large) {
    changed = true;
    Operation *front = list.front().first;
    int64_t bytes = 0;
    for (Value v : large)
      bytes += rowBytes(v);
    emitDecision(front->getLoc(), "mhc-block-rows", "row_blocks", entry, true, "tensors of " + Twine(bytes) + " bytes a token are there for " + Twine(blockRows) + " tokens at a time");
    for (Operation *op : before)
      op->moveBefore(front);
    OpBuilder b(front);
    llvm::DenseSet<Value> cleared;
    for (auto &[op, form] : list)
      for (Value sum : form.sums)
        if (startsNew(op, sum) && cleared.insert(sum).second)
          plan::FillOp::create(b, op->getLoc(), sum, b.getF64FloatAttr(0.0), StringAttr());
    auto loop = plan::LoopOp::create(b, front->getLoc(), b.getStringAttr("row_blocks"), StringAttr());
    Block *body = b.createBlock(&loop.getBody());
    for (auto &[op, form] : list)
      op->moveBefore(body, body->end());
    for (auto &[op, form] : list)
      rewrite(op, form, body);
  }

  /// Whether the command writes a sum anew; afterwards it adds to it.
  static bool startsNew(Operation *op, Value sum) {
    if (auto gemm = dyn_cast<plan::GemmOp>(op)) {
      bool starts = !gemm.getAccumulate();
      gemm.setAccumulate(true);
      return starts;
    }
    auto launch = cast<plan::LaunchOp>(op);
    SmallVector<bool> accumulate(*launch.getAccumulate());
    bool starts = false;
    for (auto [i, out] : llvm::enumerate(launch.getOuts()))
      if (out == sum) {
        starts |= !accumulate[i];
        accumulate[i] = true;
      }
    launch.setAccumulate(accumulate);
    return starts;
  }

  void rewrite(Operation *op, const Blocked &form, Block *body) {
    for (OpOperand &operand : op->getOpOperands())
      if (llvm::is_contained(form.rows, operand.get()))
        operand.set(blockOf(operand.get(), body));
    AttrTypeReplacer replacer;
    replacer.addReplacement([&](ExprAttr expr) -> Attribute { return multipleOf(expr, "T") == 1 ? ExprAttr::symbol(entry.getContext(), "R") : expr; });
    replacer.replaceElementsIn(op);
  }

  /// The iteration's rows of a buffer: the buffer itself, cut down to them, where nothing else uses it, or a window on it.
  Value blockOf(Value buffer, Block *body) {
    BufferOp op = bufferOf(buffer);
    if (multipleOf(op.getSize(), "R"))
      return buffer; // it has been cut down
    ExprAttr size = ExprAttr::symbol(entry.getContext(), "R").times(rowElements(buffer));
    bool inside = llvm::all_of(buffer.getUsers(), [&](Operation *user) { return user->getBlock() == body; });
    if (op.getKind() == BufferKind::arena && inside) {
      op.setSizeAttr(size);
      return buffer;
    }
    Value &window = windows[buffer];
    if (!window) {
      Operation *lastBuffer = op;
      for (auto each : entry.getBlock().getOps<BufferOp>())
        lastBuffer = each;
      OpBuilder b(entry.getContext());
      b.setInsertionPointAfter(lastBuffer);
      window = BufferOp::create(b, op.getLoc(), op.getType(), buffer, BufferKind::window, op.getElementType(), size, DenseI64ArrayAttr(), op.getNameAttr(), StringAttr(), IntegerAttr(),
                                IntegerAttr(), StringAttr(), IntegerAttr(), StringAttr(), FloatAttr(), IntegerAttr());
    }
    return window;
  }

  plan::EntryOp entry;
  int64_t blockRows, minRowBytes;
  llvm::MapVector<Operation *, Blocked> list;
  SmallVector<Operation *> before;
  llvm::DenseMap<Value, Value> windows;
  bool changed = false;
};

struct BlockRowsPass : impl::BlockRowsPassBase<BlockRowsPass> {
  using BlockRowsPassBase::BlockRowsPassBase;
  void runOnOperation() override {
    if (rows < 0 || minRowBytes < 1) {
      emitError(getOperation().getLoc(), "expected at least 0 rows of a block, and rows of at least 1 byte, but got ") << rows.getValue() << " and " << minRowBytes.getValue();
      return signalPassFailure();
    }
    if (rows)
      for (auto entry : getOperation().getOps<plan::EntryOp>())
        if (!entry.getBlockRows())
          Blocker(entry, rows, minRowBytes).run();
  }
};

} // namespace
} // namespace mlir::mhc
