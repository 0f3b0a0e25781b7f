#include "tools/gguf_metadata.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>
#include <unordered_set>

namespace unicorn {
namespace {

enum GgufTokenType : std::int32_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

constexpr std::string_view kSpace = "\u2581";  // what an ordinary piece writes for one

std::string with_spaces(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t at = std::min(text.find(kSpace), text.size());
    out += text.substr(0, at);
    text.remove_prefix(at);
    if (text.empty()) break;
    out += ' ';
    text.remove_prefix(kSpace.size());
  }
  return out;
}

bool is_byte_piece(std::string_view piece) {
  return piece.size() == 6 && piece.starts_with("<0x") && piece.ends_with('>') &&
         piece.find_first_not_of("0123456789ABCDEF", 3) == 5;
}

// Per piece: minus the number of pieces that merge before it. 0 for what no merge makes.
std::vector<float> merge_scores(const Vocab& vocab) {
  std::vector<float> scores(vocab.pieces.size(), 0.0f);
  if (vocab.merges.empty()) {
    for (std::size_t id = 0; id < scores.size(); ++id)
      scores[id] = vocab.scores.empty() ? -static_cast<float>(id) : vocab.scores[id];
    return scores;
  }
  std::unordered_map<std::string_view, std::size_t> ids;
  for (std::size_t id = 0; id < vocab.pieces.size(); ++id) ids.emplace(vocab.pieces[id], id);
  float next = 0.0f;
  std::unordered_set<std::size_t> made;
  for (const auto& [left, right] : vocab.merges) {
    const auto it =
        ids.find(vocab.pieces[static_cast<std::size_t>(left)] + vocab.pieces[static_cast<std::size_t>(right)]);
    if (it != ids.end() && made.insert(it->second).second) scores[it->second] = --next;
  }
  return scores;
}

}  // namespace

void set_model_metadata(GgufMetadata& m, const ModelConfig& c, std::string_view name, const FileType& type) {
  const bool is_3n = c.family == Family::gemma3n;
  const std::string prefix = std::string(family_name(c.family)) + ".";
  const auto key = [&](std::string_view rest) { return prefix + std::string(rest); };
  const LayerConfig& first = c.layers.front();
  const auto same_width = [&](const LayerConfig& l) { return l.d_ff == first.d_ff; };

  m.set_string("general.architecture", family_name(c.family));
  m.set_string("general.type", "model");
  m.set_string("general.name", name);
  m.set_u32("general.file_type", type.gguf_id);
  m.set_u32("general.quantization_version", 2);
  m.set_u32(key("context_length"), c.n_ctx);
  m.set_u32(key("embedding_length"), c.d_model);
  m.set_u32(key("block_count"), c.n_layers());
  std::vector<std::uint32_t> widths;
  std::vector<bool> sliding;
  std::vector<float> sparsity;
  for (const auto& layer : c.layers) {
    widths.push_back(layer.d_ff);
    sliding.push_back(layer.sliding);
    sparsity.push_back(layer.sparsity_z.value_or(-std::numeric_limits<float>::infinity()));
  }
  if (std::all_of(c.layers.begin(), c.layers.end(), same_width))
    m.set_u32(key("feed_forward_length"), first.d_ff);
  else
    m.set_u32s(key("feed_forward_length"), widths);
  m.set_u32(key("attention.head_count"), c.n_heads);
  m.set_u32(key("attention.head_count_kv"), c.n_kv_heads);
  m.set_u32(key("attention.key_length"), c.head_dim);
  m.set_u32(key("attention.value_length"), c.head_dim);
  m.set_f32(key("attention.layer_norm_rms_epsilon"), c.rms_eps);
  if (c.window > 0) {
    m.set_u32(key("attention.sliding_window"), c.window);
    m.set_bools(key("attention.sliding_window_pattern"), sliding);
  }
  m.set_f32(key("rope.freq_base"), c.rope_full.theta);
  m.set_f32(key("rope.freq_base_swa"), c.rope_sliding.theta);
  if (c.rope_full.freq_scale != 1.0f) {
    m.set_string(key("rope.scaling.type"), "linear");
    m.set_f32(key("rope.scaling.factor"), 1.0f / c.rope_full.freq_scale);
  }
  if (c.final_softcap > 0) m.set_f32(key("final_logit_softcapping"), c.final_softcap);
  if (!is_3n) {
    if (std::abs(c.attention_scale * std::sqrt(static_cast<float>(c.head_dim)) - 1.0f) > 1e-6f)
      m.set_f32(key("attention.scale"), c.attention_scale);
    return;
  }
  m.set_u32(key("attention.shared_kv_layers"), c.n_kv_shared);
  m.set_u32(key("altup.active_idx"), 0);
  m.set_u32(key("altup.num_inputs"), c.n_streams);
  m.set_u32(key("embedding_length_per_layer_input"), c.ple_width);
  m.set_f32s(key("activation_sparsity_scale"), sparsity);
  if (c.small) {
    m.set_u32(key("matformer.intermediate_size"), c.small->d_ff);
    m.set_u32s(key("matformer.skip_layers"), c.small->skip);
  }
}

