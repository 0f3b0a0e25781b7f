// DType: how the elements of a tensor are stored. Quantised types store `block` consecutive elements of a row
// (the contiguous dimension) in `block_bytes` bytes; quant/ knows the bits inside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace unicorn {

enum class DType : std::uint8_t {
  f32,
  f16,
  bf16,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  iq4_nl,
  iq4_xs,
  mxfp4,
};
inline constexpr std::size_t kNDTypes = 16;

struct DTypeInfo {
  std::string_view name;      // as on the command line: "q4_0", "bf16"
  std::uint32_t block;        // elements per block; 1 for plain types
  std::uint32_t block_bytes;  // bytes per block
};

const DTypeInfo& dtype_info(DType dtype);
inline std::string_view dtype_name(DType dtype) { return dtype_info(dtype).name; }
std::optional<DType> dtype_from_name(std::string_view name);

inline bool is_quantised(DType dtype) { return dtype_info(dtype).block > 1; }

// Bytes of k contiguous elements. Precondition: k is a multiple of the block.
std::size_t row_bytes(DType dtype, std::size_t k);

// The 16-bit conversions are bit arithmetic without branches: exact on every machine, free of library calls, and the
// compiler vectorises a loop over them. Forced inline, so that files built for one instruction set stay self-contained.
//
//   f16   s eeeee mmmmmmmmmm                 value 1.m · 2^(e − 15), e = 0: 0.m · 2^−14, e = 31: infinity or NaN
//   f32   s eeeeeeee mmmmmmmmmm0000000000000 value 1.m · 2^(e − 127)
//   bf16  s eeeeeeee mmmmmmm                 the top half of an f32
[[gnu::always_inline]] inline float f16_to_f32(std::uint16_t bits) noexcept {
  const std::uint32_t magnitude = bits & 0x7fffu;
  const std::uint32_t rebias = 112u << 23;  // 127 − 15
  const std::uint32_t normal = (magnitude << 13) + rebias + (magnitude >= 0x7c00u ? rebias : 0u);
  const float denormal = static_cast<float>(static_cast<std::int32_t>(magnitude)) * 0x1p-24f;  // exact
  const std::uint32_t small = 0u - static_cast<std::uint32_t>(magnitude < 0x0400u);  // a mask: g++ 12 branches on `? :`
  const std::uint32_t value = (__builtin_bit_cast(std::uint32_t, denormal) & small) | (normal & ~small);
  return __builtin_bit_cast(float, value | (bits & 0x8000u) << 16);
}

// Round to nearest even; overflow becomes infinity; a NaN stays a quiet NaN.
[[gnu::always_inline]] inline std::uint16_t f32_to_f16(float value) noexcept {
  const auto bits = __builtin_bit_cast(std::uint32_t, value);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  // Adding 0.5 puts the last bit of a small value at 2^−24, the step of f16's denormals: the addition rounds.
  const float shifted = __builtin_bit_cast(float, magnitude) + 0.5f;
  const std::uint32_t denormal = __builtin_bit_cast(std::uint32_t, shifted) - 0x3f000000u;
  const std::uint32_t normal = (magnitude - (112u << 23) + 0x0fffu + ((magnitude >> 13) & 1u)) >> 13;
  const std::uint32_t nan = 0x7e00u | ((magnitude >> 13) & 0x03ffu);
  const std::uint32_t small = 0u - static_cast<std::uint32_t>(magnitude < 0x38800000u);  // 2^−14
  std::uint32_t half = (denormal & small) | (normal & ~small);
  half = magnitude >= 0x477ff000u ? 0x7c00u : half;  // 65520 and above
  half = magnitude > 0x7f800000u ? nan : half;
  return static_cast<std::uint16_t>(half | (bits >> 16 & 0x8000u));
}

[[gnu::always_inline]] inline float bf16_to_f32(std::uint16_t bits) noexcept {
  return __builtin_bit_cast(float, static_cast<std::uint32_t>(bits) << 16);
}

// Round to nearest even; a NaN stays a quiet NaN.
[[gnu::always_inline]] inline std::uint16_t f32_to_bf16(float value) noexcept {
  const auto bits = __builtin_bit_cast(std::uint32_t, value);
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const std::uint32_t nan = (bits >> 16) | 0x0040u;
  return static_cast<std::uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}

}  // namespace unicorn
