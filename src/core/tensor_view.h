// Shape and TensorView: looks at a tensor's bytes without owning them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "core/check.h"
#include "core/dtype.h"

namespace unicorn {

// Up to four dimensions, outermost first as Hugging Face writes them: [n, k] has k contiguous.
class Shape {
 public:
  static constexpr std::size_t kMaxRank = 4;

  Shape() = default;
  Shape(std::initializer_list<std::size_t> dims) {
    UNICORN_CHECK(dims.size() <= kMaxRank);
    for (std::size_t d : dims) push_back(d);
  }

  void push_back(std::size_t dim) {
    UNICORN_CHECK(rank_ < kMaxRank);
    dims_[rank_++] = dim;
  }
  std::size_t rank() const { return rank_; }
  std::size_t operator[](std::size_t i) const { return dims_[i]; }
  std::size_t k() const { return rank_ == 0 ? 1 : dims_[rank_ - 1]; }  // the contiguous dimension
  std::size_t n_rows() const {                                        // the product of all others
    std::size_t n = 1;
    for (std::size_t i = 0; i + 1 < rank_; ++i) n *= dims_[i];
    return n;
  }
  std::size_t n_elements() const { return n_rows() * k(); }
  friend bool operator==(const Shape& a, const Shape& b) = default;

 private:
  std::array<std::size_t, kMaxRank> dims_{};
  std::size_t rank_ = 0;
};

std::string to_string(const Shape& shape);  // "[512, 4096]"

// A matrix (or a stack of them, seen as its rows) in somebody else's memory. Rows may lie further apart than they
// are long, so a column prefix of a larger matrix is a view too (MatFormer slices).
struct TensorView {
  DType dtype = DType::f32;
  Shape shape;
  const std::byte* data = nullptr;
  std::size_t row_stride_bytes = 0;

  const std::byte* row(std::size_t i) const { return data + i * row_stride_bytes; }
  // From the first byte of row `first` to the last of row `end` - 1, with what lies between rows.
  std::span<const std::byte> rows(std::size_t first, std::size_t end) const {
    if (first >= end) return {};
    return {row(first), row(end - 1) + row_bytes(dtype, shape.k())};
  }
  std::size_t n_bytes() const { return shape.n_rows() * row_bytes(dtype, shape.k()); }
};

}  // namespace unicorn
