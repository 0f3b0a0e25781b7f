#include "tools/random_weights.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "quant/block.h"

namespace unicorn {
namespace {

// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): a counter in, 64 well-mixed bits out.
std::uint64_t mix(std::uint64_t z) {
  z += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

std::uint64_t key_of(std::uint64_t seed, std::string_view name) {
  std::uint64_t h = 0xcbf29ce484222325u;  // FNV-1a
  for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return mix(h ^ mix(seed));
}

// Variance 1, mean 0, within ±6: twelve 16-bit uniforms, four to a word.
float near_gaussian(std::uint64_t key, std::uint64_t index) {
  std::uint32_t sum = 0;
  for (std::uint64_t word = 0; word < 3; ++word) {
    const std::uint64_t bits = mix(key + 3 * index + word);
    sum += static_cast<std::uint32_t>((bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48));
  }
  return static_cast<float>(static_cast<std::int32_t>(sum) - 6 * 0xffff) * 0x1p-16f;
}

}  // namespace

RandomTensor::RandomTensor(std::uint64_t seed, std::string_view name, std::size_t n_rows, std::size_t k,
                           Distribution distribution, DType dtype)
    : key_(key_of(seed, name)) {
  const std::size_t unit = std::gcd(k, std::size_t{256});
  units_per_row_ = k / unit;
  unit_bytes_ = row_bytes(dtype, unit);
  n_pool_ = std::min(n_rows * units_per_row_, kPool / unit);
  pooled_ = n_pool_ < n_rows * units_per_row_;
  pool_.resize(n_pool_ * unit_bytes_);
  float values[256];
  for (std::size_t u = 0; u < n_pool_; ++u) {
    for (std::size_t i = 0; i < unit; ++i) {
      const float v = distribution.mean + distribution.std * near_gaussian(key_, u * unit + i);
      values[i] = bf16_to_f32(f32_to_bf16(v)) + distribution.add;
    }
    encode_row(dtype, values, pool_.data() + u * unit_bytes_, unit);
  }
}

void RandomTensor::read_row(std::size_t i, std::byte* out) const {
  for (std::size_t j = 0; j < units_per_row_; ++j) {
    const std::size_t place = i * units_per_row_ + j;
    const std::size_t u = pooled_ ? mix(~key_ + place) % n_pool_ : place;
    std::memcpy(out + j * unit_bytes_, pool_.data() + u * unit_bytes_, unit_bytes_);
  }
}

}  // namespace unicorn
