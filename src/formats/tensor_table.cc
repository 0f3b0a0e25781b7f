#include "formats/tensor_table.h"

#include <cstdint>
#include <utility>

#include "formats/text.h"

namespace unicorn {

const TensorEntry* TensorTable::find(std::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &entries_[it->second];
}

std::size_t TensorTable::add_file(MappedFile file) {
  files_.push_back(std::make_unique<MappedFile>(std::move(file)));
  return files_.size() - 1;
}

Status TensorTable::add(TensorEntry entry) {
  const auto [it, is_new] = index_.try_emplace(entry.name, entries_.size());
  if (!is_new) {
    const std::string& other = entries_[it->second].file;
    return Error{ErrorCode::corrupt_file, entry.file + ": tensor " + printable(entry.name) + " occurs twice" +
                                              (other == entry.file ? std::string() : ", the first time in " + other)};
  }
  entries_.push_back(std::move(entry));
  return Ok{};
}

bool is_aligned(const TensorView& view) {
  std::size_t alignment = 2;  // f16, bf16, and the f16 scales of all block formats
  if (view.dtype == DType::f32) alignment = 4;
  if (view.dtype == DType::mxfp4) alignment = 1;
  return reinterpret_cast<std::uintptr_t>(view.data) % alignment == 0 && view.row_stride_bytes % alignment == 0;
}

}  // namespace unicorn
