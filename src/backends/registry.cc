#include "backends/registry.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>

#include "backends/cpu/cpu_backend.h"
#include "backends/reference/reference_backend.h"

namespace unicorn {
namespace {

constexpr std::array<std::string_view, 2> kNames = {"cpu", "reference"};

}  // namespace

std::span<const std::string_view> backend_names() { return kNames; }

Result<std::unique_ptr<Backend>> create_backend(std::string_view name, const BackendOptions& options) {
  if (name == "cpu") return create_cpu_backend({options.n_threads, {}});
  if (name == "reference") return create_reference_backend();
  return Error{ErrorCode::not_found,
               fmt::format("device '{}' is not known; this build has {}", name, fmt::join(kNames, ", "))};
}

}  // namespace unicorn
