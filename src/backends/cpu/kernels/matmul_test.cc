// Every instruction set × every dtype × extents with tails, against sums in double over the decoded weights.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "backends/cpu/activation_rows.h"
#include "backends/cpu/dispatch.h"
#include "backends/cpu/kernels/random_weights.h"
#include "quant/block.h"

namespace unicorn::cpu {
namespace {

constexpr double kEpsilon = 0x1p-24;  // half an ulp of f32: one rounding

struct Extent {
  std::size_t n, k;
};

std::vector<float> random_rows(std::size_t m, std::size_t k, std::uint64_t seed) {
  RandomBits random(seed);
  std::vector<float> x(m * k);
  for (float& v : x) v = random.normal();
  // Outliers, a block of zeros and a row of very small numbers.
  for (std::size_t i = 0; i < x.size(); i += 97) x[i] *= 20.0f;
  if (k >= 64) std::fill_n(x.begin() + 32, 32, 0.0f);
  if (m > 1)
    for (std::size_t i = 0; i < k; ++i) x[k + i] *= 1e-12f;
  return x;
}

// What x becomes for a quantised weight, in row order; x itself for a float one.
std::vector<double> effective_rows(const KernelTable& kernels, const std::vector<float>& x, std::size_t m,
                                   std::size_t k, bool quantised) {
  std::vector<double> out(x.begin(), x.end());
  if (!quantised) return out;
  const ActivationRows rows(kernels, m, k);
  const ActivationView v = rows.view(x.data(), k, m, k);
  kernels.quantise_rows(v, 0, m);
  for (std::size_t r = 0; r < m; ++r)
    for (std::size_t i = 0; i < k; ++i) {
      const std::size_t first = r / v.tile_m * v.tile_m, h = std::min(v.tile_m, m - first);
      const ActivationBlock& b = v.blocks[first * v.n_blocks + i / 32 * h + (r - first)];
      out[r * k + i] = double{b.scale} * b.q[i % 32];
    }
  return out;
}

std::vector<float> run(const KernelTable& kernels, const PackedMatrix& w, const std::vector<float>& x, std::size_t m,
                       std::size_t split = 0) {
  const std::size_t k = w.k(), n = w.n();
  const ActivationRows rows(kernels, m, k);
  const ActivationView v = rows.view(x.data(), k, m, k);
  if (reads_blocks(w)) {
    kernels.quantise_rows(v, m / 2, m);
    kernels.quantise_rows(v, 0, m / 2);
  }
  const std::size_t ldy = n + 3;
  std::vector<float> y(m * ldy, -7777.0f);
  if (split == 0) split = (n + 15) / 16 * 16;
  for (std::size_t begin = 0; begin < n; begin += split)
    matmul(kernels, w, v, y.data(), ldy, begin, std::min(n, begin + split));
  std::vector<float> out;
  for (std::size_t r = 0; r < m; ++r) {
    out.insert(out.end(), y.begin() + static_cast<std::ptrdiff_t>(r * ldy),
               y.begin() + static_cast<std::ptrdiff_t>(r * ldy + n));
    for (std::size_t i = n; i < ldy; ++i) EXPECT_EQ(y[r * ldy + i], -7777.0f) << "written beyond n";
  }
  return out;
}

bool same_bits(const float* a, const float* b, std::size_t n) { return std::memcmp(a, b, n * sizeof(float)) == 0; }

class Matmul : public testing::TestWithParam<DType> {};

std::vector<Extent> extents(DType dtype) {
  if (dtype_info(dtype).block == 256) return {{1, 256}, {7, 512}, {33, 256}, {16, 1024}, {512, 1024}};
  std::vector<Extent> e = {{1, 32}, {7, 96}, {33, 32}, {16, 640}, {48, 256}, {512, 1024}};
  if (!is_quantised(dtype)) e.insert(e.end(), {{5, 1}, {17, 3}, {64, 129}});
  return e;
}

TEST_P(Matmul, PackedWeightsDecodeExactly) {
  const DType dtype = GetParam();
  ThreadPool pool(2);
  for (const auto [n, k] : extents(dtype)) {
    const RandomWeights weights = random_weights(dtype, n, k, 1);
    const auto packed = PackedMatrix::pack(weights.ref(), pool);
    ASSERT_TRUE(packed.ok()) << packed.error().message;
    std::vector<float> want(k), got(k);
    for (std::size_t i = 0; i < n; ++i) {
      decode_row(dtype, weights.row(i), want.data(), k);
      packed->decode_row(i, got.data());
      ASSERT_TRUE(same_bits(want.data(), got.data(), k)) << "row " << i;
    }
  }
}

TEST_P(Matmul, EveryIsaAgreesWithDoubleSums) {
  const DType dtype = GetParam();
  const bool quantised = is_quantised(dtype);
  ThreadPool pool(1);
  for (const auto [n, k] : extents(dtype)) {
    SCOPED_TRACE(testing::Message() << "n " << n << " k " << k);
    constexpr std::size_t kRows = 70;  // the most that any kernel but the tiled one takes is 64
    const RandomWeights weights = random_weights(dtype, n, k, 2);
    auto packed = PackedMatrix::pack(weights.ref(), pool);
    ASSERT_TRUE(packed.ok()) << packed.error().message;
    const std::vector<float> x = random_rows(kRows, k, 3);

    std::vector<double> w(n * k), magnitude(n * k);  // magnitude: |scale · code| + |min|
    std::vector<float> row(k);
    for (std::size_t i = 0; i < n; ++i) {
      decode_row(dtype, weights.row(i), row.data(), k);
      for (std::size_t j = 0; j < k; ++j) {
        const double min = weight_min(dtype, weights.row(i), j);
        w[i * k + j] = row[j];
        magnitude[i * k + j] = std::abs(row[j] - min) + std::abs(min);
      }
    }
    const std::vector<double> xe = effective_rows(*all_kernel_tables()[0], x, kRows, k, quantised);
    // Roundings an output's terms pass through: quantised, one per block in the chain, and at most five on the way to
    // it (the product, three FMAs, the decoded weight itself); float, one per term.
    const double roundings = quantised ? static_cast<double>(k / 32 + 5) : static_cast<double>(k);
    std::vector<float> scalar;
    for (const KernelTable* kernels : runnable_kernel_tables()) {
      SCOPED_TRACE(kernels->name);
      const std::vector<float> y = run(*kernels, *packed, x, kRows);
      double worst = 0;
      for (std::size_t m = 0; m < kRows; ++m)
        for (std::size_t i = 0; i < n; ++i) {
          double want = 0, size = 0;
          for (std::size_t j = 0; j < k; ++j) {
            want += w[i * k + j] * xe[m * k + j];
            size += magnitude[i * k + j] * std::abs(xe[m * k + j]);
          }
          const double bound = roundings * kEpsilon * size * (1 + 1e-6) + 1e-300;
          worst = std::max(worst, std::abs(y[m * n + i] - want) / bound);
        }
      EXPECT_LE(worst, 1.0) << "error / bound";

      for (const std::size_t m : {1u, 2u, 3u, 5u, 8u, 17u, 64u}) {
        const std::vector<float> part = run(*kernels, *packed, x, m);
        EXPECT_TRUE(same_bits(part.data(), y.data(), m * n)) << "the first " << m << " rows alone differ";
      }
      for (const std::size_t split : {16u, 48u})
        EXPECT_TRUE(same_bits(run(*kernels, *packed, x, 7, split).data(), y.data(), 7 * n)) << "split at " << split;
      if (quantised) {
        if (scalar.empty()) scalar = y;
        EXPECT_TRUE(same_bits(y.data(), scalar.data(), y.size())) << "bits differ from scalar";
      }
    }
  }
}

// More rows than wait in the L2 cache between stretches of k, an odd number of panels, several stretches.
TEST_P(Matmul, ManyRowsGiveTheBitsOfFew) {
  ThreadPool pool(1);
  constexpr std::size_t kRows = 400, n = 48, k = 1024;
  const RandomWeights weights = random_weights(GetParam(), n, k, 5);
  auto packed = PackedMatrix::pack(weights.ref(), pool);
  ASSERT_TRUE(packed.ok()) << packed.error().message;
  const std::vector<float> x = random_rows(kRows, k, 6);
  for (const KernelTable* kernels : runnable_kernel_tables()) {
    SCOPED_TRACE(kernels->name);
    const std::vector<float> all = run(*kernels, *packed, x, kRows);
    for (const std::size_t first : {0u, 384u}) {  // of a whole tile, whatever its height
      const std::vector<float> some(x.begin() + static_cast<std::ptrdiff_t>(first * k), x.end());
      const std::vector<float> part = run(*kernels, *packed, some, 16);
      EXPECT_TRUE(same_bits(part.data(), all.data() + first * n, 16 * n)) << "rows from " << first;
    }
  }
}

// x with most k at zero, some blocks and one row wholly so, as a sparse FFN's hidden row is.
std::vector<float> sparse_rows(std::size_t m, std::size_t k, std::uint64_t seed) {
  RandomBits random(seed);
  std::vector<float> x(m * k, 0.0f);
  for (std::size_t r = 0; r < m; ++r)
    for (std::size_t i = 0; i < k; ++i)
      if (r != 1 && random.next() % 20 == 0) x[r * k + i] = random.normal();
  return x;
}

TEST_P(Matmul, OtherLayoutsGiveTheSameBits) {
  const DType dtype = GetParam();
  ThreadPool pool(2);
  for (const auto [n, k] : extents(dtype)) {
    SCOPED_TRACE(testing::Message() << "n " << n << " k " << k);
    const RandomWeights weights = random_weights(dtype, n, k, 4);
    auto panels = PackedMatrix::pack(weights.ref(), pool);
    auto rows = PackedMatrix::pack(weights.ref(), pool, {}, Layout::rows);
    auto columns = PackedMatrix::pack(weights.ref(), pool, {}, Layout::columns);
    ASSERT_TRUE(panels.ok() && rows.ok() && columns.ok());
    std::vector<float> want_row(k), got_row(k);
    for (std::size_t i = 0; i < n; i += 5) {
      decode_row(dtype, weights.row(i), want_row.data(), k);
      for (const PackedMatrix* w : {&*rows, &*columns}) {
        w->decode_row(i, got_row.data());
        ASSERT_TRUE(same_bits(want_row.data(), got_row.data(), k)) << "row " << i;
      }
    }
    std::vector<std::uint32_t> chosen;
    for (std::uint32_t i = 0; i < n; i += 1 + i % 3) chosen.push_back(i);
    std::reverse(chosen.begin(), chosen.begin() + static_cast<std::ptrdiff_t>(chosen.size() / 2));

    for (const bool sparse : {true, false}) {
      constexpr std::size_t kRows = 9;
      const std::vector<float> x = sparse ? sparse_rows(kRows, k, 5) : random_rows(kRows, k, 5);
      for (const KernelTable* kernels : runnable_kernel_tables()) {
        SCOPED_TRACE(testing::Message() << kernels->name << (sparse ? " sparse" : " dense"));
        const std::vector<float> want = run(*kernels, *panels, x, kRows);
        for (const std::size_t m : {1u, 2u, 4u, 9u}) {
          EXPECT_TRUE(same_bits(run(*kernels, *rows, x, m).data(), want.data(), m * n)) << "rows, m " << m;
          EXPECT_TRUE(same_bits(run(*kernels, *columns, x, m).data(), want.data(), m * n)) << "columns, m " << m;
        }
        EXPECT_TRUE(same_bits(run(*kernels, *columns, x, 3, 16).data(), want.data(), 3 * n)) << "columns, split";

        const ActivationRows buffer(*kernels, 1, k);
        const ActivationView v = buffer.view(x.data(), k, 1, k);
        if (is_quantised(dtype)) kernels->quantise_rows(v, 0, 1);
        std::vector<float> y(chosen.size() + 1, -7777.0f);
        kernels->matmul_rows[static_cast<std::size_t>(dtype)](rows->view(), v, chosen.data(), chosen.size(), y.data());
        for (std::size_t i = 0; i < chosen.size(); ++i)
          ASSERT_TRUE(same_bits(&y[i], &want[chosen[i]], 1)) << "chosen row " << chosen[i];
        EXPECT_EQ(y.back(), -7777.0f);
      }
    }
  }
}

std::string dtype_test_name(const testing::TestParamInfo<DType>& info) { return std::string(dtype_name(info.param)); }

INSTANTIATE_TEST_SUITE_P(AllDTypes, Matmul,
                         testing::Values(DType::f32, DType::f16, DType::bf16, DType::q4_0, DType::q4_1, DType::q5_0,
                                         DType::q5_1, DType::q8_0, DType::q2_k, DType::q3_k, DType::q4_k, DType::q5_k,
                                         DType::q6_k, DType::iq4_nl, DType::iq4_xs, DType::mxfp4),
                         dtype_test_name);

}  // namespace
}  // namespace unicorn::cpu
