#include "formats/ggml_type.h"

#include <array>
#include <string_view>

#include "core/check.h"

namespace unicorn {
namespace {

// By id.
constexpr std::array<std::string_view, 42> kNames = {
    "F32",        "F16",        "Q4_0",       "Q4_1",  "Q4_2",     "Q4_3",     "Q5_0",     "Q5_1",    "Q8_0",
    "Q8_1",       "Q2_K",       "Q3_K",       "Q4_K",  "Q5_K",     "Q6_K",     "Q8_K",     "IQ2_XXS", "IQ2_XS",
    "IQ3_XXS",    "IQ1_S",      "IQ4_NL",     "IQ3_S", "IQ2_S",    "IQ4_XS",   "I8",       "I16",     "I32",
    "I64",        "F64",        "IQ1_M",      "BF16",  "Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",   "TQ2_0",
    "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4", "NVFP4",    "Q1_0"};

struct Pair {
  DType dtype;
  std::uint32_t id;
};
constexpr std::array<Pair, kNDTypes> kPairs = {{
    {DType::f32, 0},
    {DType::f16, 1},
    {DType::bf16, 30},
    {DType::q4_0, 2},
    {DType::q4_1, 3},
    {DType::q5_0, 6},
    {DType::q5_1, 7},
    {DType::q8_0, 8},
    {DType::q2_k, 10},
    {DType::q3_k, 11},
    {DType::q4_k, 12},
    {DType::q5_k, 13},
    {DType::q6_k, 14},
    {DType::iq4_nl, 20},
    {DType::iq4_xs, 23},
    {DType::mxfp4, 39},
}};

}  // namespace

std::optional<DType> dtype_from_ggml(std::uint32_t id) {
  for (const Pair& pair : kPairs)
    if (pair.id == id) return pair.dtype;
  return std::nullopt;
}

std::uint32_t ggml_from_dtype(DType dtype) {
  for (const Pair& pair : kPairs)
    if (pair.dtype == dtype) return pair.id;
  UNICORN_CHECK_MSG(false, dtype_name(dtype));
}

std::string ggml_type_name(std::uint32_t id) {
  const std::string_view name = id < kNames.size() ? kNames[id] : "unknown";
  return std::string(name) + " (" + std::to_string(id) + ")";
}

}  // namespace unicorn
