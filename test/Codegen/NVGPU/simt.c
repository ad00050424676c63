/* Runs GPU kernels on the CPU, one fiber a thread, to check them where there is no GPU: thread numbers, barriers, shuffles and votes of one block at a
 * time, the blocks one after the other. A barrier that not all threads reach is reported instead of hanging. What a warp does together (shuffles, votes,
 * ldmatrix, mma) is done when its last lane has come. Copies of cp.async take effect at once, or (sim_lazy) when they are waited for: a kernel must get the
 * same bits from both. See simulate.py. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#ifndef MAX_THREADS
#define MAX_THREADS 1024
#endif
enum { stackBytes = 128 * 1024, maxThreads = MAX_THREADS, maxCopies = 256 };
enum State { ready, atBarrier, inShuffle, inVote, inBallot, inMatch, inSync, inLoadMatrix, inLoadTransposed, inMma, done };
struct Copy {
  void *to;
  const void *from;
  int bytes, filled, group;
};
static struct Thread {
  ucontext_t context;
  char *stack;
  enum State state;
  uint32_t value; /* given to a shuffle or vote, then taken from it */
  int source;     /* lane that a shuffle takes from */
  const char *row; /* for ldmatrix */
  uint32_t words[6]; /* of ldmatrix, or given to mma: 4 of the left matrix, 2 of the right one */
  float sums[4];     /* of mma */
  struct Copy copies[maxCopies]; /* asked for and not done */
  int copyCount, group;
} threads[maxThreads];
static ucontext_t scheduler;
static int count, current, block, blocks;
int sim_lazy;      /* whether copies wait */
int sim_conflicts; /* ldmatrix: rows beyond the first that a bank had to give at a time */
int sim_errors;    /* addresses that no device would take */
static void (*kernel)(void **);
static void **kernelArguments;

char mhc_shared[256 * 1024] __attribute__((aligned(1024)));

int32_t sim_tid(void) { return current; }
int32_t sim_ctaid(void) { return block; }
int32_t sim_nctaid(void) { return blocks; }
static void wait(enum State state) {
  threads[current].state = state;
  swapcontext(&threads[current].context, &scheduler);
}
void sim_barrier(void) { wait(atBarrier); }
static uint32_t shuffle(uint32_t value, int source) {
  int self = current;
  threads[self].value = value;
  threads[self].source = source;
  wait(inShuffle);
  return threads[self].value;
}
float sim_shfl_bfly_f32(float value, int32_t lanes) {
  uint32_t word;
  memcpy(&word, &value, 4);
  word = shuffle(word, current % 32 ^ lanes);
  memcpy(&value, &word, 4);
  return value;
}
int32_t sim_shfl_up_i32(int32_t value, int32_t lanes) { return shuffle(value, current % 32 < lanes ? current % 32 : current % 32 - lanes); }
int32_t sim_match(int32_t value) {
  int self = current;
  threads[self].value = value;
  wait(inMatch);
  return threads[self].value;
}

/* Copies that do not wait */
static void copy(struct Copy *c) {
  memcpy(c->to, c->from, c->filled);
  memset((char *)c->to + c->filled, 0, c->bytes - c->filled);
}
static void async(void *to, const void *from, int32_t bytes, int32_t filled) {
  struct Thread *self = &threads[current];
  struct Copy c = {to, from, bytes, filled, self->group};
  sim_errors += (uintptr_t)to % bytes != 0 || (filled && (uintptr_t)from % bytes != 0) || filled > bytes;
  if (!sim_lazy)
    copy(&c);
  else if (self->copyCount < maxCopies)
    self->copies[self->copyCount++] = c;
  else
    ++sim_errors;
}
void sim_async4(void *to, const void *from, int32_t filled) { async(to, from, 4, filled); }
void sim_async8(void *to, const void *from, int32_t filled) { async(to, from, 8, filled); }
void sim_async16(void *to, const void *from, int32_t filled) { async(to, from, 16, filled); }
void sim_async_all4(void *to, const void *from) { async(to, from, 4, 4); }
void sim_async_all8(void *to, const void *from) { async(to, from, 8, 8); }
void sim_async_all16(void *to, const void *from) { async(to, from, 16, 16); }
void sim_async_commit(void) { ++threads[current].group; }
static void waitFor(int pending) {
  struct Thread *self = &threads[current];
  int kept = 0;
  for (int i = 0; i < self->copyCount; ++i)
    if (self->copies[i].group < self->group - pending)
      copy(&self->copies[i]);
    else
      self->copies[kept++] = self->copies[i];
  self->copyCount = kept;
}
void sim_async_wait0(void) { waitFor(0); }
void sim_async_wait1(void) { waitFor(1); }
void sim_async_wait2(void) { waitFor(2); }
void sim_async_wait3(void) { waitFor(3); }

