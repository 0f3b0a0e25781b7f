#include "backends/reference/ops.h"

#include <cmath>
#include <vector>

namespace unicorn::reference {

double dot(const float* a, const float* b, std::size_t n) {
  double sum[4] = {0, 0, 0, 0};  // four chains, so that the compiler may keep them in vector registers
  std::size_t i = 0;
  for (; i + 4 <= n; i += 4)
    for (std::size_t j = 0; j < 4; ++j) sum[j] += double{a[i + j]} * double{b[i + j]};
  for (; i < n; ++i) sum[0] += double{a[i]} * double{b[i]};
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

void matvec(const float* w, const float* x, float* y, std::size_t n, std::size_t k, Rounding r) {
  for (std::size_t j = 0; j < n; ++j) y[j] = r(dot(w + j * k, x, k));
}

void rms_norm(const float* x, const float* w, float* out, std::size_t n, float eps, Rounding r) {
  const double mean = dot(x, x, n) / static_cast<double>(n);
  const double scale = 1.0 / std::sqrt(mean + double{eps});
  for (std::size_t i = 0; i < n; ++i) out[i] = r(double{x[i]} * scale * (w != nullptr ? double{w[i]} : 1.0));
}

void rotate(float* x, std::size_t head_dim, const Rope& rope, std::uint32_t pos, Rounding r) {
  const std::size_t half = head_dim / 2;
  for (std::size_t i = 0; i < half; ++i) {
    // f32, as Hugging Face computes the angles: at position 32,767 the last bits of the angle matter.
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    const float inv_freq = 1.0f / std::pow(rope.theta, exponent) * rope.freq_scale;
    const float angle = inv_freq * static_cast<float>(pos);
    const float c = r(std::cos(double{angle}));
    const float s = r(std::sin(double{angle}));
    const float a = x[i], b = x[i + half];
    x[i] = r(r(double{a} * c) - r(double{b} * s));
    x[i + half] = r(r(double{b} * c) + r(double{a} * s));
  }
}

float gelu(float x, Rounding r) {
  const double v = x;
  return r(0.5 * v * (1.0 + std::tanh(0.7978845608028654 * (v + 0.044715 * v * v * v))));
}

void gaussian_topk(float* g, std::size_t n, float z, bool sample_std, Rounding r) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += double{g[i]};
  const double mean = sum / static_cast<double>(n);
  double squares = 0;
  for (std::size_t i = 0; i < n; ++i) squares += (double{g[i]} - mean) * (double{g[i]} - mean);
  const float deviation = r(std::sqrt(squares / static_cast<double>(sample_std ? n - 1 : n)));
  const float cut = r(double{r(mean)} + double{r(double{deviation} * double{r(z)})});
  for (std::size_t i = 0; i < n; ++i) g[i] = std::max(r(double{g[i]} - double{cut}), 0.0f);
}

float magnitude(const float* x, std::size_t n, Rounding r) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += r.bf16 ? double{r(double{x[i]} * x[i])} : double{x[i]} * double{x[i]};
  return r(sum / static_cast<double>(n));
}

void route(const float* x, const float* norm, const float* router, float scale, std::size_t d, std::size_t n_streams,
           float eps, float* m, Rounding r) {
  std::vector<float> t(d);
  rms_norm(x, norm, t.data(), d, eps, r);
  for (float& v : t) v = r(double{v} * double{scale});
  for (std::size_t j = 0; j < n_streams; ++j) m[j] = r(std::tanh(double{r(dot(router + j * d, t.data(), d))}));
}

}  // namespace unicorn::reference
