#include "backends/cpu/peak.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>

#include "backends/cpu/dispatch.h"
#include "backends/cpu/tools.h"

namespace unicorn::cpu {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

}  // namespace

double measure_int8_peak(const KernelTable& kernels, ThreadPool& pool) {
  std::uint64_t rounds = 1000;
  double best = 0;
  for (int run = 0; run < 40; ++run) {
    std::atomic<std::uint64_t> done{0};
    const auto start = Clock::now();
    pool.run([&](std::size_t) { done += kernels.multiply_adds(rounds); });
    const double seconds = seconds_since(start);
    best = std::max(best, 2.0 * static_cast<double>(done.load()) / seconds);
    if (seconds < 0.002) rounds = std::min<std::uint64_t>(rounds * 8, std::uint64_t{1} << 26);
  }
  return best;
}

double measure_read_bandwidth(const KernelTable& kernels, ThreadPool& pool) {
  constexpr std::size_t kBytes = std::size_t{512} << 20, kHugePage = std::size_t{2} << 20;
  const std::unique_ptr<std::uint8_t, decltype(&std::free)> buffer(
      static_cast<std::uint8_t*>(std::aligned_alloc(kHugePage, kBytes)), &std::free);
  if (buffer == nullptr) return 0;
  static_cast<void>(::madvise(buffer.get(), kBytes, MADV_HUGEPAGE));  // as weights are allocated
  const auto part = [&](std::size_t member) { return slice_of(kBytes, kHugePage, member, pool.size()); };
  pool.run([&](std::size_t member) {
    const Slice s = part(member);
    std::fill(buffer.get() + s.begin, buffer.get() + s.end, std::uint8_t{1});
  });
  std::atomic<std::uint64_t> used{0};  // somebody wants the result, so the reads happen
  double best = 0;
  for (int pass = 0; pass < 6; ++pass) {
    const auto start = Clock::now();
    pool.run([&](std::size_t member) {
      const Slice s = part(member);
      used += kernels.read_bytes(buffer.get() + s.begin, s.end - s.begin);
    });
    best = std::max(best, static_cast<double>(kBytes) / seconds_since(start));
  }
  return best;
}

Result<CpuLimits> measure_limits(std::size_t n_threads) {
  UNICORN_ASSIGN(const KernelTable* const kernels, select_kernels());
  ThreadPool pool(n_threads > 0 ? n_threads : n_usable_cores());
  return CpuLimits{measure_int8_peak(*kernels, pool), measure_read_bandwidth(*kernels, pool)};
}

}  // namespace unicorn::cpu
