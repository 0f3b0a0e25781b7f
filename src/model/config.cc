#include "model/config.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

namespace unicorn {
namespace {

// erf⁻¹(y) in float32 as PyTorch computes it (ATen/native/Math.h, calc_erfinv): a rational approximation, then two Newton
// steps. Precondition: |y| < 1.
float erfinv(float y) {
  const float size = std::fabs(y);
  float x;
  if (size <= 0.7f) {
    const float z = y * y;
    x = y * (((-0.140543331f * z + 0.914624893f) * z - 1.645349621f) * z + 0.886226899f) /
        ((((0.012229801f * z - 0.329097515f) * z + 1.442710462f) * z - 2.118377725f) * z + 1.0f);
  } else {
    const float z = std::sqrt(-std::log((1.0f - size) / 2.0f));
    x = std::copysign(((1.641345311f * z + 3.429567803f) * z - 1.624906493f) * z - 1.970840454f, y) /
        ((1.637067800f * z + 3.543889200f) * z + 1.0f);
  }
  constexpr float kSlope = 1.12837917f;  // of erf at 0, 2/√π
  for (int i = 0; i < 2; ++i) x -= (std::erf(x) - y) / (kSlope * std::exp(-x * x));
  return x;
}

// Φ⁻¹(p) as Hugging Face computes it: torch.distributions.Normal(0, 1).icdf in float32. For 0.95 that is 1.6448533535,
// the number GGUF files carry, so that both formats of a model run alike; the exact quantile is 1.6448536270, and a
// PyTorch that takes erfinv from MKL finds 1.6448535919.
float normal_quantile(float p) { return erfinv(2.0f * p - 1.0f) * std::sqrt(2.0f); }

struct Reader {  // typed look-ups in config.json with errors that name the field
  const Json& json;
  std::string what;

