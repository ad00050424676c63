//===- Explain.cpp - the passes' decisions, for people and programs ---------===//

#include "Compile.h"

#include "mlir/IR/Location.h"
#include "mlir/IR/Remarks.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace mlir::mhc;

std::string mlir::mhc::placeName(Location loc) {
  std::string name;
  loc->walk([&](Location part) {
    auto named = dyn_cast<NameLoc>(part);
    if (!named)
      return WalkResult::advance();
    name = named.getName().str();
    return WalkResult::interrupt();
  });
  return name;
}

namespace {
class Streamer : public remark::detail::MLIRRemarkStreamerBase {
public:
  explicit Streamer(RemarkLog &log) : log(log) {}

  void streamOptimizationRemark(const remark::detail::Remark &remark) override {
    RemarkLog::Entry entry;
    entry.pass = remark.getCategoryName().str();
    entry.name = remark.getRemarkName().str();
    entry.function = remark.getFunction().str();
    entry.place = placeName(remark.getLocation());
    entry.decision = llvm::StringSwitch<std::string>(remark.getRemarkTypeString())
                         .Case("Passed", "taken")
                         .Case("Missed", "refused")
                         .Case("Failure", "failed")
                         .Default("note");
    for (const remark::detail::Remark::Arg &argument : remark.getArgs()) {
      if (argument.key == "Reason")
        entry.reason = argument.val;
      else if (argument.key == "place")
        entry.place = argument.val;
      else
        entry.metrics.emplace_back(argument.key, argument.val);
    }
    log.entries.push_back(std::move(entry));
  }

private:
  RemarkLog &log;
};

StringRef metric(const RemarkLog::Entry &entry, StringRef key) {
  for (const auto &[name, value] : entry.metrics)
    if (name == key)
      return value;
  return "";
}

/// Columns as wide as their longest cell; figures to the right.
void printTable(ArrayRef<std::vector<std::string>> rows, ArrayRef<bool> right, raw_ostream &os) {
  std::vector<size_t> widths(right.size(), 0);
  for (const auto &row : rows)
    for (size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], row[i].size());
  for (const auto &row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      std::string padding(widths[i] - row[i].size(), ' ');
      line += (i ? "  " : "") + (right[i] ? padding + row[i] : row[i] + padding);
    }
    os << StringRef(line).rtrim() << "\n";
  }
}

/// A YAML scalar in double quotes.
std::string quoted(StringRef text) {
  std::string out = "\"";
  for (unsigned char c : text) {
    if (c == '"' || c == '\\')
      out += {'\\', char(c)};
    else if (c < 0x20)
      out += std::string("\\x") + llvm::hexdigit(c >> 4) + llvm::hexdigit(c & 15);
    else
      out += char(c);
  }
  return out + "\"";
}

bool isNumber(StringRef text) {
  int64_t number;
  return !text.getAsInteger(10, number);
}
} // namespace

LogicalResult RemarkLog::attach(MLIRContext &context) {
  remark::RemarkCategories categories;
  // `all` alone enables nothing: it only adds to filters that are there.
  categories.passed = categories.missed = categories.failed = categories.analysis = ".*";
  return remark::enableOptimizationRemarks(context, std::make_unique<Streamer>(*this),
                                           std::make_unique<remark::RemarkEmittingPolicyAll>(), categories);
}

void RemarkLog::print(Explain format, raw_ostream &os) const {
  if (format == Explain::yaml) {
    os << "remarks:" << (entries.empty() ? " []\n" : "\n");
    for (const Entry &entry : entries) {
      os << "  - pass: " << quoted(entry.pass) << "\n    name: " << quoted(entry.name)
         << "\n    function: " << quoted(entry.function) << "\n    place: " << quoted(entry.place)
         << "\n    decision: " << entry.decision << "\n    reason: " << quoted(entry.reason) << "\n";
      for (const auto &[key, value] : entry.metrics)
        os << "    " << key << ": " << (isNumber(value) ? value : quoted(value)) << "\n";
    }
    for (const auto &[key, value] : notes)
      os << key << ": " << (isNumber(value) ? value : quoted(value)) << "\n";
    return;
  }
  std::vector<std::vector<std::string>> rows{
      {"pass", "function", "place", "decision", "bytes before", "after", "flops added", "reason"}};
  for (const Entry &entry : entries) {
    std::string decision = entry.decision + (entry.name.empty() ? "" : " (" + entry.name + ")");
    rows.push_back({StringRef(entry.pass).starts_with("mhc-") ? entry.pass.substr(4) : entry.pass, entry.function,
                    entry.place, decision, metric(entry, "bytes_before").str(), metric(entry, "bytes_after").str(),
                    metric(entry, "flops_added").str(), entry.reason});
  }
  if (!entries.empty())
    os << "Decisions; bytes and operations are a token's.\n";
  printTable(rows, {false, false, false, false, true, true, true, false}, os);
  os << "\n";
  for (const auto &[key, value] : notes)
    os << key << ": " << value << "\n";
}
