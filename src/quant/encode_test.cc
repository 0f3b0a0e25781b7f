#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "quant/blocks.h"
#include "quant/test_support.h"

namespace unicorn {
namespace {

using namespace quant_test;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

double squared_error(const std::vector<float>& x, const std::vector<float>& y, const std::vector<float>& w = {}) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double e = static_cast<double>(x[i]) - static_cast<double>(y[i]);
    sum += (w.empty() ? 1.0 : static_cast<double>(w[i])) * e * e;
  }
  return sum;
}

double rms_error(DType dtype, const std::vector<float>& x) {
  return std::sqrt(squared_error(x, decoded(dtype, encoded(dtype, x))) / static_cast<double>(x.size()));
}

// Rounding to f16: half a unit in the last place of eleven bits, or half the smallest denormal.
double f16_error(double v) { return std::max(std::abs(v) * 0x1p-11, 0x1p-25); }

TEST(EncodeRow, FixedRecipesStayWithinTheirDerivedBounds) {
  // The error of one value: half a step (a whole one at the short end of −8 … 7, which reaches 7 of 8), what rounding
  // the scale (and offset) to f16 moves the farthest code, and f32 rounding.
  for (const double sigma : {0.02, 1.0, 1e-5, 300.0}) {
    const std::vector<float> x = gaussians(32 * 256, 11, sigma);
    for (const DType dtype : {DType::q4_0, DType::q4_1, DType::q5_0, DType::q5_1, DType::q8_0}) {
      SCOPED_TRACE(std::string(dtype_name(dtype)) + " sigma " + std::to_string(sigma));
      const std::vector<float> y = decoded(dtype, encoded(dtype, x));
      for (std::size_t b = 0; b < x.size(); b += 32) {
        const auto [low, high] = std::minmax_element(x.begin() + static_cast<std::ptrdiff_t>(b),
                                                     x.begin() + static_cast<std::ptrdiff_t>(b) + 32);
        const double min = static_cast<double>(*low), max = static_cast<double>(*high);
        const double amax = std::max(-min, max);
        double bound = 0;
        switch (dtype) {
          case DType::q4_0:
            bound = amax / 8 + 8 * f16_error(amax / 8);
            break;
          case DType::q5_0:
            bound = amax / 16 + 16 * f16_error(amax / 16);
            break;
          case DType::q8_0:
            bound = amax / 127 / 2 + 127 * f16_error(amax / 127);
            break;
          case DType::q4_1:
            bound = (max - min) / 15 / 2 + 15 * f16_error((max - min) / 15) + f16_error(min);
            break;
          default:
            bound = (max - min) / 31 / 2 + 31 * f16_error((max - min) / 31) + f16_error(min);
            break;
        }
        bound += 8 * amax * 0x1p-24;
        for (std::size_t i = b; i < b + 32; ++i)
          ASSERT_LE(std::abs(static_cast<double>(x[i]) - static_cast<double>(y[i])), bound) << "element " << i;
      }
    }
  }
}

TEST(EncodeRow, SearchesStayWithinTheirDerivedBounds) {
  // What the search cannot do worse than, as a root mean square over a super-block whose largest magnitude is A:
  // half a step of the plain grid, plus half a unit of the sub-blocks' integer scale (and min) at the farthest code.
  struct Case {
    DType dtype;
    double half_step, scale_unit;  // of A
  };
  const Case cases[] = {
      {DType::q3_k, 1.0 / 8, 1.0 / 32},      {DType::q6_k, 1.0 / 64, 1.0 / 128},
      {DType::iq4_nl, 11.5 / 127, 0x1p-11},  {DType::iq4_xs, 11.5 / 127, 1.0 / 32},
      {DType::q2_k, 2.0 / 3 / 2, 2.0 / 15},  {DType::q4_k, 2.0 / 15 / 2, 2.0 / 63},
      {DType::q5_k, 2.0 / 31 / 2, 2.0 / 63}, {DType::mxfp4, 2.0 / 12, 0},
  };
  for (const double sigma : {0.02, 5.0}) {
    const std::vector<float> x = gaussians(256 * 64, 12, sigma);
    for (const Case& c : cases) {
      SCOPED_TRACE(dtype_name(c.dtype));
      const std::vector<float> y = decoded(c.dtype, encoded(c.dtype, x));
      for (std::size_t b = 0; b < x.size(); b += 256) {
        double amax = 0, sum = 0;
        for (std::size_t i = b; i < b + 256; ++i) {
          amax = std::max(amax, std::abs(static_cast<double>(x[i])));
          sum += std::pow(static_cast<double>(x[i]) - static_cast<double>(y[i]), 2);
        }
        ASSERT_LE(std::sqrt(sum / 256), amax * (c.half_step + c.scale_unit)) << "super-block " << b / 256;
      }
    }
  }
}

