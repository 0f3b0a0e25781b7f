#include "engine/memory.h"

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <limits>
#include <string>

namespace unicorn {
namespace {

std::size_t read_number(const char* path) {  // 0: absent or "max"
  std::ifstream file(path);
  std::size_t value = 0;
  return file >> value ? value : 0;
}

}  // namespace

std::size_t available_memory() {
  std::size_t available = 0;
  std::ifstream meminfo("/proc/meminfo");
  std::string key, unit;
  std::size_t kib = 0;
  while (meminfo >> key >> kib) {
    std::getline(meminfo, unit);
    if (key == "MemAvailable:") available = kib * 1024;
  }
  if (const std::size_t limit = read_number("/sys/fs/cgroup/memory.max"); limit > 0) {
    // Of what the group uses, file pages can be dropped: a model that was just read is not in its own way.
    std::size_t used = read_number("/sys/fs/cgroup/memory.current"), file = 0, value = 0;
    std::ifstream stat("/sys/fs/cgroup/memory.stat");
    while (stat >> key >> value)
      if (key == "inactive_file" || key == "active_file") file += value;
    used -= std::min(used, file);
    available = std::min(available, limit > used ? limit - used : 0);
  }
  return available;
}

}  // namespace unicorn
