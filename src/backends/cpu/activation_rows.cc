#include "backends/cpu/activation_rows.h"

#include <new>

#include "core/check.h"

namespace unicorn::cpu {
namespace {

constexpr std::size_t kAlignment = 64;

// Whole K-quant blocks for every dtype's unit, so that kernels need no tail: the rest is zeros.
std::size_t padded_blocks(std::size_t k) { return (k + 255) / 256 * 8; }

}  // namespace

void ActivationRows::Free::operator()(ActivationBlock* p) const {
  ::operator delete[](static_cast<void*>(p), std::align_val_t{kAlignment});
}

std::size_t ActivationRows::n_bytes(std::size_t max_rows, std::size_t max_k) {
  return max_rows * padded_blocks(max_k) * sizeof(ActivationBlock);
}

ActivationRows::ActivationRows(const KernelTable& kernels, std::size_t max_rows, std::size_t max_k)
    : max_blocks_(max_rows * padded_blocks(max_k)), tile_m_(kernels.tile_m) {
  void* memory = ::operator new[](max_blocks_ * sizeof(ActivationBlock), std::align_val_t{kAlignment});
  blocks_.reset(static_cast<ActivationBlock*>(memory));
}

ActivationView ActivationRows::view(const float* x, std::size_t ldx, std::size_t m, std::size_t k) const {
  const std::size_t n_blocks = padded_blocks(k);
  UNICORN_CHECK(m * n_blocks <= max_blocks_);
  return {m, k, x, ldx, blocks_.get(), n_blocks, tile_m_};
}

}  // namespace unicorn::cpu
