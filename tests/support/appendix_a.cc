#include "tests/support/appendix_a.h"

#include <cmath>

namespace unicorn::testing {
namespace {

float value_at(std::uint64_t name_hash, std::uint64_t i, double base, double scale) {
  std::uint64_t z = name_hash + (i + 1) * 0x9E3779B97F4A7C15ull;
  z ^= z >> 30;
  z *= 0xBF58476D1CE4E5B9ull;
  z ^= z >> 27;
  z *= 0x94D049BB133111EBull;
  z ^= z >> 31;
  const double u = static_cast<double>(z >> 40) / 16777216.0;
  return static_cast<float>(base + scale * (2 * u - 1));
}

std::uint64_t fnv1a(const std::string& text) {
  std::uint64_t h = 0xcbf29ce484222325ull;
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return h;
}

void add(TinyModel& m, const std::string& name, Shape shape) {
  const std::string full = name + ".weight";
  const bool norm = name.ends_with("norm") || name.ends_with("altup_correct_scale");
  double base = 0, scale = 1.0 / std::sqrt(static_cast<double>(shape.k()));
  if (norm) base = 1, scale = 0.25;
  if (name == "per_layer_token_embd") scale = 1.0 / 16;
  if (name.ends_with("altup_predict_coef") || name.ends_with("altup_correct_coef")) scale = 0.125;
  if (name.ends_with("altup_router")) scale = 1.0;
  std::vector<float>& values = m.storage.emplace_back(shape.n_elements());
  const std::uint64_t hash = fnv1a(full);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = value_at(hash, i, base, scale);
  const TensorView view{DType::f32, shape, reinterpret_cast<const std::byte*>(values.data()),
                        shape.k() * sizeof(float)};
  UNICORN_CHECK(m.table.add({full, view, "generated"}).ok());
}

}  // namespace

std::unique_ptr<TinyModel> appendix_a_model(bool sample_std) {
  constexpr std::uint32_t kLayers = 25, kD = 256, kHead = 64, kHeads = 4, kKvHeads = 2, kFf = 512, kVocab = 320,
                          kPle = 256, kRank = 64;
  auto m = std::make_unique<TinyModel>();
  ModelConfig& c = m->config;
  c.family = Family::gemma3n;
  c.n_layers_in_file = kLayers;
  c.d_model = kD;
  c.n_heads = kHeads;
  c.n_kv_heads = kKvHeads;
  c.head_dim = kHead;
  c.n_vocab = c.n_ple_vocab = kVocab;
  c.n_ctx = 64;
  c.window = 8;
  c.rope_full.theta = 1e6f;
  c.rope_sliding.theta = 1e4f;
  c.final_softcap = 30.0f;
  c.n_kv_shared = 5;
  c.ple_width = kPle;
  c.laurel_rank = kRank;
  c.n_streams = 4;
  c.sample_std = sample_std;
  for (std::uint32_t l = 0; l < kLayers; ++l) {
    LayerConfig layer{l, kFf, kFf, (l + 1) % 5 != 0, {}};
    if (l < 10) layer.sparsity_z = 1.6448533535003662f;
    c.layers.push_back(layer);
  }
  add(*m, "token_embd", {kVocab, kD});
  add(*m, "per_layer_token_embd", {kVocab, kPle * kLayers});
  add(*m, "per_layer_model_proj", {kPle * kLayers, kD});
  add(*m, "per_layer_proj_norm", {kPle});
  add(*m, "altup_proj", {3, kD, kD});
  add(*m, "altup_unembd_proj", {3, kD, kD});
  add(*m, "output_norm", {kD});
  for (std::uint32_t l = 0; l < kLayers; ++l) {
    const std::string blk = "blk." + std::to_string(l) + ".";
    for (const char* name : {"attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm", "post_norm",
                             "laurel_post_norm", "altup_router_norm", "altup_correct_scale"})
      add(*m, blk + name, {kD});
    for (const char* name : {"attn_q_norm", "attn_k_norm"}) add(*m, blk + name, {kHead});
    add(*m, blk + "attn_q", {kHeads * kHead, kD});
    add(*m, blk + "attn_k", {kKvHeads * kHead, kD});
    add(*m, blk + "attn_v", {kKvHeads * kHead, kD});
    add(*m, blk + "attn_output", {kD, kHeads * kHead});
    add(*m, blk + "ffn_gate", {kFf, kD});
    add(*m, blk + "ffn_up", {kFf, kD});
    add(*m, blk + "ffn_down", {kD, kFf});
    add(*m, blk + "inp_gate", {kPle, kD});
    add(*m, blk + "proj", {kD, kPle});
    add(*m, blk + "altup_correct_coef", {4, 4});
    add(*m, blk + "altup_predict_coef", {16, 4});
    add(*m, blk + "altup_router", {4, kD});
    add(*m, blk + "laurel_l", {kRank, kD});
    add(*m, blk + "laurel_r", {kD, kRank});
  }
  return m;
}

}  // namespace unicorn::testing
