/* Groups of blocks that run at a time and wait for each other (kernels of schedule family group without clusters): simt.c with all blocks of the
 * grid, mbarriers, the copy engine with tensor maps of four dimensions, and memory that blocks exchange. In every round a warp runs or waits, by
 * chance (sim_seed), and copies arrive some rounds later, so that no order is taken for granted. Each block's shared memory is put in its place
 * before its turn. See simulate_gang.py. */
#ifndef MAX_THREADS
#define MAX_THREADS 4096
#endif
#include "simt.c"

enum { sharedBytes = 227 * 1024, maxBlocks = MAX_THREADS / 32, maxLate = 4096, named = 16 };
struct Barrier { /* 8 bytes of shared memory */
  int16_t count, left;
  int32_t bytes; /* times two; the lowest bit is the parity */
};
struct Map {
  char *base;
  int64_t channels, streams, rows, boxes;
};
static struct Late { /* of the copy engine, not there yet */
  int block, thread, rounds, bytes, at[4], isStore, group;
  void *shared;
  char *memory;
  struct Map *map;
  struct Barrier *barrier;
} late[maxLate];
static int lateCount, namedCount[maxBlocks][named];
static long events; /* since the start: a kernel where none happens is stuck */
static char *images[maxBlocks];
unsigned sim_seed = 1;
static unsigned chance(void) { return sim_seed = sim_seed * 1664525 + 1013904223, sim_seed >> 16; }

void sim_yield(void) { wait(ready); }
void sim_sync_warp(void) { wait(inSync); }
static void advance(struct Barrier *b) {
  ++events;
  sim_errors += b->left < 0 || b->bytes < 0;
  if (b->left == 0 && b->bytes / 2 == 0) {
    b->left = b->count;
    b->bytes ^= 1;
  }
}
void sim_mbarrier_init(struct Barrier *b, int32_t count) { *b = (struct Barrier){count, count, 0}; }
void sim_mbarrier_arrive(struct Barrier *b) {
  --b->left;
  advance(b);
}
void sim_mbarrier_expect_bytes(struct Barrier *b, int32_t bytes) { b->bytes += 2 * bytes; }
void sim_mbarrier_expect(struct Barrier *b, int32_t bytes) {
  b->bytes += 2 * bytes;
  --b->left;
  advance(b);
}
_Bool sim_mbarrier_try(struct Barrier *b, int32_t parity) {
  if ((b->bytes & 1) == parity)
    wait(ready);
  return (b->bytes & 1) != parity;
}
int32_t sim_load_volatile(volatile int32_t *word) {
  wait(ready);
  return *word;
}
void sim_named_barrier(int32_t id, int32_t number) {
  int target = (namedCount[block][id]++ / number + 1) * number;
  while (namedCount[block][id] < target)
    wait(ready);
  ++events;
}
/* A box of rows, swizzled by 128 bytes: pieces of 16 bytes change places by bits 7 to 9 of the address. */
static void moveBox(struct Late *l) {
  struct Map *m = l->map;
  char *shared = l->shared;
  for (int64_t box = 0; box < m->boxes; ++box)
    for (int64_t stream = 0; stream < m->streams; ++stream)
      for (int64_t t = 0; t < 16; ++t)
        for (int piece = 0; piece < 8; ++piece) {
          char *row = shared + ((box * m->streams + stream) * 16 + t) * 128;
          char *here = row + ((piece ^ ((uintptr_t)row >> 7 & 7)) << 4);
          int64_t token = l->at[1] + t;
          char *there = m->base + ((token * m->streams + stream + l->at[2]) * m->channels + (l->at[3] + box) * 64 + l->at[0]) * 2 + piece * 16;
          if (l->isStore && token < m->rows)
            memcpy(there, here, 16);
          else if (!l->isStore && token < m->rows)
            memcpy(here, there, 16);
          else if (!l->isStore)
            memset(here, 0, 16);
        }
}
static void arrive(struct Late *l) {
  if (l->map)
    moveBox(l);
  else
    memcpy(l->shared, l->memory, l->bytes);
  ++events;
  if (l->barrier) {
    l->barrier->bytes -= 2 * l->bytes;
    advance(l->barrier);
  }
}
static void ask(struct Late l) {
  l.block = block;
  l.thread = current;
  l.group = threads[current].group;
  l.rounds = 1 + chance() % 40;
  sim_errors += (uintptr_t)l.shared % (l.map ? 1024 : 16) != 0 || (l.memory && (uintptr_t)l.memory % 16 != 0);
  late[lateCount++] = l;
}
void sim_load_box(void *to, struct Map *map, struct Barrier *b, int32_t x, int32_t y, int32_t z, int32_t w) {
  ask((struct Late){.shared = to, .map = map, .barrier = b, .at = {x, y, z, w}, .bytes = map->boxes * map->streams * 2048});
}
void sim_store_box(struct Map *map, void *from, int32_t x, int32_t y, int32_t z, int32_t w) {
  ask((struct Late){.shared = from, .map = map, .at = {x, y, z, w}, .isStore = 1});
}
void sim_load_bulk(void *to, void *from, struct Barrier *b, int32_t bytes) {
  ask((struct Late){.shared = to, .memory = from, .barrier = b, .bytes = bytes});
}
/* What is due; or, for a thread, its stores but those of the last `pending` groups. */
static void settle(int all, int thread, int pending) {
  int kept = 0;
  for (int i = 0; i < lateCount; ++i) {
    struct Late *l = &late[i];
    int due = l->block == block && (thread >= 0 ? l->thread == thread && l->isStore && l->group < threads[thread].group - pending : all || --l->rounds <= 0);
    if (due)
      arrive(l);
    else
      late[kept++] = *l;
  }
  lateCount = kept;
}
void sim_commit_bulk(void) { ++threads[current].group; }
void sim_wait_bulk(int32_t pending) { settle(0, current, pending); }
void sim_load_words(const int32_t *from) { memcpy(threads[current].words, from, 16); }
void sim_store_words(int32_t a, int32_t b, int32_t c, int32_t d, int32_t *to) {
  int32_t words[4] = {a, b, c, d};
  sim_errors += (uintptr_t)to % 16 != 0;
  memcpy(to, words, 16);
}