/* Matrices */
void sim_ldmatrix_row(const void *row) {
  threads[current].row = row;
  wait(inLoadMatrix);
}
void sim_ldmatrix_col(const void *row) {
  threads[current].row = row;
  wait(inLoadTransposed);
}
static void loadMatrices(struct Thread *warp, int transposed) {
  for (int m = 0; m < 4; ++m) {
    int banks[8] = {0};
    for (int i = 0; i < 8; ++i) {
      sim_errors += (uintptr_t)warp[8 * m + i].row % 16 != 0;
      sim_conflicts += banks[(uintptr_t)warp[8 * m + i].row / 16 % 8]++ != 0;
    }
    for (int lane = 0; lane < 32; ++lane)
      for (int half = 0; half < 2; ++half) {
        int row = transposed ? 2 * (lane % 4) + half : lane / 4, column = transposed ? lane / 4 : 2 * (lane % 4) + half;
        memcpy((char *)&warp[lane].words[m] + 2 * half, warp[8 * m + row].row + 2 * column, 2);
      }
  }
}
void sim_mma(int32_t a0, int32_t a1, int32_t a2, int32_t a3, int32_t b0, int32_t b1, float c0, float c1, float c2, float c3) {
  struct Thread *self = &threads[current];
  uint32_t words[6] = {a0, a1, a2, a3, b0, b1};
  float sums[4] = {c0, c1, c2, c3};
  memcpy(self->words, words, sizeof words);
  memcpy(self->sums, sums, sizeof sums);
  wait(inMma);
}
/* m16n8k8: the other half of k is zeros */
void sim_mma_k8(int32_t a0, int32_t a1, int32_t b0, float c0, float c1, float c2, float c3) { sim_mma(a0, a1, 0, 0, b0, 0, c0, c1, c2, c3); }
static float half(const uint32_t *word, int i) {
  uint32_t bits = i ? *word & 0xffff0000 : *word << 16;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}
