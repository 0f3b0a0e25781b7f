// MXFP4 (OCP Microscaling 1.0): 32 elements, 17 bytes, E2M1 codes under a shared power of two.
//
//   code   bit 3 2 1 0      sign, two exponent bits, one mantissa bit: ±{0, 0.5, 1, 1.5, 2, 3, 4, 6}
//              s e e m
#include "quant/codecs.h"
#include "quant/nibbles.h"
#include "quant/search.h"

namespace unicorn::quant {
namespace {

// Codes of magnitude only, 0 … 7, of v in units of half a step (kMxfp4Values): the number of midpoints below it.
I4 magnitude_codes(F4 v) {
  I4 code = lanes::splat(0);
  for (int c = 0; c < 7; ++c)
    code -= v > lanes::splat(0.5f * static_cast<float>(kMxfp4Values[c] + kMxfp4Values[c + 1]));
  return code;
}

F4 magnitude_nearest(F4 v) {
  I4 value = lanes::splat(0);
  for (int c = 0; c < 7; ++c)
    value += (v > lanes::splat(0.5f * static_cast<float>(kMxfp4Values[c] + kMxfp4Values[c + 1]))) &
             (kMxfp4Values[c + 1] - kMxfp4Values[c]);
  return lanes::to_f32(value);
}

float error_of(const float* x, const float* w, float scale, float inverse) {
  F4 error = lanes::splat(0.0f);
  for (std::size_t i = 0; i < kBlock; i += 4) {
    const F4 v = lanes::abs(lanes::load(x + i));
    const F4 e = v - magnitude_nearest(v * inverse) * scale;
    error += lanes::load(w + i) * e * e;
  }
  return lanes::sum(error);
}

}  // namespace

void decode_mxfp4(const std::byte* row, float* out, std::size_t n_blocks) noexcept {
  for (std::size_t b = 0; b < n_blocks; ++b, out += kBlock) {
    const auto block = load_block<BlockMxfp4>(row, b);
    const float scale = mxfp4_scale(block.e);
    for (std::size_t j = 0; j < 16; ++j) {
      out[j] = scale * static_cast<float>(kMxfp4Values[block.qs[j] & 15]);
      out[j + 16] = scale * static_cast<float>(kMxfp4Values[block.qs[j] >> 4]);
    }
  }
}

// The OCP recipe puts the largest value at 4 … 7.99 of a largest code of 6; here the powers of two beside it are tried
// as well and the least squared error decides. Magnitudes are kept within 2^−100 … 2^100.
void encode_mxfp4(const float* in, std::byte* row, std::size_t n_blocks, const float* importance) noexcept {
  for (std::size_t b = 0; b < n_blocks; ++b, in += kBlock) {
    const auto p = prepare<kBlock>(in, importance == nullptr ? nullptr : importance + b * kBlock, 0x1p-100f, 0x1p100f);
    BlockMxfp4 block;
    std::uint8_t codes[kBlock] = {};
    block.e = 0;
    if (!p.zero) {
      // In units of p.unit = 2^u the largest value is in [1, 2): half steps of 2^-3 put it at 8 … 15.99 of 12.
      float least = std::numeric_limits<float>::infinity();
      int chosen = 0;
      for (int exponent = -4; exponent <= -2; ++exponent) {
        const float scale = std::ldexp(1.0f, exponent);
        const float error = error_of(p.x, p.w, scale, 1.0f / scale);
        if (error < least) {
          least = error;
          chosen = exponent;
        }
      }
      const int unit_exponent = static_cast<int>(__builtin_bit_cast(std::uint32_t, p.unit) >> 23) - 127;
      block.e = static_cast<std::uint8_t>(std::clamp(unit_exponent + chosen + 128, 0, 254));
      const float inverse = std::ldexp(1.0f, -chosen);
      alignas(16) std::int32_t four[4];
      for (std::size_t i = 0; i < kBlock; i += 4) {
        const F4 v = lanes::load(p.x + i);
        lanes::store(four, magnitude_codes(lanes::abs(v) * inverse) | (lanes::bits(v) >> 28 & 8));
        for (std::size_t l = 0; l < 4; ++l) codes[i + l] = static_cast<std::uint8_t>(four[l]);
      }
    }
    pack_nibbles(codes, block.qs);
    std::memcpy(row + b * sizeof block, &block, sizeof block);
  }
}

}  // namespace unicorn::quant
