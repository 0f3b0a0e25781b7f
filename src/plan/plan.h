// Plan: a model's forward pass in words every device understands. A model builds it once; backends compile ranges
// of it; the engine places them. Steps are coarse and fused (about a dozen per layer), each with a row domain.
//
// Tensors of a plan are activations f32[rows, width]; the rows come with each batch: all its rows, or only those
// whose logits are wanted (Rows::output). y[m, n] = x[m, k] · W[n, k]ᵀ throughout.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/dtype.h"
#include "core/result.h"
#include "plan/weight_ref.h"

namespace unicorn {

enum class Rows : std::uint8_t { all, output };

enum class TensorId : std::uint32_t {};
enum class WeightId : std::uint32_t {};
inline constexpr WeightId kNoWeight{0xffffffffu};
inline constexpr std::size_t index(TensorId id) { return static_cast<std::size_t>(id); }
inline constexpr std::size_t index(WeightId id) { return static_cast<std::size_t>(id); }

// Columns [offset, offset + width) of an activation.
struct TensorRef {
  TensorId id{};
  std::uint32_t offset = 0;
  std::uint32_t width = 0;
};

struct TensorInfo {
  std::string name;  // "ffn_norm.3": for dumps and messages
  std::uint32_t width = 0;
  Rows rows = Rows::all;
};

// Rotary embedding, half-split pairing (arXiv 2104.09864 §3.4.2): angle = pos · freq_scale / theta^(2i/head_dim).
struct Rope {
  float theta = 10000.0f;
  float freq_scale = 1.0f;  // 1/8 for Gemma 3 4B's linear scaling by 8
};

// ---- The steps. `w` fields are WeightIds; vectors are f32 and already final (a "+1" was added on load).
namespace op {

// out[row] = table[id of the row] · scale. An id beyond the table (the PLE table lacks the multimodal tail) takes row 0,
// as Hugging Face's multimodal class does.
struct Embed {
  WeightId table;
  float scale;
  TensorRef out;
};

struct MatmulPart {
  WeightId w;  // [y.width, x.width]
  TensorRef y;
};
struct Matmul {  // y_i = x · W_iᵀ for every part: weights that share an input are read in one step
  TensorRef x;
  std::vector<MatmulPart> parts;
};

struct RmsNorm {  // out = x / sqrt(mean(x²) + eps) · w, over each `group` columns (group == x.width: the whole row)
  TensorRef x;
  WeightId w;  // [group], or kNoWeight
  std::uint32_t group;
  TensorRef out;  // may be x itself
};

// x += rms(h, post); out = rms(x, next). Gemma 3's residual and the following norm in one step.
struct AddRmsNorm {
  TensorRef x, h;
  WeightId post, next;
  TensorRef out;
};

// q: per head rms(q, w) and RoPE, in place.
struct QNormRope {
  TensorRef q;
  WeightId w;  // [head_dim]
  std::uint32_t head_dim;
  Rope rope;
};

// k: per head rms(k, k_norm) and RoPE; v: per head rms without weight if normalise_v; then both into the KV cache.
// k and v are consumed (may be overwritten).
struct KvStore {
  TensorRef k, v;
  WeightId k_norm;
  bool normalise_v;
  Rope rope;
  std::uint32_t kv_layer;  // index into Plan::kv_layers
};

// Causal attention over the cache of kv_layer (GQA); window 0 = all, else only positions > pos - window.
struct Attention {
  TensorRef q;
  std::uint32_t kv_layer;
  std::uint32_t n_heads;
  std::uint32_t window;
  float scale;
  TensorRef out;  // [n_heads · head_dim]
};

// out = down · (act(gate·x) ∘ (up·x)), act = gelu(tanh). With sparsity_z: the gate is first cut to
// max(g - (mean(g) + z·std(g)), 0) per row over d_ff, so that a step may skip the up rows and down columns of zeros.
struct Ffn {
  TensorRef x;
  WeightId gate, up, down;
  std::uint32_t d_ff;
  std::optional<float> sparsity_z;
  bool sample_std;  // divide by d_ff - 1 (llama.cpp) instead of d_ff (Hugging Face)
  TensorRef out;
};

struct TakeOutputRows {  // from Rows::all to Rows::output
  TensorRef x, out;
};

struct Logits {  // out = softcap · tanh(x · Wᵀ / softcap); softcap 0: none
  TensorRef x;
  WeightId w;
  float softcap;
  TensorRef out;
};

// ---- Gemma 3n. Streams are one tensor [n_streams · d_model], stream j at column j · d_model.

// out = (rms_per_256(projected · projection_scale, w) + rows) · combine_scale; `rows` are this token's PLE rows.
struct PleCombine {
  TensorRef projected, rows;
  WeightId norm;  // [ple_width]
  std::uint32_t ple_width;
  float projection_scale, combine_scale;
  TensorRef out;
};

// streams = [e, p_1·|e|/|p_1|, …], |x| = sqrt(mean x²), floored at 1e-5 under the root for p.
struct AltupInit {
  TensorRef e, projected, streams;
};

struct AltupRouter {
  WeightId norm;  // [d_model]
  WeightId router;  // [n_streams, d_model]
  float scale;  // 1/d_model
};

// m = tanh(router · rms(s_0, norm)·scale); c = coefs · m; predicted_j = s_j + Σ_i c[j·n+i] s_i;
// active = predicted_0, normed = rms(active, next_norm). `predicted` may hold fewer streams than n_streams: only those
// are wanted.
struct AltupPredict {
  TensorRef streams;
  AltupRouter router;
  WeightId coefs;  // [n_streams², n_streams]
  WeightId next_norm;
  std::uint32_t n_streams;
  TensorRef predicted, normed;
};

// attn = active + rms(o, post_attn); lau = x + rms(laurel, post_laurel); out = (attn + lau)/√2; normed = rms(out, ffn_norm)
struct LaurelMerge {
  TensorRef active, o, x, laurel;
  WeightId post_attn, post_laurel, ffn_norm;
  TensorRef out, normed;
};

// ff = residual + rms(h, post_ffn); m = tanh(router(ff)); c = coefs·m + 1; streams_j = predicted_j + (ff - predicted_0)·c_j;
// gate_in = streams_0 ∘ correct_scale
struct AltupCorrect {
  TensorRef h, residual, predicted;
  WeightId post_ffn;
  AltupRouter router;
  WeightId coefs;  // [n_streams, n_streams]
  WeightId correct_scale;  // [d_model], or kNoWeight
  std::uint32_t n_streams;
  TensorRef streams, gate_in;
};

// streams_{1…} += rms(W_proj · (gelu(W_gate · gate_in) ∘ ple), post_norm)
struct PleInject {
  TensorRef gate_in, ple, streams;
  WeightId gate, proj, post_norm;
  std::uint32_t n_streams;
};

// out = rms(mean of {s_0, u_j·|s_0|/|u_j|}, norm); `projected` holds u_1…u_{n-1}
struct AltupMerge {
  TensorRef streams, projected;
  WeightId norm;
  std::uint32_t n_streams;
  TensorRef out;
};

}  // namespace op

using Op = std::variant<op::Embed, op::Matmul, op::RmsNorm, op::AddRmsNorm, op::QNormRope, op::KvStore, op::Attention,
                        op::Ffn, op::TakeOutputRows, op::Logits, op::PleCombine, op::AltupInit, op::AltupPredict,
                        op::LaurelMerge, op::AltupCorrect, op::PleInject, op::AltupMerge>;

std::string_view op_name(const Op& op);  // "matmul", "altup_predict" …

struct Step {
  Op op;
  Rows rows = Rows::all;  // the domain it runs on (TakeOutputRows: of its output)
  std::int32_t layer = -1;  // -1: before the first layer; n_layers: after the last
};

// What a step touches, for placement, buffer reuse and dumps. A tensor may be in both lists (updated in place).
struct StepAccess {
  std::vector<TensorRef> reads, writes;
  std::vector<WeightId> weights;
  std::optional<std::uint32_t> kv_read, kv_write;
};
StepAccess access(const Step& step);

// KV rows of one layer. Layers of one group share a block table: same window, hence same lifetime of blocks.
struct KvLayer {
  std::uint32_t group;
  std::uint32_t n_kv_heads;
  std::uint32_t head_dim;
};
struct KvGroup {
  std::uint32_t window;  // 0: every position is kept
};

// f32: HF float32 semantics. bf16: every operator's result is rounded to bf16 as Hugging Face's bfloat16 eager mode
// does, constants too; only the reference backend runs it.
enum class Activation : std::uint8_t { f32, bf16 };

struct StepRange {
  std::uint32_t begin = 0, end = 0;  // steps [begin, end)
};

struct Plan {
  std::vector<TensorInfo> tensors;
  std::vector<WeightRef> weights;
  std::vector<Step> steps;
  std::vector<KvLayer> kv_layers;
  std::vector<KvGroup> kv_groups;
  std::uint32_t n_layers = 0;
  std::uint32_t n_vocab = 0;
  float rms_eps = 1e-6f;
  Activation activation = Activation::f32;
  TensorId hidden{};  // f32[output rows, d_model] after the final norm
  TensorId logits{};  // f32[output rows, n_vocab]
};

}  // namespace unicorn
