// V for 512-bit registers: 16 lanes of 32 bits. With or without VNNI, as the including file is compiled.
// See isa/vector_scalar.h for what each operation means.
#pragma once

#include <immintrin.h>

#include "backends/cpu/kernel_table.h"

namespace unicorn::cpu {
namespace {

struct V {
  using I = __m512i;
  using F = __m512;
  static constexpr int kRegisters = 32;
  static constexpr int kLanes = 16;
  static constexpr std::size_t kTileM = 6;
  static constexpr int kStripPanels = 2;
#if defined(__AVX512VNNI__)
  static constexpr bool kHasDot = true;
#else
  static constexpr bool kHasDot = false;
#endif

#define UNICORN_OP [[gnu::always_inline]] static inline
#if !defined(UNICORN_ZMM)
#define UNICORN_ZMM "+v"  // tests/simde has no such registers
#endif
  UNICORN_OP I zero() { return _mm512_setzero_si512(); }
  UNICORN_OP I load(const void* p) { return _mm512_loadu_si512(p); }
  UNICORN_OP void store(void* p, I v) { _mm512_storeu_si512(p, v); }
  UNICORN_OP I set1(std::int32_t v) { return _mm512_set1_epi32(v); }
  UNICORN_OP I broadcast(const void* p) {
    std::int32_t v;
    __builtin_memcpy(&v, p, 4);
    return _mm512_set1_epi32(v);
  }
  UNICORN_OP I table(const std::uint8_t* p) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128(static_cast<const __m128i*>(static_cast<const void*>(p))));
  }
  UNICORN_OP I and_(I a, I b) { return _mm512_and_si512(a, b); }
  UNICORN_OP I or_(I a, I b) { return _mm512_or_si512(a, b); }
  UNICORN_OP I or_and(I a, I b, I mask) { return _mm512_ternarylogic_epi32(a, b, mask, 0xf8); }  // a | (b & mask)
  UNICORN_OP I xor_(I a, I b) { return _mm512_xor_si512(a, b); }
  template <int n>
  UNICORN_OP I shift(I v) {
    if constexpr (n > 0) return _mm512_slli_epi32(v, n);
    if constexpr (n < 0) return _mm512_srli_epi32(v, -n);
    return v;
  }
  UNICORN_OP I shift_left(I v, I counts) { return _mm512_sllv_epi32(v, counts); }
  UNICORN_OP I look_up(I table, I index) { return _mm512_shuffle_epi8(table, index); }
  UNICORN_OP I add(I a, I b) { return _mm512_add_epi32(a, b); }

#if defined(__AVX512VNNI__)
  UNICORN_OP I dot(I acc, I u, I s) { return _mm512_dpbusd_epi32(acc, u, s); }
  // Declared for the branch that `if constexpr (kHasDot)` discards.
  static I mul_pairs(I, I);
  static I add16(I, I);
  static I add_pairs(I, I);
  struct Signed {};
  static Signed split_sign(I);
  static I mul_pairs_signed(Signed, I);
#else
  static I dot(I, I, I);  // declared for the branch that `if constexpr (kHasDot)` discards
  UNICORN_OP I mul_pairs(I u, I s) { return _mm512_maddubs_epi16(u, s); }
  // The compiler would turn a chain of additions into a tree, whose registers it has not got.
  UNICORN_OP I in_order(I v) {
    asm("" : UNICORN_ZMM(v));
    return v;
  }
  UNICORN_OP I add16(I a, I b) { return in_order(_mm512_add_epi16(a, b)); }
  UNICORN_OP I add_pairs(I acc, I s16) {
    return in_order(_mm512_add_epi32(acc, _mm512_madd_epi16(s16, _mm512_set1_epi16(1))));
  }
  struct Signed {
    I magnitude;
    __mmask64 negative;
  };
  UNICORN_OP Signed split_sign(I v) { return {_mm512_abs_epi8(v), _mm512_movepi8_mask(v)}; }
  UNICORN_OP I mul_pairs_signed(Signed w, I s) {
    return _mm512_maddubs_epi16(w.magnitude, _mm512_mask_sub_epi8(s, w.negative, _mm512_setzero_si512(), s));
  }
#endif