/* All blocks at a time. Returns 0, or 1 where nothing happens any more. */
int simulate_gang(void (*function)(void **), void **arguments, int grid, int threadCount) {
  kernel = function;
  kernelArguments = arguments;
  blocks = grid;
  count = grid * threadCount;
  if (count > maxThreads)
    return 2;
  lateCount = 0;
  memset(namedCount, 0, sizeof namedCount);
  for (int t = 0; t < count; ++t) {
    makeReady(t);
    threads[t].group = 0;
  }
  for (int i = 0; i < grid; ++i) {
    if (!images[i])
      images[i] = malloc(sharedBytes);
    memset(images[i], 0xff, sharedBytes); /* NaN */
  }
  long seen = -1, quiet = 0;
  for (int left = 1; left;) {
    left = 0;
    for (block = 0; block < grid; ++block) {
      int first = block * threadCount, last = first + threadCount, barrier = 0;
      memcpy(mhc_shared, images[block], sharedBytes);
      for (int turn = 0; turn < 12; ++turn) {
        settle(0, -1, 0);
        for (int warp = first; warp < last; warp += 32)
          if (chance() % 4)
            for (current = warp; current < warp + 32; ++current)
              if (threads[current].state == ready)
                swapcontext(&scheduler, &threads[current].context);
        for (int warp = first; warp < last; warp += 32)
          releaseWarp(warp);
      }
      for (int t = first; t < last; ++t) {
        left += threads[t].state != done;
        barrier += threads[t].state == atBarrier;
      }
      if (barrier == threadCount)
        for (int t = first; t < last; ++t)
          threads[t].state = ready;
      memcpy(images[block], mhc_shared, sharedBytes);
    }
    quiet = seen == events ? quiet + 1 : 0;
    seen = events;
    if (quiet > 3000) {
      fprintf(stderr, "%d threads wait for ever\n", left);
      return 1;
    }
  }
  for (block = 0; block < grid; ++block) {
    memcpy(mhc_shared, images[block], sharedBytes);
    settle(1, -1, 0);
  }
  return 0;
}
int32_t sim_gang_tid(void) { return current % (count / blocks); }
