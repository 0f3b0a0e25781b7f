// Writes a GGUF v3 file: metadata first, then the tensors' bytes as they come, so that the largest file needs little
// memory. Used by the quantiser, the demo model's generator and tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/gguf.h"
#include "formats/output_file.h"
#include "formats/tensor_spec.h"

namespace unicorn {

// Keys and values in the order they were first set; setting a key again replaces its value. Keys are valid UTF-8,
// 1 to 65535 bytes (checked).
class GgufMetadata {
 public:
  void set_u32(std::string_view key, std::uint32_t value);
  void set_i32(std::string_view key, std::int32_t value);
  void set_u64(std::string_view key, std::uint64_t value);
  void set_f32(std::string_view key, float value);
  void set_bool(std::string_view key, bool value);
  void set_string(std::string_view key, std::string_view value);
  void set_u32s(std::string_view key, std::span<const std::uint32_t> values);
  void set_i32s(std::string_view key, std::span<const std::int32_t> values);
  void set_f32s(std::string_view key, std::span<const float> values);
  void set_bools(std::string_view key, const std::vector<bool>& values);
  void set_strings(std::string_view key, std::span<const std::string> values);
  void set_encoded(std::string_view key, const GgufEncoded& value);  // as another file holds it

  // All keys of `file`, byte for byte, but those that describe how its bytes lie (general.alignment, split.*).
  void copy_from(const GgufFile& file);

  bool remove(std::string_view key);  // whether it was there
  std::size_t size() const { return entries_.size(); }

 private:
  friend class GgufWriter;
  struct Entry {
    std::string key;
    GgufType type;
    std::vector<std::byte> bytes;
  };
  std::vector<std::byte>& slot(std::string_view key, GgufType type);
  template <class T>
  void set_numbers(std::string_view key, GgufType type, std::span<const T> values);

  std::vector<Entry> entries_;
};

class GgufWriter {
 public:
  static constexpr std::uint64_t kAlignment = 32;

  // Writes everything but the tensors' bytes. `tensors` says what will come, in this order.
  // Errors: invalid_argument (a tensor no file can hold, a name twice), io.
  static Result<GgufWriter> create(const std::filesystem::path& path, const GgufMetadata& metadata,
                                   std::vector<TensorSpec> tensors);

  // The next bytes of tensor `name`, in pieces of any size. Checked: `name` is the tensor whose turn it is, and the
  // piece does not exceed it. Error: io.
  Status append(std::string_view name, std::span<const std::byte> bytes);

  // Gives the file its name. Checked: all tensors are whole. Destroyed without it, the writer leaves nothing behind.
  Status finish();

 private:
  GgufWriter(OutputFile file, std::vector<TensorSpec> tensors, std::vector<std::uint64_t> sizes);
  Status pad();

  OutputFile file_;
  std::vector<TensorSpec> tensors_;
  std::vector<std::uint64_t> sizes_;
  std::size_t current_ = 0;
  std::uint64_t done_ = 0;  // bytes of the current tensor
};

}  // namespace unicorn
