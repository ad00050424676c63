//===- Device.h - the one interface to the hardware ----------------*- C++ -*-===//
//
// The executor (plan/) knows devices by this interface only. Addresses are the device's: on the CPU plain pointers, on
// CUDA device addresses that the host must not touch. All calls are made by one thread and take effect in order.
//
//===----------------------------------------------------------------------===//
#ifndef MHCRT_HAL_DEVICE_H
#define MHCRT_HAL_DEVICE_H

#include "base/DType.h"
#include "package/Package.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace mhcrt {

/// Memory of a device; owns it.
class Device;
class DeviceMemory {
public:
  DeviceMemory() = default;
  DeviceMemory(Device &device, uint64_t bytes);
  ~DeviceMemory();
  DeviceMemory(DeviceMemory &&other) noexcept { *this = std::move(other); }
  DeviceMemory &operator=(DeviceMemory &&other) noexcept {
    std::swap(device, other.device);
    std::swap(address, other.address);
    std::swap(count, other.count);
    return *this;
  }

  char *data() const { return address; }
  uint64_t size() const { return count; }

private:
  Device *device = nullptr;
  char *address = nullptr;
  uint64_t count = 0;
};

/// C = alpha op(A) op(B) (+ C, or + beta D), row-major without padding. A is [m, k] ([k, m] if transA), B [k, n] ([n, k]
/// if transB). Of `batch` matrices, one after another, each has its own product.
struct GemmArgs {
  int64_t m = 0, n = 0, k = 0;
  const void *a = nullptr, *b = nullptr;
  void *c = nullptr;
  DType typeA = DType::F32, typeB = DType::F32, typeC = DType::F32;
  bool transA = false, transB = false, accumulate = false;
  int64_t batch = 1;
  double alpha = 1, beta = 0; ///< beta: of d
  const void *d = nullptr;    ///< of c's type; null: nothing is added
};

/// Causal attention on `sequences` sequences of `length` tokens, one after another.
/// q [T, heads, headDim], k [T, kvHeads, headDim], v [T, kvHeads, valueDim], out [T, heads, valueDim], lse [T, heads].
struct AttentionArgs {
  const void *q = nullptr, *k = nullptr, *v = nullptr;
  void *out = nullptr, *lse = nullptr;              // outputs of forward
  const void *dout = nullptr;                       // backward
  void *dq = nullptr, *dk = nullptr, *dv = nullptr; // outputs of backward
  DType type = DType::F32, lseType = DType::F32;
  int64_t sequences = 0, length = 0, heads = 0, kvHeads = 0, headDim = 0, valueDim = 0;
  double scale = 1;
};

/// tokens [rows, columns] -> inputs and targets [rows * (columns - 1)], or inputs [rows * columns] without targets.
struct SplitTokensArgs {
  const int32_t *tokens = nullptr;
  int32_t *inputs = nullptr, *targets = nullptr;
  int64_t rows = 0, columns = 0, vocab = 0;
  int64_t firstRow = 0; ///< added to the row that an error names (micro-batches)
};

/// out[v] = (accumulate ? out[v] : 0) + sum of dx[t] over the t with tokens[t] = v, in the order of t.
struct EmbeddingBackwardArgs {
  const int32_t *tokens = nullptr;
  const void *dx = nullptr;
  void *out = nullptr;
  DType typeDx = DType::F32, typeOut = DType::F32;
  int64_t count = 0, channels = 0, vocab = 0; ///< dx [count, channels], out [vocab, channels]
  bool accumulate = false;
};

/// Sorts the choices index [tokens, choices] of experts by expert, those of one expert by their place t * choices + j.
/// Expert e then has the slots offsets[e] .. offsets[e + 1]. A choice outside [0, experts) is none (fewer choices than
/// the most, at run time): it has no slot and counts nowhere. With a capacity, an expert's choices beyond its first
/// ceil(capacity tokens k / experts) are dropped: they have no slot either, but stay in `counts`; k = sum of counts /
/// tokens. A choice below -1 says that the token's logits are not finite: an error, now or at synchronize(). `gather`
/// and `order` of slots from offsets[experts] on are 0, so that they may be used as indices; grouped products leave
/// their rows out.
struct DispatchArgs {
  const int32_t *index = nullptr;
  int32_t *counts = nullptr;                    ///< [experts]
  int32_t *offsets = nullptr;                   ///< [experts + 1]
  int32_t *gather = nullptr;                    ///< [tokens * choices] token of each slot
  int32_t *order = nullptr;                     ///< [tokens * choices] place of each slot's choice
  int32_t *reverse = nullptr;                   ///< [tokens, choices] slot of each choice; -1: it has none
  int32_t *dropped = nullptr;                   ///< [1] choices beyond the capacity; may be null
  int64_t tokens = 0, choices = 0, experts = 0; ///< tokens * choices < 2^31
  double capacity = 0;                          ///< of each expert, by the mean of all; 0: any number
};

