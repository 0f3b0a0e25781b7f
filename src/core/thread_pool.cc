#include "core/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <string>
#include <system_error>

#include "core/check.h"

namespace unicorn {
namespace {

// Long enough to bridge the gap between two steps of a decode (some microseconds), short enough that an idle
// engine is not felt by the rest of the machine.
constexpr int kSpins = 4000;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Spins, then sleeps until the value changes: on a busy machine the one waited for must get to run, and a sleeper that
// is woken is scheduled at once, while one that yields waits for a time slice of everybody else (with ten runnable
// processes a core, a decode of 30 tokens took minutes).
template <class T, class Done>
void wait_until(const std::atomic<T>& value, Done done) {
  for (int spins = 0; spins < kSpins; ++spins) {
    if (done(value.load(std::memory_order_acquire))) return;
    pause();
  }
  for (T seen = value.load(std::memory_order_acquire); !done(seen); seen = value.load(std::memory_order_acquire))
    value.wait(seen, std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(std::size_t n_threads) : n_threads_(std::max<std::size_t>(1, n_threads)) {
  threads_.reserve(n_threads_ - 1);
  try {
    for (std::size_t member = 1; member < n_threads_; ++member)
      threads_.emplace_back([this, member] { worker(member); });
  } catch (const std::system_error&) {  // a limit on processes: the pool is as large as it got
    n_threads_ = threads_.size() + 1;
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_.store(true);
    epoch_.fetch_add(1);
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::run(const std::function<void(std::size_t)>& job) {
  if (n_threads_ == 1) {
    job(0);
    return;
  }
  job_ = &job;
  running_.store(static_cast<std::uint32_t>(n_threads_ - 1), std::memory_order_relaxed);
  epoch_.fetch_add(1);  // sequentially consistent with sleepers_: either we see the sleeper or it sees the epoch
  if (sleepers_.load() > 0) {
    const std::lock_guard lock(mutex_);
    wake_.notify_all();
  }
  job(0);
  wait_until(running_, [](std::uint32_t running) { return running == 0; });
  job_ = nullptr;
}

void ThreadPool::worker(std::size_t member) {
  std::uint64_t seen = 0;
  for (;;) {
    bool started = false;
    for (int spins = 0; spins < kSpins && !started; ++spins) {
      started = epoch_.load(std::memory_order_acquire) != seen;
      if (!started) pause();
    }
    if (!started) {
      std::unique_lock lock(mutex_);
      sleepers_.fetch_add(1);
      wake_.wait(lock, [&] { return epoch_.load() != seen; });
      sleepers_.fetch_sub(1);
    }
    seen = epoch_.load(std::memory_order_acquire);
    if (stop_.load()) return;
    (*job_)(member);
    if (running_.fetch_sub(1, std::memory_order_release) == 1) running_.notify_one();
  }
}

void ThreadPool::barrier() {
  if (n_threads_ == 1) return;
  const std::uint32_t phase = phase_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == n_threads_) {
    arrived_.store(0, std::memory_order_relaxed);
    phase_.store(phase + 1, std::memory_order_release);
    phase_.notify_all();
    return;
  }
  wait_until(phase_, [phase](std::uint32_t now) { return now != phase; });
}

std::size_t n_usable_cores() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (::sched_getaffinity(0, sizeof mask, &mask) != 0) return 1;
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &mask)) continue;
    std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
    std::string siblings;
    if (!(file >> siblings)) siblings = std::to_string(cpu);
    cores.insert(siblings);
  }
  return std::max<std::size_t>(1, cores.size());
}

Slice slice_of(std::size_t n, std::size_t grain, std::size_t member, std::size_t n_members) {
  UNICORN_DCHECK(grain > 0 && member < n_members);
  const std::size_t grains = (n + grain - 1) / grain;
  const std::size_t begin = grains * member / n_members * grain;
  const std::size_t end = grains * (member + 1) / n_members * grain;
  return {std::min(begin, n), std::min(end, n)};
}

}  // namespace unicorn
