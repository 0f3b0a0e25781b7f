// From the blocks of a file to what the packer and the kernels on Layout::rows want: one byte per code, in order of k,
// and the block's scales apart. Everything is forced inline or internal, for files with instruction-set flags.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "backends/cpu/packed_format.h"
#include "quant/blocks.h"

namespace unicorn::cpu {
namespace {

// A file block of a quantised dtype: 32 or 256 elements.
struct FileBlock {
  std::uint8_t codes[256];  // unsigned; q8_0 as q + 128, codebook types as the index
  std::uint16_t d, m;       // f16 bits: scale (mxfp4: the exponent byte) and min or dmin
  std::uint8_t scale[16];   // sub-blocks: i8, u8, or for q2_k scale | min << 4
  std::uint8_t min[8];      // q4_k, q5_k
};

constexpr std::size_t file_block(DType dtype) {  // elements per file block, of a quantised dtype
  switch (dtype) {
    case DType::q2_k:
    case DType::q3_k:
    case DType::q4_k:
    case DType::q5_k:
    case DType::q6_k:
    case DType::iq4_xs:
      return 256;
    default:
      return 32;
  }
}

[[gnu::always_inline]] inline void split_nibbles(const std::uint8_t* qs, std::uint8_t* codes, int n) {
  for (int i = 0; i < n; ++i) {
    codes[i] = qs[i] & 15;
    codes[i + n] = qs[i] >> 4;
  }
}

[[gnu::always_inline]] inline std::uint32_t load_u32(const void* p) {
  std::uint32_t v;
  __builtin_memcpy(&v, p, 4);
  return v;
}

// Bits 0 … 31 as a fifth bit (value 16) of 32 codes.
[[gnu::always_inline]] inline void or_fifth_bits(std::uint32_t bits, std::uint8_t* codes) {
  for (int byte = 0; byte < 4; ++byte) {
    const auto b = static_cast<std::uint8_t>(bits >> (8 * byte));
    for (int i = 0; i < 8; ++i) codes[8 * byte + i] |= static_cast<std::uint8_t>(((b >> i) & 1) << 4);
  }
}

template <DType D>
[[gnu::always_inline]] inline void read_file_block(const std::byte* row, std::size_t i, FileBlock& out) {
  if constexpr (D == DType::q4_0 || D == DType::iq4_nl) {
    const auto b = load_block<BlockQ4_0>(row, i);
    out.d = b.d;
    split_nibbles(b.qs, out.codes, 16);
  } else if constexpr (D == DType::q4_1) {
    const auto b = load_block<BlockQ4_1>(row, i);
    out.d = b.d;
    out.m = b.m;
    split_nibbles(b.qs, out.codes, 16);
  } else if constexpr (D == DType::q5_0) {
    const auto b = load_block<BlockQ5_0>(row, i);
    out.d = b.d;
    split_nibbles(b.qs, out.codes, 16);
    or_fifth_bits(load_u32(b.qh), out.codes);
  } else if constexpr (D == DType::q5_1) {
    const auto b = load_block<BlockQ5_1>(row, i);
    out.d = b.d;
    out.m = b.m;
    split_nibbles(b.qs, out.codes, 16);
    or_fifth_bits(load_u32(b.qh), out.codes);
  } else if constexpr (D == DType::q8_0) {
    const auto b = load_block<BlockQ8_0>(row, i);
    out.d = b.d;
    for (int e = 0; e < 32; ++e) out.codes[e] = static_cast<std::uint8_t>(b.qs[e]) ^ 0x80;
  } else if constexpr (D == DType::mxfp4) {
    const auto b = load_block<BlockMxfp4>(row, i);
    out.d = b.e;
    split_nibbles(b.qs, out.codes, 16);
  } else if constexpr (D == DType::q2_k || D == DType::q3_k) {
    const auto b = load_block<std::conditional_t<D == DType::q2_k, BlockQ2K, BlockQ3K>>(row, i);
    out.d = b.d;
    for (int h = 0; h < 2; ++h)
      for (int s = 0; s < 4; ++s)
        for (int e = 0; e < 32; ++e) out.codes[128 * h + 32 * s + e] = (b.qs[32 * h + e] >> (2 * s)) & 3;
    if constexpr (D == DType::q2_k) {
      out.m = b.dmin;
      for (int s = 0; s < 16; ++s) out.scale[s] = b.scales[s];
    } else {
      for (int s = 0; s < 8; ++s)
        for (int e = 0; e < 32; ++e) out.codes[32 * s + e] |= static_cast<std::uint8_t>(((b.hmask[e] >> s) & 1) << 2);
      for (std::size_t s = 0; s < 16; ++s) out.scale[s] = static_cast<std::uint8_t>(unpack_scale_q3_k(b.scales, s));
    }
  } else if constexpr (D == DType::q4_k || D == DType::q5_k) {
    const auto b = load_block<std::conditional_t<D == DType::q4_k, BlockQ4K, BlockQ5K>>(row, i);
    out.d = b.d;
    out.m = b.dmin;
    for (int p = 0; p < 4; ++p) split_nibbles(b.qs + 32 * p, out.codes + 64 * p, 32);
    if constexpr (D == DType::q5_k)
      for (int s = 0; s < 8; ++s)
        for (int e = 0; e < 32; ++e) out.codes[32 * s + e] |= static_cast<std::uint8_t>(((b.qh[e] >> s) & 1) << 4);
    for (std::size_t s = 0; s < 8; ++s) {
      const ScaleMin sm = unpack_scale_min(b.scales, s);
      out.scale[s] = sm.scale;
      out.min[s] = sm.min;
    }
  } else if constexpr (D == DType::q6_k) {
    const auto b = load_block<BlockQ6K>(row, i);
    out.d = b.d;
    for (int h = 0; h < 2; ++h) {
      split_nibbles(b.ql + 64 * h, out.codes + 128 * h, 64);
      for (int s = 0; s < 4; ++s)
        for (int e = 0; e < 32; ++e)
          out.codes[128 * h + 32 * s + e] |= static_cast<std::uint8_t>(((b.qh[32 * h + e] >> (2 * s)) & 3) << 4);
    }
    for (int s = 0; s < 16; ++s) out.scale[s] = static_cast<std::uint8_t>(b.scales[s]);
  } else {
    static_assert(D == DType::iq4_xs);
    const auto b = load_block<BlockIq4Xs>(row, i);
    out.d = b.d;
    for (int s = 0; s < 8; ++s) split_nibbles(b.qs + 16 * s, out.codes + 32 * s, 16);
    for (std::size_t s = 0; s < 8; ++s) out.scale[s] = static_cast<std::uint8_t>(unpack_scale_iq4_xs(b, s));
  }
}

[[gnu::always_inline]] inline void store_scale(std::uint8_t* p, std::uint16_t v) { __builtin_memcpy(p, &v, 2); }

// Scales of the row's file block into the unit's head; `block` is the block's place in the unit (32-wide types).
[[gnu::always_inline]] inline void write_scales(Scales kind, const FileBlock& fb, std::size_t block, std::size_t r,
                                                std::uint8_t* unit) {
  switch (kind) {
    case Scales::f16:
      store_scale(unit + 32 * block + 2 * r, fb.d);
      break;
    case Scales::e8m0:
      unit[16 * block + r] = static_cast<std::uint8_t>(fb.d);
      break;
    case Scales::f16_min:
      store_scale(unit + 2 * r, fb.d);
      store_scale(unit + 32 + 2 * r, fb.m);
      break;
    case Scales::sub32:
    case Scales::sub16:
      store_scale(unit + 2 * r, fb.d);
      for (std::size_t s = 0; s < (kind == Scales::sub32 ? 8u : 16u); ++s) unit[64 + 16 * s + r] = fb.scale[s];
      break;
    case Scales::sub32_min:
      store_scale(unit + 2 * r, fb.d);
      store_scale(unit + 32 + 2 * r, fb.m);
      for (std::size_t s = 0; s < 8; ++s) {
        unit[64 + 16 * s + r] = fb.scale[s];
        unit[192 + 16 * s + r] = fb.min[s];
      }
      break;
    case Scales::sub16_min:
      store_scale(unit + 2 * r, fb.d);
      store_scale(unit + 32 + 2 * r, fb.m);
      for (std::size_t s = 0; s < 16; ++s) unit[64 + 16 * s + r] = fb.scale[s];
      break;
  }
}

// Terms [begin, end) of the k of rows of floats (dtype's element size), interleaved as packed_format.h has them.
template <DType D>
[[gnu::always_inline]] inline void pack_floats(const std::byte* const* rows, std::size_t n_rows, std::size_t begin,
                                               std::size_t end, std::uint8_t* panel) {
  if constexpr (D == DType::f16) {
    for (std::size_t i = begin; i < end; ++i)
      for (std::size_t r = 0; r < n_rows; ++r) __builtin_memcpy(panel + 32 * (i - begin) + 2 * r, rows[r] + 2 * i, 2);
  } else {
    constexpr std::size_t kStep = D == DType::f32 ? 1 : 2;  // k per dword
    std::size_t i = begin;
    for (; i + kStep <= end; i += kStep, panel += 64)
      for (std::size_t r = 0; r < n_rows; ++r) __builtin_memcpy(panel + 4 * r, rows[r] + 4 / kStep * i, 4);
    if (i < end)
      for (std::size_t r = 0; r < n_rows; ++r) {
        __builtin_memset(panel + 4 * r, 0, 4);
        __builtin_memcpy(panel + 4 * r, rows[r] + 2 * i, 2);
      }
  }
}

}  // namespace
}  // namespace unicorn::cpu
