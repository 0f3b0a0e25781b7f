// KernelTable: the matrix kernels of one instruction set, and the plain structs they speak.
//
// y[m, n] = x[m, k] · W[n, k]ᵀ. W is packed (packed_matrix.h); x is used in one of two forms:
//   float weights (f32, f16, bf16)  x as it is, f32; every product is exact in f32·f32, one FMA per term
//   quantised weights               x as int8 blocks of 32 (ActivationBlock), one form for every quantised dtype, so
//                                   one preparation serves all weights that read the same x
//
// The same row, the same bits: an output depends on its row of x and its row of W alone. Integer sums inside a block
// are exact; the f32 sum runs over blocks (floats: over single k) in ascending k, one FMA chain per output, whatever
// m, tile, n range or thread. Quantised dtypes give the same bits on every instruction set too (matmul.h says how).
//
// Files built with instruction-set flags include this header: it holds no inline functions.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace unicorn::cpu {

enum class Isa : std::uint8_t { scalar, avx2, avx_vnni, avx512, avx512_vnni };

inline constexpr std::size_t kPanelRows = 16;   // consecutive outputs packed together
inline constexpr std::size_t kBlock = 32;       // k per activation block

// 32 consecutive k of one row of x: x[i] ≈ scale · q[i], q = round_to_even(x / scale), scale = max|x| / 127.
// A block with max|x| < 1e-30 is stored as zeros with scale 0.
struct alignas(16) ActivationBlock {
  std::int8_t q[kBlock];  // -127 … 127
  float scale;
  // Negative sums of codes: a weight code u with zero point z contributes Σ (u - z)·q = Σ u·q + z·(-Σ q), so the
  // kernels start their integer sums from z·neg.
  std::int32_t neg_lo;  // -Σ q[0..16)
  std::int32_t neg_hi;  // -Σ q[16..32)
  std::int32_t neg;     // -Σ q[0..32)
};
static_assert(sizeof(ActivationBlock) == 48);

// m rows of x for one matmul. Made by ActivationRows::view; `blocks` is filled by KernelTable::quantise_rows.
// Blocks are grouped by tiles of tile_m rows (the last tile is lower), within a tile by block, then row:
//   row r, block b  at  blocks[t·tile_m·n_blocks + b·h + r % tile_m],  t = r / tile_m,  h = min(tile_m, m - t·tile_m)
struct ActivationView {
  std::size_t m, k;
  const float* x;  // f32, row i at x + i·ldx
  std::size_t ldx;
  ActivationBlock* blocks;
  std::size_t n_blocks;  // per row: k / 32 rounded up to a multiple of 8; the rest is zero
  std::size_t tile_m;
};

enum class Layout : std::uint8_t {
  panels,   // 16 output rows interleaved: every matmul
  rows,     // row after row, as in the file: single outputs can be computed (matmul_rows)
  columns,  // for each k the codes of all n: a row of x with many zeros reads only what it needs
};

// What a kernel sees of a PackedMatrix. packed_matrix.h draws the bytes.
struct PackedView {
  const std::uint8_t* data;
  std::size_t n, k;
  std::size_t stride;  // bytes from one panel (rows: row; columns: block of 32 k) to the next
  DType dtype;
  Layout layout;
};

// Outputs [n_begin, n_end) of all rows: y[row · ldy + output]. n_begin is a multiple of 16, n_end too or equal to n.
// Runs in the calling thread; threads call it with disjoint ranges.
using MatmulFn = void (*)(const PackedView& w, const ActivationView& x, float* y, std::size_t ldy, std::size_t n_begin,
                          std::size_t n_end);

// y[j] = W[rows[j]] · x for one row of x (m == 1), Layout::rows. `rows` ascending gives the best locality; any order
// and any subset gives the same bits as the dense product.
using MatmulRowsFn = void (*)(const PackedView& w, const ActivationView& x, const std::uint32_t* rows,
                              std::size_t n_rows, float* y);

struct KernelTable {
  const char* name;  // "avx2": what UNICORN_ISA and the bench print
  Isa isa;
  std::size_t tile_m;   // ActivationView::tile_m
  std::size_t n_grain;  // threads should split n in multiples of this (a multiple of 16)

  // The instruction set's int8 multiply-adds from registers: does about `rounds` small rounds, returns how many. For
  // measuring the limit (peak.h).
  std::uint64_t (*multiply_adds)(std::uint64_t rounds);
  std::uint64_t (*read_bytes)(const std::uint8_t* p, std::size_t n);  // the same for memory; the result depends on all

  // x[row] → blocks of the view, for rows [row_begin, row_end). Rows may be split over threads.
  void (*quantise_rows)(const ActivationView& view, std::size_t row_begin, std::size_t row_end);
  // The same for blocks [block_begin, block_end) of all rows alone, from a tile that holds those columns: row i at
  // x + i·ldx. Whoever brings the last block of k zeroes the padding after it, too.
  void (*quantise_columns)(const ActivationView& view, const float* x, std::size_t ldx, std::size_t block_begin,
                           std::size_t block_end);

  // By dtype, every entry filled. All of them give an output the same bits.
  MatmulFn matmul[kNDTypes];  // Layout::panels
  MatmulFn matmul_columns[kNDTypes];  // Layout::columns; k whose x (or its code) is 0 are not read when m is small
  MatmulFn matmul_dense_rows[kNDTypes];  // Layout::rows, all outputs of a range
  MatmulRowsFn matmul_rows[kNDTypes];  // Layout::rows, chosen outputs, m == 1
};

}  // namespace unicorn::cpu
