// matmul for quantised W and int8 x:  y[m, n] = Σ_b xs[m, b] · Σ_i x[m, 32b + i] · W[n, 32b + i]
//   W  Layout::panels (packed_format.h)      x  ActivationBlocks of 32 (kernel_table.h)      y  f32, row stride ldy
// Assumed and checked by the caller: x.k == w.k, n_begin a multiple of 16, blocks of x filled.
//
// Per block and output, on every instruction set and in every kernel of this file the same expression:
//   d = Σ u·x - zero · Σ x                          integers, exact (16-wide types: one per half)
//   t = scale · d  [fma(scale', d', t)]  [fma(min, -Σ x, t)]  [fma(min', -Σ' x, t)]
//   acc = fma(xs, t, acc)                           blocks in ascending order, one chain per output
// so an output's bits depend on its row of x and of W alone. Lanes are outputs: nothing is ever summed across lanes.
//
// Three kernels. matvec (m = 1) unpacks codes in registers while it streams W once: bound by memory, prefetched ahead.
// few (m <= kFewRowsOfX) does the same for a tile of x at a time; a panel comes from memory for the first tile, from the
// L2 cache for the others. tiled unpacks a strip of panels for a stretch of k into the L1 cache, where every tile of kTileM rows of x
// uses it: per block and tile 8 groups × rows × vectors dot instructions, and 3 float operations per 8 dots. The tile
// is as large as the accumulators leave registers for; x is stored by tiles, so a tile's operands are one stream.
#pragma once

#include "backends/cpu/kernels/packed_codes.inl"

