// The part of the CUDA driver and of cuBLASLt that the runtime uses, on the CPU: memory is the host's, kernels run by simt.c, products are loops. With
// it `mhc-run --device=cuda` goes its whole way where there is no GPU: staging, library commands, recorded steps. See simulate_model.py, which builds
// this once and gives it the names of both libraries; FAKE_CUDA_KERNELS is the shared object with the kernels.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <functional>
#include <string>
#include <vector>

namespace {
void *kernels;
bool capturing;
using Work = std::vector<std::function<void()>>;
Work captured;

/// Work that a stream is asked for: done at once, or recorded.
int ask(std::function<void()> work) {
  if (capturing)
    captured.push_back(std::move(work));
  else
    work();
  return 0;
}
struct Function {
  void (*entry)(void **);
  int count;
};
float widen(uint16_t bits) {
  uint32_t word = uint32_t(bits) << 16;
  float value;
  std::memcpy(&value, &word, 4);
  return value;
}
uint16_t narrow(float value) {
  uint32_t word;
  std::memcpy(&word, &value, 4);
  return value != value ? 0x7fff : uint16_t((word + 0x7fff + ((word >> 16) & 1)) >> 16);
}
} // namespace

extern "C" {
//===--- Driver ---------------------------------------------------------------===//
int cuInit(unsigned) { return 0; }
int cuDriverGetVersion(int *version) { return *version = 13000, 0; }
int cuGetErrorName(int error, const char **text) { return *text = error == 900 ? "CUDA_ERROR_CAPTURE" : "CUDA_ERROR_FAKE", 0; }
int cuGetErrorString(int, const char **text) { return *text = "the fake driver refuses this", 0; }
int cuDeviceGetCount(int *count) { return *count = 1, 0; }
int cuDeviceGet(int *device, int) { return *device = 0, 0; }
int cuDeviceGetName(char *name, int size, int) { return std::snprintf(name, size, "Fake GPU"), 0; }
int cuDeviceGetAttribute(int *value, int attribute, int) { return *value = attribute == 75 ? 9 : 0, 0; }
int cuDevicePrimaryCtxRetain(void **context, int) { return *context = nullptr, 0; }
int cuDevicePrimaryCtxRelease_v2(int) { return 0; }
int cuCtxSetCurrent(void *) { return 0; }
int cuModuleLoadDataEx(void **module, const void *, unsigned, int *, void **) {
  const char *path = std::getenv("FAKE_CUDA_KERNELS");
  kernels = path ? dlopen(path, RTLD_NOW) : nullptr;
  *module = kernels;
  if (!kernels)
    std::fprintf(stderr, "fake_cuda: %s\n", path ? dlerror() : "FAKE_CUDA_KERNELS is not set");
  return kernels ? 0 : 1;
}
int cuModuleUnload(void *) { return 0; }
int cuModuleGetFunction(Function **function, void *module, const char *name) {
  auto find = [&](const char *prefix) { return dlsym(module, (std::string(prefix) + name).c_str()); };
  void *entry = find("sim_"), *arguments = find("arguments_of_");
  if (!entry || !arguments)
    return 1;
  *function = new Function{reinterpret_cast<void (*)(void **)>(entry), reinterpret_cast<int (*)()>(arguments)()};
  return 0;
}
int cuFuncSetAttribute(Function *, int, int) { return 0; }
int cuLaunchKernel(Function *function, unsigned grid, unsigned, unsigned, unsigned threads, unsigned, unsigned, unsigned, void *, void **parameters,
                   void **) {
  std::vector<uint64_t> values(function->count);
  for (int i = 0; i < function->count; ++i)
    std::memcpy(&values[i], parameters[i], 8);
  auto simulate = reinterpret_cast<int (*)(void (*)(void **), void **, int, int)>(dlsym(kernels, "simulate"));
  return ask([=]() mutable {
    if (simulate(function->entry, reinterpret_cast<void **>(values.data()), grid, threads))
      std::exit(3);
  });
}
int cuEventCreate(void **event, unsigned) { return *event = nullptr, 0; }
int cuEventRecord(void *, void *) { return 0; }
int cuEventSynchronize(void *) { return 0; }
int cuEventElapsedTime(float *milliseconds, void *, void *) { return *milliseconds = 1, 0; }
int cuEventDestroy_v2(void *) { return 0; }
int cuCtxGetStreamPriorityRange(int *least, int *greatest) { return *least = *greatest = 0, 0; }
int cuStreamCreateWithPriority(void **stream, unsigned, int) { return *stream = nullptr, 0; }
int cuStreamSynchronize(void *) { return capturing ? 900 : 0; }
int cuStreamDestroy_v2(void *) { return 0; }
int cuStreamBeginCapture_v2(void *, int) {
  if (std::getenv("FAKE_CUDA_NO_GRAPHS"))
    return 801;
  capturing = true;
  return captured.clear(), 0;
}
int cuStreamEndCapture(void *, void **graph) {
  capturing = false;
  *graph = new Work(std::move(captured));
  return 0;
}
int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long) { return *executable = new Work(*static_cast<Work *>(graph)), 0; }
int cuGraphLaunch(void *executable, void *) {
  std::fprintf(stderr, "fake_cuda: a graph of %zu nodes\n", static_cast<Work *>(executable)->size());
  for (auto &work : *static_cast<Work *>(executable))
    work();
  return 0;
}
int cuGraphExecDestroy(void *executable) { return delete static_cast<Work *>(executable), 0; }
int cuGraphDestroy(void *graph) { return delete static_cast<Work *>(graph), 0; }
int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
  if (capturing)
    return 900;
  void *memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  std::memset(memory, 0xff, bytes); // NaN
  return *address = reinterpret_cast<uint64_t>(memory), 0;
}
int cuMemFree_v2(uint64_t address) {
  if (capturing)
    return 900;
  return std::free(reinterpret_cast<void *>(address)), 0;
}
int cuMemAllocHost_v2(void **address, size_t bytes) { return *address = std::malloc(bytes), 0; }
int cuMemFreeHost(void *address) { return std::free(address), 0; }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *) {
  return ask([=] { std::memcpy(reinterpret_cast<void *>(to), from, bytes); });
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *) {
  return ask([=] { std::memcpy(to, reinterpret_cast<void *>(from), bytes); });
}
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *) {
  return ask([=] { std::memcpy(reinterpret_cast<void *>(to), reinterpret_cast<void *>(from), bytes); });
}
int cuMemsetD8Async(uint64_t to, unsigned char value, size_t count, void *) {
  return ask([=] { std::memset(reinterpret_cast<void *>(to), value, count); });
}
int cuMemsetD16Async(uint64_t to, unsigned short value, size_t count, void *) {
  return ask([=] { std::fill_n(reinterpret_cast<unsigned short *>(to), count, value); });
}
int cuMemsetD32Async(uint64_t to, unsigned value, size_t count, void *) {
  return ask([=] { std::fill_n(reinterpret_cast<unsigned *>(to), count, value); });
}

