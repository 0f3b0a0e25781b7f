// The scale searches behind the encoders that have no fixed recipe. All minimise the weighted squared error
// Σ w (x − y)² of what the decoder will give back; with no importance given every weight is 1.
//
//   one sub-block   search_scale, search_affine: several starting grids, each improved by turns: nearest codes for a
//                   fixed scale, then the least-squares scale for fixed codes. The best one is kept.
//   one super-block fit_scaled, fit_affine: the sub-blocks' scales become small integers times f16 numbers. Each
//                   integer is chosen among its neighbours by the error it really causes, then the f16 numbers are
//                   solved again by least squares over the whole super-block, as long as that helps.
//
// Inside, values are divided by a power of two so that the largest is in [1, 2): squares neither overflow nor vanish,
// whatever the input. Values beyond the format's range saturate.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "core/dtype.h"
#include "quant/blocks.h"
#include "quant/lanes.h"

namespace unicorn::quant {

using lanes::F4;
using lanes::I4;

// ---- values and weights ----

template <std::size_t n>
struct Prepared {
  alignas(16) float x[n];  // in / unit
  alignas(16) float w[n];  // in [0, 1], not all 0
  float unit = 1.0f;       // a power of two
  bool zero = false;       // nothing an f16 scale could represent: encode zeros
};

// What is smaller than `tiny` throughout becomes 0, what is larger than `huge` saturates. The defaults suit f16 scales:
// below half the smallest f16 everything rounds to 0, and no format reaches 2^40.
template <std::size_t n>
Prepared<n> prepare(const float* in, const float* importance, float tiny = 0x1p-26f, float huge = 0x1p40f) noexcept {
  Prepared<n> p;
  F4 largest = lanes::splat(0.0f);
  for (std::size_t i = 0; i < n; i += 4) {
    F4 v = lanes::finite_or_zero(lanes::load(in + i));
    v = lanes::max(lanes::min(v, lanes::splat(huge)), lanes::splat(-huge));
    largest = lanes::max(largest, lanes::abs(v));
    lanes::store(p.x + i, v);
  }
  const float amax = lanes::max_of(largest);
  if (amax < tiny) {
    p.zero = true;
    return p;
  }
  p.unit = __builtin_bit_cast(float, __builtin_bit_cast(std::uint32_t, amax) & 0x7f800000u);
  const F4 inverse = lanes::splat(1.0f / p.unit);
  for (std::size_t i = 0; i < n; i += 4) lanes::store(p.x + i, lanes::load(p.x + i) * inverse);

  float heaviest = 0.0f;
  if (importance != nullptr)
    for (std::size_t i = 0; i < n; ++i) {
      const float w = importance[i];
      p.w[i] = w > 0.0f && w <= std::numeric_limits<float>::max() ? w : 0.0f;
      heaviest = std::max(heaviest, p.w[i]);
    }
  if (heaviest > 0.0f)
    for (float& w : p.w) w /= heaviest;
  else
    std::fill_n(p.w, n, 1.0f);
  return p;
}

// An f16 scale next to `value · unit`, never 0 unless value is, and never infinite.
inline std::uint16_t scale_bits(float value, float unit) noexcept {
  const float v = std::clamp(value * unit, -65504.0f, 65504.0f);
  const std::uint16_t bits = f32_to_f16(v);
  return (bits & 0x7fffu) == 0 && v != 0.0f ? static_cast<std::uint16_t>(bits | 1u) : bits;
}
inline float scale_value(std::uint16_t bits, float unit) noexcept { return f16_to_f32(bits) / unit; }

// ---- grids of codes ----

// The integers kLow … kHigh.
template <int kLow, int kHigh>
struct UniformGrid {
  static constexpr float kLowest = kLow, kHighest = kHigh;
  static F4 nearest(F4 v) {
    return lanes::round_even(lanes::max(lanes::min(v, lanes::splat(kHighest)), lanes::splat(kLowest)));
  }
  static I4 codes(F4 v) { return lanes::truncate(nearest(v)) - kLow; }
};

// kIq4Values: a value's code is the number of midpoints below it.
struct Iq4Grid {
  static constexpr float kLowest = kIq4Values[0], kHighest = kIq4Values[15];
  static I4 codes(F4 v) {
    I4 code = lanes::splat(0);
    for (int c = 0; c < 15; ++c) code -= v > lanes::splat(0.5f * static_cast<float>(kIq4Values[c] + kIq4Values[c + 1]));
    return code;
  }
  static F4 nearest(F4 v) {
    I4 value = lanes::splat(std::int32_t{kIq4Values[0]});
    for (int c = 0; c < 15; ++c)
      value += (v > lanes::splat(0.5f * static_cast<float>(kIq4Values[c] + kIq4Values[c + 1]))) &
               (kIq4Values[c + 1] - kIq4Values[c]);
    return lanes::to_f32(value);
  }
};

// ---- y = scale · q ----

struct Moments {
  float xq, qq;  // Σ w x q, Σ w q²
};

template <class Grid, std::size_t n>
Moments moments(const float* x, const float* w, float inverse) noexcept {
  F4 xq = lanes::splat(0.0f), qq = lanes::splat(0.0f);
  for (std::size_t i = 0; i < n; i += 4) {
    const F4 v = lanes::load(x + i);
    const F4 q = Grid::nearest(v * inverse);
    const F4 wq = lanes::load(w + i) * q;
    xq += v * wq;
    qq += q * wq;
  }
  return {lanes::sum(xq), lanes::sum(qq)};
}

template <class Grid, std::size_t n>
float scale_error(const float* x, const float* w, float scale) noexcept {
  const float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
  F4 error = lanes::splat(0.0f);
  for (std::size_t i = 0; i < n; i += 4) {
    const F4 v = lanes::load(x + i);
    const F4 e = v - Grid::nearest(v * inverse) * scale;
    error += lanes::load(w + i) * e * e;
  }
  return lanes::sum(error);
}

// The value of largest magnitude, with its sign; of equal ones the first. The magnitude has a variable of its own:
// clang 19 at -O3 compiles `if (fabs(v) > fabs(largest)) largest = v` over 16 values into code that picks another one
// for 3 rows in 100 (encode_test saw it as Q6_K's larger error).
inline float largest_of(const float* x, std::size_t n) noexcept {
  float largest = 0.0f, magnitude = 0.0f;
  for (std::size_t i = 0; i < n; ++i)
    if (const float m = std::fabs(x[i]); m > magnitude) {
      magnitude = m;
      largest = x[i];
    }
  return largest;
}

// The largest value is tried at `first`, `first + step`, … times each end of the grid.
struct Sweep {
  float first, step;
  int n;
};

// The scale (of either sign) that serves n values best; 0 if all are 0.
template <class Grid, std::size_t n>
float search_scale(const float* x, const float* w, Sweep sweep) noexcept {
  const float largest = largest_of(x, n);
  if (std::fabs(largest) < 0x1p-60f) return 0.0f;

  float best = largest / Grid::kLowest;
  float gain = 0.0f;  // Σ w x² minus the error: (Σ w x q)² / Σ w q²
  const auto consider = [&](float inverse) {
    const Moments m = moments<Grid, n>(x, w, inverse);
    if (m.qq > 0.0f && m.xq * m.xq > gain * m.qq) {
      gain = m.xq * m.xq / m.qq;
      best = m.xq / m.qq;
      return true;
    }
    return false;
  };
  for (int i = 0; i < sweep.n; ++i) {
    const float f = (sweep.first + static_cast<float>(i) * sweep.step) / largest;
    consider(f * Grid::kLowest);
    consider(f * Grid::kHighest);
  }
  for (int i = 0; i < 4 && best != 0.0f && consider(1.0f / best); ++i) {
  }
  return best;
}

// One f16 scale and n codes (indices into the grid).
template <std::size_t n>
struct ScaledCodes {
  std::uint16_t d = 0;
  std::array<std::uint8_t, n> codes;
};

template <class Grid, std::size_t n>
void codes_of(const float* x, float scale, std::uint8_t* codes) noexcept {
  const float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
  alignas(16) std::int32_t four[4];
  for (std::size_t i = 0; i < n; i += 4) {
    lanes::store(four, Grid::codes(lanes::load(x + i) * inverse));
    for (std::size_t l = 0; l < 4; ++l) codes[i + l] = static_cast<std::uint8_t>(four[l]);
  }
}

template <class Grid, std::size_t n>
ScaledCodes<n> fit_scale(const float* in, const float* importance, Sweep sweep) noexcept {
  const Prepared<n> p = prepare<n>(in, importance);
  ScaledCodes<n> out;
  if (!p.zero) {
    const std::uint16_t near = scale_bits(search_scale<Grid, n>(p.x, p.w, sweep), p.unit);
    float least = std::numeric_limits<float>::infinity();
    for (int step = -1; step <= 1; ++step) {  // f16 is coarse for small scales
      const auto bits = static_cast<std::uint16_t>(near + step);
      if ((bits & 0x7c00u) == 0x7c00u || (bits & 0x7fffu) == 0) continue;
      const float error = scale_error<Grid, n>(p.x, p.w, scale_value(bits, p.unit));
      if (error < least) {
        least = error;
        out.d = bits;
      }
    }
  }
  codes_of<Grid, n>(p.x, p.zero ? 0.0f : scale_value(out.d, p.unit), out.codes.data());
  return out;
}

// One f16 number d, an integer scale for each sub-block, 256 codes: y = d · scales[s] · grid[code].
template <std::size_t kSub>
struct ScaledBlock {
  static constexpr std::size_t kCount = kSuperBlock / kSub;
  std::uint16_t d = 0;
  std::array<std::int8_t, kCount> scales{};
  std::array<std::uint8_t, kSuperBlock> codes;
};

template <class Grid, std::size_t kSub, int kScaleLow, int kScaleHigh>
ScaledBlock<kSub> fit_scaled(const float* in, const float* importance, Sweep sweep) noexcept {
  using Block = ScaledBlock<kSub>;
  constexpr std::size_t kCount = Block::kCount;
  const Prepared<kSuperBlock> p = prepare<kSuperBlock>(in, importance);
  Block best;
  if (p.zero) {
    codes_of<Grid, kSuperBlock>(p.x, 0.0f, best.codes.data());
    return best;
  }

  std::array<float, kCount> wanted;
  for (std::size_t s = 0; s < kCount; ++s) wanted[s] = search_scale<Grid, kSub>(p.x + s * kSub, p.w + s * kSub, sweep);
  const float widest = largest_of(wanted.data(), kCount);

  struct Trial {
    std::uint16_t d;
    std::array<int, kCount> scales;
    float error;
  };
  // Every sub-block's best integer near wanted / d.
  const auto trial = [&](std::uint16_t bits) {
    Trial t{bits, {}, 0.0f};
    const float d = scale_value(bits, p.unit);
    for (std::size_t s = 0; s < kCount; ++s) {
      const float ideal = std::clamp(wanted[s] / d, static_cast<float>(kScaleLow), static_cast<float>(kScaleHigh));
      const int middle = static_cast<int>(std::lrintf(ideal));
      float least = std::numeric_limits<float>::infinity();
      for (int scale = std::max(middle - 1, kScaleLow); scale <= std::min(middle + 1, kScaleHigh); ++scale) {
        const float error = scale_error<Grid, kSub>(p.x + s * kSub, p.w + s * kSub, d * static_cast<float>(scale));
        if (error < least) {
          least = error;
          t.scales[s] = scale;
        }
      }
      t.error += least;
    }
    return t;
  };

  const std::uint16_t first = scale_bits(widest / static_cast<float>(kScaleLow), p.unit);
  Trial kept = trial(first);
  if ((first & 0x7c00u) == 0) {  // a denormal may have lost much by rounding down: the largest scale then saturates
    const Trial up = trial(static_cast<std::uint16_t>(first + 1));
    if (up.error < kept.error) kept = up;
  }
  for (int round = 0; round < 3; ++round) {
    const float d = scale_value(kept.d, p.unit);
    float xq = 0.0f, qq = 0.0f;
    for (std::size_t s = 0; s < kCount; ++s) {
      const auto scale = static_cast<float>(kept.scales[s]);
      if (kept.scales[s] == 0) continue;
      const Moments m = moments<Grid, kSub>(p.x + s * kSub, p.w + s * kSub, 1.0f / (d * scale));
      xq += scale * m.xq;
      qq += scale * scale * m.qq;
      wanted[s] = d * scale;
    }
    if (!(qq > 0.0f)) break;
    const std::uint16_t bits = scale_bits(xq / qq, p.unit);
    if (bits == kept.d || (bits & 0x7fffu) == 0) break;
    const Trial next = trial(bits);
    if (!(next.error < kept.error)) break;
    kept = next;
  }

  best.d = kept.d;
  for (std::size_t s = 0; s < kCount; ++s) {
    best.scales[s] = static_cast<std::int8_t>(kept.scales[s]);
    codes_of<Grid, kSub>(p.x + s * kSub, scale_value(kept.d, p.unit) * static_cast<float>(kept.scales[s]),
                         best.codes.data() + s * kSub);
  }
  return best;
}

// ---- y = scale · q + offset, q = 0 … kMax ----

struct Affine {
  float scale, offset;
};

struct AffineMoments {
  float w, x, q, xq, qq;  // Σ w ·
};

template <int kMax>
F4 affine_nearest(F4 v) {
  return lanes::round_even(lanes::max(lanes::min(v, lanes::splat(static_cast<float>(kMax))), lanes::splat(0.0f)));
}

template <int kMax, std::size_t n>
AffineMoments affine_moments(const float* x, const float* w, Affine a) noexcept {
  const float inverse = a.scale > 0.0f ? 1.0f / a.scale : 0.0f;
  F4 sw = lanes::splat(0.0f), sx = sw, sq = sw, sxq = sw, sqq = sw;
  for (std::size_t i = 0; i < n; i += 4) {
    const F4 v = lanes::load(x + i), weight = lanes::load(w + i);
    const F4 q = affine_nearest<kMax>((v - a.offset) * inverse);
    const F4 wq = weight * q;
    sw += weight;
    sx += weight * v;
    sq += wq;
    sxq += v * wq;
    sqq += q * wq;
  }
  return {lanes::sum(sw), lanes::sum(sx), lanes::sum(sq), lanes::sum(sxq), lanes::sum(sqq)};
}

template <int kMax, std::size_t n>
float affine_error(const float* x, const float* w, Affine a) noexcept {
  const float inverse = a.scale > 0.0f ? 1.0f / a.scale : 0.0f;
  F4 error = lanes::splat(0.0f);
  for (std::size_t i = 0; i < n; i += 4) {
    const F4 v = lanes::load(x + i) - a.offset;
    const F4 e = v - affine_nearest<kMax>(v * inverse) * a.scale;
    error += lanes::load(w + i) * e * e;
  }
  return lanes::sum(error);
}

// The least-squares line through fixed codes. `highest` bounds the offset from above.
inline Affine solve_affine(const AffineMoments& m, float highest) noexcept {
  const float det = m.w * m.qq - m.q * m.q;
  if (det > 1e-6f * m.w * m.qq) {
    const Affine a{(m.w * m.xq - m.x * m.q) / det, (m.qq * m.x - m.q * m.xq) / det};
    if (a.offset <= highest && a.scale > 0.0f) return a;
  }
  // Bound reached (or one code only): the scale alone.
  return {m.qq > 0.0f ? std::max(0.0f, (m.xq - highest * m.q) / m.qq) : 0.0f, highest};
}

// Scale ≥ 0 and offset ≤ `highest` that serve n values best. The starting grids span sweep.first, + step … of the
// values' range, around its middle.
template <int kMax, std::size_t n>
Affine search_affine(const float* values, const float* w, float highest, Sweep sweep) noexcept {
  F4 low = lanes::load(values), high = low;
  for (std::size_t i = 4; i < n; i += 4) {
    low = lanes::min(low, lanes::load(values + i));
    high = lanes::max(high, lanes::load(values + i));
  }
  const float lowest = std::min(lanes::min_of(low), highest);
  const float range = lanes::max_of(high) - lowest;
  if (!(range > 0x1p-60f)) return {0.0f, lowest};

  // Relative to the lowest value, so that a large offset costs the sums no precision.
  alignas(16) float x[n];
  float sum_xx = 0.0f;
  {
    F4 xx = lanes::splat(0.0f);
    for (std::size_t i = 0; i < n; i += 4) {
      const F4 v = lanes::load(values + i) - lowest;
      lanes::store(x + i, v);
      xx += lanes::load(w + i) * v * v;
    }
    sum_xx = lanes::sum(xx);
  }
  const float bound = highest - lowest;
  Affine best{range / static_cast<float>(kMax), 0.0f};
  float least = std::numeric_limits<float>::infinity();
  for (int i = 0; i < sweep.n; ++i) {
    const float f = sweep.first + static_cast<float>(i) * sweep.step;
    Affine a{f * range / static_cast<float>(kMax), std::min(bound, 0.5f * range * (1.0f - f))};
    for (int turn = 0; turn < 2; ++turn) {
      const AffineMoments m = affine_moments<kMax, n>(x, w, a);
      a = solve_affine(m, bound);
      const float error = sum_xx + a.scale * (a.scale * m.qq - 2.0f * m.xq + 2.0f * a.offset * m.q) +
                          a.offset * (a.offset * m.w - 2.0f * m.x);
      if (error < least) {
        least = error;
        best = a;
      }
      if (!(a.scale > 0.0f)) break;
    }
  }
  return {best.scale, best.offset + lowest};
}

template <int kMax, std::size_t n>
void affine_codes_of(const float* x, Affine a, std::uint8_t* codes) noexcept {
  const float inverse = a.scale > 0.0f ? 1.0f / a.scale : 0.0f;
  alignas(16) std::int32_t four[4];
  for (std::size_t i = 0; i < n; i += 4) {
    lanes::store(four, lanes::truncate(affine_nearest<kMax>((lanes::load(x + i) - a.offset) * inverse)));
    for (std::size_t l = 0; l < 4; ++l) codes[i + l] = static_cast<std::uint8_t>(four[l]);
  }
}

// f16 scale and offset of either sign, n codes: y = d · q + m.
template <std::size_t n>
struct AffineCodes {
  std::uint16_t d = 0, m = 0;
  std::array<std::uint8_t, n> codes;
};

template <int kMax, std::size_t n>
AffineCodes<n> fit_affine_block(const float* in, const float* importance, Sweep sweep) noexcept {
  const Prepared<n> p = prepare<n>(in, importance);
  AffineCodes<n> out;
  Affine a{0.0f, 0.0f};
  if (!p.zero) {
    a = search_affine<kMax, n>(p.x, p.w, std::numeric_limits<float>::max(), sweep);
    out.d = scale_bits(a.scale, p.unit);
    out.m = scale_bits(a.offset, p.unit);
    a = {scale_value(out.d, p.unit), scale_value(out.m, p.unit)};
  }
  affine_codes_of<kMax, n>(p.x, a, out.codes.data());
  return out;
}

// y = d · scales[s] · q − dmin · mins[s]
template <std::size_t kSub>
struct AffineBlock {
  static constexpr std::size_t kCount = kSuperBlock / kSub;
  std::uint16_t d = 0, dmin = 0;
  std::array<std::uint8_t, kCount> scales{}, mins{};
  std::array<std::uint8_t, kSuperBlock> codes;
};

template <int kMax, std::size_t kSub, int kScaleMax>
AffineBlock<kSub> fit_affine(const float* in, const float* importance, Sweep sweep) noexcept {
  using Block = AffineBlock<kSub>;
  constexpr std::size_t kCount = Block::kCount;
  const Prepared<kSuperBlock> p = prepare<kSuperBlock>(in, importance);
  Block best;
  if (p.zero) {
    best.codes.fill(0);
    return best;
  }

  std::array<Affine, kCount> wanted;
  float widest = 0.0f, deepest = 0.0f;
  for (std::size_t s = 0; s < kCount; ++s) {
    wanted[s] = search_affine<kMax, kSub>(p.x + s * kSub, p.w + s * kSub, 0.0f, sweep);
    widest = std::max(widest, wanted[s].scale);
    deepest = std::max(deepest, -wanted[s].offset);
  }

  struct Trial {
    std::uint16_t d, dmin;
    std::array<int, kCount> scales, mins;
    float error;
  };
  const auto trial = [&](std::uint16_t d_bits, std::uint16_t dmin_bits) {
    Trial t{d_bits, dmin_bits, {}, {}, 0.0f};
    const float d = scale_value(d_bits, p.unit), dmin = scale_value(dmin_bits, p.unit);
    for (std::size_t s = 0; s < kCount; ++s) {
      const auto nearest_integer = [](float v, float unit) {
        return unit > 0.0f ? static_cast<int>(std::lrintf(std::clamp(v / unit, 0.0f, static_cast<float>(kScaleMax))))
                           : 0;
      };
      const int scale0 = nearest_integer(wanted[s].scale, d), min0 = nearest_integer(-wanted[s].offset, dmin);
      float least = std::numeric_limits<float>::infinity();
      for (int scale = std::max(scale0 - 1, 0); scale <= std::min(scale0 + 1, kScaleMax); ++scale)
        for (int min = std::max(min0 - 1, 0); min <= std::min(min0 + 1, kScaleMax); ++min) {
          const Affine a{d * static_cast<float>(scale), -dmin * static_cast<float>(min)};
          const float error = affine_error<kMax, kSub>(p.x + s * kSub, p.w + s * kSub, a);
          if (error < least) {
            least = error;
            t.scales[s] = scale;
            t.mins[s] = min;
          }
        }
      t.error += least;
    }
    return t;
  };

  Trial kept = trial(scale_bits(widest / static_cast<float>(kScaleMax), p.unit),
                     scale_bits(deepest / static_cast<float>(kScaleMax), p.unit));
  {  // denormals may have lost much by rounding down: the largest then saturate
    const bool d_coarse = (kept.d & 0x7c00u) == 0, dmin_coarse = (kept.dmin & 0x7c00u) == 0 && kept.dmin != 0;
    if (d_coarse || dmin_coarse) {
      const Trial up =
          trial(static_cast<std::uint16_t>(kept.d + d_coarse), static_cast<std::uint16_t>(kept.dmin + dmin_coarse));
      if (up.error < kept.error) kept = up;
    }
  }
  for (int round = 0; round < 3; ++round) {
    const float d = scale_value(kept.d, p.unit), dmin = scale_value(kept.dmin, p.unit);
    // x ≈ d · A − dmin · B with A = scale · q, B = min: two unknowns over the whole super-block.
    float aa = 0.0f, ab = 0.0f, bb = 0.0f, xa = 0.0f, xb = 0.0f;
    for (std::size_t s = 0; s < kCount; ++s) {
      const auto scale = static_cast<float>(kept.scales[s]), min = static_cast<float>(kept.mins[s]);
      wanted[s] = {d * scale, -dmin * min};
      const AffineMoments m = affine_moments<kMax, kSub>(p.x + s * kSub, p.w + s * kSub, wanted[s]);
      aa += scale * scale * m.qq;
      ab += scale * min * m.q;
      bb += min * min * m.w;
      xa += scale * m.xq;
      xb += min * m.x;
    }
    float d_next = 0.0f, dmin_next = 0.0f;
    const float det = aa * bb - ab * ab;
    if (det > 1e-6f * aa * bb) {
      d_next = (bb * xa - ab * xb) / det;
      dmin_next = (ab * xa - aa * xb) / det;
    } else if (aa > 0.0f) {
      d_next = xa / aa;
    }
    if (!(d_next > 0.0f) || !(dmin_next >= 0.0f)) break;
    const std::uint16_t d_bits = scale_bits(d_next, p.unit), dmin_bits = scale_bits(dmin_next, p.unit);
    if (d_bits == kept.d && dmin_bits == kept.dmin) break;
    const Trial next = trial(d_bits, dmin_bits);
    if (!(next.error < kept.error)) break;
    kept = next;
  }

  best.d = kept.d;
  best.dmin = kept.dmin;
  for (std::size_t s = 0; s < kCount; ++s) {
    best.scales[s] = static_cast<std::uint8_t>(kept.scales[s]);
    best.mins[s] = static_cast<std::uint8_t>(kept.mins[s]);
    const Affine a{scale_value(kept.d, p.unit) * static_cast<float>(kept.scales[s]),
                   -scale_value(kept.dmin, p.unit) * static_cast<float>(kept.mins[s])};
    affine_codes_of<kMax, kSub>(p.x + s * kSub, a, best.codes.data() + s * kSub);
  }
  return best;
}

}  // namespace unicorn::quant
