// Runs `forward` of hyper_connection.json on a GPU from a plain C program: the CUDA driver API, and what mhc-compile
// has written (hyper_connection.ptx or .cubin, and hyper_connection.h, which says how its kernels are launched).
// Checks the results against the formulas in double precision and measures the time. README.md has the commands.
//
//   hyper_connection [CODE [T ..]]   CODE: hyper_connection.ptx (default) or a cubin; T: numbers of tokens
//
// Exit status: 0 results agree, 1 they do not or the driver reports an error, 77 there is no driver or no GPU.
#include "hyper_connection.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { n = 4, C = 1280, M = 2 * n + n * n, iterations = 20 }; // M: columns of phi, entries of bias
static const double rmsEps = 1e-6, postScale = 2;             // preset `paper`, the default
_Static_assert(HYPER_CONNECTION_BOUNDARY_0_X_ELEMENTS == n * C && HYPER_CONNECTION_BOUNDARY_0_BIAS_ELEMENTS == M,
               "the description has other sizes than this program");

//===--- The driver, opened at run time: no toolkit is needed to build, no GPU to start ---------------------------===//

typedef int CUresult, CUdevice;
typedef unsigned long long CUdeviceptr;
typedef struct CUctx *CUcontext;
typedef struct CUmod *CUmodule;
typedef struct CUfunc *CUfunction;
typedef struct CUstr *CUstream;
typedef struct CUev *CUevent;

