// The bytes of one block of every quantised type, exactly as files hold them (ggml-org/ggml, ggml-common.h).
// Little-endian; `scale` and `min` fields named d, m, dmin are f16 bits. All structs are 2-byte aligned or less, which
// any tensor of a GGUF file satisfies; code that may meet unaligned rows copies a block out first (load_block).
//
// A nibble pair packs two elements that lie half a group apart, not side by side:
//
//   qs[j]   bit 7 6 5 4   3 2 1 0          group of 32: element j in the low nibble, j + 16 in the high one
//           hi            lo
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/dtype.h"

namespace unicorn {

inline constexpr std::size_t kBlock = 32;        // elements of the *_0, *_1, iq4_nl and mxfp4 types
inline constexpr std::size_t kSuperBlock = 256;  // elements of the *_k and iq4_xs types

// y = d · (q − 8)
struct BlockQ4_0 {
  std::uint16_t d;
  std::uint8_t qs[16];
};
// y = d · q + m
struct BlockQ4_1 {
  std::uint16_t d, m;
  std::uint8_t qs[16];
};
// y = d · (q − 16); bit e of the little-endian u32 in qh is the fifth bit of element e
struct BlockQ5_0 {
  std::uint16_t d;
  std::uint8_t qh[4];
  std::uint8_t qs[16];
};
// y = d · q + m
struct BlockQ5_1 {
  std::uint16_t d, m;
  std::uint8_t qh[4];
  std::uint8_t qs[16];
};
// y = d · q
struct BlockQ8_0 {
  std::uint16_t d;
  std::int8_t qs[32];
};
// y = d · kIq4Values[q]
struct BlockIq4Nl {
  std::uint16_t d;
  std::uint8_t qs[16];
};
// y = 2^(e − 128) · kMxfp4Values[q]
struct BlockMxfp4 {
  std::uint8_t e;
  std::uint8_t qs[16];
};

// 16 sub-blocks of 16. y = d · (scales[s] & 15) · q − dmin · (scales[s] >> 4)
//   qs   two bits per element; for half h (128 elements) and i = 0 … 31, from bit 0 up:
//        qs[32h + i] = e(128h + i), e(128h + 32 + i), e(128h + 64 + i), e(128h + 96 + i)
struct BlockQ2K {
  std::uint8_t scales[16];
  std::uint8_t qs[64];
  std::uint16_t d, dmin;
};
// 16 sub-blocks of 16. y = d · (scale[s] − 32) · (q − 4); q's low two bits as Q2_K's qs
//   hmask   bit b of hmask[i] is q's third bit for element 32b + i
//   scales  6 bits each: low nibbles of scales 0–7 and 8–15 share bytes 0–7, byte 8 + s % 4 holds the top two bits
//           of scales s, s+4, s+8, s+12, from bit 0 up
struct BlockQ3K {
  std::uint8_t hmask[32];
  std::uint8_t qs[64];
  std::uint8_t scales[12];
  std::uint16_t d;
};
// 8 sub-blocks of 32. y = d · scale[s] · q − dmin · min[s]
//   qs      for pair p: qs[32p + i] = e(64p + i) in the low nibble, e(64p + 32 + i) in the high one
//   scales  6-bit scales and mins, see unpack_scale_min
struct BlockQ4K {
  std::uint16_t d, dmin;
  std::uint8_t scales[12];
  std::uint8_t qs[128];
};
// As Q4_K; bit s of qh[i] is the fifth bit of element 32s + i
struct BlockQ5K {
  std::uint16_t d, dmin;
  std::uint8_t scales[12];
  std::uint8_t qh[32];
  std::uint8_t qs[128];
};
// 16 sub-blocks of 16. y = d · scales[s] · (q − 32)
//   ql  low nibbles, for half h: ql[64h + i] = e(128h + i), e(128h + 64 + i) for i = 0 … 63
//   qh  two high bits, laid out as Q2_K's qs
struct BlockQ6K {
  std::uint8_t ql[128];
  std::uint8_t qh[64];
  std::int8_t scales[16];
  std::uint16_t d;
};
// 8 sub-blocks of 32, each packed like iq4_nl. y = d · (scale[s] − 32) · kIq4Values[q]
//   scales_l  low nibbles, two scales a byte (even s low); scales_h  bits 2s, 2s + 1: the top two
struct BlockIq4Xs {
  std::uint16_t d;
  std::uint16_t scales_h;
  std::uint8_t scales_l[4];
  std::uint8_t qs[128];
};

inline constexpr std::int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                               1,    13,   25,  38,  53,  69,  89,  113};
// Twice the E2M1 values, so that they are integers; the scale makes up for it.
inline constexpr std::int8_t kMxfp4Values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22);
static_assert(sizeof(BlockQ5_1) == 24 && sizeof(BlockQ8_0) == 34 && sizeof(BlockIq4Nl) == 18 &&
              sizeof(BlockMxfp4) == 17);