namespace unicorn::cpu {
namespace {

constexpr int kVectors = 16 / V::kLanes;  // per panel
constexpr int kStripVectors = V::kStripPanels * kVectors;  // per strip of the tiled kernel
constexpr std::size_t kStripRows = std::size_t{V::kStripPanels} * kPanelRows;
constexpr std::size_t kStretch = 16;  // blocks of k unpacked at a time: 16-20 KiB of L1
constexpr std::size_t kFewRowsOfX = V::kHasDot ? 64 : 16;  // the most that unpack in registers
constexpr std::size_t kRowTiles = 64;  // tiles whose sums wait in the L2 cache between stretches

// What the integer part needs to know of a dtype; dtypes that agree share the tiled kernel's code.
template <int halves, bool has_min, bool has_zero, int depth>
struct Family {
  static constexpr int kHalves = halves, kDepth = depth;
  static constexpr bool kHasMin = has_min, kHasZero = has_zero;
};
template <DType D>
using FamilyOf = Family<Traits<D>::kHalves, Traits<D>::kHasMin, Traits<D>::kHasZero, Traits<D>::kDepth>;

// Where the running f32 sums of P vectors × M rows live: in registers, or, where 16 registers would not hold them
// beside the integer sums, in memory: one load and store per block.
template <int P, int M>
struct RegisterSums {
  V::F v[P][M];
  [[gnu::always_inline]] void add(int p, int m, V::F xs, V::F t) { v[p][m] = V::fma(xs, t, v[p][m]); }
};
template <int P, int M>
struct MemorySums {
  float* at;
  [[gnu::always_inline]] void add(int p, int m, V::F xs, V::F t) const {
    float* sum = at + (p * M + m) * V::kLanes;
    V::store_f(sum, V::fma(xs, t, V::load_f(sum)));
  }
};
template <int first_row, class Sums>
struct SumsFrom {
  Sums& sums;
  [[gnu::always_inline]] void add(int p, int m, V::F xs, V::F t) const { sums.add(p, first_row + m, xs, t); }
};

// sums(p, m) += block · a[m] for P vectors of rows and M rows of x.
template <class T, int P, int M, class Block, class Sums>
[[gnu::always_inline]] inline void add_block(const Block& w, const ActivationBlock* a, V::I zero_shift, Sums&& sums) {
  constexpr int kPerHalf = 8 / T::kHalves;
  V::F t[P][M];
  unrolled<T::kHalves>([&](auto half_index) __attribute__((always_inline)) {
    constexpr int half = decltype(half_index)::value;
    V::I d[P][M];
    UNICORN_UNROLL for (int m = 0; m < M; ++m) {
      V::I start = V::zero();
      if constexpr (T::kHasZero) {
        const std::int32_t* neg = T::kHalves == 1 ? &a[m].neg : half == 0 ? &a[m].neg_lo : &a[m].neg_hi;
        start = V::shift_left(V::broadcast(neg), zero_shift);
      }
      UNICORN_UNROLL for (int p = 0; p < P; ++p) d[p][m] = start;
    }
    if constexpr (V::kHasDot) {
      // With one row a single chain of eight dots would be all latency: two chains, joined exactly.
      constexpr bool kTwoChains = P * M == 1 && T::kHalves == 1;
      V::I second = V::zero();
      unrolled<kPerHalf>([&](auto i) __attribute__((always_inline)) {
        // Groups j and j + 4 share a load where the codes are nibbles.
        constexpr int n = decltype(i)::value;
        constexpr int g = T::kHalves == 1 ? (n >> 1) + 4 * (n & 1) : 4 * half + n;
        V::I u[P];
        UNICORN_UNROLL for (int p = 0; p < P; ++p) u[p] = w.template group<g>(p);
        UNICORN_UNROLL for (int m = 0; m < M; ++m) {
          const V::I x = V::broadcast(a[m].q + 4 * g);
          UNICORN_UNROLL for (int p = 0; p < P; ++p) {
            if constexpr (kTwoChains && g >= 4)
              second = V::dot(second, u[p], x);
            else
              d[p][m] = V::dot(d[p][m], u[p], x);
          }
        }
      });
      if constexpr (kTwoChains) d[0][0] = V::add(d[0][0], second);
    } else if constexpr (T::kDepth == 1) {
      unrolled<kPerHalf>([&](auto i) __attribute__((always_inline)) {
        constexpr int g = kPerHalf * half + decltype(i)::value;
        typename V::Signed u[P];
        UNICORN_UNROLL for (int p = 0; p < P; ++p) u[p] = V::split_sign(w.template group<g>(p));
        UNICORN_UNROLL for (int m = 0; m < M; ++m) {
          const V::I x = V::broadcast(a[m].q + 4 * g);
          UNICORN_UNROLL for (int p = 0; p < P; ++p) d[p][m] = V::add_pairs(d[p][m], V::mul_pairs_signed(u[p], x));
        }
      });
    } else {
      constexpr int kRun = T::kDepth < kPerHalf ? T::kDepth : kPerHalf;
      unrolled<kPerHalf / kRun>([&](auto run) __attribute__((always_inline)) {
        V::I s[P][M];
        unrolled<kRun>([&](auto i) __attribute__((always_inline)) {
          constexpr int n = kRun * decltype(run)::value + decltype(i)::value;
          constexpr int g = T::kHalves == 1 ? (n >> 1) + 4 * (n & 1) : 4 * half + n;
          V::I u[P];
          UNICORN_UNROLL for (int p = 0; p < P; ++p) u[p] = w.template group<g>(p);
          UNICORN_UNROLL for (int m = 0; m < M; ++m) {
            const V::I x = V::broadcast(a[m].q + 4 * g);
            UNICORN_UNROLL for (int p = 0; p < P; ++p) {
              const V::I product = V::mul_pairs(u[p], x);
              s[p][m] = decltype(i)::value == 0 ? product : V::add16(s[p][m], product);
            }
          }
        });
        UNICORN_UNROLL for (int m = 0; m < M; ++m) UNICORN_UNROLL for (int p = 0; p < P; ++p) d[p][m] =
            V::add_pairs(d[p][m], s[p][m]);
      });
    }
    UNICORN_UNROLL for (int p = 0; p < P; ++p) {
      const V::F scale = w.scale(p, half);
      UNICORN_UNROLL for (int m = 0; m < M; ++m) {
        if constexpr (half == 0)
          t[p][m] = V::mul(scale, V::to_f(d[p][m]));
        else
          t[p][m] = V::fma(scale, V::to_f(d[p][m]), t[p][m]);
      }
    }
  });
  if constexpr (T::kHasMin) {
    unrolled<T::kHalves>([&](auto half_index) __attribute__((always_inline)) {
      constexpr int half = decltype(half_index)::value;
      V::F min[P];
      UNICORN_UNROLL for (int p = 0; p < P; ++p) min[p] = w.min(p, half);
      UNICORN_UNROLL for (int m = 0; m < M; ++m) {
        const std::int32_t* neg = T::kHalves == 1 ? &a[m].neg : half == 0 ? &a[m].neg_lo : &a[m].neg_hi;
        const V::F sum = V::to_f(V::broadcast(neg));
        UNICORN_UNROLL for (int p = 0; p < P; ++p) t[p][m] = V::fma(min[p], sum, t[p][m]);
      }
    });
  }
  UNICORN_UNROLL for (int m = 0; m < M; ++m) {
    const V::F xs = V::broadcast_f(&a[m].scale);
    UNICORN_UNROLL for (int p = 0; p < P; ++p) sums.add(p, m, xs, t[p][m]);
  }
}

// 16 outputs (fewer at the end of n) of P = kVectors vectors.
[[gnu::always_inline]] inline void store_outputs(const V::F* v, float* y, std::size_t n) {
  UNICORN_UNROLL for (int p = 0; p < kVectors; ++p) {
    const std::size_t first = static_cast<std::size_t>(p * V::kLanes);
    if (n >= first + V::kLanes)
      V::store_f(y + first, v[p]);
    else if (n > first)
      V::store_first(y + first, v[p], n - first);
  }
}

// How many rows of a tile are worked on at once. Their integer sums must fit the registers; 16-wide types and the 16-bit
// sums of processors without a dot instruction need more of them.
template <class T>
constexpr int kTileRowsAtOnce = T::kHalves == 2 || (!V::kHasDot && T::kDepth > 1 && T::kDepth < 8) ? 3 : 6;

// sums(p, m) += block · a[m] for P vectors and the tile's rows m = row … M - 1.
template <class T, int P, int M, int row, class Block, class Sums>
[[gnu::always_inline]] inline void add_rows(const Block& w, const ActivationBlock* a, V::I shift, Sums& sums) {
  if constexpr (row < M) {
    constexpr int kRows = M - row < kTileRowsAtOnce<T> ? M - row : kTileRowsAtOnce<T>;
    add_block<T, P, kRows>(w, a + row, shift, SumsFrom<row, Sums>{sums});
    add_rows<T, P, M, row + kRows>(w, a, shift, sums);
  }
}

// ---- m = 1.

template <DType D>
void matvec(const PackedView& w, const ActivationBlock* x, float* y, std::size_t n_begin, std::size_t n_end) {
  using T = Traits<D>;
  constexpr std::size_t kUnit = unit_bytes(T::kFormat);
  constexpr std::size_t kShare = kUnit / T::kFormat.blocks;
  constexpr std::size_t kAhead = 4096;  // bytes of prefetch; the stream runs on from panel to panel
  const V::I zero_shift = V::set1(T::kZeroShift);
  const std::size_t n_units = w.stride / kUnit;
  for (std::size_t n = n_begin; n < n_end; n += kPanelRows) {
    const std::uint8_t* unit = w.data + n / kPanelRows * w.stride;
    const ActivationBlock* a = x;
    RegisterSums<kVectors, 1> sums;
    UNICORN_UNROLL for (int p = 0; p < kVectors; ++p) sums.v[p][0] = V::zero_f();
    for (std::size_t u = 0; u < n_units; ++u, unit += kUnit) {
      for (std::size_t b = 0; b < T::kFormat.blocks; ++b, ++a) {
        // A few lines per block: asked for by the unit, a K-quant's 37 lines fill every miss buffer and stall.
        UNICORN_UNROLL for (std::size_t i = 0; i < kShare; i += 64) V::prefetch(unit + kAhead + b * kShare + i);
        add_block<T, kVectors, 1>(PackedBlock<D>{unit, b}, a, zero_shift, sums);
      }
    }
    V::F out[kVectors];
    UNICORN_UNROLL for (int p = 0; p < kVectors; ++p) out[p] = sums.v[p][0];
    store_outputs(out, y + n, n_end - n);
  }
}

// ---- 1 < m <= kFewRowsOfX: the panel's codes are unpacked in registers for each tile of x, from the cache after the first.

template <DType D, int M>
void panel_tile(const std::uint8_t* unit, std::size_t n_blocks, const ActivationBlock* a, float* sums) {
  using T = Traits<D>;
  constexpr std::size_t kUnit = unit_bytes(T::kFormat);
  constexpr std::size_t kShare = kUnit / T::kFormat.blocks;
  constexpr std::size_t kAhead = 4096;
  const V::I shift = V::set1(T::kZeroShift);
  const auto add_all = [&](auto& s) __attribute__((always_inline)) {
    for (std::size_t first = 0; first < n_blocks; first += T::kFormat.blocks, unit += kUnit) {
      const std::size_t count = n_blocks - first < T::kFormat.blocks ? n_blocks - first : T::kFormat.blocks;
      for (std::size_t b = 0; b < count; ++b, a += M) {
        UNICORN_UNROLL for (std::size_t i = 0; i < kShare; i += 64) V::prefetch(unit + kAhead + b * kShare + i);
        add_rows<T, kVectors, M, 0>(PackedBlock<D>{unit, b}, a, shift, s);
      }
    }
  };
  if constexpr (V::kRegisters >= 32) {
    RegisterSums<kVectors, M> s;
    UNICORN_UNROLL for (int p = 0; p < kVectors; ++p) UNICORN_UNROLL for (int m = 0; m < M; ++m) s.v[p][m] =
        V::zero_f();
    add_all(s);
    UNICORN_UNROLL for (int p = 0; p < kVectors; ++p) UNICORN_UNROLL for (int m = 0; m < M; ++m)
        V::store_f(sums + (p * M + m) * V::kLanes, s.v[p][m]);
  } else {
    for (int i = 0; i < kVectors * M; ++i) V::store_f(sums + i * V::kLanes, V::zero_f());
    MemorySums<kVectors, M> s{sums};
    add_all(s);
  }
}

template <DType D>
void matmul_few(const PackedView& w, const ActivationView& x, float* y, std::size_t ldy, std::size_t n_begin,
                std::size_t n_end) {
  alignas(64) float sums[V::kTileM * kPanelRows];
  const std::size_t n_blocks = w.k / kBlock;
  for (std::size_t n = n_begin; n < n_end; n += kPanelRows) {
    const std::uint8_t* panel = w.data + n / kPanelRows * w.stride;
    for (std::size_t row = 0; row < x.m; row += V::kTileM) {
      const std::size_t height = x.m - row < V::kTileM ? x.m - row : V::kTileM;
      const ActivationBlock* a = x.blocks + row * x.n_blocks;
      unrolled<V::kTileM>([&](auto i) __attribute__((always_inline)) {
        constexpr int M = decltype(i)::value + 1;
        if (height == M) panel_tile<D, M>(panel, n_blocks, a, sums);
      });
      for (std::size_t m = 0; m < height; ++m) {
        V::F v[kVectors];
        UNICORN_UNROLL for (int p = 0; p < kVectors; ++p) v[p] =
            V::load_f(sums + (static_cast<std::size_t>(p) * height + m) * V::kLanes);
        store_outputs(v, y + (row + m) * ldy + n, n_end - n);
      }
    }
  }
}

// ---- m > kFewRowsOfX. The scratch a strip is unpacked to.

template <int halves, bool has_min>
struct StripMins {
  float mins[halves][kStripRows];
};
template <int halves>
struct StripMins<halves, false> {};

template <class T>
struct alignas(64) StripBlock : StripMins<T::kHalves, T::kHasMin> {
  alignas(64) std::uint8_t codes[8][kStripRows * 4];
  float scales[T::kHalves][kStripRows];

