// Packing codes into nibbles and fifth bits, for blocks of 32 (element j beside element j + 16).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "quant/blocks.h"
#include "quant/lanes.h"

namespace unicorn::quant {

// qs[j] = codes[j] & 15 | codes[j + 16] << 4
[[gnu::always_inline]] inline void pack_nibbles(const std::uint8_t* codes, std::uint8_t* qs) noexcept {
  for (std::size_t j = 0; j < 16; ++j) qs[j] = static_cast<std::uint8_t>((codes[j] & 15) | codes[j + 16] << 4);
}

// qh bit e = bit 4 of codes[e]. Eight codes' bits are gathered by one multiplication: with bit 0 of byte i of v set
// or not, v · 0x0102040810204080 has it at bit 56 + i, and no two terms meet in one bit.
[[gnu::always_inline]] inline void pack_fifth_bits(const std::uint8_t* codes, std::uint8_t* qh) noexcept {
  for (std::size_t g = 0; g < 4; ++g) {
    std::uint64_t v;
    std::memcpy(&v, codes + 8 * g, sizeof v);
    v = (v >> 4) & 0x0101010101010101u;
    qh[g] = static_cast<std::uint8_t>((v * 0x0102040810204080u) >> 56);
  }
}

// codes[e] = min(highest, trunc((x[e] − low) · inverse + half)); the argument of trunc is never negative beyond rounding.
[[gnu::always_inline]] inline void truncated_codes(const float* x, float inverse, float low, float half,
                                                   std::int32_t highest, std::uint8_t* codes) noexcept {
  using namespace lanes;
  alignas(16) std::int32_t q[kBlock];
  for (std::size_t i = 0; i < kBlock; i += 4) {
    const I4 v = truncate((load(x + i) - low) * inverse + half);
    const I4 top = splat(highest);
    store(q + i, v < top ? v : top);
  }
  for (std::size_t i = 0; i < kBlock; ++i) codes[i] = static_cast<std::uint8_t>(q[i]);
}

[[gnu::always_inline]] inline void pack_truncated_nibbles(const float* x, float inverse, float low, float half,
                                                          std::uint8_t* qs) noexcept {
  alignas(16) std::uint8_t codes[kBlock];
  truncated_codes(x, inverse, low, half, 15, codes);
  pack_nibbles(codes, qs);
}

}  // namespace unicorn::quant
