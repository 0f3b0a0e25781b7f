// Q5_0: 32 elements, 22 bytes, y = d · (q − 16). Symmetric: the value of largest magnitude becomes −16 exactly.
#include "quant/codecs.h"
#include "quant/extremes.h"
#include "quant/nibbles.h"
#include "quant/search.h"

namespace unicorn::quant {

void decode_q5_0(const std::byte* row, float* out, std::size_t n_blocks) noexcept {
  for (std::size_t b = 0; b < n_blocks; ++b, out += kBlock) {
    const auto block = load_block<BlockQ5_0>(row, b);
    const float d = f16_to_f32(block.d);
    const std::uint32_t high = fifth_bits(block.qh);
    for (std::size_t j = 0; j < 16; ++j) {
      out[j] = d * static_cast<float>(static_cast<int>((block.qs[j] & 15u) | (high >> j & 1u) << 4) - 16);
      out[j + 16] = d * static_cast<float>(static_cast<int>(block.qs[j] >> 4 | (high >> (j + 16) & 1u) << 4) - 16);
    }
  }
}

// Without importance: ggml's reference recipe, bit for bit (d = v / −16 with v the value of largest magnitude, codes from
// the reciprocal of the unrounded d). With importance: a scale search.
void encode_q5_0(const float* in, std::byte* row, std::size_t n_blocks, const float* importance) noexcept {
  for (std::size_t b = 0; b < n_blocks; ++b, in += kBlock) {
    BlockQ5_0 block;
    if (importance != nullptr) {
      const auto fit = fit_scale<UniformGrid<-16, 15>, kBlock>(in, importance + b * kBlock, {0.7f, 0.05f, 9});
      block.d = fit.d;
      pack_nibbles(fit.codes.data(), block.qs);
      pack_fifth_bits(fit.codes.data(), block.qh);
    } else {
      Extremes e;
      find_extremes(in, e);
      const float d = e.largest() / -16.0f;
      const float inverse = reciprocal(d);
      block.d = f16_scale(d);
      alignas(16) std::uint8_t codes[kBlock];
      truncated_codes(e.x, inverse, 0.0f, 16.5f, 31, codes);
      pack_nibbles(codes, block.qs);
      pack_fifth_bits(codes, block.qh);
    }
    std::memcpy(row + b * sizeof block, &block, sizeof block);
  }
}

}  // namespace unicorn::quant
