// How much memory a model will take once it is loaded, and how much this process may still take.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <vector>

#include "engine/placement.h"

namespace unicorn {

struct MemoryNeed {
  std::size_t weights = 0, kv = 0, activations = 0;
  std::size_t total() const { return weights + kv + activations; }
};

// By each device's own way of holding weights and running a range; known before any tensor is read. A weight that two
// devices use is held twice. Precondition: `devices` has every device that `placement` names.
MemoryNeed memory_needed(const Plan& plan, const std::vector<PlacedRange>& placement, const Limits& limits,
                         const Devices& devices);

// Bytes the kernel would give without swapping (MemAvailable), within the limits of the process's cgroup and of those
// around it (v2; a container usually sees its own as the root). nullopt when unknown. `root` is where proc/ and sys/ lie.
std::optional<std::size_t> available_memory(const std::filesystem::path& root = "/");

}  // namespace unicorn
