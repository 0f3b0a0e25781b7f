// matmul_rows for the dtypes an FFN's `up` usually has: y[j] = W[rows[j]] · x, m = 1, Layout::rows.
//   w  rows as a file holds them: q4_0 { f16 d; u8 qs[16] }, q8_0 { f16 d; i8 qs[32] }, q4_k (quant/blocks.h)
//   x  ActivationBlocks of one row, y  f32[n_rows]
// A sparse layer keeps one row in twenty, so rows are far apart: eight are worked on at once, lane r for row r, while
// the lines of the next eight are asked for, a few per block. A block's 32 products are summed in a register of the
// row, eight such registers are folded into one of eight sums (exact), and the float part is matmul_quantised.inl's
// expression. (By way of the tiled kernel's transposed units a row took 1.5 us on Zen 4, longer than all 8,192 rows of
// the dense product together.)
#pragma once

#include "backends/cpu/packed_format.h"
#include "quant/blocks.h"

#if defined(__AVX2__)

namespace unicorn::cpu {
namespace {

inline constexpr std::size_t kRowsAtOnce = 8;

// Eight partial sums of Σ u·x, u unsigned, x signed. Without a dot instruction u ≤ 127.
[[gnu::always_inline]] inline __m256i dot_unsigned(__m256i u, __m256i x) {
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
  return _mm256_dpbusd_epi32(_mm256_setzero_si256(), u, x);
#elif defined(__AVXVNNI__)
  return _mm256_dpbusd_avx_epi32(_mm256_setzero_si256(), u, x);
#else
  return _mm256_madd_epi16(_mm256_maddubs_epi16(u, x), _mm256_set1_epi16(1));
#endif
}

// Lane r: the sum of v[r]'s lanes.
[[gnu::always_inline]] inline __m256i fold_eight(const __m256i* v) {
  const __m256i a = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
  const __m256i b = _mm256_hadd_epi32(_mm256_hadd_epi32(v[4], v[5]), _mm256_hadd_epi32(v[6], v[7]));
  return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
}

[[gnu::always_inline]] inline __m256i load_32(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}

// The f16 at `offset` of each row.
[[gnu::always_inline]] inline __m256 gather_f16(const std::uint8_t* const* rows, std::size_t offset) {
  alignas(16) std::uint16_t bits[kRowsAtOnce];
  UNICORN_UNROLL for (std::size_t r = 0; r < kRowsAtOnce; ++r) __builtin_memcpy(bits + r, rows[r] + offset, 2);
  __m128i v = _mm_cvtsi32_si128(bits[0]);
  v = _mm_insert_epi16(v, bits[1], 1);
  v = _mm_insert_epi16(v, bits[2], 2);
  v = _mm_insert_epi16(v, bits[3], 3);
  v = _mm_insert_epi16(v, bits[4], 4);
  v = _mm_insert_epi16(v, bits[5], 5);
  v = _mm_insert_epi16(v, bits[6], 6);
  v = _mm_insert_epi16(v, bits[7], 7);
  return _mm256_cvtph_ps(v);
}

// Asks for the lines of the next rows, `step` of them at a time.
struct NextRows {
  const std::uint8_t* const* rows;
  std::size_t n_lines, row = 0, line = 0;

