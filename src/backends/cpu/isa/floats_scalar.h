// Eight floats as an array, for machines without the instruction sets below this folder: what kernels/*.inl are
// written in. A product is rounded before it is added: a software FMA would cost hundreds of instructions.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

#define UNICORN_CPU_ISA scalar
#define UNICORN_INLINE [[gnu::always_inline]] inline

namespace unicorn::cpu::scalar {
namespace {

inline constexpr std::size_t kLanes = 8;
inline constexpr std::size_t kAttentionQueries = 1;
inline constexpr std::size_t kAttentionColumns = 1;

struct Vec {
  float v[kLanes];
};
struct Whole {};     // a whole register
struct Part {        // its first n lanes, 0 < n < kLanes
  std::size_t n;
};

template <class F>
UNICORN_INLINE Vec each(F f) {
  Vec r;
  for (std::size_t i = 0; i < kLanes; ++i) r.v[i] = f(i);
  return r;
}

UNICORN_INLINE Vec set1(float x) {
  return each([&](std::size_t) { return x; });
}
UNICORN_INLINE Vec zero() { return set1(0.0f); }
UNICORN_INLINE Vec load(const float* p, Whole = {}) {
  return each([&](std::size_t i) { return p[i]; });
}
UNICORN_INLINE Vec load(const float* p, Part t) {  // the rest is 0
  return each([&](std::size_t i) { return i < t.n ? p[i] : 0.0f; });
}
UNICORN_INLINE void store(float* p, Vec a, Whole = {}) {
  for (std::size_t i = 0; i < kLanes; ++i) p[i] = a.v[i];
}
UNICORN_INLINE void store(float* p, Vec a, Part t) {
  for (std::size_t i = 0; i < t.n; ++i) p[i] = a.v[i];
}

UNICORN_INLINE Vec in_register(Vec a) { return a; }

UNICORN_INLINE Vec operator+(Vec a, Vec b) {
  return each([&](std::size_t i) { return a.v[i] + b.v[i]; });
}
UNICORN_INLINE Vec operator-(Vec a, Vec b) {
  return each([&](std::size_t i) { return a.v[i] - b.v[i]; });
}
UNICORN_INLINE Vec operator*(Vec a, Vec b) {
  return each([&](std::size_t i) { return a.v[i] * b.v[i]; });
}
UNICORN_INLINE Vec operator/(Vec a, Vec b) {
  return each([&](std::size_t i) { return a.v[i] / b.v[i]; });
}
UNICORN_INLINE Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
UNICORN_INLINE Vec fnma(Vec a, Vec b, Vec c) { return c - a * b; }
// A NaN in b comes through; in a it does not.
UNICORN_INLINE Vec max(Vec a, Vec b) {
  return each([&](std::size_t i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
UNICORN_INLINE Vec min(Vec a, Vec b) {
  return each([&](std::size_t i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
UNICORN_INLINE Vec round(Vec a) {  // |a| < 2^22
  constexpr float kMagic = 12582912.0f;  // 1.5 · 2^23: adding it leaves no bits below 1
  return each([&](std::size_t i) {
    const float shifted = a.v[i] + kMagic;
    return shifted - kMagic;
  });
}
UNICORN_INLINE Vec abs(Vec a) {
  return each([&](std::size_t i) { return __builtin_fabsf(a.v[i]); });
}
UNICORN_INLINE Vec copysign(Vec magnitude, Vec sign) {
  return each([&](std::size_t i) { return __builtin_copysignf(magnitude.v[i], sign.v[i]); });
}
// where a < b: x, else y (also where either is NaN)
UNICORN_INLINE Vec select_less(Vec a, Vec b, Vec x, Vec y) {
  return each([&](std::size_t i) { return a.v[i] < b.v[i] ? x.v[i] : y.v[i]; });
}

// a · 2^n for whole n in [-150, 128], rounded once even where the result is subnormal (a is near 1).
UNICORN_INLINE Vec scale_by_power(Vec a, Vec n) {
  return each([&](std::size_t i) {
    const auto power = static_cast<std::int32_t>(n.v[i] == n.v[i] ? n.v[i] : 0.0f);
    const std::int32_t half = power >> 1;
    const float p = __builtin_bit_cast(float, (half + 127) << 23);
    const float q = __builtin_bit_cast(float, (power - half + 127) << 23);
    return a.v[i] * p * q;
  });
}

UNICORN_INLINE float reduce_add(Vec a) {
  return ((a.v[0] + a.v[4]) + (a.v[2] + a.v[6])) + ((a.v[1] + a.v[5]) + (a.v[3] + a.v[7]));
}
UNICORN_INLINE float reduce_max(Vec a) {
  float m = a.v[0];
  for (std::size_t i = 1; i < kLanes; ++i) m = a.v[i] > m ? a.v[i] : m;
  return m;
}
UNICORN_INLINE void reduce_add4(Vec a, Vec b, Vec c, Vec d, float* out) {
  out[0] = reduce_add(a);
  out[1] = reduce_add(b);
  out[2] = reduce_add(c);
  out[3] = reduce_add(d);
}

// Sums in double: of the lanes, and of their squares.
struct Moments {
  double sum[kLanes], squares[kLanes];
};
UNICORN_INLINE Moments no_moments() { return {}; }
UNICORN_INLINE void accumulate(Moments& m, Vec a) {
  for (std::size_t i = 0; i < kLanes; ++i) {
    const double x = a.v[i];
    m.sum[i] += x;
    m.squares[i] += x * x;
  }
}
UNICORN_INLINE double reduce_pd(const double* a) {
  return ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]));
}
UNICORN_INLINE double total(const Moments& m) { return reduce_pd(m.sum); }
UNICORN_INLINE double total_squares(const Moments& m) { return reduce_pd(m.squares); }

// Bit i: lane i is greater than 0.
UNICORN_INLINE std::uint32_t positive(Vec a) {
  std::uint32_t bits = 0;
  for (std::size_t i = 0; i < kLanes; ++i) bits |= (a.v[i] > 0 ? 1u : 0u) << i;
  return bits;
}

UNICORN_INLINE Vec load_f16(const std::uint16_t* p) {
  return each([&](std::size_t i) { return f16_to_f32(p[i]); });
}
UNICORN_INLINE void store_f16(std::uint16_t* p, Vec a) {
  for (std::size_t i = 0; i < kLanes; ++i) p[i] = f32_to_f16(a.v[i]);
}
UNICORN_INLINE Vec load_bf16(const std::uint16_t* p) {
  return each([&](std::size_t i) { return __builtin_bit_cast(float, static_cast<std::uint32_t>(p[i]) << 16); });
}
UNICORN_INLINE Vec load_i8(const std::int8_t* p) {
  return each([&](std::size_t i) { return static_cast<float>(p[i]); });
}

}  // namespace
}  // namespace unicorn::cpu::scalar
