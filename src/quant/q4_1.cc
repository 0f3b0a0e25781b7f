// Q4_1: 32 elements, 20 bytes, y = d · q + m.
#include "quant/codecs.h"
#include "quant/extremes.h"
#include "quant/nibbles.h"
#include "quant/search.h"

namespace unicorn::quant {

void decode_q4_1(const std::byte* row, float* out, std::size_t n_blocks) noexcept {
  for (std::size_t b = 0; b < n_blocks; ++b, out += kBlock) {
    const auto block = load_block<BlockQ4_1>(row, b);
    const float d = f16_to_f32(block.d), m = f16_to_f32(block.m);
    for (std::size_t j = 0; j < 16; ++j) {
      out[j] = d * static_cast<float>(block.qs[j] & 15) + m;
      out[j + 16] = d * static_cast<float>(block.qs[j] >> 4) + m;
    }
  }
}

// Without importance: ggml's reference recipe (the range min … max in 15 steps). With importance: a search.
void encode_q4_1(const float* in, std::byte* row, std::size_t n_blocks, const float* importance) noexcept {
  for (std::size_t b = 0; b < n_blocks; ++b, in += kBlock) {
    BlockQ4_1 block;
    if (importance != nullptr) {
      const auto fit = fit_affine_block<15, kBlock>(in, importance + b * kBlock, {0.7f, 0.05f, 9});
      block.d = fit.d;
      block.m = fit.m;
      pack_nibbles(fit.codes.data(), block.qs);
    } else {
      Extremes e;
      find_extremes(in, e);
      tame_range(e);
      const float d = (e.max - e.min) / 15.0f;
      block.d = f16_scale(d);
      block.m = f16_scale(e.min);
      pack_truncated_nibbles(e.x, reciprocal(d), e.min, 0.5f, block.qs);
    }
    std::memcpy(row + b * sizeof block, &block, sizeof block);
  }
}

}  // namespace unicorn::quant
