#include "core/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <vector>

namespace unicorn {
namespace {

TEST(ThreadPool, RunsEveryMemberOnce) {
  for (std::size_t n = 1; n <= 8; ++n) {
    ThreadPool pool(n);
    ASSERT_EQ(pool.size(), n);
    std::vector<int> calls(n, 0);  // plain ints: run() must order them before its return
    for (int i = 0; i < 200; ++i) pool.run([&](std::size_t member) { ++calls[member]; });
    EXPECT_EQ(calls, std::vector<int>(n, 200));
  }
}

TEST(ThreadPool, OfNoneHasOneMember) {
  ThreadPool pool(0);
  EXPECT_EQ(pool.size(), 1u);
  int calls = 0;
  pool.run([&](std::size_t) { ++calls; });
  EXPECT_EQ(calls, 1);
}

TEST(ThreadPool, BarrierSeparatesPhases) {
  // In each phase a member writes its own cell and then reads everybody's; plain ints, so that ThreadSanitizer sees a
  // barrier that orders nothing.
  for (std::size_t n = 1; n <= 8; ++n) {
    ThreadPool pool(n);
    std::vector<int> cells(n, 0);
    std::atomic<int> wrong{0};
    for (int round = 0; round < 5; ++round) {
      pool.run([&](std::size_t member) {
        for (int phase = 0; phase < 20; ++phase) {
          cells[member] = round * 100 + phase;
          pool.barrier();
          for (const int cell : cells)
            if (cell != round * 100 + phase) ++wrong;
          pool.barrier();
        }
      });
    }
    EXPECT_EQ(wrong, 0) << n;
  }
}

TEST(ThreadPool, AnOddNumberOfBarriersLeavesItReady) {
  ThreadPool pool(3);
  std::atomic<int> sum{0};
  for (int round = 0; round < 100; ++round)
    pool.run([&](std::size_t) {
      for (int i = 0; i < round % 4; ++i) pool.barrier();
      ++sum;
    });
  EXPECT_EQ(sum, 300);
}

TEST(ThreadPool, WakesFromSleep) {
  ThreadPool pool(4);
  std::atomic<int> sum{0};
  for (int i = 0; i < 20; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(i % 3));  // spinning, about to sleep, asleep
    pool.run([&](std::size_t) { ++sum; });
  }
  EXPECT_EQ(sum, 80);
}

TEST(ThreadPool, ComesAndGoes) {
  for (int i = 0; i < 100; ++i) {
    ThreadPool pool(static_cast<std::size_t>(1 + i % 8));
    if (i % 2 == 0) pool.run([](std::size_t) {});
  }
}

TEST(ThreadPool, PassesResultsFromJobToJob) {
  ThreadPool pool(5);
  std::vector<long> values(1000, 1);
  for (int round = 0; round < 20; ++round) {
    std::vector<long> next(values.size());
    pool.run([&](std::size_t member) {
      const Slice slice = slice_of(values.size(), 1, member, pool.size());
      for (std::size_t i = slice.begin; i < slice.end; ++i) next[i] = values[i] + values[values.size() - 1 - i];
    });
    values = next;
  }
  EXPECT_EQ(values, std::vector<long>(1000, 1 << 20));
}

TEST(SliceOf, CoversEverythingOnceInWholeGrains) {
  for (const std::size_t n : {0u, 1u, 31u, 32u, 33u, 100u, 4096u})
    for (const std::size_t grain : {1u, 7u, 32u, 5000u})
      for (std::size_t members = 1; members <= 9; ++members) {
        std::size_t end = 0, least = n, most = 0;
        for (std::size_t m = 0; m < members; ++m) {
          const Slice slice = slice_of(n, grain, m, members);
          ASSERT_EQ(slice.begin, end);
          ASSERT_LE(slice.begin, slice.end);
          ASSERT_TRUE(slice.end == n || slice.end % grain == 0);
          end = slice.end;
          const std::size_t grains = (slice.end - slice.begin + grain - 1) / grain;
          least = std::min(least, grains);
          most = std::max(most, grains);
        }
        ASSERT_EQ(end, n);
        ASSERT_LE(most, least + 1) << n << " " << grain << " " << members;
      }
}

TEST(UsableCores, AreAtLeastOne) {
  EXPECT_GE(n_usable_cores(), 1u);
  EXPECT_LE(n_usable_cores(), std::max(1u, std::thread::hardware_concurrency()));
}

}  // namespace
}  // namespace unicorn
