#include "core/dtype.h"

#include <array>

#include "core/check.h"

namespace unicorn {
namespace {

constexpr std::array<DTypeInfo, kNDTypes> kInfo = {{
    {"f32", 1, 4},
    {"f16", 1, 2},
    {"bf16", 1, 2},
    {"q4_0", 32, 18},
    {"q4_1", 32, 20},
    {"q5_0", 32, 22},
    {"q5_1", 32, 24},
    {"q8_0", 32, 34},
    {"q2_k", 256, 84},
    {"q3_k", 256, 110},
    {"q4_k", 256, 144},
    {"q5_k", 256, 176},
    {"q6_k", 256, 210},
    {"iq4_nl", 32, 18},
    {"iq4_xs", 256, 136},
    {"mxfp4", 32, 17},
}};

}  // namespace

const DTypeInfo& dtype_info(DType dtype) {
  const auto i = static_cast<std::size_t>(dtype);
  UNICORN_CHECK(i < kInfo.size());
  return kInfo[i];
}

std::optional<DType> dtype_from_name(std::string_view name) {
  for (std::size_t i = 0; i < kInfo.size(); ++i)
    if (kInfo[i].name == name) return static_cast<DType>(i);
  return std::nullopt;
}

std::size_t row_bytes(DType dtype, std::size_t k) {
  const DTypeInfo& info = dtype_info(dtype);
  UNICORN_CHECK(k % info.block == 0);
  return k / info.block * info.block_bytes;
}

}  // namespace unicorn
