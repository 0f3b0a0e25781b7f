// f32, f16, bf16: a "block" is one element.
#include <cstdint>
#include <cstring>

#include "core/dtype.h"
#include "quant/codecs.h"

namespace unicorn::quant {
namespace {

// The rows may be unaligned, and loops over memcpy of two bytes do not vectorise; loops over a packed struct do.
struct [[gnu::packed, gnu::may_alias]] Unaligned16 {
  std::uint16_t bits;
};

// `bits` of an f32, made finite: infinity and NaN become 0, magnitudes above `largest` (bits too) become it, since a
// weight of 7e4 is better told as f16's 65504 than as infinity.
std::uint32_t saturate(std::uint32_t bits, std::uint32_t largest) {
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  const std::uint32_t clamped = magnitude > largest ? largest : magnitude;
  return magnitude >= 0x7f800000u ? 0u : clamped | (bits & 0x80000000u);
}
float saturate(float v, float largest) {
  return __builtin_bit_cast(float,
                            saturate(__builtin_bit_cast(std::uint32_t, v), __builtin_bit_cast(std::uint32_t, largest)));
}

}  // namespace

void decode_f32(const std::byte* row, float* out, std::size_t n) noexcept {
  if (n > 0) std::memcpy(out, row, n * sizeof(float));
}
void encode_f32(const float* in, std::byte* row, std::size_t n, const float*) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    const float v = saturate(in[i], 0x1.fffffep127f);
    std::memcpy(row + i * sizeof v, &v, sizeof v);
  }
}

void decode_f16(const std::byte* row, float* out, std::size_t n) noexcept {
  const auto* p = reinterpret_cast<const Unaligned16*>(row);
  for (std::size_t i = 0; i < n; ++i) out[i] = f16_to_f32(p[i].bits);
}
void encode_f16(const float* in, std::byte* row, std::size_t n, const float*) noexcept {
  auto* p = reinterpret_cast<Unaligned16*>(row);
  for (std::size_t i = 0; i < n; ++i) p[i].bits = f32_to_f16(saturate(in[i], 65504.0f));
}

void decode_bf16(const std::byte* row, float* out, std::size_t n) noexcept {
  const auto* p = reinterpret_cast<const Unaligned16*>(row);
  for (std::size_t i = 0; i < n; ++i) out[i] = bf16_to_f32(p[i].bits);
}
void encode_bf16(const float* in, std::byte* row, std::size_t n, const float*) noexcept {
  auto* p = reinterpret_cast<Unaligned16*>(row);
  for (std::size_t i = 0; i < n; ++i) p[i].bits = f32_to_bf16(saturate(in[i], 0x1.fep127f));
}

}  // namespace unicorn::quant
