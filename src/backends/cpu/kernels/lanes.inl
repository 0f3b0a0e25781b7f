// Loops over a row in registers: included first by every isa/element_*.cc, after its floats_*.h.
#pragma once

namespace unicorn::cpu::UNICORN_CPU_ISA {
namespace {

// f(i, Whole) for every whole register of a row of n, then f(i, Part) for what is left.
template <class F>
UNICORN_INLINE void for_lanes(std::size_t n, F f) {
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f(i, Whole{});
  if (i < n) f(i, Part{n - i});
}

// Σ over a row in four chains: step(acc, i, Whole | Part) returns acc plus the terms at i. The order depends on n
// alone. Lanes beyond a Part must add 0.
template <class Step>
UNICORN_INLINE float sum_lanes(std::size_t n, Step step) {
  Vec a = zero(), b = zero(), c = zero(), d = zero();
  std::size_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    a = step(a, i, Whole{});
    b = step(b, i + kLanes, Whole{});
    c = step(c, i + 2 * kLanes, Whole{});
    d = step(d, i + 3 * kLanes, Whole{});
  }
  for (; i + kLanes <= n; i += kLanes) a = step(a, i, Whole{});
  if (i < n) b = step(b, i, Part{n - i});
  return reduce_add((a + b) + (c + d));
}

UNICORN_INLINE float sum_squares(const float* x, std::size_t n) {
  return sum_lanes(n, [=](Vec acc, std::size_t i, auto w) {
    const Vec v = load(x + i, w);
    return fma(v, v, acc);
  });
}

// 1 / sqrt(mean(x²) + eps)
UNICORN_INLINE float inverse_rms(float squares, std::size_t n, float eps) {
  return 1.0f / __builtin_sqrtf(squares / static_cast<float>(n) + eps);
}

}  // namespace
}  // namespace unicorn::cpu::UNICORN_CPU_ISA
