// The bytes of Layout::panels for every quantised dtype, shared by the packer and the kernels of every instruction set
// (a packed weight may be kept on disk and read on another machine).
//
// A panel is 16 consecutive output rows; rows beyond n are zeros. Along k it is a run of units, one after another, so
// that a matvec reads one linear stream. A unit covers `blocks` blocks of 32 k:
//
//   [ scales of the unit, 16 rows interleaved ][ codes of block 0 ][ codes of block 1 ] …      all pieces 64 B aligned
//
// Blocks beyond k are zeros too. Codes are unsigned and split into bit planes, so no bit is read that the file does
// not have. Group g = 0 … 7 of a block holds k = 4g … 4g + 3; a plane stores 16 rows × 4 bytes (64 B) at a time, byte
// 4r + b belonging to row r and k = 4g + b: what vpdpbusd multiplies, one output row per 32-bit lane.
//
//   plane     bytes/block   64 B piece j, within a byte from bit 0 up
//   byte      512           group j
//   nibble    256           groups j, j + 4
//   pair      128           groups j, j + 2, j + 4, j + 6
//   bit        64           groups 0, 1, … 7
//
//   dtype           planes           scales of a unit, each × 16 rows
//   q4_0 iq4_nl     nibble           f16 d, 2 blocks
//   q4_1            nibble           f16 d; f16 m
//   q5_0            nibble, bit      f16 d, 2 blocks
//   q5_1            nibble, bit      f16 d; f16 m
//   q8_0            byte (q + 128)   f16 d, 2 blocks
//   mxfp4           nibble           u8 exponent, 4 blocks
//   q2_k            pair             f16 d; f16 dmin; u8 scale | min << 4, 16 sub-blocks of 16
//   q3_k            pair, bit        f16 d; 32 B zero; i8 scale, 16 sub-blocks
//   q4_k            nibble           f16 d; f16 dmin; u8 scale, 8 sub-blocks; u8 min, 8 sub-blocks
//   q5_k            nibble, bit      as q4_k
//   q6_k            nibble, pair     as q3_k
//   iq4_xs          nibble           f16 d; 32 B zero; i8 scale, 8 sub-blocks
//
// Float weights: f32 and f16 store for each k the 16 rows; bf16 for each pair of k the 16 rows × 2 (k padded to even),
// the order in which both halves widen with one operation each.
//
// Layout::rows: the rows as a file holds them, one after another.
//
// Layout::columns: runs along k by file blocks (32 or 256 k; floats: 32), each for all n outputs, n rounded up to 64:
//
//   [ d × n ][ m or dmin × n ][ sub-scales of sub-block 0 × n ] … [ sub-mins … ][ codes of k 0 × n ][ codes of k 1 × n ] …
//
// with the scales the dtype has (f16 d and m, one byte for the rest), and the codes of one k in the same planes:
//
//   nibble   32 outputs in 16 B: output i in the low half of byte i, output 16 + i in the high half
//   pair     64 outputs in 16 B: output 16p + i in bits 2p, 2p + 1 of byte i
//   bit      output i in bit i
//
// Floats: the n values of each k, no scales.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace unicorn::cpu {

enum class Codes : std::uint8_t { nibble, nibble_bit, nibble_pair, pair, pair_bit, byte };

enum class Scales : std::uint8_t {
  f16,  // d per block
  f16_min,  // d and m per block
  e8m0,  // power of two per block
  sub32,  // d per 256, i8 per 32
  sub32_min,  // d and dmin per 256, u8 scale and u8 min per 32
  sub16,  // d per 256, i8 per 16
  sub16_min,  // d and dmin per 256, u4 scale and u4 min per 16
};

struct PackedFormat {
  Codes codes;
  Scales scales;
  std::uint8_t zero;  // weight = scale · (code - zero) [+ min]; codebooks: of the looked-up, biased value
  std::uint8_t blocks;  // per unit
  std::uint16_t scale_bytes;  // per unit
  std::uint16_t code_bytes;  // per block
};

constexpr std::size_t unit_bytes(const PackedFormat& f) { return f.scale_bytes + std::size_t{f.blocks} * f.code_bytes; }

