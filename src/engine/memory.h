// How much memory this process may still take.
#pragma once

#include <cstddef>

namespace unicorn {

// Bytes the kernel would give without swapping (MemAvailable), within the process's cgroup; 0 when unknown.
std::size_t available_memory();

}  // namespace unicorn
