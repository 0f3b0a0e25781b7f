// Q3_K: 256 elements, 110 bytes, 16 sub-blocks of 16 with a signed 6-bit scale each; codes −4 … 3.
#include "quant/codecs.h"
#include "quant/pairs.h"
#include "quant/search.h"

namespace unicorn::quant {

void decode_q3_k(const std::byte* row, float* out, std::size_t n_blocks) noexcept {
  for (std::size_t b = 0; b < n_blocks; ++b) {
    const auto block = load_block<BlockQ3K>(row, b);
    const float d = f16_to_f32(block.d);
    for (std::size_t s = 0; s < 16; ++s, out += 16) {
      const float scale = d * static_cast<float>(unpack_scale_q3_k(block.scales, s));
      const std::uint8_t* qs = block.qs + 32 * (s / 8) + 16 * (s % 2);
      const std::uint8_t* high = block.hmask + 16 * (s % 2);
      const std::size_t shift = 2 * (s / 2 % 4), bit = s / 2;
      for (std::size_t i = 0; i < 16; ++i)
        out[i] = scale * static_cast<float>((qs[i] >> shift & 3) + 4 * (high[i] >> bit & 1) - 4);
    }
  }
}

void encode_q3_k(const float* in, std::byte* row, std::size_t n_blocks, const float* importance) noexcept {
  for (std::size_t b = 0; b < n_blocks; ++b) {
    const auto fit = fit_scaled<UniformGrid<-4, 3>, 16, -32, 31>(
        in + b * kSuperBlock, importance == nullptr ? nullptr : importance + b * kSuperBlock, {0.6f, 0.05f, 11});
    BlockQ3K block{};
    block.d = fit.d;
    for (std::size_t s = 0; s < 16; ++s) {
      const unsigned scale = static_cast<unsigned>(fit.scales[s] + 32);
      block.scales[s % 8] = static_cast<std::uint8_t>(block.scales[s % 8] | (scale & 15u) << (s < 8 ? 0 : 4));
      block.scales[8 + s % 4] = static_cast<std::uint8_t>(block.scales[8 + s % 4] | (scale >> 4) << (2 * (s / 4)));
    }
    pack_pairs(fit.codes.data(), 0, block.qs);
    for (std::size_t e = 0; e < kSuperBlock; ++e)
      block.hmask[e % 32] = static_cast<std::uint8_t>(block.hmask[e % 32] | (fit.codes[e] >> 2) << (e / 32));
    std::memcpy(row + b * sizeof block, &block, sizeof block);
  }
}

}  // namespace unicorn::quant
