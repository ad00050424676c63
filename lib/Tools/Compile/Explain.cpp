//===- Explain.cpp - the passes' decisions, for people and programs ---------===//

#include "Compile.h"

#include "mlir/IR/Location.h"
#include "mlir/IR/Remarks.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/JSON.h"
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

/// Six digits, as people read them.
static std::string shortNumber(double value) {
  std::string text;
  llvm::raw_string_ostream(text) << llvm::format("%.6g", value);
  return text;
}

/// "N(0, 0.02^2)", "U(+-0.03125)", "1", or the elements, equal ones together: "4 x -1.09861, 4 x 0, 8, 4 x 0, 8".
static std::string initialText(const llvm::json::Object &init) {
  StringRef kind = init.getString("kind").value_or("");
  if (kind == "normal")
    return "N(0, " + shortNumber(init.getNumber("std").value_or(0)) + "^2)";
  if (kind == "uniform")
    return "U(+-" + shortNumber(init.getNumber("bound").value_or(0)) + ")";
  if (kind == "constant")
    return shortNumber(init.getNumber("value").value_or(0));
  std::string text;
  size_t shown = 0;
  const llvm::json::Array *values = init.getArray("values");
  for (auto it = values->begin(); it != values->end(); ++shown) {
    auto end = std::find_if(it, values->end(), [&](const llvm::json::Value &value) { return value != *it; });
    if (shown == 24) // n = 8
      return text + ", ..";
    text += (shown ? ", " : "") + (end - it > 1 ? std::to_string(end - it) + " x " : "") + shortNumber(it->getAsNumber().value_or(0));
    it = end;
  }
  return text;
}

void RemarkLog::describeParameters(StringRef text) {
  llvm::Expected<llvm::json::Value> parsed = llvm::json::parse(text);
  if (!parsed)
    return llvm::consumeError(parsed.takeError());
  const llvm::json::Object *manifest = parsed->getAsObject();
  const llvm::json::Array *tensors = manifest ? manifest->getArray("tensors") : nullptr;
  if (!tensors)
    return;
  llvm::StringSet<> known;
  for (const llvm::json::Value &value : *tensors) {
    const llvm::json::Object *tensor = value.getAsObject();
    const llvm::json::Object *update = tensor ? tensor->getObject("update") : nullptr, *init = tensor ? tensor->getObject("init") : nullptr;
    if (!update || !init)
      continue;
    std::string name = tensor->getString("name").value_or("").str(), shape;
    if (size_t at = name.find(".experts."); at != std::string::npos) { // the experts of a stack are alike
      size_t number = at + strlen(".experts.");
      name.replace(number, name.find('.', number) - number, "*");
    }
    if (!known.insert(name).second)
      continue;
    if (const llvm::json::Array *sizes = tensor->getArray("shape"))
      for (const llvm::json::Value &size : *sizes)
        shape += (shape.empty() ? "" : "x") + std::to_string(size.getAsInteger().value_or(0));
    double decay = update->getNumber("decay").value_or(0);
    parameters.push_back({name, shape, tensor->getString("role").value_or("").str(), update->getString("kind").value_or("").str(),
                          update->getString("norm_scope").value_or("-").str(), shortNumber(update->getNumber("rate").value_or(1)), decay == 0 ? "-" : shortNumber(decay), initialText(*init)});
  }
  if (const llvm::json::Object *multipliers = manifest->getObject("multipliers")) {
    note("residual branches are multiplied by", shortNumber(multipliers->getNumber("residual_branches").value_or(1)));
    note("logits are multiplied by", shortNumber(multipliers->getNumber("logits").value_or(1)));
  }
}

void RemarkLog::describeSchedules(StringRef target, const TargetCode &code) {
  for (const TargetCode::Kernel &kernel : code.kernels)
    schedules.emplace_back(target.str(), kernel);
  if (!code.whyNoCubin.empty())
    note(("registers and spills of " + target).str(), "not known: " + code.whyNoCubin);
}

static std::string fieldText(Attribute value) {
  auto number = dyn_cast<IntegerAttr>(value);
  return number ? std::to_string(number.getInt()) : cast<StringAttr>(value).getValue().str();
}

