#include "hal/Device.h"

#include <algorithm>
#include <chrono>

namespace mhcrt {
namespace {

class HostTimeline final : public Timeline {
public:
  void mark() override { marks.push_back(std::chrono::steady_clock::now()); }
  std::vector<double> finish() override {
    std::vector<double> seconds;
    for (size_t i = 1; i < marks.size(); ++i)
      seconds.push_back(std::chrono::duration<double>(marks[i] - marks[i - 1]).count());
    marks.clear();
    return seconds;
  }

private:
  std::vector<std::chrono::steady_clock::time_point> marks;
};

} // namespace

DeviceMemory::DeviceMemory(Device &device, uint64_t bytes)
    : device(&device), address(bytes ? device.allocate(bytes) : nullptr), count(bytes) {}

DeviceMemory::~DeviceMemory() {
  if (address)
    device->release(address);
}

std::vector<std::vector<PartialSum>> sumsAtOnce(const std::vector<PartialSum> &sums, size_t most) {
  auto overlap = [](const void *a, int64_t bytesA, const void *b, int64_t bytesB) {
    auto x = reinterpret_cast<uintptr_t>(a), y = reinterpret_cast<uintptr_t>(b);
    return x < y + static_cast<uint64_t>(bytesB) && y < x + static_cast<uint64_t>(bytesA);
  };
  auto depends = [&](const PartialSum &a, const PartialSum &b) { // b on what a writes
    int64_t written = a.size * byteSize(a.type), element = byteSize(b.type);
    return overlap(a.out, written, b.out, b.size * element) || overlap(a.out, written, b.partials, b.size * b.count * element);
  };
  std::vector<std::vector<PartialSum>> lists;
  for (const PartialSum &sum : sums) {
    auto meets = [&](const PartialSum &other) { return depends(other, sum) || depends(sum, other); };
    if (lists.empty() || lists.back().size() == most || std::any_of(lists.back().begin(), lists.back().end(), meets))
      lists.emplace_back();
    lists.back().push_back(sum);
  }
  return lists;
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
void Device::expertLoad(const ExpertLoadArgs &) { unsupported("expert_load"); }
void Device::sequenceLoad(const SequenceLoadArgs &) { unsupported("sequence_load"); }
void Device::updateBias(const UpdateBiasArgs &) { unsupported("update_bias"); }
void Device::dispatch(const DispatchArgs &) { unsupported("dispatch"); }
void Device::groupedMatmul(const GroupedMatmulArgs &) { unsupported("grouped_matmul"); }
void Device::groupedOuter(const GroupedOuterArgs &) { unsupported("grouped_outer"); }

std::unique_ptr<Timeline> Device::timeline() { return std::make_unique<HostTimeline>(); }

std::unique_ptr<Device> openDevice(const std::string &kind, const Package &package, int threads, std::string &target) {
  if (kind == "cpu")
    return openCpuDevice(package, threads, target);
  if (kind == "cuda")
    return openCudaDevice(package, target);
  throw UsageError("expected --device=cpu or --device=cuda, but got '" + kind + "'");
}

} // namespace mhcrt
