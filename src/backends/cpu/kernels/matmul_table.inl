// make_table: the KernelTable of the instruction set whose V was included before. The last line of each isa/*.cc.
#pragma once

#include "backends/cpu/kernels/int8_peak.inl"
#include "backends/cpu/kernels/matmul_float.inl"
#include "backends/cpu/kernels/matmul_quantised.inl"
#include "backends/cpu/kernels/quantise_activation.inl"

namespace unicorn::cpu {
namespace {

constexpr KernelTable make_table(const char* name, Isa isa) {
  KernelTable t{};
  t.name = name;
  t.isa = isa;
  t.tile_m = V::kTileM;
  t.n_grain = V::kStripPanels * kPanelRows;
  t.multiply_adds = multiply_adds;
  t.quantise_rows = quantise_rows;
  const auto at = [](DType dtype) { return static_cast<std::size_t>(dtype); };
  t.matmul[at(DType::f32)] = matmul_float<DType::f32>;
  t.matmul[at(DType::f16)] = matmul_float<DType::f16>;
  t.matmul[at(DType::bf16)] = matmul_float<DType::bf16>;
  t.matmul[at(DType::q4_0)] = matmul_quantised<DType::q4_0>;
  t.matmul[at(DType::q4_1)] = matmul_quantised<DType::q4_1>;
  t.matmul[at(DType::q5_0)] = matmul_quantised<DType::q5_0>;
  t.matmul[at(DType::q5_1)] = matmul_quantised<DType::q5_1>;
  t.matmul[at(DType::q8_0)] = matmul_quantised<DType::q8_0>;
  t.matmul[at(DType::q2_k)] = matmul_quantised<DType::q2_k>;
  t.matmul[at(DType::q3_k)] = matmul_quantised<DType::q3_k>;
  t.matmul[at(DType::q4_k)] = matmul_quantised<DType::q4_k>;
  t.matmul[at(DType::q5_k)] = matmul_quantised<DType::q5_k>;
  t.matmul[at(DType::q6_k)] = matmul_quantised<DType::q6_k>;
  t.matmul[at(DType::iq4_nl)] = matmul_quantised<DType::iq4_nl>;
  t.matmul[at(DType::iq4_xs)] = matmul_quantised<DType::iq4_xs>;
  t.matmul[at(DType::mxfp4)] = matmul_quantised<DType::mxfp4>;
  return t;
}

}  // namespace
}  // namespace unicorn::cpu
