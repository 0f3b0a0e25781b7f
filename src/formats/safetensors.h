// safetensors: u64 header size, JSON header, data. One file, or a folder's shards listed in
// model.safetensors.index.json. Format: huggingface/safetensors README.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "formats/tensor_table.h"

namespace unicorn {

class SafetensorsFile {
 public:
  // `path` is a .safetensors file, a *.index.json, or a folder holding either. Tensors of a dtype the engine has
  // no use for (I64, F8 …) are an error only when `find`-ed by somebody: they are listed in `skipped`.
  static Result<SafetensorsFile> open(const std::filesystem::path& path);

  const TensorTable& tensors() const { return tensors_; }
  TensorTable& tensors() { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // name → dtype as written, for tensors whose dtype is not one of ours
  const std::map<std::string, std::string>& skipped() const { return skipped_; }

 private:
  friend struct SafetensorsReader;
  TensorTable tensors_;
  std::map<std::string, std::string> metadata_;
  std::map<std::string, std::string> skipped_;
};

}  // namespace unicorn
