// quantise_rows, quantise_columns: f32 rows of x to ActivationBlocks (kernel_table.h), placed by tiles as the matmul kernels read them.
// Bound by reading x and writing 1.5 bytes per element; one block at a time keeps it in registers.
#pragma once

#include "backends/cpu/kernel_table.h"

namespace unicorn::cpu {
namespace {

void quantise_rows(const ActivationView& v, std::size_t row_begin, std::size_t row_end) {
  const std::size_t n_blocks = v.k / kBlock;
  for (std::size_t row = row_begin; row < row_end; ++row) {
    const std::size_t first = row / v.tile_m * v.tile_m;
    const std::size_t height = v.m - first < v.tile_m ? v.m - first : v.tile_m;
    ActivationBlock* out = v.blocks + first * v.n_blocks + (row - first);
    const float* x = v.x + row * v.ldx;
    for (std::size_t b = 0; b < n_blocks; ++b, out += height) V::quantise(x + b * kBlock, out);
    for (std::size_t b = n_blocks; b < v.n_blocks; ++b, out += height) *out = ActivationBlock{};
  }
}

void quantise_columns(const ActivationView& v, const float* x, std::size_t ldx, std::size_t block_begin,
                      std::size_t block_end) {
  const std::size_t padding_end = block_end == v.k / kBlock ? v.n_blocks : block_end;
  for (std::size_t row = 0; row < v.m; ++row) {
    const std::size_t first = row / v.tile_m * v.tile_m;
    const std::size_t height = v.m - first < v.tile_m ? v.m - first : v.tile_m;
    ActivationBlock* out = v.blocks + first * v.n_blocks + block_begin * height + (row - first);
    for (std::size_t b = block_begin; b < block_end; ++b, out += height)
      V::quantise(x + row * ldx + (b - block_begin) * kBlock, out);
    for (std::size_t b = block_end; b < padding_end; ++b, out += height) *out = ActivationBlock{};
  }
}

}  // namespace
}  // namespace unicorn::cpu
