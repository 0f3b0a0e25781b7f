// Any model the engine reads → one GGUF file, in the file's own types or another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "core/result.h"

namespace unicorn {

struct ConvertModelOptions {
  std::filesystem::path model;  // as ModelFiles::open takes it
  std::string type;             // of file_type_from_name; empty: every matrix keeps the type it has
  std::filesystem::path out;
  std::size_t n_threads = 0;  // 0: one per core
  // Called with the fraction written; returns false to give up (ErrorCode::cancelled). Nothing is left behind then.
  std::function<bool(double fraction)> progress;
};

struct ConvertedModel {
  std::size_t n_tensors = 0;
  std::uint64_t n_bytes = 0;  // of all tensors
};

// The GGUF run as it is gives the logits of the model run with --weights TYPE (of q4_k_m: those of no single type). A
// GGUF's own metadata is kept. Errors: those of loading; invalid_argument; io.
Result<ConvertedModel> convert_model(const ConvertModelOptions& options);

}  // namespace unicorn