/// total = previous + counts, share = total / the sum of totals (0 where that is 0). previous and total may be one.
struct ExpertLoadArgs {
  const int32_t *counts = nullptr;
  const int64_t *previous = nullptr; ///< may be null: zeros
  void *share = nullptr;
  int64_t *total = nullptr;
  DType typeShare = DType::F32;
  int64_t experts = 0;
};

/// share[b, e] = choices of e in sequence b / choices in it, from index [sequences * length, choices].
struct SequenceLoadArgs {
  const int32_t *index = nullptr;
  void *share = nullptr;
  DType typeShare = DType::F32;
  int64_t sequences = 0, length = 0, choices = 0, experts = 0;
};

/// out[r, e] = bias[r, e] + rate sign(sum of counts[r] - experts counts[r, e]), as it is where factor < 0.
struct UpdateBiasArgs {
  const void *bias = nullptr, *counts = nullptr;
  const float *factor = nullptr; ///< may be null
  void *out = nullptr;           ///< may be bias
  DType type = DType::F32, typeCounts = DType::I32;
  int64_t rows = 0, experts = 0;
  double rate = 0;
};

/// y[r] = x[r] w[e] for the rows r of group e, offsets[e] .. offsets[e + 1]; zeros for rows of no group (from
/// offsets[groups] on). Sums in fp32 (fp64 for f64), rounded once if y is bf16.
struct GroupedMatmulArgs {
  const void *x = nullptr;          ///< [rows, k]
  const void *w = nullptr;          ///< [groups, k, n], or [groups, n, k] if transposed
  const int32_t *offsets = nullptr; ///< [groups + 1]; on the device, not known to the host
  void *y = nullptr;                ///< [rows, n]
  DType type = DType::F32, typeY = DType::F32; ///< of x and w; of y: the same, or f32
  int64_t rows = 0, k = 0, n = 0, groups = 0;
  bool transposed = false;
};

/// out[e] = (accumulate ? out[e] : 0) + the sum over the rows r of group e of x[r]^T y[r], in a fixed order.
struct GroupedOuterArgs {
  const void *x = nullptr; ///< [rows, k]
  const void *y = nullptr; ///< [rows, n]
  const int32_t *offsets = nullptr;
  void *out = nullptr;                           ///< [groups, k, n]
  DType type = DType::F32, typeOut = DType::F32; ///< of x and y; f32, or f64 if they are f64
  int64_t rows = 0, k = 0, n = 0, groups = 0;
  bool accumulate = false;
};

/// out[i] = (accumulate ? out[i] : 0) + partials[0][i] + partials[1][i] + ..., in this order; `count` partials of `size` elements each, one after another.
struct PartialSum {
  const void *partials = nullptr;
  void *out = nullptr;
  DType type = DType::F32;
  int64_t size = 0, count = 0;
  bool accumulate = false;
};
/// Cuts a list of sums into lists of at most `most`, in order, in which none reads or writes what another one writes: the sums of one list may run at a time.
std::vector<std::vector<PartialSum>> sumsAtOnce(const std::vector<PartialSum> &sums, size_t most);

/// Points in a device's work, for measurements. A mark takes effect in order with all that is asked of the device.
class Timeline {
public:
  virtual ~Timeline() = default;
  virtual void mark() = 0;
  /// After Device::synchronize(): the seconds from each mark to the next. Forgets the marks.
  virtual std::vector<double> finish() = 0;
};

/// Work that was recorded, to be asked for again as a whole.
class Recording {
public:
  virtual ~Recording() = default;
  /// False once the device has moved memory that the work uses.
  virtual bool isValid() const = 0;
  virtual void replay() = 0;
};

