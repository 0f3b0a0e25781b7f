// Every step of plan.h, one row at a time, as its formula reads. `R` rounds a result to the activation dtype: the
// identity in f32, to nearest even in bf16 (there each operator rounds once, as Hugging Face's eager mode does).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/dtype.h"
#include "plan/plan.h"

namespace unicorn::reference {

struct Rounding {
  bool bf16 = false;
  float operator()(double v) const {
    const auto f = static_cast<float>(v);
    return bf16 ? bf16_to_f32(f32_to_bf16(f)) : f;
  }
};

double dot(const float* a, const float* b, std::size_t n);

// y[j] = R(W[j] · x), W f32[n, k]
void matvec(const float* w, const float* x, float* y, std::size_t n, std::size_t k, Rounding r);

// out = R(x / sqrt(mean(x²) + eps) · w); w may be null; out may be x.
void rms_norm(const float* x, const float* w, float* out, std::size_t n, float eps, Rounding r);

// Rotates f32[head_dim] by position (half-split pairing).
void rotate(float* x, std::size_t head_dim, const Rope& rope, std::uint32_t pos, Rounding r);

float gelu(float x, Rounding r);  // tanh form

// g = max(g - (mean + z·std), 0)
void gaussian_topk(float* g, std::size_t n, float z, bool sample_std, Rounding r);

float magnitude(const float* x, std::size_t n, Rounding r);  // R(mean(R(x²)))

// m[n_streams] = R(tanh(R(router · R(rms(x, norm) · scale))))
void route(const float* x, const float* norm, const float* router, float scale, std::size_t d, std::size_t n_streams,
           float eps, float* m, Rounding r);

}  // namespace unicorn::reference
