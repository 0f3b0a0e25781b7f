// ThreadPool: a fixed crew that runs one function at a time on every member, with a barrier between the phases of
// that function. The caller is member 0, so a pool of one starts no thread at all.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace unicorn {

class ThreadPool {
 public:
  explicit ThreadPool(std::size_t n_threads);  // at least 1; fewer than asked for where the system refuses
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  std::size_t size() const { return n_threads_; }

  // Runs job(member) for member = 0 … size()-1 at once and returns when all are done. One caller at a time; a job
  // must not call run() on its own pool.
  void run(const std::function<void(std::size_t member)>& job);

  // Inside a job: returns once every member has arrived. All members must call it equally often.
  void barrier();

 private:
  void worker(std::size_t member);

  std::size_t n_threads_;
  std::vector<std::thread> threads_;
  const std::function<void(std::size_t)>* job_ = nullptr;

  alignas(64) std::atomic<std::uint64_t> epoch_{0};  // bumped to start a job
  alignas(64) std::atomic<std::uint32_t> running_{0};  // workers still inside the job
  alignas(64) std::atomic<std::size_t> arrived_{0};
  alignas(64) std::atomic<std::uint32_t> phase_{0};  // 32 bits: what a futex can wait for
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<std::size_t> sleepers_{0};
};

// Cores this process may run on (affinity mask), at least 1. Hyperthreads of one core count once.
std::size_t n_usable_cores();

// The part of [0, n) that belongs to `member` of `n_members`, in whole multiples of `grain` (the last is shorter).
struct Slice {
  std::size_t begin, end;
};
Slice slice_of(std::size_t n, std::size_t grain, std::size_t member, std::size_t n_members);

}  // namespace unicorn
