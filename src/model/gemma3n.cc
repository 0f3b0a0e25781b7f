// Gemma 3n (E2B, E4B and MatFormer mixes): the text decoder as a plan.
// Formulas: transformers models/gemma3n/modeling_gemma3n.py; names in step order: docs/token.md.
//
// The row domain changes once. Nothing reads an upper layer's rows but the row's own logits, because the upper layers
// reuse the K and V of earlier ones. So after the last layer that owns K and V has stored them, only the output rows
// go on: in prefill that skips a third (E2B) to nearly a half (E4B) of all work.
#include <cmath>

#include "model/model.h"
#include "model/plan_builder.h"

namespace unicorn {
namespace {

struct LayerWeights {
  WeightId attn_norm, attn_q, attn_k, attn_v, attn_q_norm, attn_k_norm, attn_output, post_attention_norm;
  WeightId ffn_norm, ffn_gate, ffn_up, ffn_down, post_ffw_norm;
  WeightId inp_gate, proj, post_norm;
  WeightId predict_coef, correct_coef, correct_scale, router, router_norm;
  WeightId laurel_l, laurel_r, laurel_post_norm;
};

// The activations of one row domain.
struct Registers {
  TensorRef streams, predicted, normed;  // [n_streams · d_model] twice, [d_model]
  TensorRef q, k, v, laurel_low;         // [n_heads · head_dim], [n_kv_heads · head_dim] twice, [laurel_rank]
  TensorRef attn, o, laurel;             // [n_heads · head_dim], [d_model] twice
  TensorRef residual, h;                 // [d_model]
  TensorRef ple;                         // [layers of this domain · ple_width]
  TensorRef e, ple_rows, ple_projected;  // [d_model], as ple
};

class Gemma3n {
 public:
  Gemma3n(const ModelConfig& config, const WeightSource& source) : c_(config), source_(source) {}

  Result<Plan> build() {
    p_.plan.n_layers = c_.n_layers();
    p_.plan.n_vocab = c_.n_vocab;
    p_.plan.rms_eps = c_.rms_eps;
    const std::uint32_t last_owner = c_.first_shared() - 1;
    all_ = registers(Rows::all, "", last_owner);
    out_ = registers(Rows::output, "out_", c_.n_layers() - last_owner);
    UNICORN_TRY(inputs(last_owner));
    const Registers* r = &all_;
    for (std::uint32_t l = 0; l < c_.n_layers(); ++l) {
      UNICORN_ASSIGN(const LayerWeights w, load_layer(l));
      if (l == last_owner) {
        cut(w, l);
        r = &out_;
      }
      layer(*r, w, l, l <= last_owner ? l : l - last_owner, l == last_owner);
    }
    UNICORN_TRY(outputs());
    return std::move(p_.plan);
  }

 private:
  Registers registers(Rows rows, const std::string& prefix, std::uint32_t n_ple_layers) {
    const std::uint32_t d = c_.d_model, s = c_.n_streams * d, q = c_.n_heads * c_.head_dim,
                        kv = c_.n_kv_heads * c_.head_dim;
    const auto t = [&](const char* name, std::uint32_t width) { return p_.tensor(prefix + name, width, rows); };
    Registers r;
    r.streams = t("streams", s);
    r.predicted = t("predicted", s);
    r.normed = t("normed", d);
    r.q = t("q", q);
    r.k = t("k", kv);
    r.v = t("v", kv);
    r.laurel_low = t("laurel_low", c_.laurel_rank);
    r.attn = t("attn", q);
    r.o = t("o", d);
    r.laurel = t("laurel", d);
    r.residual = t("residual", d);
    r.h = t("h", d);
    r.ple = t("ple", n_ple_layers * c_.ple_width);
    r.e = t("embedding", d);
    r.ple_rows = t("ple_rows", r.ple.width);
    r.ple_projected = t("ple_projected", r.ple.width);
    return r;
  }

