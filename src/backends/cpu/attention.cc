#include "backends/cpu/attention.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace unicorn::cpu {
namespace {

constexpr std::size_t kTileQueries = 64;    // per tile: K and V are read once for all of them, q and acc fit the L2
constexpr std::uint32_t kChunkTokens = 256;
constexpr std::size_t kFewQueries = 8;      // below which reading K and V is the bound
constexpr std::size_t kUnitsPerMember = 4;  // enough for members to finish together
constexpr float kNone = -std::numeric_limits<float>::infinity();

std::size_t round_up(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

std::uint32_t chunk_tokens(const Limits& limits) {
  return limits.kv_block_tokens * std::max(1u, kChunkTokens / limits.kv_block_tokens);
}

std::uint32_t first_slot(const RowPlace& row, std::uint32_t window) {
  return window == 0 || row.pos + 1 <= window ? 0 : row.pos + 1 - window;
}

// A state of n queries: top[n], sum[n], acc[n][head_dim].
std::size_t state_floats(std::size_t n_queries, std::size_t head_dim) { return n_queries * (head_dim + 2); }

std::size_t ld_scores(std::size_t block_tokens) { return round_up(block_tokens, 16); }

// K and V rows in scratch: 64 bytes more than a power of two, or a column of values would fall into few cache sets.
std::size_t ld_kv(std::size_t head_dim) { return round_up(head_dim, 16) + 16; }

}  // namespace

std::size_t AttentionScratch::n_floats(std::size_t n_queries, std::size_t head_dim, std::size_t block_tokens) {
  const std::size_t keys = round_up(block_tokens, 4);
  return round_up(n_queries * head_dim, 16) + 2 * keys * ld_kv(head_dim) + n_queries * ld_scores(block_tokens) +
         2 * round_up(state_floats(n_queries, head_dim), 16);
}

AttentionScratch::AttentionScratch(float* memory, std::size_t n_queries, std::size_t head_dim, std::size_t block_tokens)
    : begin(n_queries), end(n_queries), hidden(n_queries * block_tokens) {
  const std::size_t keys = round_up(block_tokens, 4);
  q = memory;
  k = q + round_up(n_queries * head_dim, 16);
  v = k + keys * ld_kv(head_dim);
  scores = v + keys * ld_kv(head_dim);
  total = scores + n_queries * ld_scores(block_tokens);
  part = total + round_up(state_floats(n_queries, head_dim), 16);
}

std::size_t AttentionWork::max_queries(std::uint32_t group) { return std::max<std::size_t>(kTileQueries, group); }

void AttentionWork::plan(std::span<const RowPlace> rows, const Limits& limits, std::size_t n_members) {
  tiles_.clear();
  units_.clear();
  const std::size_t wanted = n_members == 1 ? 1 : kUnitsPerMember * n_members;
  const std::size_t largest = std::max<std::size_t>(1, kTileQueries / shape_.group);
  const std::size_t tile_rows = std::clamp<std::size_t>(rows.size() * shape_.n_kv_heads / wanted, 1, largest);
  const std::uint32_t chunk = chunk_tokens(limits);
  const auto n_rows = static_cast<std::uint32_t>(rows.size());
  std::size_t n_partials = 0;
  for (std::uint32_t row = 0; row < n_rows;) {
    std::uint32_t end = row + 1;
    while (end < n_rows && end - row < tile_rows && rows[end].segment == rows[row].segment) ++end;
    std::uint32_t low = first_slot(rows[row], shape_.window);
    for (std::uint32_t r = row + 1; r < end; ++r) low = std::min(low, first_slot(rows[r], shape_.window));
    const std::uint32_t first = low / chunk;
    tiles_.push_back({row, end - row, first, rows[end - 1].slot / chunk - first + 1, n_partials});
    n_partials += state_floats((end - row) * std::size_t{shape_.group}, shape_.head_dim) * shape_.n_kv_heads *
                  tiles_.back().n_chunks;
    row = end;
  }

  const bool split = n_members > 1 && tiles_.size() * shape_.n_kv_heads < wanted;
  for (std::size_t t = tiles_.size(); t-- > 0;)  // the last rows see the most: they go first
    for (std::uint32_t h = 0; h < shape_.n_kv_heads; ++h) {
      const Tile& tile = tiles_[t];
      const auto index = static_cast<std::uint32_t>(t);
      if (!split) {
        units_.push_back({index, h, tile.first_chunk, tile.n_chunks});
        continue;
      }
      for (std::uint32_t c = tile.n_chunks; c-- > 0;) units_.push_back({index, h, tile.first_chunk + c, 1});
    }
  if (!split) return;
  if (partials_.size() < n_partials) partials_.resize(n_partials);
  if (n_finished_ < tiles_.size() * shape_.n_kv_heads) {
    n_finished_ = tiles_.size() * shape_.n_kv_heads;
    finished_ = std::make_unique<std::atomic<std::uint32_t>[]>(n_finished_);
  }
}

void Attention::run_unit(const AttentionWork::Unit& unit, AttentionScratch& s, std::size_t member) const {
  const AttentionShape& shape = work.shape_;
  const AttentionWork::Tile& tile = work.tiles_[unit.tile];
  const std::size_t d = shape.head_dim, n_queries = tile.n_rows * std::size_t{shape.group};
  for (std::size_t r = 0; r < tile.n_rows; ++r)
    std::memcpy(s.q + r * shape.group * d, q.row(member, tile.first_row + r) + unit.kv_head * shape.group * d,
                shape.group * d * sizeof(float));

  if (unit.n_chunks == tile.n_chunks) {
    std::fill_n(s.total, n_queries, kNone);
    for (std::uint32_t c = 0; c < tile.n_chunks; ++c) {
      run_chunk(tile, unit.kv_head, tile.first_chunk + c, s, s.part);
      merge(s.total, s.part, n_queries);
    }
    finish(tile, unit.kv_head, s.total, member);
    return;
  }
  const std::size_t n_state = state_floats(n_queries, d);
  float* const states = work.partials_.data() + tile.partials + unit.kv_head * tile.n_chunks * n_state;
  run_chunk(tile, unit.kv_head, unit.first_chunk, s, states + (unit.first_chunk - tile.first_chunk) * n_state);
  std::atomic<std::uint32_t>& finished = work.finished_[unit.tile * std::size_t{shape.n_kv_heads} + unit.kv_head];
  if (finished.fetch_add(1, std::memory_order_acq_rel) + 1 < tile.n_chunks) return;
  finished.store(0, std::memory_order_relaxed);
  std::fill_n(s.total, n_queries, kNone);
  for (std::uint32_t c = 0; c < tile.n_chunks; ++c) merge(s.total, states + c * n_state, n_queries);
  finish(tile, unit.kv_head, s.total, member);
}

void Attention::run_chunk(const AttentionWork::Tile& tile, std::uint32_t kv_head, std::uint32_t chunk,
                          AttentionScratch& s, float* state) const {
  const AttentionShape& shape = work.shape_;
  const std::size_t d = shape.head_dim, ld = ld_kv(d), n_queries = tile.n_rows * std::size_t{shape.group};
  const std::uint32_t block_tokens = limits.kv_block_tokens, per_chunk = chunk_tokens(limits) / block_tokens;
  const std::size_t n_row_bytes = row_bytes(limits.kv_dtype, d);
  const std::size_t half = std::size_t{shape.n_kv_heads} * block_tokens * n_row_bytes;
  const RowPlace* places = rows.data() + tile.first_row;
  const Segment& segment = batch.segments[places[0].segment];
  std::fill_n(state, n_queries, kNone);
  std::fill_n(state + n_queries, n_queries * (d + 1), 0.0f);

  const auto block_at = [&](std::uint32_t slot) {
    return kv + std::size_t{block_of(segment, layer.group, slot, limits)} * 2 * half +
           kv_head * std::size_t{block_tokens} * n_row_bytes;
  };
  const std::uint32_t last_block = std::min((chunk + 1) * per_chunk - 1, places[tile.n_rows - 1].slot / block_tokens);
  for (std::uint32_t b = chunk * per_chunk; b <= last_block; ++b) {
    const std::uint32_t base = b * block_tokens;
    std::uint32_t low = block_tokens, high = 0;  // keys of this block that any row sees
    const auto place_in_block = [&](std::uint32_t slot) { return std::clamp(slot, base, base + block_tokens) - base; };
    for (std::size_t r = 0; r < tile.n_rows; ++r) {
      const std::uint32_t from = place_in_block(first_slot(places[r], shape.window));
      const std::uint32_t to = place_in_block(places[r].slot + 1);
      if (from >= to) continue;
      low = std::min(low, from);
      high = std::max(high, to);
    }
    if (low >= high) continue;
    const bool tree = !segment.parent.empty() && base + high > segment.pos;
    for (std::size_t r = 0; r < tile.n_rows; ++r) {
      const std::uint32_t from = place_in_block(first_slot(places[r], shape.window));
      const std::uint32_t to = place_in_block(places[r].slot + 1);
      for (std::size_t g = 0; g < shape.group; ++g) {
        const std::size_t j = r * shape.group + g;
        s.begin[j] = static_cast<std::uint16_t>(from < to ? from : low);
        s.end[j] = static_cast<std::uint16_t>(from < to ? to : low);
        if (tree)
          for (std::uint32_t t = from; t < to; ++t)
            s.hidden[j * block_tokens + t] = sees_slot(segment, places[r], base + t) ? 0 : 1;
      }
    }

    const std::byte* block = block_at(base);
    const std::size_t first_key = low / 4 * 4, end_key = round_up(high, 4);  // scores are taken four keys at a time
    // What few queries do with a block takes no longer than reading it: the next one is asked for row by row meanwhile.
    const std::byte* next = n_queries <= kFewQueries && b < last_block ? block_at(base + block_tokens) : nullptr;
    const auto ask = [&](std::size_t offset) {
      if (next == nullptr) return;
      for (std::size_t i = 0; i < n_row_bytes; i += 64) __builtin_prefetch(next + offset + i);
    };
    for (std::size_t t = first_key; t < high; ++t) {
      ask(t * n_row_bytes);
      kernels.kv_load(limits.kv_dtype, block + t * n_row_bytes, s.k + t * ld, d);
    }
    for (std::size_t t = high; t < end_key; ++t) std::fill_n(s.k + t * ld, d, 0.0f);
    for (std::size_t t = low; t < high; ++t) {
      ask(half + t * n_row_bytes);
      kernels.kv_load(limits.kv_dtype, block + half + t * n_row_bytes, s.v + t * ld, d);
    }
    kernels.attention_block({.q = s.q,
                             .ldq = d,
                             .n_queries = n_queries,
                             .k = s.k,
                             .v = s.v,
                             .ld_kv = ld,
                             .n_keys = block_tokens,
                             .head_dim = d,
                             .scale = scale,
                             .begin = s.begin.data(),
                             .end = s.end.data(),
                             .hidden = tree ? s.hidden.data() : nullptr,
                             .ld_hidden = block_tokens,
                             .scores = s.scores,
                             .ld_scores = ld_scores(block_tokens),
                             .top = state,
                             .sum = state + n_queries,
                             .acc = state + 2 * n_queries});
  }
}

void Attention::merge(float* total, const float* part, std::size_t n_queries) const {
  const std::size_t d = work.shape_.head_dim;
  for (std::size_t j = 0; j < n_queries; ++j)
    kernels.attention_merge(total + 2 * n_queries + j * d, total + j, total + n_queries + j,
                            part + 2 * n_queries + j * d, part[j], part[n_queries + j], d);
}

void Attention::finish(const AttentionWork::Tile& tile, std::uint32_t kv_head, const float* total,
                       std::size_t member) const {
  const AttentionShape& shape = work.shape_;
  const std::size_t d = shape.head_dim, n_queries = tile.n_rows * std::size_t{shape.group};
  for (std::size_t j = 0; j < n_queries; ++j)
    kernels.attention_finish(
        total + 2 * n_queries + j * d, total[n_queries + j],
        out.row(member, tile.first_row + j / shape.group) + (kv_head * shape.group + j % shape.group) * d, d);
}

}  // namespace unicorn::cpu
