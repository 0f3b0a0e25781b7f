// One decoder and one encoder for each type; block.h chooses among them. `n_blocks` blocks lie one after another at
// `row`, which may be unaligned. `importance` is null or one weight per element (see block.h).
#pragma once

#include <cstddef>

namespace unicorn::quant {

#define UNICORN_CODEC(name)                                                            \
  void decode_##name(const std::byte* row, float* out, std::size_t n_blocks) noexcept; \
  void encode_##name(const float* in, std::byte* row, std::size_t n_blocks, const float* importance) noexcept;

UNICORN_CODEC(f32)
UNICORN_CODEC(f16)
UNICORN_CODEC(bf16)
UNICORN_CODEC(q4_0)
UNICORN_CODEC(q4_1)
UNICORN_CODEC(q5_0)
UNICORN_CODEC(q5_1)
UNICORN_CODEC(q8_0)
UNICORN_CODEC(q2_k)
UNICORN_CODEC(q3_k)
UNICORN_CODEC(q4_k)
UNICORN_CODEC(q5_k)
UNICORN_CODEC(q6_k)
UNICORN_CODEC(iq4_nl)
UNICORN_CODEC(iq4_xs)
UNICORN_CODEC(mxfp4)

#undef UNICORN_CODEC

}  // namespace unicorn::quant
