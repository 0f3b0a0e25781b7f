#include "backends/cpu/weight.h"

#include <fmt/format.h>

#include <new>

#include "core/mapped_file.h"

namespace unicorn::cpu {
namespace {

Layout layout_of(const WeightRef& ref) {
  return ref.sparse == WeightRef::Sparse::rows      ? Layout::rows
         : ref.sparse == WeightRef::Sparse::columns ? Layout::columns
                                                    : Layout::panels;
}

}  // namespace

Result<std::unique_ptr<CpuWeight>> CpuWeight::prepare(const WeightRef& ref, ThreadPool& pool,
                                                      const Progress& progress) {
  auto weight = std::make_unique<CpuWeight>();
  weight->n_ = ref.n;
  weight->k_ = ref.k;
  weight->ref_ = ref;
  switch (ref.use) {
    case WeightUse::matmul:
    case WeightUse::both: {
      UNICORN_ASSIGN(weight->packed_, PackedMatrix::pack(ref, pool, progress, layout_of(ref)));
      weight->ref_.parts.clear();  // the pack is all we need: the file may be let go
      weight->ref_.owner.reset();
      return weight;
    }
    case WeightUse::rows:
      for (const TensorView& part : ref.parts) {
        const std::span<const std::byte> bytes = part.rows(0, part.shape.n_rows());
        advise(bytes, Advice::random_access);
        // Parts beside each other in the same rows span nearly the same bytes: once is enough.
        if (ref.stack == WeightRef::Stack::columns && !weight->mapped_.empty()) continue;
        if (is_file_mapping(bytes)) weight->mapped_.push_back(bytes);
      }
      if (progress && !progress(0)) return Error{ErrorCode::cancelled, "loading was cancelled"};
      return weight;
    case WeightUse::vector:
      try {
        weight->vector_.resize(ref.n * ref.k);
      } catch (const std::bad_alloc&) {
        return Error{ErrorCode::out_of_memory, fmt::format("cpu: no memory for '{}'", ref.name)};
      }
      for (std::size_t i = 0; i < ref.n; ++i) ref.read_row_f32(i, weight->vector_.data() + i * ref.k);
      weight->ref_.parts.clear();
      weight->ref_.owner.reset();
      if (progress && !progress(ref.n_bytes())) return Error{ErrorCode::cancelled, "loading was cancelled"};
      return weight;
  }
  UNICORN_CHECK(false);
  return weight;
}

std::size_t CpuWeight::resident_bytes(const WeightRef& ref) {
  switch (ref.use) {
    case WeightUse::matmul:
    case WeightUse::both:
      return PackedMatrix::packed_bytes(ref, layout_of(ref));
    case WeightUse::rows:
      return 0;
    case WeightUse::vector:
      return ref.n * ref.k * sizeof(float);
  }
  UNICORN_CHECK(false);
  return 0;
}

std::size_t CpuWeight::resident_bytes() const {
  return (packed_ ? packed_->resident_bytes() : 0) + vector_.size() * sizeof(float);
}

void CpuWeight::row(std::size_t i, float* out) const {
  if (packed_)
    packed_->decode_row(i, out);
  else
    ref_.read_row_f32(i, out);
}

void CpuWeight::will_need_row(std::size_t i) const {
  if (ref_.use != WeightUse::rows) return;
  const auto ask = [](const TensorView& part, std::size_t row) {
    advise({part.row(row), row_bytes(part.dtype, part.shape.k())}, Advice::will_need);
  };
  if (ref_.stack == WeightRef::Stack::columns) {
    for (const TensorView& part : ref_.parts) ask(part, i);
    return;
  }
  for (const TensorView& part : ref_.parts) {
    if (i < part.shape.n_rows()) return ask(part, i);
    i -= part.shape.n_rows();
  }
}

void CpuWeight::let_go_of_rows() const {
  for (const std::span<const std::byte> bytes : mapped_) advise(bytes, Advice::drop);
}

}  // namespace unicorn::cpu
