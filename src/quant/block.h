// Block formats: how quantised rows are laid out, decoded and encoded (scalar, exact). The bit layouts are those of
// ggml (ggml-org/ggml, ggml-common.h); each format's own file draws its bytes.
#pragma once

#include <cstddef>
#include <span>

#include "core/dtype.h"
#include "core/result.h"

namespace unicorn {

// Decodes k elements of one row into f32. Precondition: k is a multiple of the dtype's block.
void decode_row(DType dtype, const std::byte* row, float* out, std::size_t k);

// Encodes k f32 into one row. Every dtype can be encoded; a non-finite input is encoded as if it were 0.
// `importance` is empty or k non-negative weights for the squared error. Precondition as above.
void encode_row(DType dtype, const float* in, std::byte* row, std::size_t k, std::span<const float> importance = {});

}  // namespace unicorn
