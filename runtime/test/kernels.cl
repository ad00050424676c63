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
