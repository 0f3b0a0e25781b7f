// Gemma 3n's AltUp steps (plan.h), one row. Streams lie d apart. n_streams ≤ kMaxStreams, checked by compile().
// The router's norm weight and scale are folded into its matrix when the plan is compiled, so that one pass over a
// stream gives its magnitude and the n_streams dot products. State is 4 × 2,048 floats in E2B and E4B: 32 KiB, bound
// by L2.
#pragma once

namespace unicorn::cpu::UNICORN_CPU_ISA {
namespace {

inline constexpr std::size_t kMaxStreamLanes = (kMaxStreams + kLanes - 1) / kLanes * kLanes;

// m_j = tanh(dots_j · inverse)
UNICORN_INLINE void modalities(const float* dots, float inverse, float* m) {
  for (std::size_t j = 0; j < kMaxStreamLanes; j += kLanes) store(m + j, tanh(load(dots + j) * set1(inverse)));
}

UNICORN_INLINE float dot(const float* a, const float* b, std::size_t n) {
  return sum_lanes(n, [=](Vec acc, std::size_t i, auto t) { return fma(load(a + i, t), load(b + i, t), acc); });
}

// m[kMaxStreamLanes] of x, whose sum of squares is known.
UNICORN_INLINE void route(const float* x, float squares, const float* router, std::size_t n_streams, std::size_t d,
                          float eps, float* m) {
  float dots[kMaxStreamLanes] = {};
  for (std::size_t j = 0; j < n_streams; ++j) dots[j] = dot(x, router + j * d, d);
  modalities(dots, inverse_rms(squares, d, eps), m);
}

// out_r = Σ_q w[r, q] · m_q
UNICORN_INLINE void small_matvec(const float* w, const float* m, float* out, std::size_t n, std::size_t k) {
  for (std::size_t r = 0; r < n; ++r) {
    float sum = 0;
    for (std::size_t q = 0; q < k; ++q) sum += w[r * k + q] * m[q];
    out[r] = sum;
  }
}

template <std::size_t kStreams>  // 0: as many as n_streams says
UNICORN_INLINE void predict(const AltupPredictArgs& a) {
  const std::size_t n = kStreams == 0 ? a.n_streams : kStreams, d = a.d;
  float m[kMaxStreamLanes];
  float c[kMaxStreams * kMaxStreams];
  route(a.streams, sum_squares(a.streams, d), a.router, n, d, a.eps, m);
  small_matvec(a.coefs, m, c, n * n, n);
  const float* s = a.streams;
  float* p = a.predicted;
  const std::size_t n_predicted = a.n_predicted;
  const float squares = sum_lanes(d, [=, &c](Vec acc, std::size_t i, auto t) {
    Vec in[kMaxStreams], out[kMaxStreams];
    for (std::size_t q = 0; q < n; ++q) in[q] = load(s + q * d + i, t);
    for (std::size_t j = 0; j < n_predicted; ++j) {
      Vec sum = in[0] * set1(c[j * n]);
      for (std::size_t q = 1; q < n; ++q) sum = fma(in[q], set1(c[j * n + q]), sum);
      out[j] = sum + in[j];
    }
    for (std::size_t j = 0; j < n_predicted; ++j) store(p + j * d + i, out[j], t);
    return fma(out[0], out[0], acc);
  });
  scale_row(p, inverse_rms(squares, d, a.eps), a.next_norm, a.normed, d);
}

void altup_predict(const AltupPredictArgs& a) {
  if (a.n_streams == 4)
    predict<4>(a);
  else
    predict<0>(a);
}

template <std::size_t kStreams>
UNICORN_INLINE void correct(const AltupCorrectArgs& a) {
  const std::size_t n = kStreams == 0 ? a.n_streams : kStreams, d = a.d;
  float m[kMaxStreamLanes];
  float c[kMaxStreams];
  const float *h = a.h, *post = a.post_ffn, *residual = a.residual, *p = a.predicted;
  float *ff = a.gate_in, *s = a.streams;
  const Vec scale = set1(inverse_rms(sum_squares(h, d), d, a.eps));
  const float squares = sum_lanes(d, [=](Vec acc, std::size_t i, auto t) {
    const Vec v = fma(load(h + i, t) * scale, load(post + i, t), load(residual + i, t));
    store(ff + i, v, t);
    return fma(v, v, acc);
  });
  route(ff, squares, a.router, n, d, a.eps, m);
  small_matvec(a.coefs, m, c, n, n);
  for (std::size_t j = 0; j < n; ++j) c[j] += 1.0f;
  const float* correct_scale = a.correct_scale;
  for_lanes(d, [=, &c](std::size_t i, auto t) {
    const Vec innovation = load(ff + i, t) - load(p + i, t);
    Vec first = zero();
    for (std::size_t j = 0; j < n; ++j) {
      const Vec v = fma(innovation, set1(c[j]), load(p + j * d + i, t));
      store(s + j * d + i, v, t);
      if (j == 0) first = v;
    }
    store(ff + i, correct_scale != nullptr ? first * load(correct_scale + i, t) : first, t);
  });
}

void altup_correct(const AltupCorrectArgs& a) {
  if (a.n_streams == 4)
    correct<4>(a);
  else
    correct<0>(a);
}

// The factor that brings u to a target magnitude: target / sqrt(max(mean(u²), 1e-5)).
UNICORN_INLINE float match_magnitude(const float* u, float target, std::size_t d) {
  const float mean = sum_squares(u, d) / static_cast<float>(d);
  return target / __builtin_sqrtf(mean > 1e-5f ? mean : 1e-5f);
}
UNICORN_INLINE float magnitude(const float* x, std::size_t d) {
  return __builtin_sqrtf(sum_squares(x, d) / static_cast<float>(d));
}

// streams = [e, u_1 · |e|/|u_1|, …]
void altup_init(const float* e, const float* u, float* streams, std::size_t n_streams, std::size_t d) {
  const float target = magnitude(e, d);
  for_lanes(d, [=](std::size_t i, auto t) { store(streams + i, load(e + i, t), t); });
  for (std::size_t j = 1; j < n_streams; ++j)
    scale_row(u + (j - 1) * d, match_magnitude(u + (j - 1) * d, target, d), nullptr, streams + j * d, d);
}

// out = rms(mean of {s_0, u_j · |s_0|/|u_j|}, w)
void altup_merge(const float* s0, const float* u, const float* w, float* out, std::size_t n_streams, std::size_t d,
                 float eps) {
  const float target = magnitude(s0, d);
  float factor[kMaxStreams];
  for (std::size_t j = 1; j < n_streams; ++j) factor[j] = match_magnitude(u + (j - 1) * d, target, d);
  const Vec share = set1(1.0f / static_cast<float>(n_streams));
  const float squares = sum_lanes(d, [&, s0, u, out, d, n_streams, share](Vec acc, std::size_t i, auto t) {
    Vec sum = load(s0 + i, t);
    for (std::size_t j = 1; j < n_streams; ++j) sum = fma(load(u + (j - 1) * d + i, t), set1(factor[j]), sum);
    const Vec v = sum * share;
    store(out + i, v, t);
    return fma(v, v, acc);
  });
  scale_row(out, inverse_rms(squares, d, eps), w, out, d);
}

}  // namespace
}  // namespace unicorn::cpu::UNICORN_CPU_ISA
