// WeightRef: one logical weight matrix, as parts of mapped files. Backends `prepare` it; nobody else reads it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor_view.h"

namespace unicorn {

enum class WeightUse : std::uint8_t {
  matmul,  // y = x · Wᵀ
  rows,    // looked up by token id, never multiplied (the PLE table)
  both,    // token embedding that is the output head too
  vector,  // f32[k], small: norms, coefficients, routers
};

struct WeightRef {
  std::string name;  // GGUF spelling, "blk.3.ffn_down"
  std::size_t n = 0, k = 0;
  // Stacked along rows (three AltUp projections of one matrix) or, for a table with dropped layers, along columns.
  std::vector<TensorView> parts;
  enum class Stack : std::uint8_t { rows, columns } stack = Stack::rows;
  WeightUse use = WeightUse::matmul;
  // What a product reads of it when the FFN's gate is sparse: few of its rows (up) or few of its columns (down). A hint
  // for the layout, which changes no result.
  enum class Sparse : std::uint8_t { no, rows, columns } sparse = Sparse::no;
  DType as = DType::f32;  // the dtype to run it in: the file's own, or what --weights asked for
  std::shared_ptr<const void> owner;  // keeps converted parts alive (vectors with "+1"); null for mapped parts

  // Scratch-free access for `prepare`: the bytes of row i in dtype `as` into out[row_bytes(as, k)].
  // Exact when the part already has that dtype; else decoded to f32 and encoded anew.
  void read_row(std::size_t i, std::byte* out) const;
  // Row i as f32[k], decoded from dtype `as` (that is, with the rounding `as` brings).
  void read_row_f32(std::size_t i, float* out) const;
  // Non-null when row i lies ready in the file in dtype `as`.
  const std::byte* row_in_place(std::size_t i) const;
  std::size_t row_bytes_as() const { return row_bytes(as, k); }
  std::size_t n_bytes() const { return n * row_bytes_as(); }
};

}  // namespace unicorn
