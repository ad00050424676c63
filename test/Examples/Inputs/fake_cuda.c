/* A libcuda.so.1 that runs kernels on the CPU, for programs that use the driver API: beside test/Codegen/NVGPU/simt.c it holds the emitted kernels as host code. It does what
 * such a program must get right: memory is as large as asked for (what lies around it is checked when it is freed), a kernel gets as many threads as it was compiled for, and as
 * many arguments as it takes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int simulate(void (*function)(void **), void **arguments, int grid, int threadCount);
int fake_threads(const char *name); /* made by fake_cuda.py from what the emission says */
int fake_shared(const char *name);

struct Function {
  char name[256];
  void (*code)(void **);
  int arguments;
};
enum { margin = 4096, invalid = 1 };

static void *find(const char *prefix, const char *name) {
  char symbol[512];
  snprintf(symbol, sizeof symbol, "%s%s", prefix, name);
  return dlsym(RTLD_DEFAULT, symbol);
}

int cuInit(unsigned flags) { return flags ? invalid : 0; }
int cuGetErrorString(int error, const char **text) { return *text = error ? "the fake driver was used wrongly" : "no error", 0; }
int cuDeviceGetCount(int *count) { return *count = 1, 0; }
int cuDeviceGet(int *device, int ordinal) { return *device = 0, ordinal ? invalid : 0; }
int cuDeviceGetName(char *name, int size, int device) { return snprintf(name, (size_t)size, "fake GPU"), device; }
int cuDevicePrimaryCtxRetain(void **context, int device) { return *context = "", device; }
int cuCtxSetCurrent(void *context) { return context ? 0 : invalid; }
int cuModuleLoadDataEx(void **module, const char *image, unsigned count, int *options, void **values) {
  if (strstr(image, ".visible .entry"))
    return *module = "", 0;
  for (unsigned i = 0; i < count; ++i)
    if (options[i] == 5)
      strcpy(values[i], "this is no PTX");
  return 218;
}
int cuModuleGetFunction(struct Function **function, void *module, const char *name) {
  int (*count)(void) = (int (*)(void))find("arguments_of_", name);
  if (!module || !count)
    return 500;
  *function = calloc(1, sizeof **function);
  snprintf((*function)->name, sizeof (*function)->name, "%s", name);
  (*function)->code = (void (*)(void **))find("sim_", name);
  (*function)->arguments = count();
  return 0;
}
int cuFuncSetAttribute(struct Function *function, int attribute, int value) { return function && attribute == 8 && value > 0 ? 0 : invalid; }
int cuLaunchKernel(struct Function *function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned threadsY, unsigned threadsZ, unsigned shared, void *stream, void **parameters,
                   void **extra) {
  void *values[64];
  if (!x || y * z * threadsY * threadsZ != 1 || stream || extra || function->arguments > 64)
    return invalid;
  if ((int)threads != fake_threads(function->name) || (int)shared != fake_shared(function->name))
    return fprintf(stderr, "%s: wrong threads or shared memory\n", function->name), invalid;
  for (int i = 0; i < function->arguments; ++i)
    memcpy(&values[i], parameters[i], 8);
  return simulate(function->code, values, (int)x, (int)threads);
}
int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
  char *memory = aligned_alloc(256, (2 * margin + sizeof bytes + bytes + 255) / 256 * 256);
  if (!bytes || !memory)
    return invalid;
  memset(memory, 0x5a, 2 * margin + bytes);
  memcpy(memory, &bytes, sizeof bytes);
  return *address = (uint64_t)(memory + margin), 0;
}
int cuMemFree_v2(uint64_t address) {
  char *memory = (char *)address - margin;
  size_t bytes;
  memcpy(&bytes, memory, sizeof bytes);
  for (int i = sizeof bytes; i < margin; ++i)
    if (memory[i] != 0x5a || memory[margin + bytes + i - sizeof bytes] != 0x5a)
      return fputs("something was written beside the memory\n", stderr), invalid;
  return free(memory), 0;
}
int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t bytes) { return memcpy((void *)to, from, bytes), 0; }
int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t bytes) { return memcpy(to, (void *)from, bytes), 0; }
int cuMemsetD8_v2(uint64_t to, unsigned char value, size_t bytes) { return memset((void *)to, value, bytes), 0; }
int cuEventCreate(void **event, unsigned flags) { return *event = "", flags ? invalid : 0; }
int cuEventRecord(void *event, void *stream) { return event && !stream ? 0 : invalid; }
int cuEventSynchronize(void *event) { return event ? 0 : invalid; }
int cuEventElapsedTime(float *milliseconds, void *begin, void *end) { return *milliseconds = 1, begin && end ? 0 : invalid; }
