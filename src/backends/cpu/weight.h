// CpuWeight: a weight as the CPU backend holds it.
//   matmul, both  packed for the matmul kernels; rows of `both` are decoded from the pack
//   rows          left in its file, which is advised that access is random
//   vector        f32
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "backends/cpu/packed_matrix.h"
#include "plan/backend.h"

namespace unicorn::cpu {

class CpuWeight final : public Weight {
 public:
  // Errors: those of PackedMatrix::pack.
  static Result<std::unique_ptr<CpuWeight>> prepare(const WeightRef& ref, ThreadPool& pool, const Progress& progress);

  static std::size_t resident_bytes(const WeightRef& ref);  // of what `prepare` would make of it
  std::size_t resident_bytes() const override;
  std::size_t n() const { return n_; }
  std::size_t k() const { return k_; }
  const std::string& name() const { return ref_.name; }
  WeightUse use() const { return ref_.use; }

  const PackedMatrix* packed() const { return packed_ ? &*packed_ : nullptr; }
  const float* vector() const { return vector_.empty() ? nullptr : vector_.data(); }

  // Row i as f32[k]. Precondition: use is rows or both, i < n.
  void row(std::size_t i, float* out) const;
  // Asks the system for the pages of row i, so that several rows' reads overlap. Nothing for what is in memory.
  void will_need_row(std::size_t i) const;
  // Unmaps what the rows read so far left mapped: with large pages in the file cache each row may map 2 MiB. The cache
  // keeps them. Nothing for what is in memory.
  void let_go_of_rows() const;

 private:
  WeightRef ref_;  // its parts only for `rows`
  std::size_t n_ = 0, k_ = 0;
  std::vector<std::span<const std::byte>> mapped_;  // the parts of `rows` that a file backs
  std::optional<PackedMatrix> packed_;
  std::vector<float> vector_;
};

}  // namespace unicorn::cpu
