// ple_combine, one group of n: out = (rms(projected · projection_scale, w) + rows) · combine_scale.
// rms(p·s) = p·s / sqrt(s²·mean(p²) + eps): the scale is applied to sums, not to every element.
#pragma once

namespace unicorn::cpu::UNICORN_CPU_ISA {
namespace {

void ple_combine(const float* projected, const float* rows, const float* w, float projection_scale, float combine_scale,
                 float* out, std::size_t n, float eps) {
  const float squares = sum_squares(projected, n) * projection_scale * projection_scale;
  const Vec scale = set1(inverse_rms(squares, n, eps) * projection_scale), combine = set1(combine_scale);
  for_lanes(n, [=](std::size_t i, auto t) {
    const Vec v = fma(load(projected + i, t) * scale, load(w + i, t), load(rows + i, t));
    store(out + i, v * combine, t);
  });
}

}  // namespace
}  // namespace unicorn::cpu::UNICORN_CPU_ISA
