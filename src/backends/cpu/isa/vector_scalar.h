// V without intrinsics: what the kernels ask of an instruction set, and what each operation means. 16 lanes of 32 bits;
// byte 4·lane + i of a register is byte i of the lane.
#pragma once

#include <cmath>
#include <cstring>

#include "backends/cpu/kernel_table.h"
#include "quant/blocks.h"

namespace unicorn::cpu {
namespace {

// Out of line, but for what a compiler makes one instruction of: inlined everywhere, the loops over lanes would take it
// a minute and gain nothing on a processor that needs this file.
#define UNICORN_OP [[gnu::noinline]] static

struct V {
  struct I {
    std::uint32_t lane[16];
  };
  struct F {
    float lane[16];
  };
  static constexpr int kRegisters = 32;
  static constexpr int kLanes = 16;
  static constexpr std::size_t kTileM = 2;  // rows of x per tile of the blocked product
  static constexpr int kStripPanels = 1;  // panels of W beside each other in a tile
  static constexpr bool kHasDot = true;  // dot() exists; else mul_pairs & co.

  static I zero() { return {}; }
  static I load(const void* p) {
    I v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  static void store(void* p, const I& v) { std::memcpy(p, &v, sizeof v); }
  UNICORN_OP I set1(std::int32_t value) {
    I v;
    for (std::uint32_t& lane : v.lane) lane = static_cast<std::uint32_t>(value);
    return v;
  }
  UNICORN_OP I broadcast(const void* p) {  // four bytes into every lane
    std::int32_t v;
    std::memcpy(&v, p, 4);
    return set1(v);
  }
  UNICORN_OP I table(const std::uint8_t* p) {  // 16 bytes for look_up
    I v;
    for (int i = 0; i < 4; ++i) std::memcpy(v.lane + 4 * i, p, 16);
    return v;
  }
  static I and_(const I& a, const I& b) {
    return each(a, b, [](std::uint32_t x, std::uint32_t y) { return x & y; });
  }
  static I or_(const I& a, const I& b) {
    return each(a, b, [](std::uint32_t x, std::uint32_t y) { return x | y; });
  }
  static I or_and(const I& a, const I& b, const I& mask) { return or_(a, and_(b, mask)); }
  static I xor_(const I& a, const I& b) {
    return each(a, b, [](std::uint32_t x, std::uint32_t y) { return x ^ y; });
  }
  template <int n>
  static I shift(I v) {  // of each lane: left by n, or right by -n with zeros
    for (std::uint32_t& lane : v.lane) lane = n >= 0 ? lane << (n & 31) : lane >> (-n & 31);
    return v;
  }
  static I shift_left(const I& v, const I& counts) {
    return each(v, counts, [](std::uint32_t x, std::uint32_t n) { return x << n; });
  }
  UNICORN_OP I look_up(const I& table, const I& index) {  // bytes; index < 16
    std::uint8_t t[64], x[64];
    std::memcpy(t, &table, 64);
    std::memcpy(x, &index, 64);
    for (std::uint8_t& i : x) i = t[i & 15];
    return load(x);
  }
  static I add(const I& a, const I& b) {
    return each(a, b, [](std::uint32_t x, std::uint32_t y) { return x + y; });
  }

  // acc + Σ over the lane's four bytes of (unsigned u) · (signed s).
  UNICORN_OP I dot(const I& acc, const I& u, const I& s) {
    std::uint8_t ub[64];
    std::int8_t sb[64];
    std::memcpy(ub, &u, 64);
    std::memcpy(sb, &s, 64);
    I r;
    for (int l = 0; l < 16; ++l) {
      int sum = 0;
      for (int i = 0; i < 4; ++i) sum += ub[4 * l + i] * sb[4 * l + i];
      r.lane[l] = acc.lane[l] + static_cast<std::uint32_t>(sum);
    }
    return r;
  }

  // An instruction set without dot() has these instead; here they are declared for the branch the compiler discards.
  static I mul_pairs(I u, I s);  // 16-bit lanes: u·s of two neighbouring bytes
  static I add16(I a, I b);  // 16-bit lanes
  static I add_pairs(I acc, I s16);  // acc + the lane's two 16-bit numbers
  struct Signed {};  // signed bytes, split for
  static Signed split_sign(I v);
  static I mul_pairs_signed(Signed w, I s);

  static F zero_f() { return {}; }
  static F load_f(const float* p) {
    F v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  static void store_f(float* p, const F& v) { std::memcpy(p, &v, sizeof v); }
  static void store_first(float* p, const F& v, std::size_t n) { std::memcpy(p, &v, n * sizeof(float)); }
  UNICORN_OP F broadcast_f(const float* p) {
    F v;
    for (float& lane : v.lane) lane = *p;
    return v;
  }
  UNICORN_OP F to_f(const I& v) {
    F r;
    for (int l = 0; l < 16; ++l) r.lane[l] = static_cast<float>(static_cast<std::int32_t>(v.lane[l]));
    return r;
  }
  static F as_f(const I& v) { return __builtin_bit_cast(F, v); }
  UNICORN_OP F mul(F a, const F& b) {
    for (int l = 0; l < 16; ++l) a.lane[l] *= b.lane[l];
    return a;
  }
  UNICORN_OP F fma(const F& a, const F& b, F c) {  // a · b + c, rounded once
    for (int l = 0; l < 16; ++l) c.lane[l] = ::fmaf(a.lane[l], b.lane[l], c.lane[l]);
    return c;
  }
  UNICORN_OP F load_f16(const void* p) {
    std::uint16_t h[16];
    std::memcpy(h, p, sizeof h);
    F r;
    for (int l = 0; l < 16; ++l) r.lane[l] = f16_to_f32(h[l]);
    return r;
  }
  UNICORN_OP I load_u8(const void* p) {
    std::uint8_t b[16];
    std::memcpy(b, p, sizeof b);
    I r;
    for (int l = 0; l < 16; ++l) r.lane[l] = b[l];
    return r;
  }
  UNICORN_OP I load_i8(const void* p) {
    std::int8_t b[16];
    std::memcpy(b, p, sizeof b);
    I r;
    for (int l = 0; l < 16; ++l) r.lane[l] = static_cast<std::uint32_t>(static_cast<std::int32_t>(b[l]));
    return r;
  }
  UNICORN_OP F load_bf16(const void* p) {
    std::uint16_t h[16];
    std::memcpy(h, p, sizeof h);
    F r;
    for (int l = 0; l < 16; ++l) r.lane[l] = bf16_to_f32(h[l]);
    return r;
  }
  static F load_first(const float* p, std::size_t n) {  // the rest is 0
    F v{};
    std::memcpy(&v, p, n * sizeof(float));
    return v;
  }
  static I lane_index() { return {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}}; }
  static I shift_right(const I& v, const I& counts) {
    return each(v, counts, [](std::uint32_t x, std::uint32_t n) { return x >> n; });
  }
  // Lanes of a below 2^15; b's low 16 bits are a signed number: their products.
  static I mul_low16(const I& a, const I& b) {
    return each(a, b, [](std::uint32_t x, std::uint32_t y) {
      return static_cast<std::uint32_t>(static_cast<std::int32_t>(x) * static_cast<std::int16_t>(y));
    });
  }
  UNICORN_OP F negate(F v) {
    for (float& lane : v.lane) lane = -lane;
    return v;
  }
  UNICORN_OP F load_e8m0(const void* p) {  // 2^(e - 128)
    std::uint8_t e[16];
    std::memcpy(e, p, sizeof e);
    F r;
    for (int l = 0; l < 16; ++l) r.lane[l] = mxfp4_scale(e[l]);
    return r;
  }
  static void prefetch(const void*) {}

  static void keep(I& v) { asm volatile("" : "+m"(v)); }  // opaque to the optimiser

  UNICORN_OP void quantise(const float* x, ActivationBlock* out) {  // 32 floats, see ActivationBlock
    std::uint32_t top = 0;
    for (std::size_t i = 0; i < kBlock; ++i) {
      // As integers, so that a NaN is the largest of all and reaches the scale.
      const std::uint32_t bits = __builtin_bit_cast(std::uint32_t, x[i]) & 0x7fffffffu;
      top = bits > top ? bits : top;
    }
    const float amax = __builtin_bit_cast(float, top);
    const bool small = amax < 1e-30f;
    const float inverse = small ? 0.0f : 127.0f / amax;
    std::int32_t sum[2] = {0, 0};
    for (std::size_t i = 0; i < kBlock; ++i) {
      const float scaled = x[i] * inverse;
      // |scaled| < 2^22, so adding 1.5 · 2^23 rounds to an integer, ties to even. NaN and infinity become -128, as
      // the vector conversions have it.
      std::int32_t q = -128;
      if (scaled >= -128.0f && scaled <= 128.0f) q = static_cast<std::int32_t>((scaled + 12582912.0f) - 12582912.0f);
      out->q[i] = static_cast<std::int8_t>(q);
      sum[i / 16] += q;
    }
    out->scale = small ? 0.0f : amax / 127.0f;
    out->neg_lo = -sum[0];
    out->neg_hi = -sum[1];
    out->neg = out->neg_lo + out->neg_hi;
  }

 private:
  template <class Op>
  UNICORN_OP I each(const I& a, const I& b, Op op) {
    I r;
    for (int l = 0; l < 16; ++l) r.lane[l] = op(a.lane[l], b.lane[l]);
    return r;
  }
};
#undef UNICORN_OP

}  // namespace
}  // namespace unicorn::cpu
