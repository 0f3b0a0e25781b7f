#include "plan/batch_rows.h"

#include <gtest/gtest.h>

namespace unicorn {
namespace {

struct Case {
  Plan plan;
  Limits limits;
  std::vector<BlockId> sliding, full;
  std::vector<std::span<const BlockId>> tables;
  std::vector<TokenId> ids;
  std::vector<std::uint32_t> outputs;
  std::vector<std::int32_t> parent;
  Segment segment;

  Case() {
    plan.n_vocab = 10;
    plan.kv_groups = {{8}, {0}};
    limits.max_rows = 8;
    limits.max_output_rows = 2;
    limits.max_positions = 32;
    limits.kv_block_tokens = 4;
    limits.kv_blocks = {4, 8};
    sliding = {kNoBlock, kNoBlock, 1, 2, 3};  // a window of 8 before position 16 begins at 9
    full = {0, 1, 2, 3, 4};
    ids = {1, 2, 3, 4};
    outputs = {3};
    segment.n_rows = 4;
    segment.pos = 16;
  }
  Result<BatchRows> place() {
    tables = {sliding, full};
    segment.kv = tables;
    segment.parent = parent;
    return place_rows(plan, limits, {{&segment, 1}, ids, outputs});
  }
};

TEST(PlaceRows, RowsGetTheirPositions) {
  const auto rows = Case().place();
  ASSERT_TRUE(rows.ok()) << rows.error().message;
  EXPECT_EQ(rows->all[2].slot, 18u);
  EXPECT_EQ(rows->all[2].pos, 18u);
  ASSERT_EQ(rows->output.size(), 1u);
  EXPECT_EQ(rows->output[0].pos, 19u);
}

TEST(PlaceRows, EveryBrokenBatchIsRefused) {
  const auto refuses = [](auto breaks, const char* what) {
    Case c;
    breaks(c);
    EXPECT_FALSE(c.place().ok()) << what;
  };
  refuses([](Case& c) { c.ids[0] = 10; }, "id beyond the vocabulary");
  refuses([](Case& c) { c.ids[0] = -1; }, "negative id");
  refuses([](Case& c) { c.ids.push_back(1); }, "a row without a segment");
  refuses([](Case& c) { c.segment.n_rows = 5; }, "a segment longer than the batch");
  refuses([](Case& c) { c.segment.n_rows = 0; }, "an empty segment");
  refuses([](Case& c) { c.segment.pos = 29; }, "positions beyond the limit");
  refuses([](Case& c) { c.outputs = {4}; }, "an output row beyond the batch");
  refuses([](Case& c) { c.outputs = {2, 2}; }, "output rows that do not ascend");
  refuses([](Case& c) { c.outputs = {0, 1, 2}; }, "too many output rows");
  refuses([](Case& c) { c.full[0] = kNoBlock; }, "a missing block in the full group");
  refuses([](Case& c) { c.sliding[2] = kNoBlock; }, "a missing block inside the window");
  refuses([](Case& c) { c.sliding[3] = 4; }, "a block outside the pool");
  refuses([](Case& c) { c.full.pop_back(); }, "a table that is too short");
  refuses([](Case& c) { c.parent = {-1, 0, 2, 0}; }, "a draft row that is its own parent");
  refuses([](Case& c) { c.limits.max_rows = 3; }, "too many rows");
}

TEST(SeesSlot, ADraftTreeSeesThePrefixAndItsAncestors) {
  Case c;
  c.parent = {-1, 0, 0, 2};
  const auto rows = c.place();
  ASSERT_TRUE(rows.ok());
  EXPECT_EQ(rows->all[2].pos, 17u) << "two children of one row share a position";
  EXPECT_EQ(rows->all[3].pos, 18u);
  const RowPlace& leaf = rows->all[3];
  EXPECT_TRUE(sees_slot(c.segment, leaf, 3));
  EXPECT_TRUE(sees_slot(c.segment, leaf, 16));
  EXPECT_FALSE(sees_slot(c.segment, leaf, 17)) << "a sibling of its parent";
  EXPECT_TRUE(sees_slot(c.segment, leaf, 18));
  EXPECT_TRUE(sees_slot(c.segment, leaf, 19));
}

}  // namespace
}  // namespace unicorn