  Error bad(std::string_view key, std::string_view expected) const {
    const auto it = json.find(key);
    return Error{ErrorCode::corrupt_file,
                 fmt::format("{}: '{}' is {}, expected {}", what, key,
                             it == json.end() ? "missing" : dump_json(*it).substr(0, 80), expected)};
  }
  bool has(std::string_view key) const {
    const auto it = json.find(key);
    return it != json.end() && !it->is_null();
  }
  Result<std::uint32_t> count(std::string_view key, std::uint32_t max = 1u << 24) const {
    const auto it = json.find(key);
    if (it == json.end() || !it->is_number_integer() || it->get<std::int64_t>() < 0 || it->get<std::int64_t>() > max)
      return bad(key, fmt::format("a whole number up to {}", max));
    return it->get<std::uint32_t>();
  }
  Result<float> number(std::string_view key) const {
    const auto it = json.find(key);
    if (it == json.end() || !it->is_number() || !std::isfinite(it->get<double>())) return bad(key, "a number");
    return static_cast<float>(it->get<double>());
  }
  Result<float> number_or(std::string_view key, float otherwise) const {
    return has(key) ? number(key) : Result<float>(otherwise);
  }
  Result<std::uint32_t> count_or(std::string_view key, std::uint32_t otherwise) const {
    return has(key) ? count(key) : Result<std::uint32_t>(otherwise);
  }
};

Result<Rope> rope_from(const Json& json, float default_theta, const std::string& what) {
  Rope rope{default_theta, 1.0f};
  const Reader r{json, what};
  UNICORN_ASSIGN(rope.theta, r.number_or("rope_theta", default_theta));
  std::string type = "default";
  for (const char* key : {"rope_type", "type"})
    if (r.has(key) && json[key].is_string()) type = json[key].get<std::string>();
  if (type == "linear") {
    UNICORN_ASSIGN(const float factor, r.number("factor"));
    if (!(factor > 0)) return r.bad("factor", "a positive number");
    rope.freq_scale = 1.0f / factor;
  } else if (type != "default") {
    return Error{ErrorCode::unsupported, fmt::format("{}: RoPE type '{}' is not supported", what, type)};
  }
  if (!(rope.theta > 0)) return r.bad("rope_theta", "a positive number");
  return rope;
}

Status read_ropes(const Reader& r, ModelConfig& c) {
  if (r.has("rope_parameters") && r.json["rope_parameters"].is_object()) {
    const Json& p = r.json["rope_parameters"];
    const auto full = p.find("full_attention"), sliding = p.find("sliding_attention");
    if (full != p.end() && full->is_object()) {
      UNICORN_ASSIGN(c.rope_full, rope_from(*full, 1e6f, r.what + ": rope_parameters.full_attention"));
    } else {
      UNICORN_ASSIGN(c.rope_full, rope_from(p, 1e6f, r.what + ": rope_parameters"));
    }
    c.rope_sliding = Rope{1e4f, 1.0f};
    if (sliding != p.end() && sliding->is_object()) {
      UNICORN_ASSIGN(c.rope_sliding, rope_from(*sliding, 1e4f, r.what + ": rope_parameters.sliding_attention"));
    } else {
      UNICORN_ASSIGN(c.rope_sliding.theta, r.number_or("rope_local_base_freq", 1e4f));
    }
    return Ok{};
  }
  UNICORN_ASSIGN(const float theta, r.number_or("rope_theta", 1e6f));
  c.rope_full = Rope{theta, 1.0f};
  if (r.has("rope_scaling") && r.json["rope_scaling"].is_object()) {
    UNICORN_ASSIGN(c.rope_full, rope_from(r.json["rope_scaling"], theta, r.what + ": rope_scaling"));
  }
  UNICORN_ASSIGN(const float local, r.number_or("rope_local_base_freq", 1e4f));
  c.rope_sliding = Rope{local, 1.0f};
  return Ok{};
}

Status read_layers(const Reader& r, ModelConfig& c, std::uint32_t period) {
  c.layers.resize(c.n_layers_in_file);
  for (std::uint32_t l = 0; l < c.n_layers_in_file; ++l) c.layers[l].source = l;

  const Json& ff = r.json.contains("intermediate_size") ? r.json["intermediate_size"] : Json();
  if (ff.is_array() && ff.size() != c.layers.size()) return r.bad("intermediate_size", "one width per layer");
  for (std::size_t l = 0; l < c.layers.size(); ++l) {
    const Json& width = ff.is_array() ? ff[l] : ff;
    if (!width.is_number_unsigned() || width.get<std::uint64_t>() == 0 || width.get<std::uint64_t>() > (1u << 24))
      return r.bad("intermediate_size", "a positive whole number or one per layer");
    c.layers[l].d_ff = width.get<std::uint32_t>();
  }

  if (r.has("layer_types")) {
    const Json& types = r.json["layer_types"];
    if (!types.is_array() || types.size() != c.layers.size()) return r.bad("layer_types", "one name per layer");
    for (std::size_t l = 0; l < types.size(); ++l) {
      if (types[l] == "sliding_attention")
        c.layers[l].sliding = true;
      else if (types[l] != "full_attention")
        return r.bad("layer_types", "sliding_attention or full_attention");
    }
  } else {
    UNICORN_ASSIGN(period, r.count_or("sliding_window_pattern", period));
    if (period == 0) return r.bad("sliding_window_pattern", "a positive whole number");
    for (std::uint32_t l = 0; l < c.layers.size(); ++l) c.layers[l].sliding = (l + 1) % period != 0;
  }
  return Ok{};
}

Status read_gemma3n(const Reader& r, ModelConfig& c) {
  UNICORN_ASSIGN(c.n_kv_shared, r.count_or("num_kv_shared_layers", 15));
  UNICORN_ASSIGN(c.ple_width, r.count_or("hidden_size_per_layer_input", 256));
  UNICORN_ASSIGN(c.n_ple_vocab, r.count_or("vocab_size_per_layer_input", 262144));
  UNICORN_ASSIGN(c.laurel_rank, r.count_or("laurel_rank", 64));
  UNICORN_ASSIGN(c.n_streams, r.count_or("altup_num_inputs", 4));
  UNICORN_ASSIGN(const std::uint32_t active, r.count_or("altup_active_idx", 0));
  if (active != 0) return Error{ErrorCode::unsupported, r.what + ": altup_active_idx other than 0 is not supported"};
  if (r.has("altup_correct_scale") && r.json["altup_correct_scale"].is_boolean())
    c.altup_correct_scale = r.json["altup_correct_scale"].get<bool>();
  const Json& sparsity =
      r.json.contains("activation_sparsity_pattern") ? r.json["activation_sparsity_pattern"] : Json();
  if (sparsity.is_array() && sparsity.size() != c.layers.size())
    return r.bad("activation_sparsity_pattern", "one number per layer");
  for (std::size_t l = 0; l < c.layers.size(); ++l) {
    double s = c.layers.size() > 10 && l < 10 ? 0.95 : 0.0;  // Hugging Face's default for null
    if (sparsity.is_array()) {
      if (!sparsity[l].is_number()) return r.bad("activation_sparsity_pattern", "numbers");
      s = sparsity[l].get<double>();
    } else if (sparsity.is_number()) {
      s = sparsity.get<double>();
    }
    const auto share = static_cast<float>(s);
    // Below 1e-7 the quantile is not finite in float32.
    if (!(s == 0 || (s >= 1e-7 && share < 1)))
      return r.bad("activation_sparsity_pattern", "0, or numbers from 1e-7 to below 1");
    if (s > 0) c.layers[l].sparsity_z = normal_quantile(share);
  }
  if (r.has("matformer") && r.json["matformer"].is_object()) {
    const Reader m{r.json["matformer"], r.what + ": matformer"};
    ModelConfig::NamedSlice slice;
    UNICORN_ASSIGN(slice.d_ff, m.count("intermediate_size"));
    if (m.has("skip_layers")) {
      for (const Json& l : m.json["skip_layers"]) {
        if (!l.is_number_unsigned() || l.get<std::uint64_t>() >= c.layers.size())
          return m.bad("skip_layers", "layer indices");
        slice.skip.push_back(l.get<std::uint32_t>());
      }
    }
    c.small = slice;
  }
  return Ok{};
}

// What must hold whichever file the numbers came from.
Status check(ModelConfig& c, std::string_view what) {
  for (LayerConfig& l : c.layers) l.d_ff_in_file = l.d_ff;
  const auto bad = [&](std::string message) {
    return Error{ErrorCode::corrupt_file, fmt::format("{}: {}", what, message)};
  };
  if (c.layers.empty() || c.layers.size() > 1024)
    return bad(fmt::format("{} layers, expected 1 to 1024", c.layers.size()));
  if (c.d_model == 0 || c.n_heads == 0 || c.n_kv_heads == 0 || c.head_dim == 0 || c.n_ctx == 0)
    return bad("a size is zero (hidden size, heads, head_dim or context length)");
  if (c.n_heads % c.n_kv_heads != 0)
    return bad(fmt::format("{} attention heads do not divide into {} K/V heads", c.n_heads, c.n_kv_heads));
  if (c.head_dim % 2 != 0) return bad(fmt::format("head_dim {} is odd", c.head_dim));
  if (std::uint64_t{c.n_heads} * c.head_dim > (1u << 20) || c.d_model > (1u << 20)) return bad("an absurd width");
  if (!(c.rms_eps > 0) || !std::isfinite(c.attention_scale))
    return bad("rms_norm_eps or the attention scale is not usable");
  for (const LayerConfig& l : c.layers)
    if (l.sliding && c.window == 0) return bad("sliding layers without a sliding_window");
  if (c.family == Family::gemma3n) {
    if (c.n_streams < 2 || c.n_streams > 8)
      return bad(fmt::format("altup_num_inputs is {}, expected 2 to 8", c.n_streams));
    if (c.ple_width == 0 || c.laurel_rank == 0 || c.n_ple_vocab == 0) return bad("a Gemma 3n size is zero");
    if (std::uint64_t{c.ple_width} * c.layers.size() > (1u << 24) || c.laurel_rank > (1u << 20))
      return bad("an absurd width");
    if (c.small && c.small->d_ff == 0) return bad("matformer: intermediate_size is 0");
    if (c.n_kv_shared >= c.layers.size())
      return bad(fmt::format("{} of {} layers share K/V: none is left to own it", c.n_kv_shared, c.layers.size()));
    for (std::uint32_t l = c.first_shared(); l < c.n_layers(); ++l) {
      bool donor = false;
      for (std::uint32_t j = 0; j < c.first_shared(); ++j) donor |= c.layers[j].sliding == c.layers[l].sliding;
      if (!donor) return bad(fmt::format("layer {} shares K/V, but no earlier layer of its type owns any", l));
    }
  }
  return Ok{};
}

}  // namespace

std::string_view family_name(Family family) { return family == Family::gemma3 ? "gemma3" : "gemma3n"; }

Result<ModelConfig> config_from_hf(const Json& root, std::string_view what) {
  if (!root.is_object()) return Error{ErrorCode::corrupt_file, fmt::format("{}: not a JSON object", what)};
  const std::string outer =
      root.contains("model_type") && root["model_type"].is_string() ? root["model_type"].get<std::string>() : "";
  const bool nested = root.contains("text_config") && root["text_config"].is_object();
  const Json& json = nested ? root["text_config"] : root;
  const Reader r{json, std::string(what)};

  ModelConfig c;
  if (outer == "gemma3n" || outer == "gemma3n_text")
    c.family = Family::gemma3n;
  else if (outer == "gemma3" || outer == "gemma3_text")
    c.family = Family::gemma3;
  else
    return Error{ErrorCode::unsupported,
                 fmt::format("{}: model_type '{}' is not supported (gemma3n and gemma3 are)", what, outer)};
  const bool is_3n = c.family == Family::gemma3n;

  // A nested text_config may omit what equals Hugging Face's defaults (Gemma3TextConfig, Gemma3nTextConfig).
  UNICORN_ASSIGN(c.n_layers_in_file, r.count_or("num_hidden_layers", is_3n ? 35 : 26));
  if (c.n_layers_in_file > 1024) return r.bad("num_hidden_layers", "at most 1024");
  UNICORN_ASSIGN(c.d_model, r.count_or("hidden_size", is_3n ? 2048 : 2304));
  UNICORN_ASSIGN(c.n_heads, r.count_or("num_attention_heads", 8));
  UNICORN_ASSIGN(c.n_kv_heads, r.count_or("num_key_value_heads", is_3n ? 2 : 4));
  UNICORN_ASSIGN(c.head_dim, r.count_or("head_dim", 256));
  UNICORN_ASSIGN(c.n_vocab, r.count_or("vocab_size", is_3n ? 262400 : 262208));
  UNICORN_ASSIGN(c.n_ctx, r.count_or("max_position_embeddings", is_3n ? 32768 : 131072));
  UNICORN_ASSIGN(c.window, r.count_or("sliding_window", is_3n ? 512 : 4096));
  UNICORN_ASSIGN(c.rms_eps, r.number_or("rms_norm_eps", 1e-6f));
  UNICORN_ASSIGN(c.final_softcap, r.number_or("final_logit_softcapping",
                                              is_3n && !json.contains("final_logit_softcapping") ? 30.0f : 0.0f));
  if (r.has("hidden_activation") && json["hidden_activation"] != "gelu_pytorch_tanh")
    return r.bad("hidden_activation", "gelu_pytorch_tanh");
  if (r.has("use_bidirectional_attention") && json["use_bidirectional_attention"] == true)
    return Error{ErrorCode::unsupported,
                 fmt::format("{}: use_bidirectional_attention (an embedding model) is not supported", what)};
  if (r.has("tie_word_embeddings") && json["tie_word_embeddings"].is_boolean())
    c.tied_head = json["tie_word_embeddings"].get<bool>();
  UNICORN_TRY(read_ropes(r, c));
  UNICORN_TRY(read_layers(r, c, is_3n ? 5 : 6));
  if (is_3n) {
    UNICORN_TRY(read_gemma3n(r, c));
  } else {
    UNICORN_ASSIGN(const float scalar, r.number_or("query_pre_attn_scalar", 256.0f));
    if (!(scalar > 0)) return r.bad("query_pre_attn_scalar", "a positive number");
    c.attention_scale = static_cast<float>(1.0 / std::sqrt(double{scalar}));
  }
  UNICORN_TRY(check(c, what));
  return c;
}

Result<ModelConfig> config_from_gguf(const GgufFile& file, std::string_view what) {
  const auto arch = file.get_string("general.architecture");
  if (!arch) return Error{ErrorCode::corrupt_file, fmt::format("{}: key 'general.architecture' is missing", what)};
  ModelConfig c;
  if (*arch == "gemma3n")
    c.family = Family::gemma3n;
  else if (*arch == "gemma3")
    c.family = Family::gemma3;
  else
    return Error{ErrorCode::unsupported,
                 fmt::format("{}: architecture '{}' is not supported (gemma3n and gemma3 are)", what, *arch)};
  const bool is_3n = c.family == Family::gemma3n;
  const std::string prefix = std::string(*arch) + ".";
  const auto count = [&](std::string_view key) -> Result<std::uint32_t> {
    const auto v = file.get_uint(prefix + std::string(key));
    if (!v || *v > (1u << 24))
      return Error{ErrorCode::corrupt_file,
                   fmt::format("{}: key '{}{}' is {}", what, prefix, key, v ? "absurdly large" : "missing")};
    return static_cast<std::uint32_t>(*v);
  };
  const auto count_or = [&](std::string_view key, std::uint32_t otherwise) -> Result<std::uint32_t> {
    return file.find(prefix + std::string(key)) == nullptr ? Result<std::uint32_t>(otherwise) : count(key);
  };
  const auto number_or = [&](std::string_view key, double otherwise) {
    return static_cast<float>(file.get_float(prefix + std::string(key)).value_or(otherwise));
  };

  UNICORN_ASSIGN(c.n_layers_in_file, count("block_count"));
  if (c.n_layers_in_file == 0 || c.n_layers_in_file > 1024)
    return Error{ErrorCode::corrupt_file, fmt::format("{}: {} layers, expected 1 to 1024", what, c.n_layers_in_file)};
  UNICORN_ASSIGN(c.d_model, count("embedding_length"));
  UNICORN_ASSIGN(c.n_heads, count("attention.head_count"));
  UNICORN_ASSIGN(c.n_kv_heads, count("attention.head_count_kv"));
  UNICORN_ASSIGN(c.head_dim,
                 file.find(prefix + "head_dim") != nullptr ? count("head_dim") : count_or("attention.key_length", 256));
  UNICORN_ASSIGN(c.n_ctx, count_or("context_length", 32768));
  UNICORN_ASSIGN(c.window, count_or("attention.sliding_window", 0));
  c.rms_eps = number_or("attention.layer_norm_rms_epsilon", 1e-6);
  c.rope_full.theta = number_or("rope.freq_base", 1e6);
  c.rope_sliding.theta = number_or("rope.freq_base_swa", number_or("rope.freq_base_local", 1e4));
  if (const auto type = file.get_string(prefix + "rope.scaling.type"); type && *type != "none") {
    if (*type != "linear")
      return Error{ErrorCode::unsupported, fmt::format("{}: RoPE scaling '{}' is not supported", what, *type)};
    const float factor = number_or("rope.scaling.factor", 1.0);
    if (!(factor > 0))
      return Error{ErrorCode::corrupt_file, fmt::format("{}: rope.scaling.factor is not positive", what)};
    c.rope_full.freq_scale = 1.0f / factor;
  }
  if (!(c.rope_full.theta > 0) || !(c.rope_sliding.theta > 0))
    return Error{ErrorCode::corrupt_file, fmt::format("{}: rope.freq_base is not positive", what)};
  c.final_softcap = number_or("final_logit_softcapping", is_3n ? 30.0 : 0.0);

  c.layers.resize(c.n_layers_in_file);
  for (std::uint32_t l = 0; l < c.n_layers_in_file; ++l) c.layers[l].source = l;
  const auto widths = file.get_numbers(prefix + "feed_forward_length");
  if (widths && widths->size() != c.layers.size())
    return Error{ErrorCode::corrupt_file, fmt::format("{}: {}feed_forward_length has {} entries for {} layers", what,
                                                      prefix, widths->size(), c.layers.size())};
  for (std::size_t l = 0; l < c.layers.size(); ++l) {
    if (widths) {
      const double w = (*widths)[l];
      if (!(w >= 1 && w <= (1 << 24)))
        return Error{ErrorCode::corrupt_file, fmt::format("{}: {}feed_forward_length[{}] is {}", what, prefix, l, w)};
      c.layers[l].d_ff = static_cast<std::uint32_t>(w);
    } else {
      UNICORN_ASSIGN(c.layers[l].d_ff, count("feed_forward_length"));
    }
  }
  const auto pattern = file.get_numbers(prefix + "attention.sliding_window_pattern");
  if (pattern && pattern->size() != c.layers.size())
    return Error{ErrorCode::corrupt_file,
                 fmt::format("{}: {}attention.sliding_window_pattern has {} entries for {} layers", what, prefix,
                             pattern->size(), c.layers.size())};
  UNICORN_ASSIGN(const std::uint32_t period,
                 pattern ? Result<std::uint32_t>(1) : count_or("attention.sliding_window_pattern", is_3n ? 5 : 6));
  for (std::uint32_t l = 0; l < c.layers.size(); ++l)
    c.layers[l].sliding = c.window > 0 && (pattern ? (*pattern)[l] != 0 : period > 0 && (l + 1) % period != 0);

  if (is_3n) {
    UNICORN_ASSIGN(c.n_kv_shared,
                   count_or("attention.shared_kv_layers", c.n_layers_in_file >= 20 ? c.n_layers_in_file - 20 : 0));
    UNICORN_ASSIGN(c.ple_width, count_or("embedding_length_per_layer_input", 256));
    UNICORN_ASSIGN(c.n_streams, count_or("altup.num_inputs", 4));
    UNICORN_ASSIGN(const std::uint32_t active, count_or("altup.active_idx", 0));
    if (active != 0)
      return Error{ErrorCode::unsupported, fmt::format("{}: altup.active_idx other than 0 is not supported", what)};
    const auto z = file.get_numbers(prefix + "activation_sparsity_scale");
    if (z && z->size() != c.layers.size())
      return Error{ErrorCode::corrupt_file, fmt::format("{}: {}activation_sparsity_scale has {} entries for {} layers",
                                                        what, prefix, z->size(), c.layers.size())};
    for (std::size_t l = 0; l < c.layers.size(); ++l) {
      const double value =
          z ? (*z)[l]
            : (l < 10 && c.layers.size() > 10 ? 1.6448533535003662 : -std::numeric_limits<double>::infinity());
      if (std::isfinite(value)) c.layers[l].sparsity_z = static_cast<float>(value);
    }
    // Sizes that only the tensors tell.
    const auto rows = [&](std::string_view name) -> std::uint32_t {
      const TensorEntry* t = file.tensors().find(name);
      return t == nullptr || t->view.shape.n_rows() > (1u << 24) ? 0
                                                                 : static_cast<std::uint32_t>(t->view.shape.n_rows());
    };
    c.n_ple_vocab = rows("per_layer_token_embd.weight");
    c.laurel_rank = rows("blk.0.laurel_l.weight");
    if (c.n_ple_vocab == 0 || c.laurel_rank == 0)
      return Error{ErrorCode::corrupt_file,
                   fmt::format("{}: tensor '{}' is missing", what,
                               c.n_ple_vocab == 0 ? "per_layer_token_embd.weight" : "blk.0.laurel_l.weight")};
    if (const auto d = file.get_uint(prefix + "matformer.intermediate_size"); d && *d <= (1u << 24)) {
      c.small = ModelConfig::NamedSlice{static_cast<std::uint32_t>(*d), {}};
      if (const auto skip = file.get_numbers(prefix + "matformer.skip_layers"))
        for (double l : *skip)
          if (l >= 0 && l < static_cast<double>(c.layers.size()))
            c.small->skip.push_back(static_cast<std::uint32_t>(l));
    }
  } else {
    // 27B is the one size whose query scale is not 1/√head_dim.
    const bool is_27b = c.n_layers_in_file == 62;
    const double scalar =
        is_27b ? double{static_cast<double>(c.d_model)} / c.n_heads : double{static_cast<double>(c.head_dim)};
    c.attention_scale = number_or("attention.scale", 1.0 / std::sqrt(scalar));
  }
  const TensorEntry* embedding = file.tensors().find("token_embd.weight");
  if (embedding == nullptr || embedding->view.shape.n_rows() > (1u << 24))
    return Error{ErrorCode::corrupt_file,
                 fmt::format("{}: tensor 'token_embd.weight' is missing or absurdly large", what)};
  c.n_vocab = static_cast<std::uint32_t>(embedding->view.shape.n_rows());
  c.tied_head = file.tensors().find("output.weight") == nullptr;
  UNICORN_TRY(check(c, what));
  return c;
}

}  // namespace unicorn