  [[gnu::always_inline]] void ask(std::size_t step) {
    for (std::size_t i = 0; i < step && row < kRowsAtOnce; ++i) {
      _mm_prefetch(reinterpret_cast<const char*>(rows[row] + 64 * line), _MM_HINT_T0);
      if (++line == n_lines) {
        line = 0;
        ++row;
      }
    }
  }
};

// The sums of rows[0 … 8) over all k: q4_0, q8_0.
template <DType D>
[[gnu::always_inline]] inline __m256 dot_rows_of_32(const std::uint8_t* const* rows, const ActivationBlock* x,
                                                    std::size_t k, NextRows next, std::size_t ask) {
  constexpr bool kNibbles = D == DType::q4_0;
  constexpr std::size_t kBytes = kNibbles ? sizeof(BlockQ4_0) : sizeof(BlockQ8_0);
  __m256 acc = _mm256_setzero_ps();
  for (std::size_t b = 0; b < k / kBlock; ++b) {
    const std::size_t at = b * kBytes;
    next.ask(ask);
    const __m256i xq = load_32(x[b].q);
    __m256i sums[kRowsAtOnce];
    UNICORN_UNROLL for (std::size_t r = 0; r < kRowsAtOnce; ++r) {
      if constexpr (kNibbles) {
        const __m128i bytes = _mm_loadu_si128(static_cast<const __m128i*>(static_cast<const void*>(rows[r] + at + 2)));
        const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(bytes), _mm_srli_epi16(bytes, 4), 1);
        sums[r] = dot_unsigned(_mm256_and_si256(both, _mm256_set1_epi8(15)), xq);
      } else {
        const __m256i w = load_32(rows[r] + at + 2);
        if constexpr (V::kHasDot)
          sums[r] = dot_unsigned(_mm256_xor_si256(w, _mm256_set1_epi8(-128)), xq);
        else  // |w| · (sign(w)·x): 2 · 128 · 127 fits 16 bits
          sums[r] = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(xq, w)),
                                      _mm256_set1_epi16(1));
      }
    }
    constexpr int kZero = kNibbles ? 8 : V::kHasDot ? 128 : 0;
    const __m256i d = _mm256_add_epi32(fold_eight(sums), _mm256_set1_epi32(kZero * x[b].neg));
    const __m256 t = _mm256_mul_ps(gather_f16(rows, at), _mm256_cvtepi32_ps(d));
    acc = _mm256_fmadd_ps(_mm256_set1_ps(x[b].scale), t, acc);
  }
  return acc;
}

// The 6-bit scales and mins of one super-block (drawn at unpack_scale_min), a byte each: sub-blocks 0 … 7.
struct ScaleBytes {
  std::uint64_t scales, mins;
};
[[gnu::always_inline]] inline ScaleBytes unpack_scale_bytes(const std::uint8_t* p) {
  std::uint32_t u[3];
  __builtin_memcpy(u, p, 12);
  const std::uint64_t high_scales = (u[2] & 0x0f0f0f0fu) | (u[0] >> 2 & 0x30303030u);
  const std::uint64_t high_mins = (u[2] >> 4 & 0x0f0f0f0fu) | (u[1] >> 2 & 0x30303030u);
  return {(u[0] & 0x3f3f3f3fu) | high_scales << 32, (u[1] & 0x3f3f3f3fu) | high_mins << 32};
}

// Eight rows of eight bytes → for each byte its eight rows: out[8s + r].
[[gnu::always_inline]] inline void transpose_bytes(const std::uint64_t* rows, std::uint8_t* out) {
  __m128i v[kRowsAtOnce];
  UNICORN_UNROLL for (std::size_t r = 0; r < kRowsAtOnce; ++r) v[r] =
      _mm_cvtsi64_si128(static_cast<long long>(rows[r]));
  const __m128i a = _mm_unpacklo_epi8(v[0], v[1]), b = _mm_unpacklo_epi8(v[2], v[3]);
  const __m128i c = _mm_unpacklo_epi8(v[4], v[5]), d = _mm_unpacklo_epi8(v[6], v[7]);
  const __m128i ab = _mm_unpacklo_epi16(a, b), cd = _mm_unpacklo_epi16(c, d);
  const __m128i ab_high = _mm_unpackhi_epi16(a, b), cd_high = _mm_unpackhi_epi16(c, d);
  auto* to = static_cast<__m128i*>(static_cast<void*>(out));
  _mm_storeu_si128(to, _mm_unpacklo_epi32(ab, cd));
  _mm_storeu_si128(to + 1, _mm_unpackhi_epi32(ab, cd));
  _mm_storeu_si128(to + 2, _mm_unpacklo_epi32(ab_high, cd_high));
  _mm_storeu_si128(to + 3, _mm_unpackhi_epi32(ab_high, cd_high));
}

