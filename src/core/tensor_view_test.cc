#include "core/tensor_view.h"

#include <gtest/gtest.h>

#include <vector>

namespace unicorn {
namespace {

TEST(Shape, CountsRowsAndElements) {
  const Shape scalar, vector{7}, matrix{3, 64}, stack{2, 3, 64};
  EXPECT_EQ(scalar.k(), 1u);
  EXPECT_EQ(scalar.n_elements(), 1u);
  EXPECT_EQ(vector.n_rows(), 1u);
  EXPECT_EQ(vector.k(), 7u);
  EXPECT_EQ(matrix.n_rows(), 3u);
  EXPECT_EQ(stack.n_rows(), 6u);
  EXPECT_EQ(stack.n_elements(), 384u);
  EXPECT_EQ(to_string(stack), "[2, 3, 64]");
  EXPECT_EQ(to_string(scalar), "[]");
  EXPECT_NE(matrix, stack);
  EXPECT_EQ(matrix, (Shape{3, 64}));
}

TEST(ShapeDeathTest, HasAtMostFourDimensions) {
  Shape full{1, 2, 3, 4};
  EXPECT_DEATH(full.push_back(5), "check failed");
}

TEST(TensorView, SeesAColumnPrefixOfALargerMatrix) {
  std::vector<float> data(3 * 64);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<float>(i);
  const TensorView prefix{DType::f32, {3, 16}, reinterpret_cast<const std::byte*>(data.data()), 64 * sizeof(float)};
  EXPECT_EQ(reinterpret_cast<const float*>(prefix.row(2))[5], 133.0f);
  EXPECT_EQ(prefix.n_bytes(), 3u * 16 * 4);
}

}  // namespace
}  // namespace unicorn
