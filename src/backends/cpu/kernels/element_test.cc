// Every instruction set's element kernels against the formulas of plan.h in double, with bounds derived from their
// sums; and that neighbours never change a row.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "backends/cpu/dispatch.h"
#include "backends/cpu/kernels/element_kernels.h"
#include "backends/cpu/kernels/random_weights.h"
#include "quant/block.h"

namespace unicorn::cpu {
namespace {

using Row = std::vector<float>;
constexpr double kUlp = 0x1p-23;  // of 1.0f; a rounding is half of it
constexpr float kEps = 1e-6f;
constexpr std::size_t kSizes[] = {2, 7, 8, 16, 33, 96, 250, 640, 2048};

std::vector<const ElementKernels*> tables() {
  std::vector<const ElementKernels*> list;
  for (const KernelTable* t : runnable_kernel_tables())
    if (const ElementKernels* e = &element_kernels(t->isa); list.empty() || list.back() != e) list.push_back(e);
  return list;
}

Row random_row(std::size_t n, std::uint64_t seed, float scale = 1.0f) {
  RandomBits random(seed);
  Row x(n);
  for (float& v : x) v = random.normal() * scale;
  return x;
}

Row norm_weights(std::size_t n, std::uint64_t seed) {
  Row w = random_row(n, seed, 0.25f);
  for (float& v : w) v += 1.0f;
  return w;
}

// A sum of n positive terms in 4 · lanes ≥ 32 chains: each term is rounded once, then rides through its chain and the
// folding tree.
double sum_error(std::size_t n) { return (static_cast<double>(n) / 32 + 9) * kUlp / 2; }

double mean_square(const float* x, std::size_t n) {
  double s = 0;
  for (std::size_t i = 0; i < n; ++i) s += double{x[i]} * x[i];
  return s / static_cast<double>(n);
}
double inverse_rms(const float* x, std::size_t n) { return 1 / std::sqrt(mean_square(x, n) + double{kEps}); }
// The square root halves the sum's error; root, division and two products round once each, and so does the mean.
double norm_error(std::size_t n) { return sum_error(n) / 2 + 5 * kUlp / 2; }

bool same_bits(const Row& a, const Row& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

double distance_in_ulp(float got, double want) {
  if (std::isnan(want) || std::isnan(got)) return std::isnan(want) == std::isnan(got) ? 0 : 1e9;
  const auto nearest = static_cast<float>(want);
  if (nearest == got) return 0;
  if (std::isinf(nearest) || std::isinf(got)) return 1e9;
  const float magnitude = std::max(std::fabs(nearest), 0x1p-126f);
  const double ulp = std::ldexp(1.0, std::ilogb(magnitude) - 23);
  return std::fabs(double{got} - want) / ulp;
}

// Every 4,099th float from the most negative to the largest, and specials.
Row many_floats() {
  Row x = {0.0f,
           -0.0f,
           std::numeric_limits<float>::infinity(),
           -std::numeric_limits<float>::infinity(),
           88.72f,
           88.73f,
           -104.0f,
           -87.3f,
           -103.9f};
  for (std::uint64_t bits = 0; bits <= 0xffffffffu; bits += 4099) {
    const float v = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    if (!std::isnan(v)) x.push_back(v);
  }
  for (float v = -20; v < 20; v += 0x1p-13f) x.push_back(v);
  return x;
}

TEST(Elements, ExpAndTanhAreWithinTwoUlp) {
  const Row x = many_floats();
  Row y(x.size());
  for (const ElementKernels* k : tables()) {
    SCOPED_TRACE(k->name);
    double worst = 0;
    k->exp(x.data(), y.data(), x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (x[i] < -104) {
        ASSERT_EQ(y[i], 0.0f) << x[i];
        continue;
      }
      const double d = distance_in_ulp(y[i], std::exp(double{x[i]}));
      ASSERT_LE(d, 2.0) << "exp(" << x[i] << ") = " << y[i];
      worst = std::max(worst, d);
    }
    double worst_tanh = 0;
    k->tanh(x.data(), y.data(), x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double d = distance_in_ulp(y[i], std::tanh(double{x[i]}));
      ASSERT_LE(d, 2.0) << "tanh(" << x[i] << ") = " << y[i];
      worst_tanh = std::max(worst_tanh, d);
    }
    const float nan = std::nanf("");
    Row bad(7, nan);
    for (auto f : {k->exp, k->tanh, k->gelu}) {
      f(bad.data(), bad.data(), bad.size());
      for (float v : bad) EXPECT_TRUE(std::isnan(v));
    }
    RecordProperty(std::string("exp_ulp_") + k->name, std::to_string(worst));
    RecordProperty(std::string("tanh_ulp_") + k->name, std::to_string(worst_tanh));
    std::printf("  %s: exp %.2f ulp, tanh %.2f ulp\n", k->name, worst, worst_tanh);
  }
}

// x / (1 + e^-2u): a relative error e of the exponent -2u (three roundings) becomes 2|u|·e of the power.
TEST(Elements, GeluIsWithinItsBound) {
  Row x;
  for (float v = -12; v < 12; v += 0x1p-11f) x.push_back(v);
  for (float v : {0.0f, -0.0f, 1e-30f, -1e-30f, 30.0f, -30.0f, 1e4f, -1e4f, 1e10f, -1e10f}) x.push_back(v);
  Row y(x.size());
  for (const ElementKernels* k : tables()) {
    SCOPED_TRACE(k->name);
    k->gelu(x.data(), y.data(), x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double v = x[i], u = 0.7978845608028654 * (v + 0.044715 * v * v * v);
      const double want = v / (1 + std::exp(-2 * u));
      ASSERT_NEAR(y[i], want, (6 + 4 * std::fabs(2 * u)) * kUlp * std::fabs(want) + 1e-37) << x[i];
    }
  }
}

TEST(Elements, Norms) {
  for (const ElementKernels* k : tables()) {
    SCOPED_TRACE(k->name);
    for (std::size_t n : kSizes) {
      SCOPED_TRACE(n);
      const Row x = random_row(n, 1 + n, 3.0f), h = random_row(n, 2 + n), w = norm_weights(n, 3),
                v = norm_weights(n, 4);
      Row out(n), x_out(n);
      for (const float* weight : {static_cast<const float*>(nullptr), w.data()}) {
        k->rms_norm(x.data(), weight, out.data(), n, kEps);
        for (std::size_t i = 0; i < n; ++i) {
          const double want = x[i] * inverse_rms(x.data(), n) * (weight != nullptr ? double{w[i]} : 1.0);
          ASSERT_NEAR(out[i], want, norm_error(n) * std::fabs(want)) << i;
        }
      }
      k->add_rms_norm(x.data(), h.data(), w.data(), v.data(), x_out.data(), out.data(), n, kEps);
      for (std::size_t i = 0; i < n; ++i) {
        const double add = h[i] * inverse_rms(h.data(), n) * w[i], sum = x[i] + add;
        ASSERT_NEAR(x_out[i], sum, norm_error(n) * std::fabs(add) + kUlp * std::fabs(sum)) << i;
        const double want = x_out[i] * inverse_rms(x_out.data(), n) * v[i];
        ASSERT_NEAR(out[i], want, norm_error(n) * std::fabs(want)) << i;
      }
      Row in_place = x;
      k->add_rms_norm(in_place.data(), h.data(), w.data(), v.data(), in_place.data(), out.data(), n, kEps);
      EXPECT_TRUE(same_bits(in_place, x_out));

      Row streams = random_row(3 * n, 5);
      const Row before = streams;
      k->add_norm(h.data(), w.data(), streams.data(), 3, n, kEps);
      for (std::size_t i = 0; i < 3 * n; ++i) {
        const double add = h[i % n] * inverse_rms(h.data(), n) * w[i % n];
        ASSERT_NEAR(streams[i], before[i] + add, norm_error(n) * std::fabs(add) + kUlp * std::fabs(before[i] + add));
      }
    }
  }
}

TEST(Elements, NormRope) {
  for (const ElementKernels* k : tables()) {
    SCOPED_TRACE(k->name);
    for (std::size_t n : {2u, 6u, 16u, 24u, 64u, 128u, 256u}) {
      SCOPED_TRACE(n);
      const std::size_t half = n / 2;
      const Row x = random_row(n, n), w = norm_weights(n, 7);
      Row cos(half), sin(half), out(n);
      for (std::size_t i = 0; i < half; ++i) {
        cos[i] = std::cos(0.3f * static_cast<float>(i));
        sin[i] = std::sin(0.3f * static_cast<float>(i));
      }
      k->norm_rope(x.data(), w.data(), cos.data(), sin.data(), out.data(), n, kEps);
      const double s = inverse_rms(x.data(), n);
      for (std::size_t i = 0; i < half; ++i) {
        const double a = x[i] * s * w[i], b = x[i + half] * s * w[i + half];
        const double bound = (norm_error(n) + 2 * kUlp) * (std::fabs(a) + std::fabs(b));
        ASSERT_NEAR(out[i], a * cos[i] - b * sin[i], bound);
        ASSERT_NEAR(out[i + half], b * cos[i] + a * sin[i], bound);
      }
      Row in_place = x;
      k->norm_rope(in_place.data(), w.data(), cos.data(), sin.data(), in_place.data(), n, kEps);
      EXPECT_TRUE(same_bits(in_place, out));
    }
  }
}

TEST(Elements, GegluAndSoftcap) {
  for (const ElementKernels* k : tables()) {
    SCOPED_TRACE(k->name);
    for (std::size_t n : kSizes) {
      const Row g = random_row(n, n, 2.0f), u = random_row(n, n + 1);
      Row out(n), gelu(n);
      k->gelu(g.data(), gelu.data(), n);
      k->geglu(g.data(), u.data(), out.data(), n);
      for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(out[i], gelu[i] * u[i]);
      Row z = random_row(n, n, 40.0f);
      const Row before = z;
      k->softcap(z.data(), n, 30.0f);
      for (std::size_t i = 0; i < n; ++i) {
        const double want = 30.0 * std::tanh(double{before[i]} / 30.0);
        ASSERT_NEAR(z[i], want, 5 * kUlp * std::fabs(want));
      }
    }
  }
}

TEST(Elements, GaussianTopKKeepsTheSameOnesEveryWay) {
  for (const ElementKernels* k : tables()) {
    SCOPED_TRACE(k->name);
    for (std::size_t n : {7u, 64u, 1000u, 8192u}) {
      for (bool sample : {false, true}) {
        Row g = random_row(n, n, 3.0f);
        for (float& v : g) v += 1.5f;
        const double mean = std::accumulate(g.begin(), g.end(), 0.0) / static_cast<double>(n);
        double squares = 0;
        for (float v : g) squares += (v - mean) * (v - mean);
        const double deviation = std::sqrt(squares / static_cast<double>(sample ? n - 1 : n));
        const float z = 1.6448533535003662f;
        const float cutoff = k->gaussian_cutoff(g.data(), n, z, sample);
        // Rounded: mean, deviation, z·deviation, their sum.
        ASSERT_NEAR(cutoff, mean + z * deviation, kUlp * (std::fabs(mean) + 2 * z * deviation));
        Row out(n);
        k->cut(g.data(), cutoff, out.data(), n);
        std::vector<std::uint32_t> kept(n), want;
        kept.resize(k->survivors(g.data(), cutoff, n, kept.data()));
        for (std::uint32_t i = 0; i < n; ++i) {
          ASSERT_EQ(out[i], std::max(g[i] - cutoff, 0.0f));
          if (out[i] > 0) want.push_back(i);
        }
        EXPECT_EQ(kept, want);
      }
    }
  }
}

TEST(Elements, PleCombine) {
  for (const ElementKernels* k : tables()) {
    for (std::size_t n : {16u, 24u, 256u}) {
      const Row p = random_row(n, 1), r = random_row(n, 2), w = norm_weights(n, 3);
      Row out(n);
      const double ps = 0.022097086912, cs = 0.70710678;
      k->ple_combine(p.data(), r.data(), w.data(), static_cast<float>(ps), static_cast<float>(cs), out.data(), n, kEps);
      const double s = 1 / std::sqrt(mean_square(p.data(), n) * ps * ps + double{kEps});
      for (std::size_t i = 0; i < n; ++i) {
        const double norm = p[i] * ps * s * w[i];
        ASSERT_NEAR(out[i], (norm + r[i]) * cs, (norm_error(n) + 4 * kUlp) * (std::fabs(norm) + std::fabs(r[i])));
      }
    }
  }
}

struct Router {
  Row norm, matrix, folded;
  Router(std::size_t n, std::size_t d) : norm(norm_weights(d, 11)), matrix(random_row(n * d, 12)), folded(n * d) {
    for (std::size_t i = 0; i < n * d; ++i) folded[i] = matrix[i] * norm[i % d] * (1.0f / static_cast<float>(d));
  }
  // The modalities, and how far a kernel may be off: tanh is 1-Lipschitz, the dot product's error is relative to the
  // sum of its terms' magnitudes.
  std::vector<double> values(const float* x, std::size_t n, std::size_t d, std::vector<double>& error) const {
    std::vector<double> m(n);
    error.resize(n);
    const double s = inverse_rms(x, d);
    for (std::size_t j = 0; j < n; ++j) {
      double dot = 0, sum = 0;
      for (std::size_t i = 0; i < d; ++i) {
        const double term = double{x[i]} * s * norm[i] / static_cast<double>(d) * matrix[j * d + i];
        dot += term;
        sum += std::fabs(term);
      }
      m[j] = std::tanh(dot);
      error[j] = (sum_error(d) + norm_error(d) + 3 * kUlp) * sum + 3 * kUlp * std::fabs(m[j]);
    }
    return m;
  }
};

TEST(Elements, Altup) {
  for (const ElementKernels* k : tables()) {
    SCOPED_TRACE(k->name);
    for (std::size_t n : {1u, 2u, 3u, 4u, 8u})
      for (std::size_t d : {24u, 256u, 2048u}) {
        SCOPED_TRACE(std::to_string(n) + " streams of " + std::to_string(d));
        const Router router(n, d);
        const Row s = random_row(n * d, 1, 2.0f), coefs = random_row(n * n * n, 2), next = norm_weights(d, 3);
        std::vector<double> m_error;
        const std::vector<double> m = router.values(s.data(), n, d, m_error);
        Row predicted(n * d), normed(d);
        AltupPredictArgs p{.streams = s.data(),
                           .router = router.folded.data(),
                           .coefs = coefs.data(),
                           .next_norm = next.data(),
                           .predicted = predicted.data(),
                           .normed = normed.data(),
                           .n_streams = n,
                           .n_predicted = n,
                           .d = d,
                           .eps = kEps};
        k->altup_predict(p);
        for (std::size_t j = 0; j < n; ++j) {
          std::vector<double> c(n), c_error(n);
          for (std::size_t q = 0; q < n; ++q)
            for (std::size_t r = 0; r < n; ++r) {
              const double w = coefs[(j * n + q) * n + r];
              c[q] += w * m[r];
              c_error[q] += std::fabs(w) * (m_error[r] + static_cast<double>(n + 1) * kUlp * std::fabs(m[r]));
            }
          for (std::size_t i = 0; i < d; ++i) {
            double want = s[j * d + i], bound = 0;
            for (std::size_t q = 0; q < n; ++q) {
              want += c[q] * s[q * d + i];
              bound += std::fabs(s[q * d + i]) * (c_error[q] + static_cast<double>(n + 1) * kUlp * std::fabs(c[q]));
            }
            ASSERT_NEAR(predicted[j * d + i], want, bound + kUlp * (std::fabs(want) + std::fabs(s[j * d + i])))
                << j << ", " << i;
          }
        }
        for (std::size_t i = 0; i < d; ++i) {
          const double want = predicted[i] * inverse_rms(predicted.data(), d) * next[i];
          ASSERT_NEAR(normed[i], want, norm_error(d) * std::fabs(want));
        }
        Row one(d), one_normed(d);  // only the first stream is wanted: the same bits
        p.predicted = one.data();
        p.normed = one_normed.data();
        p.n_predicted = 1;
        k->altup_predict(p);
        EXPECT_TRUE(same_bits(one, Row(predicted.begin(), predicted.begin() + static_cast<std::ptrdiff_t>(d))));
        EXPECT_TRUE(same_bits(one_normed, normed));

        const Row h = random_row(d, 21), residual = random_row(d, 22), post = norm_weights(d, 23),
                  scale = norm_weights(d, 24);
        const Row correct = random_row(n * n, 25);
        Row streams(n * d), gate_in(d);
        k->altup_correct({.h = h.data(),
                          .residual = residual.data(),
                          .predicted = predicted.data(),
                          .post_ffn = post.data(),
                          .router = router.folded.data(),
                          .coefs = correct.data(),
                          .correct_scale = scale.data(),
                          .streams = streams.data(),
                          .gate_in = gate_in.data(),
                          .n_streams = n,
                          .d = d,
                          .eps = kEps});
        Row ff(d);
        const double hs = inverse_rms(h.data(), d);
        for (std::size_t i = 0; i < d; ++i) ff[i] = static_cast<float>(residual[i] + h[i] * hs * post[i]);
        const std::vector<double> mc = router.values(ff.data(), n, d, m_error);
        for (std::size_t j = 0; j < n; ++j) {
          double c = 1, c_error = kUlp;
          for (std::size_t r = 0; r < n; ++r) {
            const double w = correct[j * n + r];
            c += w * mc[r];
            // ff itself carries the norm's error, which the router passes on at most in proportion.
            c_error += std::fabs(w) * (3 * m_error[r] + static_cast<double>(n + 2) * kUlp);
          }
          for (std::size_t i = 0; i < d; ++i) {
            const double exact_ff = residual[i] + h[i] * hs * post[i];
            const double innovation = exact_ff - predicted[i], want = innovation * c + predicted[j * d + i];
            const double ff_error = (norm_error(d) + kUlp) * (std::fabs(h[i] * hs * post[i]) + std::fabs(exact_ff));
            const double bound = std::fabs(c) * (ff_error + kUlp * std::fabs(innovation)) +
                                 c_error * std::fabs(innovation) +
                                 2 * kUlp * (std::fabs(want) + std::fabs(innovation * c));
            ASSERT_NEAR(streams[j * d + i], want, bound) << j << ", " << i;
          }
        }
        for (std::size_t i = 0; i < d; ++i) ASSERT_EQ(gate_in[i], streams[i] * scale[i]);

        const Row e = random_row(d, 31), u = random_row((n - 1) * d, 32, 0.5f), w = norm_weights(d, 33);
        Row init(n * d), merged(d);
        k->altup_init(e.data(), u.data(), init.data(), n, d);
        k->altup_merge(e.data(), u.data(), w.data(), merged.data(), n, d, kEps);
        const double target = std::sqrt(mean_square(e.data(), d));
        std::vector<double> mean(d);
        double mean_squares = 0;
        for (std::size_t i = 0; i < d; ++i) {
          ASSERT_EQ(init[i], e[i]);
          mean[i] = e[i];
          for (std::size_t j = 1; j < n; ++j) {
            const float* uj = u.data() + (j - 1) * d;
            const double want = uj[i] * target / std::sqrt(std::max(mean_square(uj, d), 1e-5));
            ASSERT_NEAR(init[j * d + i], want, 2 * norm_error(d) * std::fabs(want));
            mean[i] += want;
          }
          mean[i] /= static_cast<double>(n);
          mean_squares += mean[i] * mean[i];
        }
        const double ms = 1 / std::sqrt(mean_squares / static_cast<double>(d) + double{kEps});
        double largest = 0;
        for (std::size_t i = 0; i < d; ++i) largest = std::max(largest, std::fabs(mean[i]));
        for (std::size_t i = 0; i < d; ++i)
          ASSERT_NEAR(merged[i], mean[i] * ms * w[i],
                      (4 * norm_error(d) + static_cast<double>(2 * n) * kUlp) * std::fabs(w[i]) * ms * largest);
      }
  }
}

TEST(Elements, LaurelMerge) {
  for (const ElementKernels* k : tables())
    for (std::size_t d : {24u, 640u, 2048u}) {
      const Row active = random_row(d, 1), o = random_row(d, 2), x = random_row(d, 3), laurel = random_row(d, 4);
      const Row a = norm_weights(d, 5), l = norm_weights(d, 6), f = norm_weights(d, 7);
      Row out(d), normed(d);
      k->laurel_merge({.active = active.data(),
                       .o = o.data(),
                       .x = x.data(),
                       .laurel = laurel.data(),
                       .post_attn = a.data(),
                       .post_laurel = l.data(),
                       .ffn_norm = f.data(),
                       .out = out.data(),
                       .normed = normed.data(),
                       .d = d,
                       .eps = kEps});
      for (std::size_t i = 0; i < d; ++i) {
        const double attn = o[i] * inverse_rms(o.data(), d) * a[i],
                     lau = laurel[i] * inverse_rms(laurel.data(), d) * l[i];
        const double want = (active[i] + attn + x[i] + lau) / std::sqrt(2.0);
        const double parts = std::fabs(active[i]) + std::fabs(attn) + std::fabs(x[i]) + std::fabs(lau);
        ASSERT_NEAR(out[i], want, (norm_error(d) + 3 * kUlp) * parts);
        const double n = out[i] * inverse_rms(out.data(), d) * f[i];
        ASSERT_NEAR(normed[i], n, norm_error(d) * std::fabs(n));
      }
    }
}

TEST(Elements, KvRowsAreWhatQuantWrites) {
  for (const ElementKernels* k : tables()) {
    SCOPED_TRACE(k->name);
    for (DType dtype : {DType::f32, DType::f16, DType::bf16, DType::q8_0})
      for (std::size_t n : {2u, 32u, 50u, 64u, 256u}) {
        if (n % dtype_info(dtype).block != 0) continue;
        SCOPED_TRACE(std::string(dtype_name(dtype)) + " " + std::to_string(n));
        Row x = random_row(n, n);
        x[0] = 1e-7f;  // a denormal in f16
        std::vector<std::byte> want(row_bytes(dtype, n)), got(want.size());
        encode_row(dtype, x.data(), want.data(), n);
        if (dtype == DType::q8_0) {
          got = want;
        } else {
          k->kv_store(dtype, x.data(), got.data(), n);
          EXPECT_EQ(got, want);
        }
        Row decoded(n), loaded(n);
        decode_row(dtype, want.data(), decoded.data(), n);
        k->kv_load(dtype, want.data(), loaded.data(), n);
        EXPECT_TRUE(same_bits(decoded, loaded));
      }
    const Row huge = {1e6f, -1e6f, 65504.0f, 65520.0f};
    std::vector<std::byte> bytes(8);
    Row loaded(4);
    k->kv_store(DType::f16, huge.data(), bytes.data(), 4);
    k->kv_load(DType::f16, bytes.data(), loaded.data(), 4);
    EXPECT_THAT(loaded, testing::ElementsAre(65504.0f, -65504.0f, 65504.0f, 65504.0f));
  }
}

struct AttentionCase {
  std::size_t n_queries, n_keys, d;
};

struct AttentionState {
  Row top, sum, acc;
  AttentionState(std::size_t n, std::size_t d) : top(n, -std::numeric_limits<float>::infinity()), sum(n), acc(n * d) {}
};

TEST(Elements, AttentionBlocksAreWithinTheirBoundAndKnowNoNeighbours) {
  constexpr std::size_t kBlocks = 3;
  for (const ElementKernels* k : tables()) {
    SCOPED_TRACE(k->name);
    for (AttentionCase c :
         {AttentionCase{1, 32, 256}, {5, 32, 64}, {8, 16, 24}, {64, 32, 128}, {3, 5, 20}, {4, 40, 256}}) {
      SCOPED_TRACE(std::to_string(c.n_queries) + " queries, " + std::to_string(c.n_keys) + " keys of " +
                   std::to_string(c.d));
      const std::size_t padded = (c.n_keys + 3) / 4 * 4, lds = (c.n_keys + 15) / 16 * 16;
      const float scale = 1.0f / std::sqrt(static_cast<float>(c.d));
      const Row q = random_row(c.n_queries * c.d, 1);
      std::vector<Row> keys, values;
      for (std::size_t b = 0; b < kBlocks; ++b) {
        keys.push_back(random_row(padded * c.d, 10 + b));
        values.push_back(random_row(padded * c.d, 20 + b));
        std::fill(keys[b].begin() + static_cast<std::ptrdiff_t>(c.n_keys * c.d), keys[b].end(), 0.0f);
      }
      // A window that moves with the query; some see nothing of the first or last block. Some keys are hidden.
      std::vector<std::uint16_t> begin(kBlocks * c.n_queries), end(begin.size());
      std::vector<std::uint8_t> hidden(kBlocks * c.n_queries * c.n_keys);
      for (std::size_t b = 0; b < kBlocks; ++b)
        for (std::size_t j = 0; j < c.n_queries; ++j) {
          const std::size_t low = j % (c.n_keys + 2), high = (kBlocks - 1) * c.n_keys + (j * 7) % c.n_keys + 1;
          const auto in_block = [&](std::size_t t) {
            return static_cast<std::uint16_t>(std::clamp(t, b * c.n_keys, (b + 1) * c.n_keys) - b * c.n_keys);
          };
          begin[b * c.n_queries + j] = in_block(low);
          end[b * c.n_queries + j] = in_block(high);
          for (std::size_t t = 0; t < c.n_keys; ++t)
            hidden[(b * c.n_queries + j) * c.n_keys + t] = b == 1 && (t + j) % 5 == 1;
        }
      const auto run = [&](std::size_t first, std::size_t n) {
        AttentionState s(n, c.d);
        Row scores(n * lds);
        for (std::size_t b = 0; b < kBlocks; ++b)
          k->attention_block({.q = q.data() + first * c.d,
                              .ldq = c.d,
                              .n_queries = n,
                              .k = keys[b].data(),
                              .v = values[b].data(),
                              .ld_kv = c.d,
                              .n_keys = c.n_keys,
                              .head_dim = c.d,
                              .scale = scale,
                              .begin = begin.data() + b * c.n_queries + first,
                              .end = end.data() + b * c.n_queries + first,
                              .hidden = hidden.data() + (b * c.n_queries + first) * c.n_keys,
                              .ld_hidden = c.n_keys,
                              .scores = scores.data(),
                              .ld_scores = lds,
                              .top = s.top.data(),
                              .sum = s.sum.data(),
                              .acc = s.acc.data()});
        Row out(n * c.d);
        for (std::size_t j = 0; j < n; ++j)
          k->attention_finish(s.acc.data() + j * c.d, s.sum[j], out.data() + j * c.d, c.d);
        return out;
      };
      const Row all = run(0, c.n_queries);
      for (std::size_t j = 0; j < c.n_queries; ++j) {
        const Row alone = run(j, 1);
        ASSERT_EQ(std::memcmp(alone.data(), all.data() + j * c.d, c.d * sizeof(float)), 0) << "query " << j;

        std::vector<double> score, sum_abs;
        std::vector<const float*> value;
        double top = -1e30;
        for (std::size_t b = 0; b < kBlocks; ++b)
          for (std::size_t t = begin[b * c.n_queries + j]; t < end[b * c.n_queries + j]; ++t) {
            if (hidden[(b * c.n_queries + j) * c.n_keys + t] != 0) continue;
            double dot = 0, abs = 0;
            for (std::size_t i = 0; i < c.d; ++i) {
              const double term = double{q[j * c.d + i]} * keys[b][t * c.d + i];
              dot += term;
              abs += std::fabs(term);
            }
            score.push_back(dot * scale);
            sum_abs.push_back(abs * scale);
            value.push_back(values[b].data() + t * c.d);
            top = std::max(top, score.back());
          }
        ASSERT_FALSE(score.empty());
        // An error e of a score scales its weight by e^e; both numerator and denominator carry it.
        const double score_error =
            (static_cast<double>(c.d) / 8 + 6) * kUlp / 2 * *std::max_element(sum_abs.begin(), sum_abs.end());
        const double relative = 2 * score_error + (static_cast<double>(score.size()) / 2 + 2.0 * kBlocks + 12) * kUlp;
        double sum = 0;
        for (double s : score) sum += std::exp(s - top);
        for (std::size_t i = 0; i < c.d; ++i) {
          double want = 0, abs = 0;
          for (std::size_t t = 0; t < score.size(); ++t) {
            const double w = std::exp(score[t] - top) / sum;
            want += w * value[t][i];
            abs += w * std::fabs(value[t][i]);
          }
          ASSERT_NEAR(all[j * c.d + i], want, relative * abs) << "query " << j << ", column " << i;
        }
      }
    }
  }
}

TEST(Elements, MergingWithNothingChangesNothing) {
  constexpr std::size_t kD = 40;
  for (const ElementKernels* k : tables()) {
    AttentionState nothing(1, kD), some(1, kD);
    some.top[0] = 3.5f;
    some.sum[0] = 2.25f;
    some.acc = random_row(kD, 9);
    AttentionState a = some, b = nothing;
    k->attention_merge(a.acc.data(), &a.top[0], &a.sum[0], nothing.acc.data(), nothing.top[0], nothing.sum[0], kD);
    k->attention_merge(b.acc.data(), &b.top[0], &b.sum[0], some.acc.data(), some.top[0], some.sum[0], kD);
    for (const AttentionState* s : {&a, &b}) {
      EXPECT_TRUE(same_bits(s->acc, some.acc));
      EXPECT_EQ(s->top[0], some.top[0]);
      EXPECT_EQ(s->sum[0], some.sum[0]);
    }
  }
}

}  // namespace
}  // namespace unicorn::cpu
