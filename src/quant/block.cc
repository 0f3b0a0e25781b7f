#include "quant/block.h"

#include <array>

#include "core/check.h"
#include "quant/codecs.h"

namespace unicorn {
namespace {

struct Codec {
  void (*decode)(const std::byte*, float*, std::size_t) noexcept;
  void (*encode)(const float*, std::byte*, std::size_t, const float*) noexcept;
};

#define UNICORN_ENTRY(name) {quant::decode_##name, quant::encode_##name}
constexpr std::array<Codec, kNDTypes> kCodecs = {{
                                                    // in the order of DType
    UNICORN_ENTRY(f32),
    UNICORN_ENTRY(f16),
    UNICORN_ENTRY(bf16),
    UNICORN_ENTRY(q4_0),
    UNICORN_ENTRY(q4_1),
    UNICORN_ENTRY(q5_0),
    UNICORN_ENTRY(q5_1),
    UNICORN_ENTRY(q8_0),
    UNICORN_ENTRY(q2_k),
    UNICORN_ENTRY(q3_k),
    UNICORN_ENTRY(q4_k),
    UNICORN_ENTRY(q5_k),
    UNICORN_ENTRY(q6_k),
    UNICORN_ENTRY(iq4_nl),
    UNICORN_ENTRY(iq4_xs),
    UNICORN_ENTRY(mxfp4),
}};
#undef UNICORN_ENTRY

const Codec& codec(DType dtype) {
  const auto i = static_cast<std::size_t>(dtype);
  UNICORN_CHECK(i < kCodecs.size());
  return kCodecs[i];
}

}  // namespace

void decode_row(DType dtype, const std::byte* row, float* out, std::size_t k) {
  const std::size_t block = dtype_info(dtype).block;
  UNICORN_CHECK(k % block == 0);
  codec(dtype).decode(row, out, k / block);
}

void encode_row(DType dtype, const float* in, std::byte* row, std::size_t k, std::span<const float> importance) {
  const std::size_t block = dtype_info(dtype).block;
  UNICORN_CHECK(k % block == 0);
  UNICORN_CHECK(importance.empty() || importance.size() == k);
  codec(dtype).encode(in, row, k / block, importance.empty() ? nullptr : importance.data());
}

}  // namespace unicorn
