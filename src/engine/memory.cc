#include "engine/memory.h"

#include <algorithm>
#include <fstream>
#include <string>

namespace unicorn {
namespace {

namespace fs = std::filesystem;

std::optional<std::size_t> read_number(const fs::path& path) {  // nullopt: absent or "max"
  std::ifstream file(path);
  std::size_t value = 0;
  return file >> value ? std::optional(value) : std::nullopt;
}

// The v2 group of this process below the mount, from the line "0::/a/b": "a/b". Empty: the root, or no v2 hierarchy.
fs::path own_group(const fs::path& root) {
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("0::/")) return fs::path(line.substr(4)).relative_path();
  return {};
}

// What a group may still take; nullopt when it has no limit itself.
std::optional<std::size_t> room_in(const fs::path& group) {
  const std::optional<std::size_t> limit = read_number(group / "memory.max");
  if (!limit) return std::nullopt;
  // Of what the group uses, file pages can be dropped: a model that was just read is not in its own way.
  const std::size_t used = read_number(group / "memory.current").value_or(0);
  std::ifstream stat(group / "memory.stat");
  std::string key;
  std::size_t file = 0, value = 0;
  while (stat >> key >> value)
    if (key == "inactive_file" || key == "active_file") file += value;
  const std::size_t kept = used - std::min(used, file);
  return *limit > kept ? *limit - kept : 0;
}

}  // namespace

MemoryNeed memory_needed(const Plan& plan, const std::vector<PlacedRange>& placement, const Limits& limits,
                         const Devices& devices) {
  MemoryNeed need;
  std::map<std::string, std::vector<bool>, std::less<>> taken;  // by device, by WeightId
  for (const PlacedRange& p : placement) {
    const Backend& device = *devices.at(p.device);
    std::vector<bool>& weights = taken[p.device];
    weights.resize(plan.weights.size());
    for (std::uint32_t s = p.range.begin; s < p.range.end; ++s)
      for (WeightId id : access(plan.steps[s]).weights) {
        if (weights[index(id)]) continue;
        weights[index(id)] = true;
        need.weights += device.resident_bytes(plan.weights[index(id)]);
      }
    if (const auto claim = claim_over(device, plan, p.range, limits)) need.activations += claim->program_bytes;
  }
  for (const KvLayer& layer : plan.kv_layers) need.kv += limits.kv_blocks[layer.group] * kv_block_bytes(layer, limits);
  // A tensor is shared by the ranges that touch it, or private to one: held once either way.
  for (const TensorInfo& t : plan.tensors)
    need.activations +=
        std::size_t{t.rows == Rows::all ? limits.max_rows : limits.max_output_rows} * t.width * sizeof(float);
  return need;
}

std::optional<std::size_t> available_memory(const fs::path& root) {
  std::optional<std::size_t> available;
  std::ifstream meminfo(root / "proc/meminfo");
  std::string key, unit;
  std::size_t kib = 0;
  while (meminfo >> key >> kib) {
    std::getline(meminfo, unit);
    if (key == "MemAvailable:") available = kib * 1024;
  }
  // A limit binds everything below it: the own group's, its parent's, … the mount's.
  const fs::path mount = root / "sys/fs/cgroup";
  fs::path group = own_group(root);
  for (;;) {
    if (const auto room = room_in(mount / group)) available = std::min(available.value_or(*room), *room);
    if (group.empty()) return available;
    group = group.parent_path();
  }
}

}  // namespace unicorn
