// Q8_0: 32 elements, 34 bytes, y = d · q, q = −127 … 127.
#include "quant/codecs.h"
#include "quant/extremes.h"

namespace unicorn::quant {

void decode_q8_0(const std::byte* row, float* out, std::size_t n_blocks) noexcept {
  for (std::size_t b = 0; b < n_blocks; ++b, out += kBlock) {
    const auto block = load_block<BlockQ8_0>(row, b);
    const float d = f16_to_f32(block.d);
    for (std::size_t e = 0; e < kBlock; ++e) out[e] = d * static_cast<float>(block.qs[e]);
  }
}

// ggml's reference recipe, bit for bit: d = max|x| / 127, codes from the reciprocal of the unrounded d, halves away from
// zero. Importance is ignored: with 255 codes a search wins nothing worth its time.
void encode_q8_0(const float* in, std::byte* row, std::size_t n_blocks, const float*) noexcept {
  using namespace lanes;
  for (std::size_t b = 0; b < n_blocks; ++b, in += kBlock) {
    BlockQ8_0 block;
    Extremes e;
    find_extremes(in, e);
    const float d = __builtin_fabsf(e.max > -e.min ? e.max : e.min) / 127.0f;
    const float inverse = reciprocal(d);
    block.d = f16_scale(d);
    alignas(16) std::int32_t q[kBlock];
    for (std::size_t i = 0; i < kBlock; i += 4) {
      // Not trunc(v + 0.5): that sum rounds up what lies just below a half. The fraction below is exact.
      const F4 v = load(e.x + i) * inverse;
      const I4 whole = truncate(v);
      const F4 fraction = v - to_f32(whole);
      store(q + i, whole - (fraction >= 0.5f) + (fraction <= -0.5f));  // a true lane is −1
    }
    for (std::size_t i = 0; i < kBlock; ++i) block.qs[i] = static_cast<std::int8_t>(q[i]);
    std::memcpy(row + b * sizeof block, &block, sizeof block);
  }
}

}  // namespace unicorn::quant
