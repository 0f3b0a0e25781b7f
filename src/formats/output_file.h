// A file written front to back into a temporary beside it, which takes its name when whole: whoever has the old file
// open or mapped keeps it, and a reader never sees a half-written one. Needs no more memory than its buffer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/result.h"

namespace unicorn {

class OutputFile {
 public:
  // Errors of all three: io (no permission, disk full).
  static Result<OutputFile> create(const std::filesystem::path& path);
  Status write(std::span<const std::byte> bytes);
  Status commit();  // the last call

  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();  // without commit: removes the temporary

  const std::filesystem::path& path() const { return path_; }
  std::uint64_t size() const { return size_; }  // bytes written so far

 private:
  OutputFile() = default;
  Status flush();
  Status write_through(std::span<const std::byte> bytes);

  std::filesystem::path path_, temporary_;
  int fd_ = -1;
  std::uint64_t size_ = 0;
  std::vector<std::byte> buffer_;
};

}  // namespace unicorn
