// Attention with an online softmax (arXiv 2112.05682, 2205.14135): one KV block (a few dozen keys of one kv head, in
// f32) against a tile of queries.
//   attention_block   s = q·k·scale for the keys a query sees, then per query with its running top, sum and acc:
//                       t = max(top, max s); sum = sum·e^(top-t) + Σ e^(s-t); acc = acc·e^(top-t) + Σ e^(s-t)·v
//   attention_merge   folds the state of a later run of keys into that of earlier ones
//   attention_finish  out = acc / sum
//
// The same row, the same bits: q·k sums kLanes chains over head_dim and folds them in one fixed tree; acc takes the
// keys of a block in ascending order; a masked key has weight 0, which changes nothing. Neither the number of queries
// in the tile nor their neighbours' masks enter. (Caches hold no infinities, kv_rows.inl.)
//
// Bound by multiply-adds when the tile has many queries, else by reading K and V. 2 × 4 (AVX2) or 4 × 4 (AVX-512) sums
// per pass keep both FMA units busy with under one load per FMA. Sixteen keys, or four registers of columns of all
// values, stay in the L1 cache while all queries pass by: taken query by query, a block of 32 KB came from the L2 each
// time, whose 32 bytes a cycle halved the speed (56 of 112 GFLOP/s on Zen 4 with AVX2).
#pragma once

