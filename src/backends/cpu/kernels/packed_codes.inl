// What the matmul kernels read of a packed unit, in registers: the eight groups of codes of a block and its scales.
// packed_format.h draws the bytes. Included once per instruction set, after its V (isa/vector_*.h).
#pragma once

#include "backends/cpu/packed_format.h"
#include "quant/blocks.h"

// Arrays of registers stay registers only when the loops over them are unrolled before the compiler looks at them.
#if defined(__clang__)
#define UNICORN_UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNICORN_UNROLL _Pragma("GCC unroll 16")
#endif

namespace unicorn::cpu {
namespace {

template <int n>
struct Index {
  static constexpr int value = n;
};
template <int... indices>
struct Indices {};
#if defined(__clang__)
template <class, int... indices>
using IntIndices = Indices<indices...>;
#endif

// f(Index<0>{}), f(Index<1>{}) … with constants the shifts can use.
template <class F, int... indices>
[[gnu::always_inline]] inline void unrolled_over(F&& f, Indices<indices...>) {
  (f(Index<indices>{}), ...);
}
template <int n, class F>
[[gnu::always_inline]] inline void unrolled(F&& f) {
#if defined(__clang__)
  unrolled_over(f, __make_integer_seq<IntIndices, int, n>{});
#else
  unrolled_over(f, Indices<__integer_pack(n)...>{});
#endif
}

// The codebooks as the kernels use them: biased to be unsigned where the product wants unsigned · signed, as they are
// where it splits off the sign.
alignas(16) constexpr std::uint8_t kIq4Biased[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                                     129, 141, 153, 166, 181, 197, 217, 241};
alignas(16) constexpr std::uint8_t kMxfp4Biased[16] = {16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4};

// How the integer products of a dtype are made on this V. Without a dot instruction byte products are summed in 16 bits,
// as many groups as cannot overflow; then pairs are widened:
//   kDepth   groups per 16-bit sum. Two products are at most 2 · 127 · max code: 4-bit codes 8 · 3810 < 32768, 5-bit
//            4 · 7874, 6-bit 2 · 16002, mxfp4 (28) 4 · 7112.
//   kSigned  codes of 8 bits leave no room: they stay signed and |w| · (sign(w)·x) is used, 2 · 128 · 127 = 32512, one
//            group at a time. (Two 4-bit planes, u = 16 · high + low, need no sign and widen once: -6 % on Zen 4.)
template <DType D>
struct Traits {
  static constexpr PackedFormat kFormat = packed_format(D);
  static constexpr bool kCodebook = D == DType::iq4_nl || D == DType::iq4_xs || D == DType::mxfp4;
  static constexpr bool kWide = kFormat.codes == Codes::byte || D == DType::iq4_nl || D == DType::iq4_xs;
  static constexpr bool kSigned = kWide && !V::kHasDot;
  static constexpr int kDepth = V::kHasDot                                                ? 8
                                : kWide                                                   ? 1
                                : kFormat.codes == Codes::nibble_pair                     ? 2
                                : kFormat.codes == Codes::nibble_bit || D == DType::mxfp4 ? 4
                                                                                          : 8;
  static constexpr int kHalves = kFormat.scales == Scales::sub16 || kFormat.scales == Scales::sub16_min ? 2 : 1;
  static constexpr bool kHasMin =
      kFormat.scales == Scales::f16_min || kFormat.scales == Scales::sub32_min || kFormat.scales == Scales::sub16_min;
  static constexpr bool kHasZero = kFormat.zero != 0 && !kSigned;
  static constexpr int kZeroShift = __builtin_ctz(kFormat.zero | 0x100);
  static_assert(kFormat.zero == 0 || kFormat.zero == 1 << kZeroShift);
};

// Raw units: scales as packed, but every code a byte of its own (512 B per block). What the kernels on other layouts
// build as they go.
template <DType D, bool kRaw>
constexpr std::size_t kCodeBytes = kRaw ? 512 : packed_format(D).code_bytes;
template <DType D, bool kRaw>
constexpr std::size_t kUnitBytes = packed_format(D).scale_bytes + packed_format(D).blocks * kCodeBytes<D, kRaw>;

// Scales of one vector of outputs: `wide` points at its f16 d (mxfp4: exponents), `sub` at the sub-block's bytes.
template <DType D>
[[gnu::always_inline]] inline V::F decode_scale(const std::uint8_t* wide, const std::uint8_t* sub) {
  constexpr Scales kScales = packed_format(D).scales;
  if constexpr (kScales == Scales::e8m0) return V::load_e8m0(wide);
  const V::F d = V::load_f16(wide);
  if constexpr (kScales == Scales::f16 || kScales == Scales::f16_min) return d;
  if constexpr (kScales == Scales::sub32 || kScales == Scales::sub16) return V::mul(d, V::to_f(V::load_i8(sub)));
  if constexpr (kScales == Scales::sub32_min) return V::mul(d, V::to_f(V::load_u8(sub)));
  return V::mul(d, V::to_f(V::and_(V::load_u8(sub), V::set1(15))));
}

// What multiplies minus the sum of x's codes.
template <DType D>
[[gnu::always_inline]] inline V::F decode_min(const std::uint8_t* wide, const std::uint8_t* sub) {
  constexpr Scales kScales = packed_format(D).scales;
  static_assert(Traits<D>::kHasMin);
  const V::F m = V::load_f16(wide);
  if constexpr (kScales == Scales::f16_min) return V::negate(m);
  if constexpr (kScales == Scales::sub32_min) return V::mul(m, V::to_f(V::load_u8(sub)));
  return V::mul(m, V::to_f(V::template shift<-4>(V::load_u8(sub))));
}

// Block `block` of a unit, for vectors p = 0 … 16 / kLanes - 1 of the panel's rows.
template <DType D, bool kRaw = false>
struct PackedBlock {
  using T = Traits<D>;
  const std::uint8_t* unit;
  std::size_t block;

