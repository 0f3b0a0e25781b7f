// What a weight file is to the rest of the house: a table of name → dtype, shape, bytes. No model knowledge here.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/mapped_file.h"
#include "core/tensor_view.h"

namespace unicorn {

struct TensorEntry {
  std::string name;
  TensorView view;   // into a mapped file kept alive by the table; every dimension is at least 1
  std::string file;  // where it lies, for messages
};

// Owns the mapped files its views point into. Names are unique (a duplicate is a corrupt file).
class TensorTable {
 public:
  const TensorEntry* find(std::string_view name) const;  // nullptr if absent
  const std::vector<TensorEntry>& entries() const { return entries_; }  // in file order

  std::size_t add_file(MappedFile file);  // keeps it mapped; returns its index
  Status add(TensorEntry entry);          // error: corrupt_file, on a duplicate name
  const std::vector<std::unique_ptr<MappedFile>>& files() const { return files_; }

 private:
  std::vector<std::unique_ptr<MappedFile>> files_;
  std::vector<TensorEntry> entries_;
  std::map<std::string, std::size_t, std::less<>> index_;
};

// Whether the rows may be read through pointers to the dtype's own elements or block structs. Always true for GGUF;
// a safetensors file may lay tensors anywhere (decode_row takes them as they are).
bool is_aligned(const TensorView& view);

}  // namespace unicorn
