// Writes models of full size with random weights: what loaders, memory limits and speed are tried on where published
// weights are not to be had. Sizes, names, types and metadata are those of published files; the text is noise.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "core/result.h"
#include "model/config.h"

namespace unicorn {

// The shapes there are: e2b, e4b (Gemma 3n), gemma3-270m, gemma3-1b, gemma3-4b, and `tiny`, a Gemma 3n of a few MB that
// llama.cpp loads too. Error: invalid_argument, naming them.
Result<ModelConfig> shape_config(std::string_view shape);

enum class ModelFormat : std::uint8_t { gguf, safetensors };

struct GenerateModelOptions {
  std::string shape = "e2b";
  ModelFormat format = ModelFormat::gguf;
  std::string type = "q4_0";  // of file_type_from_name; safetensors: f32, f16 or bf16
  std::uint64_t seed = 1;
  std::filesystem::path tokenizer;  // a tokenizer.json; empty: a file without a tokenizer, for ids alone
  bool towers = false;  // safetensors: small vision and audio towers, which a text engine skips
  std::size_t n_shards = 1;  // safetensors
  std::filesystem::path out;  // the .gguf, or the folder
  std::size_t n_threads = 0;  // 0: one per core
  // Called with the fraction written; returns false to give up (ErrorCode::cancelled). Nothing is left behind then.
  std::function<bool(double fraction)> progress;
};

struct GeneratedModel {
  std::uint64_t n_parameters = 0;  // of the text model
  std::uint64_t n_bytes = 0;  // of all files
  std::size_t n_tensors = 0;
};

// The same seed gives the same weights in every format and type: values are rounded to bf16 before anything else.
// Their spread keeps activations near 1 through all layers, logits within ±15 or so, and gates near Gaussian, so that
// the 95 % cut of a sparse layer leaves 4 to 6 % of its rows.
// Errors: invalid_argument; io, also when the disk has too little room (said before anything is written).
Result<GeneratedModel> generate_model(const GenerateModelOptions& options);

}  // namespace unicorn
