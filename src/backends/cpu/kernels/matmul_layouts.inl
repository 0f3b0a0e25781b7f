// matmul for Layout::rows and Layout::columns: the FFN of a layer whose gate leaves most of d_ff at zero.
//   matmul_rows        y[j] = W[rows[j]] · x, chosen rows of `up`, m = 1
//   matmul_columns     y[n] = Σ x[k] · W[n, k] over the k that are not zero, `down`; few rows of x
//   the rest           dense products on the same bytes, for prefill: no second copy of the weights
//
// The same row, the same bits as Layout::panels: a skipped k adds 0 to an exact integer sum, a skipped block adds
// fma(0, t, acc) = acc, a skipped float term fma(w, 0, acc) = acc; everything else is the same expression in the same
// order (matmul_quantised.inl, matmul_float.inl).
//
// Rows are turned into raw units (packed_codes.inl) 16 at a time, in the L1 cache, and then go through the kernels of
// Layout::panels. Columns are read as they lie: one k's codes of all outputs are one run of memory, the next block's
// runs are prefetched while one is worked on, and the sums live in y.
#pragma once

#include "backends/cpu/file_codes.h"
#include "backends/cpu/kernels/matmul_float.inl"
#include "backends/cpu/kernels/matmul_quantised.inl"

namespace unicorn::cpu {
namespace {

template <DType D>
constexpr std::size_t kRawScratch = kStretch / packed_format(D).blocks * kUnitBytes<D, true>;

// ---- Layout::rows, quantised.

// Where outputs [n, n + 16) begin; beyond the last one it is repeated.
[[gnu::always_inline]] inline void row_pointers(const PackedView& w, const std::uint32_t* chosen, std::size_t n,
                                                const std::byte** out) {
  for (std::size_t r = 0; r < kPanelRows; ++r) {
    const std::size_t i = n + r < w.n ? n + r : w.n - 1;
    const std::size_t row = chosen == nullptr ? i : chosen[i];
    out[r] = static_cast<const std::byte*>(static_cast<const void*>(w.data + row * w.stride));
  }
}

#if defined(__AVX2__)
// 16 codes of each of four rows, from group g on → groups g … g + 3, rows side by side.
[[gnu::always_inline]] inline void put_four_rows(const __m128i* row, std::uint8_t* codes) {
  const auto put = [codes](std::size_t g, __m128i v) __attribute__((always_inline)) {
    _mm_store_si128(static_cast<__m128i*>(static_cast<void*>(codes + 64 * g)), v);
  };
  const __m128i a = _mm_unpacklo_epi32(row[0], row[1]), b = _mm_unpacklo_epi32(row[2], row[3]);
  const __m128i c = _mm_unpackhi_epi32(row[0], row[1]), d = _mm_unpackhi_epi32(row[2], row[3]);
  put(0, _mm_unpacklo_epi64(a, b));
  put(1, _mm_unpackhi_epi64(a, b));
  put(2, _mm_unpacklo_epi64(c, d));
  put(3, _mm_unpackhi_epi64(c, d));
}
[[gnu::always_inline]] inline __m128i load_16(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }

// One file block of rows r … r + 3. q4_0 and q8_0 are read where they lie: a copy of the block would be written in
// pieces and read across them, which stalls for longer than all of this takes.
template <DType D>
[[gnu::always_inline]] inline void raw_four_rows(const std::byte* const* rows, std::size_t file_block_index, std::size_t b,
                                                 std::size_t r, std::uint8_t* unit) {
  constexpr PackedFormat f = packed_format(D);
  std::uint8_t* codes = unit + f.scale_bytes + b % f.blocks * 512 + 4 * r;
  __m128i low[4], high[4];
  if constexpr (D == DType::q4_0 || D == DType::q8_0) {
    constexpr std::size_t kBytes = D == DType::q4_0 ? sizeof(BlockQ4_0) : sizeof(BlockQ8_0);
    for (std::size_t i = 0; i < 4; ++i) {
      const std::byte* block = rows[r + i] + file_block_index * kBytes;
      __builtin_memcpy(unit + 32 * (b % f.blocks) + 2 * (r + i), block, 2);  // Scales::f16
      const __m128i first = load_16(block + 2);
      if constexpr (D == DType::q4_0) {
        const __m128i mask = _mm_set1_epi8(15);
        low[i] = _mm_and_si128(first, mask);
        high[i] = _mm_and_si128(_mm_srli_epi16(first, 4), mask);
      } else {
        const __m128i zero = _mm_set1_epi8(-128);
        low[i] = _mm_xor_si128(first, zero);
        high[i] = _mm_xor_si128(load_16(block + 18), zero);
      }
    }
    put_four_rows(low, codes);
    put_four_rows(high, codes + 64 * 4);
  } else {
    FileBlock fb[4];
    for (std::size_t i = 0; i < 4; ++i) {
      read_file_block<D>(rows[r + i], file_block_index, fb[i]);
      write_scales(f.scales, fb[i], b % f.blocks, r + i, unit);
    }
    for (std::size_t g = 0; g < file_block(D) / 4; g += 4) {
      for (std::size_t i = 0; i < 4; ++i) low[i] = load_16(fb[i].codes + 4 * g);
      put_four_rows(low, codes + 64 * g);
    }
  }
}
#endif

// Blocks [first, first + count) of 16 rows as raw units. `first` begins a unit and a file block.
template <DType D>
[[gnu::always_inline]] inline void raw_from_rows(const std::byte* const* rows, std::size_t first, std::size_t count,
                                                 std::uint8_t* scratch) {
  constexpr PackedFormat f = packed_format(D);
  constexpr std::size_t kFile = file_block(D) / kBlock;  // blocks per file block
#if defined(__AVX2__)
  for (std::size_t b = 0; b < count; b += kFile)
    for (std::size_t r = 0; r < kPanelRows; r += 4)
      raw_four_rows<D>(rows, (first + b) / kFile, b, r, scratch + b / f.blocks * kUnitBytes<D, true>);
#else
  FileBlock fb;
  for (std::size_t r = 0; r < kPanelRows; ++r)
    for (std::size_t b = 0; b < count; b += kFile) {
      std::uint8_t* unit = scratch + b / f.blocks * kUnitBytes<D, true>;
      read_file_block<D>(rows[r], (first + b) / kFile, fb);
      write_scales(f.scales, fb, b % f.blocks, r, unit);
      std::uint8_t* codes = unit + f.scale_bytes + b % f.blocks * 512 + 4 * r;
      for (std::size_t g = 0; g < 8 * kFile; ++g) __builtin_memcpy(codes + 64 * g, fb.codes + 4 * g, 4);
    }
#endif
}

template <DType D>
void from_rows(const PackedView& w, const std::uint32_t* chosen, std::size_t n, std::size_t first, std::size_t count,
               int column, StripBlock<FamilyOf<D>>* strip) {
  alignas(64) std::uint8_t scratch[kRawScratch<D>];
  const std::byte* rows[kPanelRows];
  row_pointers(w, chosen, n, rows);
  raw_from_rows<D>(rows, first, count, scratch);
  unpack_panel<D, true>(scratch, count, column, strip);
}

template <DType D>
void matmul_dense_rows(const PackedView& w, const ActivationView& x, float* y, std::size_t ldy, std::size_t n_begin,
                       std::size_t n_end) {
  matmul_tiled<FamilyOf<D>>(from_rows<D>, Traits<D>::kZeroShift, w, nullptr, x, y, ldy, n_begin, n_end);
}

template <DType D>
void matmul_rows(const PackedView& w, const ActivationView& x, const std::uint32_t* rows, std::size_t n_rows, float* y) {
  PackedView chosen = w;
  chosen.n = n_rows;
  matmul_tiled<FamilyOf<D>>(from_rows<D>, Traits<D>::kZeroShift, chosen, rows, x, y, n_rows, 0, n_rows);
}

// ---- Layout::columns, quantised.

template <DType D>
struct ColumnBlock {  // one block of 32 k
  const std::uint8_t* data;  // of its file block
  std::size_t in_block;      // its place there
  std::size_t n, n_padded;

