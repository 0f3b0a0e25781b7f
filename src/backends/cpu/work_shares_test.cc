#include "backends/cpu/work_shares.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "core/thread_pool.h"

namespace unicorn::cpu {
namespace {

TEST(WorkShares, EveryPieceOfEveryTaskIsDoneOnce) {
  constexpr std::size_t kMembers = 4;
  constexpr std::uint32_t kTasks = 500;
  ThreadPool pool(kMembers);
  WorkShares shares(kMembers);
  // Uneven shares, empty ones among them.
  const auto n_pieces = [](std::uint32_t task, std::size_t owner) {
    return static_cast<std::uint32_t>((task * 7 + owner * 13) % 9);
  };
  std::vector<std::vector<std::atomic<int>>> done;
  for (std::uint32_t task = 0; task < kTasks; ++task) done.emplace_back(kMembers * 9);
  pool.run([&](std::size_t member) {
    for (std::uint32_t task = 0; task < kTasks; ++task)
      shares.run(
          member, task + 1, [&](std::size_t owner) { return n_pieces(task, owner); },
          [&](std::size_t owner, std::uint32_t piece) { done[task][owner * 9 + piece].fetch_add(1); });
  });
  for (std::uint32_t task = 0; task < kTasks; ++task)
    for (std::size_t owner = 0; owner < kMembers; ++owner)
      for (std::uint32_t piece = 0; piece < 9; ++piece)
        ASSERT_EQ(done[task][owner * 9 + piece].load(), piece < n_pieces(task, owner) ? 1 : 0)
            << task << " " << owner << " " << piece;
}

TEST(WorkShares, TheOthersDoWhatASleeperLeaves) {
  ThreadPool pool(2);
  WorkShares shares(2);
  std::atomic<int> by_first{0}, by_second{0};
  std::atomic<bool> first_is_done{false};
  pool.run([&](std::size_t member) {
    while (member == 1 && !first_is_done) std::this_thread::yield();
    shares.run(
        member, 1, [](std::size_t) { return 10u; },
        [&](std::size_t, std::uint32_t) { ++(member == 0 ? by_first : by_second); });
    if (member == 0) first_is_done = true;
  });
  EXPECT_EQ(by_first, 20);
  EXPECT_EQ(by_second, 0);
}

}  // namespace
}  // namespace unicorn::cpu
