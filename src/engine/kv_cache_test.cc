#include "engine/kv_cache.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace unicorn {
namespace {

Plan two_groups(std::uint32_t window) {
  Plan plan;
  plan.kv_groups = {{window}, {0}};
  return plan;
}

Limits limits_for(const Plan& plan, std::uint32_t n_ctx, std::uint32_t max_rows, std::uint32_t n_sequences) {
  Limits limits;
  limits.kv_block_tokens = 8;
  limits.kv_blocks = kv_blocks_needed(plan, n_ctx, max_rows, n_sequences, limits.kv_block_tokens);
  return limits;
}

TEST(KvTables, ASlidingGroupStaysBoundedForEveryChunking) {
  const Plan plan = two_groups(20);
  for (std::uint32_t max_rows : {1u, 3u, 8u, 13u, 64u}) {
    const Limits limits = limits_for(plan, 1000, max_rows, 1);
    KvPool pool(plan, limits);
    KvTables tables(pool);
    std::mt19937 random(max_rows);
    std::size_t pos = 0;
    while (pos < 1000) {
      const std::size_t n = std::min<std::size_t>(1000 - pos, 1 + random() % max_rows);
      ASSERT_TRUE(tables.reserve(pos, pos + n).ok())
          << "position " << pos << ", chunk " << n << " of at most " << max_rows;
      const auto view = tables.view();
      for (std::size_t row = pos; row < pos + n; ++row)
        for (std::size_t slot = row + 1 < 20 ? 0 : row + 1 - 20; slot <= row; ++slot)
          ASSERT_NE(view[0][slot / 8], kNoBlock);
      pos += n;
    }
    EXPECT_LE(limits.kv_blocks[0], (20 + max_rows) / 8 + 2);
  }
}

TEST(KvTables, NoBlockIsHeldTwiceAndAllComeBack) {
  const Plan plan = two_groups(16);
  const Limits limits = limits_for(plan, 64, 8, 4);
  KvPool pool(plan, limits);
  {
    std::vector<std::unique_ptr<KvTables>> tables;
    for (int i = 0; i < 4; ++i) tables.push_back(std::make_unique<KvTables>(pool));
    for (std::size_t pos = 0; pos < 64; pos += 8)
      for (auto& t : tables) ASSERT_TRUE(t->reserve(pos, pos + 8).ok());
    for (std::size_t g = 0; g < 2; ++g) {
      std::set<BlockId> seen;
      for (auto& t : tables)
        for (BlockId b : t->view()[g])
          if (b != kNoBlock) {
            EXPECT_TRUE(seen.insert(b).second);
          }
    }
  }
  EXPECT_EQ(pool.n_free(0), limits.kv_blocks[0]);
  EXPECT_EQ(pool.n_free(1), limits.kv_blocks[1]);
}

TEST(KvTables, AFullPoolIsToldAndNothingIsLost) {
  const Plan plan = two_groups(0);
  const Limits limits = limits_for(plan, 16, 8, 1);
  KvPool pool(plan, limits);
  KvTables tables(pool);
  EXPECT_TRUE(tables.reserve(0, 16).ok());
  const Status status = tables.reserve(16, 17);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::context_full);
  tables.truncate(0);
  EXPECT_TRUE(tables.reserve(0, 16).ok());
}

TEST(KvTables, ResumingNeedsTheWholeWindow) {
  const Plan plan = two_groups(16);
  const Limits limits = limits_for(plan, 256, 8, 1);
  KvPool pool(plan, limits);
  KvTables tables(pool);
  for (std::size_t pos = 0; pos < 128; pos += 8) ASSERT_TRUE(tables.reserve(pos, pos + 8).ok());
  EXPECT_TRUE(tables.can_resume_at(128));
  EXPECT_TRUE(tables.can_resume_at(120));
  EXPECT_FALSE(tables.can_resume_at(60)) << "the sliding rows before 60 are gone";
  EXPECT_TRUE(tables.can_resume_at(0));
}

}  // namespace
}  // namespace unicorn
