#include "package/Package.h"
#include "base/File.h"
#include "base/Hash.h"

#include <algorithm>
#include <set>

namespace mhcrt {

Package Package::open(const std::string &path) { return parse(readFile(path), path); }

Package Package::parse(Memory bytes, const std::string &source) {
  Package package{ZipFile(std::move(bytes), source)};
  package.name = source;
  const ZipFile &zip = *package.zip;
  if (zip.members().empty() || zip.members()[0].name != "manifest.json")
    fail(source, ": expected 'manifest.json' as the first member of the package");
  const std::string manifestName = source + ": manifest.json";
  package.content = parseManifest(parseJson(zip.content(zip.members()[0]), manifestName), manifestName);

  // Every member but the manifest is listed with its hash, and nothing else is in the file.
  std::set<std::string> listed;
  JsonView sections = JsonView(package.content.document, manifestName).at("sections");
  for (size_t i = 0; i < sections.size(); ++i) {
    const std::string &path = sections[i].at("path").string();
    const ZipFile::Member *member = zip.find(path);
    if (!member || path == "manifest.json")
      fail(sections[i].path(), ": the package has no member '", path, "'");
    if (!listed.insert(path).second)
      fail(sections[i].path(), ": '", path, "' is listed twice");
    int64_t size = sections[i].at("size").integer(0);
    if (static_cast<uint64_t>(size) != member->size)
      fail(source, ": member '", path, "': expected ", size, " bytes, but got ", member->size);
    std::string_view data = zip.content(*member);
    std::string hash = sha256Hex(data.data(), data.size());
    if (hash != sections[i].at("sha256").string())
      fail(source, ": member '", path, "': its SHA-256 is not the one in the manifest");
  }
  for (const ZipFile::Member &member : zip.members())
    if (member.name != "manifest.json" && !listed.count(member.name))
      fail(source, ": member '", member.name, "' is not in the manifest's sections");

  const std::string planName = source + ": plan.json";
  auto plan = package.section("plan.json");
  if (!plan)
    fail(source, ": the package has no 'plan.json'");
  package.plans = parsePlan(parseJson(*plan, planName), package.content, planName);
  return package;
}

std::string Package::hash() const {
  std::string_view manifest = zip->content(zip->members()[0]);
  return sha256Hex(manifest.data(), manifest.size());
}

std::optional<std::string_view> Package::section(const std::string &path) const {
  const ZipFile::Member *member = zip->find(path);
  if (!member)
    return std::nullopt;
  return zip->content(*member);
}

const ModelTensor *Manifest::findStored(const std::string &wanted) const {
  for (const ModelTensor &stack : stacks)
    if (stack.name == wanted)
      return &stack;
  return findTensor(wanted);
}

const ModelTensor *Manifest::findTensor(const std::string &wanted) const {
  // Tensors are few thousands at most and this runs once a buffer at load; the parser builds no index.
  for (const ModelTensor &tensor : tensors)
    if (tensor.name == wanted)
      return &tensor;
  return nullptr;
}

const Entry &Manifest::entry(const std::string &wanted) const {
  auto found = entries.find(wanted);
  if (found == entries.end()) {
    std::string list;
    for (const auto &[key, value] : entries)
      list += (list.empty() ? "" : ", ") + key;
    fail("unknown entry '", wanted, "'; the package has ", list.empty() ? "none" : list);
  }
  return found->second;
}

} // namespace mhcrt
