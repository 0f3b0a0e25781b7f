// All element kernels of one instruction set and their table; isa/element_*.cc include this after their floats_*.h.
#pragma once

#include "backends/cpu/kernels/element_kernels.h"
// In the order of their needs:
#include "backends/cpu/kernels/lanes.inl"
#include "backends/cpu/kernels/math.inl"
#include "backends/cpu/kernels/rms_norm.inl"
#include "backends/cpu/kernels/norm_rope.inl"
#include "backends/cpu/kernels/geglu.inl"
#include "backends/cpu/kernels/gaussian_topk.inl"
#include "backends/cpu/kernels/ple_combine.inl"
#include "backends/cpu/kernels/altup.inl"
#include "backends/cpu/kernels/laurel_merge.inl"
#include "backends/cpu/kernels/kv_rows.inl"
#include "backends/cpu/kernels/attention.inl"

namespace unicorn::cpu::UNICORN_CPU_ISA {
namespace {

void exp_row(const float* x, float* out, std::size_t n) {
  for_lanes(n, [=](std::size_t i, auto t) { store(out + i, exp(load(x + i, t)), t); });
}
void tanh_row(const float* x, float* out, std::size_t n) {
  for_lanes(n, [=](std::size_t i, auto t) { store(out + i, tanh(load(x + i, t)), t); });
}
void gelu_row(const float* x, float* out, std::size_t n) {
  for_lanes(n, [=](std::size_t i, auto t) { store(out + i, gelu(load(x + i, t)), t); });
}

constexpr ElementKernels element_table(const char* name) {
  return {
      .name = name,
      .lanes = kLanes,
      .rms_norm = rms_norm,
      .add_rms_norm = add_rms_norm,
      .add_norm = add_norm,
      .norm_rope = norm_rope,
      .geglu = geglu,
      .softcap = softcap,
      .gaussian_cutoff = gaussian_cutoff,
      .cut = cut,
      .survivors = survivors,
      .ple_combine = ple_combine,
      .altup_init = altup_init,
      .altup_predict = altup_predict,
      .laurel_merge = laurel_merge,
      .altup_correct = altup_correct,
      .altup_merge = altup_merge,
      .kv_load = kv_load,
      .kv_store = kv_store,
      .attention_block = attention_block,
      .attention_merge = attention_merge,
      .attention_finish = attention_finish,
      .exp = exp_row,
      .tanh = tanh_row,
      .gelu = gelu_row,
  };
}

}  // namespace
}  // namespace unicorn::cpu::UNICORN_CPU_ISA
