// Decoding against vectors worked out by hand; src/formats/fixtures_test.cc compares all types with gguf-py as well.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <string>

#include "quant/blocks.h"
#include "quant/test_support.h"

namespace unicorn {
namespace {

using namespace quant_test;

struct Vector {
  DType dtype;
  std::map<std::size_t, double> at;
  double sum;
};

// One block of bytes (37 i + 11) mod 256 with scale 0.5, min −1.25 (q4_1, q5_1) or 0.25, and e = 127 in mxfp4; every
// result is exact.
const Vector kVectors[] = {
    {DType::q4_0, {{0, -1.5}, {1, 1}, {15, -4}, {16, -1.5}, {31, 0}}, -10.5},
    {DType::q4_1, {{0, 6.25}, {1, 0.75}, {15, 3.75}, {16, 3.25}, {31, 4.75}}, 82.5},
    {DType::q5_0, {{0, 4.5}, {1, -1}, {15, -6}, {16, 7}, {31, 0.5}}, 7.5},
    {DType::q5_1, {{0, 8.25}, {1, 10.75}, {15, 13.75}, {16, 8.25}, {31, 1.25}}, 212.5},
    {DType::q8_0, {{0, 42.5}, {1, 61}, {15, -64}, {16, -45.5}, {31, -24}}, -88},
    {DType::iq4_nl, {{0, -17.5}, {1, 12.5}, {15, -63.5}, {16, -17.5}, {31, 0.5}}, -128.5},
    {DType::mxfp4, {{0, 0}, {1, 3}, {15, -1.5}, {16, 1.5}, {31, 3}}, 12.5},
    {DType::q2_k,
     {{0, 16.5}, {1, 0}, {15, 11}, {16, -0.75}, {33, -1.25}, {100, 10}, {128, 3.75}, {200, 4}, {255, 2.25}},
     1029.5},
    {DType::q3_k,
     {{0, 40.5}, {1, -54}, {15, -27}, {16, -48}, {33, 22}, {100, 0}, {128, 1}, {200, 12.5}, {255, 21}},
     479},
    {DType::q4_k,
     {{0, 157.75},
      {1, -12.75},
      {15, 80.25},
      {16, 157.75},
      {33, 10},
      {100, 47.5},
      {128, 211.5},
      {200, 69.25},
      {255, 24.25}},
     27220},
    {DType::q5_k,
     {{0, 405.75},
      {1, -12.75},
      {15, 80.25},
      {16, 405.75},
      {33, -2},
      {100, 117.5},
      {128, 523.5},
      {200, 69.25},
      {255, 54.25}},
     58108},
    {DType::q6_k,
     {{0, -715.5},
      {1, 848},
      {15, -159},
      {16, -216},
      {33, -336},
      {100, 1261.5},
      {128, -175.5},
      {200, 544.5},
      {255, -30}},
     2306},
    {DType::iq4_xs,
     {{0, 32.5}, {1, -0.5}, {15, -44.5}, {16, 32.5}, {33, -3.5}, {100, 20}, {128, -292.5}, {200, 570}, {255, -8}},
     -5502.5},
};

template <class Block>
void set_d(std::vector<std::byte>& bytes, std::uint16_t d) {
  std::memcpy(bytes.data() + offsetof(Block, d), &d, sizeof d);
}

std::vector<std::byte> patterned_block(DType dtype) {
  std::vector<std::byte> bytes(dtype_info(dtype).block_bytes);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(37 * i + 11);
  const std::uint16_t half = 0x3800, minus_1_25 = 0xbd00, quarter = 0x3400;
  const auto put = [&](std::size_t at, std::uint16_t v) { std::memcpy(bytes.data() + at, &v, sizeof v); };
  switch (dtype) {
    case DType::q4_0:
      set_d<BlockQ4_0>(bytes, half);
      break;
    case DType::q4_1:
      set_d<BlockQ4_1>(bytes, half);
      put(offsetof(BlockQ4_1, m), minus_1_25);
      break;
    case DType::q5_0:
      set_d<BlockQ5_0>(bytes, half);
      break;
    case DType::q5_1:
      set_d<BlockQ5_1>(bytes, half);
      put(offsetof(BlockQ5_1, m), minus_1_25);
      break;
    case DType::q8_0:
      set_d<BlockQ8_0>(bytes, half);
      break;
    case DType::q2_k:
      set_d<BlockQ2K>(bytes, half);
      put(offsetof(BlockQ2K, dmin), quarter);
      break;
    case DType::q3_k:
      set_d<BlockQ3K>(bytes, half);
      break;
    case DType::q4_k:
      set_d<BlockQ4K>(bytes, half);
      put(offsetof(BlockQ4K, dmin), quarter);
      break;
    case DType::q5_k:
      set_d<BlockQ5K>(bytes, half);
      put(offsetof(BlockQ5K, dmin), quarter);
      break;
    case DType::q6_k:
      set_d<BlockQ6K>(bytes, half);
      break;
    case DType::iq4_nl:
      set_d<BlockIq4Nl>(bytes, half);
      break;
    case DType::iq4_xs:
      set_d<BlockIq4Xs>(bytes, half);
      break;
    case DType::mxfp4:
      bytes[0] = std::byte{127};
      break;
    case DType::f32:
    case DType::f16:
    case DType::bf16:
      break;
  }
  return bytes;
}

TEST(DecodeRow, GivesTheReferenceVectorsExactly) {
  for (const Vector& v : kVectors) {
    SCOPED_TRACE(dtype_name(v.dtype));
    const std::vector<float> y = decoded(v.dtype, patterned_block(v.dtype));
    double sum = 0;
    for (const float value : y) sum += static_cast<double>(value);
    EXPECT_EQ(sum, v.sum);
    for (const auto& [i, want] : v.at) EXPECT_EQ(static_cast<double>(y[i]), want) << "element " << i;
  }
}

TEST(DecodeRow, ReadsEveryF16AndBf16) {
  std::vector<std::byte> row(2 * 65536);
  for (std::uint32_t i = 0; i < 65536; ++i) {
    const auto bits = static_cast<std::uint16_t>(i);
    std::memcpy(row.data() + 2 * i, &bits, 2);
  }
  const std::vector<float> half = decoded(DType::f16, row), brain = decoded(DType::bf16, row);
  for (std::uint32_t i = 0; i < 65536; ++i) {
    const double sign = i & 0x8000 ? -1 : 1;
    const std::uint32_t e = i >> 10 & 31, m = i & 1023;
    if (e == 31)
      EXPECT_TRUE(m == 0 ? std::isinf(half[i]) && (half[i] < 0) == (sign < 0) : std::isnan(half[i])) << i;
    else
      EXPECT_EQ(static_cast<double>(half[i]),
                sign * (e == 0 ? std::ldexp(m, -24) : std::ldexp(1024 + m, static_cast<int>(e) - 25)))
          << i;
    std::uint32_t bits = 0;
    std::memcpy(&bits, &brain[i], 4);
    EXPECT_EQ(bits, i << 16);
  }
}

TEST(DecodeRow, TakesRowsOfAnyAlignment) {
  for (const DType dtype : all_dtypes()) {
    SCOPED_TRACE(dtype_name(dtype));
    const std::vector<std::byte> row = random_bytes(row_bytes(dtype, 512), 3);
    const std::vector<float> want = decoded(dtype, row);
    for (std::size_t shift = 1; shift < 8; ++shift) {
      std::vector<std::byte> shifted(row.size() + shift);
      std::copy(row.begin(), row.end(), shifted.begin() + static_cast<std::ptrdiff_t>(shift));
      std::vector<float> got(want.size());
      decode_row(dtype, shifted.data() + shift, got.data(), got.size());
      EXPECT_EQ(std::memcmp(got.data(), want.data(), want.size() * sizeof(float)), 0) << "shift " << shift;
    }
  }
}

TEST(DecodeRow, SurvivesAnyBytes) {
  for (const DType dtype : all_dtypes()) {
    SCOPED_TRACE(dtype_name(dtype));
    for (const std::byte fill : {std::byte{0x00}, std::byte{0x7c}, std::byte{0x7f}, std::byte{0xfc}, std::byte{0xff}}) {
      const std::vector<std::byte> row(row_bytes(dtype, 256), fill);  // scales of 0, ±infinity and NaN among them
      EXPECT_EQ(decoded(dtype, row).size(), 256u);
    }
    EXPECT_EQ(decoded(dtype, random_bytes(row_bytes(dtype, std::size_t{256} * 64), 4)).size(), 256u * 64);
  }
}

TEST(DecodeRow, TakesNothingFromAnEmptyRow) {
  for (const DType dtype : all_dtypes()) {
    decode_row(dtype, nullptr, nullptr, 0);
    encode_row(dtype, nullptr, nullptr, 0);
  }
}

TEST(DecodeRowDeathTest, RefusesPartOfABlock) {
  std::vector<std::byte> row(64);
  std::vector<float> out(64);
  EXPECT_DEATH(decode_row(DType::q4_0, row.data(), out.data(), 33), "check failed");
  EXPECT_DEATH(encode_row(DType::q4_k, out.data(), row.data(), 32), "check failed");
}

TEST(Mxfp4Scale, IsAPowerOfTwoForEveryExponent) {
  for (int e = 0; e < 256; ++e) EXPECT_EQ(mxfp4_scale(static_cast<std::uint8_t>(e)), std::ldexp(1.0f, e - 128)) << e;
}

}  // namespace
}  // namespace unicorn
