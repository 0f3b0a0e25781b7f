// Packing what Q4_K and Q5_K share: 6-bit scales and mins (drawn in blocks.h), and the low four bits of the codes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace unicorn::quant {

// The inverse of unpack_scale_min, for all eight sub-blocks.
inline void pack_scale_min(const std::uint8_t* scales, const std::uint8_t* mins, std::uint8_t* p) noexcept {
  for (std::size_t s = 0; s < 4; ++s) {
    p[s] = static_cast<std::uint8_t>(scales[s] | (scales[s + 4] >> 4) << 6);
    p[s + 4] = static_cast<std::uint8_t>(mins[s] | (mins[s + 4] >> 4) << 6);
    p[s + 8] = static_cast<std::uint8_t>((scales[s + 4] & 15) | (mins[s + 4] & 15) << 4);
  }
}

// qs[32p + i] = low nibbles of elements 64p + i and 64p + 32 + i
inline void pack_low_nibbles(const std::uint8_t* codes, std::uint8_t* qs) noexcept {
  for (std::size_t p = 0; p < 4; ++p)
    for (std::size_t i = 0; i < 32; ++i)
      qs[32 * p + i] = static_cast<std::uint8_t>((codes[64 * p + i] & 15) | (codes[64 * p + 32 + i] & 15) << 4);
}

}  // namespace unicorn::quant
