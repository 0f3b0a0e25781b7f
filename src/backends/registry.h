// The compiled-in backends, best first. registry.cc alone names them: a list written by hand, because linkers drop
// statics that register themselves.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "plan/backend.h"

namespace unicorn {

struct BackendOptions {
  std::size_t n_threads = 0;  // of host backends; 0: one per physical core
};

std::span<const std::string_view> backend_names();

// Error: not_found (no such backend, naming those there are), unsupported (this machine lacks what it needs).
Result<std::unique_ptr<Backend>> create_backend(std::string_view name, const BackendOptions& options);

}  // namespace unicorn
