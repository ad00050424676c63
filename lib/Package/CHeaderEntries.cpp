//===- CHeaderEntries.cpp - plans as comments of a C header -----------------===//

#include "CHeader.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::mhc;

std::string mlir::mhc::commentText(StringRef text) {
  std::string result;
  for (char c : text)
    result += !llvm::isPrint(c) || c == '\\' || c == '?' ? '.' : c;
  return result;
}

std::string mlir::mhc::outsideName(Value value) {
  auto buffer = value.getDefiningOp<plan::BufferOp>();
  if (buffer->getNumOperands()) // rows of another one
    return outsideName(buffer->getOperand(0));
  switch (buffer.getKind()) {
  case plan::BufferKind::input:
  case plan::BufferKind::output:
  case plan::BufferKind::parameter:
    return buffer.getTensor()->str();
  case plan::BufferKind::gradient:
    return "grad." + buffer.getTensor()->str();
  case plan::BufferKind::state:
    return buffer.getArena()->str();
  case plan::BufferKind::scalars:
    return "scalars";
  case plan::BufferKind::constant:
    return buffer.getGenerator()->str();
  default:
    return "";
  }
}

namespace {

/// One entry. Temporaries are called by their number in the plan, as plan.json has it.
class EntryComment {
public:
  EntryComment(plan::EntryOp entry, raw_ostream &os) : entry(entry), os(os) {}

  void write() {
    os << "//\n// Entry " << commentText(entry.getSymName()) << "(";
    llvm::interleaveComma(entry.getSymbols(), os,
                          [&](Attribute symbol) { os << commentText(cast<StringAttr>(symbol)); });
    os << ")";
    if (auto rows = entry->getAttrOfType<IntegerAttr>("block_rows"))
      os << ", R = min(T, " << rows.getInt() << ")";
    os << "\n";
    for (auto buffer : entry.getBlock().getOps<plan::BufferOp>()) {
      numbers[buffer.getBuffer()] = numbers.size();
      bool tensor = buffer.getKind() == plan::BufferKind::input || buffer.getKind() == plan::BufferKind::output;
      if (tensor && !buffer.getSlice().value_or(0)) // of slices, the first speaks for all
        writeBuffer(buffer);
    }
    writeCommands(entry.getBlock(), 1);
    if (count > limit)
      os << "//   .. and " << count - limit << " more: plan.json of a package lists all\n";
  }

private:
  /// Models have thousands of commands; a header is read by people.
  static constexpr int64_t limit = 24;

  void writeBuffer(plan::BufferOp buffer) {
    os << "//   " << plan::stringifyBufferKind(buffer.getKind()) << " " << name(buffer.getBuffer()) << ": "
       << buffer.getElementType() << ", " << commentText(buffer.getSize().str())
       << (buffer.getSize().str() == "1" ? " element" : " elements");
    if (buffer.getSlices())
      os << " in each of " << *buffer.getSlices() << " slices";
    os << "\n";
  }

  std::string name(Value buffer) {
    std::string outside = commentText(outsideName(buffer));
    if (outside.empty())
      return "#" + std::to_string(numbers.lookup(buffer));
    auto slice = buffer.getDefiningOp<plan::BufferOp>().getSlice();
    return slice ? outside + "[" + std::to_string(*slice) + "]" : outside;
  }

  std::string names(ValueRange buffers) {
    return llvm::join(llvm::map_range(buffers, [&](Value buffer) { return name(buffer); }), ", ");
  }

  void writeCommands(Block &block, int depth) {
    for (Operation &op : block) {
      auto command = dyn_cast<plan::CommandInterface>(op);
      if (!command || ++count > limit)
        continue;
      os << "//   ";
      os.indent(2 * (depth - 1)) << count << ". ";
      writeCommand(command);
      if (auto at = op.getAttrOfType<StringAttr>("at"))
        os << "  [" << commentText(at) << "]";
      os << "\n";
      if (auto loop = dyn_cast<plan::LoopOp>(op))
        writeCommands(loop.getBody().front(), depth + 1);
    }
  }

  void writeCommand(plan::CommandInterface command) {
    auto text = [](plan::ExprAttr expr) { return commentText(expr.str()); };
    llvm::TypeSwitch<Operation *>(command)
        .Case([&](plan::LaunchOp launch) {
          os << "kernel " << commentText(launch.getKernel()) << "(" << names(launch.getArgs())
             << "), rows = " << text(launch.getRows());
          if (launch.getInts())
            for (Attribute expr : launch.getIntsAttr())
              os << ", " << text(cast<plan::ExprAttr>(expr));
          for (auto [partial, out, accumulate] :
               llvm::zip(launch.getPartials(), launch.getOuts(), launch.getAccumulate().value_or(ArrayRef<bool>())))
            os << "; partials " << name(partial) << (accumulate ? " added to " : " summed into ") << name(out);
        })
        .Case([&](plan::GemmOp gemm) {
          os << "gemm " << name(gemm.getC()) << (gemm.getAccumulate() ? " += " : " = ") << name(gemm.getA())
             << (gemm.getTransA() ? "^T " : " ") << name(gemm.getB()) << (gemm.getTransB() ? "^T" : "")
             << ", m = " << text(gemm.getM()) << ", n = " << text(gemm.getN()) << ", k = " << text(gemm.getK());
        })
        .Case([&](plan::LoopOp loop) { os << "loop, " << commentText(loop.getCount()) << " times"; })
        .Default([&](Operation *op) { os << op->getName().stripDialect() << "(" << names(op->getOperands()) << ")"; });
  }

  plan::EntryOp entry;
  raw_ostream &os;
  DenseMap<Value, int64_t> numbers;
  int64_t count = 0;
};

} // namespace

void mlir::mhc::writeEntryComments(ModuleOp module, raw_ostream &os) {
  for (auto entry : module.getOps<plan::EntryOp>())
    EntryComment(entry, os).write();
}