[[gnu::always_inline]] inline __m256 dot_rows_of_q4_k(const std::uint8_t* const* rows, const ActivationBlock* x,
                                                      std::size_t k, NextRows next, std::size_t ask) {
  __m256 acc = _mm256_setzero_ps();
  const auto bytes_at = [](const std::uint8_t* p) __attribute__((always_inline)) {
    return _mm256_cvtepi32_ps(
        _mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(static_cast<const void*>(p)))));
  };
  for (std::size_t super = 0; super < k / kSuperBlock; ++super) {
    const std::size_t at = super * sizeof(BlockQ4K);
    std::uint64_t scale_rows[kRowsAtOnce], min_rows[kRowsAtOnce];
    UNICORN_UNROLL for (std::size_t r = 0; r < kRowsAtOnce; ++r) {
      const ScaleBytes s = unpack_scale_bytes(rows[r] + at + 4);
      scale_rows[r] = s.scales;
      min_rows[r] = s.mins;
    }
    alignas(16) std::uint8_t scales[64], mins[64];
    transpose_bytes(scale_rows, scales);
    transpose_bytes(min_rows, mins);
    const __m256 d = gather_f16(rows, at), dmin = gather_f16(rows, at + 2);
    for (std::size_t s = 0; s < 8; ++s) {
      const ActivationBlock& xb = x[8 * super + s];
      next.ask(ask);
      const __m256i xq = load_32(xb.q);
      const __m128i shift = _mm_cvtsi32_si128(s % 2 == 0 ? 0 : 4);
      __m256i sums[kRowsAtOnce];
      UNICORN_UNROLL for (std::size_t r = 0; r < kRowsAtOnce; ++r) {
        const __m256i bytes = _mm256_srl_epi16(load_32(rows[r] + at + 16 + 32 * (s / 2)), shift);
        sums[r] = dot_unsigned(_mm256_and_si256(bytes, _mm256_set1_epi8(15)), xq);
      }
      const __m256 scale = _mm256_mul_ps(d, bytes_at(scales + 8 * s)),
                   min = _mm256_mul_ps(dmin, bytes_at(mins + 8 * s));
      __m256 t = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(fold_eight(sums)));
      t = _mm256_fmadd_ps(min, _mm256_set1_ps(static_cast<float>(xb.neg)), t);
      acc = _mm256_fmadd_ps(_mm256_set1_ps(xb.scale), t, acc);
    }
  }
  return acc;
}

template <DType D>
[[gnu::always_inline]] inline __m256 dot_rows(const std::uint8_t* const* rows, const ActivationBlock* x, std::size_t k,
                                              NextRows next, std::size_t ask) {
  if constexpr (D == DType::q4_k)
    return dot_rows_of_q4_k(rows, x, k, next, ask);
  else
    return dot_rows_of_32<D>(rows, x, k, next, ask);
}

template <DType D>
void matmul_chosen_rows(const PackedView& w, const ActivationView& x, const std::uint32_t* rows, std::size_t n_rows,
                        float* y) {
  const std::size_t n_lines = (w.stride + 63) / 64 + 1;  // rows begin anywhere in a line
  const std::size_t ask = (kRowsAtOnce * n_lines * kBlock + w.k - 1) / w.k;
  const auto pointers = [&](std::size_t first, const std::uint8_t** out) __attribute__((always_inline)) {
    for (std::size_t r = 0; r < kRowsAtOnce; ++r) {  // beyond the last one it is repeated
      const std::size_t i = first + r < n_rows ? first + r : n_rows - 1;
      out[r] = w.data + rows[i] * w.stride;
    }
  };
  const std::uint8_t *at[kRowsAtOnce], *next[kRowsAtOnce];
  for (std::size_t first = 0; first < n_rows; first += kRowsAtOnce) {
    pointers(first, at);
    const bool last = first + kRowsAtOnce >= n_rows;
    if (!last) pointers(first + kRowsAtOnce, next);
    NextRows following{last ? at : next, n_lines};
    if (last) following.row = kRowsAtOnce;
    const __m256 sums = dot_rows<D>(at, x.blocks, w.k, following, ask);
    if (!last) {
      _mm256_storeu_ps(y + first, sums);
      continue;
    }
    float out[kRowsAtOnce];
    _mm256_storeu_ps(out, sums);
    for (std::size_t r = 0; first + r < n_rows; ++r) y[first + r] = out[r];
  }
}

}  // namespace
}  // namespace unicorn::cpu

#endif
