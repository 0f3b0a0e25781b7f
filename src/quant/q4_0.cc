// Q4_0: 32 elements, 18 bytes, y = d · (q − 8). Symmetric: the value of largest magnitude becomes −8 exactly.
#include "quant/codecs.h"
#include "quant/extremes.h"
#include "quant/nibbles.h"
#include "quant/search.h"

namespace unicorn::quant {

void decode_q4_0(const std::byte* row, float* out, std::size_t n_blocks) noexcept {
  for (std::size_t b = 0; b < n_blocks; ++b, out += kBlock) {
    const auto block = load_block<BlockQ4_0>(row, b);
    const float d = f16_to_f32(block.d);
    for (std::size_t j = 0; j < 16; ++j) {
      out[j] = d * static_cast<float>((block.qs[j] & 15) - 8);
      out[j + 16] = d * static_cast<float>((block.qs[j] >> 4) - 8);
    }
  }
}

// Without importance: ggml's reference recipe, bit for bit (d = v / −8 with v the value of largest magnitude, codes from
// the reciprocal of the unrounded d). With importance: a scale search.
void encode_q4_0(const float* in, std::byte* row, std::size_t n_blocks, const float* importance) noexcept {
  for (std::size_t b = 0; b < n_blocks; ++b, in += kBlock) {
    BlockQ4_0 block;
    if (importance != nullptr) {
      const auto fit = fit_scale<UniformGrid<-8, 7>, kBlock>(in, importance + b * kBlock, {0.7f, 0.05f, 9});
      block.d = fit.d;
      pack_nibbles(fit.codes.data(), block.qs);
    } else {
      Extremes e;
      find_extremes(in, e);
      const float d = e.largest() / -8.0f;
      const float inverse = reciprocal(d);
      block.d = f16_scale(d);
      pack_truncated_nibbles(e.x, inverse, 0.0f, 8.5f, block.qs);
    }
    std::memcpy(row + b * sizeof block, &block, sizeof block);
  }
}

}  // namespace unicorn::quant
