// Packing two-bit codes: qs[32h + i] holds element 128h + 32p + i of a super-block at bits 2p, 2p + 1 (p = 0 … 3).
// Shared by Q2_K and Q3_K (their codes) and Q6_K (its high bits).
#pragma once

#include <cstddef>
#include <cstdint>

namespace unicorn::quant {

[[gnu::always_inline]] inline void pack_pairs(const std::uint8_t* codes, int shift, std::uint8_t* qs) noexcept {
  for (std::size_t h = 0; h < 2; ++h)
    for (std::size_t i = 0; i < 32; ++i) {
      unsigned byte = 0;
      for (std::size_t p = 0; p < 4; ++p) byte |= (codes[128 * h + 32 * p + i] >> shift & 3u) << (2 * p);
      qs[32 * h + i] = static_cast<std::uint8_t>(byte);
    }
}

}  // namespace unicorn::quant
