// Gemma 3 (270M, 1B, 4B, 12B, 27B): the text decoder as a plan.
// Formulas: transformers models/gemma3/modeling_gemma3.py.
//
// As in every decoder, nothing reads the last layer's rows but their own logits: there, all rows store K and V, and
// only the output rows go on.
#include <cmath>

#include "model/model.h"
#include "model/plan_builder.h"

namespace unicorn {
namespace {

struct LayerWeights {
  WeightId attn_q, attn_k, attn_v, attn_q_norm, attn_k_norm, attn_output, post_attention_norm;
  WeightId ffn_norm, ffn_gate, ffn_up, ffn_down, post_ffw_norm;
};

// The activations of one row domain.
struct Registers {
  TensorRef x, h;     // [d_model]: the residual stream, and a normed or projected row
  TensorRef q, k, v;  // [n_heads · head_dim], [n_kv_heads · head_dim] twice
  TensorRef attn, o;  // [n_heads · head_dim], [d_model]
};

class Gemma3 {
 public:
  Gemma3(const ModelConfig& config, const WeightSource& source) : c_(config), source_(source) {}

  Result<Plan> build() {
    p_.plan.n_layers = c_.n_layers();
    p_.plan.n_vocab = c_.n_vocab;
    p_.plan.rms_eps = c_.rms_eps;
    all_ = registers(Rows::all, "");
    out_ = registers(Rows::output, "out_");

    UNICORN_ASSIGN(WeightRef embedding, source_.matrix("token_embd", c_.n_vocab, c_.d_model,
                                                       c_.tied_head ? WeightUse::both : WeightUse::rows));
    const WeightId token_embd = p_.add(std::move(embedding));
    p_.at(-1, Rows::all);
    p_.step(op::Embed{token_embd, std::sqrt(static_cast<float>(c_.d_model)), all_.x});
    UNICORN_ASSIGN(WeightId next_norm, norm("blk.0.attn_norm", c_.d_model));
    p_.step(op::RmsNorm{all_.x, next_norm, c_.d_model, all_.h});

    const std::uint32_t last = c_.n_layers() - 1;
    for (std::uint32_t l = 0; l <= last; ++l) {
      UNICORN_ASSIGN(const LayerWeights w, load_layer(l));
      UNICORN_ASSIGN(next_norm,
                     norm(l == last ? "output_norm" : "blk." + std::to_string(l + 1) + ".attn_norm", c_.d_model));
      layer(w, l, next_norm, l == last);
    }

    p_.at(static_cast<std::int32_t>(c_.n_layers()), Rows::output);
    WeightId head = token_embd;
    if (!c_.tied_head) {
      UNICORN_ASSIGN(WeightRef output, source_.matrix("output", c_.n_vocab, c_.d_model));
      head = p_.add(std::move(output));
    }
    const TensorRef logits = p_.tensor("logits", c_.n_vocab, Rows::output);
    p_.step(op::Logits{out_.h, head, c_.final_softcap, logits});
    p_.plan.hidden = out_.h.id;
    p_.plan.logits = logits.id;
    return std::move(p_.plan);
  }

 private:
  Registers registers(Rows rows, const std::string& prefix) {
    const std::uint32_t q = c_.n_heads * c_.head_dim, kv = c_.n_kv_heads * c_.head_dim;
    const auto t = [&](const char* name, std::uint32_t width) { return p_.tensor(prefix + name, width, rows); };
    return {t("x", c_.d_model), t("h", c_.d_model), t("q", q),         t("k", kv),
            t("v", kv),         t("attn", q),       t("o", c_.d_model)};
  }

  // Hugging Face stores w of a norm that multiplies by 1 + w; GGUF stores 1 + w.
  Result<WeightId> norm(const std::string& name, std::size_t n) {
    UNICORN_ASSIGN(WeightRef w, source_.vector(name, n, source_.naming() == Naming::hugging_face ? 1.0f : 0.0f));
    return p_.add(std::move(w));
  }