  static ColumnBlock at(const PackedView& w, std::size_t b) {
    constexpr std::size_t kFile = column_format(D).k / kBlock;
    return {w.data + b / kFile * w.stride, b % kFile, w.n, column_padded(w.n)};
  }
  const std::uint8_t* wide(std::size_t at) const { return data + (column_format(D).wide_bytes == 1 ? 1 : 2) * at; }
  const std::uint8_t* min(std::size_t at) const { return data + 2 * (n_padded + at); }
  const std::uint8_t* sub(std::size_t index, std::size_t at) const {  // of the file block's scales, then mins
    return data + (column_format(D).wide_bytes + index) * n_padded + at;
  }
  const std::uint8_t* column(std::size_t k) const {
    return data + column_scale_bytes(D, n) + (kBlock * in_block + k) * column_code_bytes(D, n);
  }
};

// Codes of one k for the kLanes outputs from `at`, one per lane, as unsigned products want them.
template <DType D>
[[gnu::always_inline]] inline V::I column_codes(const std::uint8_t* column, std::size_t at, std::size_t n_padded) {
  constexpr Codes kCodes = packed_format(D).codes;
  const auto nibble = [&]() __attribute__((always_inline)) {
    const V::I v = V::load_u8(column + at / 32 * 16 + at % 16);
    return V::and_(V::shift_right(v, V::set1(at % 32 < 16 ? 0 : 4)), V::set1(15));
  };
  const auto pair = [&](const std::uint8_t* plane) __attribute__((always_inline)) {
    const V::I v = V::load_u8(plane + at / 64 * 16 + at % 16);
    return V::and_(V::shift_right(v, V::set1(static_cast<std::int32_t>(2 * (at / 16 % 4)))), V::set1(3));
  };
  const auto bit = [&](const std::uint8_t* plane) __attribute__((always_inline)) {
    std::int32_t bits = 0;
    __builtin_memcpy(&bits, plane + at / 8, V::kLanes / 8);
    return V::and_(V::shift_right(V::set1(bits), V::lane_index()), V::set1(1));
  };
  V::I code;
  if constexpr (kCodes == Codes::byte) code = V::load_u8(column + at);
  if constexpr (kCodes == Codes::nibble) code = nibble();
  if constexpr (kCodes == Codes::nibble_bit) code = V::or_(nibble(), V::template shift<4>(bit(column + n_padded / 2)));
  if constexpr (kCodes == Codes::nibble_pair) code = V::or_(nibble(), V::template shift<4>(pair(column + n_padded / 2)));
  if constexpr (kCodes == Codes::pair) code = pair(column);
  if constexpr (kCodes == Codes::pair_bit) code = V::or_(pair(column), V::template shift<2>(bit(column + n_padded / 4)));
  if constexpr (Traits<D>::kCodebook) {
    const std::uint8_t* table = D == DType::mxfp4 ? kMxfp4Biased : kIq4Biased;
    return V::and_(V::look_up(V::table(table), code), V::set1(0xff));
  }
  return code;
}

// The k of a block whose code of x is not zero, ascending; n_lo of them in the first half.
struct Survivors {
  std::size_t n, n_lo;
  std::uint8_t k[kBlock];
};

[[gnu::always_inline]] inline Survivors survivors_of(const ActivationBlock& a) {
  Survivors s{};
  for (std::size_t k = 0; k < kBlock; ++k) {
    if (k == 16) s.n_lo = s.n;
    if (a.q[k] != 0) s.k[s.n++] = static_cast<std::uint8_t>(k);
  }
  return s;
}

// y[n_begin … n_end) += block · a over the survivors.
template <DType D>
void add_column_block(const ColumnBlock<D>& w, const ActivationBlock& a, const Survivors& s, float* y,
                      std::size_t n_begin, std::size_t n_end) {
  using T = Traits<D>;
  constexpr std::int32_t kZero = packed_format(D).zero;
  constexpr std::size_t kLanes = V::kLanes;
  const std::uint8_t* column[kBlock];
  for (std::size_t i = 0; i < s.n; ++i) column[i] = w.column(s.k[i]);
  const V::F xs = V::broadcast_f(&a.scale);
  for (std::size_t at = n_begin; at < n_end; at += kLanes) {
    const bool whole = n_end - at >= kLanes;
    V::F t = V::zero_f();
    for (std::size_t half = 0; half < T::kHalves; ++half) {
      const std::int32_t neg = T::kHalves == 1 ? a.neg : half == 0 ? a.neg_lo : a.neg_hi;
      V::I d = V::set1(kZero * neg);
      const std::size_t from = half == 0 ? 0 : s.n_lo, to = T::kHalves == 1 || half == 1 ? s.n : s.n_lo;
      for (std::size_t i = from; i < to; ++i)
        d = V::add(d, V::mul_low16(column_codes<D>(column[i], at, w.n_padded), V::set1(a.q[s.k[i]])));
      const V::F scale = decode_scale<D>(w.wide(at), w.sub(T::kHalves * w.in_block + half, at));
      t = half == 0 ? V::mul(scale, V::to_f(d)) : V::fma(scale, V::to_f(d), t);
    }
    if constexpr (T::kHasMin) {
      for (std::size_t half = 0; half < T::kHalves; ++half) {
        const std::int32_t neg = T::kHalves == 1 ? a.neg : half == 0 ? a.neg_lo : a.neg_hi;
        const std::size_t sub = T::kHalves == 1 ? column_format(D).sub_scales + w.in_block : 2 * w.in_block + half;
        t = V::fma(decode_min<D>(w.min(at), w.sub(sub, at)), V::to_f(V::set1(neg)), t);
      }
    }
    float* out = y + at;
    if (whole)
      V::store_f(out, V::fma(xs, t, V::load_f(out)));
    else
      V::store_first(out, V::fma(xs, t, V::load_first(out, n_end - at)), n_end - at);
  }
}

template <DType D>
void prefetch_column_block(const ColumnBlock<D>& w, const Survivors& s, std::size_t n_begin, std::size_t n_end) {
  constexpr ColumnFormat c = column_format(D);
  const auto lines = [](const std::uint8_t* from, const std::uint8_t* to) {
    for (const std::uint8_t* p = from; p < to; p += 64) V::prefetch(p);
  };
  lines(w.wide(n_begin), w.wide(n_end));
  if constexpr (c.wide_bytes == 4) lines(w.min(n_begin), w.min(n_end));
  if constexpr (c.sub_scales > 0) {
    constexpr std::size_t kHalves = Traits<D>::kHalves;
    for (std::size_t h = 0; h < kHalves; ++h)
      lines(w.sub(kHalves * w.in_block + h, n_begin), w.sub(kHalves * w.in_block + h, n_end));
    if constexpr (c.sub_mins > 0) lines(w.sub(c.sub_scales + w.in_block, n_begin), w.sub(c.sub_scales + w.in_block, n_end));
  }
  for (std::size_t i = 0; i < s.n; ++i) {
    const std::uint8_t* column = w.column(s.k[i]);
    constexpr Codes kCodes = packed_format(D).codes;
    if constexpr (kCodes == Codes::byte) lines(column + n_begin, column + n_end);
    if constexpr (kCodes == Codes::nibble || kCodes == Codes::nibble_bit || kCodes == Codes::nibble_pair)
      lines(column + n_begin / 2, column + n_end / 2);
    if constexpr (kCodes == Codes::nibble_pair)
      lines(column + w.n_padded / 2 + n_begin / 4, column + w.n_padded / 2 + n_end / 4);
    if constexpr (kCodes == Codes::nibble_bit)
      lines(column + w.n_padded / 2 + n_begin / 8, column + w.n_padded / 2 + n_end / 8);
    if constexpr (kCodes == Codes::pair || kCodes == Codes::pair_bit) lines(column + n_begin / 4, column + n_end / 4);
  }
}

[[gnu::always_inline]] inline void clear_outputs(float* y, std::size_t n_begin, std::size_t n_end) {
  for (std::size_t n = n_begin; n < n_end; ++n) y[n] = 0.0f;
}

// One row of x, whose blocks lie `stride` apart.
template <DType D>
void matvec_columns(const PackedView& w, const ActivationBlock* x, std::size_t stride, float* y, std::size_t n_begin,
                    std::size_t n_end) {
  clear_outputs(y, n_begin, n_end);
  const std::size_t n_blocks = w.k / kBlock;
  // (A NaN scale is not 0 and its codes are not either: it reaches y.)
  const auto next = [&](std::size_t b) {
    while (b < n_blocks && x[b * stride].scale == 0.0f) ++b;
    return b;
  };
  std::size_t b = next(0);
  if (b == n_blocks) return;
  Survivors s = survivors_of(x[b * stride]);
  while (b < n_blocks) {
    const std::size_t after = next(b + 1);
    Survivors s_after{};
    if (after < n_blocks) {
      s_after = survivors_of(x[after * stride]);
      prefetch_column_block<D>(ColumnBlock<D>::at(w, after), s_after, n_begin, n_end);
    }
    add_column_block<D>(ColumnBlock<D>::at(w, b), x[b * stride], s, y, n_begin, n_end);
    b = after;
    s = s_after;
  }
}

// 16 codes of one k from output `n` (a multiple of 16), a byte each.
template <DType D>
[[gnu::always_inline]] inline void read_column(const std::uint8_t* column, std::size_t n, std::size_t n_padded,
                                               std::uint8_t* out) {
  constexpr Codes kCodes = packed_format(D).codes;
  const auto nibble = [&]() __attribute__((always_inline)) {
    const int shift = n % 32 < 16 ? 0 : 4;
    for (std::size_t i = 0; i < 16; ++i) out[i] = static_cast<std::uint8_t>(column[n / 32 * 16 + i] >> shift & 15);
  };
  const auto pair = [&](const std::uint8_t* plane, int to) __attribute__((always_inline)) {
    const int shift = static_cast<int>(2 * (n / 16 % 4));
    for (std::size_t i = 0; i < 16; ++i) {
      const auto v = static_cast<std::uint8_t>((plane[n / 64 * 16 + i] >> shift & 3) << to);
      out[i] = to == 0 ? v : static_cast<std::uint8_t>(out[i] | v);
    }
  };
  const auto bit = [&](const std::uint8_t* plane, int to) __attribute__((always_inline)) {
    const std::uint32_t bits = plane[n / 8] | static_cast<std::uint32_t>(plane[n / 8 + 1]) << 8;
    for (std::size_t i = 0; i < 16; ++i) out[i] = static_cast<std::uint8_t>(out[i] | (bits >> i & 1) << to);
  };
  if constexpr (kCodes == Codes::byte) __builtin_memcpy(out, column + n, 16);
  if constexpr (kCodes == Codes::nibble) nibble();
  if constexpr (kCodes == Codes::nibble_bit) nibble(), bit(column + n_padded / 2, 4);
  if constexpr (kCodes == Codes::nibble_pair) nibble(), pair(column + n_padded / 2, 4);
  if constexpr (kCodes == Codes::pair) pair(column, 0);
  if constexpr (kCodes == Codes::pair_bit) pair(column, 0), bit(column + n_padded / 4, 2);
}

template <DType D>
void from_columns(const PackedView& w, const std::uint32_t*, std::size_t n, std::size_t first, std::size_t count,
                  int column, StripBlock<FamilyOf<D>>* strip) {
  alignas(64) std::uint8_t scratch[kRawScratch<D>];
  constexpr PackedFormat f = packed_format(D);
  constexpr ColumnFormat c = column_format(D);
  const std::size_t n_padded = column_padded(w.n);
  for (std::size_t b = 0; b < count; ++b) {
    const ColumnBlock<D> from = ColumnBlock<D>::at(w, first + b);
    std::uint8_t* unit = scratch + b / f.blocks * kUnitBytes<D, true>;
    if constexpr (f.scales == Scales::f16) {
      __builtin_memcpy(unit + b % f.blocks * 32, from.wide(n), 32);
    } else if constexpr (f.scales == Scales::e8m0) {
      __builtin_memcpy(unit + b % f.blocks * 16, from.wide(n), 16);
    } else if (b % f.blocks == 0) {
      __builtin_memcpy(unit, from.wide(n), 32);
      if constexpr (c.wide_bytes == 4) __builtin_memcpy(unit + 32, from.min(n), 32);
      for (std::size_t s = 0; s < c.sub_scales; ++s) __builtin_memcpy(unit + 64 + 16 * s, from.sub(s, n), 16);
      for (std::size_t s = 0; s < c.sub_mins; ++s)
        __builtin_memcpy(unit + 192 + 16 * s, from.sub(c.sub_scales + s, n), 16);
    }
    std::uint8_t* codes = unit + f.scale_bytes + b % f.blocks * 512;
    for (std::size_t g = 0; g < 8; ++g) {
      std::uint8_t k[4][16];
      for (std::size_t i = 0; i < 4; ++i) read_column<D>(from.column(4 * g + i), n, n_padded, k[i]);
      for (std::size_t r = 0; r < 16; ++r)
        for (std::size_t i = 0; i < 4; ++i) codes[64 * g + 4 * r + i] = k[i][r];
    }
  }
  unpack_panel<D, true>(scratch, count, column, strip);
}

// Row by row while all rows together touch less than a quarter of W's columns; else every weight is wanted anyway.
template <DType D>
void matmul_columns(const PackedView& w, const ActivationView& x, float* y, std::size_t ldy, std::size_t n_begin,
                    std::size_t n_end) {
  if (x.m == 1) return matvec_columns<D>(w, x.blocks, 1, y, n_begin, n_end);
  if (x.m <= V::kTileM) {  // one tile: block b of row r at b · m + r
    std::size_t touched = 0;
    for (std::size_t i = 0; i < w.k / kBlock * x.m; ++i)
      if (x.blocks[i].scale != 0.0f)
        for (std::size_t k = 0; k < kBlock; ++k) touched += x.blocks[i].q[k] != 0 ? 1 : 0;
    if (touched < w.k / 4) {
      for (std::size_t r = 0; r < x.m; ++r) matvec_columns<D>(w, x.blocks + r, x.m, y + r * ldy, n_begin, n_end);
      return;
    }
  }
  matmul_tiled<FamilyOf<D>>(from_columns<D>, Traits<D>::kZeroShift, w, nullptr, x, y, ldy, n_begin, n_end);
}

// ---- Floats.

constexpr std::size_t kFloatStretch = 256;  // k interleaved at a time: 16 KiB of f32

template <DType D>
[[gnu::always_inline]] inline void add_floats(const std::uint8_t* panel, const ActivationView& x, std::size_t first,
                                              std::size_t count, float* y, std::size_t ldy, std::size_t n_left) {
  for (std::size_t row = 0; row < x.m; row += V::kTileM) {
    const std::size_t height = x.m - row < V::kTileM ? x.m - row : V::kTileM;
    float_tile_of<D, 1>(height)(panel, 0, x.x + row * x.ldx + first, x.ldx, count, first == 0, y + row * ldy, ldy, n_left);
  }
}

template <DType D>
void matmul_dense_float_rows(const PackedView& w, const ActivationView& x, float* y, std::size_t ldy,
                             std::size_t n_begin, std::size_t n_end) {
  alignas(64) std::uint8_t panel[kFloatStretch * 64];
  for (std::size_t n = n_begin; n < n_end; n += kPanelRows) {
    const std::byte* rows[kPanelRows];
    row_pointers(w, nullptr, n, rows);
    for (std::size_t first = 0; first < w.k; first += kFloatStretch) {
      const std::size_t count = first + kFloatStretch < w.k ? kFloatStretch : w.k - first;
      pack_floats<D>(rows, kPanelRows, first, first + count, panel);
      add_floats<D>(panel, x, first, count, y + n, ldy, n_end - n);
    }
  }
}

template <DType D>
void matmul_float_rows(const PackedView& w, const ActivationView& x, const std::uint32_t* rows, std::size_t n_rows,
                       float* y) {
  alignas(64) std::uint8_t panel[kFloatStretch * 64];
  PackedView chosen_view = w;
  chosen_view.n = n_rows;
  for (std::size_t j = 0; j < n_rows; j += kPanelRows) {
    const std::byte* chosen[kPanelRows];
    row_pointers(chosen_view, rows, j, chosen);
    for (std::size_t first = 0; first < w.k; first += kFloatStretch) {
      const std::size_t count = first + kFloatStretch < w.k ? kFloatStretch : w.k - first;
      pack_floats<D>(chosen, kPanelRows, first, first + count, panel);
      add_floats<D>(panel, x, first, count, y + j, 0, n_rows - j);
    }
  }
}

template <DType D>
[[gnu::always_inline]] inline V::F load_floats(const std::uint8_t* column, std::size_t at) {
  if constexpr (D == DType::f32) return V::as_f(V::load(column + 4 * at));
  if constexpr (D == DType::f16) return V::load_f16(column + 2 * at);
  return V::load_bf16(column + 2 * at);
}

// Up to four k at a time, so that y is loaded and stored once for them.
template <DType D>
void matvec_float_columns(const PackedView& w, const float* x, float* y, std::size_t n_begin, std::size_t n_end) {
  constexpr std::size_t kLanes = V::kLanes;
  const std::size_t column_bytes = column_code_bytes(D, w.n);
  clear_outputs(y, n_begin, n_end);
  std::size_t k = 0;
  while (k < w.k) {
    std::size_t count = 0, at_k[4];
    for (; k < w.k && count < 4; ++k)
      if (x[k] != 0.0f) at_k[count++] = k;
    for (std::size_t at = n_begin; at < n_end; at += kLanes) {
      const bool whole = n_end - at >= kLanes;
      V::F acc = whole ? V::load_f(y + at) : V::load_first(y + at, n_end - at);
      for (std::size_t i = 0; i < count; ++i)
        acc = V::fma(load_floats<D>(w.data + at_k[i] * column_bytes, at), V::broadcast_f(x + at_k[i]), acc);
      if (whole)
        V::store_f(y + at, acc);
      else
        V::store_first(y + at, acc, n_end - at);
    }
  }
}

template <DType D>
void matmul_float_columns(const PackedView& w, const ActivationView& x, float* y, std::size_t ldy, std::size_t n_begin,
                          std::size_t n_end) {
  std::size_t touched = 0;
  if (x.m <= V::kTileM)
    for (std::size_t r = 0; r < x.m; ++r)
      for (std::size_t k = 0; k < w.k; ++k) touched += x.x[r * x.ldx + k] != 0.0f ? 1 : 0;
  if (x.m == 1 || (x.m <= V::kTileM && touched < w.k / 4)) {
    for (std::size_t r = 0; r < x.m; ++r) matvec_float_columns<D>(w, x.x + r * x.ldx, y + r * ldy, n_begin, n_end);
    return;
  }
  alignas(64) std::uint8_t panel[kFloatStretch * 64];
  constexpr std::size_t kSize = D == DType::f32 ? 4 : 2;
  const std::size_t column_bytes = column_code_bytes(D, w.n);
  for (std::size_t n = n_begin; n < n_end; n += kPanelRows)
    for (std::size_t first = 0; first < w.k; first += kFloatStretch) {
      const std::size_t count = first + kFloatStretch < w.k ? kFloatStretch : w.k - first;
      for (std::size_t k = 0; k < count; ++k) {
        const std::uint8_t* column = w.data + (first + k) * column_bytes + kSize * n;
        if constexpr (D == DType::bf16) {
          for (std::size_t r = 0; r < kPanelRows; ++r)
            __builtin_memcpy(panel + 64 * (k / 2) + 4 * r + 2 * (k % 2), column + 2 * r, 2);
        } else {
          __builtin_memcpy(panel + kSize * kPanelRows * k, column, kSize * kPanelRows);
        }
      }
      add_floats<D>(panel, x, first, count, y + n, ldy, n_end - n);
    }
}

}  // namespace
}  // namespace unicorn::cpu
