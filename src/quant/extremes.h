// What the fixed recipes of the *_0 and *_1 types need of 32 values: a finite copy and its extremes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "quant/blocks.h"
#include "quant/lanes.h"

namespace unicorn::quant {

struct Extremes {
  alignas(16) float x[kBlock];  // infinities and NaNs as 0
  float min, max;

  // The value of largest magnitude with its sign; of equal ones the first, as ggml's encoders choose.
  float largest() const noexcept {
    if (max > -min) return max;
    if (max < -min) return min;
    if (max == 0.0f) return 0.0f;
    for (float v : x)
      if (v == max || v == min) return v;
    return 0.0f;
  }
};

[[gnu::always_inline]] inline void find_extremes(const float* in, Extremes& e) noexcept {
  using namespace lanes;
  F4 low = finite_or_zero(load(in)), high = low;
  store(e.x, low);
  for (std::size_t i = 4; i < kBlock; i += 4) {
    const F4 v = finite_or_zero(load(in + i));
    store(e.x + i, v);
    low = lanes::min(low, v);
    high = lanes::max(high, v);
  }
  e.min = min_of(low);
  e.max = max_of(high);
}

// max − min is finite after this. A quarter of values this large saturates the f16 scale just as they do.
[[gnu::always_inline]] inline void tame_range(Extremes& e) noexcept {
  if (e.max - e.min <= 0x1.fffffep127f) return;
  for (float& v : e.x) v *= 0.25f;
  e.min *= 0.25f;
  e.max *= 0.25f;
}

// 1 / d, or 0 where that is no number: d is then 0 or so small that its f16 is 0.
[[gnu::always_inline]] inline float reciprocal(float d) noexcept {
  constexpr float kSmallest = 0x1p-126f;
  return d >= kSmallest || d <= -kSmallest ? 1.0f / d : 0.0f;
}

// An f16 scale; one too large saturates instead of becoming infinite.
[[gnu::always_inline]] inline std::uint16_t f16_scale(float d) noexcept {
  d = d > 65504.0f ? 65504.0f : d;
  return f32_to_f16(d < -65504.0f ? -65504.0f : d);
}

}  // namespace unicorn::quant