static void multiply(struct Thread *warp) {
  float left[16][16], right[16][8];
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 2; ++i) {
      int g = lane / 4, t = 2 * (lane % 4) + i;
      for (int r = 0; r < 4; ++r)
        left[g + 8 * (r % 2)][t + 8 * (r / 2)] = half(&warp[lane].words[r], i);
      for (int r = 0; r < 2; ++r)
        right[t + 8 * r][g] = half(&warp[lane].words[4 + r], i);
    }
  for (int lane = 0; lane < 32; ++lane)
    for (int r = 0; r < 4; ++r) {
      int row = lane / 4 + 8 * (r / 2), column = 2 * (lane % 4) + r % 2;
      double sum = warp[lane].sums[r];
      for (int k = 0; k < 16; ++k)
        sum += (double)left[row][k] * right[k][column];
      warp[lane].sums[r] = sum;
    }
}
int32_t sim_word0(void) { return threads[current].words[0]; }
int32_t sim_word1(void) { return threads[current].words[1]; }
int32_t sim_word2(void) { return threads[current].words[2]; }
int32_t sim_word3(void) { return threads[current].words[3]; }
float sim_sum0(void) { return threads[current].sums[0]; }
float sim_sum1(void) { return threads[current].sums[1]; }
float sim_sum2(void) { return threads[current].sums[2]; }
float sim_sum3(void) { return threads[current].sums[3]; }
_Bool sim_any(_Bool value) {
  int self = current;
  threads[self].value = value;
  wait(inVote);
  return threads[self].value;
}
int32_t sim_ballot(_Bool value) {
  int self = current;
  threads[self].value = value;
  wait(inBallot);
  return threads[self].value;
}
int32_t sim_cvt(float high, float low) {
  float values[2] = {low, high};
  uint32_t words[2];
  for (int i = 0; i < 2; ++i) {
    uint32_t bits;
    memcpy(&bits, &values[i], 4);
    words[i] = isnan(values[i]) ? 0x7fff : (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  }
  return words[0] | words[1] << 16;
}
float sim_ex2(float x) { return exp2f(x); }
float sim_lg2(float x) { return log2f(x); }
float sim_rsqrt(float x) { return 1 / sqrtf(x); }
// No numbers below the normal ones, neither taken nor given.
float sim_rcp(float x) {
  float y = 1 / (fabsf(x) < 0x1p-126f ? copysignf(0, x) : x);
  return fabsf(y) < 0x1p-126f ? copysignf(0, y) : y;
}

static void start(void) {
  kernel(kernelArguments);
  threads[current].state = done;
  swapcontext(&threads[current].context, &scheduler);
}

/* A thread that is to run the kernel from its begin. */
static void makeReady(int t) {
  if (!threads[t].stack)
    threads[t].stack = malloc(stackBytes);
  getcontext(&threads[t].context);
  threads[t].context.uc_stack.ss_sp = threads[t].stack;
  threads[t].context.uc_stack.ss_size = stackBytes;
  threads[t].context.uc_link = &scheduler;
  makecontext(&threads[t].context, start, 0);
  threads[t].state = ready;
}

/* All lanes of a warp that are not done wait for the same. Matrices take a whole warp. */
static int releaseWarp(int first) {
  enum State state = done;
  for (int t = first; t < first + 32; ++t) {
    if (threads[t].state == done)
      continue;
    if (state != done && threads[t].state != state)
      return 0;
    state = threads[t].state;
  }
  if (state < inShuffle || state > inMma)
    return 0;
  uint32_t values[32], ballot = 0;
  for (int i = 0; i < 32; ++i) {
    struct Thread *lane = &threads[first + i];
    values[i] = lane->value;
    ballot |= (uint32_t)(lane->state == state && (state == inVote || state == inBallot) && values[i]) << i;
    if (state >= inLoadMatrix && lane->state != state)
      return 0;
  }
  if (state == inLoadMatrix || state == inLoadTransposed)
    loadMatrices(&threads[first], state == inLoadTransposed);
  else if (state == inMma)
    multiply(&threads[first]);
  for (int i = 0; i < 32; ++i) {
    struct Thread *lane = &threads[first + i];
    if (lane->state == done)
      continue;
    uint32_t same = 0;
    for (int j = 0; j < 32; ++j)
      same |= (uint32_t)(threads[first + j].state != done && values[j] == values[i]) << j;
    if (state <= inMatch)
      lane->value = state == inVote ? ballot != 0 : state == inBallot ? ballot : state == inMatch ? same : values[lane->source];
  }
  for (int i = 0; i < 32; ++i)
    if (threads[first + i].state != done)
      threads[first + i].state = ready;
  return 1;
}

/* Returns 0, or 1 where threads wait for others that never come. */
int simulate(void (*function)(void **), void **arguments, int grid, int threadCount) {
  kernel = function;
  kernelArguments = arguments;
  count = threadCount;
  blocks = grid;
  for (block = 0; block < grid; ++block) {
    memset(mhc_shared, 0xff, sizeof mhc_shared); /* NaN */
    for (int t = 0; t < count; ++t) {
      makeReady(t);
      threads[t].copyCount = threads[t].group = 0;
    }
    for (;;) {
      int left = 0, moved = 0, barrier = 0;
      for (current = 0; current < count; ++current)
        if (threads[current].state == ready) {
          swapcontext(&scheduler, &threads[current].context);
          moved = 1;
        }
      for (int t = 0; t < count; ++t) {
        left += threads[t].state != done;
        barrier += threads[t].state == atBarrier;
      }
      if (!left)
        break;
      for (int first = 0; first < count; first += 32)
        moved |= releaseWarp(first);
      if (barrier == count) {
        for (int t = 0; t < count; ++t)
          threads[t].state = ready;
        moved = 1;
      }
      if (!moved) {
        fprintf(stderr, "block %d: %d threads wait at a barrier, %d are not done\n", block, barrier, left);
        return 1;
      }
    }
  }
  return 0;
}
