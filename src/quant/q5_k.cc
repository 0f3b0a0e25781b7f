// Q5_K: 256 elements, 176 bytes, as Q4_K with a fifth bit for every code.
#include "quant/codecs.h"
#include "quant/scale_min.h"
#include "quant/search.h"

namespace unicorn::quant {

void decode_q5_k(const std::byte* row, float* out, std::size_t n_blocks) noexcept {
  for (std::size_t b = 0; b < n_blocks; ++b) {
    const auto block = load_block<BlockQ5K>(row, b);
    const float d = f16_to_f32(block.d), dmin = f16_to_f32(block.dmin);
    for (std::size_t s = 0; s < 8; ++s, out += 32) {
      const auto [sc, mn] = unpack_scale_min(block.scales, s);
      const float scale = d * static_cast<float>(sc), min = dmin * static_cast<float>(mn);
      const std::uint8_t* qs = block.qs + 32 * (s / 2);
      const std::size_t shift = 4 * (s % 2);
      for (std::size_t i = 0; i < 32; ++i)
        out[i] = scale * static_cast<float>((qs[i] >> shift & 15) + 16 * (block.qh[i] >> s & 1)) - min;
    }
  }
}

void encode_q5_k(const float* in, std::byte* row, std::size_t n_blocks, const float* importance) noexcept {
  for (std::size_t b = 0; b < n_blocks; ++b) {
    const auto fit = fit_affine<31, 32, 63>(
        in + b * kSuperBlock, importance == nullptr ? nullptr : importance + b * kSuperBlock, {0.84f, 0.03f, 8});
    BlockQ5K block{};
    block.d = fit.d;
    block.dmin = fit.dmin;
    pack_scale_min(fit.scales.data(), fit.mins.data(), block.scales);
    pack_low_nibbles(fit.codes.data(), block.qs);
    for (std::size_t e = 0; e < kSuperBlock; ++e)
      block.qh[e % 32] = static_cast<std::uint8_t>(block.qh[e % 32] | (fit.codes[e] >> 4) << (e / 32));
    std::memcpy(row + b * sizeof block, &block, sizeof block);
  }
}

}  // namespace unicorn::quant
