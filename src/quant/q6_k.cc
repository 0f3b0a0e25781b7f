// Q6_K: 256 elements, 210 bytes, 16 sub-blocks of 16 with a signed 8-bit scale each; codes −32 … 31.
#include "quant/codecs.h"
#include "quant/pairs.h"
#include "quant/search.h"

namespace unicorn::quant {

void decode_q6_k(const std::byte* row, float* out, std::size_t n_blocks) noexcept {
  for (std::size_t b = 0; b < n_blocks; ++b) {
    const auto block = load_block<BlockQ6K>(row, b);
    const float d = f16_to_f32(block.d);
    for (std::size_t s = 0; s < 16; ++s, out += 16) {
      const float scale = d * static_cast<float>(block.scales[s]);
      const std::size_t half = s / 8, group = s / 2 % 4, column = 16 * (s % 2);
      const std::uint8_t* ql = block.ql + 64 * half + 32 * (group & 1) + column;
      const std::uint8_t* qh = block.qh + 32 * half + column;
      const std::size_t low_shift = group < 2 ? 0 : 4, high_shift = 2 * group;
      for (std::size_t i = 0; i < 16; ++i)
        out[i] = scale * static_cast<float>(((ql[i] >> low_shift & 15) | (qh[i] >> high_shift & 3) << 4) - 32);
    }
  }
}

void encode_q6_k(const float* in, std::byte* row, std::size_t n_blocks, const float* importance) noexcept {
  for (std::size_t b = 0; b < n_blocks; ++b) {
    const auto fit = fit_scaled<UniformGrid<-32, 31>, 16, -128, 127>(
        in + b * kSuperBlock, importance == nullptr ? nullptr : importance + b * kSuperBlock, {0.88f, 0.02f, 9});
    BlockQ6K block;
    block.d = fit.d;
    for (std::size_t s = 0; s < 16; ++s) block.scales[s] = fit.scales[s];
    for (std::size_t h = 0; h < 2; ++h)
      for (std::size_t i = 0; i < 64; ++i)
        block.ql[64 * h + i] =
            static_cast<std::uint8_t>((fit.codes[128 * h + i] & 15) | (fit.codes[128 * h + 64 + i] & 15) << 4);
    pack_pairs(fit.codes.data(), 4, block.qh);
    std::memcpy(row + b * sizeof block, &block, sizeof block);
  }
}

}  // namespace unicorn::quant
