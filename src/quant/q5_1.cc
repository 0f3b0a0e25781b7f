// Q5_1: 32 elements, 24 bytes, y = d · q + m.
#include "quant/codecs.h"
#include "quant/extremes.h"
#include "quant/nibbles.h"
#include "quant/search.h"

namespace unicorn::quant {

void decode_q5_1(const std::byte* row, float* out, std::size_t n_blocks) noexcept {
  for (std::size_t b = 0; b < n_blocks; ++b, out += kBlock) {
    const auto block = load_block<BlockQ5_1>(row, b);
    const float d = f16_to_f32(block.d), m = f16_to_f32(block.m);
    const std::uint32_t high = fifth_bits(block.qh);
    for (std::size_t j = 0; j < 16; ++j) {
      out[j] = d * static_cast<float>((block.qs[j] & 15u) | (high >> j & 1u) << 4) + m;
      out[j + 16] = d * static_cast<float>(block.qs[j] >> 4 | (high >> (j + 16) & 1u) << 4) + m;
    }
  }
}

// Without importance: ggml's reference recipe (the range min … max in 31 steps). With importance: a search.
void encode_q5_1(const float* in, std::byte* row, std::size_t n_blocks, const float* importance) noexcept {
  for (std::size_t b = 0; b < n_blocks; ++b, in += kBlock) {
    BlockQ5_1 block;
    if (importance != nullptr) {
      const auto fit = fit_affine_block<31, kBlock>(in, importance + b * kBlock, {0.7f, 0.05f, 9});
      block.d = fit.d;
      block.m = fit.m;
      pack_nibbles(fit.codes.data(), block.qs);
      pack_fifth_bits(fit.codes.data(), block.qh);
    } else {
      Extremes e;
      find_extremes(in, e);
      tame_range(e);
      const float d = (e.max - e.min) / 31.0f;
      block.d = f16_scale(d);
      block.m = f16_scale(e.min);
      alignas(16) std::uint8_t codes[kBlock];
      truncated_codes(e.x, reciprocal(d), e.min, 0.5f, 31, codes);
      pack_nibbles(codes, block.qs);
      pack_fifth_bits(codes, block.qh);
    }
    std::memcpy(row + b * sizeof block, &block, sizeof block);
  }
}

}  // namespace unicorn::quant