// Precondition: is_quantised(dtype).
constexpr PackedFormat packed_format(DType dtype) {
  switch (dtype) {
    case DType::q4_0:
      return {Codes::nibble, Scales::f16, 8, 2, 64, 256};
    case DType::q4_1:
      return {Codes::nibble, Scales::f16_min, 0, 1, 64, 256};
    case DType::q5_0:
      return {Codes::nibble_bit, Scales::f16, 16, 2, 64, 320};
    case DType::q5_1:
      return {Codes::nibble_bit, Scales::f16_min, 0, 1, 64, 320};
    case DType::q8_0:
      return {Codes::byte, Scales::f16, 128, 2, 64, 512};
    case DType::q2_k:
      return {Codes::pair, Scales::sub16_min, 0, 8, 320, 128};
    case DType::q3_k:
      return {Codes::pair_bit, Scales::sub16, 4, 8, 320, 192};
    case DType::q4_k:
      return {Codes::nibble, Scales::sub32_min, 0, 8, 320, 256};
    case DType::q5_k:
      return {Codes::nibble_bit, Scales::sub32_min, 0, 8, 320, 320};
    case DType::q6_k:
      return {Codes::nibble_pair, Scales::sub16, 32, 8, 320, 384};
    case DType::iq4_nl:
      return {Codes::nibble, Scales::f16, 128, 2, 64, 256};
    case DType::iq4_xs:
      return {Codes::nibble, Scales::sub32, 128, 8, 192, 256};
    case DType::mxfp4:
      return {Codes::nibble, Scales::e8m0, 16, 4, 64, 256};
    case DType::f32:
    case DType::f16:
    case DType::bf16:
      break;
  }
  return {};
}

// Bytes of a panel of 16 rows, a multiple of 64.
constexpr std::size_t panel_bytes(DType dtype, std::size_t k) {
  switch (dtype) {
    case DType::f32:
      return 64 * k;
    case DType::f16:
    case DType::bf16:
      return 64 * ((k + 1) / 2);
    default: {
      const PackedFormat f = packed_format(dtype);
      const std::size_t per_unit = std::size_t{32} * f.blocks;
      return (k + per_unit - 1) / per_unit * unit_bytes(f);
    }
  }
}

// ---- Layout::columns.

struct ColumnFormat {
  std::uint16_t k;  // per file block
  std::uint16_t sub_scales;  // one-byte arrays of scales, then of mins
  std::uint16_t sub_mins;
  std::uint16_t wide_bytes;  // bytes per output of d and m (mxfp4: the exponent)
  std::uint16_t code_bits;  // per code, all planes; floats: bits of an element
};

constexpr ColumnFormat column_format(DType dtype) {
  if (dtype == DType::f32) return {32, 0, 0, 0, 32};
  if (dtype == DType::f16 || dtype == DType::bf16) return {32, 0, 0, 0, 16};
  ColumnFormat c{};
  const PackedFormat f = packed_format(dtype);
  c.code_bits = static_cast<std::uint16_t>(f.code_bytes / 64);
  switch (f.scales) {
    case Scales::f16:
      c.k = 32, c.wide_bytes = 2;
      break;
    case Scales::e8m0:
      c.k = 32, c.wide_bytes = 1;
      break;
    case Scales::f16_min:
      c.k = 32, c.wide_bytes = 4;
      break;
    case Scales::sub32:
      c.k = 256, c.wide_bytes = 2, c.sub_scales = 8;
      break;
    case Scales::sub32_min:
      c.k = 256, c.wide_bytes = 4, c.sub_scales = 8, c.sub_mins = 8;
      break;
    case Scales::sub16:
      c.k = 256, c.wide_bytes = 2, c.sub_scales = 16;
      break;
    case Scales::sub16_min:
      c.k = 256, c.wide_bytes = 4, c.sub_scales = 16;
      break;
  }
  return c;
}

constexpr std::size_t column_padded(std::size_t n) { return (n + 63) / 64 * 64; }
constexpr std::size_t column_scale_bytes(DType dtype, std::size_t n) {
  const ColumnFormat c = column_format(dtype);
  return column_padded(n) * (c.wide_bytes + c.sub_scales + c.sub_mins);
}
constexpr std::size_t column_code_bytes(DType dtype, std::size_t n) {  // of one k
  return column_padded(n) * column_format(dtype).code_bits / 8;
}
constexpr std::size_t column_block_bytes(DType dtype, std::size_t n) {
  return column_scale_bytes(dtype, n) + column_format(dtype).k * column_code_bytes(dtype, n);
}

}  // namespace unicorn::cpu
