// KV blocks: who holds which. Blocks of one KV group are numbered 0 … n-1 in every layer of that group; a sequence holds
// them through one table per group, indexed by position / block_tokens. What lies inside a block is the backends' affair.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/backend.h"

namespace unicorn {

class KvPool {
 public:
  KvPool() = default;
  KvPool(const Plan& plan, const Limits& limits);

  std::size_t n_groups() const { return free_.size(); }
  std::size_t n_free(std::size_t group) const { return free_[group].size(); }
  BlockId take(std::size_t group);  // kNoBlock when none is free
  void give(std::size_t group, BlockId block);
  std::uint32_t window(std::size_t group) const { return windows_[group]; }
  std::uint32_t block_tokens() const { return block_tokens_; }

 private:
  std::vector<std::vector<BlockId>> free_;
  std::vector<std::uint32_t> windows_;
  std::uint32_t block_tokens_ = 32;
};

// Blocks each group needs so that n_sequences of n_ctx positions fit, prefilled at most max_rows at a time.
std::vector<std::uint32_t> kv_blocks_needed(const Plan& plan, std::uint32_t n_ctx, std::uint32_t max_rows,
                                            std::uint32_t n_sequences, std::uint32_t block_tokens);

// The block tables of one sequence.
class KvTables {
 public:
  explicit KvTables(KvPool& pool) : pool_(&pool), tables_(pool.n_groups()) {}
  KvTables(const KvTables&) = delete;
  KvTables& operator=(const KvTables&) = delete;
  ~KvTables() { truncate(0); }

  // Makes room for positions [0, n): gives back blocks that positions from `pos` on can no longer see, then takes new
  // ones. Error: context_full, when the pool has none left; what was taken stays.
  Status reserve(std::size_t pos, std::size_t n);

  // Can position n be computed from what is held? (Its windows must be whole.)
  bool can_resume_at(std::size_t n) const;

  void truncate(std::size_t n);  // gives back blocks that hold only positions ≥ n

  std::span<const std::span<const BlockId>> view();  // valid until the next change

 private:
  std::size_t first_seen(std::size_t group, std::size_t pos) const;

  KvPool* pool_;
  std::vector<std::vector<BlockId>> tables_;
  std::vector<std::span<const BlockId>> view_;
};

}  // namespace unicorn
