// A file mapped read-only. Pages are read when touched; nothing is prefetched unless asked for.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include "core/result.h"

namespace unicorn {

class MappedFile {
 public:
  // Errors: not_found, io (a directory, no permission, mmap refused). An empty file maps to an empty span.
  static Result<MappedFile> open(const std::filesystem::path& path);

  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::string path_;
};

// Advice on a range of any read-only file mapping; the range is widened to whole pages for `random_access` and
// narrowed for `drop`, so that a neighbour's pages are never dropped. Advice cannot fail, it may be ignored.
// `drop` is for ranges that is_file_mapping: memory of a program's own would come back as zeros.
enum class Advice { sequential, random_access, will_need, drop };
void advise(std::span<const std::byte> range, Advice advice);

// Is all of the range a read-only mapping of a file? Reads the system's list of mappings: not for every row.
bool is_file_mapping(std::span<const std::byte> range);

// Writes `bytes` to a temporary beside `path`, then renames: the old file is there until the new one is whole.
Status write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes);

}  // namespace unicorn
