// ModelConfig: the sizes of a model, whichever file they came from, after a MatFormer slice was chosen.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "core/result.h"
#include "formats/gguf.h"
#include "plan/plan.h"

namespace unicorn {

enum class Family : std::uint8_t { gemma3, gemma3n };
std::string_view family_name(Family family);

struct LayerConfig {
  std::uint32_t source = 0;  // its index in the file: differs from its place when a slice skips layers
  std::uint32_t d_ff = 0;
  std::uint32_t d_ff_in_file = 0;  // d_ff, unless a slice runs a prefix of it
  bool sliding = false;
  std::optional<float> sparsity_z;  // FFN gate cut at mean + z·std
};

struct ModelConfig {
  Family family = Family::gemma3;
  std::uint32_t n_layers_in_file = 0;
  std::vector<LayerConfig> layers;
  std::uint32_t d_model = 0, n_heads = 0, n_kv_heads = 0, head_dim = 0;
  std::uint32_t n_vocab = 0;  // rows of the embedding
  std::uint32_t n_ctx = 0;    // positions the model was trained for
  std::uint32_t window = 0;   // of sliding layers, the row itself included
  float rms_eps = 1e-6f;
  Rope rope_full, rope_sliding;
  float attention_scale = 1.0f;
  float final_softcap = 0.0f;  // 0: none
  bool tied_head = true;

  // Gemma 3n
  std::uint32_t n_kv_shared = 0;  // the last layers that read an earlier layer's K and V
  std::uint32_t ple_width = 0, n_ple_vocab = 0;
  std::uint32_t laurel_rank = 0;
  std::uint32_t n_streams = 0;
  bool altup_correct_scale = true;
  bool sample_std = false;  // llama.cpp's n-1 in the sparse gate

  // The slice the file itself names ("small"), if any.
  struct NamedSlice {
    std::uint32_t d_ff = 0;
    std::vector<std::uint32_t> skip;
  };
  std::optional<NamedSlice> small;

  std::uint32_t n_layers() const { return static_cast<std::uint32_t>(layers.size()); }
  // First layer without K and V of its own; n_layers() when none shares.
  std::uint32_t first_shared() const { return n_layers() - n_kv_shared; }
};

// Errors: corrupt_file (a field is missing or absurd), unsupported (another architecture), naming the field.
Result<ModelConfig> config_from_hf(const Json& config, std::string_view what);
Result<ModelConfig> config_from_gguf(const GgufFile& file, std::string_view what);

// Chooses a MatFormer slice (gemma3n.md §6; google-gemini/gemma-cookbook MatFormer Lab):
//   full | e2b | small | ffn=W | ffn=W1,W2,… (one per layer of the file) | ffn=W,W@LAYERS… | skip=LAYERS
// LAYERS are file indices, "5-9" or single, separated by commas: "ffn=8192,16384@20-24,skip=3,7". A width must not
// exceed the file's; K/V donors cannot be skipped. Errors: invalid_argument, unsupported (not a MatFormer).
Status apply_slice(ModelConfig& config, std::string_view spec);

}  // namespace unicorn
