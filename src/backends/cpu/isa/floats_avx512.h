// Sixteen floats in a register, AVX-512 F, BW, VL, DQ: what kernels/*.inl are written in. Included by
// isa/element_avx512.cc only; everything is local to that file.
#pragma once

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // false, from inside GCC 12's own avx512fintrin.h (GCC bug 105593)
#endif

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#define UNICORN_CPU_ISA avx512
#define UNICORN_INLINE [[gnu::always_inline]] inline
#if !defined(UNICORN_ZMM)
#define UNICORN_ZMM "+v"  // tests/simde has no such registers
#endif

namespace unicorn::cpu::avx512 {
namespace {

inline constexpr std::size_t kLanes = 16;
inline constexpr std::size_t kAttentionQueries = 4;  // 4 × 4 sums
inline constexpr std::size_t kAttentionColumns = 4;  // value vectors per pass: 4 × 4 sums

struct Vec {
  __m512 v;
};
struct Whole {};     // a whole register
struct Part {        // its first n lanes, 0 < n < kLanes
  std::size_t n;
};

UNICORN_INLINE __mmask16 mask_of(Part t) { return static_cast<__mmask16>((1u << t.n) - 1u); }

UNICORN_INLINE Vec set1(float x) { return {_mm512_set1_ps(x)}; }
UNICORN_INLINE Vec zero() { return {_mm512_setzero_ps()}; }
UNICORN_INLINE Vec load(const float* p, Whole = {}) { return {_mm512_loadu_ps(p)}; }
UNICORN_INLINE Vec load(const float* p, Part t) { return {_mm512_maskz_loadu_ps(mask_of(t), p)}; }  // the rest is 0
UNICORN_INLINE void store(float* p, Vec a, Whole = {}) { _mm512_storeu_ps(p, a.v); }
UNICORN_INLINE void store(float* p, Vec a, Part t) { _mm512_mask_storeu_ps(p, mask_of(t), a.v); }

// Keeps the compiler from reading memory again for each use, as an operand of every FMA.
UNICORN_INLINE Vec in_register(Vec a) {
  asm("" : UNICORN_ZMM(a.v));
  return a;
}

UNICORN_INLINE Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
UNICORN_INLINE Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
UNICORN_INLINE Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
UNICORN_INLINE Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
UNICORN_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }    // a·b + c
UNICORN_INLINE Vec fnma(Vec a, Vec b, Vec c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }  // c - a·b
// A NaN in b comes through; in a it does not.
UNICORN_INLINE Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
UNICORN_INLINE Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
UNICORN_INLINE Vec round(Vec a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
UNICORN_INLINE Vec abs(Vec a) { return {_mm512_abs_ps(a.v)}; }
UNICORN_INLINE Vec copysign(Vec magnitude, Vec sign) {
  const __m512 bit = _mm512_set1_ps(-0.0f);
  return {_mm512_or_ps(_mm512_andnot_ps(bit, magnitude.v), _mm512_and_ps(bit, sign.v))};
}
// where a < b: x, else y (also where either is NaN)
UNICORN_INLINE Vec select_less(Vec a, Vec b, Vec x, Vec y) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), y.v, x.v)};
}

// a · 2^n for whole n in [-150, 128], rounded once even where the result is subnormal.
UNICORN_INLINE Vec scale_by_power(Vec a, Vec n) { return {_mm512_scalef_ps(a.v, n.v)}; }

UNICORN_INLINE __m256 fold(__m512 a) { return _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1)); }

//   lanes 0…15  →  (i + i+8)  →  (i + i+4)  →  (i + i+2)  →  one sum
UNICORN_INLINE float reduce_add(Vec a) {
  const __m256 y = fold(a.v);
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  x = _mm_add_ss(x, _mm_movehdup_ps(x));
  return _mm_cvtss_f32(x);
}
UNICORN_INLINE float reduce_max(Vec a) {
  const __m256 y = _mm256_max_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  x = _mm_max_ss(x, _mm_movehdup_ps(x));
  return _mm_cvtss_f32(x);
}
// out[i] = the sum of lanes of v_i. Each sum takes the same order whatever the other three hold.
UNICORN_INLINE void reduce_add4(Vec a, Vec b, Vec c, Vec d, float* out) {
  const __m256 ab = _mm256_hadd_ps(fold(a.v), fold(b.v));
  const __m256 cd = _mm256_hadd_ps(fold(c.v), fold(d.v));
  const __m256 abcd = _mm256_hadd_ps(ab, cd);
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(abcd), _mm256_extractf128_ps(abcd, 1)));
}

// Sums in double: of the lanes, and of their squares. Two chains of eight each.
struct Moments {
  __m512d sum[2], squares[2];
};
UNICORN_INLINE Moments no_moments() {
  const __m512d z = _mm512_setzero_pd();
  return {{z, z}, {z, z}};
}
UNICORN_INLINE void accumulate(Moments& m, Vec a) {
  const __m512d lo = _mm512_cvtps_pd(_mm512_castps512_ps256(a.v));
  const __m512d hi = _mm512_cvtps_pd(_mm512_extractf32x8_ps(a.v, 1));
  m.sum[0] = _mm512_add_pd(m.sum[0], lo);
  m.sum[1] = _mm512_add_pd(m.sum[1], hi);
  m.squares[0] = _mm512_fmadd_pd(lo, lo, m.squares[0]);
  m.squares[1] = _mm512_fmadd_pd(hi, hi, m.squares[1]);
}
UNICORN_INLINE double reduce_pd(__m512d a) {
  const __m256d y = _mm256_add_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd(a, 1));
  const __m128d x = _mm_add_pd(_mm256_castpd256_pd128(y), _mm256_extractf128_pd(y, 1));
  return _mm_cvtsd_f64(_mm_add_sd(x, _mm_unpackhi_pd(x, x)));
}
UNICORN_INLINE double total(const Moments& m) { return reduce_pd(_mm512_add_pd(m.sum[0], m.sum[1])); }
UNICORN_INLINE double total_squares(const Moments& m) { return reduce_pd(_mm512_add_pd(m.squares[0], m.squares[1])); }

// Bit i: lane i is greater than 0.
UNICORN_INLINE std::uint32_t positive(Vec a) { return _mm512_cmp_ps_mask(a.v, _mm512_setzero_ps(), _CMP_GT_OQ); }

UNICORN_INLINE Vec load_f16(const std::uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
UNICORN_INLINE void store_f16(std::uint16_t* p, Vec a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
UNICORN_INLINE Vec load_bf16(const std::uint16_t* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
UNICORN_INLINE Vec load_i8(const std::int8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}

}  // namespace
}  // namespace unicorn::cpu::avx512
