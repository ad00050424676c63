//===- Package.cpp - the file that the runtime reads ------------------------===//

#include "mhc/Package/Package.h"
#include "PlanJson.h"
#include "mhc/Package/Manifest.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/SHA256.h"

using namespace mlir;
using namespace mlir::mhc;

namespace {

using Members = std::vector<std::pair<std::string, std::string>>;

/// The manifest's first part, which the module carries. The text may come from a file that somebody wrote.
FailureOr<Json> readHeader(ModuleOp module) {
  auto text = module->getAttrOfType<StringAttr>(manifestAttr);
  if (!text)
    return module.emitError("expected attribute '") << manifestAttr << "', which the import writes";
  Json header = Json::parse(text.getValue().begin(), text.getValue().end(), nullptr, /*allow_exceptions=*/false);
  if (!header.is_object() || !header.contains("kind") || !header["kind"].is_string() || !header.contains("entries") ||
      !header["entries"].is_object())
    return module.emitError("expected attribute '")
           << manifestAttr << "' to hold a JSON object with 'kind' and 'entries'";
  return header;
}

/// Every plan has its entry in the manifest, and its caller's buffers name tensors there.
LogicalResult checkEntries(ModuleOp module, const Json &header) {
  const Json &entries = header["entries"];
  for (auto entry : module.getOps<plan::EntryOp>()) {
    auto found = entries.find(entry.getSymName().str());
    if (found == entries.end() || !found->is_object())
      return entry.emitError("expected entry '") << entry.getSymName() << "' in attribute '" << manifestAttr << "'";
    for (auto buffer : entry.getBlock().getOps<plan::BufferOp>()) {
      bool input = buffer.getKind() == plan::BufferKind::input;
      if (!input && buffer.getKind() != plan::BufferKind::output)
        continue;
      const Json list = found->value(input ? "inputs" : "outputs", Json::array());
      bool known = llvm::any_of(list, [&](const Json &tensor) {
        return tensor.is_object() && tensor.value("name", Json()) == Json(buffer.getTensor()->str());
      });
      if (!known)
        return buffer.emitError("expected tensor '")
               << *buffer.getTensor() << "' among the " << (input ? "inputs" : "outputs") << " of entry '"
               << entry.getSymName() << "' in attribute '" << manifestAttr << "'";
    }
  }
  return success();
}

Json argumentList(const std::vector<TargetCode::Argument> &arguments) {
  Json list = Json::array();
  for (const TargetCode::Argument &argument : arguments) {
    Json json = {{"dtype", argument.dtype}, {"elements", argument.elements}};
    if (!argument.rows.empty())
      json["rows"] = argument.rows;
    if (argument.tokensPerRow)
      json["tokens_per_row"] = argument.tokensPerRow;
    if (argument.index)
      json["index"] = *argument.index;
    if (argument.sequence)
      json["sequence"] = *argument.sequence;
    if (argument.written)
      json["written"] = true;
    list.push_back(std::move(json));
  }
  return list;
}

Json scheduleJson(ScheduleAttr schedule) {
  Json json = {{"family", schedule.getFamily().str()}};
  for (NamedAttribute field : schedule.getFields()) {
    Json &value = json[field.getName().str()];
    if (auto number = dyn_cast<IntegerAttr>(field.getValue()))
      value = number.getInt();
    else
      value = cast<StringAttr>(field.getValue()).str();
  }
  return json;
}

Json kernelList(const TargetCode &code) {
  Json list = Json::array();
  for (const TargetCode::Kernel &kernel : code.kernels) {
    Json json = {{"name", kernel.name}, {"symbol", kernel.name}};
    if (!kernel.variantOf.empty())
      json["variant_of"] = kernel.variantOf;
    json["tile"] = kernel.tile;
    json["reduces"] = !kernel.reductions.empty();
    json["shared"] = kernel.shared;
    json["threads"] = kernel.threads;
    if (kernel.cluster > 1 || !kernel.maps.empty()) {
      json["cluster"] = kernel.cluster;
      json["maps"] = kernel.maps;
      json["map_channels"] = kernel.mapChannels;
      json["boxes"] = kernel.boxes;
      if (kernel.interleaved)
        json["interleaved"] = true;
      if (kernel.group) {
        json["group"] = kernel.group;
        json["workspace"] = kernel.workspace;
      }
    }
    json["ints"] = kernel.ints;
    json["args"] = argumentList(kernel.args);
    json["reductions"] = argumentList(kernel.reductions);
    json["elementwise"] = kernel.elementwise;
    json["structure"] = kernel.structure;
    json["shape"] = kernel.shape;
    json["schedule"] = scheduleJson(kernel.schedule);
    list.push_back(std::move(json));
  }
  return list;
}

Json libraryList(const TargetCode &code) {
  Json list = Json::array();
  for (const TargetCode::LibraryKernel &kernel : code.library)
    list.push_back({{"symbol", kernel.symbol},
                    {"tile", kernel.tile},
                    {"shared", kernel.shared},
                    {"threads", kernel.threads}});
  return list;
}

void addCode(StringRef target, TargetCode &&code, Members &members) {
  if (target == "cpu") {
    members.emplace_back("host/kernels.so", std::move(code.sharedObject));
    return;
  }
  members.emplace_back(("kernels/" + target + ".ptx").str(), std::move(code.ptx));
  if (!code.cubin.empty())
    members.emplace_back(("kernels/" + target + ".cubin").str(), std::move(code.cubin));
}

std::string hexSha256(StringRef content) {
  std::array<uint8_t, 32> hash =
      llvm::SHA256::hash(ArrayRef(reinterpret_cast<const uint8_t *>(content.data()), content.size()));
  return llvm::toHex(hash, /*LowerCase=*/true);
}

} // namespace

