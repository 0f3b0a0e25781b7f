// The numbers GGUF files call element types by (ggml-org/ggml, enum ggml_type).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/dtype.h"

namespace unicorn {

std::optional<DType> dtype_from_ggml(std::uint32_t id);  // nullopt: not one of ours
std::uint32_t ggml_from_dtype(DType dtype);
std::string ggml_type_name(std::uint32_t id);  // "IQ2_XXS (16)", "unknown (77)"

}  // namespace unicorn
