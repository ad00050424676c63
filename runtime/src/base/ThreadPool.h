//===- ThreadPool.h - tasks on a fixed number of threads -----------*- C++ -*-===//
#ifndef MHCRT_BASE_THREADPOOL_H
#define MHCRT_BASE_THREADPOOL_H

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace mhcrt {

/// Runs numbered tasks. Which thread runs a task is left open, so a caller whose results must not depend on the number
/// of threads cuts its work into tasks by sizes only.
class ThreadPool {
public:
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool &) = delete;
  ThreadPool &operator=(const ThreadPool &) = delete;

  int threads() const { return static_cast<int>(workers.size()) + 1; }
  /// Calls task(0) ... task(count - 1), in any order, and returns when all are done. If tasks throw, the exception of
  /// the lowest number is rethrown. Not reentrant.
  void run(int64_t count, const std::function<void(int64_t)> &task);

private:
  void work();
  void drain();
  void join();

  std::vector<std::thread> workers;
  std::mutex mutex;
  std::condition_variable wake, finished;
  const std::function<void(int64_t)> *current = nullptr;
  int64_t total = 0;
  std::atomic<int64_t> next{0};
  uint64_t generation = 0;
  int busy = 0;
  bool stop = false;
  std::exception_ptr error;
  int64_t errorTask = 0;
};

constexpr int64_t mostThreads = 1024;

/// --threads, else MHC_THREADS, else what the machine has. `option` 0 means not given; more than mostThreads is an
/// error.
int chooseThreads(int64_t option);

} // namespace mhcrt

#endif // MHCRT_BASE_THREADPOOL_H
