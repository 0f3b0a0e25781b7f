// matmul for float W (f32, f16, bf16) and f32 x:  y[m, n] = Σ_k x[m, k] · W[n, k]
//   W  Layout::panels (packed_format.h)      x  f32, row stride ldx      y  f32, row stride ldy
// Every product is exact before the addition: W is widened to f32 and each term is one FMA. The terms of an output are
// added in ascending k in one chain, whatever the tile; lanes are outputs.
//
// m = 1 runs four panels at once: one chain per panel would wait for each FMA. m > 1 uses tiles as the quantised
// kernel does; W is widened anew for every tile of rows, one or two operations per kTileM FMAs.
#pragma once

#include "backends/cpu/kernels/packed_codes.inl"

namespace unicorn::cpu {
namespace {

constexpr int kFloatVectors = 16 / V::kLanes;  // per panel

// Two consecutive k (k even) of vector p of a panel.
template <DType D>
[[gnu::always_inline]] inline void load_two(const std::uint8_t* panel, std::size_t k, int p, V::F& even, V::F& odd) {
  if constexpr (D == DType::f32) {
    const std::uint8_t* at = panel + 64 * k + 4 * V::kLanes * p;
    even = V::as_f(V::load(at));
    odd = V::as_f(V::load(at + 64));
  } else if constexpr (D == DType::f16) {
    const std::uint8_t* at = panel + 32 * k + 2 * V::kLanes * p;
    even = V::load_f16(at);
    odd = V::load_f16(at + 32);
  } else {
    const V::I both = V::load(panel + 32 * k + 4 * V::kLanes * p);  // low half: even k
    even = V::as_f(V::template shift<16>(both));
    odd = V::as_f(V::and_(both, V::set1(static_cast<std::int32_t>(0xffff0000u))));
  }
}

template <DType D>
[[gnu::always_inline]] inline V::F load_last(const std::uint8_t* panel, std::size_t k, int p) {
  if constexpr (D == DType::f32) return V::as_f(V::load(panel + 64 * k + 4 * V::kLanes * p));
  if constexpr (D == DType::f16) return V::load_f16(panel + 32 * k + 2 * V::kLanes * p);
  return V::as_f(V::template shift<16>(V::load(panel + 32 * k + 4 * V::kLanes * p)));
}

// N panels × M rows of x, a run of k. The sums begin at 0, or go on from what an earlier run left in y.
template <DType D, int N, int M>
void float_tile(const std::uint8_t* w, std::size_t stride, const float* x, std::size_t ldx, std::size_t k, bool first,
                float* y, std::size_t ldy, std::size_t n_left) {
  constexpr std::size_t kAhead = 1024;
  V::F acc[N][kFloatVectors][M];
  UNICORN_UNROLL for (int n = 0; n < N; ++n)
    UNICORN_UNROLL for (int p = 0; p < kFloatVectors; ++p)
      UNICORN_UNROLL for (int m = 0; m < M; ++m) {
        const auto at = static_cast<std::size_t>(n) * kPanelRows + static_cast<std::size_t>(p * V::kLanes);
        const float* from = y + static_cast<std::size_t>(m) * ldy + at;
        acc[n][p][m] = first || n_left <= at          ? V::zero_f()
                       : n_left >= at + V::kLanes     ? V::load_f(from)
                                                      : V::load_first(from, n_left - at);
      }
  constexpr std::size_t kTwo = D == DType::f32 ? 128 : 64;  // bytes of two k
  std::size_t i = 0;
  for (; i + 2 <= k; i += 2) {
    V::F x0[M], x1[M];
    UNICORN_UNROLL for (int m = 0; m < M; ++m) {
      x0[m] = V::broadcast_f(x + static_cast<std::size_t>(m) * ldx + i);
      x1[m] = V::broadcast_f(x + static_cast<std::size_t>(m) * ldx + i + 1);
    }
    UNICORN_UNROLL for (int n = 0; n < N; ++n) {
      const std::uint8_t* panel = w + static_cast<std::size_t>(n) * stride;
      if constexpr (M == 1)
        for (std::size_t c = 0; c < kTwo; c += 64) V::prefetch(panel + i / 2 * kTwo + kAhead + c);
      UNICORN_UNROLL for (int p = 0; p < kFloatVectors; ++p) {
        V::F even, odd;
        load_two<D>(panel, i, p, even, odd);
        UNICORN_UNROLL for (int m = 0; m < M; ++m) acc[n][p][m] = V::fma(even, x0[m], acc[n][p][m]);
        UNICORN_UNROLL for (int m = 0; m < M; ++m) acc[n][p][m] = V::fma(odd, x1[m], acc[n][p][m]);
      }
    }
  }
  if (i < k) {
    UNICORN_UNROLL for (int n = 0; n < N; ++n)
      UNICORN_UNROLL for (int p = 0; p < kFloatVectors; ++p) {
        const V::F last = load_last<D>(w + static_cast<std::size_t>(n) * stride, i, p);
        UNICORN_UNROLL for (int m = 0; m < M; ++m)
          acc[n][p][m] = V::fma(last, V::broadcast_f(x + static_cast<std::size_t>(m) * ldx + i), acc[n][p][m]);
      }
  }
  UNICORN_UNROLL for (int m = 0; m < M; ++m)
    UNICORN_UNROLL for (int n = 0; n < N; ++n)
      UNICORN_UNROLL for (int p = 0; p < kFloatVectors; ++p) {
        const auto at = static_cast<std::size_t>(n) * kPanelRows + static_cast<std::size_t>(p * V::kLanes);
        float* out = y + static_cast<std::size_t>(m) * ldy + at;
        if (n_left >= at + V::kLanes)
          V::store_f(out, acc[n][p][m]);
        else if (n_left > at)
          V::store_first(out, acc[n][p][m], n_left - at);
      }
}

using FloatTileFn = void (*)(const std::uint8_t*, std::size_t, const float*, std::size_t, std::size_t, bool, float*,
                             std::size_t, std::size_t);

template <DType D, int N>
constexpr FloatTileFn float_tile_of(std::size_t rows) {
  if (rows == 1) return float_tile<D, N, 1>;
  if constexpr (V::kTileM >= 4) {
    if (rows == 3) return float_tile<D, N, 3>;
    if (rows == 4) return float_tile<D, N, 4>;
  }
  if constexpr (V::kTileM >= 6) {
    if (rows == 5) return float_tile<D, N, 5>;
    if (rows == 6) return float_tile<D, N, 6>;
  }
  return float_tile<D, N, 2>;
}

template <DType D>
void matmul_float(const PackedView& w, const ActivationView& x, float* y, std::size_t ldy, std::size_t n_begin,
                  std::size_t n_end) {
  constexpr std::size_t kWide = 4 * kPanelRows;
  const auto panel = [&](std::size_t n) { return w.data + n / kPanelRows * w.stride; };
  std::size_t n = n_begin;
  if (x.m == 1) {
    for (; n + kWide <= n_end; n += kWide) float_tile<D, 4, 1>(panel(n), w.stride, x.x, x.ldx, w.k, true, y + n, ldy, kWide);
    for (; n < n_end; n += kPanelRows) float_tile<D, 1, 1>(panel(n), w.stride, x.x, x.ldx, w.k, true, y + n, ldy, n_end - n);
    return;
  }
  constexpr int kPanels = V::kStripPanels;
  constexpr std::size_t kStrip = kPanels * kPanelRows;
  while (n < n_end) {
    const bool whole = n + kStrip <= n_end;
    for (std::size_t row = 0; row < x.m; row += V::kTileM) {
      const std::size_t height = x.m - row < V::kTileM ? x.m - row : V::kTileM;
      const FloatTileFn tile = whole ? float_tile_of<D, kPanels>(height) : float_tile_of<D, 1>(height);
      tile(panel(n), w.stride, x.x + row * x.ldx, x.ldx, w.k, true, y + row * ldy + n, ldy, n_end - n);
    }
    n += whole ? kStrip : kPanelRows;
  }
}

}  // namespace
}  // namespace unicorn::cpu
