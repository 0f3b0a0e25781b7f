#include "plan/batch_rows.h"

#include <fmt/format.h>

#include <algorithm>

namespace unicorn {
namespace {

Error invalid(std::string message) { return Error{ErrorCode::invalid_argument, "batch: " + std::move(message)}; }

Status check_segment(const Plan& plan, const Limits& limits, const Segment& s) {
  const std::size_t end = std::size_t{s.pos} + s.n_rows;
  if (end > limits.max_positions)
    return invalid(fmt::format("position {} exceeds the {} compiled for", end - 1, limits.max_positions));
  if (s.kv.size() != plan.kv_groups.size())
    return invalid(
        fmt::format("segment has {} block tables, the plan has {} KV groups", s.kv.size(), plan.kv_groups.size()));
  if (!s.parent.empty() && s.parent.size() != s.n_rows) return invalid("draft tree length differs from the segment's");
  for (std::size_t i = 0; i < s.parent.size(); ++i)
    if (s.parent[i] < -1 || s.parent[i] >= static_cast<std::int32_t>(i))
      return invalid("draft tree parent out of order");
  for (std::size_t g = 0; g < plan.kv_groups.size(); ++g) {
    const std::uint32_t window = plan.kv_groups[g].window;
    const std::size_t first = window == 0 || s.pos + 1 <= window ? 0 : s.pos + 1 - window;
    for (std::size_t b = first / limits.kv_block_tokens; b * limits.kv_block_tokens < end; ++b) {
      if (b >= s.kv[g].size() || s.kv[g][b] == kNoBlock)
        return invalid(fmt::format("KV group {} has no block for position {}", g, b * limits.kv_block_tokens));
      if (s.kv[g][b] >= limits.kv_blocks[g])
        return invalid(
            fmt::format("KV group {}: block {} is outside the pool of {}", g, s.kv[g][b], limits.kv_blocks[g]));
    }
  }
  return Ok{};
}

}  // namespace

Result<BatchRows> place_rows(const Plan& plan, const Limits& limits, const Batch& batch) {
  if (batch.ids.size() > limits.max_rows)
    return invalid(fmt::format("{} rows, compiled for {}", batch.ids.size(), limits.max_rows));
  if (batch.output_rows.size() > limits.max_output_rows)
    return invalid(fmt::format("{} output rows, compiled for {}", batch.output_rows.size(), limits.max_output_rows));
  if (batch.segments.size() > limits.max_sequences)
    return invalid(fmt::format("{} sequences, compiled for {}", batch.segments.size(), limits.max_sequences));
  BatchRows rows;
  rows.all.reserve(batch.ids.size());
  for (std::uint32_t i = 0; i < batch.segments.size(); ++i) {
    const Segment& s = batch.segments[i];
    if (s.row != rows.all.size() || s.n_rows == 0 || s.row + std::size_t{s.n_rows} > batch.ids.size())
      return invalid("segments must cover the rows in order, none empty");
    UNICORN_TRY(check_segment(plan, limits, s));
    std::vector<std::uint32_t> depth(s.parent.size());
    for (std::uint32_t r = 0; r < s.n_rows; ++r) {
      std::uint32_t pos = s.pos + r;
      if (!s.parent.empty()) {
        depth[r] = s.parent[r] < 0 ? 0 : depth[static_cast<std::size_t>(s.parent[r])] + 1;
        pos = s.pos + depth[r];
      }
      rows.all.push_back({i, s.pos + r, pos});
    }
  }
  if (rows.all.size() != batch.ids.size()) return invalid("segments do not cover all rows");
  for (TokenId id : batch.ids)
    if (id < 0 || static_cast<std::uint32_t>(id) >= plan.n_vocab)
      return invalid(fmt::format("token id {} is outside the vocabulary of {}", id, plan.n_vocab));
  for (std::size_t i = 0; i < batch.output_rows.size(); ++i) {
    const std::uint32_t row = batch.output_rows[i];
    if (row >= rows.all.size() || (i > 0 && row <= batch.output_rows[i - 1]))
      return invalid("output rows must ascend and lie inside the batch");
    rows.output.push_back(rows.all[row]);
  }
  return rows;
}

bool sees_slot(const Segment& segment, const RowPlace& row, std::uint32_t slot) {
  if (slot < segment.pos || slot == row.slot) return true;
  if (slot > row.slot) return false;
  if (segment.parent.empty()) return true;
  for (auto at = static_cast<std::int32_t>(row.slot - segment.pos); at >= 0;
       at = segment.parent[static_cast<std::size_t>(at)])
    if (segment.pos + static_cast<std::uint32_t>(at) == slot) return true;
  return false;
}

}  // namespace unicorn
