// ModelFiles: everything a MODEL argument leads to — tensors, config and vocabulary — opened, not yet read.
#pragma once

#include <filesystem>
#include <optional>
#include <variant>

#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "model/config.h"
#include "model/weight_source.h"
#include "text/tokenizer.h"

namespace unicorn {

struct ModelFiles {
  std::filesystem::path path;
  std::variant<SafetensorsFile, GgufFile> tensors;
  ModelConfig config;  // of the whole file, before a slice is chosen

  bool is_gguf() const { return std::holds_alternative<GgufFile>(tensors); }
  const TensorTable& table() const;
  Naming naming() const { return is_gguf() ? Naming::gguf : Naming::hugging_face; }

  // `path`: a .gguf file, a .safetensors file or index with config.json beside it, or a folder holding either.
  // Errors name the file, and the tensor or field.
  static Result<ModelFiles> open(const std::filesystem::path& path);
};

// The vocabulary that came with a model; nullopt when there is none (ids still work).
Result<std::optional<Vocab>> load_vocab(const ModelFiles& files);

// The tokenizer of a model (any MODEL path) or of a bare tokenizer.json, without touching weights.
Result<Tokenizer> load_tokenizer(const std::filesystem::path& path);

}  // namespace unicorn
