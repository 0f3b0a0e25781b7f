// WeightSource: canonical tensor names (GGUF's) → WeightRefs, whichever file format holds the tensors.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/tensor_table.h"
#include "model/config.h"
#include "plan/weight_ref.h"

namespace unicorn {

// Rows or columns [first, first + count) of a stored matrix.
struct WeightRange {
  std::size_t first = 0, count = 0;
};

enum class Naming : std::uint8_t { gguf, hugging_face };

class WeightSource {
 public:
  // `requested`: the dtype --weights asked for; nullopt runs every tensor in the file's own. `table` must outlive this.
  WeightSource(const TensorTable& table, Naming naming, std::optional<DType> requested);

  Naming naming() const { return naming_; }
  bool has(std::string_view name) const;

  // A matrix stored as [n, k]. Errors: not_found; corrupt_file (another shape), naming file, tensor, found, expected.
  Result<WeightRef> matrix(std::string_view name, std::size_t n, std::size_t k,
                           WeightUse use = WeightUse::matmul) const;
  // Row ranges, in order, of a stored [n, k]: MatFormer prefixes, kept layers.
  Result<WeightRef> matrix_rows(std::string_view name, std::size_t n, std::size_t k,
                                const std::vector<WeightRange>& ranges) const;
  // Column ranges of a stored [n, k]. Ranges must fall on block borders (corrupt_file / invalid_argument otherwise).
  Result<WeightRef> matrix_columns(std::string_view name, std::size_t n, std::size_t k,
                                   const std::vector<WeightRange>& ranges, WeightUse use) const;
  // Several matrices [n, k] of one stored tensor [count, n, k] (GGUF) or of `count` tensors name.0 … (Hugging Face).
  Result<WeightRef> stack(std::string_view name, std::size_t count, std::size_t n, std::size_t k) const;
  // A small vector or matrix of n values, as f32 and with `add` added to each.
  Result<WeightRef> vector(std::string_view name, std::size_t n, float add = 0.0f) const;

  // "blk.3.attn_q" → the file's own name; for messages and `inspect`.
  std::string file_name(std::string_view name) const;

 private:
  Result<const TensorEntry*> find(std::string_view name, const Shape& shape) const;
  DType run_dtype(std::string_view name, DType stored, std::size_t k) const;

  const TensorTable* table_;
  Naming naming_;
  std::optional<DType> requested_;
  std::string prefix_;  // of text tensors in a Hugging Face file
};

// The dtype a tensor is run in when the user asked for `requested`: what must keep its precision does (the rule that
// published GGUF files follow too: AltUp, Laurel and the PLE projection are never quantised, tables get ≥ 6 bits), and
// rows that do not divide into blocks fall back to q8_0, then bf16.
DType converted_dtype(std::string_view name, DType stored, std::size_t k, DType requested);

}  // namespace unicorn
