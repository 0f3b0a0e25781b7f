#include "plan/weight_ref.h"

#include <gtest/gtest.h>

#include "quant/block.h"

namespace unicorn {
namespace {

// f32 [4, 64]: value = 100 · row + column
struct Source {
  std::vector<float> values = std::vector<float>(4 * 64);
  TensorView view{DType::f32, {4, 64}, nullptr, 64 * sizeof(float)};
  Source() {
    for (std::size_t row = 0; row < 4; ++row)
      for (std::size_t column = 0; column < 64; ++column)
        values[64 * row + column] = static_cast<float>(100 * row + column);
    view.data = reinterpret_cast<const std::byte*>(values.data());
  }
};

WeightRef weight(std::size_t n, std::size_t k) {
  WeightRef w;
  w.name = "w";
  w.n = n;
  w.k = k;
  return w;
}

TEST(WeightRef, PartsStackAlongRows) {
  const Source s;
  WeightRef w = weight(3, 64);
  TensorView tail = s.view;
  tail.data = s.view.row(3);
  tail.shape = {1, 64};
  TensorView head = s.view;
  head.shape = {2, 64};
  w.parts = {tail, head};
  std::vector<float> row(64);
  w.read_row_f32(0, row.data());
  EXPECT_EQ(row[5], 305.0f);
  w.read_row_f32(2, row.data());
  EXPECT_EQ(row[5], 105.0f);
  EXPECT_EQ(w.row_in_place(1), s.view.row(0));
}

TEST(WeightRef, PartsStackAlongColumns) {
  const Source s;
  WeightRef w = weight(4, 48);
  w.stack = WeightRef::Stack::columns;
  TensorView left = s.view, right = s.view;
  left.shape = {4, 16};
  right.shape = {4, 32};
  right.data += 32 * sizeof(float);
  w.parts = {left, right};
  std::vector<float> row(48);
  w.read_row_f32(2, row.data());
  EXPECT_EQ(row[15], 215.0f);
  EXPECT_EQ(row[16], 232.0f);
  EXPECT_EQ(w.row_in_place(2), nullptr);
}

TEST(WeightRef, AColumnPrefixIsReadInPlace) {
  const Source s;
  WeightRef w = weight(4, 32);
  w.stack = WeightRef::Stack::columns;
  w.parts = {s.view};
  w.parts[0].shape = {4, 32};
  EXPECT_EQ(w.row_in_place(3), s.view.row(3));
}

TEST(WeightRef, ConversionIsDecodeThenEncode) {
  const Source s;
  WeightRef w = weight(4, 64);
  w.parts = {s.view};
  w.as = DType::q8_0;
  std::vector<std::byte> got(row_bytes(DType::q8_0, 64)), want(got.size());
  w.read_row(1, got.data());
  encode_row(DType::q8_0, s.values.data() + 64, want.data(), 64);
  EXPECT_EQ(got, want);
}

}  // namespace
}  // namespace unicorn