TEST(EncodeRow, IsNoWorseThanLlamaCpp) {
  // Root mean square errors of llama.cpp 0.5.0 (ggml_quantize_chunk, no importance) on the same numbers.
  struct Case {
    DType dtype;
    double gaussian, with_outliers;
  };
  const Case cases[] = {
      {DType::q2_k, 0.005852711, 0.009727703},   {DType::q3_k, 0.002979034, 0.005678399},
      {DType::q4_k, 0.001417610, 0.002518701},   {DType::q5_k, 0.000712706, 0.001279860},
      {DType::q6_k, 0.000349807, 0.000705442},   {DType::iq4_nl, 0.001512164, 0.002818708},
      {DType::iq4_xs, 0.001524060, 0.002840961}, {DType::mxfp4, 0.002277974, 0.003886816},
  };
  const std::vector<float> x = gaussians(32768, 7);
  std::vector<float> outliers = x;
  for (std::size_t i = 0; i < x.size(); i += 16) outliers[i] *= 4;
  for (const Case& c : cases) {
    SCOPED_TRACE(dtype_name(c.dtype));
    EXPECT_LE(rms_error(c.dtype, x), c.gaussian);
    EXPECT_LE(rms_error(c.dtype, outliers), c.with_outliers);
  }
}

TEST(EncodeRow, KeepsPlainTypesToTheirLastBit) {
  const std::vector<float> x = gaussians(4096, 13);
  EXPECT_EQ(decoded(DType::f32, encoded(DType::f32, x)), x);
  const std::vector<float> half = decoded(DType::f16, encoded(DType::f16, x));
  const std::vector<float> brain = decoded(DType::bf16, encoded(DType::bf16, x));
  for (std::size_t i = 0; i < x.size(); ++i) {
    EXPECT_EQ(half[i], f16_to_f32(f32_to_f16(x[i])));
    EXPECT_EQ(brain[i], bf16_to_f32(f32_to_bf16(x[i])));
  }
}

TEST(EncodeRow, GivesSymmetricBlocksBackUnchanged) {
  // A block whose largest magnitude has the code that the recipe gives it encodes to itself: d = v / −8 (or −16, or
  // |v| / 127) is exact, since an f16 scale times a small integer is an exact f32.
  for (const DType dtype : {DType::q4_0, DType::q5_0, DType::q8_0}) {
    SCOPED_TRACE(dtype_name(dtype));
    const std::size_t block_bytes = dtype_info(dtype).block_bytes;
    std::vector<std::byte> row = random_bytes(row_bytes(dtype, 32 * 512), 14);
    for (std::size_t b = 0; b < 512; ++b) {
      std::byte* block = row.data() + b * block_bytes;
      const float sign = dtype == DType::q8_0 || b % 2 == 0 ? 1.0f : -1.0f;
      const auto scale = f32_to_f16(sign * (0.001f + static_cast<float>(b) * 0.01f));
      std::memcpy(block, &scale, 2);
      if (dtype == DType::q4_0) block[2] &= std::byte{0xf0};  // code 0, −8
      if (dtype == DType::q5_0) {  // code 0, −16
        block[6] &= std::byte{0xf0};
        block[2] &= std::byte{0xfe};
      }
      if (dtype == DType::q8_0) {
        for (std::size_t i = 2; i < 34; ++i)
          if (block[i] == std::byte{0x80}) block[i] = std::byte{0x81};
        block[2] = std::byte{127};
      }
    }
    EXPECT_EQ(encoded(dtype, decoded(dtype, row)), row);
  }
}

TEST(EncodeRow, LosesNothingTheSecondTime) {
  // Values a type can represent, because it made them, are represented again as well or better. Searches may choose
  // other scales; what they lose must be far below what the first encoding lost.
  const std::vector<float> x = gaussians(256 * 32, 15);
  for (const DType dtype : all_dtypes()) {
    SCOPED_TRACE(dtype_name(dtype));
    const std::vector<float> once = decoded(dtype, encoded(dtype, x));
    const std::vector<float> twice = decoded(dtype, encoded(dtype, once));
    EXPECT_LE(squared_error(once, twice), 0.05 * squared_error(x, once));
  }
}

TEST(EncodeRow, TakesNonFiniteValuesForZero) {
  std::vector<float> x = gaussians(512, 16), cleaned = x;
  for (std::size_t i = 0; i < x.size(); i += 7) {
    x[i] = i % 3 == 0 ? kNan : i % 3 == 1 ? kInfinity : -kInfinity;
    cleaned[i] = 0;
  }
  const std::vector<float> all_bad(512, kNan), zeros(512, 0.0f);
  for (const DType dtype : all_dtypes()) {
    SCOPED_TRACE(dtype_name(dtype));
    EXPECT_EQ(encoded(dtype, x), encoded(dtype, cleaned));
    EXPECT_EQ(decoded(dtype, encoded(dtype, all_bad)), zeros);
  }
}

