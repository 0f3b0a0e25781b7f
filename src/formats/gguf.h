// GGUF v2 and v3 (little-endian): metadata and tensors of one file or of a split set.
// Layout and ids: gguf specification, ggml-org/ggml docs/gguf.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "formats/tensor_table.h"

namespace unicorn {

// A metadata value. Arrays are kept flat by kind: of strings, of numbers (as written), of booleans; nested arrays
// are refused as unsupported.
using GgufValue = std::variant<std::uint64_t, std::int64_t, double, bool, std::string, std::vector<std::uint64_t>,
                               std::vector<std::int64_t>, std::vector<double>, std::vector<bool>, std::vector<std::string>>;

class GgufFile {
 public:
  // `path` is the file, or any part of a split set `…-00001-of-0000N.gguf` (the others are found beside it).
  // Errors name the file and the tensor or key; a file of any content must not crash this.
  static Result<GgufFile> open(const std::filesystem::path& path);

  const TensorTable& tensors() const { return tensors_; }
  TensorTable& tensors() { return tensors_; }
  const std::vector<std::pair<std::string, GgufValue>>& metadata() const { return metadata_; }
  std::uint32_t version() const { return version_; }

  // Typed look-ups. nullopt when the key is absent or of another kind; numbers convert between integer and float
  // kinds when the value is representable (mid-2025 files write some integers as floats).
  const GgufValue* find(std::string_view key) const;
  std::optional<std::uint64_t> get_uint(std::string_view key) const;
  std::optional<double> get_float(std::string_view key) const;
  std::optional<bool> get_bool(std::string_view key) const;
  std::optional<std::string_view> get_string(std::string_view key) const;
  std::optional<std::vector<double>> get_numbers(std::string_view key) const;  // an array of numbers or booleans
  const std::vector<std::string>* get_strings(std::string_view key) const;

 private:
  friend struct GgufReader;
  TensorTable tensors_;
  std::vector<std::pair<std::string, GgufValue>> metadata_;
  std::uint32_t version_ = 0;
};

}  // namespace unicorn
