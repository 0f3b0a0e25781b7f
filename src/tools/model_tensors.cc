#include "tools/model_tensors.h"

#include <fmt/format.h>

#include <array>
#include <charconv>

#include "model/weight_source.h"

namespace unicorn {
namespace {

// "blk.12.ffn_down" → 12; nullopt for global tensors.
std::optional<std::uint32_t> layer_of(std::string_view name) {
  if (!name.starts_with("blk.")) return std::nullopt;
  std::uint32_t layer = 0;
  std::from_chars(name.data() + 4, name.data() + name.size(), layer);
  return layer;
}

// The layers where llama.cpp's quantiser spends more bits: the outer eighths, and every third between.
bool wants_more_bits(std::uint32_t layer, std::uint32_t n_layers) {
  const std::uint32_t eighth = n_layers / 8;
  return layer < eighth || layer >= 7 * n_layers / 8 || (layer - eighth) % 3 == 2;
}

}  // namespace

Shape ModelTensor::gguf_shape() const {
  if (vector) return {k};
  if (count > 1) return {count, n, k};
  return {n, k};
}

Shape ModelTensor::hugging_face_shape() const { return vector ? Shape{k} : Shape{n, k}; }

std::vector<ModelTensor> model_tensors(const ModelConfig& c, bool for_gguf) {
  std::vector<ModelTensor> list;
  const bool is_3n = c.family == Family::gemma3n;
  const std::size_t d = c.d_model, q = std::size_t{c.n_heads} * c.head_dim, kv = std::size_t{c.n_kv_heads} * c.head_dim;
  const std::size_t s = c.n_streams, ple = c.ple_width;
  const auto matrix = [&](std::string name, std::size_t n, std::size_t k, std::size_t count = 1) {
    list.push_back({std::move(name), count, n, k, false});
  };
  const auto vector = [&](std::string name, std::size_t k) { list.push_back({std::move(name), 1, 1, k, true}); };

  matrix("token_embd", c.n_vocab, d);
  if (!c.tied_head) matrix("output", c.n_vocab, d);
  vector("output_norm", d);
  if (is_3n) {
    matrix("per_layer_token_embd", for_gguf ? c.n_vocab : c.n_ple_vocab, c.n_layers() * ple);
    matrix("per_layer_model_proj", c.n_layers() * ple, d);
    vector("per_layer_proj_norm", ple);
    matrix("altup_proj", d, d, s - 1);
    matrix("altup_unembd_proj", d, d, s - 1);
  }
  for (std::uint32_t l = 0; l < c.n_layers(); ++l) {
    const std::string blk = fmt::format("blk.{}.", l);
    vector(blk + "attn_norm", d);
    matrix(blk + "attn_q", q, d);
    matrix(blk + "attn_k", kv, d);
    matrix(blk + "attn_v", kv, d);
    vector(blk + "attn_q_norm", c.head_dim);
    vector(blk + "attn_k_norm", c.head_dim);
    matrix(blk + "attn_output", d, q);
    vector(blk + "post_attention_norm", d);
    vector(blk + "ffn_norm", d);
    matrix(blk + "ffn_gate", c.layers[l].d_ff, d);
    matrix(blk + "ffn_up", c.layers[l].d_ff, d);
    matrix(blk + "ffn_down", d, c.layers[l].d_ff);
    vector(blk + "post_ffw_norm", d);
    if (!is_3n) continue;
    matrix(blk + "inp_gate", ple, d);
    matrix(blk + "proj", d, ple);
    vector(blk + "post_norm", d);
    matrix(blk + "altup_correct_coef", s, s);
    vector(blk + "altup_correct_scale", d);
    matrix(blk + "altup_predict_coef", s * s, s);
    matrix(blk + "altup_router", s, d);
    vector(blk + "altup_router_norm", d);
    matrix(blk + "laurel_l", c.laurel_rank, d);
    matrix(blk + "laurel_r", d, c.laurel_rank);
    vector(blk + "laurel_post_norm", d);
  }
  return list;
}

Result<FileType> file_type_from_name(std::string_view name) {
  // general.file_type of a file that is nearly all of one dtype (llama.h, enum llama_ftype).
  struct Known {
    std::string_view name;
    DType base;
    bool more_bits;
    std::uint32_t gguf_id;
  };
  static constexpr std::array kKnown = {
      Known{"f32", DType::f32, false, 0},        Known{"f16", DType::f16, false, 1},
      Known{"bf16", DType::bf16, false, 32},     Known{"q8_0", DType::q8_0, false, 7},
      Known{"q4_0", DType::q4_0, false, 2},      Known{"q4_1", DType::q4_1, false, 3},
      Known{"q5_0", DType::q5_0, false, 8},      Known{"q5_1", DType::q5_1, false, 9},
      Known{"q2_k", DType::q2_k, false, 10},     Known{"q3_k", DType::q3_k, false, 11},
      Known{"q4_k", DType::q4_k, false, 14},     Known{"q4_k_m", DType::q4_k, true, 15},
      Known{"q5_k", DType::q5_k, false, 16},     Known{"q6_k", DType::q6_k, false, 18},
      Known{"iq4_nl", DType::iq4_nl, false, 25}, Known{"iq4_xs", DType::iq4_xs, false, 30},
      Known{"mxfp4", DType::mxfp4, false, 38},
  };
  std::string all;
  for (const Known& k : kKnown) {
    if (k.name == name) return FileType{std::string(k.name), k.base, k.more_bits, k.gguf_id};
    all += (all.empty() ? "" : ", ") + std::string(k.name);
  }
  return Error{ErrorCode::invalid_argument, fmt::format("type '{}' is not one of {}", name, all)};
}

DType stored_dtype(const FileType& type, const ModelTensor& t, std::uint32_t n_layers, DType source) {
  if (t.vector || t.name.ends_with("_coef")) return DType::f32;
  const DType dtype = converted_dtype(t.name, source, t.k, type.base);
  const bool counts = t.name.ends_with(".attn_v") || t.name.ends_with(".ffn_down");
  if (type.more_bits && counts && dtype == type.base && wants_more_bits(*layer_of(t.name), n_layers))
    return DType::q6_k;
  return dtype;
}

}  // namespace unicorn
