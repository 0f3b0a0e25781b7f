// norm_rope: one head, out = rotate(rms(x, w)): half-split pairs (i, i + n/2), rotated by the angle whose cosine and
// sine lie at cos[i], sin[i]. n even; out may be x; w may be null.
#pragma once

namespace unicorn::cpu::UNICORN_CPU_ISA {
namespace {

void norm_rope(const float* x, const float* w, const float* cos, const float* sin, float* out, std::size_t n,
               float eps) {
  const Vec s = set1(inverse_rms(sum_squares(x, n), n, eps));
  const std::size_t half = n / 2;
  for_lanes(half, [=](std::size_t i, auto t) {
    Vec a = load(x + i, t) * s, b = load(x + half + i, t) * s;
    if (w != nullptr) {
      a = a * load(w + i, t);
      b = b * load(w + half + i, t);
    }
    const Vec c = load(cos + i, t), d = load(sin + i, t);
    store(out + i, fnma(b, d, a * c), t);
    store(out + half + i, fma(a, d, b * c), t);
  });
}

}  // namespace
}  // namespace unicorn::cpu::UNICORN_CPU_ISA
