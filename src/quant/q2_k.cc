// Q2_K: 256 elements, 84 bytes, 16 sub-blocks of 16 with a 4-bit scale and a 4-bit min each.
#include "quant/codecs.h"
#include "quant/pairs.h"
#include "quant/search.h"

namespace unicorn::quant {

void decode_q2_k(const std::byte* row, float* out, std::size_t n_blocks) noexcept {
  for (std::size_t b = 0; b < n_blocks; ++b) {
    const auto block = load_block<BlockQ2K>(row, b);
    const float d = f16_to_f32(block.d), dmin = f16_to_f32(block.dmin);
    for (std::size_t s = 0; s < 16; ++s, out += 16) {
      const float scale = d * static_cast<float>(block.scales[s] & 15);
      const float min = dmin * static_cast<float>(block.scales[s] >> 4);
      const std::uint8_t* qs = block.qs + 32 * (s / 8) + 16 * (s % 2);
      const std::size_t shift = 2 * (s / 2 % 4);
      for (std::size_t i = 0; i < 16; ++i) out[i] = scale * static_cast<float>(qs[i] >> shift & 3) - min;
    }
  }
}

void encode_q2_k(const float* in, std::byte* row, std::size_t n_blocks, const float* importance) noexcept {
  for (std::size_t b = 0; b < n_blocks; ++b) {
    const auto fit = fit_affine<3, 16, 15>(
        in + b * kSuperBlock, importance == nullptr ? nullptr : importance + b * kSuperBlock, {0.5f, 0.1f, 7});
    BlockQ2K block;
    block.d = fit.d;
    block.dmin = fit.dmin;
    for (std::size_t s = 0; s < 16; ++s) block.scales[s] = static_cast<std::uint8_t>(fit.scales[s] | fit.mins[s] << 4);
    pack_pairs(fit.codes.data(), 0, block.qs);
    std::memcpy(row + b * sizeof block, &block, sizeof block);
  }
}

}  // namespace unicorn::quant
