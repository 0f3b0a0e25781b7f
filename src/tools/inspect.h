// inspect: what a weight file says of itself, whether or not the engine could run it. Reads headers, never weights.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/result.h"
#include "model/config.h"

namespace unicorn {

struct Inspection {
  struct File {
    std::string path;
    std::uint64_t bytes = 0;
  };
  struct Tensor {
    std::string name, dtype;
    std::vector<std::size_t> shape;  // outermost first
    std::uint64_t bytes = 0, offset = 0;  // offset from the beginning of its file
    std::size_t file = 0;                 // index into files
    bool usable = true;  // false: a dtype the engine has no use for; only its name and dtype are known
  };
  struct Total {
    std::string dtype;
    std::size_t n_tensors = 0;
    std::uint64_t n_elements = 0, bytes = 0;
  };

  std::string path;
  std::string format;  // "GGUF v3", "safetensors"
  std::vector<File> files;
  Json metadata = Json::object();  // arrays of more than kArrayShown entries: {"n": …, "first": […]}
  std::vector<Tensor> tensors;  // in file order
  std::vector<Total> totals;  // by bytes, largest first
  std::optional<ModelConfig> config;
  std::string config_error;  // why there is none

  static constexpr std::size_t kArrayShown = 8;
};

// `path`: a GGUF file (any part of a split set), a .safetensors file or index, or a folder of either. What a file is
// is decided by its content, not its name. Errors: those of the formats.
Result<Inspection> inspect(const std::filesystem::path& path);

Json config_to_json(const ModelConfig& config);

}  // namespace unicorn