/// For programs every field has a name; for people what most kernels have in common has columns, the rest follows as it is.
void RemarkLog::printSchedules(Explain format, raw_ostream &os) const {
  auto number = [](std::optional<int64_t> value) { return value ? std::to_string(*value) : std::string("?"); };
  auto micros = [](double seconds) {
    std::string text;
    llvm::raw_string_ostream(text) << llvm::format("%.1f", seconds * 1e6);
    return text;
  };
  if (schedules.empty())
    return; // no code was made
  if (format == Explain::yaml) {
    os << "schedules:\n";
    for (const auto &[target, kernel] : schedules) {
      os << "  - kernel: " << quoted(kernel.name) << "\n    structure: " << quoted(kernel.structure) << "\n    shape: " << quoted(kernel.shape) << "\n    target: " << quoted(target) << "\n";
      if (!kernel.variantOf.empty())
        os << "    variant_of: " << quoted(kernel.variantOf) << "\n";
      os << "    schedule: { family: " << quoted(kernel.schedule.getFamily());
      for (NamedAttribute field : kernel.schedule.getFields())
        os << ", " << field.getName().getValue() << ": " << (isa<StringAttr>(field.getValue()) ? quoted(fieldText(field.getValue())) : fieldText(field.getValue()));
      os << " }\n    roles:" << (kernel.roles.empty() ? " []\n" : "\n");
      for (const ScheduleRole &role : kernel.roles) {
        os << "      - { name: " << role.name << ", warps: " << role.warps;
        if (role.registers)
          os << ", registers: " << role.registers;
        os << " }\n";
      }
      os << "    kept: " << quoted(kernel.places) << "\n";
      if (target != "cpu") {
        os << "    registers: " << (kernel.registers ? std::to_string(*kernel.registers) : "null") << "\n    spilled_bytes: " << (kernel.spills ? std::to_string(*kernel.spills) : "null")
           << "\n    shared_bytes: " << kernel.shared << "\n";
      }
      os << "    bytes_read: " << kernel.readBytes << "\n    bytes_written: " << kernel.writtenBytes << "\n    expected_tokens: " << TargetCode::expectedTokens
         << "\n    expected_microseconds: " << micros(kernel.expectedSeconds) << "\n";
    }
    return;
  }
  bool isKnown = llvm::any_of(schedules, [](auto &entry) { return entry.second.registers.has_value(); });
  bool hasGpu = llvm::any_of(schedules, [](auto &entry) { return entry.first != "cpu"; });
  os << "Schedules; bytes are a token's (on parameters: a row's), microseconds those that the cost model expects of " << TargetCode::expectedTokens << " tokens."
     << (hasGpu && !isKnown ? " Registers and spills are not known: ptxas did not run." : "") << "\n";
  std::vector<std::vector<std::string>> rows{{"kernel", "target", "family", "tile", "group", "exchange", "warps: registers by role", "stages", "registers", "spills", "shared", "bytes", "us", "kept", "other fields"}};
  for (const auto &[target, kernel] : schedules) {
    ScheduleAttr schedule = kernel.schedule;
    bool cpu = target == "cpu";
    std::string roles, others;
    for (const ScheduleRole &role : kernel.roles)
      roles += (roles.empty() ? "" : ", ") + std::to_string(role.warps) + " " + role.name + (role.registers ? ": " + std::to_string(role.registers) : "");
    for (NamedAttribute field : schedule.getFields()) {
      StringRef name = field.getName().getValue();
      if (!llvm::is_contained({"tile", "threads", "blocks", "exchange", "stages"}, name) && !name.ends_with("_registers"))
        others += (others.empty() ? "" : " ") + name.str() + "=" + fieldText(field.getValue());
    }
    std::string stages = schedule.getFields().contains("stages") ? std::to_string(schedule.getNumber("stages")) : "-";
    rows.push_back({kernel.name, target, schedule.getFamily().str(), std::to_string(schedule.getTile()), cpu ? "-" : std::to_string(schedule.getNumber("blocks", 1)),
                    schedule.getWord("exchange").empty() ? "-" : schedule.getWord("exchange").str(), roles.empty() ? "-" : roles, stages, cpu ? "-" : number(kernel.registers),
                    cpu ? "-" : number(kernel.spills), cpu ? "-" : std::to_string(kernel.shared), std::to_string(kernel.readBytes + kernel.writtenBytes), micros(kernel.expectedSeconds), kernel.places, others});
  }
  printTable(rows, {false, false, false, true, true, false, false, true, true, true, true, true, true, false, false}, os);
  os << "\n";
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
    printSchedules(format, os);
    if (!parameters.empty())
      os << "parameters:\n";
    for (const Parameter &p : parameters)
      os << "  - name: " << quoted(p.name) << "\n    shape: " << quoted(p.shape) << "\n    role: " << p.role << "\n    optimizer: " << p.optimizer << "\n    norm_scope: " << quoted(p.norm)
         << "\n    learning_rate_multiplier: " << p.rate << "\n    weight_decay_multiplier: " << (p.decay == "-" ? "0" : p.decay) << "\n    initial_values: " << quoted(p.init) << "\n";
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
  printSchedules(format, os);
  if (!parameters.empty()) {
    rows = {{"parameter", "shape", "role", "optimizer", "norm of", "rate times", "decay times", "initial values"}};
    for (const Parameter &p : parameters)
      rows.push_back({p.name, p.shape, p.role, p.optimizer, p.norm, p.rate, p.decay, p.init});
    printTable(rows, {false, false, false, false, false, true, true, false}, os);
    os << "\n";
  }
  for (const auto &[key, value] : notes)
    os << key << ": " << value << "\n";
}
