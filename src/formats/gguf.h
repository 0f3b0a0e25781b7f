// GGUF v2 and v3 (little-endian): metadata and tensors of one file or of a split set.
// Layout and ids: gguf specification, ggml-org/ggml docs/gguf.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "formats/tensor_table.h"

namespace unicorn {

// A metadata value. Arrays are kept flat by kind: of strings, of numbers (as written), of booleans; nested arrays
// are refused as unsupported.
using GgufValue =
    std::variant<std::uint64_t, std::int64_t, double, bool, std::string, std::vector<std::uint64_t>,
                 std::vector<std::int64_t>, std::vector<double>, std::vector<bool>, std::vector<std::string>>;

// How a value is written; the numbers are the format's.
enum class GgufType : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

// A value's own bytes (after its type), for copying metadata from file to file unchanged.
struct GgufEncoded {
  GgufType type;
  std::span<const std::byte> bytes;
};

class GgufFile {
 public:
  // `path` is the file, or any part of a split set `…-00001-of-0000N.gguf` (the others are found beside it).
  // Errors name the file and the tensor or key; a file of any content must not crash this.
  //   not_found     the file, or a part of its set
  //   unsupported   version 1, big-endian, nested arrays, tensor types we have no dtype for
  //   corrupt_file  everything that contradicts the format: see gguf_test.cc for the list
  //   out_of_memory
  static Result<GgufFile> open(const std::filesystem::path& path);

  // The same for one whole file already in memory; `name` stands for it in messages. Views and encoded values point
  // into `bytes`, which must outlive the result and be 8-byte aligned. A part of a split set is refused.
  static Result<GgufFile> parse(std::span<const std::byte> bytes, const std::string& name);

  const TensorTable& tensors() const { return tensors_; }
  TensorTable& tensors() { return tensors_; }
  const std::vector<std::pair<std::string, GgufValue>>& metadata() const {
    return metadata_;
  }  // of a set: its first part's
  std::uint32_t version() const { return version_; }

  // Typed look-ups. nullopt when the key is absent or of another kind; numbers convert between integer and float
  // kinds when the value is representable (mid-2025 files write some integers as floats). Strings may hold any bytes.
  const GgufValue* find(std::string_view key) const;
  std::optional<std::uint64_t> get_uint(std::string_view key) const;
  std::optional<double> get_float(std::string_view key) const;
  std::optional<bool> get_bool(std::string_view key) const;
  std::optional<std::string_view> get_string(std::string_view key) const;
  std::optional<std::vector<double>> get_numbers(std::string_view key) const;  // an array of numbers or booleans
  const std::vector<std::string>* get_strings(std::string_view key) const;
  const GgufEncoded* encoded(std::string_view key) const;  // nullptr when absent

 private:
  friend struct GgufReader;
  std::optional<std::size_t> index_of(std::string_view key) const;

  TensorTable tensors_;
  std::vector<std::pair<std::string, GgufValue>> metadata_;
  std::vector<GgufEncoded> encoded_;  // one per metadata entry
  std::uint32_t version_ = 0;
};

}  // namespace unicorn
