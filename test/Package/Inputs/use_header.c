/* Launches `backward` of model.json (n = 2, C = 8, fp32) by its C header on the fake driver: memory of exactly the sizes that the header says, partial sums in their second stage, with and without accumulation.
 * The sums must be those of the partials, and the gradient of the bias that of differences of `forward`. */
#include "model.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int cuInit(unsigned);
int cuModuleLoadDataEx(void **, const char *, unsigned, int *, void **);
int cuModuleGetFunction(void **, void *, const char *);
int cuLaunchKernel(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **);
int cuMemAlloc_v2(uint64_t *, size_t);
int cuMemFree_v2(uint64_t);

#define CHECK(condition) ((condition) ? (void)0 : (printf("line %d: %s\n", __LINE__, #condition), exit(1)))
enum { n = 2, C = 8, M = 2 * n + n * n };
static void *module, *forwardKernel, *backwardKernel, *sumKernel;
static uint64_t memory[64];
static int count;

static uint64_t allocate(size_t bytes) {
  CHECK(!cuMemAlloc_v2(&memory[count], bytes));
  return memory[count++];
}
static uint64_t random(int64_t elements) {
  float *values = (float *)allocate((size_t)elements * 4); /* the fake device's memory is the host's */
  for (int64_t i = 0; i < elements; ++i)
    values[i] = (float)rand() / (float)RAND_MAX - 0.5f;
  return (uint64_t)values;
}
static uint64_t nans(uint64_t bytes) { return (uint64_t)memset((void *)allocate(bytes), 0xff, bytes); }

static void sum(model_sum_partials_f32_args args) {
  void *params[MODEL_SUM_PARTIALS_F32_PARAMS];
  model_sum_partials_f32_params(&args, params);
  CHECK(!cuLaunchKernel(sumKernel, (unsigned)model_sum_partials_f32_grid(args.size), 1, 1, MODEL_SUM_PARTIALS_F32_THREADS, 1, 1, MODEL_SUM_PARTIALS_F32_SHARED, NULL, params, NULL));
}

/* sum of du * u and dx_next * x_next */
static double loss(model_boundary_0_args args, const float *du, const float *dx_next) {
  void *params[MODEL_BOUNDARY_0_PARAMS];
  model_boundary_0_params(&args, params);
  CHECK(!cuLaunchKernel(forwardKernel, model_boundary_0_grid(args.rows), 1, 1, MODEL_BOUNDARY_0_THREADS, 1, 1, MODEL_BOUNDARY_0_SHARED, NULL, params, NULL));
  double result = 0;
  for (int i = 0; i < args.rows * C; ++i)
    result += (double)du[i] * ((float *)args.u)[i];
  for (int i = 0; i < args.rows * n * C; ++i)
    result += (double)dx_next[i] * ((float *)args.x_next)[i];
  return result;
}