void set_tokenizer_metadata(GgufMetadata& m, const Vocab& vocab, std::size_t n_vocab) {
  std::vector<std::string> tokens = vocab.pieces;
  std::vector<float> scores = merge_scores(vocab);
  std::vector<std::int32_t> types(tokens.size(), kNormal);
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    const bool is_byte = vocab.types.empty() ? is_byte_piece(tokens[id]) : vocab.types[id] == TokenType::byte;
    if (is_byte) types[id] = kByte;
  }
  for (const Vocab::Added& added : vocab.added) {
    const auto id = static_cast<std::size_t>(added.id);
    if (id >= tokens.size()) {
      tokens.resize(id + 1);
      scores.resize(id + 1, 0.0f);
      types.resize(id + 1, kUnused);
    }
    tokens[id] = added.special ? added.text : with_spaces(added.text);
    types[id] = added.special ? kControl : kUserDefined;
    scores[id] = -1000.0f;
  }
  if (vocab.unk >= 0) types[static_cast<std::size_t>(vocab.unk)] = kUnknown;

  tokens.resize(n_vocab);
  scores.resize(n_vocab, 0.0f);
  types.resize(n_vocab, kUnused);
  for (std::size_t id = 0; id < n_vocab; ++id)
    if (tokens[id].empty()) {  // texts must differ
      tokens[id] = fmt::format("<unused_id_{}>", id);
      types[id] = kUnused;
    }

  m.set_string("tokenizer.ggml.model", "llama");
  m.set_string("tokenizer.ggml.pre", "default");
  m.set_strings("tokenizer.ggml.tokens", tokens);
  m.set_f32s("tokenizer.ggml.scores", scores);
  m.set_i32s("tokenizer.ggml.token_type", types);
  const auto set_id = [&](std::string_view key, TokenId id) {
    if (id >= 0 && static_cast<std::size_t>(id) < n_vocab) m.set_u32(key, static_cast<std::uint32_t>(id));
  };
  set_id("tokenizer.ggml.bos_token_id", vocab.bos);
  set_id("tokenizer.ggml.eos_token_id", vocab.eos);
  set_id("tokenizer.ggml.unknown_token_id", vocab.unk);
  set_id("tokenizer.ggml.padding_token_id", vocab.pad);
  for (const Vocab::Added& added : vocab.added)
    if (added.text == "<end_of_turn>") set_id("tokenizer.ggml.eot_token_id", added.id);
  m.set_bool("tokenizer.ggml.add_bos_token", vocab.add_bos);
  m.set_bool("tokenizer.ggml.add_eos_token", false);
  m.set_bool("tokenizer.ggml.add_space_prefix", false);
  if (vocab.chat_template) m.set_string("tokenizer.chat_template", *vocab.chat_template);
}

void set_no_tokenizer(GgufMetadata& m, const ModelConfig& c) {
  m.set_string("tokenizer.ggml.model", "none");
  m.set_u32(std::string(family_name(c.family)) + ".vocab_size", c.n_vocab);
}

}  // namespace unicorn
