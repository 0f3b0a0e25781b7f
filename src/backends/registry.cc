#include "backends/registry.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>

#include "backends/reference/reference_backend.h"

namespace unicorn {
namespace {

constexpr std::array<std::string_view, 1> kNames = {"reference"};

}  // namespace

std::span<const std::string_view> backend_names() { return kNames; }

Result<std::unique_ptr<Backend>> create_backend(std::string_view name, const BackendOptions&) {
  if (name == "reference") return create_reference_backend();
  return Error{ErrorCode::not_found, fmt::format("device '{}' is not known; this build has {}", name, fmt::join(kNames, ", "))};
}

}  // namespace unicorn
