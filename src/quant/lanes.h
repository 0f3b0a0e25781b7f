// Four lanes of f32 or i32 as one value, through the compilers' vector extension: SSE2, NEON or plain code, the same
// numbers everywhere. Used by the encoders alone, whose sums the compiler may not reorder into lanes by itself.
// Everything is forced inline.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace unicorn::lanes {

using F4 = float __attribute__((vector_size(16)));
using I4 = std::int32_t __attribute__((vector_size(16)));

#define UNICORN_LANES [[gnu::always_inline]] inline

UNICORN_LANES F4 splat(float v) { return F4{v, v, v, v}; }
UNICORN_LANES I4 splat(std::int32_t v) { return I4{v, v, v, v}; }
UNICORN_LANES F4 load(const float* p) {
  F4 v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
UNICORN_LANES void store(float* p, F4 v) { std::memcpy(p, &v, sizeof v); }
UNICORN_LANES void store(std::int32_t* p, I4 v) { std::memcpy(p, &v, sizeof v); }
UNICORN_LANES I4 bits(F4 v) {
  I4 i;
  std::memcpy(&i, &v, sizeof i);
  return i;
}
UNICORN_LANES F4 from_bits(I4 v) {
  F4 f;
  std::memcpy(&f, &v, sizeof f);
  return f;
}
#if defined( \
    __SSE2__)  // the same answer in one instruction; g++ 12 does not see it in `? :` (searching encoders: +20 to 35 %)
UNICORN_LANES F4 min(F4 a, F4 b) { return _mm_min_ps(a, b); }
UNICORN_LANES F4 max(F4 a, F4 b) { return _mm_max_ps(a, b); }
#else
UNICORN_LANES F4 min(F4 a, F4 b) { return a < b ? a : b; }
UNICORN_LANES F4 max(F4 a, F4 b) { return a > b ? a : b; }
#endif
UNICORN_LANES F4 abs(F4 v) { return from_bits(bits(v) & 0x7fffffff); }
UNICORN_LANES F4 to_f32(I4 v) { return __builtin_convertvector(v, F4); }
UNICORN_LANES I4 truncate(F4 v) { return __builtin_convertvector(v, I4); }  // |v| < 2^31

// To the nearest integer, ties to even, for |v| < 2^22: at 1.5 · 2^23 an f32 has no bits below one.
UNICORN_LANES F4 round_even(F4 v) {
  const F4 magic = splat(12582912.0f);
  return (v + magic) - magic;
}

UNICORN_LANES float sum(F4 v) { return (v[0] + v[1]) + (v[2] + v[3]); }
UNICORN_LANES float max_of(F4 v) {
  const float a = v[0] > v[1] ? v[0] : v[1], b = v[2] > v[3] ? v[2] : v[3];
  return a > b ? a : b;
}
UNICORN_LANES float min_of(F4 v) {
  const float a = v[0] < v[1] ? v[0] : v[1], b = v[2] < v[3] ? v[2] : v[3];
  return a < b ? a : b;
}

// Infinities and NaNs become 0.
UNICORN_LANES F4 finite_or_zero(F4 v) {
  const I4 b = bits(v);
  return from_bits(b & ((b & 0x7fffffff) < 0x7f800000));
}

#undef UNICORN_LANES

}  // namespace unicorn::lanes