  // Token embedding, per-layer inputs and the streams, for all rows; the per-layer inputs of the upper layers for the
  // output rows alone.
  Status inputs(std::uint32_t last_owner) {
    const std::uint32_t d = c_.d_model;
    const float scale = std::sqrt(static_cast<float>(d));
    UNICORN_ASSIGN(WeightRef embedding,
                   source_.matrix("token_embd", c_.n_vocab, d, c_.tied_head ? WeightUse::both : WeightUse::rows));
    token_embd_ = p_.add(std::move(embedding));
    UNICORN_ASSIGN(WeightRef altup, source_.stack("altup_proj", c_.n_streams - 1, d, d));
    const WeightId altup_proj = p_.add(std::move(altup));
    UNICORN_ASSIGN(WeightRef norm, source_.vector("per_layer_proj_norm", c_.ple_width));
    const WeightId proj_norm = p_.add(std::move(norm));

    // Layer last_owner is computed in the output domain: its inputs belong there.
    p_.at(-1, Rows::all);
    p_.step(op::Embed{token_embd_, scale, all_.e});
    const TensorRef projected = p_.tensor("altup_projected", (c_.n_streams - 1) * d, Rows::all);
    std::vector<op::MatmulPart> parts{{altup_proj, projected}};
    UNICORN_TRY(per_layer_inputs(all_, proj_norm, 0, last_owner, std::move(parts)));
    p_.step(op::AltupInit{all_.e, projected, all_.streams});

    p_.at(-1, Rows::output);
    p_.step(op::TakeOutputRows{all_.e, out_.e});
    return per_layer_inputs(out_, proj_norm, last_owner, c_.n_layers(), {});
  }

  // The per-layer inputs of layers [first, last) from the registers' embedding; `parts` are matmuls to read it with.
  Status per_layer_inputs(Registers& r, WeightId norm, std::uint32_t first, std::uint32_t last,
                          std::vector<op::MatmulPart> parts) {
    const std::uint32_t w = c_.ple_width, width = (last - first) * w;
    const std::size_t stored = std::size_t{c_.n_layers_in_file} * w;
    std::vector<WeightRange> ranges;
    for (std::uint32_t l = first; l < last; ++l) {
      const std::size_t at = std::size_t{c_.layers[l].source} * w;
      if (!ranges.empty() && ranges.back().first + ranges.back().count == at)
        ranges.back().count += w;
      else
        ranges.push_back({at, w});
    }
    const bool any = width > 0;
    if (any) {
      UNICORN_ASSIGN(WeightRef proj, source_.matrix_rows("per_layer_model_proj", stored, c_.d_model, ranges));
      parts.push_back({p_.add(std::move(proj)), columns(r.ple_projected, 0, width)});
    }
    p_.step(op::Matmul{r.e, std::move(parts)});
    if (!any) return Ok{};
    UNICORN_ASSIGN(WeightRef rows,
                   source_.matrix_columns("per_layer_token_embd", c_.n_ple_vocab, stored, ranges, WeightUse::rows));
    const TensorRef table_rows = columns(r.ple_rows, 0, width);
    p_.step(op::Embed{p_.add(std::move(rows)), std::sqrt(static_cast<float>(w)), table_rows});
    p_.step(op::PleCombine{columns(r.ple_projected, 0, width), table_rows, norm, w,
                           1.0f / std::sqrt(static_cast<float>(c_.d_model)), 1.0f / std::sqrt(2.0f),
                           columns(r.ple, 0, width)});
    return Ok{};
  }

