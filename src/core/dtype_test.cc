#include "core/dtype.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace unicorn {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

bool is_nan_f16(std::uint32_t h) { return (h & 0x7fff) > 0x7c00; }
bool is_nan_bf16(std::uint32_t h) { return (h & 0x7fff) > 0x7f80; }

TEST(DType, NamesRoundTrip) {
  for (std::size_t i = 0; i < kNDTypes; ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(dtype_from_name(dtype_name(dtype)), dtype);
  }
  EXPECT_EQ(dtype_from_name("q4_0"), DType::q4_0);
  EXPECT_EQ(dtype_from_name("Q4_0"), std::nullopt);
  EXPECT_EQ(dtype_from_name(""), std::nullopt);
}

TEST(DType, CountsTheBytesOfARow) {
  EXPECT_EQ(row_bytes(DType::f32, 3), 12u);
  EXPECT_EQ(row_bytes(DType::bf16, 2048), 4096u);
  EXPECT_EQ(row_bytes(DType::q8_0, 2048), 2176u);
  EXPECT_EQ(row_bytes(DType::q6_k, 2048), 1680u);
  EXPECT_EQ(row_bytes(DType::q5_k, 2048), 1408u);
  EXPECT_EQ(row_bytes(DType::q4_k, 2048), 1152u);
  EXPECT_EQ(row_bytes(DType::q4_1, 2048), 1280u);
  EXPECT_EQ(row_bytes(DType::q4_0, 0), 0u);
  EXPECT_TRUE(is_quantised(DType::mxfp4));
  EXPECT_FALSE(is_quantised(DType::bf16));
}

TEST(DTypeDeathTest, RefusesPartOfABlock) {
  EXPECT_DEATH(static_cast<void>(row_bytes(DType::q4_k, 128)), "check failed");
  EXPECT_DEATH(static_cast<void>(dtype_info(static_cast<DType>(kNDTypes))), "check failed");
}

TEST(F16, RoundTripsAllValues) {
  for (std::uint32_t h = 0; h < 65536; ++h) {
    const float value = f16_to_f32(static_cast<std::uint16_t>(h));
    if (is_nan_f16(h)) {
      EXPECT_TRUE(std::isnan(value)) << h;
      EXPECT_TRUE(is_nan_f16(f32_to_f16(value))) << h;
    } else {
      ASSERT_EQ(f32_to_f16(value), h);
    }
  }
  EXPECT_EQ(f16_to_f32(0x3c00), 1.0f);
  EXPECT_EQ(f16_to_f32(0x0001), 0x1p-24f);
  EXPECT_EQ(f16_to_f32(0x7bff), 65504.0f);
  EXPECT_EQ(f16_to_f32(0xfc00), -kInfinity);
  EXPECT_TRUE(std::signbit(f16_to_f32(0x8000)));
}

TEST(F16, RoundsToNearestEven) {
  // Rounding is monotonic, so its behaviour at, just below and just above each midpoint of neighbours is all of it.
  for (std::uint32_t h = 0; h < 0x7c00; ++h) {
    const double low = static_cast<double>(f16_to_f32(static_cast<std::uint16_t>(h)));
    const double high = h == 0x7bff ? 65536.0 : static_cast<double>(f16_to_f32(static_cast<std::uint16_t>(h + 1)));
    const auto middle = static_cast<float>((low + high) / 2);  // exact: an f32 has thirteen more bits
    const std::uint32_t even = h % 2 == 0 ? h : h + 1;
    for (const std::uint32_t sign : {0u, 0x8000u}) {
      const auto round = [&](float v) { return std::uint32_t{f32_to_f16(sign != 0 ? -v : v)}; };
      ASSERT_EQ(round(middle), even | sign) << h;
      ASSERT_EQ(round(std::nextafter(middle, 0.0f)), h | sign) << h;
      ASSERT_EQ(round(std::nextafter(middle, kInfinity)), (h + 1) | sign) << h;
    }
  }
  EXPECT_EQ(f32_to_f16(1e30f), 0x7c00);
  EXPECT_EQ(f32_to_f16(-kInfinity), 0xfc00);
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::denorm_min()), 0);
  EXPECT_EQ(f32_to_f16(-0.0f), 0x8000);
}

TEST(F16, KeepsEveryKindOfNan) {
  for (const std::uint32_t bits : {0x7f800001u, 0x7fc00000u, 0x7fffffffu, 0xff800001u, 0xffc12345u}) {
    const std::uint16_t half = f32_to_f16(std::bit_cast<float>(bits));
    EXPECT_TRUE(is_nan_f16(half)) << bits;
    EXPECT_EQ(half >> 15, bits >> 31);
  }
}

TEST(Bf16, RoundTripsAllValues) {
  for (std::uint32_t h = 0; h < 65536; ++h) {
    const float value = bf16_to_f32(static_cast<std::uint16_t>(h));
    if (is_nan_bf16(h))
      EXPECT_TRUE(is_nan_bf16(f32_to_bf16(value))) << h;
    else
      ASSERT_EQ(f32_to_bf16(value), h);
  }
}

TEST(Bf16, RoundsToNearestEven) {
  for (std::uint32_t h = 0; h < 0x7f80; ++h) {
    const std::uint32_t middle = h << 16 | 0x8000;
    const std::uint32_t even = h % 2 == 0 ? h : h + 1;
    for (const std::uint32_t sign : {0u, 0x8000u}) {
      const auto round = [&](std::uint32_t bits) {
        return std::uint32_t{f32_to_bf16(std::bit_cast<float>(bits | sign << 16))};
      };
      ASSERT_EQ(round(middle), even | sign);
      ASSERT_EQ(round(middle - 1), h | sign);
      ASSERT_EQ(round(middle + 1), (h + 1) | sign);
    }
  }
  for (const std::uint32_t bits : {0x7f800001u, 0x7fffffffu, 0xff800001u})
    EXPECT_TRUE(is_nan_bf16(f32_to_bf16(std::bit_cast<float>(bits)))) << bits;
}

}  // namespace
}  // namespace unicorn
