// safetensors: u64 header size, JSON header, data. One file, or a folder's shards listed in
// model.safetensors.index.json. Format: huggingface/safetensors README.
//
// The format promises no alignment: a tensor's data may begin at any byte, also an odd one. is_aligned (tensor_table.h)
// tells; decode_row (quant/block.h) reads either.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>

#include "formats/tensor_table.h"

namespace unicorn {

class SafetensorsFile {
 public:
  // `path` is a .safetensors file, a *.index.json, or a folder holding either (model.safetensors, then
  // model.safetensors.index.json, then the only *.safetensors there). Tensors of a dtype the engine has no use for
  // (I64, F8 …) are an error only when `find`-ed by somebody: they are listed in `skipped`. With an index, tensors it
  // does not list are left out.
  //   not_found     the file, a shard, no weights in the folder
  //   corrupt_file  everything that contradicts the format: see safetensors_test.cc for the list
  //   unsupported   a header or index above 100 MB
  //   out_of_memory
  static Result<SafetensorsFile> open(const std::filesystem::path& path);

  // The same for one whole file already in memory; `name` stands for it in messages. Views point into `bytes`, which
  // must outlive the result.
  static Result<SafetensorsFile> parse(std::span<const std::byte> bytes, const std::string& name);

  const TensorTable& tensors() const { return tensors_; }
  TensorTable& tensors() { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }  // __metadata__, of all shards
  // name → dtype as written, for tensors whose dtype is not one of ours
  const std::map<std::string, std::string>& skipped() const { return skipped_; }

 private:
  friend struct SafetensorsReader;
  TensorTable tensors_;
  std::map<std::string, std::string> metadata_;
  std::map<std::string, std::string> skipped_;
};

}  // namespace unicorn