  // Codes of group g, as unsigned bytes (kSigned: signed ones).
  template <int g>
  [[gnu::always_inline]] V::I group(int p) const {
    const std::uint8_t* codes = unit + T::kFormat.scale_bytes + block * kCodeBytes<D, kRaw> + p * (4 * V::kLanes);
    V::I code;
    if constexpr (kRaw || T::kFormat.codes == Codes::byte)
      code = V::load(codes + 64 * g);
    else if constexpr (T::kFormat.codes == Codes::nibble)
      code = nibble<g>(codes);
    else if constexpr (T::kFormat.codes == Codes::nibble_bit)
      code = V::or_and(nibble<g>(codes), V::template shift<4 - g>(V::load(codes + 256)), V::set1(0x10101010));
    else if constexpr (T::kFormat.codes == Codes::nibble_pair)
      code = V::or_and(nibble<g>(codes), V::template shift<4 - 2 * (g >> 1)>(V::load(codes + 256 + 64 * (g & 1))),
                       V::set1(0x30303030));
    else if constexpr (T::kFormat.codes == Codes::pair)
      code = pair<g>(codes);
    else
      code = V::or_and(pair<g>(codes), V::template shift<2 - g>(V::load(codes + 128)), V::set1(0x04040404));

    if constexpr (T::kCodebook) {
      const std::uint8_t* table = D == DType::mxfp4 ? kMxfp4Biased : T::kSigned ? iq4_signed() : kIq4Biased;
      return V::look_up(V::table(table), code);
    }
    if constexpr (T::kSigned) return V::xor_(code, V::set1(static_cast<std::int32_t>(0x80808080u)));
    return code;
  }

  // Scale of the half (16-wide types; else 0), and what multiplies minus the sum of x's codes.
  [[gnu::always_inline]] V::F scale(int p, int half) const {
    const int r = p * V::kLanes;
    if constexpr (T::kFormat.scales == Scales::f16) return decode_scale<D>(unit + 32 * block + 2 * r, nullptr);
    if constexpr (T::kFormat.scales == Scales::e8m0) return decode_scale<D>(unit + 16 * block + r, nullptr);
    return decode_scale<D>(unit + 2 * r, unit + 64 + 16 * (T::kHalves * block + static_cast<std::size_t>(half)) + r);
  }
  [[gnu::always_inline]] V::F min(int p, int half) const {
    const int r = p * V::kLanes;
    const std::uint8_t* sub =
        T::kHalves == 1 ? unit + 192 + 16 * block : unit + 64 + 16 * (2 * block + static_cast<std::size_t>(half));
    return decode_min<D>(unit + 32 + 2 * r, sub + r);
  }

 private:
  [[gnu::always_inline]] static const std::uint8_t* iq4_signed() {
    return static_cast<const std::uint8_t*>(static_cast<const void*>(kIq4Values));
  }
  template <int g>
  [[gnu::always_inline]] static V::I nibble(const std::uint8_t* plane) {
    return V::and_(V::template shift<(g < 4 ? 0 : -4)>(V::load(plane + 64 * (g & 3))), V::set1(0x0f0f0f0f));
  }
  template <int g>
  [[gnu::always_inline]] static V::I pair(const std::uint8_t* plane) {
    return V::and_(V::template shift<-2 * (g >> 1)>(V::load(plane + 64 * (g & 1))), V::set1(0x03030303));
  }
};

}  // namespace
}  // namespace unicorn::cpu