namespace unicorn::cpu::UNICORN_CPU_ISA {
namespace {

inline constexpr std::size_t kKeyTile = 16;

// s[j][0..4) = q_j · k_0…3. kQueries ≤ kAttentionQueries.
template <std::size_t kQueries>
UNICORN_INLINE void dot_keys(const float* q, std::size_t ldq, const float* k, std::size_t ldk, std::size_t d, float* s,
                             std::size_t lds) {
  Vec acc[kQueries][4];
  for (std::size_t j = 0; j < kQueries; ++j)
    for (std::size_t t = 0; t < 4; ++t) acc[j][t] = zero();
  const auto step = [&](std::size_t i, auto part) __attribute__((always_inline)) {
    Vec key[4];
    for (std::size_t t = 0; t < 4; ++t) key[t] = in_register(load(k + t * ldk + i, part));
    for (std::size_t j = 0; j < kQueries; ++j) {
      const Vec query = load(q + j * ldq + i, part);
      for (std::size_t t = 0; t < 4; ++t) acc[j][t] = fma(query, key[t], acc[j][t]);
    }
  };
  std::size_t i = 0;
  for (; i + kLanes <= d; i += kLanes) step(i, Whole{});
  if (i < d) step(i, Part{d - i});
  for (std::size_t j = 0; j < kQueries; ++j) reduce_add4(acc[j][0], acc[j][1], acc[j][2], acc[j][3], s + j * lds);
}

// acc_j[c…] += Σ_t p[j][t] · v_t[c…] for kColumns registers of columns, t in [begin, end).
template <std::size_t kQueries, std::size_t kColumns, class W>
UNICORN_INLINE void add_values(const float* p, std::size_t ldp, const float* v, std::size_t ldv, std::size_t begin,
                               std::size_t end, float* acc, std::size_t ldacc, W part) {
  Vec sum[kQueries][kColumns];
  for (std::size_t j = 0; j < kQueries; ++j)
    for (std::size_t c = 0; c < kColumns; ++c) sum[j][c] = load(acc + j * ldacc + c * kLanes, part);
  for (std::size_t t = begin; t < end; ++t) {
    Vec value[kColumns];
    for (std::size_t c = 0; c < kColumns; ++c) value[c] = in_register(load(v + t * ldv + c * kLanes, part));
    for (std::size_t j = 0; j < kQueries; ++j) {
      const Vec weight = set1(p[j * ldp + t]);
      for (std::size_t c = 0; c < kColumns; ++c) sum[j][c] = fma(weight, value[c], sum[j][c]);
    }
  }
  for (std::size_t j = 0; j < kQueries; ++j)
    for (std::size_t c = 0; c < kColumns; ++c) store(acc + j * ldacc + c * kLanes, sum[j][c], part);
}

// The keys that any of the queries [first, first + n) sees.
struct KeyRange {
  std::size_t begin, end;
};
UNICORN_INLINE KeyRange seen_keys(const AttentionArgs& a, std::size_t first, std::size_t n) {
  KeyRange r{a.begin[first], a.end[first]};
  for (std::size_t j = first + 1; j < first + n; ++j) {
    r.begin = a.begin[j] < r.begin ? a.begin[j] : r.begin;
    r.end = a.end[j] > r.end ? a.end[j] : r.end;
  }
  return r;
}

template <std::size_t kQueries>
UNICORN_INLINE void dot_tile(const AttentionArgs& a, std::size_t first, std::size_t tile) {
  const KeyRange r = seen_keys(a, first, kQueries);
  const std::size_t begin = r.begin / 4 * 4 > tile ? r.begin / 4 * 4 : tile;
  const std::size_t end = r.end < tile + kKeyTile ? r.end : tile + kKeyTile;
  for (std::size_t t = begin; t < end; t += 4)
    dot_keys<kQueries>(a.q + first * a.ldq, a.ldq, a.k + t * a.ld_kv, a.ld_kv, a.head_dim,
                       a.scores + first * a.ld_scores + t, a.ld_scores);
}

template <std::size_t kQueries, std::size_t kColumns, class W>
UNICORN_INLINE void value_tile(const AttentionArgs& a, std::size_t first, std::size_t c, W part) {
  const KeyRange r = seen_keys(a, first, kQueries);
  if (r.begin < r.end)
    add_values<kQueries, kColumns>(a.scores + first * a.ld_scores, a.ld_scores, a.v + c, a.ld_kv, r.begin, r.end,
                                   a.acc + first * a.head_dim + c, a.head_dim, part);
}

template <std::size_t kColumns, class W>
UNICORN_INLINE void value_tiles(const AttentionArgs& a, std::size_t c, W part) {
  std::size_t j = 0;
  for (; j + kAttentionQueries <= a.n_queries; j += kAttentionQueries)
    value_tile<kAttentionQueries, kColumns>(a, j, c, part);
  for (; j < a.n_queries; ++j) value_tile<1, kColumns>(a, j, c, part);
}

UNICORN_INLINE void scale_acc(float* acc, float factor, std::size_t d) {
  const Vec f = set1(factor);
  for_lanes(d, [=](std::size_t i, auto t) { store(acc + i, load(acc + i, t) * f, t); });
}

UNICORN_INLINE float exp_of(float x) {
  float out[kLanes];
  store(out, exp(set1(x)));
  return out[0];
}

// Scores of query j → weights, in place; updates its top, sum and acc. Leaves zeros where it sees nothing.
UNICORN_INLINE void softmax_row(const AttentionArgs& a, std::size_t j, std::size_t n_padded) {
  float* s = a.scores + j * a.ld_scores;
  const std::size_t begin = a.begin[j], end = a.end[j];
  const std::uint8_t* hidden = a.hidden == nullptr ? nullptr : a.hidden + j * a.ld_hidden;
  const float none = -__builtin_inff();
  for (std::size_t t = 0; t < begin; ++t) s[t] = none;
  for (std::size_t t = end; t < n_padded; ++t) s[t] = none;
  if (hidden != nullptr)
    for (std::size_t t = begin; t < end; ++t)
      if (hidden[t] != 0) s[t] = none;

  Vec best = set1(none);
  const Vec scale = set1(a.scale);
  for (std::size_t t = 0; t < n_padded; t += kLanes) {
    const Vec v = load(s + t) * scale;
    store(s + t, v);
    best = max(best, v);
  }
  float top = reduce_max(best);
  if (top == none) {  // sees no key of this block
    for (std::size_t t = 0; t < n_padded; t += kLanes) store(s + t, zero());
    return;
  }
  top = a.top[j] > top ? a.top[j] : top;
  if (a.top[j] != top) {
    const float factor = exp_of(a.top[j] - top);
    a.sum[j] *= factor;
    scale_acc(a.acc + j * a.head_dim, factor, a.head_dim);
    a.top[j] = top;
  }
  const Vec shift = set1(top);
  Vec sum = zero();
  for (std::size_t t = 0; t < n_padded; t += kLanes) {
    const Vec w = exp(load(s + t) - shift);
    store(s + t, w);
    sum = sum + w;
  }
  a.sum[j] += reduce_add(sum);
}

void attention_block(const AttentionArgs& a) {
  const std::size_t n_padded = (a.n_keys + kLanes - 1) / kLanes * kLanes, d = a.head_dim;
  for (std::size_t tile = 0; tile < a.n_keys; tile += kKeyTile) {
    std::size_t j = 0;
    for (; j + kAttentionQueries <= a.n_queries; j += kAttentionQueries) dot_tile<kAttentionQueries>(a, j, tile);
    for (; j < a.n_queries; ++j) dot_tile<1>(a, j, tile);
  }
  for (std::size_t j = 0; j < a.n_queries; ++j) softmax_row(a, j, n_padded);
  std::size_t c = 0;
  for (; c + kAttentionColumns * kLanes <= d; c += kAttentionColumns * kLanes)
    value_tiles<kAttentionColumns>(a, c, Whole{});
  for (; c + kLanes <= d; c += kLanes) value_tiles<1>(a, c, Whole{});
  if (c < d) value_tiles<1>(a, c, Part{d - c});
}

void attention_merge(float* acc, float* top, float* sum, const float* later_acc, float later_top, float later_sum,
                     std::size_t d) {
  const float none = -__builtin_inff();
  if (later_top == none) return;
  if (*top == none) {
    *top = later_top;
    *sum = later_sum;
    for_lanes(d, [=](std::size_t i, auto t) { store(acc + i, load(later_acc + i, t), t); });
    return;
  }
  const float new_top = later_top > *top ? later_top : *top;
  const float factor = exp_of(*top - new_top), later_factor = exp_of(later_top - new_top);
  *top = new_top;
  *sum = *sum * factor + later_sum * later_factor;
  const Vec f = set1(factor), g = set1(later_factor);
  for_lanes(d, [=](std::size_t i, auto t) { store(acc + i, fma(load(later_acc + i, t), g, load(acc + i, t) * f), t); });
}

void attention_finish(const float* acc, float sum, float* out, std::size_t d) {
  const Vec inverse = set1(1.0f / sum);
  for_lanes(d, [=](std::size_t i, auto t) { store(out + i, load(acc + i, t) * inverse, t); });
}

}  // namespace
}  // namespace unicorn::cpu::UNICORN_CPU_ISA
