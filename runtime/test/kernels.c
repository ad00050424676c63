/* Test kernels. Arguments as docs/design/package.md says: buffers, then partials; ints = rows, then the kernel's own.
 */
#include <stdint.h>

/* y = 2 x, and the sum of x over the rows: x [rows, 4], y [rows, 4], partial [4]. */
void double_and_sum(void *const *args, const int64_t *ints, int64_t begin, int64_t end, int64_t partial) {
  const float *x = args[0];
  float *y = args[1], *sum = (float *)args[2] + 4 * partial;
  (void)ints;
  for (int c = 0; c < 4; ++c)
    sum[c] = 0;
  for (int64_t row = begin; row < end; ++row)
    for (int c = 0; c < 4; ++c) {
      y[4 * row + c] = 2 * x[4 * row + c];
      sum[c] += x[4 * row + c];
    }
}

/* The same, a hundred times. */
void double_and_sum_slowly(void *const *args, const int64_t *ints, int64_t begin, int64_t end, int64_t partial) {
  for (volatile int time = 0; time < 100; ++time)
    double_and_sum(args, ints, begin, end, partial);
}

/* A model with one weight a token and the loss mean (w[t] - w[next] - 1)^2: tokens, targets [rows], w, dw (both whole),
   loss partial; one block does it all (tile is huge), so that it may add to dw. scalars[3] scales. */
void toy_loss(void *const *args, const int64_t *ints, int64_t begin, int64_t end, int64_t partial) {
  const int32_t *inputs = args[0], *targets = args[1];
  const float *w = args[2], *scalars = args[4];
  float *dw = args[3], *sum = (float *)args[5] + partial;
  float scale = scalars[3] / (float)ints[0];
  sum[0] = 0;
  for (int64_t row = begin; row < end; ++row) {
    float e = w[inputs[row]] - w[targets[row]] - 1;
    sum[0] += e * e * scale;
    dw[inputs[row]] += 2 * e * scale;
    dw[targets[row]] -= 2 * e * scale;
  }
}

/* scalars[18] += loss, scalars[19] likewise: one row. */
void toy_add_loss(void *const *args, const int64_t *ints, int64_t begin, int64_t end, int64_t partial) {
  const float *loss = args[0];
  float *scalars = args[1];
  (void)ints, (void)begin, (void)end, (void)partial;
  scalars[18] += loss[0];
  scalars[19] += loss[0];
}

/* scalars[16] = sum of squares of the gradients [rows], scalars[17] = 1, or -1 if the sum is not finite: one block. */
void toy_norm(void *const *args, const int64_t *ints, int64_t begin, int64_t end, int64_t partial) {
  const float *g = args[0];
  float *scalars = args[1];
  (void)begin, (void)end, (void)partial;
  float sum = 0;
  for (int64_t i = 0; i < ints[0]; ++i)
    sum += g[i] * g[i];
  scalars[16] = sum;
  scalars[17] = sum - sum == 0 ? 1 : -1;
}

/* Adam without its denominator, ten times as fast: m = beta1 m + (1 - beta1) g, v likewise of g g, w -= 10 rate m / (1
 * - beta1^s). */
void toy_update(void *const *args, const int64_t *ints, int64_t begin, int64_t end, int64_t partial) {
  float *w = args[0], *m = args[2], *v = args[3];
  const float *g = args[1], *scalars = args[4];
  (void)ints, (void)partial;
  if (scalars[17] < 0)
    return;
  for (int64_t i = begin; i < end; ++i) {
    m[i] = scalars[6] * m[i] + scalars[11] * g[i];
    v[i] = scalars[7] * v[i] + scalars[12] * g[i] * g[i];
    w[i] -= 10 * scalars[0] * m[i] * scalars[1];
  }
}

/* logits [rows, 256] of tokens [rows] and w [256]: w, and 10 more for the token that the tokens so far and their number
   add up to, modulo 256, so that what comes next depends on all of them. One block does it all. */
void toy_forward(void *const *args, const int64_t *ints, int64_t begin, int64_t end, int64_t partial) {
  const int32_t *tokens = args[0];
  const float *w = args[1];
  float *logits = args[2];
  int32_t sum = 0;
  (void)ints, (void)partial;
  for (int64_t row = begin; row < end; ++row) {
    sum += tokens[row] + 1;
    for (int v = 0; v < 256; ++v)
      logits[256 * row + v] = w[v] + (v == sum % 256 ? 10 : 0);
  }
}

/* args: partials, out; ints: size, count, accumulate. */
void mhc_sum_partials_f32(void *const *args, const int64_t *ints, int64_t begin, int64_t end, int64_t unused) {
  const float *partials = args[0];
  float *out = args[1];
  (void)unused;
  for (int64_t i = begin; i < end; ++i) {
    float sum = ints[2] ? out[i] : 0;
    for (int64_t p = 0; p < ints[1]; ++p)
      sum += partials[p * ints[0] + i];
    out[i] = sum;
  }
}
