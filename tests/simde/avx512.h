// AVX-512 for processors without it: SIMDe's intrinsics under the names of Intel's, and those that SIMDe 0.7.4 (Debian
// 12) lacks or rounds otherwise. Included before everything else in the kernel files of cpu_kernels_simde_test, which
// are compiled for AVX2; an intrinsic that nobody emulates does not compile there.
#pragma once

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <immintrin.h>
#include <simde/x86/avx512.h>

#include <cstring>

namespace unicorn::emulated {

#define UNICORN_EMULATED [[gnu::always_inline]] inline

template <class To, class From>
UNICORN_EMULATED To bits(const From& v) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &v, sizeof to);
  return to;
}
struct Floats {
  __m256 low, high;
};
struct Integers {
  __m256i low, high;
};
struct Doubles {
  __m256d low, high;
};
UNICORN_EMULATED __m512 join(__m256 low, __m256 high) { return bits<__m512>(Floats{low, high}); }
UNICORN_EMULATED __m512i join(__m256i low, __m256i high) { return bits<__m512i>(Integers{low, high}); }
UNICORN_EMULATED __m512d join(__m256d low, __m256d high) { return bits<__m512d>(Doubles{low, high}); }
UNICORN_EMULATED __m128i high(__m256i v) { return _mm256_extracti128_si256(v, 1); }
UNICORN_EMULATED __m128i high(__m128i v) { return _mm_unpackhi_epi64(v, v); }

UNICORN_EMULATED __m512 cvtepi32_ps(__m512i a) {
  const auto v = bits<Integers>(a);
  return join(_mm256_cvtepi32_ps(v.low), _mm256_cvtepi32_ps(v.high));
}
UNICORN_EMULATED __m512i cvtps_epi32(__m512 a) {
  const auto v = bits<Floats>(a);
  return join(_mm256_cvtps_epi32(v.low), _mm256_cvtps_epi32(v.high));
}
UNICORN_EMULATED __m512i cvtepi8_epi32(__m128i a) {
  return join(_mm256_cvtepi8_epi32(a), _mm256_cvtepi8_epi32(high(a)));
}
UNICORN_EMULATED __m512i cvtepu8_epi32(__m128i a) {
  return join(_mm256_cvtepu8_epi32(a), _mm256_cvtepu8_epi32(high(a)));
}
UNICORN_EMULATED __m512i cvtepu16_epi32(__m256i a) {
  return join(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(a)), _mm256_cvtepu16_epi32(high(a)));
}
UNICORN_EMULATED __m512 cvtph_ps(__m256i a) {
  return join(_mm256_cvtph_ps(_mm256_castsi256_si128(a)), _mm256_cvtph_ps(high(a)));
}
template <int rounding>
UNICORN_EMULATED __m256i cvtps_ph(__m512 a) {
  const auto v = bits<Floats>(a);
  return _mm256_set_m128i(_mm256_cvtps_ph(v.high, rounding & 7), _mm256_cvtps_ph(v.low, rounding & 7));
}
UNICORN_EMULATED __m512d cvtps_pd(__m256 a) {
  return join(_mm256_cvtps_pd(_mm256_castps256_ps128(a)), _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1)));
}
template <int half>
UNICORN_EMULATED __m256 extractf32x8_ps(__m512 a) {
  return half == 0 ? bits<Floats>(a).low : bits<Floats>(a).high;
}
template <int rounding>
UNICORN_EMULATED __m512 roundscale_ps(__m512 a) {
  static_assert((rounding & ~_MM_FROUND_NO_EXC) == _MM_FROUND_TO_NEAREST_INT, "whole numbers, nearest");
  const auto v = bits<Floats>(a);
  return join(_mm256_round_ps(v.low, rounding), _mm256_round_ps(v.high, rounding));
}

