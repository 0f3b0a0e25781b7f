// Writes safetensors: one file, or a folder of shards with model.safetensors.index.json. The tensors' bytes are
// written as they come, so that the largest model needs little memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/output_file.h"
#include "formats/tensor_spec.h"

namespace unicorn {

class SafetensorsWriter {
 public:
  using Metadata = std::map<std::string, std::string>;

  // `tensors` says what will come, in this order; dtypes are f32, f16 and bf16.
  // Errors: invalid_argument (a tensor no file can hold, a name twice), io.
  static Result<SafetensorsWriter> create(const std::filesystem::path& path, std::vector<TensorSpec> tensors,
                                          const Metadata& metadata = {});

  // Shards model-00001-of-0000N.safetensors of at most `max_shard_bytes` of data each (a larger tensor has a shard of its
  // own) in `folder`, which exists, and their index. One shard, too, gets an index.
  static Result<SafetensorsWriter> create_sharded(const std::filesystem::path& folder, std::vector<TensorSpec> tensors,
                                                  std::uint64_t max_shard_bytes, const Metadata& metadata = {});

  // The next bytes of tensor `name`, in pieces of any size. Checked: `name` is the tensor whose turn it is, and the
  // piece does not exceed it. Error: io.
  Status append(std::string_view name, std::span<const std::byte> bytes);

  // Gives the last file its name and writes the index. Checked: all tensors are whole. A shard gets its name when it
  // is whole; destroyed without finish, the writer leaves those behind, but no index.
  Status finish();

 private:
  struct Shard {
    std::filesystem::path path;
    std::size_t begin, end;  // its tensors
  };

  SafetensorsWriter() = default;
  static Result<SafetensorsWriter> plan(std::vector<TensorSpec> tensors, const std::string& file);
  Status begin_shard();
  Status end_shard();

  std::vector<TensorSpec> tensors_;
  std::vector<std::uint64_t> sizes_;
  std::vector<Shard> shards_;
  Metadata metadata_;
  std::filesystem::path index_;  // empty: a single file
  std::optional<OutputFile> file_;
  std::size_t shard_ = 0, current_ = 0;
  std::uint64_t done_ = 0;  // bytes of the current tensor
};

}  // namespace unicorn
