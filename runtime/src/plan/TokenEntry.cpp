#include "plan/TokenEntry.h"
#include "base/Checked.h"
#include "plan/Binding.h"

namespace mhcrt {

TokenEntry::TokenEntry(const Package &package, Device &device, const std::string &target, const std::string &name)
    : device(device), manifest(package.manifest()), entry(manifest.entry(name)),
      executor(package, device, target, name) {}

void TokenEntry::bind(int64_t rows, int64_t columns) {
  values = bindTokens(manifest, entry, rows, columns);
  executor.bind(values);
  auto grow = [&](DeviceMemory &memory, uint64_t bytes) {
    if (memory.size() < bytes) {
      memory = DeviceMemory(); // give the old one back first
      memory = DeviceMemory(device, bytes);
      device.fillBytes(memory.data(), 0, bytes); // an output that no command writes is zero
    }
    return memory.data();
  };
  tokenBytes = checkedMultiply(checkedMultiply(rows, columns, "tokens"), sizeof(int32_t), "tokens");
  request.inputs["tokens"] = grow(tokens, tokenBytes);
  for (const TensorSpec &spec : entry.outputs) {
    uint64_t bytes =
        checkedMultiply(elementCount(evaluateShape(spec, values), spec.name), byteSize(spec.dtype), spec.name);
    outputBytes[spec.name] = bytes;
    request.outputs[spec.name] = grow(outputs[spec.name], bytes);
  }
}

void TokenEntry::run(const int32_t *host, ModelArenas &arenas, Scalars *scalars) {
  device.copyIn(tokens.data(), host, tokenBytes);
  request.arenas = &arenas;
  request.scalars = scalars;
  executor.run(request);
}

void TokenEntry::read(const std::string &name, uint64_t offset, void *to, uint64_t bytes) {
  auto output = outputs.find(name);
  if (output == outputs.end())
    fail("entry '", entry.name, "' has no output '", name, "'");
  uint64_t size = outputBytes.at(name);
  if (offset > size || bytes > size - offset)
    fail(name, ": entry '", entry.name, "' gives ", size, " bytes, expected ", bytes, " from byte ", offset);
  device.copyOut(to, output->second.data() + offset, bytes);
}

} // namespace mhcrt
