// What a GGUF file says of its model and tokenizer, in the keys llama.cpp reads (ggml-org/ggml docs/gguf.md); the
// inverse of config_from_gguf.
#pragma once

#include <cstddef>
#include <string_view>

#include "formats/gguf_writer.h"
#include "model/config.h"
#include "text/tokenizer.h"
#include "tools/model_tensors.h"

namespace unicorn {

void set_model_metadata(GgufMetadata& metadata, const ModelConfig& config, std::string_view name, const FileType& type);

// As many tokens as the embedding has rows: a shorter vocabulary is filled up with unused ones, a longer one is cut.
// Merges become scores: the piece that merges first scores highest.
void set_tokenizer_metadata(GgufMetadata& metadata, const Vocab& vocab, std::size_t n_vocab);
// For a model without one: ids alone.
void set_no_tokenizer(GgufMetadata& metadata, const ModelConfig& config);

}  // namespace unicorn