  Result<LayerWeights> load_layer(std::uint32_t l) {
    const std::string blk = "blk." + std::to_string(c_.layers[l].source) + ".";
    const std::size_t d = c_.d_model, q = c_.n_heads * c_.head_dim, kv = c_.n_kv_heads * c_.head_dim, s = c_.n_streams;
    const std::size_t ff = c_.layers[l].d_ff;
    Status status = Ok{};
    const auto take = [&](Result<WeightRef> w) {
      if (!status.ok()) return kNoWeight;
      if (!w.ok()) {
        status = std::move(w).error();
        return kNoWeight;
      }
      return p_.add(std::move(w).value());
    };
    const auto matrix = [&](const char* name, std::size_t n, std::size_t k) {
      return take(source_.matrix(blk + name, n, k));
    };
    const auto vector = [&](const char* name, std::size_t n) { return take(source_.vector(blk + name, n)); };
    const std::size_t stored_ff = c_.layers[l].d_ff_in_file;

    LayerWeights w{};
    w.attn_norm = vector("attn_norm", d);
    w.attn_q = matrix("attn_q", q, d);
    w.attn_q_norm = vector("attn_q_norm", c_.head_dim);
    w.attn_k = w.attn_v = w.attn_k_norm = kNoWeight;
    if (l < c_.first_shared()) {
      w.attn_k = matrix("attn_k", kv, d);
      w.attn_v = matrix("attn_v", kv, d);
      w.attn_k_norm = vector("attn_k_norm", c_.head_dim);
    }
    w.attn_output = matrix("attn_output", d, q);
    w.post_attention_norm = vector("post_attention_norm", d);
    w.ffn_norm = vector("ffn_norm", d);
    w.ffn_gate = take(source_.matrix_rows(blk + "ffn_gate", stored_ff, d, {{0, ff}}));
    const auto sparse = [&](Result<WeightRef> weight, WeightRef::Sparse what) {
      if (weight.ok() && c_.layers[l].sparsity_z) weight->sparse = what;
      return weight;
    };
    w.ffn_up = take(sparse(source_.matrix_rows(blk + "ffn_up", stored_ff, d, {{0, ff}}), WeightRef::Sparse::rows));
    w.ffn_down = take(sparse(source_.matrix_columns(blk + "ffn_down", d, stored_ff, {{0, ff}}, WeightUse::matmul),
                             WeightRef::Sparse::columns));
    w.post_ffw_norm = vector("post_ffw_norm", d);
    w.inp_gate = matrix("inp_gate", c_.ple_width, d);
    w.proj = matrix("proj", d, c_.ple_width);
    w.post_norm = vector("post_norm", d);
    // Hugging Face clamps the coefficients to ±altup_coef_clip in training only.
    w.predict_coef = vector("altup_predict_coef", s * s * s);
    w.correct_coef = vector("altup_correct_coef", s * s);
    w.correct_scale = c_.altup_correct_scale ? vector("altup_correct_scale", d) : kNoWeight;
    w.router = vector("altup_router", s * d);
    w.router_norm = vector("altup_router_norm", d);
    w.laurel_l = matrix("laurel_l", c_.laurel_rank, d);
    w.laurel_r = matrix("laurel_r", d, c_.laurel_rank);
    w.laurel_post_norm = vector("laurel_post_norm", d);
    UNICORN_TRY(std::move(status));
    return w;
  }

  op::AltupRouter router(const LayerWeights& w) const {
    return {w.router_norm, w.router, 1.0f / static_cast<float>(c_.d_model)};
  }
  const Rope& rope(std::uint32_t l) const { return c_.layers[l].sliding ? c_.rope_sliding : c_.rope_full; }
  std::uint32_t window(std::uint32_t l) const { return c_.layers[l].sliding ? c_.window : 0; }

  // What the last owning layer does for every row: K and V, nothing else. Then the output rows go on alone.
  void cut(const LayerWeights& w, std::uint32_t l) {
    p_.at(static_cast<std::int32_t>(l), Rows::all);
    const TensorRef active = columns(all_.predicted, 0, c_.d_model);
    p_.step(op::AltupPredict{all_.streams, router(w), w.predict_coef, w.attn_norm, c_.n_streams, active, all_.normed});
    p_.step(op::Matmul{all_.normed, {{w.attn_k, all_.k}, {w.attn_v, all_.v}}});
    store_kv(all_, w, l);
    p_.at(static_cast<std::int32_t>(l), Rows::output);
    p_.step(op::TakeOutputRows{all_.streams, out_.streams});
  }

  void store_kv(const Registers& r, const LayerWeights& w, std::uint32_t l) {
    kv_of_layer_.push_back(add_kv_layer(p_.plan, window(l), c_.n_kv_heads, c_.head_dim));
    p_.step(op::KvStore{r.k, r.v, w.attn_k_norm, true, rope(l), kv_of_layer_.back()});
  }

  // The cache a layer reads: its own, or that of the last owning layer of its type.
  std::uint32_t kv_source(std::uint32_t l) const {
    for (std::uint32_t j = std::min(l, c_.first_shared() - 1) + 1; j-- > 0;)
      if (c_.layers[j].sliding == c_.layers[l].sliding) return kv_of_layer_[j];
    UNICORN_CHECK(false);
    return 0;
  }

