#include "plan/weight_ref.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "quant/block.h"

namespace unicorn {
namespace {

struct Place {
  const TensorView* view;
  std::size_t row;
};

Place place_of(const WeightRef& w, std::size_t i) {
  for (const TensorView& view : w.parts) {
    const std::size_t rows = view.shape.n_rows();
    if (i < rows) return {&view, i};
    i -= rows;
  }
  UNICORN_CHECK_MSG(false, w.name);
  return {};
}

}  // namespace

const std::byte* WeightRef::row_in_place(std::size_t i) const {
  UNICORN_CHECK(i < n);
  if (stack == Stack::columns && parts.size() > 1) return nullptr;
  const Place p = stack == Stack::rows ? place_of(*this, i) : Place{parts.data(), i};
  return p.view->dtype == as ? p.view->row(p.row) : nullptr;
}

void WeightRef::read_row(std::size_t i, std::byte* out) const {
  if (const std::byte* row = row_in_place(i)) {
    std::memcpy(out, row, row_bytes_as());
    return;
  }
  if (stack == Stack::columns) {
    // Each part holds whole blocks, so parts of the wanted dtype are copied side by side.
    const bool copies = std::all_of(parts.begin(), parts.end(), [&](const TensorView& v) { return v.dtype == as; });
    if (copies) {
      for (const TensorView& view : parts) {
        const std::size_t bytes = row_bytes(as, view.shape.k());
        std::memcpy(out, view.row(i), bytes);
        out += bytes;
      }
      return;
    }
  }
  std::vector<float> values(k);
  if (stack == Stack::columns) {
    float* at = values.data();
    for (const TensorView& view : parts) {
      decode_row(view.dtype, view.row(i), at, view.shape.k());
      at += view.shape.k();
    }
  } else {
    const Place p = place_of(*this, i);
    decode_row(p.view->dtype, p.view->row(p.row), values.data(), k);
  }
  encode_row(as, values.data(), out, k);
}

void WeightRef::read_row_f32(std::size_t i, float* out) const {
  if (const std::byte* row = row_in_place(i)) {
    decode_row(as, row, out, k);
    return;
  }
  std::vector<std::byte> bytes(row_bytes_as());
  read_row(i, bytes.data());
  decode_row(as, bytes.data(), out, k);
}

}  // namespace unicorn
