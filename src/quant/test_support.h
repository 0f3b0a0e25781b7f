// Numbers for this folder's tests, the same on every machine: a hash of (seed, index), no library distribution.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/dtype.h"
#include "quant/block.h"

namespace unicorn::quant_test {

inline std::uint64_t hash(std::uint64_t seed, std::uint64_t i) {  // splitmix64
  std::uint64_t z = (seed << 32) + (i + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

// Nearly Gaussian: twelve 24-bit integers summed, so that any language makes the same numbers.
inline float gaussian(std::uint64_t seed, std::uint64_t i, double sigma) {
  std::int64_t sum = 0;
  for (std::uint64_t j = 0; j < 12; ++j) sum += static_cast<std::int64_t>(hash(seed, 12 * i + j) >> 40);
  return static_cast<float>((static_cast<double>(sum) / 16777216.0 - 6.0) * sigma);
}

inline std::vector<float> gaussians(std::size_t n, std::uint64_t seed, double sigma = 0.02) {
  std::vector<float> x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = gaussian(seed, i, sigma);
  return x;
}

inline std::vector<std::byte> random_bytes(std::size_t n, std::uint64_t seed) {
  std::vector<std::byte> bytes(n);
  for (std::size_t i = 0; i < n; ++i) bytes[i] = static_cast<std::byte>(hash(seed, i) >> 56);
  return bytes;
}

inline std::vector<DType> all_dtypes() {
  std::vector<DType> all;
  for (std::size_t i = 0; i < kNDTypes; ++i) all.push_back(static_cast<DType>(i));
  return all;
}

inline std::vector<std::byte> encoded(DType dtype, const std::vector<float>& x,
                                      const std::vector<float>& importance = {}) {
  std::vector<std::byte> row(row_bytes(dtype, x.size()));
  encode_row(dtype, x.data(), row.data(), x.size(), importance);
  return row;
}

inline std::vector<float> decoded(DType dtype, const std::vector<std::byte>& row) {
  const DTypeInfo& info = dtype_info(dtype);
  std::vector<float> y(row.size() / info.block_bytes * info.block);
  decode_row(dtype, row.data(), y.data(), y.size());
  return y;
}

}  // namespace unicorn::quant_test