  void layer(const Registers& r, const LayerWeights& w, std::uint32_t l, std::uint32_t ple_index, bool kv_is_stored) {
    const std::uint32_t d = c_.d_model;
    const LayerConfig& config = c_.layers[l];
    const bool owns_kv = l < c_.first_shared() && !kv_is_stored;
    if (kv_is_stored) ple_index = 0;
    p_.at(static_cast<std::int32_t>(l), &r == &all_ ? Rows::all : Rows::output);

    p_.step(op::AltupPredict{r.streams, router(w), w.predict_coef, w.attn_norm, c_.n_streams, r.predicted, r.normed});
    const TensorRef active = columns(r.predicted, 0, d);

    std::vector<op::MatmulPart> parts{{w.attn_q, r.q}};
    if (owns_kv) parts.insert(parts.end(), {{w.attn_k, r.k}, {w.attn_v, r.v}});
    parts.push_back({w.laurel_l, r.laurel_low});
    p_.step(op::Matmul{r.normed, std::move(parts)});
    if (owns_kv) store_kv(r, w, l);
    p_.step(op::QNormRope{r.q, w.attn_q_norm, c_.head_dim, rope(l)});
    p_.step(op::Attention{r.q, kv_source(l), c_.n_heads, window(l), c_.attention_scale, r.attn});
    p_.step(op::Matmul{r.attn, {{w.attn_output, r.o}}});
    p_.step(op::Matmul{r.laurel_low, {{w.laurel_r, r.laurel}}});
    p_.step(op::LaurelMerge{active, r.o, r.normed, r.laurel, w.post_attention_norm, w.laurel_post_norm, w.ffn_norm,
                            r.residual, r.h});
    p_.step(op::Ffn{r.h, w.ffn_gate, w.ffn_up, w.ffn_down, config.d_ff, config.sparsity_z, c_.sample_std, r.o});
    p_.step(op::AltupCorrect{r.o, r.residual, r.predicted, w.post_ffw_norm, router(w), w.correct_coef, w.correct_scale,
                             c_.n_streams, r.streams, r.h});
    p_.step(op::PleInject{r.h, columns(r.ple, ple_index * c_.ple_width, c_.ple_width), r.streams, w.inp_gate, w.proj,
                          w.post_norm, c_.n_streams});
  }

  Status outputs() {
    const std::uint32_t d = c_.d_model, n = c_.n_streams;
    UNICORN_ASSIGN(WeightRef unembed, source_.stack("altup_unembd_proj", n - 1, d, d));
    const TensorView stacked = unembed.parts[0];
    const TensorRef projected = p_.tensor("unembedded", (n - 1) * d, Rows::output);
    p_.at(static_cast<std::int32_t>(c_.n_layers()), Rows::output);
    for (std::uint32_t i = 0; i + 1 < n; ++i) {  // stream i + 1 has a matrix of its own
      WeightRef one = unembed;
      one.name = "altup_unembd_proj." + std::to_string(i);
      one.n = d;
      if (unembed.parts.size() > 1) {
        one.parts = {unembed.parts[i]};
      } else {
        one.parts = {stacked};
        one.parts[0].data = stacked.row(std::size_t{i} * d);
        one.parts[0].shape = {d, d};
      }
      p_.step(
          op::Matmul{columns(out_.streams, (i + 1) * d, d), {{p_.add(std::move(one)), columns(projected, i * d, d)}}});
    }
    UNICORN_ASSIGN(WeightRef norm, source_.vector("output_norm", d));
    p_.step(op::AltupMerge{out_.streams, projected, p_.add(std::move(norm)), n, out_.h});
    WeightId head = token_embd_;
    if (!c_.tied_head) {
      UNICORN_ASSIGN(WeightRef output, source_.matrix("output", c_.n_vocab, d));
      head = p_.add(std::move(output));
    }
    const TensorRef logits = p_.tensor("logits", c_.n_vocab, Rows::output);
    p_.step(op::Logits{out_.h, head, c_.final_softcap, logits});
    p_.plan.hidden = out_.h.id;
    p_.plan.logits = logits.id;
    return Ok{};
  }

  const ModelConfig& c_;
  const WeightSource& source_;
  PlanBuilder p_;
  Registers all_, out_;
  WeightId token_embd_{};
  std::vector<std::uint32_t> kv_of_layer_;
};

}  // namespace

Result<Plan> build_gemma3n(const ModelConfig& config, const WeightSource& weights) {
  return Gemma3n(config, weights).build();
}

}  // namespace unicorn
