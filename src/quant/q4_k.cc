// Q4_K: 256 elements, 144 bytes, 8 sub-blocks of 32 with a 6-bit scale and a 6-bit min each.
#include "quant/codecs.h"
#include "quant/scale_min.h"
#include "quant/search.h"

namespace unicorn::quant {

void decode_q4_k(const std::byte* row, float* out, std::size_t n_blocks) noexcept {
  for (std::size_t b = 0; b < n_blocks; ++b) {
    const auto block = load_block<BlockQ4K>(row, b);
    const float d = f16_to_f32(block.d), dmin = f16_to_f32(block.dmin);
    for (std::size_t s = 0; s < 8; ++s, out += 32) {
      const auto [sc, mn] = unpack_scale_min(block.scales, s);
      const float scale = d * static_cast<float>(sc), min = dmin * static_cast<float>(mn);
      const std::uint8_t* qs = block.qs + 32 * (s / 2);
      const std::size_t shift = 4 * (s % 2);
      for (std::size_t i = 0; i < 32; ++i) out[i] = scale * static_cast<float>(qs[i] >> shift & 15) - min;
    }
  }
}

void encode_q4_k(const float* in, std::byte* row, std::size_t n_blocks, const float* importance) noexcept {
  for (std::size_t b = 0; b < n_blocks; ++b) {
    const auto fit = fit_affine<15, 32, 63>(
        in + b * kSuperBlock, importance == nullptr ? nullptr : importance + b * kSuperBlock, {0.75f, 0.04f, 9});
    BlockQ4K block;
    block.d = fit.d;
    block.dmin = fit.dmin;
    pack_scale_min(fit.scales.data(), fit.mins.data(), block.scales);
    pack_low_nibbles(fit.codes.data(), block.qs);
    std::memcpy(row + b * sizeof block, &block, sizeof block);
  }
}

}  // namespace unicorn::quant