static_assert(sizeof(BlockQ2K) == 84 && sizeof(BlockQ3K) == 110 && sizeof(BlockQ4K) == 144 && sizeof(BlockQ5K) == 176);
static_assert(sizeof(BlockQ6K) == 210 && sizeof(BlockIq4Xs) == 136);

// 2^(e − 128), for e = 0 and 1 a denormal. ggml's reading of e = 255, which the OCP format calls NaN, is kept: 2^127.
[[gnu::always_inline]] inline float mxfp4_scale(std::uint8_t e) noexcept {
  const std::uint32_t bits = e < 2 ? 0x00200000u << e : (static_cast<std::uint32_t>(e) - 1u) << 23;
  return __builtin_bit_cast(float, bits);
}

// Bit e is the fifth bit of element e of a Q5_0 or Q5_1 block.
[[gnu::always_inline]] inline std::uint32_t fifth_bits(const std::uint8_t* qh) noexcept {
  return qh[0] | std::uint32_t{qh[1]} << 8 | std::uint32_t{qh[2]} << 16 | std::uint32_t{qh[3]} << 24;
}

// Scale and min of sub-block s = 0 … 7 of Q4_K and Q5_K. The twelve bytes, by columns:
//
//   byte      bit 7 6   5 … 0                   byte   bit 7 … 4     3 … 0
//   0 … 3     S[s+4]>>4 S[s]     (s = byte)     8 … 11 M[s] & 15     S[s] & 15    (s = byte − 4)
//   4 … 7     M[s+4]>>4 M[s]     (s = byte−4)
struct ScaleMin {
  std::uint8_t scale, min;
};
[[gnu::always_inline]] inline ScaleMin unpack_scale_min(const std::uint8_t* p, std::size_t s) noexcept {
  if (s < 4) return {static_cast<std::uint8_t>(p[s] & 63), static_cast<std::uint8_t>(p[s + 4] & 63)};
  return {static_cast<std::uint8_t>((p[s + 4] & 15) | (p[s - 4] >> 6) << 4),
          static_cast<std::uint8_t>((p[s + 4] >> 4) | (p[s] >> 6) << 4)};
}

// The signed 6-bit scale of sub-block s = 0 … 15 of Q3_K, −32 … 31.
[[gnu::always_inline]] inline int unpack_scale_q3_k(const std::uint8_t* p, std::size_t s) noexcept {
  const int low = (s < 8 ? p[s] : p[s - 8] >> 4) & 15;
  const int high = (p[8 + s % 4] >> (2 * (s / 4))) & 3;
  return (low | high << 4) - 32;
}

// The signed 6-bit scale of sub-block s = 0 … 7 of IQ4_XS, −32 … 31.
[[gnu::always_inline]] inline int unpack_scale_iq4_xs(const BlockIq4Xs& b, std::size_t s) noexcept {
  const int low = (b.scales_l[s / 2] >> (4 * (s % 2))) & 15;
  const int high = (b.scales_h >> (2 * s)) & 3;
  return (low | high << 4) - 32;
}

// A block out of a row of any alignment.
template <class Block>
[[gnu::always_inline]] inline Block load_block(const std::byte* row, std::size_t i) noexcept {
  Block block;
  std::memcpy(&block, row + i * sizeof(Block), sizeof(Block));
  return block;
}

}  // namespace unicorn
