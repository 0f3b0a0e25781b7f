#include "engine/kv_cache.h"

#include <fmt/format.h>

#include <algorithm>

namespace unicorn {

KvPool::KvPool(const Plan& plan, const Limits& limits)
    : free_(plan.kv_groups.size()), block_tokens_(limits.kv_block_tokens) {
  for (std::size_t g = 0; g < free_.size(); ++g) {
    windows_.push_back(plan.kv_groups[g].window);
    for (std::uint32_t b = limits.kv_blocks[g]; b-- > 0;) free_[g].push_back(b);
  }
}

BlockId KvPool::take(std::size_t group) {
  if (free_[group].empty()) return kNoBlock;
  const BlockId block = free_[group].back();
  free_[group].pop_back();
  return block;
}

void KvPool::give(std::size_t group, BlockId block) { free_[group].push_back(block); }

std::vector<std::uint32_t> kv_blocks_needed(const Plan& plan, std::uint32_t n_ctx, std::uint32_t max_rows,
                                            std::uint32_t n_sequences, std::uint32_t block_tokens) {
  std::vector<std::uint32_t> blocks;
  for (const KvGroup& group : plan.kv_groups) {
    // A chunk of max_rows sees a window before its first row; neither end need fall on a block's border.
    const std::uint64_t whole = (std::uint64_t{n_ctx} + block_tokens - 1) / block_tokens;
    const std::uint64_t bounded = (std::uint64_t{group.window} + max_rows + block_tokens - 1) / block_tokens + 1;
    blocks.push_back(static_cast<std::uint32_t>((group.window == 0 ? whole : std::min(whole, bounded)) * n_sequences));
  }
  return blocks;
}

std::size_t KvTables::first_seen(std::size_t group, std::size_t pos) const {
  const std::size_t window = pool_->window(group);
  return window == 0 || pos + 1 <= window ? 0 : pos + 1 - window;
}

Status KvTables::reserve(std::size_t pos, std::size_t n) {
  const std::size_t tokens = pool_->block_tokens();
  for (std::size_t g = 0; g < tables_.size(); ++g) {
    std::vector<BlockId>& table = tables_[g];
    const std::size_t first_block = first_seen(g, pos) / tokens;
    for (std::size_t b = 0; b < std::min(first_block, table.size()); ++b)
      if (table[b] != kNoBlock) {
        pool_->give(g, table[b]);
        table[b] = kNoBlock;
      }
    while (table.size() * tokens < n) {
      if (table.size() < first_block) {
        table.push_back(kNoBlock);
        continue;
      }
      table.push_back(kNoBlock);  // first, so that no block is lost when there is no memory for the table
      table.back() = pool_->take(g);
      if (table.back() != kNoBlock) continue;
      table.pop_back();
      return Error{ErrorCode::context_full, fmt::format("the KV cache is full at position {}", table.size() * tokens)};
    }
  }
  return Ok{};
}

bool KvTables::can_resume_at(std::size_t n) const {
  const std::size_t tokens = pool_->block_tokens();
  for (std::size_t g = 0; g < tables_.size(); ++g)
    for (std::size_t b = first_seen(g, n) / tokens; b * tokens < n; ++b)
      if (b >= tables_[g].size() || tables_[g][b] == kNoBlock) return false;
  return true;
}

void KvTables::truncate(std::size_t n) {
  const std::size_t keep = (n + pool_->block_tokens() - 1) / pool_->block_tokens();
  for (std::size_t g = 0; g < tables_.size(); ++g)
    while (tables_[g].size() > keep) {
      if (tables_[g].back() != kNoBlock) pool_->give(g, tables_[g].back());
      tables_[g].pop_back();
    }
}

std::span<const std::span<const BlockId>> KvTables::view() {
  view_.assign(tables_.begin(), tables_.end());
  return view_;
}

}  // namespace unicorn