// What is called: name, name in the library (those with _v2 stand behind macros of cuda.h), parameters.
// clang-format off
#define DRIVER(F)                                                                                                      \
  F(cuInit, "cuInit", (unsigned))                                                                                      \
  F(cuGetErrorString, "cuGetErrorString", (CUresult, const char **))                                                   \
  F(cuDeviceGetCount, "cuDeviceGetCount", (int *))                                                                     \
  F(cuDeviceGet, "cuDeviceGet", (CUdevice *, int))                                                                     \
  F(cuDeviceGetName, "cuDeviceGetName", (char *, int, CUdevice))                                                       \
  F(cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", (CUcontext *, CUdevice))                                     \
  F(cuCtxSetCurrent, "cuCtxSetCurrent", (CUcontext))                                                                   \
  F(cuModuleLoadDataEx, "cuModuleLoadDataEx", (CUmodule *, const void *, unsigned, int *, void **))                    \
  F(cuModuleGetFunction, "cuModuleGetFunction", (CUfunction *, CUmodule, const char *))                                \
  F(cuFuncSetAttribute, "cuFuncSetAttribute", (CUfunction, int, int))                                                  \
  F(cuLaunchKernel, "cuLaunchKernel", (CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,         \
                                       unsigned, CUstream, void **, void **))                                          \
  F(cuMemAlloc, "cuMemAlloc_v2", (CUdeviceptr *, size_t))                                                              \
  F(cuMemFree, "cuMemFree_v2", (CUdeviceptr))                                                                          \
  F(cuMemcpyHtoD, "cuMemcpyHtoD_v2", (CUdeviceptr, const void *, size_t))                                              \
  F(cuMemcpyDtoH, "cuMemcpyDtoH_v2", (void *, CUdeviceptr, size_t))                                                    \
  F(cuMemsetD8, "cuMemsetD8_v2", (CUdeviceptr, unsigned char, size_t))                                                 \
  F(cuEventCreate, "cuEventCreate", (CUevent *, unsigned))                                                             \
  F(cuEventRecord, "cuEventRecord", (CUevent, CUstream))                                                               \
  F(cuEventSynchronize, "cuEventSynchronize", (CUevent))                                                               \
  F(cuEventElapsedTime, "cuEventElapsedTime", (float *, CUevent, CUevent))
// clang-format on
#define DECLARE(name, symbol, parameters) static CUresult(*name) parameters;
DRIVER(DECLARE)

static void stop(int status, const char *what, const char *why) {
  fprintf(stderr, "hyper_connection: %s: %s\n", what, why);
  exit(status);
}

static void check(CUresult result, const char *what) {
  const char *text = NULL;
  if (result && (cuGetErrorString(result, &text) || !text))
    text = "unknown error";
  if (result)
    stop(1, what, text);
}
#define CHECK(call) check(call, #call)

static void openDriver(void) {
#define ENTRY(name, symbol, parameters) {&name, symbol},
  static const struct {
    void *function;
    const char *symbol;
  } table[] = {DRIVER(ENTRY)};
  void *library = dlopen("libcuda.so.1", RTLD_NOW);
  if (!library)
    stop(77, "no CUDA driver", "libcuda.so.1 was not found");
  for (size_t i = 0; i < sizeof table / sizeof *table; ++i) {
    void *address = dlsym(library, table[i].symbol);
    if (!address)
      stop(1, "the CUDA driver is too old", table[i].symbol);
    memcpy(table[i].function, &address, sizeof address);
  }
  int count = 0;
  CUresult result = cuInit(0);
  if (result == 100 || (!result && !cuDeviceGetCount(&count) && count == 0)) // CUDA_ERROR_NO_DEVICE
    stop(77, "no GPU", "the CUDA driver is there, but sees no device");
  check(result, "cuInit");
}

//===--- Numbers --------------------------------------------------------------------------------------------------===//

static uint16_t toBf16(float value) { // to nearest even; no NaNs here
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static double fromBf16(uint16_t value) {
  uint32_t bits = (uint32_t)value << 16;
  float result;
  memcpy(&result, &bits, sizeof bits);
  return result;
}

/// Uniform between -range and range.
static float draw(double range) {
  static uint64_t state = 1;
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (float)(range * ((double)(state >> 11) * 0x1p-52 - 1));
}

static double sigmoid(double z) { return 1 / (1 + exp(-z)); }

/// One token by the formulas of the mHC paper, in double: x [n][C], f [C] as stored; alpha, bias, phi [n * C][M].
/// The results are not rounded.
static void reference(const uint16_t *x, const uint16_t *f, const float *phi, const float *alpha, const float *bias,
                      double pre[n], double post[n], double res[n][n], double u[C], double next[n][C]) {
  double z[M] = {0}, square = 0;
  for (int k = 0; k < n * C; ++k) {
    double value = fromBf16(x[k]);
    square += value * value;
    for (int m = 0; m < M; ++m)
      z[m] += value * phi[k * M + m];
  }
  double rms = sqrt(square / (n * C) + rmsEps);
  for (int m = 0; m < M; ++m)
    z[m] = alpha[m < n ? 0 : m < 2 * n ? 1 : 2] * z[m] / rms + bias[m];
  for (int i = 0; i < n; ++i) {
    pre[i] = sigmoid(z[i]);
    post[i] = postScale * sigmoid(z[n + i]);
    for (int j = 0; j < n; ++j)
      res[i][j] = exp(z[2 * n + i * n + j]);
  }
  for (int t = 0; t < iterations; ++t)
    for (int side = 0; side < 2; ++side) // columns (sums over the outputs) first, then rows
      for (int a = 0; a < n; ++a) {
        double sum = 0;
        for (int b = 0; b < n; ++b)
          sum += side ? res[a][b] : res[b][a];
        for (int b = 0; b < n; ++b)
          *(side ? &res[a][b] : &res[b][a]) /= sum;
      }
  for (int c = 0; c < C; ++c) {
    u[c] = 0;
    for (int i = 0; i < n; ++i)
      u[c] += pre[i] * fromBf16(x[i * C + c]);
    for (int o = 0; o < n; ++o) {
      next[o][c] = post[o] * fromBf16(f[c]);
      for (int i = 0; i < n; ++i)
        next[o][c] += res[o][i] * fromBf16(x[i * C + c]);
    }
  }
}

/// The largest errors of fp32 coefficients ([0]) and bf16 streams ([1]), and the same as shares of what is allowed:
/// fp32 arithmetic, and for the streams one rounding to bf16 of what it gives.
static double largest[2], share[2];

static void compare(double value, double exact, int stream) {
  double error = fabs(value - exact), allowed = 1e-5 * fmax(1, fabs(exact)) + (stream ? 0x1p-8 * fabs(exact) : 0);
  if (!isnan(largest[stream]) && !(error <= largest[stream])) // a NaN stays
    largest[stream] = error;
  if (!isnan(share[stream]) && !(error / allowed <= share[stream]))
    share[stream] = error / allowed;
}

//===--- The launch -----------------------------------------------------------------------------------------------===//

/// Memory of a tensor on both sides. Outputs begin as NaNs: what no kernel writes is seen.
typedef struct {
  void *host;
  CUdeviceptr device;
  size_t bytes;
} Tensor;

static Tensor allocate(int64_t count, size_t size) {
  Tensor tensor = {malloc((size_t)count * size), 0, (size_t)count * size};
  if (!tensor.host)
    stop(1, "host memory", "not enough");
  CHECK(cuMemAlloc(&tensor.device, tensor.bytes));
  CHECK(cuMemsetD8(tensor.device, 0xff, tensor.bytes));
  return tensor;
}

static Tensor random16(int64_t count, double range) {
  Tensor tensor = allocate(count, 2);
  for (int64_t i = 0; i < count; ++i)
    ((uint16_t *)tensor.host)[i] = toBf16(draw(range));
  CHECK(cuMemcpyHtoD(tensor.device, tensor.host, tensor.bytes));
  return tensor;
}

static Tensor random32(int64_t count, float middle, double range) {
  Tensor tensor = allocate(count, 4);
  for (int64_t i = 0; i < count; ++i)
    ((float *)tensor.host)[i] = middle + draw(range);
  CHECK(cuMemcpyHtoD(tensor.device, tensor.host, tensor.bytes));
  return tensor;
}

/// Runs T tokens, compares some 64 of them (all of short runs), prints a line; 0 if all is well.
static int run(CUfunction function, int64_t T) {
  Tensor x = random16(T * n * C, 2), f = random16(T * C, 2), phi = random32(n * C * M, 0, 2 / sqrt(n * C)),
         alpha = random32(3, 0.75f, 0.25), bias = random32(M, 0, 4), pre = allocate(T * n, 4),
         post = allocate(T * n, 4), res = allocate(T * n * n, 4), u = allocate(T * C, 2), next = allocate(T * n * C, 2);
  Tensor *all[] = {&x, &f, &phi, &alpha, &bias, &pre, &post, &res, &u, &next};

  // What the header is for: arguments by name, the array that the driver takes, and the grid.
  hyper_connection_boundary_0_args args = {.x = x.device,
                                           .phi = phi.device,
                                           .alpha = alpha.device,
                                           .bias = bias.device,
                                           .f = f.device,
                                           .h_pre = pre.device,
                                           .h_post = post.device,
                                           .h_res = res.device,
                                           .u = u.device,
                                           .x_next = next.device,
                                           .rows = T};
  void *params[HYPER_CONNECTION_BOUNDARY_0_PARAMS];
  hyper_connection_boundary_0_params(&args, params);
  CUevent begin, end;
  CHECK(cuEventCreate(&begin, 0));
  CHECK(cuEventCreate(&end, 0));
  float best = INFINITY;
  for (int i = 0; i < (T < 1024 ? 3 : 20); ++i) {
    float milliseconds;
    CHECK(cuEventRecord(begin, NULL));
    CHECK(cuLaunchKernel(function, hyper_connection_boundary_0_grid(T), 1, 1, HYPER_CONNECTION_BOUNDARY_0_THREADS, 1, 1,
                         HYPER_CONNECTION_BOUNDARY_0_SHARED, NULL, params, NULL));
    CHECK(cuEventRecord(end, NULL));
    CHECK(cuEventSynchronize(end));
    CHECK(cuEventElapsedTime(&milliseconds, begin, end));
    best = fminf(best, milliseconds);
  }

  for (int i = 5; i < 10; ++i)
    CHECK(cuMemcpyDtoH(all[i]->host, all[i]->device, all[i]->bytes));
  memset(largest, 0, sizeof largest);
  memset(share, 0, sizeof share);
  for (int64_t t = 0; t < T; t += T / 64 + 1) {
    static double hPre[n], hPost[n], hRes[n][n], exactU[C], exactNext[n][C];
    reference((uint16_t *)x.host + t * n * C, (uint16_t *)f.host + t * C, phi.host, alpha.host, bias.host, hPre, hPost,
              hRes, exactU, exactNext);
    for (int i = 0; i < n; ++i) {
      compare(((float *)pre.host)[t * n + i], hPre[i], 0);
      compare(((float *)post.host)[t * n + i], hPost[i], 0);
      for (int j = 0; j < n; ++j)
        compare(((float *)res.host)[(t * n + i) * n + j], hRes[i][j], 0);
    }
    for (int c = 0; c < C; ++c)
      compare(fromBf16(((uint16_t *)u.host)[t * C + c]), exactU[c], 1);
    for (int k = 0; k < n * C; ++k)
      compare(fromBf16(((uint16_t *)next.host)[t * n * C + k]), exactNext[k / C][k % C], 1);
  }
  int good = share[0] <= 1 && share[1] <= 1;
  // Rows that are read and written; phi and the other parameters stay in the caches.
  double bytes = (double)(x.bytes + f.bytes + pre.bytes + post.bytes + res.bytes + u.bytes + next.bytes);
  printf("T = %5d: largest error of coefficients %.1e, of streams %.1e: %s; %.4f ms, %.1f GB/s\n", (int)T, largest[0],
         largest[1], good ? "allowed" : "WRONG", best, bytes / best * 1e-6);
  for (size_t i = 0; i < sizeof all / sizeof *all; ++i) {
    CHECK(cuMemFree(all[i]->device));
    free(all[i]->host);
  }
  return !good;
}

int main(int argc, char **argv) {
  const char *path = argc > 1 ? argv[1] : "hyper_connection.ptx";
  FILE *file = fopen(path, "rb");
  if (!file || fseek(file, 0, SEEK_END))
    stop(1, path, "could not be opened");
  long size = ftell(file);
  char *image = calloc((size_t)size + 1, 1); // PTX is text and wants a NUL at its end
  rewind(file);
  if (!image || fread(image, 1, (size_t)size, file) != (size_t)size)
    stop(1, path, "could not be read");
  fclose(file);

  openDriver();
  CUdevice device;
  CUcontext context;
  CUmodule module;
  CUfunction function;
  char name[256] = "", log[8192] = "";
  CHECK(cuDeviceGet(&device, 0));
  CHECK(cuDeviceGetName(name, sizeof name, device));
  CHECK(cuDevicePrimaryCtxRetain(&context, device));
  CHECK(cuCtxSetCurrent(context));
  int options[] = {5, 6}; // CU_JIT_ERROR_LOG_BUFFER, .._SIZE_BYTES
  void *values[] = {log, (void *)(sizeof log - 1)};
  CUresult loaded = cuModuleLoadDataEx(&module, image, 2, options, values);
  if (loaded && log[0])
    stop(1, path, log);
  check(loaded, path);
  CHECK(cuModuleGetFunction(&function, module, HYPER_CONNECTION_BOUNDARY_0_SYMBOL));
  if (HYPER_CONNECTION_BOUNDARY_0_SHARED > 49152) // 8: CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    CHECK(cuFuncSetAttribute(function, 8, HYPER_CONNECTION_BOUNDARY_0_SHARED));
  printf("%s, %s\n", name, path);
  // The longest have many more rows than blocks take at once, and more bytes than caches hold.
  static const int64_t lengths[] = {1, 13, 511, 4096, 16381};
  int wrong = 0;
  for (int i = 2; i < argc; ++i) {
    if (atoll(argv[i]) < 1)
      stop(1, argv[i], "expected a number of tokens from 1 on");
    wrong |= run(function, atoll(argv[i]));
  }
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths && argc <= 2; ++i)
    wrong |= run(function, lengths[i]);
  puts(wrong ? "some results are wrong" : "all results agree");
  return wrong;
}
