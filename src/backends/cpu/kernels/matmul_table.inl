// make_table: the KernelTable of the instruction set whose V was included before. The last line of each isa/*.cc.
#pragma once

#include "backends/cpu/kernels/limits.inl"
#include "backends/cpu/kernels/matmul_chosen_rows.inl"
#include "backends/cpu/kernels/matmul_float.inl"
#include "backends/cpu/kernels/matmul_layouts.inl"
#include "backends/cpu/kernels/matmul_quantised.inl"
#include "backends/cpu/kernels/quantise_activation.inl"

namespace unicorn::cpu {
namespace {

template <DType D>
constexpr void fill(KernelTable& t) {
  constexpr auto at = static_cast<std::size_t>(D);
  if constexpr (D == DType::f32 || D == DType::f16 || D == DType::bf16) {
    t.matmul[at] = matmul_float<D>;
    t.matmul_columns[at] = matmul_float_columns<D>;
    t.matmul_dense_rows[at] = matmul_dense_float_rows<D>;
    t.matmul_rows[at] = matmul_float_rows<D>;
  } else {
    t.matmul[at] = matmul_quantised<D>;
    t.matmul_columns[at] = matmul_columns<D>;
    t.matmul_dense_rows[at] = matmul_dense_rows<D>;
    t.matmul_rows[at] = matmul_rows<D>;
#if defined(__AVX2__)
    if constexpr (D == DType::q4_0 || D == DType::q8_0 || D == DType::q4_k) t.matmul_rows[at] = matmul_chosen_rows<D>;
#endif
  }
}

template <DType... dtypes>
constexpr void fill_all(KernelTable& t) {
  static_assert(sizeof...(dtypes) == kNDTypes);
  (fill<dtypes>(t), ...);
}

constexpr KernelTable make_table(const char* name, Isa isa) {
  KernelTable t{};
  t.name = name;
  t.isa = isa;
  t.tile_m = V::kTileM;
  t.n_grain = V::kStripPanels * kPanelRows;
  t.multiply_adds = multiply_adds;
  t.read_bytes = read_bytes;
  t.quantise_rows = quantise_rows;
  t.quantise_columns = quantise_columns;
  fill_all<DType::f32, DType::f16, DType::bf16, DType::q4_0, DType::q4_1, DType::q5_0, DType::q5_1, DType::q8_0,
           DType::q2_k, DType::q3_k, DType::q4_k, DType::q5_k, DType::q6_k, DType::iq4_nl, DType::iq4_xs, DType::mxfp4>(
      t);
  return t;
}

}  // namespace
}  // namespace unicorn::cpu
