#include "model/weight_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "quant/block.h"

namespace unicorn {
namespace {

struct Name {
  std::string_view gguf, hugging_face;
};

constexpr std::array kGlobalNames = {
    Name{"token_embd", "embed_tokens.weight"},
    Name{"per_layer_token_embd", "embed_tokens_per_layer.weight"},
    Name{"per_layer_model_proj", "per_layer_model_projection.weight"},
    Name{"per_layer_proj_norm", "per_layer_projection_norm.weight"},
    Name{"altup_proj", "altup_projections.{}.weight"},
    Name{"altup_unembd_proj", "altup_unembed_projections.{}.weight"},
    Name{"output_norm", "norm.weight"},
};

constexpr std::array kLayerNames = {
    Name{"attn_norm", "input_layernorm.weight"},
    Name{"attn_q", "self_attn.q_proj.weight"},
    Name{"attn_k", "self_attn.k_proj.weight"},
    Name{"attn_v", "self_attn.v_proj.weight"},
    Name{"attn_q_norm", "self_attn.q_norm.weight"},
    Name{"attn_k_norm", "self_attn.k_norm.weight"},
    Name{"attn_output", "self_attn.o_proj.weight"},
    Name{"post_attention_norm", "post_attention_layernorm.weight"},
    Name{"ffn_norm", "pre_feedforward_layernorm.weight"},
    Name{"ffn_gate", "mlp.gate_proj.weight"},
    Name{"ffn_up", "mlp.up_proj.weight"},
    Name{"ffn_down", "mlp.down_proj.weight"},
    Name{"post_ffw_norm", "post_feedforward_layernorm.weight"},
    Name{"inp_gate", "per_layer_input_gate.weight"},
    Name{"proj", "per_layer_projection.weight"},
    Name{"post_norm", "post_per_layer_input_norm.weight"},
    Name{"altup_correct_coef", "altup.correction_coefs.weight"},
    Name{"altup_correct_scale", "altup.correct_output_scale"},
    Name{"altup_predict_coef", "altup.prediction_coefs.weight"},
    Name{"altup_router", "altup.modality_router.weight"},
    Name{"altup_router_norm", "altup.router_norm.weight"},
    Name{"laurel_l", "laurel.linear_left.weight"},
    Name{"laurel_r", "laurel.linear_right.weight"},
    Name{"laurel_post_norm", "laurel.post_laurel_norm.weight"},
};

template <std::size_t N>
std::string_view hugging_face_name(const std::array<Name, N>& names, std::string_view gguf) {
  for (const Name& n : names)
    if (n.gguf == gguf) return n.hugging_face;
  return {};
}

// Where each published export puts the language model's tensors; the longest that occurs wins.
constexpr std::array<std::string_view, 5> kPrefixes = {"model.language_model.", "language_model.model.",
                                                       "language_model.", "model.", ""};

Error wrong_shape(const TensorEntry& t, const Shape& expected) {
  return Error{ErrorCode::corrupt_file, fmt::format("{}: tensor '{}' is {}, expected {}", t.file, t.name,
                                                    to_string(t.view.shape), to_string(expected))};
}

Error off_block(const TensorEntry& t, std::size_t at) {
  return Error{ErrorCode::invalid_argument,
               fmt::format("{}: tensor '{}' is stored in {} blocks of {}; a slice cannot cut it at column {}", t.file,
                           t.name, dtype_name(t.view.dtype), dtype_info(t.view.dtype).block, at)};
}

// The stored tensor as a matrix of its rows.
TensorView as_matrix(const TensorView& view) {
  TensorView m = view;
  m.shape = {view.shape.n_rows(), view.shape.k()};
  return m;
}

}  // namespace

DType converted_dtype(std::string_view name, DType stored, std::size_t k, DType requested) {
  if (!is_quantised(requested)) return requested;
  const bool keeps = name.find("altup") != std::string_view::npos || name.find("laurel") != std::string_view::npos ||
                     name == "per_layer_model_proj";
  if (keeps) return is_quantised(stored) || stored == DType::f16 || stored == DType::f32 ? stored : DType::bf16;
  const bool table = name == "token_embd" || name == "per_layer_token_embd" || name == "output";
  DType dtype = requested;
  if (table && requested != DType::q8_0 && requested != DType::q6_k) dtype = DType::q6_k;
  for (const DType fallback : {DType::q8_0, DType::bf16}) {
    if (k % dtype_info(dtype).block == 0) break;
    dtype = fallback;
  }
  return dtype;
}

WeightSource::WeightSource(const TensorTable& table, Naming naming, std::optional<DType> requested)
    : table_(&table), naming_(naming), requested_(requested) {
  if (naming_ != Naming::hugging_face) return;
  for (std::string_view prefix : kPrefixes)
    if (table.find(std::string(prefix) + "embed_tokens.weight") != nullptr) {
      prefix_ = prefix;
      break;
    }
}

std::string WeightSource::file_name(std::string_view name) const {
  if (naming_ == Naming::gguf) return std::string(name) + ".weight";
  if (name == "output") {  // the head lies beside the text model, not in it
    for (std::string_view candidate : {"lm_head.weight", "model.lm_head.weight", "language_model.lm_head.weight"})
      if (table_->find(candidate) != nullptr) return std::string(candidate);
    return "lm_head.weight";
  }
  if (name.starts_with("blk.")) {
    const std::size_t dot = name.find('.', 4);
    UNICORN_CHECK(dot != std::string_view::npos);
    const std::string_view own = hugging_face_name(kLayerNames, name.substr(dot + 1));
    UNICORN_CHECK_MSG(!own.empty(), name);
    return fmt::format("{}layers.{}.{}", prefix_, name.substr(4, dot - 4), own);
  }
  const std::string_view own = hugging_face_name(kGlobalNames, name);
  UNICORN_CHECK_MSG(!own.empty(), name);
  return prefix_ + std::string(own);
}

bool WeightSource::has(std::string_view name) const { return table_->find(file_name(name)) != nullptr; }

Result<const TensorEntry*> WeightSource::find(std::string_view name, const Shape& shape) const {
  const std::string wanted = file_name(name);
  const TensorEntry* t = table_->find(wanted);
  if (t == nullptr) {
    const std::string where = table_->files().empty() ? std::string("model") : table_->files().front()->path();
    return Error{ErrorCode::not_found,
                 fmt::format("{}: tensor '{}' is missing ({} expected)", where, wanted, to_string(shape))};
  }
  return t;
}

DType WeightSource::run_dtype(std::string_view name, DType stored, std::size_t k) const {
  const DType dtype = requested_ ? converted_dtype(name, stored, k, *requested_) : stored;
  return k % dtype_info(dtype).block == 0 ? dtype : DType::f32;
}

Result<WeightRef> WeightSource::matrix(std::string_view name, std::size_t n, std::size_t k, WeightUse use) const {
  UNICORN_ASSIGN(const TensorEntry* t, find(name, {n, k}));
  if (t->view.shape.n_rows() != n || t->view.shape.k() != k) return wrong_shape(*t, {n, k});
  WeightRef w;
  w.name = name;
  w.n = n;
  w.k = k;
  w.parts = {as_matrix(t->view)};
  w.use = use;
  w.as = run_dtype(name, t->view.dtype, k);
  return w;
}

Result<WeightRef> WeightSource::matrix_rows(std::string_view name, std::size_t n, std::size_t k,
                                            const std::vector<WeightRange>& ranges) const {
  UNICORN_ASSIGN(WeightRef w, matrix(name, n, k));
  const TensorView whole = w.parts[0];
  w.parts.clear();
  w.n = 0;
  for (const WeightRange& r : ranges) {
    UNICORN_CHECK(r.first + r.count <= n);
    TensorView part = whole;
    part.data = whole.row(r.first);
    part.shape = {r.count, k};
    w.parts.push_back(part);
    w.n += r.count;
  }
  return w;
}

Result<WeightRef> WeightSource::matrix_columns(std::string_view name, std::size_t n, std::size_t k,
                                               const std::vector<WeightRange>& ranges, WeightUse use) const {
  UNICORN_ASSIGN(WeightRef w, matrix(name, n, k, use));
  const TensorView whole = w.parts[0];
  const std::size_t block = dtype_info(whole.dtype).block;
  w.parts.clear();
  w.k = 0;
  w.stack = WeightRef::Stack::columns;
  for (const WeightRange& r : ranges) {
    UNICORN_CHECK(r.first + r.count <= k);
    for (const std::size_t at : {r.first, r.first + r.count})
      if (at % block != 0) {
        UNICORN_ASSIGN(const TensorEntry* t, find(name, {n, k}));
        return off_block(*t, at);
      }
    TensorView part = whole;
    part.data = whole.data + row_bytes(whole.dtype, r.first);
    part.shape = {n, r.count};
    w.parts.push_back(part);
    w.k += r.count;
  }
  w.as = run_dtype(name, whole.dtype, w.k);
  return w;
}

Result<WeightRef> WeightSource::stack(std::string_view name, std::size_t count, std::size_t n, std::size_t k) const {
  if (naming_ == Naming::gguf) return matrix(name, count * n, k);
  WeightRef w;
  w.name = name;
  w.n = count * n;
  w.k = k;
  const std::string pattern = file_name(name);
  for (std::size_t i = 0; i < count; ++i) {
    const std::string wanted = fmt::format(fmt::runtime(pattern), i);
    const TensorEntry* t = table_->find(wanted);
    if (t == nullptr)
      return Error{ErrorCode::not_found,
                   fmt::format("{}: tensor '{}' is missing ({} expected)",
                               table_->files().empty() ? "model" : table_->files().front()->path(), wanted,
                               to_string(Shape{n, k}))};
    if (t->view.shape.n_rows() != n || t->view.shape.k() != k) return wrong_shape(*t, {n, k});
    w.parts.push_back(as_matrix(t->view));
    w.as = run_dtype(name, t->view.dtype, k);
  }
  return w;
}

Result<WeightRef> WeightSource::vector(std::string_view name, std::size_t n, float add) const {
  UNICORN_ASSIGN(const TensorEntry* t, find(name, {n}));
  if (t->view.shape.n_elements() != n) return wrong_shape(*t, {n});
  auto values = std::make_shared<std::vector<float>>(n);
  const std::size_t k = t->view.shape.k();
  for (std::size_t row = 0; row * k < n; ++row)
    decode_row(t->view.dtype, t->view.row(row), values->data() + row * k, k);
  for (float& v : *values) v += add;
  WeightRef w;
  w.name = name;
  w.n = 1;
  w.k = n;
  w.use = WeightUse::vector;
  w.as = DType::f32;
  w.parts = {TensorView{DType::f32, {1, n}, reinterpret_cast<const std::byte*>(values->data()), n * sizeof(float)}};
  w.owner = values;
  return w;
}

}  // namespace unicorn
