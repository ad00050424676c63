//===- ScheduleFile.cpp - schedules as data ---------------------------------===//
//
// docs/design/schedules.md: a list of {kernel, structure, shape, target, schedule}. What is read here is the form; which fields a family has and what they
// may be is said when a kernel's schedule is chosen, with the place in the file.
//
//===----------------------------------------------------------------------===//

#include "Compile.h"

#include "../../Frontend/Description/Json.h"

#include "mhc/Package/Package.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace mlir;
using namespace mlir::mhc;
using JsonValue = ::mhc::json::Value;

namespace {
class Reader {
public:
  Reader(MLIRContext *context, StringRef file) : context(context), file(file) {}

  LogicalResult run(std::vector<ScheduleRequest> &requests) {
    auto buffer = llvm::MemoryBuffer::getFile(file, /*IsText=*/true);
    if (!buffer) {
      llvm::errs() << file << ": error: could not read the file: " << buffer.getError().message() << "\n";
      return failure();
    }
    JsonValue root;
    if (auto problem = ::mhc::json::parse((*buffer)->getBuffer().str(), root))
      return error(problem->at, problem->message);
    if (root.kind != JsonValue::Kind::array)
      return error(root.at, "expected a list of schedules, but got " + root.describe());
    for (const JsonValue &entry : root.elements)
      if (failed(read(entry, requests)))
        return failure();
    return success();
  }

private:
  LocationAttr location(::mhc::Position at) { return LocationAttr(FileLineColLoc::get(context, file, at.line, at.column)); }
  LogicalResult error(::mhc::Position at, const Twine &message) { return emitError(Location(location(at))) << message; }

  LogicalResult read(const JsonValue &entry, std::vector<ScheduleRequest> &requests) {
    if (entry.kind != JsonValue::Kind::object)
      return error(entry.at, "expected an object with 'kernel' and 'schedule', but got " + entry.describe());
    ScheduleRequest request;
    request.at = location(entry.at);
    for (const ::mhc::json::Member &member : entry.members) {
      std::string *word = llvm::StringSwitch<std::string *>(member.key)
                              .Case("kernel", &request.kernel)
                              .Case("structure", &request.structure)
                              .Case("shape", &request.shape)
                              .Case("target", &request.target)
                              .Default(nullptr);
      if (word) {
        if (member.value.kind != JsonValue::Kind::string || member.value.text.empty())
          return error(member.value.at, "expected '" + member.key + "' to be a word, but got " + member.value.describe());
        *word = member.value.text;
        if (member.key == "structure" || (member.key == "kernel" && request.structure.empty()))
          request.at = location(member.value.at);
        if (member.key == "target" && !TargetAttr::get(context, *word))
          return error(member.value.at, "unknown target " + member.value.describe());
      } else if (member.key == "schedule") {
        if (failed(readSchedule(member.value, request)))
          return failure();
      } else if (member.key != "measured") { // by mhc-run tune, for people
        return error(member.at, "unknown field '" + ::mhc::json::printable(member.key) + "'; expected 'kernel', 'structure', 'shape', 'target', 'schedule' or 'measured'");
      }
    }
    if (request.kernel.empty() && request.structure.empty())
      return error(entry.at, "expected 'kernel' (a name, or \"*\") or 'structure'");
    if (!request.schedule)
      return error(entry.at, "expected 'schedule', an object with 'family'");
    requests.push_back(std::move(request));
    return success();
  }

  LogicalResult readSchedule(const JsonValue &value, ScheduleRequest &request) {
    if (value.kind != JsonValue::Kind::object)
      return error(value.at, "expected 'schedule' to be an object with 'family', but got " + value.describe());
    Builder b(context);
    std::string family;
    NamedAttrList fields, places;
    for (const ::mhc::json::Member &member : value.members) {
      const JsonValue &field = member.value;
      bool isWord = field.kind == JsonValue::Kind::string, isNumber = field.isInteger() && field.asInteger() && *field.asInteger() >= 0;
      if (member.key == "family" ? !isWord || !isScheduleFamily(field.text) : !isWord && !isNumber)
        return error(field.at, "expected '" + ::mhc::json::printable(member.key) + "' to be " + (member.key == "family" ? "cpu, simple or group" : "a number from 0 on, or a word") + ", but got " + field.describe());
      places.append(member.key, location(field.at));
      if (member.key == "family")
        family = field.text;
      else
        fields.append(member.key, isWord ? Attribute(b.getStringAttr(field.text)) : b.getI64IntegerAttr(*field.asInteger()));
    }
    if (family.empty())
      return error(value.at, "expected 'family' in a schedule: cpu, simple or group");
    request.schedule = ScheduleAttr::get(context, family, fields.getDictionary(context));
    request.fieldsAt = places.getDictionary(context);
    return success();
  }

  MLIRContext *context;
  StringRef file;
};
} // namespace

LogicalResult mlir::mhc::readSchedules(MLIRContext *context, StringRef file, std::vector<ScheduleRequest> &requests) { return Reader(context, file).run(requests); }

std::string mlir::mhc::writeSchedules(ArrayRef<std::pair<std::string, TargetCode::Kernel>> kernels) {
  std::string text = "[";
  llvm::raw_string_ostream os(text);
  StringRef separator = "\n";
  for (const auto &[target, kernel] : kernels) {
    if (!kernel.variantOf.empty())
      continue;
    os << separator << "  { \"kernel\": \"" << kernel.name << "\", \"structure\": \"" << kernel.structure << "\"";
    if (!kernel.shape.empty())
      os << ", \"shape\": \"" << kernel.shape << "\"";
    os << ", \"target\": \"" << target << "\",\n    \"schedule\": { \"family\": \"" << kernel.schedule.getFamily() << "\"";
    for (NamedAttribute field : kernel.schedule.getFields()) {
      os << ", \"" << field.getName().getValue() << "\": ";
      if (auto number = dyn_cast<IntegerAttr>(field.getValue()))
        os << number.getInt();
      else
        os << '"' << cast<StringAttr>(field.getValue()).getValue() << '"';
    }
    os << " } }";
    separator = ",\n";
  }
  os << "\n]\n";
  return text;
}