  UNICORN_OP F zero_f() { return _mm512_setzero_ps(); }
  UNICORN_OP F load_f(const float* p) { return _mm512_loadu_ps(p); }
  UNICORN_OP void store_f(float* p, F v) { _mm512_storeu_ps(p, v); }
  UNICORN_OP void store_first(float* p, F v, std::size_t n) {
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1u), v);
  }
  UNICORN_OP F broadcast_f(const float* p) { return _mm512_set1_ps(*p); }
  UNICORN_OP F to_f(I v) { return _mm512_cvtepi32_ps(v); }
  UNICORN_OP F as_f(I v) { return _mm512_castsi512_ps(v); }
  UNICORN_OP F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  UNICORN_OP F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  UNICORN_OP F load_f16(const void* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p))); }
  UNICORN_OP I load_u8(const void* p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))); }
  UNICORN_OP I load_i8(const void* p) { return _mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))); }
  UNICORN_OP F load_bf16(const void* p) {
    const __m256i h = _mm256_loadu_si256(static_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
  }
  UNICORN_OP F load_first(const float* p, std::size_t n) {
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1u), p);
  }
  UNICORN_OP I lane_index() { return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
  UNICORN_OP I shift_right(I v, I counts) { return _mm512_srlv_epi32(v, counts); }
  UNICORN_OP I mul_low16(I a, I b) { return _mm512_madd_epi16(a, b); }
  UNICORN_OP F negate(F v) { return _mm512_xor_ps(v, _mm512_set1_ps(-0.0f)); }
  UNICORN_OP F load_e8m0(const void* p) {
    const __m512i e = load_u8(p);
    const __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
    const __m512i denormal = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), e);
    const __mmask16 small = _mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2));
    return _mm512_castsi512_ps(_mm512_mask_blend_epi32(small, normal, denormal));
  }
  UNICORN_OP void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

  UNICORN_OP void keep(I& v) { asm volatile("" : UNICORN_ZMM(v)); }  // opaque to the optimiser

  UNICORN_OP void quantise(const float* x, ActivationBlock* out) {
    const __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + 16);
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    // As integers, so that a NaN is the largest of all and reaches the scale.
    const __m512i top = _mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(a), magnitude),
                                         _mm512_and_si512(_mm512_castps_si512(b), magnitude));
    const __m256i half = _mm256_max_epu32(_mm512_castsi512_si256(top), _mm512_extracti64x4_epi64(top, 1));
    __m128i q = _mm_max_epu32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    q = _mm_max_epu32(q, _mm_shuffle_epi32(q, 0x4e));
    q = _mm_max_epu32(q, _mm_shuffle_epi32(q, 0xb1));
    const float amax = __builtin_bit_cast(float, _mm_cvtsi128_si32(q));
    const bool small = amax < 1e-30f;
    const __m512 inverse = _mm512_set1_ps(small ? 0.0f : 127.0f / amax);
    const __m512i ia = _mm512_cvtps_epi32(_mm512_mul_ps(a, inverse));
    const __m512i ib = _mm512_cvtps_epi32(_mm512_mul_ps(b, inverse));
    const __m128i ca = _mm512_cvtsepi32_epi8(ia), cb = _mm512_cvtsepi32_epi8(ib);
    _mm_store_si128(reinterpret_cast<__m128i*>(out->q), ca);
    _mm_store_si128(reinterpret_cast<__m128i*>(out->q + 16), cb);
    out->scale = small ? 0.0f : amax / 127.0f;
    out->neg_lo = -sum_i8(ca);
    out->neg_hi = -sum_i8(cb);
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
