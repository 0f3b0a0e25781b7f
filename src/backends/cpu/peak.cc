#include "backends/cpu/peak.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>

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

double measure_read_bandwidth(ThreadPool& pool) {
  constexpr std::size_t kBytes = std::size_t{512} << 20;
  constexpr std::size_t kLine = 64;
  const std::unique_ptr<std::byte, decltype(&std::free)> buffer(
      static_cast<std::byte*>(std::aligned_alloc(std::size_t{2} << 20, kBytes)), &std::free);
  if (buffer == nullptr) return 0;
  const auto part = [&](std::size_t member) { return slice_of(kBytes, 4096, member, pool.size()); };
  pool.run([&](std::size_t member) {
    const Slice s = part(member);
    std::fill(buffer.get() + s.begin, buffer.get() + s.end, std::byte{1});
  });
  std::atomic<std::uint64_t> used{0};  // somebody wants the sums, so the reads happen
  double best = 0;
  for (int pass = 0; pass < 6; ++pass) {
    const auto start = Clock::now();
    pool.run([&](std::size_t member) {
      const Slice s = part(member);
      const auto* words = reinterpret_cast<const std::uint64_t*>(buffer.get() + s.begin);
      const auto* end = reinterpret_cast<const std::uint64_t*>(buffer.get() + s.end);
      std::uint64_t sums[8] = {};
      for (; words < end; words += kLine / sizeof *words) {
#if defined(__GNUC__)
        __builtin_prefetch(words + 4096 / sizeof *words);
#endif
        for (std::size_t i = 0; i < 8; ++i) sums[i] += words[i];
      }
      std::uint64_t sum = 0;
      for (const std::uint64_t s8 : sums) sum ^= s8;
      used += sum;
    });
    best = std::max(best, static_cast<double>(kBytes) / seconds_since(start));
  }
  return best;
}

}  // namespace unicorn::cpu
