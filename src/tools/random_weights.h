// Random weights for full-size models without a download: values that depend on seed, tensor and place alone, so that
// every format, type, thread count and order of writing holds the same weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "core/dtype.h"

namespace unicorn {

// Values are mean + std · z, rounded to bf16, then + add (a Gemma 3 norm, which GGUF stores plus one). z is near
// Gaussian: the sum of twelve uniforms, exact in integers and so the same on every machine.
struct Distribution {
  float mean = 0.0f, std = 1.0f, add = 0.0f;
};

// The rows of one tensor, encoded in `dtype`. A large tensor is laid out of kPool values: each unit of its rows (256
// values, or the largest power of two below that divides a row) is a copy of one of the pool's, chosen by a hash of its
// place. Encoding the pool once makes the slow encoders as fast as copying, and a matrix product cannot tell: every row
// of 2,048 is one of 2^88.
class RandomTensor {
 public:
  static constexpr std::size_t kPool = std::size_t{1} << 19;

  // Precondition: k is a multiple of the dtype's block. `n_rows` counts all rows of the tensor, stacked ones included.
  RandomTensor(std::uint64_t seed, std::string_view name, std::size_t n_rows, std::size_t k, Distribution distribution,
               DType dtype);

  std::size_t bytes_per_row() const { return units_per_row_ * unit_bytes_; }
  // Row i < n_rows into out[bytes_per_row()]. Several threads may call this.
  void read_row(std::size_t i, std::byte* out) const;

 private:
  std::uint64_t key_;
  std::size_t units_per_row_, unit_bytes_, n_pool_;
  bool pooled_;
  std::vector<std::byte> pool_;  // n_pool_ encoded units
};

}  // namespace unicorn
