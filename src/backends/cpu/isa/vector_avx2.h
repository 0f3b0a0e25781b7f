// V for 256-bit registers: 8 lanes of 32 bits. With or without AVX-VNNI, as the including file is compiled.
// See isa/vector_scalar.h for what each operation means.
#pragma once

#include <immintrin.h>

#include "backends/cpu/kernel_table.h"

namespace unicorn::cpu {
namespace {

struct V {
  using I = __m256i;
  using F = __m256;
  static constexpr int kRegisters = 16;
  static constexpr int kLanes = 8;
  static constexpr std::size_t kTileM = 6;
  static constexpr int kStripPanels = 1;
#if defined(__AVXVNNI__)
  static constexpr bool kHasDot = true;
#else
  static constexpr bool kHasDot = false;
#endif

#define UNICORN_OP [[gnu::always_inline]] static inline
  UNICORN_OP I zero() { return _mm256_setzero_si256(); }
  UNICORN_OP I load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  UNICORN_OP void store(void* p, I v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
  UNICORN_OP I set1(std::int32_t v) { return _mm256_set1_epi32(v); }
  UNICORN_OP I broadcast(const void* p) {
    std::int32_t v;
    __builtin_memcpy(&v, p, 4);
    return _mm256_set1_epi32(v);
  }
  UNICORN_OP I table(const std::uint8_t* p) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(static_cast<const void*>(p))));
  }
  UNICORN_OP I and_(I a, I b) { return _mm256_and_si256(a, b); }
  UNICORN_OP I or_(I a, I b) { return _mm256_or_si256(a, b); }
  UNICORN_OP I or_and(I a, I b, I mask) { return _mm256_or_si256(a, _mm256_and_si256(b, mask)); }
  UNICORN_OP I xor_(I a, I b) { return _mm256_xor_si256(a, b); }
  template <int n>
  UNICORN_OP I shift(I v) {
    if constexpr (n > 0) return _mm256_slli_epi32(v, n);
    if constexpr (n < 0) return _mm256_srli_epi32(v, -n);
    return v;
  }
  UNICORN_OP I shift_left(I v, I counts) { return _mm256_sllv_epi32(v, counts); }
  UNICORN_OP I look_up(I table, I index) { return _mm256_shuffle_epi8(table, index); }
  UNICORN_OP I add(I a, I b) { return _mm256_add_epi32(a, b); }

#if defined(__AVXVNNI__)
  UNICORN_OP I dot(I acc, I u, I s) { return _mm256_dpbusd_avx_epi32(acc, u, s); }
  // Declared for the branch that `if constexpr (kHasDot)` discards.
  static I mul_pairs(I, I);
  static I add16(I, I);
  static I add_pairs(I, I);
  struct Signed {};
  static Signed split_sign(I);
  static I mul_pairs_signed(Signed, I);
#else
  static I dot(I, I, I);  // declared for the branch that `if constexpr (kHasDot)` discards
  UNICORN_OP I mul_pairs(I u, I s) { return _mm256_maddubs_epi16(u, s); }
  // The compiler would turn a chain of additions into a tree, whose registers it has not got.
  UNICORN_OP I in_order(I v) {
    asm("" : "+x"(v));
    return v;
  }
  UNICORN_OP I add16(I a, I b) { return in_order(_mm256_add_epi16(a, b)); }
  UNICORN_OP I add_pairs(I acc, I s16) {
    return in_order(_mm256_add_epi32(acc, _mm256_madd_epi16(s16, _mm256_set1_epi16(1))));
  }
  struct Signed {
    I magnitude, value;
  };
  UNICORN_OP Signed split_sign(I v) { return {_mm256_abs_epi8(v), v}; }
  UNICORN_OP I mul_pairs_signed(Signed w, I s) {
    return _mm256_maddubs_epi16(w.magnitude, _mm256_sign_epi8(s, w.value));
  }
#endif

