// rms_norm: out = x / sqrt(mean(x²) + eps) · w, one row of n; w may be null, out may be x.
// add_rms_norm: x_out = x + rms(h, post); out = rms(x_out, next). x_out may be x, out may be h.
// add_norm: rows 0 … n_streams-1 of x, n apart, each += rms(h, w).
// Bound by the L1 and L2 caches: a row is read twice.
#pragma once

namespace unicorn::cpu::UNICORN_CPU_ISA {
namespace {

UNICORN_INLINE void scale_row(const float* x, float scale, const float* w, float* out, std::size_t n) {
  const Vec s = set1(scale);
  if (w == nullptr)
    for_lanes(n, [=](std::size_t i, auto t) { store(out + i, load(x + i, t) * s, t); });
  else
    for_lanes(n, [=](std::size_t i, auto t) { store(out + i, load(x + i, t) * s * load(w + i, t), t); });
}

void rms_norm(const float* x, const float* w, float* out, std::size_t n, float eps) {
  scale_row(x, inverse_rms(sum_squares(x, n), n, eps), w, out, n);
}

void add_rms_norm(const float* x, const float* h, const float* post, const float* next, float* x_out, float* out,
                  std::size_t n, float eps) {
  const Vec s = set1(inverse_rms(sum_squares(h, n), n, eps));
  const float squares = sum_lanes(n, [=](Vec acc, std::size_t i, auto t) {
    const Vec sum = fma(load(h + i, t) * s, load(post + i, t), load(x + i, t));
    store(x_out + i, sum, t);
    return fma(sum, sum, acc);
  });
  scale_row(x_out, inverse_rms(squares, n, eps), next, out, n);
}

void add_norm(const float* h, const float* w, float* x, std::size_t n_streams, std::size_t n, float eps) {
  const Vec s = set1(inverse_rms(sum_squares(h, n), n, eps));
  for_lanes(n, [=](std::size_t i, auto t) {
    const Vec add = load(h + i, t) * s * load(w + i, t);
    for (std::size_t j = 0; j < n_streams; ++j) {
      float* at = x + j * n + i;
      store(at, load(at, t) + add, t);
    }
  });
}

}  // namespace
}  // namespace unicorn::cpu::UNICORN_CPU_ISA
