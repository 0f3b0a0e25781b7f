// KV rows between f32 and the cache's dtype (f32, f16, bf16, q8_0).
//   kv_load   n values → f32[n]; q8_0: whole blocks
//   kv_store  f32[n] → f32, f16 or bf16, rounded to nearest even. Values beyond f16's range are stored as its largest:
//             an infinity in the cache would turn the zero weight of a masked position into a NaN for its neighbours.
//             (q8_0 is encoded by quant/.)
#pragma once

namespace unicorn::cpu::UNICORN_CPU_ISA {
namespace {

inline constexpr float kLargestF16 = 65504.0f;
inline constexpr std::size_t kQ8Block = 32, kQ8BlockBytes = 34;  // { f16 scale; i8 q[32] }

UNICORN_INLINE float f16_bits(const std::byte* p) {
  std::uint16_t bits[kLanes] = {};
  __builtin_memcpy(bits, p, 2);
  float out[kLanes];
  store(out, load_f16(bits));
  return out[0];
}

template <class Load>
UNICORN_INLINE void load_16bit(const std::byte* in, float* out, std::size_t n, Load load_lanes) {
  const auto* p = reinterpret_cast<const std::uint16_t*>(in);
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, load_lanes(p + i));
  if (i < n) {
    std::uint16_t rest[kLanes] = {};
    __builtin_memcpy(rest, p + i, (n - i) * sizeof(std::uint16_t));
    store(out + i, load_lanes(rest), Part{n - i});
  }
}

void kv_load(DType dtype, const std::byte* in, float* out, std::size_t n) {
  switch (dtype) {
    case DType::f16:
      load_16bit(in, out, n, [](const std::uint16_t* p) { return load_f16(p); });
      return;
    case DType::bf16:
      load_16bit(in, out, n, [](const std::uint16_t* p) { return load_bf16(p); });
      return;
    case DType::q8_0:
      for (std::size_t b = 0; b < n / kQ8Block; ++b) {
        const std::byte* block = in + b * kQ8BlockBytes;
        const Vec scale = set1(f16_bits(block));
        for (std::size_t i = 0; i < kQ8Block; i += kLanes)
          store(out + b * kQ8Block + i, load_i8(reinterpret_cast<const std::int8_t*>(block + 2) + i) * scale);
      }
      return;
    default:
      __builtin_memcpy(out, in, n * sizeof(float));
      return;
  }
}

void kv_store(DType dtype, const float* in, std::byte* out, std::size_t n) {
  if (dtype == DType::f32) {
    __builtin_memcpy(out, in, n * sizeof(float));
    return;
  }
  auto* p = reinterpret_cast<std::uint16_t*>(out);
  if (dtype == DType::bf16) {
    for (std::size_t i = 0; i < n; ++i) p[i] = f32_to_bf16(in[i]);
    return;
  }
  const Vec top = set1(kLargestF16), bottom = set1(-kLargestF16);
  for_lanes(n, [=](std::size_t i, auto t) {
    const Vec v = max(bottom, min(top, load(in + i, t)));
    if constexpr (__is_same(decltype(t), Whole)) {
      store_f16(p + i, v);
    } else {
      std::uint16_t rest[kLanes];
      store_f16(rest, v);
      __builtin_memcpy(p + i, rest, t.n * sizeof(std::uint16_t));
    }
  });
}

}  // namespace
}  // namespace unicorn::cpu::UNICORN_CPU_ISA
