#include "base/ThreadPool.h"
#include "base/Error.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <sched.h>

namespace mhcrt {

ThreadPool::ThreadPool(int threads) {
  for (int i = 1; i < threads; ++i)
    workers.emplace_back([this] { work(); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex);
    stop = true;
  }
  wake.notify_all();
  for (std::thread &worker : workers)
    worker.join();
}

void ThreadPool::drain() {
  for (int64_t index; (index = next.fetch_add(1)) < total;) {
    try {
      (*current)(index);
    } catch (...) {
      std::lock_guard lock(mutex);
      if (!error || index < errorTask) {
        error = std::current_exception();
        errorTask = index;
      }
    }
  }
}

void ThreadPool::work() {
  uint64_t seen = 0;
  std::unique_lock lock(mutex);
  for (;;) {
    wake.wait(lock, [&] { return stop || generation != seen; });
    if (stop)
      return;
    seen = generation;
    if (!current)
      continue; // woke after the tasks were all done
    ++busy;
    lock.unlock();
    drain();
    lock.lock();
    if (--busy == 0)
      finished.notify_one();
  }
}

void ThreadPool::run(int64_t count, const std::function<void(int64_t)> &task) {
  if (count <= 0)
    return;
  if (count == 1 || workers.empty()) {
    for (int64_t i = 0; i < count; ++i)
      task(i);
    return;
  }
  std::unique_lock lock(mutex);
  current = &task;
  total = count;
  next = 0;
  error = nullptr;
  ++generation;
  lock.unlock();
  wake.notify_all();
  drain();
  lock.lock();
  finished.wait(lock, [&] { return busy == 0; });
  current = nullptr;
  if (error) {
    std::exception_ptr thrown = error;
    error = nullptr;
    lock.unlock();
    std::rethrow_exception(thrown);
  }
}

int chooseThreads(int64_t option) {
  constexpr int64_t most = 1024;
  if (option > 0)
    return static_cast<int>(std::min(option, most));
  if (const char *text = std::getenv("MHC_THREADS"); text && *text) {
    int64_t value = 0;
    auto [end, code] = std::from_chars(text, text + std::strlen(text), value);
    if (code != std::errc() || *end || value < 1)
      fail("MHC_THREADS: expected a positive number, but got '", text, "'");
    return static_cast<int>(std::min(value, most));
  }
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0 && CPU_COUNT(&allowed) > 0)
    return CPU_COUNT(&allowed);
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

} // namespace mhcrt
