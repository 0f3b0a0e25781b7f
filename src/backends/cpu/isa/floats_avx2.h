// Eight floats in a register, AVX2 + FMA + F16C: what kernels/*.inl are written in. Included by isa/element_avx2.cc
// only; everything is local to that file, so that no copy of it can be linked into code for older machines.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#define UNICORN_CPU_ISA avx2
#define UNICORN_INLINE [[gnu::always_inline]] inline

namespace unicorn::cpu::avx2 {
namespace {

inline constexpr std::size_t kLanes = 8;
inline constexpr std::size_t kAttentionQueries = 2;  // 2 × 4 sums, 4 keys and a query: 13 of 16 registers
inline constexpr std::size_t kAttentionColumns = 4;  // value vectors per pass: 2 × 4 sums

struct Vec {
  __m256 v;
};
struct Whole {};     // a whole register
struct Part {        // its first n lanes, 0 < n < kLanes
  std::size_t n;
};

UNICORN_INLINE __m256i mask_of(Part t) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(t.n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

UNICORN_INLINE Vec set1(float x) { return {_mm256_set1_ps(x)}; }
UNICORN_INLINE Vec zero() { return {_mm256_setzero_ps()}; }
UNICORN_INLINE Vec load(const float* p, Whole = {}) { return {_mm256_loadu_ps(p)}; }
UNICORN_INLINE Vec load(const float* p, Part t) { return {_mm256_maskload_ps(p, mask_of(t))}; }  // the rest is 0
UNICORN_INLINE void store(float* p, Vec a, Whole = {}) { _mm256_storeu_ps(p, a.v); }
UNICORN_INLINE void store(float* p, Vec a, Part t) { _mm256_maskstore_ps(p, mask_of(t), a.v); }

// Keeps the compiler from reading memory again for each use, as an operand of every FMA.
UNICORN_INLINE Vec in_register(Vec a) {
  asm("" : "+x"(a.v));
  return a;
}

UNICORN_INLINE Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
UNICORN_INLINE Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
UNICORN_INLINE Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
UNICORN_INLINE Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
UNICORN_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }    // a·b + c
UNICORN_INLINE Vec fnma(Vec a, Vec b, Vec c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }  // c - a·b
// A NaN in b comes through; in a it does not.
UNICORN_INLINE Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
UNICORN_INLINE Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
UNICORN_INLINE Vec round(Vec a) { return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
UNICORN_INLINE Vec abs(Vec a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
UNICORN_INLINE Vec copysign(Vec magnitude, Vec sign) {
  const __m256 bit = _mm256_set1_ps(-0.0f);
  return {_mm256_or_ps(_mm256_andnot_ps(bit, magnitude.v), _mm256_and_ps(bit, sign.v))};
}
// where a < b: x, else y (also where either is NaN)
UNICORN_INLINE Vec select_less(Vec a, Vec b, Vec x, Vec y) {
  return {_mm256_blendv_ps(y.v, x.v, _mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ))};
}

// a · 2^n for whole n in [-150, 128], rounded once even where the result is subnormal (a is near 1).
UNICORN_INLINE Vec scale_by_power(Vec a, Vec n) {
  const __m256i i = _mm256_cvtps_epi32(n.v);
  const __m256i half = _mm256_srai_epi32(i, 1);
  const __m256i rest = _mm256_sub_epi32(i, half);
  const __m256i bias = _mm256_set1_epi32(127);
  const __m256 p = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
  const __m256 q = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23));
  return {_mm256_mul_ps(_mm256_mul_ps(a.v, p), q)};
}

//   lanes 0…7  →  (0+4) (1+5) (2+6) (3+7)  →  (04+26) (15+37)  →  one sum
UNICORN_INLINE float reduce_add(Vec a) {
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  x = _mm_add_ss(x, _mm_movehdup_ps(x));
  return _mm_cvtss_f32(x);
}
UNICORN_INLINE float reduce_max(Vec a) {
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  x = _mm_max_ss(x, _mm_movehdup_ps(x));
  return _mm_cvtss_f32(x);
}
// out[i] = the sum of lanes of v_i. Each sum takes the same order whatever the other three hold.
UNICORN_INLINE void reduce_add4(Vec a, Vec b, Vec c, Vec d, float* out) {
  const __m256 ab = _mm256_hadd_ps(a.v, b.v);  // a01 a23 b01 b23 | a45 a67 b45 b67
  const __m256 cd = _mm256_hadd_ps(c.v, d.v);
  const __m256 abcd = _mm256_hadd_ps(ab, cd);  // a0123 b0123 c0123 d0123 | a4567 …
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(abcd), _mm256_extractf128_ps(abcd, 1)));
}

// Sums in double: of the lanes, and of their squares. Four chains each.
struct Moments {
  __m256d sum[2], squares[2];
};
UNICORN_INLINE Moments no_moments() {
  const __m256d z = _mm256_setzero_pd();
  return {{z, z}, {z, z}};
}
UNICORN_INLINE void accumulate(Moments& m, Vec a) {
  const __m256d lo = _mm256_cvtps_pd(_mm256_castps256_ps128(a.v));
  const __m256d hi = _mm256_cvtps_pd(_mm256_extractf128_ps(a.v, 1));
  m.sum[0] = _mm256_add_pd(m.sum[0], lo);
  m.sum[1] = _mm256_add_pd(m.sum[1], hi);
  m.squares[0] = _mm256_fmadd_pd(lo, lo, m.squares[0]);
  m.squares[1] = _mm256_fmadd_pd(hi, hi, m.squares[1]);
}
UNICORN_INLINE double reduce_pd(__m256d a) {
  const __m128d x = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
  return _mm_cvtsd_f64(_mm_add_sd(x, _mm_unpackhi_pd(x, x)));
}
UNICORN_INLINE double total(const Moments& m) { return reduce_pd(_mm256_add_pd(m.sum[0], m.sum[1])); }
UNICORN_INLINE double total_squares(const Moments& m) { return reduce_pd(_mm256_add_pd(m.squares[0], m.squares[1])); }

// Bit i: lane i is greater than 0.
UNICORN_INLINE std::uint32_t positive(Vec a) {
  return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a.v, _mm256_setzero_ps(), _CMP_GT_OQ)));
}

UNICORN_INLINE Vec load_f16(const std::uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
UNICORN_INLINE void store_f16(std::uint16_t* p, Vec a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
UNICORN_INLINE Vec load_bf16(const std::uint16_t* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(wide, 16))};
}
UNICORN_INLINE Vec load_i8(const std::int8_t* p) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))};
}

}  // namespace
}  // namespace unicorn::cpu::avx2
