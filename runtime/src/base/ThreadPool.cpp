#include "base/ThreadPool.h"
#include "base/Error.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <sched.h>
#include <system_error>

namespace mhcrt {

ThreadPool::ThreadPool(int threads) {
  // An object that was never complete has no destructor call, and that of a thread that runs ends the program: those
  // that did start are joined here.
  try {
    for (int i = 1; i < threads; ++i)
      workers.emplace_back([this] { work(); });
  } catch (const std::system_error &problem) {
    size_t started = workers.size();
    join();
    fail("cannot start ", threads, " threads: the system refuses more than ", started + 1, " (",
         problem.code().message(), "; fewer: --threads or MHC_THREADS)");
  } catch (...) {
    join();
    throw;
  }
}

ThreadPool::~ThreadPool() { join(); }

void ThreadPool::join() {
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
  if (option > mostThreads)
    fail("expected at most ", mostThreads, " threads, but got ", option);
  if (option > 0)
    return static_cast<int>(option);
  if (const char *text = std::getenv("MHC_THREADS"); text && *text) {
    int64_t value = 0;
    auto [end, code] = std::from_chars(text, text + std::strlen(text), value);
    if (code != std::errc() || *end || value < 1 || value > mostThreads)
      fail("MHC_THREADS: expected a number from 1 to ", mostThreads, ", but got '", text, "'");
    return static_cast<int>(value);
  }
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0 && CPU_COUNT(&allowed) > 0)
    return CPU_COUNT(&allowed); // cpu_set_t holds no more than mostThreads
  return static_cast<int>(std::clamp<int64_t>(std::thread::hardware_concurrency(), 1, mostThreads));
}

} // namespace mhcrt
