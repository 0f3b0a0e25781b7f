#include "formats/tensor_spec.h"

#include <algorithm>
#include <vector>

#include "formats/text.h"

namespace unicorn {

Result<std::uint64_t> tensor_bytes(const TensorSpec& spec, const std::string& file) {
  constexpr auto kInvalid = ErrorCode::invalid_argument;
  if (spec.name.empty()) return file_error(kInvalid, file, "a tensor without a name cannot be written");
  if (!is_valid_utf8(spec.name))
    return file_error(kInvalid, file, "tensor {} has a name that is not valid UTF-8", printable(spec.name));
  const DTypeInfo& info = dtype_info(spec.dtype);
  if (spec.shape.k() % info.block != 0)
    return file_error(kInvalid, file, "tensor {} has rows of {} elements, expected a multiple of {} for {}",
                      printable(spec.name), spec.shape.k(), info.block, info.name);
  std::uint64_t size = 1;
  for (std::size_t d = 0; d < spec.shape.rank(); ++d) {
    const auto product = checked_mul(size, spec.shape[d]);
    if (spec.shape[d] == 0 || !product)
      return file_error(kInvalid, file, "tensor {} has shape {}, which no file can hold", printable(spec.name),
                        to_string(spec.shape));
    size = *product;
  }
  const auto total = checked_mul(size / info.block, info.block_bytes);
  if (!total)
    return file_error(kInvalid, file, "tensor {} has shape {}, which no file can hold", printable(spec.name),
                      to_string(spec.shape));
  return *total;
}

Status check_unique_names(const std::vector<TensorSpec>& specs, const std::string& file) {
  std::vector<std::string_view> names;
  names.reserve(specs.size());
  for (const TensorSpec& spec : specs) names.push_back(spec.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end())
    return file_error(ErrorCode::invalid_argument, file, "two tensors are named {}", printable(*twice));
  return Ok{};
}

}  // namespace unicorn
