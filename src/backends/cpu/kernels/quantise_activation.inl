// quantise_rows: f32 rows of x to ActivationBlocks (kernel_table.h), placed by tiles as the matmul kernels read them.
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

}  // namespace
}  // namespace unicorn::cpu