//===--- cuBLASLt -------------------------------------------------------------===//
struct Layout {
  int type;
  uint64_t rows, columns;
  int64_t leading;
  int32_t batch = 1;
  int64_t stride = 0;
};
struct Desc {
  int transposed[2];
};
size_t cublasLtGetVersion() { return 130000; }
const char *cublasLtGetStatusName(int) { return "CUBLAS_STATUS_FAKE"; }
int cublasLtCreate(void **handle) { return *handle = nullptr, 0; }
int cublasLtDestroy(void *) { return 0; }
int cublasLtMatmulDescCreate(Desc **desc, int compute, int scale) { return *desc = new Desc{}, compute == 68 && scale == 0 ? 0 : 1; }
int cublasLtMatmulDescDestroy(Desc *desc) { return delete desc, 0; }
int cublasLtMatmulDescSetAttribute(Desc *desc, int attribute, const int *value, size_t) { return desc->transposed[attribute - 3] = *value, 0; }
int cublasLtMatrixLayoutCreate(Layout **layout, int type, uint64_t rows, uint64_t columns, int64_t leading) {
  return *layout = new Layout{type, rows, columns, leading}, 0;
}
int cublasLtMatrixLayoutDestroy(Layout *layout) { return delete layout, 0; }
int cublasLtMatrixLayoutSetAttribute(Layout *layout, int attribute, const void *value, size_t bytes) {
  if (attribute == 5 && bytes == 4)
    return std::memcpy(&layout->batch, value, bytes), 0;
  if (attribute == 6 && bytes == 8)
    return std::memcpy(&layout->stride, value, bytes), 0;
  return 7;
}
int cublasLtMatmulPreferenceCreate(void **preference) { return *preference = nullptr, 0; }
int cublasLtMatmulPreferenceDestroy(void *) { return 0; }
int cublasLtMatmulPreferenceSetAttribute(void *, int, const void *, size_t) { return 0; }
int cublasLtMatmulAlgoGetHeuristic(void *, Desc *desc, Layout *a, Layout *b, Layout *c, Layout *d, void *, int, void *result, int *found) {
  *found = 1;
  std::memset(result, 0, 64 + 8 + 4 + 4 + 16);
  auto rows = [&](Layout *l, int which) { return desc->transposed[which] ? l->columns : l->rows; };
  auto columns = [&](Layout *l, int which) { return desc->transposed[which] ? l->rows : l->columns; };
  bool fits = rows(a, 0) == c->rows && columns(b, 1) == c->columns && columns(a, 0) == rows(b, 1) && c == d && a->type == b->type;
  return fits && (c->type == 0 || a->type == 14) ? 0 : 7;
}
int cublasLtMatmul(void *, Desc *desc, const float *alpha, const void *a, Layout *la, const void *b, Layout *lb, const float *beta, const void *c, Layout *lc,
                   void *d, Layout *, const void *, void *, size_t, void *) {
  float one = *alpha, rest = *beta;
  Desc operations = *desc;
  Layout A = *la, B = *lb, C = *lc;
  return ask([=] {
    auto at = [](const void *data, const Layout &l, uint64_t row, uint64_t column) {
      uint64_t i = row + column * l.leading;
      return l.type == 14 ? widen(static_cast<const uint16_t *>(data)[i]) : static_cast<const float *>(data)[i];
    };
    uint64_t depth = operations.transposed[0] ? A.rows : A.columns;
    auto matrix = [](auto *data, const Layout &l, int64_t number) { // where one of a batch begins
      return (decltype(data))((char *)data + number * l.stride * (l.type == 14 ? 2 : 4));
    };
    for (int64_t number = 0; number < C.batch; ++number)
      for (uint64_t column = 0; column < C.columns; ++column)
        for (uint64_t row = 0; row < C.rows; ++row) {
          const void *ai = matrix(a, A, number), *bi = matrix(b, B, number);
          float sum = 0;
          for (uint64_t k = 0; k < depth; ++k)
            sum += (operations.transposed[0] ? at(ai, A, k, row) : at(ai, A, row, k)) * (operations.transposed[1] ? at(bi, B, column, k) : at(bi, B, k, column));
          float value = one * sum + (rest != 0 ? rest * at(matrix(c, C, number), C, row, column) : 0);
          uint64_t i = row + column * C.leading;
          if (C.type == 14)
            static_cast<uint16_t *>(matrix(d, C, number))[i] = narrow(value);
          else
            static_cast<float *>(matrix(d, C, number))[i] = value;
        }
  });
}
}
