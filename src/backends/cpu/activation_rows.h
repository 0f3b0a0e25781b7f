// ActivationRows: the buffer behind ActivationView's int8 blocks, sized once for the largest batch.
//
//   ActivationView v = rows.view(x, ldx, m, k);       // the same in every thread
//   kernels.quantise_rows(v, slice.begin, slice.end); // rows split over threads; then a barrier
//   matmul(kernels, w, v, y, ldy, n_begin, n_end);
//
// Float weights need no quantise_rows: they read x itself, which must stay in place.
#pragma once

#include <memory>

#include "backends/cpu/kernel_table.h"

namespace unicorn::cpu {

class ActivationRows {
 public:
  ActivationRows() = default;
  // Room for any m ≤ max_rows with k ≤ max_k. n_bytes(...) tells the cost beforehand.
  ActivationRows(const KernelTable& kernels, std::size_t max_rows, std::size_t max_k);

  static std::size_t n_bytes(std::size_t max_rows, std::size_t max_k);

  // Precondition: m and k within the limits. Cannot fail; writes nothing.
  ActivationView view(const float* x, std::size_t ldx, std::size_t m, std::size_t k) const;

 private:
  struct Free {
    void operator()(ActivationBlock* p) const;
  };
  std::unique_ptr<ActivationBlock[], Free> blocks_;
  std::size_t max_blocks_ = 0;
  std::size_t tile_m_ = 1;
};

}  // namespace unicorn::cpu