// Lane by lane.
struct Lanes {
  float f[16];
};
struct IntegerLanes {
  int i[16];
};
// a · 2^floor(b), rounded once: exact in double for |b| up to 900. (SIMDe multiplies by a float power and takes
// subnormals for zero.)
UNICORN_EMULATED __m512 scalef_ps(__m512 a, __m512 b) {
  auto v = bits<Lanes>(a);
  const auto power = bits<Lanes>(b);
  for (int l = 0; l < 16; ++l) {
    const double whole = __builtin_floor(static_cast<double>(power.f[l]));
    if (v.f[l] != v.f[l] || power.f[l] != power.f[l]) {
      v.f[l] = __builtin_nanf("");
    } else {
      const double n = whole < -900 ? -900 : whole > 900 ? 900 : whole;
      v.f[l] = static_cast<float>(__builtin_ldexp(static_cast<double>(v.f[l]), static_cast<int>(n)));
    }
  }
  return bits<__m512>(v);
}
UNICORN_EMULATED __mmask16 cmplt_epi32_mask(__m512i a, __m512i b) {
  const auto x = bits<IntegerLanes>(a), y = bits<IntegerLanes>(b);
  unsigned mask = 0;
  for (int l = 0; l < 16; ++l) mask |= static_cast<unsigned>(x.i[l] < y.i[l]) << l;
  return static_cast<__mmask16>(mask);
}
// What the mask leaves out is neither read nor written: it may lie beyond the end of a row.
UNICORN_EMULATED void mask_storeu_ps(void* p, __mmask16 mask, __m512 a) {
  const auto v = bits<Lanes>(a);
  for (int l = 0; l < 16; ++l)
    if ((mask >> l & 1) != 0) std::memcpy(static_cast<char*>(p) + 4 * l, v.f + l, 4);
}
UNICORN_EMULATED __m512 maskz_loadu_ps(__mmask16 mask, const void* p) {
  Lanes v{};
  for (int l = 0; l < 16; ++l)
    if ((mask >> l & 1) != 0) std::memcpy(v.f + l, static_cast<const char*>(p) + 4 * l, 4);
  return bits<__m512>(v);
}

#undef UNICORN_EMULATED

}  // namespace unicorn::emulated

#define _mm512_cvtepi32_ps(a) unicorn::emulated::cvtepi32_ps(a)
#define _mm512_cvtps_epi32(a) unicorn::emulated::cvtps_epi32(a)
#define _mm512_cvtepi8_epi32(a) unicorn::emulated::cvtepi8_epi32(a)
#define _mm512_cvtepu8_epi32(a) unicorn::emulated::cvtepu8_epi32(a)
#define _mm512_cvtepu16_epi32(a) unicorn::emulated::cvtepu16_epi32(a)
#undef _mm512_madd_epi16  // SIMDe's own definition gives it the parameters of the masked one
#define _mm512_madd_epi16(a, b) simde_mm512_madd_epi16(a, b)
#undef _mm512_cvtph_ps
#define _mm512_cvtph_ps(a) unicorn::emulated::cvtph_ps(a)
#undef _mm512_cvtps_ph
#define _mm512_cvtps_ph(a, rounding) unicorn::emulated::cvtps_ph<rounding>(a)
#define _mm512_cvtps_pd(a) unicorn::emulated::cvtps_pd(a)
#undef _mm512_extractf32x8_ps
#define _mm512_extractf32x8_ps(a, half) unicorn::emulated::extractf32x8_ps<half>(a)
#undef _mm512_roundscale_ps
#define _mm512_roundscale_ps(a, rounding) unicorn::emulated::roundscale_ps<rounding>(a)
#undef _mm512_scalef_ps
#define _mm512_scalef_ps(a, b) unicorn::emulated::scalef_ps(a, b)
#undef _mm512_cmplt_epi32_mask
#define _mm512_cmplt_epi32_mask(a, b) unicorn::emulated::cmplt_epi32_mask(a, b)
#undef _mm512_mask_storeu_ps
#define _mm512_mask_storeu_ps(p, mask, a) unicorn::emulated::mask_storeu_ps(p, mask, a)
#undef _mm512_maskz_loadu_ps
#define _mm512_maskz_loadu_ps(mask, p) unicorn::emulated::maskz_loadu_ps(mask, p)

#define UNICORN_ZMM "+m"  // an operand of asm: there is no such register

// What the kernels ask the compiler for. Only now: the headers above would believe it.
#define __AVX512VL__ 1
#if defined(UNICORN_EMULATE_VNNI)
#define __AVX512VNNI__ 1
#endif