  UNICORN_OP F zero_f() { return _mm256_setzero_ps(); }
  UNICORN_OP F load_f(const float* p) { return _mm256_loadu_ps(p); }
  UNICORN_OP void store_f(float* p, F v) { _mm256_storeu_ps(p, v); }
  UNICORN_OP void store_first(float* p, F v, std::size_t n) {
    _mm256_maskstore_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane_index()), v);
  }
  UNICORN_OP F broadcast_f(const float* p) { return _mm256_broadcast_ss(p); }
  UNICORN_OP F to_f(I v) { return _mm256_cvtepi32_ps(v); }
  UNICORN_OP F as_f(I v) { return _mm256_castsi256_ps(v); }
  UNICORN_OP F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  UNICORN_OP F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  UNICORN_OP F load_f16(const void* p) { return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p))); }
  UNICORN_OP I load_u8(const void* p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))); }
  UNICORN_OP I load_i8(const void* p) { return _mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))); }
  UNICORN_OP F load_bf16(const void* p) {
    const __m128i h = _mm_loadu_si128(static_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
  }
  UNICORN_OP F load_first(const float* p, std::size_t n) {
    return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane_index()));
  }
  UNICORN_OP I lane_index() { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }
  UNICORN_OP I shift_right(I v, I counts) { return _mm256_srlv_epi32(v, counts); }
  UNICORN_OP I mul_low16(I a, I b) { return _mm256_madd_epi16(a, b); }
  UNICORN_OP F negate(F v) { return _mm256_xor_ps(v, _mm256_set1_ps(-0.0f)); }
  UNICORN_OP F load_e8m0(const void* p) {
    const __m256i e = load_u8(p);
    const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    const __m256i denormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
    const __m256i small = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(normal, denormal, small));
  }
  UNICORN_OP void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

  UNICORN_OP void keep(I& v) { asm volatile("" : "+x"(v)); }  // opaque to the optimiser

  UNICORN_OP void quantise(const float* x, ActivationBlock* out) {
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256 v[4];
    __m256i top = _mm256_setzero_si256();
    for (int i = 0; i < 4; ++i) {
      v[i] = _mm256_loadu_ps(x + 8 * i);
      // As integers, so that a NaN is the largest of all and reaches the scale.
      top = _mm256_max_epu32(top, _mm256_and_si256(_mm256_castps_si256(v[i]), magnitude));
    }
    __m128i q = _mm_max_epu32(_mm256_castsi256_si128(top), _mm256_extracti128_si256(top, 1));
    q = _mm_max_epu32(q, _mm_shuffle_epi32(q, 0x4e));
    q = _mm_max_epu32(q, _mm_shuffle_epi32(q, 0xb1));
    const float amax = __builtin_bit_cast(float, _mm_cvtsi128_si32(q));
    const bool small = amax < 1e-30f;
    const __m256 inverse = _mm256_set1_ps(small ? 0.0f : 127.0f / amax);
    __m256i i32[4];
    for (int i = 0; i < 4; ++i) i32[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
    // packs works within 128-bit lanes: the quarters come out as 0 2 1 3 and are put straight at the end.
    const __m256i ab = _mm256_permute4x64_epi64(_mm256_packs_epi32(i32[0], i32[1]), 0xd8);
    const __m256i cd = _mm256_permute4x64_epi64(_mm256_packs_epi32(i32[2], i32[3]), 0xd8);
    const __m256i codes = _mm256_permute4x64_epi64(_mm256_packs_epi16(ab, cd), 0xd8);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out->q), codes);
    out->scale = small ? 0.0f : amax / 127.0f;
    out->neg_lo = -sum_i8(_mm256_castsi256_si128(codes));
    out->neg_hi = -sum_i8(_mm256_extracti128_si256(codes, 1));
    out->neg = out->neg_lo + out->neg_hi;
  }

 private:
  UNICORN_OP std::int32_t sum_i8(__m128i v) {
    const __m128i biased = _mm_sad_epu8(_mm_xor_si128(v, _mm_set1_epi8(-128)), _mm_setzero_si128());
    return _mm_cvtsi128_si32(biased) + _mm_extract_epi16(biased, 4) - 16 * 128;
  }
#undef UNICORN_OP
};

}  // namespace
}  // namespace unicorn::cpu
