// NumPy's .npy (format 1.0), the one shape we need: little-endian float32 [n_rows, width], C order.
// Format: numpy/lib/format.py.
#pragma once

#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "core/mapped_file.h"
#include "core/result.h"

namespace unicorn {

// Bytes of a header that leaves room for any size, so that it can be rewritten when more rows have come.
inline constexpr std::size_t kNpyHeaderBytes = 128;
std::string npy_header(std::size_t n_rows, std::size_t width);  // exactly kNpyHeaderBytes

// Writes rows as they come to a temporary beside `path`; finish() puts it in place. Without finish() nothing remains.
class NpyWriter {
 public:
  // Errors: io (not writable), invalid_argument (`path` exists and is no regular file).
  static Result<NpyWriter> create(const std::filesystem::path& path);
  NpyWriter(NpyWriter&&) noexcept;
  NpyWriter& operator=(NpyWriter&&) noexcept;
  ~NpyWriter();

  Status append(std::span<const float> values);  // whole rows
  Status finish(std::size_t width);              // error: io

 private:
  NpyWriter(std::filesystem::path path, std::filesystem::path temporary, std::FILE* file);
  Error error(std::string_view what) const;
  void discard();

  std::filesystem::path path_, temporary_;
  std::FILE* file_ = nullptr;
  std::size_t n_values_ = 0;
};

struct NpyMatrix {
  MappedFile file;  // keeps `values` alive
  std::size_t n_rows = 0, width = 0;
  std::span<const float> values;
};

// Errors: not_found, io, corrupt_file; unsupported (another element type, order or rank).
Result<NpyMatrix> read_npy(const std::filesystem::path& path);

}  // namespace unicorn
