// A tensor a writer is told of before its bytes come.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/tensor_view.h"

namespace unicorn {

struct TensorSpec {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
};

// Its size in bytes. Error: invalid_argument for what no reader would take (no name, a dimension of 0, rows that are no
// whole number of blocks, overflow); `file` begins the message.
Result<std::uint64_t> tensor_bytes(const TensorSpec& spec, const std::string& file);

// The same check for two tensors of one name.
Status check_unique_names(const std::vector<TensorSpec>& specs, const std::string& file);

}  // namespace unicorn
