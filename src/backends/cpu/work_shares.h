// WorkShares: how members divide a task's pieces. Each begins with its own share, in order, so that it reads one run
// of memory; who is done helps the others. A core that is slower, or busy with something else, then holds nobody up.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace unicorn::cpu {

class WorkShares {
 public:
  explicit WorkShares(std::size_t n_members) : n_members_(n_members), slots_(std::make_unique<Slot[]>(n_members)) {}

  // Calls work(owner, piece) for pieces of task number `task` until none is left unclaimed; n_pieces(owner) is the size
  // of a share, below 2^24. Every member must call it for every task, and task numbers must grow from 1.
  template <class Size, class Work>
  void run(std::size_t member, std::uint64_t task, Size n_pieces, Work work) {
    for (std::size_t i = 0; i < n_members_; ++i) {
      const std::size_t owner = (member + i) % n_members_;
      const std::uint32_t n = n_pieces(owner);
      for (std::uint32_t piece; take(owner, task, n, piece);) work(owner, piece);
    }
  }

 private:
  static constexpr int kPieceBits = 24;

  // task << kPieceBits | pieces taken. A member leaves a task when it has seen every share of it used up; so a slot that
  // shows a later task holds nothing of this one.
  struct alignas(64) Slot {
    std::atomic<std::uint64_t> state{0};
  };

  bool take(std::size_t owner, std::uint64_t task, std::uint32_t n, std::uint32_t& piece) {
    std::atomic<std::uint64_t>& state = slots_[owner].state;
    std::uint64_t seen = state.load(std::memory_order_relaxed);
    for (;;) {
      const std::uint64_t at = seen >> kPieceBits;
      if (at > task) return false;
      piece = at == task ? static_cast<std::uint32_t>(seen & ((1u << kPieceBits) - 1)) : 0;
      if (piece >= n) return false;
      if (state.compare_exchange_weak(seen, task << kPieceBits | (piece + 1), std::memory_order_relaxed)) return true;
    }
  }

  std::size_t n_members_;
  std::unique_ptr<Slot[]> slots_;
};

}  // namespace unicorn::cpu
