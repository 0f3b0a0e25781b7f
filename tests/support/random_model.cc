#include "tests/support/random_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "model/model.h"
#include "quant/block.h"

namespace unicorn::testing {
namespace {

class Maker {
 public:
  Maker(RandomModel& model, std::uint64_t seed) : m_(model), random_(seed) {}

  // Rows of mean 0, so that x of magnitude 1 gives y of magnitude `gain`.
  void matrix(const std::string& name, Shape shape, DType dtype, float gain = 1.0f) {
    if (shape.k() % dtype_info(dtype).block != 0) dtype = DType::f32;
    std::normal_distribution<float> normal(0.0f, gain / std::sqrt(static_cast<float>(shape.k())));
    std::vector<float> row(shape.k());
    const std::size_t n_row_bytes = row_bytes(dtype, shape.k());
    std::vector<std::byte>& bytes = m_.storage.emplace_back(shape.n_rows() * n_row_bytes);
    for (std::size_t i = 0; i < shape.n_rows(); ++i) {
      for (float& v : row) v = normal(random_);
      encode_row(dtype, row.data(), bytes.data() + i * n_row_bytes, shape.k());
    }
    put(name, shape, dtype, bytes, n_row_bytes);
  }

  void vector(const std::string& name, Shape shape, float mean, float deviation) {
    std::normal_distribution<float> normal(mean, deviation);
    std::vector<std::byte>& bytes = m_.storage.emplace_back(shape.n_elements() * sizeof(float));
    for (std::size_t i = 0; i < shape.n_elements(); ++i) {
      const float v = normal(random_);
      std::memcpy(bytes.data() + i * sizeof(float), &v, sizeof v);
    }
    put(name, shape, DType::f32, bytes, shape.k() * sizeof(float));
  }
  void norm(const std::string& name, std::size_t n) { vector(name, {n}, 1.0f, 0.2f); }

 private:
  void put(const std::string& name, Shape shape, DType dtype, const std::vector<std::byte>& bytes, std::size_t stride) {
    UNICORN_CHECK(m_.table.add({name + ".weight", {dtype, shape, bytes.data(), stride}, "random"}).ok());
  }

  RandomModel& m_;
  std::mt19937_64 random_;
};

}  // namespace

std::unique_ptr<RandomModel> random_model(const RandomShape& s, std::uint64_t seed) {
  auto m = std::make_unique<RandomModel>();
  const bool is_3n = s.family == Family::gemma3n;
  ModelConfig& c = m->config;
  c.family = s.family;
  c.n_layers_in_file = s.n_layers;
  c.d_model = s.d_model;
  c.n_heads = s.n_heads;
  c.n_kv_heads = s.n_kv_heads;
  c.head_dim = s.head_dim;
  c.n_vocab = s.n_vocab;
  c.n_ctx = 4096;
  c.window = s.window;
  c.rope_full = s.rope_full;
  c.rope_sliding = s.rope_sliding;
  c.final_softcap = s.softcap;
  c.attention_scale = is_3n ? 1.0f / 4 : 1.0f / std::sqrt(static_cast<float>(s.head_dim));
  if (is_3n) {
    c.n_kv_shared = s.n_kv_shared;
    c.ple_width = s.ple_width;
    c.n_ple_vocab = s.n_vocab - 10;  // the last ids have no row
    c.laurel_rank = s.laurel_rank;
    c.n_streams = s.n_streams;
    c.sample_std = s.sample_std;
  }
  Maker make(*m, seed);
  const std::size_t d = s.d_model, q = std::size_t{s.n_heads} * s.head_dim, kv = std::size_t{s.n_kv_heads} * s.head_dim;
  make.matrix("token_embd", {s.n_vocab, d}, s.tables);
  make.norm("output_norm", d);
  if (is_3n) {
    const std::size_t ple = std::size_t{s.ple_width} * s.n_layers;
    make.matrix("per_layer_token_embd", {c.n_ple_vocab, ple}, s.tables, 3.0f);
    make.matrix("per_layer_model_proj", {ple, d}, DType::bf16);
    make.norm("per_layer_proj_norm", s.ple_width);
    make.matrix("altup_proj", {s.n_streams - 1u, d, d}, DType::f16);
    make.matrix("altup_unembd_proj", {s.n_streams - 1u, d, d}, DType::f16);
  }
  for (std::uint32_t l = 0; l < s.n_layers; ++l) {
    const std::uint32_t ff = s.d_ff[std::min<std::size_t>(l, s.d_ff.size() - 1)];
    LayerConfig layer{l, ff, ff, (l + 1) % s.full_every != 0, {}};
    if (is_3n && l < s.n_sparse) layer.sparsity_z = 1.6448533535003662f;
    c.layers.push_back(layer);
    const std::string blk = "blk." + std::to_string(l) + ".";
    for (const char* name : {"attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"}) make.norm(blk + name, d);
    for (const char* name : {"attn_q_norm", "attn_k_norm"}) make.norm(blk + name, s.head_dim);
    make.matrix(blk + "attn_q", {q, d}, s.matrices);
    make.matrix(blk + "attn_k", {kv, d}, s.matrices);
    make.matrix(blk + "attn_v", {kv, d}, s.matrices);
    make.matrix(blk + "attn_output", {d, q}, s.matrices);
    make.matrix(blk + "ffn_gate", {ff, d}, s.matrices);
    make.matrix(blk + "ffn_up", {ff, d}, s.matrices);
    make.matrix(blk + "ffn_down", {d, ff}, s.matrices);
    if (!is_3n) continue;
    for (const char* name : {"post_norm", "laurel_post_norm", "altup_router_norm", "altup_correct_scale"})
      make.norm(blk + name, d);
    make.matrix(blk + "inp_gate", {s.ple_width, d}, s.matrices);
    make.matrix(blk + "proj", {d, s.ple_width}, s.matrices);
    make.vector(blk + "altup_correct_coef", {s.n_streams, s.n_streams}, 0.0f, 0.2f);
    make.vector(blk + "altup_predict_coef", {s.n_streams * s.n_streams, s.n_streams}, 0.0f, 0.2f);
    make.vector(blk + "altup_router", {s.n_streams, d}, 0.0f, 1.0f);
    make.matrix(blk + "laurel_l", {s.laurel_rank, d}, DType::bf16);
    make.matrix(blk + "laurel_r", {d, s.laurel_rank}, DType::bf16);
  }
  return m;
}

Plan plan_of(const RandomModel& model, std::optional<DType> requested) {
  const WeightSource source(model.table, Naming::gguf, requested);
  Result<Plan> plan = build_plan(model.config, source);
  UNICORN_CHECK_MSG(plan.ok(), plan.error().message);
  return std::move(plan).value();
}

}  // namespace unicorn::testing
