/* Test kernels for GPUs, to the ABI of docs/design/package.md: pointers of args and partials, rows, ints.
   kernels.ptx was made from this:
     clang-22 -x cl -cl-std=CL2.0 --target=nvptx64-nvidia-cuda -march=sm_80 -O1 -S kernels.cl -o kernels.ptx */
#define GRID __nvvm_read_ptx_sreg_nctaid_x()
#define BLOCK __nvvm_read_ptx_sreg_ctaid_x()
#define THREAD __nvvm_read_ptx_sreg_tid_x()

/* x [rows, 4] -> y = 2 x, partial [4] of each block; tiles of 16 rows, 32 threads of which 4 work. */
kernel void double_and_sum(global const float *x, global float *y, global float *partials, long rows) {
  int c = THREAD;
  if (c >= 4)
    return;
  float sum = 0;
  for (long tile = BLOCK; tile * 16 < rows; tile += GRID)
    for (long row = tile * 16; row < rows && row < tile * 16 + 16; ++row) {
      y[4 * row + c] = 2 * x[4 * row + c];
      sum += x[4 * row + c];
    }
  partials[4 * BLOCK + c] = sum;
}

kernel void mhc_sum_partials_f32(global const float *partials, global float *out, long size, long count,
                                 long accumulate) {
  long i = (long)BLOCK * 256 + THREAD;
  if (i >= size)
    return;
  float sum = accumulate ? out[i] : 0;
  for (long p = 0; p < count; ++p)
    sum += partials[p * size + i];
  out[i] = sum;
}

/* The same of eight sums. */
kernel void mhc_sum_all_partials_f32(global const float *p0, global const float *p1, global const float *p2, global const float *p3, global const float *p4, global const float *p5, global const float *p6, global const float *p7,
                                     global float *o0, global float *o1, global float *o2, global float *o3, global float *o4, global float *o5, global float *o6, global float *o7,
                                     long s0, long s1, long s2, long s3, long s4, long s5, long s6, long s7,
                                     long c0, long c1, long c2, long c3, long c4, long c5, long c6, long c7,
                                     long a0, long a1, long a2, long a3, long a4, long a5, long a6, long a7) {
  global const float *partials[] = {p0, p1, p2, p3, p4, p5, p6, p7};
  global float *out[] = {o0, o1, o2, o3, o4, o5, o6, o7};
  long size[] = {s0, s1, s2, s3, s4, s5, s6, s7}, count[] = {c0, c1, c2, c3, c4, c5, c6, c7}, accumulate[] = {a0, a1, a2, a3, a4, a5, a6, a7};
  long block = BLOCK;
  for (int s = 0; s < 8; block -= (size[s] + 255) / 256, ++s) {
    long i = block * 256 + THREAD;
    if (block < 0 || i >= size[s])
      continue;
    float sum = accumulate[s] ? out[s][i] : 0;
    for (long p = 0; p < count[s]; ++p)
      sum += partials[s][p * size[s] + i];
    out[s][i] = sum;
  }
}
