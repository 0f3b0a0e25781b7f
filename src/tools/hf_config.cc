#include "tools/hf_config.h"

#include <cmath>

namespace unicorn {
namespace {

Json rope_parameters(const Rope& rope) {
  Json json = {{"rope_type", "default"}, {"rope_theta", rope.theta}};
  if (rope.freq_scale != 1.0f) json.update({{"rope_type", "linear"}, {"factor", 1.0f / rope.freq_scale}});
  return json;
}

// Φ(z), to three digits: configurations say 0.95, not what its quantile rounds to.
double sparsity_of(float z) { return std::round(500.0 * std::erfc(-double{z} / std::sqrt(2.0))) / 1000.0; }

}  // namespace

Json hugging_face_config(const ModelConfig& c, bool multimodal) {
  const bool is_3n = c.family == Family::gemma3n;
  Json text;
  text["model_type"] = is_3n ? "gemma3n_text" : "gemma3_text";
  text["dtype"] = "bfloat16";
  text["vocab_size"] = c.n_vocab;
  text["hidden_size"] = c.d_model;
  Json widths = Json::array(), types = Json::array(), sparsity = Json::array();
  for (const LayerConfig& l : c.layers) {
    widths.push_back(l.d_ff);
    types.push_back(l.sliding ? "sliding_attention" : "full_attention");
    sparsity.push_back(l.sparsity_z ? sparsity_of(*l.sparsity_z) : 0.0);
  }
  text["intermediate_size"] = is_3n ? widths : Json(c.layers[0].d_ff);
  text["num_hidden_layers"] = c.n_layers();
  text["num_attention_heads"] = c.n_heads;
  text["num_key_value_heads"] = c.n_kv_heads;
  text["head_dim"] = c.head_dim;
  text["hidden_activation"] = "gelu_pytorch_tanh";
  text["max_position_embeddings"] = c.n_ctx;
  text["rms_norm_eps"] = 1e-6;
  text["tie_word_embeddings"] = c.tied_head;
  text["sliding_window"] = c.window;
  text["layer_types"] = types;
  text["rope_parameters"] = {{"full_attention", rope_parameters(c.rope_full)},
                             {"sliding_attention", rope_parameters(c.rope_sliding)}};
  text["attention_bias"] = false;
  text["attention_dropout"] = 0.0;
  text["final_logit_softcapping"] = c.final_softcap > 0 ? Json(c.final_softcap) : Json();
  text["bos_token_id"] = 2u;
  text["eos_token_id"] = 1u;
  text["pad_token_id"] = 0u;
  if (is_3n) {
    text["vocab_size_per_layer_input"] = c.n_ple_vocab;
    text["hidden_size_per_layer_input"] = c.ple_width;
    text["num_kv_shared_layers"] = c.n_kv_shared;
    text["laurel_rank"] = c.laurel_rank;
    text["altup_num_inputs"] = c.n_streams;
    text["altup_active_idx"] = 0u;
    text["altup_coef_clip"] = 120.0;
    text["altup_correct_scale"] = c.altup_correct_scale;
    text["activation_sparsity_pattern"] = sparsity;
  } else {
    text["query_pre_attn_scalar"] = std::round(1.0 / (double{c.attention_scale} * c.attention_scale));
  }

  if (!multimodal) {
    text["architectures"] = {is_3n ? "Gemma3nForCausalLM" : "Gemma3ForCausalLM"};
    return text;
  }
  Json root;
  root["architectures"] = {is_3n ? "Gemma3nForConditionalGeneration" : "Gemma3ForConditionalGeneration"};
  root["model_type"] = is_3n ? "gemma3n" : "gemma3";
  root["dtype"] = "bfloat16";
  root["text_config"] = std::move(text);
  root["vision_config"] = {{"model_type", is_3n ? "gemma3n_vision" : "siglip_vision_model"}};
  if (is_3n) root["audio_config"] = {{"model_type", "gemma3n_audio"}};
  return root;
}

}  // namespace unicorn
