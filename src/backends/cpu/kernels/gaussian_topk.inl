// The sparse layers' cut of the gate: g = max(g - (mean + z·std), 0) over a row of n.
//   gaussian_cutoff  mean + z·std. Sums of g and g² in double, in one pass: with |mean| below 1e4·std the difference
//                    of squares still holds 8 digits. The rounding to f32 is Hugging Face's: mean, std, z·std, sum.
//   cut              out = max(g - cutoff, 0); out may be g
//   survivors        the indices of g > cutoff, ascending; returns how many. `indices` has room for n.
#pragma once

namespace unicorn::cpu::UNICORN_CPU_ISA {
namespace {

float gaussian_cutoff(const float* g, std::size_t n, float z, bool sample_std) {
  Moments m = no_moments();
  for_lanes(n, [=, &m](std::size_t i, auto t) { accumulate(m, load(g + i, t)); });
  const double count = static_cast<double>(n);
  const double mean = total(m) / count;
  const double squares = total_squares(m) - total(m) * mean;
  const double variance = (squares > 0 ? squares : 0.0) / (sample_std ? count - 1.0 : count);
  const auto deviation = static_cast<float>(__builtin_sqrt(variance));
  return static_cast<float>(mean) + deviation * z;
}

void cut(const float* g, float cutoff, float* out, std::size_t n) {
  const Vec c = set1(cutoff), none = zero();
  for_lanes(n, [=](std::size_t i, auto t) { store(out + i, max(none, load(g + i, t) - c), t); });
}

std::size_t survivors(const float* g, float cutoff, std::size_t n, std::uint32_t* indices) {
  std::size_t count = 0;
  const Vec c = set1(cutoff);
  const auto take = [&count, indices](std::uint32_t bits, std::size_t i) {
    for (; bits != 0; bits &= bits - 1)
      indices[count++] = static_cast<std::uint32_t>(i) + static_cast<std::uint32_t>(__builtin_ctz(bits));
  };
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) take(positive(load(g + i) - c), i);
  if (i < n) take(positive(load(g + i, Part{n - i}) - c) & ((1u << (n - i)) - 1u), i);
  return count;
}

}  // namespace
}  // namespace unicorn::cpu::UNICORN_CPU_ISA