  Result<LayerWeights> load_layer(std::uint32_t l) {
    const std::string blk = "blk." + std::to_string(l) + ".";
    const std::size_t d = c_.d_model, q = c_.n_heads * c_.head_dim, kv = c_.n_kv_heads * c_.head_dim,
                      ff = c_.layers[l].d_ff;
    Status status = Ok{};
    const auto matrix = [&](const char* name, std::size_t n, std::size_t k) {
      if (!status.ok()) return kNoWeight;
      Result<WeightRef> w = source_.matrix(blk + name, n, k);
      if (w.ok()) return p_.add(std::move(w).value());
      status = std::move(w).error();
      return kNoWeight;
    };
    const auto vector = [&](const char* name, std::size_t n) {
      if (!status.ok()) return kNoWeight;
      Result<WeightId> w = norm(blk + name, n);
      if (w.ok()) return w.value();
      status = std::move(w).error();
      return kNoWeight;
    };
    LayerWeights w{};
    w.attn_q = matrix("attn_q", q, d);
    w.attn_k = matrix("attn_k", kv, d);
    w.attn_v = matrix("attn_v", kv, d);
    w.attn_q_norm = vector("attn_q_norm", c_.head_dim);
    w.attn_k_norm = vector("attn_k_norm", c_.head_dim);
    w.attn_output = matrix("attn_output", d, q);
    w.post_attention_norm = vector("post_attention_norm", d);
    w.ffn_norm = vector("ffn_norm", d);
    w.ffn_gate = matrix("ffn_gate", ff, d);
    w.ffn_up = matrix("ffn_up", ff, d);
    w.ffn_down = matrix("ffn_down", d, ff);
    w.post_ffw_norm = vector("post_ffw_norm", d);
    UNICORN_TRY(std::move(status));
    return w;
  }

  void layer(const LayerWeights& w, std::uint32_t l, WeightId next_norm, bool is_last) {
    const bool sliding = c_.layers[l].sliding;
    const Rope& rope = sliding ? c_.rope_sliding : c_.rope_full;
    const std::uint32_t window = sliding ? c_.window : 0;
    const std::uint32_t kv = add_kv_layer(p_.plan, window, c_.n_kv_heads, c_.head_dim);

    p_.at(static_cast<std::int32_t>(l), Rows::all);
    std::vector<op::MatmulPart> parts{{w.attn_k, all_.k}, {w.attn_v, all_.v}};
    if (!is_last) parts.insert(parts.begin(), {w.attn_q, all_.q});
    p_.step(op::Matmul{all_.h, std::move(parts)});
    p_.step(op::KvStore{all_.k, all_.v, w.attn_k_norm, false, rope, kv});
    const Registers& r = is_last ? out_ : all_;
    if (is_last) {
      p_.at(static_cast<std::int32_t>(l), Rows::output);
      p_.step(op::TakeOutputRows{all_.x, out_.x});
      p_.step(op::TakeOutputRows{all_.h, out_.h});
      p_.step(op::Matmul{out_.h, {{w.attn_q, out_.q}}});
    }
    p_.step(op::QNormRope{r.q, w.attn_q_norm, c_.head_dim, rope});
    p_.step(op::Attention{r.q, kv, c_.n_heads, window, c_.attention_scale, r.attn});
    p_.step(op::Matmul{r.attn, {{w.attn_output, r.o}}});
    p_.step(op::AddRmsNorm{r.x, r.o, w.post_attention_norm, w.ffn_norm, r.h});
    p_.step(op::Ffn{r.h, w.ffn_gate, w.ffn_up, w.ffn_down, c_.layers[l].d_ff, std::nullopt, false, r.o});
    p_.step(op::AddRmsNorm{r.x, r.o, w.post_ffw_norm, next_norm, r.h});
  }

  const ModelConfig& c_;
  const WeightSource& source_;
  PlanBuilder p_;
  Registers all_, out_;
};

}  // namespace

Result<Plan> build_gemma3(const ModelConfig& config, const WeightSource& weights) {
  return Gemma3(config, weights).build();
}

}  // namespace unicorn