TEST(EncodeRow, StaysFiniteForEveryMagnitude) {
  // From denormals to the largest f32, alone and mixed: nothing becomes infinite or NaN, and what is far above a type's
  // range saturates with its sign kept.
  for (const DType dtype : all_dtypes()) {
    SCOPED_TRACE(dtype_name(dtype));
    for (int exponent = -149; exponent <= 127; exponent += 4) {
      std::vector<float> x = gaussians(256, 17, 1.0);
      for (float& v : x) v = std::ldexp(std::clamp(v, -1.9f, 1.9f), exponent);
      for (const bool mixed : {false, true}) {
        if (mixed)
          for (std::size_t i = 0; i < x.size(); i += 5) x[i] = gaussian(18, i, 0.02);
        for (const std::vector<float>& importance : {std::vector<float>{}, std::vector<float>(256, 0.5f)}) {
          const std::vector<float> y = decoded(dtype, encoded(dtype, x, importance));
          for (std::size_t i = 0; i < y.size(); ++i) ASSERT_TRUE(std::isfinite(y[i])) << exponent << " " << i;
          const std::size_t largest = static_cast<std::size_t>(
              std::max_element(x.begin(), x.end(), [](float a, float b) { return std::abs(a) < std::abs(b); }) -
              x.begin());
          if (exponent > 0) {
            ASSERT_GT(std::abs(y[largest]), 0.0f) << exponent;
            ASSERT_EQ(std::signbit(y[largest]), std::signbit(x[largest])) << exponent;
          }
        }
      }
    }
  }
}

TEST(EncodeRow, KeepsSmallWeightsWhereTheScaleIsADenormal) {
  // Embedding rows of 1e-4 need sub-block scales far below the smallest normal f16. The plain recipes lose up to half of
  // such a scale; the searches must not.
  const std::vector<float> x = gaussians(256 * 16, 19, 2e-4);
  for (const DType dtype : {DType::q4_k, DType::q5_k, DType::q6_k, DType::iq4_xs, DType::q3_k}) {
    const double small = rms_error(dtype, x) / 2e-4;
    const double normal = rms_error(dtype, gaussians(256 * 16, 19, 1.0));
    EXPECT_LE(small, 1.1 * normal) << dtype_name(dtype);
  }
}

TEST(EncodeRow, SpendsItsErrorWhereImportanceIsLow) {
  const std::size_t n = 256 * 32;
  const std::vector<float> x = gaussians(n, 20);
  std::vector<float> w(n);
  for (std::size_t i = 0; i < n; ++i) w[i] = std::exp(gaussian(21, i, 1.0));
  for (const DType dtype : all_dtypes()) {
    if (!is_quantised(dtype) || dtype == DType::q8_0) continue;  // these ignore it
    const double without = squared_error(x, decoded(dtype, encoded(dtype, x)), w);
    const double with = squared_error(x, decoded(dtype, encoded(dtype, x, w)), w);
    EXPECT_LT(with, without) << dtype_name(dtype);
  }
}

TEST(EncodeRow, SurvivesAnyImportance) {
  const std::vector<float> x = gaussians(256, 22);
  std::vector<float> mixed(256, 1.0f);
  for (std::size_t i = 0; i < mixed.size(); ++i) {
    constexpr float kOdd[] = {0.0f, 1e-38f, 1e38f, 1.0f};
    mixed[i] = kOdd[hash(23, i) % 4];
  }
  std::vector<float> one_only(256, 0.0f);
  one_only[77] = 1.0f;
  for (const DType dtype : all_dtypes()) {
    SCOPED_TRACE(dtype_name(dtype));
    for (const std::vector<float>& w : {std::vector<float>(256, 0.0f), std::vector<float>(256, kNan),
                                        std::vector<float>(256, kInfinity), mixed, one_only})
      for (const float y : decoded(dtype, encoded(dtype, x, w))) ASSERT_TRUE(std::isfinite(y));
    // All zero says nothing: every element counts alike, as with none given.
    const auto equal = encoded(dtype, x, std::vector<float>(256, 0.0f));
    EXPECT_EQ(equal, encoded(dtype, x, std::vector<float>(256, 3.0f)));
  }
}

TEST(EncodeRow, TreatsBlocksAlike) {
  // A row is its blocks: encoding them together or one by one gives the same bytes.
  const std::vector<float> x = gaussians(1024, 24);
  const std::vector<float> w(1024, 1.0f);
  for (const DType dtype : all_dtypes()) {
    SCOPED_TRACE(dtype_name(dtype));
    const DTypeInfo& info = dtype_info(dtype);
    for (const bool weighted : {false, true}) {
      const auto whole = encoded(dtype, x, weighted ? w : std::vector<float>{});
      std::vector<std::byte> pieces(whole.size());
      for (std::size_t i = 0; i < x.size(); i += info.block)
        encode_row(dtype, x.data() + i, pieces.data() + row_bytes(dtype, i), info.block,
                   weighted ? std::span(w).first(info.block) : std::span<const float>{});
      EXPECT_EQ(pieces, whole);
    }
  }
}

TEST(EncodeRow, RepresentsConstantsAndExactGrids) {
  for (const DType dtype : all_dtypes()) {
    SCOPED_TRACE(dtype_name(dtype));
    // A constant block is representable by every type up to the rounding of its scale numbers.
    for (const float c : {0.25f, -0.25f, 3.0f}) {
      const std::vector<float> y = decoded(dtype, encoded(dtype, std::vector<float>(256, c)));
      for (const float v : y) ASSERT_NEAR(v, c, std::abs(c) * 0.005f);
    }
  }
}

}  // namespace
}  // namespace unicorn
