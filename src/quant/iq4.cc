// IQ4_NL and IQ4_XS: 4-bit codes into kIq4Values, a fixed table that is denser around 0.
//   IQ4_NL  32 elements, 18 bytes, an f16 scale
//   IQ4_XS  256 elements, 136 bytes, an f16 scale and 8 sub-blocks of 32 with a signed 6-bit scale each
#include "quant/codecs.h"
#include "quant/nibbles.h"
#include "quant/search.h"

namespace unicorn::quant {
namespace {

constexpr Sweep kSweep{0.8f, 0.05f, 8};

void decode_32(const std::uint8_t* qs, float scale, float* out) noexcept {
  for (std::size_t j = 0; j < 16; ++j) {
    out[j] = scale * static_cast<float>(kIq4Values[qs[j] & 15]);
    out[j + 16] = scale * static_cast<float>(kIq4Values[qs[j] >> 4]);
  }
}

}  // namespace

void decode_iq4_nl(const std::byte* row, float* out, std::size_t n_blocks) noexcept {
  for (std::size_t b = 0; b < n_blocks; ++b, out += kBlock) {
    const auto block = load_block<BlockIq4Nl>(row, b);
    decode_32(block.qs, f16_to_f32(block.d), out);
  }
}

void encode_iq4_nl(const float* in, std::byte* row, std::size_t n_blocks, const float* importance) noexcept {
  for (std::size_t b = 0; b < n_blocks; ++b) {
    const auto fit =
        fit_scale<Iq4Grid, kBlock>(in + b * kBlock, importance == nullptr ? nullptr : importance + b * kBlock, kSweep);
    BlockIq4Nl block;
    block.d = fit.d;
    pack_nibbles(fit.codes.data(), block.qs);
    std::memcpy(row + b * sizeof block, &block, sizeof block);
  }
}

void decode_iq4_xs(const std::byte* row, float* out, std::size_t n_blocks) noexcept {
  for (std::size_t b = 0; b < n_blocks; ++b) {
    const auto block = load_block<BlockIq4Xs>(row, b);
    const float d = f16_to_f32(block.d);
    for (std::size_t s = 0; s < 8; ++s, out += kBlock)
      decode_32(block.qs + 16 * s, d * static_cast<float>(unpack_scale_iq4_xs(block, s)), out);
  }
}

void encode_iq4_xs(const float* in, std::byte* row, std::size_t n_blocks, const float* importance) noexcept {
  for (std::size_t b = 0; b < n_blocks; ++b) {
    const auto fit = fit_scaled<Iq4Grid, 32, -32, 31>(
        in + b * kSuperBlock, importance == nullptr ? nullptr : importance + b * kSuperBlock, kSweep);
    BlockIq4Xs block{};
    block.d = fit.d;
    for (std::size_t s = 0; s < 8; ++s) {
      const unsigned scale = static_cast<unsigned>(fit.scales[s] + 32);
      block.scales_l[s / 2] = static_cast<std::uint8_t>(block.scales_l[s / 2] | (scale & 15u) << (4 * (s % 2)));
      block.scales_h = static_cast<std::uint16_t>(block.scales_h | (scale >> 4) << (2 * s));
      pack_nibbles(fit.codes.data() + 32 * s, block.qs + 16 * s);
    }
    std::memcpy(row + b * sizeof block, &block, sizeof block);
  }
}

}  // namespace unicorn::quant