  template <int g>
  [[gnu::always_inline]] V::I group(int p) const {
    return V::load(codes[g] + p * (4 * V::kLanes));
  }
  [[gnu::always_inline]] V::F scale(int p, int half) const { return V::load_f(scales[half] + p * V::kLanes); }
  [[gnu::always_inline]] V::F min(int p, int half) const { return V::load_f(this->mins[half] + p * V::kLanes); }
};

// n_blocks blocks of a panel, from the beginning of a unit, into columns [column · 16, +16) of the strip.
template <DType D, bool kRaw>
void unpack_panel(const std::uint8_t* units, std::size_t n_blocks, int column, StripBlock<FamilyOf<D>>* out) {
  using T = Traits<D>;
  for (std::size_t b = 0; b < n_blocks; ++b) {
    const PackedBlock<D, kRaw> block{units + b / T::kFormat.blocks * kUnitBytes<D, kRaw>, b % T::kFormat.blocks};
    StripBlock<FamilyOf<D>>& to = out[b];
    UNICORN_UNROLL for (int p = 0; p < kVectors; ++p) {
      const int at = column * kVectors + p;  // vector of the strip
      unrolled<8>([&](auto i) __attribute__((always_inline)) {
        constexpr int g = (decltype(i)::value >> 1) + 4 * (decltype(i)::value & 1);
        V::store(to.codes[g] + at * (4 * V::kLanes), block.template group<g>(p));
      });
      UNICORN_UNROLL for (int h = 0; h < T::kHalves; ++h) {
        V::store_f(to.scales[h] + at * V::kLanes, block.scale(p, h));
        if constexpr (T::kHasMin) V::store_f(to.mins[h] + at * V::kLanes, block.min(p, h));
      }
    }
  }
}

// sums[p][m] += strip · tile of M rows, over n_blocks blocks.
template <class T, int M>
void tile(const StripBlock<T>* w, std::size_t n_blocks, const ActivationBlock* a, int zero_shift, bool first,
          float* sums) {
  const V::I shift = V::set1(zero_shift);
  if constexpr (V::kRegisters >= 32) {
    RegisterSums<kStripVectors, M> s;
    UNICORN_UNROLL for (int p = 0; p < kStripVectors; ++p) UNICORN_UNROLL for (int m = 0; m < M; ++m) s.v[p][m] =
        first ? V::zero_f() : V::load_f(sums + (p * M + m) * V::kLanes);
    for (std::size_t b = 0; b < n_blocks; ++b, a += M) add_rows<T, kStripVectors, M, 0>(w[b], a, shift, s);
    UNICORN_UNROLL for (int p = 0; p < kStripVectors; ++p) UNICORN_UNROLL for (int m = 0; m < M; ++m)
        V::store_f(sums + (p * M + m) * V::kLanes, s.v[p][m]);
  } else {
    if (first)
      for (int i = 0; i < kStripVectors * M; ++i) V::store_f(sums + i * V::kLanes, V::zero_f());
    MemorySums<kStripVectors, M> s{sums};
    for (std::size_t b = 0; b < n_blocks; ++b, a += M) add_rows<T, kStripVectors, M, 0>(w[b], a, shift, s);
  }
}

template <class T>
using TileFn = void (*)(const StripBlock<T>*, std::size_t, const ActivationBlock*, int, bool, float*);

template <class T>
constexpr TileFn<T> tile_of(std::size_t rows) {
  if (rows == 1) return tile<T, 1>;
  if constexpr (V::kTileM >= 4) {
    if (rows == 3) return tile<T, 3>;
    if (rows == 4) return tile<T, 4>;
  }
  if constexpr (V::kTileM >= 6) {
    if (rows == 5) return tile<T, 5>;
    if (rows == 6) return tile<T, 6>;
  }
  return tile<T, 2>;
}
static_assert(V::kTileM == 2 || V::kTileM == 4 || V::kTileM == 6);

// Puts blocks [first, first + count) of outputs [n, n + 16) into columns [column · 16, +16) of the strip. `first` is a
// multiple of kStretch, hence begins a unit. `rows`: null, or the rows of W that outputs stand for (Layout::rows).
template <class T>
using UnpackFn = void (*)(const PackedView& w, const std::uint32_t* rows, std::size_t n, std::size_t first,
                          std::size_t count, int column, StripBlock<T>* strip);

template <DType D>
void from_panels(const PackedView& w, const std::uint32_t*, std::size_t n, std::size_t first, std::size_t count,
                 int column, StripBlock<FamilyOf<D>>* strip) {
  const std::size_t unit = first / packed_format(D).blocks;
  unpack_panel<D, false>(w.data + n / kPanelRows * w.stride + unit * kUnitBytes<D, false>, count, column, strip);
}

// Outputs [n_begin, n_end) of y are for rows rows[n] of W, or n itself.
template <class T>
void matmul_tiled(UnpackFn<T> unpack, int zero_shift, const PackedView& w, const std::uint32_t* rows,
                  const ActivationView& x, float* y, std::size_t ldy, std::size_t n_begin, std::size_t n_end) {
  constexpr std::size_t kTileFloats = V::kTileM * kStripRows;
  StripBlock<T> strip[kStretch];
  alignas(64) float sums[kRowTiles * kTileFloats];
  const std::size_t n_blocks = w.k / kBlock;  // W's own padding is skipped with them
  const std::size_t n_tiles = (x.m + V::kTileM - 1) / V::kTileM;

  for (std::size_t n = n_begin; n < n_end; n += kStripRows) {
    for (std::size_t tile0 = 0; tile0 < n_tiles; tile0 += kRowTiles) {
      const std::size_t tile1 = tile0 + kRowTiles < n_tiles ? tile0 + kRowTiles : n_tiles;
      for (std::size_t first = 0; first < n_blocks; first += kStretch) {
        const std::size_t count = first + kStretch < n_blocks ? kStretch : n_blocks - first;
        for (int panel = 0; panel < V::kStripPanels; ++panel) {
          // A strip that hangs over the range computes its first panel twice and stores it once.
          const std::size_t at = n + static_cast<std::size_t>(panel) * kPanelRows;
          unpack(w, rows, at < n_end ? at : n, first, count, panel, strip);
        }
        for (std::size_t t = tile0; t < tile1; ++t) {
          const std::size_t row = t * V::kTileM;
          const std::size_t height = x.m - row < V::kTileM ? x.m - row : V::kTileM;
          tile_of<T>(height)(strip, count, x.blocks + row * x.n_blocks + first * height, zero_shift, first == 0,
                             sums + (t - tile0) * kTileFloats);
        }
      }
      for (std::size_t t = tile0; t < tile1; ++t) {
        const std::size_t row = t * V::kTileM;
        const std::size_t height = x.m - row < V::kTileM ? x.m - row : V::kTileM;
        const float* tile_sums = sums + (t - tile0) * kTileFloats;
        for (std::size_t m = 0; m < height; ++m) {
          for (int panel = 0; panel < V::kStripPanels; ++panel) {
            const std::size_t at = n + static_cast<std::size_t>(panel) * kPanelRows;
            if (at >= n_end) break;
            V::F v[kVectors];
            UNICORN_UNROLL for (int p = 0; p < kVectors; ++p) {
              const auto vector = static_cast<std::size_t>(panel * kVectors + p);
              v[p] = V::load_f(tile_sums + (vector * height + m) * V::kLanes);
            }
            store_outputs(v, y + (row + m) * ldy + at, n_end - at);
          }
        }
      }
    }
  }
}

template <DType D>
void matmul_quantised(const PackedView& w, const ActivationView& x, float* y, std::size_t ldy, std::size_t n_begin,
                      std::size_t n_end) {
  if (x.m == 1)
    matvec<D>(w, x.blocks, y, n_begin, n_end);
  else if (x.m <= kFewRowsOfX)
    matmul_few<D>(w, x, y, ldy, n_begin, n_end);
  else
    matmul_tiled<FamilyOf<D>>(from_panels<D>, Traits<D>::kZeroShift, w, nullptr, x, y, ldy, n_begin, n_end);
}

}  // namespace
}  // namespace unicorn::cpu