static void run(int64_t T) {
  int64_t some = T ? T : 1;
  model_boundary_1_args args = {.x = random(some * n * C), .phi = random(n * C * M), .alpha = random(3), .bias = random(M), .dx_next = random(some * n * C), .f = random(some * C), .du = random(some * C)};
  args.dx = nans((uint64_t)some * MODEL_BOUNDARY_1_DX_ELEMENTS * 4);
  args.df = nans((uint64_t)some * MODEL_BOUNDARY_1_DF_ELEMENTS * 4);
  args.rows = T;
  unsigned grid = model_boundary_1_grid(T);
  if (T) {
    args.dalpha_partials = nans(model_boundary_1_dalpha_partials_bytes(T));
    args.dbias_partials = nans(model_boundary_1_dbias_partials_bytes(T));
    args.dphi_partials = nans(model_boundary_1_dphi_partials_bytes(T));
    void *params[MODEL_BOUNDARY_1_PARAMS];
    model_boundary_1_params(&args, params);
    for (int i = 0; i < MODEL_BOUNDARY_1_PARAMS; ++i)
      CHECK(params[i] == (char *)&args + 8 * i);
    CHECK(!cuLaunchKernel(backwardKernel, grid, 1, 1, MODEL_BOUNDARY_1_THREADS, 1, 1, MODEL_BOUNDARY_1_SHARED, NULL, params, NULL));
  }
  float *dphi = (float *)nans(n * C * M * 4), *dbias = (float *)nans(M * 4);
  sum(model_boundary_1_sum_dphi(args.dphi_partials, (uint64_t)dphi, T, 0));
  sum(model_boundary_1_sum_dbias(args.dbias_partials, (uint64_t)dbias, T, 0));
  for (int i = 0; i < n * C * M; ++i) {
    double expected = 0;
    for (unsigned p = 0; p < grid; ++p)
      expected += ((float *)args.dphi_partials)[p * n * C * M + (unsigned)i];
    CHECK(fabs(dphi[i] - expected) <= 1e-5 * (1 + fabs(expected)));
    CHECK(T == 0 || expected != 0);
  }
  float before = dphi[1];
  sum(model_boundary_1_sum_dphi(args.dphi_partials, (uint64_t)dphi, T, 1));
  CHECK(fabsf(dphi[1] - 2 * before) <= 1e-5f * (1 + fabsf(before)));

  model_boundary_0_args forward = {.x = args.x, .phi = args.phi, .alpha = args.alpha, .bias = args.bias, .f = args.f, .rows = T};
  forward.h_pre = nans((uint64_t)some * n * 4);
  forward.h_post = nans((uint64_t)some * n * 4);
  forward.h_res = nans((uint64_t)some * n * n * 4);
  forward.u = nans((uint64_t)some * C * 4);
  forward.x_next = nans((uint64_t)some * n * C * 4);
  for (int m = 0; m < M && T; ++m) {
    float *bias = (float *)args.bias + m, kept = *bias, step = 1.0f / 64;
    double difference;
    *bias = kept + step;
    difference = loss(forward, (float *)args.du, (float *)args.dx_next);
    *bias = kept - step;
    difference = (difference - loss(forward, (float *)args.du, (float *)args.dx_next)) / (2 * step);
    *bias = kept;
    CHECK(fabs(difference - dbias[m]) <= 1e-3 * (1 + fabs(difference)));
  }
  while (count)
    CHECK(!cuMemFree_v2(memory[--count])); /* which looks for writes beside it */
  printf("T = %d: %u partials\n", (int)T, grid);
}

int main(void) {
  CHECK(sizeof(model_boundary_1_args) == 8 * MODEL_BOUNDARY_1_PARAMS && offsetof(model_boundary_1_args, rows) == 8 * (MODEL_BOUNDARY_1_PARAMS - 1));
  CHECK(MODEL_BOUNDARY_1_DPHI_PARTIALS_ELEMENTS == n * C * M && MODEL_BOUNDARY_1_X_ELEMENTS == n * C);
  /* Grids: no row, one, more than 32 bits of them. */
  CHECK(model_boundary_0_grid(0) == 0 && model_boundary_0_grid(-1) == 0 && model_boundary_0_grid(1) == 1);
  CHECK(model_boundary_0_grid(MODEL_BOUNDARY_0_TILE) == 1 && model_boundary_0_grid(MODEL_BOUNDARY_0_TILE + 1) == 2);
  CHECK(model_boundary_0_grid(INT64_MAX) == 1024 && model_boundary_1_grid(INT64_MAX) == 128);
  CHECK(model_boundary_1_dphi_partials_bytes(INT64_MAX) == 128 * n * C * M * 4);
  CHECK(!cuInit(0) && !cuModuleLoadDataEx(&module, ".visible .entry", 0, NULL, NULL));
  CHECK(!cuModuleGetFunction(&forwardKernel, module, MODEL_BOUNDARY_0_SYMBOL) && !cuModuleGetFunction(&backwardKernel, module, MODEL_BOUNDARY_1_SYMBOL));
  CHECK(!cuModuleGetFunction(&sumKernel, module, MODEL_SUM_PARTIALS_F32_SYMBOL));
  static const int64_t lengths[] = {0, 1, 13, 77};
  for (int i = 0; i < 4; ++i)
    run(lengths[i]);
  puts("all agree");
  return 0;
}
