#include "backends/cpu/host_buffer.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

namespace unicorn::cpu {
namespace {

constexpr std::size_t kLarge = std::size_t{1} << 20;
constexpr std::size_t kAlignment = 64;

}  // namespace

void HostMemory::Release::operator()(std::byte* p) const {
  if (n_bytes >= kLarge)
    ::munmap(p, n_bytes);
  else
    std::free(p);
}

Result<HostMemory> HostMemory::allocate(std::size_t n_bytes) {
  const auto refused = [&] {
    return Error{ErrorCode::out_of_memory,
                 fmt::format("cpu: no memory for {:.1f} MB", static_cast<double>(n_bytes) / 1e6)};
  };
  HostMemory memory;
  if (n_bytes >= kLarge) {
    void* p = ::mmap(nullptr, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return refused();
    static_cast<void>(::madvise(p, n_bytes, MADV_HUGEPAGE));
    memory.data_ = std::unique_ptr<std::byte, Release>(static_cast<std::byte*>(p), Release(n_bytes));
    return memory;
  }
  const std::size_t rounded = (n_bytes + kAlignment - 1) / kAlignment * kAlignment;
  void* p = std::aligned_alloc(kAlignment, rounded == 0 ? kAlignment : rounded);
  if (p == nullptr) return refused();
  std::memset(p, 0, rounded);
  memory.data_ = std::unique_ptr<std::byte, Release>(static_cast<std::byte*>(p), Release(n_bytes));
  return memory;
}

}  // namespace unicorn::cpu
