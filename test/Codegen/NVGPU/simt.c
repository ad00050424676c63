/* Runs GPU kernels on the CPU, one fiber a thread, to check them where there is no GPU: thread numbers, barriers, shuffles and votes of one block at a
 * time, the blocks one after the other. A barrier that not all threads reach is reported instead of hanging. See simulate.py. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { stackBytes = 128 * 1024, maxThreads = 1024 };
enum State { ready, atBarrier, inShuffle, inVote, inBallot, done };
static struct Thread {
  ucontext_t context;
  char *stack;
  enum State state;
  uint32_t value; /* given to a shuffle or vote, then taken from it */
  int lanes;
} threads[maxThreads];
static ucontext_t scheduler;
static int count, current, block, blocks;
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
float sim_shfl(float value, int32_t lanes) {
  int self = current;
  memcpy(&threads[self].value, &value, 4);
  threads[self].lanes = lanes;
  wait(inShuffle);
  memcpy(&value, &threads[self].value, 4);
  return value;
}
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

static void start(void) {
  kernel(kernelArguments);
  threads[current].state = done;
  swapcontext(&threads[current].context, &scheduler);
}

/* All lanes of a warp that are not done wait for the same. */
static int releaseWarp(int first) {
  enum State state = done;
  for (int t = first; t < first + 32; ++t) {
    if (threads[t].state == done)
      continue;
    if (state != done && threads[t].state != state)
      return 0;
    state = threads[t].state;
  }
  if (state != inShuffle && state != inVote && state != inBallot)
    return 0;
  uint32_t values[32], ballot = 0;
  for (int i = 0; i < 32; ++i) {
    values[i] = threads[first + i].value;
    ballot |= (uint32_t)(threads[first + i].state == state && state != inShuffle && values[i]) << i;
  }
  for (int i = 0; i < 32; ++i)
    if (threads[first + i].state != done) {
      threads[first + i].value = state == inVote ? ballot != 0 : state == inBallot ? ballot : values[i ^ threads[first + i].lanes];
      threads[first + i].state = ready;
    }
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
      if (!threads[t].stack)
        threads[t].stack = malloc(stackBytes);
      getcontext(&threads[t].context);
      threads[t].context.uc_stack.ss_sp = threads[t].stack;
      threads[t].context.uc_stack.ss_size = stackBytes;
      threads[t].context.uc_link = &scheduler;
      makecontext(&threads[t].context, start, 0);
      threads[t].state = ready;
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