LogicalResult mlir::mhc::writePackage(function_ref<ModuleOp(StringRef)> moduleOf, const PackageOptions &options, StringRef path) {
  ModuleOp first = moduleOf(options.targets.front());
  FailureOr<Json> header = readHeader(first);
  if (failed(header))
    return failure();
  // Refuse before the work.
  for (const std::string &target : options.targets) {
    ModuleOp module = moduleOf(target);
    if (failed(checkEntries(module, *header)))
      return failure();
    std::vector<MissingCommand> missing = findMissingCommands(module, target);
    if (missing.empty())
      continue;
    InFlightDiagnostic diagnostic = emitError(missing.front().command->getLoc()) << missing.front().text;
    for (const MissingCommand &other : ArrayRef(missing).drop_front())
      diagnostic.attachNote(other.command->getLoc()) << other.text;
    return diagnostic;
  }

  Members members;
  std::vector<std::string> requirements;
  Json plans = Json::object();
  for (const std::string &target : options.targets) {
    ModuleOp module = moduleOf(target);
    FailureOr<TargetCode> code = generateCode(module, target, options.code, CodeStage::package);
    if (failed(code))
      return failure();
    if (options.seen)
      options.seen(target, *code);
    Json &plan = plans[target] = Json::object();
    plan["kernels"] = kernelList(*code);
    if (!code->library.empty())
      plan["library"] = libraryList(*code);
    Json &entries = plan["entries"] = Json::object();
    for (auto entry : module.getOps<plan::EntryOp>())
      entries[entry.getSymName().str()] = writeEntry(entry);
    llvm::append_range(requirements, code->requirements);
    addCode(target, std::move(*code), members);
  }
  Json document = Json::object();
  document["targets"] = std::move(plans);
  members.insert(members.begin(), {"plan.json", text(document)});
  members.insert(members.end(), options.extras.begin(), options.extras.end());

  Json manifest = {{"format", 1}, {"producer", "mhc " MHC_VERSION}};
  manifest["kind"] = (*header)["kind"];
  if (header->contains("dtype"))
    manifest["dtype"] = (*header)["dtype"];
  manifest["requires"] = requirements;
  manifest["targets"] = options.targets;
  Json &sections = manifest["sections"] = Json::array();
  for (const auto &[name, content] : members)
    sections.push_back({{"path", name}, {"sha256", hexSha256(content)}, {"size", content.size()}});
  for (const auto &[key, value] : header->items())
    if (!manifest.contains(key))
      manifest[key] = value;
  members.insert(members.begin(), {"manifest.json", text(manifest, 1)});

  std::string error;
  FailureOr<std::string> file = buildZip(members, error);
  if (failed(file) || !writeFileAtomically(path, *file, error))
    return first.emitError() << error;
  return success();
}
