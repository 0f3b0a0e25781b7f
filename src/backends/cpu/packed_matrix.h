// PackedMatrix: a weight laid out for the matmul kernels, losslessly: decode_row gives back every weight exactly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "backends/cpu/kernel_table.h"
#include "core/result.h"
#include "core/thread_pool.h"
#include "plan/backend.h"
#include "plan/weight_ref.h"

namespace unicorn::cpu {

class PackedMatrix {
 public:
  // Packs `weight` (in dtype weight.as) with all members of the pool, and lets go of the source pages as it goes.
  // Every layout is there for every dtype. Errors: invalid_argument (k is no multiple of the dtype's block),
  // out_of_memory, cancelled (progress said no).
  static Result<PackedMatrix> pack(const WeightRef& weight, ThreadPool& pool, const Progress& progress = {},
                                   Layout layout = Layout::panels);

  static std::size_t packed_bytes(const WeightRef& weight, Layout layout);  // resident_bytes() of its pack

  std::size_t n() const { return view_.n; }
  std::size_t k() const { return view_.k; }
  DType dtype() const { return view_.dtype; }
  Layout layout() const { return view_.layout; }
  std::size_t resident_bytes() const { return n_bytes_; }
  const PackedView& view() const { return view_; }

  // Row i as f32[k], exact. For embedding look-ups of a table that is the output head too.
  void decode_row(std::size_t i, float* out) const;

 private:
  struct Unmap {
    std::size_t n_bytes;
    void operator()(std::uint8_t* p) const;
  };
  std::unique_ptr<std::uint8_t[], Unmap> data_{nullptr, Unmap{0}};
  std::size_t n_bytes_ = 0;
  PackedView view_{};
};

}  // namespace unicorn::cpu