class Device {
public:
  virtual ~Device() = default;

  virtual std::string description() const = 0;
  /// True if addresses are the host's: then tensors are used where they lie, without copies.
  virtual bool isHost() const { return false; }

  virtual char *allocate(uint64_t bytes) = 0;
  virtual void release(char *address) = 0;
  virtual void copyIn(void *to, const void *hostFrom, uint64_t bytes) = 0;
  virtual void copyOut(void *hostTo, const void *from, uint64_t bytes) = 0;
  virtual void copy(void *to, const void *from, uint64_t bytes) = 0;
  virtual void fillBytes(void *to, uint8_t value, uint64_t bytes) = 0;
  /// Waits for all that was asked of the device. What only the device could find out is thrown here: a token outside
  /// the vocabulary.
  virtual void synchronize() {}
  /// Records what `work` asks of the device, without doing it; the work must have been done once before, the same way.
  /// Null where the device does not record: then nothing was done.
  virtual std::unique_ptr<Recording> record(const std::function<void()> & /*work*/) { return nullptr; }

  virtual void fill(void *to, DType type, int64_t count, double value) = 0;
  virtual void add(void *to, const void *from, DType type, int64_t count);

  /// Whether the device can run it: always, but for variants of kernels that it has no room for.
  virtual bool has(const Kernel &) const { return true; }
  /// Number of partials that a launch of a kernel that reduces writes.
  virtual int64_t partials(const Kernel &kernel, int64_t rows) const = 0;
  /// `kernel` is one of the target's plan; `args` the addresses of its buffers and partials.
  virtual void launch(const Kernel &kernel, int64_t rows, const std::vector<void *> &args,
                      const std::vector<int64_t> &ints) = 0;
  /// All sums, as if one after another.
  virtual void sumPartials(const std::vector<PartialSum> &sums) = 0;
  /// Bytes of the device's own memory that a launch needs in a state which it does not leave behind (rings of groups of blocks), and the preparation of so many for the launches that follow.
  /// Launches that nothing was prepared for do it themselves.
  virtual uint64_t workspace(const Kernel & /*kernel*/, int64_t /*rows*/) const { return 0; }
  virtual void prepare(uint64_t /*bytes*/) {}

  // Library commands. A device without one refuses it by name.
  virtual void gemm(const GemmArgs &args);
  virtual void attention(const AttentionArgs &args);
  virtual void attentionBackward(const AttentionArgs &args);
  virtual void splitTokens(const SplitTokensArgs &args);
  virtual void embeddingBackward(const EmbeddingBackwardArgs &args);
  virtual void expertLoad(const ExpertLoadArgs &args);
  virtual void sequenceLoad(const SequenceLoadArgs &args);
  virtual void updateBias(const UpdateBiasArgs &args);
  virtual void dispatch(const DispatchArgs &args);
  virtual void groupedMatmul(const GroupedMatmulArgs &args);
  virtual void groupedOuter(const GroupedOuterArgs &args);

  // What measurements hold a plan's time against (bench/).
  /// By the host's clock, for a device whose calls return when their work is done.
  virtual std::unique_ptr<Timeline> timeline();
  /// Copies as fast as the memory allows: for large blocks that nobody reads soon.
  virtual void streamCopy(void *to, const void *from, uint64_t bytes) { copy(to, from, bytes); }
  /// Keeps all units busy with fp32 multiply-adds, on vectors as the package's code may use, for some milliseconds.
  /// Returns the number of floating-point operations; 0 if the device has no such code.
  virtual double spinMultiplyAdds() { return 0; }

protected:
  [[noreturn]] void unsupported(const char *op) const;
};

/// Opens the device and loads the package's kernels for it. `target` receives the name of the plan to use.
std::unique_ptr<Device> openCpuDevice(const Package &package, int threads, std::string &target);
std::unique_ptr<Device> openCudaDevice(const Package &package, std::string &target);
/// `kind` is "cpu" or "cuda".
std::unique_ptr<Device> openDevice(const std::string &kind, const Package &package, int threads, std::string &target);

} // namespace mhcrt

#endif // MHCRT_HAL_DEVICE_H
