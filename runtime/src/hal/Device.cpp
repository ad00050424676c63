#include "hal/Device.h"

namespace mhcrt {

DeviceMemory::DeviceMemory(Device &device, uint64_t bytes)
    : device(&device), address(bytes ? device.allocate(bytes) : nullptr), count(bytes) {}

DeviceMemory::~DeviceMemory() {
  if (address)
    device->release(address);
}

void Device::unsupported(const char *op) const {
  fail("op '", op, "' is not supported on ", isHost() ? "the cpu" : "cuda", " yet");
}

void Device::add(void *, const void *, DType, int64_t) { unsupported("add"); }
void Device::gemm(const GemmArgs &) { unsupported("gemm"); }
void Device::attention(const AttentionArgs &) { unsupported("attention"); }
void Device::attentionBackward(const AttentionArgs &) { unsupported("attention_backward"); }
void Device::splitTokens(const SplitTokensArgs &) { unsupported("split_tokens"); }
void Device::embeddingBackward(const EmbeddingBackwardArgs &) { unsupported("embedding_backward"); }

std::unique_ptr<Device> openDevice(const std::string &kind, const Package &package, int threads, std::string &target) {
  if (kind == "cpu")
    return openCpuDevice(package, threads, target);
  if (kind == "cuda")
    return openCudaDevice(package, target);
  throw UsageError("expected --device=cpu or --device=cuda, but got '" + kind + "'");
}

} // namespace mhcrt
