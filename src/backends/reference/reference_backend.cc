#include "backends/reference/reference_backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>

#include "backends/reference/ops.h"
#include "plan/batch_rows.h"
#include "plan/work.h"
#include "quant/block.h"

namespace unicorn {
namespace {

using reference::Rounding;

class HostBuffer final : public Buffer {
 public:
  explicit HostBuffer(std::size_t n) : owned_(n), data_(owned_.data()), n_(n) {}
  explicit HostBuffer(const External& memory) : data_(memory.host), n_(memory.n_bytes) {}
  std::size_t n_bytes() const override { return n_; }
  std::byte* host() const override { return data_; }

 private:
  std::vector<std::byte> owned_;
  std::byte* data_;
  std::size_t n_;
};

class ReferenceWeight final : public Weight {
 public:
  explicit ReferenceWeight(const WeightRef& ref) : ref_(ref) {
    if (ref_.use == WeightUse::rows) return;  // the PLE table stays in its file
    f32_.resize(ref_.n * ref_.k);
    for (std::size_t i = 0; i < ref_.n; ++i) ref_.read_row_f32(i, f32_.data() + i * ref_.k);
  }
  std::size_t resident_bytes() const override { return f32_.size() * sizeof(float); }
  const float* data() const { return f32_.data(); }
  void row(std::size_t i, float* out) const {
    if (f32_.empty())
      ref_.read_row_f32(i, out);
    else
      std::copy_n(f32_.data() + i * ref_.k, ref_.k, out);
  }
  std::size_t n() const { return ref_.n; }
  std::size_t k() const { return ref_.k; }

 private:
  WeightRef ref_;
  std::vector<float> f32_;
};

class ReferenceProgram final : public Program {
 public:
  ReferenceProgram(const Plan& plan, StepRange range, const Limits& limits, const Placement& placement)
      : plan_(plan), range_(range), limits_(limits), placement_(placement), r_{plan.activation == Activation::bf16} {
    placement_.tensors.resize(plan.tensors.size());
    placement_.kv.resize(plan.kv_layers.size());
    placement_.weights.resize(plan.weights.size());
    own_.resize(plan.tensors.size());
    for (std::uint32_t s = range.begin; s < range.end; ++s) {
      const StepAccess a = access(plan.steps[s]);
      for (const auto* refs : {&a.reads, &a.writes})
        for (const TensorRef& ref : *refs) ensure(ref.id);
    }
  }

  Result<Fence> submit(const Batch& batch, const Io& io, std::span<const Fence> after) override {
    for (const Fence& fence : after)
      if (fence.backend != nullptr) UNICORN_TRY(fence.backend->wait(fence, kNoDeadline));
    UNICORN_ASSIGN(rows_, place_rows(plan_, limits_, batch));
    batch_ = &batch;
    for (std::uint32_t s = range_.begin; s < range_.end; ++s) {
      const Step& step = plan_.steps[s];
      step_rows_ = step.rows == Rows::all ? &rows_.all : &rows_.output;
      std::visit([this](const auto& o) { run(o); }, step.op);
      if (io.observer != nullptr) observe(s, *io.observer);
    }
    return Fence{};
  }

 private:
  void ensure(TensorId id) {
    const std::size_t i = index(id);
    if (placement_.tensors[i] != nullptr || !own_[i].empty()) return;
    const TensorInfo& info = plan_.tensors[i];
    const std::size_t rows = info.rows == Rows::all ? limits_.max_rows : limits_.max_output_rows;
    own_[i].resize(rows * info.width);
  }

  float* at(const TensorRef& ref, std::size_t row) {
    const std::size_t i = index(ref.id);
    float* base =
        placement_.tensors[i] != nullptr ? reinterpret_cast<float*>(placement_.tensors[i]->host()) : own_[i].data();
    return base + row * plan_.tensors[i].width + ref.offset;
  }
  const ReferenceWeight& weight(WeightId id) const {
    return *static_cast<const ReferenceWeight*>(placement_.weights[index(id)]);
  }
  const float* vec(WeightId id) const { return id == kNoWeight ? nullptr : weight(id).data(); }
  std::size_t n_rows() const { return step_rows_->size(); }
  float eps() const { return plan_.rms_eps; }

  void observe(std::uint32_t s, StepObserver& observer) {
    const StepAccess a = access(plan_.steps[s]);
    for (const TensorRef& ref : a.writes) {
      std::vector<float> values(n_rows() * ref.width);
      for (std::size_t row = 0; row < n_rows(); ++row)
        std::copy_n(at(ref, row), ref.width, values.data() + row * ref.width);
      observer.on_step(s, ref.id, values, n_rows());
    }
  }

  // ---- the steps ----

  void run(const op::Embed& o) {
    const ReferenceWeight& table = weight(o.table);
    const float scale = r_(o.scale);
    for (std::size_t row = 0; row < n_rows(); ++row) {
      float* out = at(o.out, row);
      const std::size_t batch_row = step_rows_ == &rows_.output ? batch_->output_rows[row] : row;
      auto id = static_cast<std::size_t>(batch_->ids[batch_row]);
      if (id >= table.n()) id = 0;
      table.row(id, out);
      for (std::size_t i = 0; i < o.out.width; ++i) out[i] = r_(double{out[i]} * scale);
    }
  }

  void run(const op::Matmul& o) {
    for (const op::MatmulPart& part : o.parts)
      for (std::size_t row = 0; row < n_rows(); ++row)
        reference::matvec(vec(part.w), at(o.x, row), at(part.y, row), part.y.width, o.x.width, r_);
  }

  void run(const op::RmsNorm& o) {
    for (std::size_t row = 0; row < n_rows(); ++row)
      for (std::size_t c = 0; c < o.x.width; c += o.group)
        reference::rms_norm(at(o.x, row) + c, vec(o.w), at(o.out, row) + c, o.group, eps(), r_);
  }

  void run(const op::AddRmsNorm& o) {
    std::vector<float> t(o.x.width);
    for (std::size_t row = 0; row < n_rows(); ++row) {
      float* x = at(o.x, row);
      reference::rms_norm(at(o.h, row), vec(o.post), t.data(), t.size(), eps(), r_);
      for (std::size_t i = 0; i < t.size(); ++i) x[i] = r_(double{x[i]} + double{t[i]});
      reference::rms_norm(x, vec(o.next), at(o.out, row), t.size(), eps(), r_);
    }
  }

  void norm_rope_heads(const TensorRef& ref, WeightId w, std::uint32_t head_dim, const Rope& rope) {
    for (std::size_t row = 0; row < n_rows(); ++row)
      for (std::size_t c = 0; c < ref.width; c += head_dim) {
        float* head = at(ref, row) + c;
        reference::rms_norm(head, vec(w), head, head_dim, eps(), r_);
        reference::rotate(head, head_dim, rope, (*step_rows_)[row].pos, r_);
      }
  }

  void run(const op::QNormRope& o) { norm_rope_heads(o.q, o.w, o.head_dim, o.rope); }

  std::byte* kv_row(std::uint32_t kv_layer, const Segment& segment, std::uint32_t slot, std::uint32_t head,
                    bool value) {
    const KvLayer& layer = plan_.kv_layers[kv_layer];
    const std::size_t row = row_bytes(limits_.kv_dtype, layer.head_dim);
    const std::size_t half = std::size_t{layer.n_kv_heads} * limits_.kv_block_tokens * row;
    std::byte* block = placement_.kv[kv_layer]->host() +
                       std::size_t{block_of(segment, layer.group, slot, limits_)} * kv_block_bytes(layer, limits_);
    return block + (value ? half : 0) +
           (std::size_t{head} * limits_.kv_block_tokens + slot % limits_.kv_block_tokens) * row;
  }

  void run(const op::KvStore& o) {
    const KvLayer& layer = plan_.kv_layers[o.kv_layer];
    norm_rope_heads(o.k, o.k_norm, layer.head_dim, o.rope);
    for (std::size_t row = 0; row < n_rows(); ++row) {
      const RowPlace& place = (*step_rows_)[row];
      const Segment& segment = batch_->segments[place.segment];
      for (std::uint32_t h = 0; h < layer.n_kv_heads; ++h) {
        float* k = at(o.k, row) + std::size_t{h} * layer.head_dim;
        float* v = at(o.v, row) + std::size_t{h} * layer.head_dim;
        if (o.normalise_v) reference::rms_norm(v, nullptr, v, layer.head_dim, eps(), r_);
        encode_row(limits_.kv_dtype, k, kv_row(o.kv_layer, segment, place.slot, h, false), layer.head_dim);
        encode_row(limits_.kv_dtype, v, kv_row(o.kv_layer, segment, place.slot, h, true), layer.head_dim);
      }
    }
  }

  void run(const op::Attention& o) {
    const KvLayer& layer = plan_.kv_layers[o.kv_layer];
    const std::size_t d = layer.head_dim;
    const std::uint32_t group = o.n_heads / layer.n_kv_heads;
    std::vector<float> kv(d);
    for (std::size_t row = 0; row < n_rows(); ++row) {
      const RowPlace& place = (*step_rows_)[row];
      const Segment& segment = batch_->segments[place.segment];
      const std::uint32_t first = o.window == 0 || place.pos + 1 <= o.window ? 0 : place.pos + 1 - o.window;
      for (std::uint32_t h = 0; h < o.n_heads; ++h) {
        const float* q = at(o.q, row) + h * d;
        std::vector<std::uint32_t> slots;
        std::vector<float> score;
        float top = -std::numeric_limits<float>::infinity();
        for (std::uint32_t slot = first; slot <= place.slot; ++slot) {
          if (!sees_slot(segment, place, slot)) continue;
          decode_row(limits_.kv_dtype, kv_row(o.kv_layer, segment, slot, h / group, false), kv.data(), d);
          slots.push_back(slot);
          score.push_back(r_(double{r_(reference::dot(q, kv.data(), d))} * double{r_(o.scale)}));
          top = std::max(top, score.back());
        }
        double sum = 0;
        for (float s : score) sum += std::exp(double{s} - double{top});
        std::vector<double> out(d, 0.0);
        for (std::size_t i = 0; i < slots.size(); ++i) {
          const double w = r_(std::exp(double{score[i]} - double{top}) / sum);
          decode_row(limits_.kv_dtype, kv_row(o.kv_layer, segment, slots[i], h / group, true), kv.data(), d);
          for (std::size_t j = 0; j < d; ++j) out[j] += w * double{kv[j]};
        }
        for (std::size_t j = 0; j < d; ++j) at(o.out, row)[h * d + j] = r_(out[j]);
      }
    }
  }

  void run(const op::Ffn& o) {
    std::vector<float> g(o.d_ff), u(o.d_ff);
    for (std::size_t row = 0; row < n_rows(); ++row) {
      reference::matvec(vec(o.gate), at(o.x, row), g.data(), o.d_ff, o.x.width, r_);
      if (o.sparsity_z) reference::gaussian_topk(g.data(), o.d_ff, *o.sparsity_z, o.sample_std, r_);
      reference::matvec(vec(o.up), at(o.x, row), u.data(), o.d_ff, o.x.width, r_);
      for (std::size_t i = 0; i < g.size(); ++i) g[i] = r_(double{reference::gelu(g[i], r_)} * double{u[i]});
      reference::matvec(vec(o.down), g.data(), at(o.out, row), o.out.width, o.d_ff, r_);
    }
  }

  void run(const op::TakeOutputRows& o) {
    for (std::size_t i = 0; i < n_rows(); ++i) std::copy_n(at(o.x, batch_->output_rows[i]), o.out.width, at(o.out, i));
  }

  void run(const op::Logits& o) {
    for (std::size_t row = 0; row < n_rows(); ++row) {
      float* z = at(o.out, row);
      reference::matvec(vec(o.w), at(o.x, row), z, o.out.width, o.x.width, r_);
      if (o.softcap > 0)
        for (std::size_t i = 0; i < o.out.width; ++i)
          z[i] = r_(double{r_(std::tanh(double{r_(double{z[i]} / double{o.softcap})}))} * double{o.softcap});
    }
  }

  void run(const op::PleCombine& o) {
    const float projection_scale = r_(o.projection_scale), combine_scale = r_(o.combine_scale);
    std::vector<float> t(o.ple_width);
    for (std::size_t row = 0; row < n_rows(); ++row)
      for (std::size_t c = 0; c < o.out.width; c += o.ple_width) {
        const float* p = at(o.projected, row) + c;
        const float* add = at(o.rows, row) + c;
        for (std::size_t i = 0; i < t.size(); ++i) t[i] = r_(double{p[i]} * projection_scale);
        reference::rms_norm(t.data(), vec(o.norm), t.data(), t.size(), eps(), r_);
        for (std::size_t i = 0; i < t.size(); ++i)
          at(o.out, row)[c + i] = r_(double{r_(double{t[i]} + double{add[i]})} * combine_scale);
      }
  }

  // u · (target / |u|), the stream u brought to the magnitude of stream 0
  void match_magnitude(const float* u, float target, float* out, std::size_t d) {
    constexpr float kFloor = 1e-5f;
    const float norm = r_(std::sqrt(double{std::max(reference::magnitude(u, d, r_), r_(kFloor))}));
    for (std::size_t i = 0; i < d; ++i) out[i] = r_(double{r_(double{u[i]} * double{target})} / double{norm});
  }

  void run(const op::AltupInit& o) {
    const std::size_t d = o.e.width;
    for (std::size_t row = 0; row < n_rows(); ++row) {
      const float* e = at(o.e, row);
      const float target = r_(std::sqrt(double{reference::magnitude(e, d, r_)}));
      float* s = at(o.streams, row);
      std::copy_n(e, d, s);
      for (std::size_t j = 1; j * d < o.streams.width; ++j)
        match_magnitude(at(o.projected, row) + (j - 1) * d, target, s + j * d, d);
    }
  }

  void run(const op::AltupPredict& o) {
    const std::size_t d = o.normed.width, n = o.n_streams;
    std::vector<float> m(n), c(n * n), t(d * n);
    for (std::size_t row = 0; row < n_rows(); ++row) {
      const float* s = at(o.streams, row);
      reference::route(s, vec(o.router.norm), vec(o.router.router), o.router.scale, d, n, eps(), m.data(), r_);
      reference::matvec(vec(o.coefs), m.data(), c.data(), n * n, n, r_);
      float* predicted = at(o.predicted, row);
      for (std::size_t j = 0; j < n; ++j)
        for (std::size_t i = 0; i < d; ++i) {
          double sum = 0;
          for (std::size_t q = 0; q < n; ++q) sum += double{c[j * n + q]} * double{s[q * d + i]};
          t[j * d + i] = r_(double{r_(sum)} + double{s[j * d + i]});
        }
      std::copy_n(t.data(), o.predicted.width, predicted);
      reference::rms_norm(predicted, vec(o.next_norm), at(o.normed, row), d, eps(), r_);
    }
  }

  void run(const op::LaurelMerge& o) {
    const std::size_t d = o.out.width;
    std::vector<float> attn(d), lau(d);
    for (std::size_t row = 0; row < n_rows(); ++row) {
      const float *active = at(o.active, row), *x = at(o.x, row);
      float* out = at(o.out, row);
      reference::rms_norm(at(o.o, row), vec(o.post_attn), attn.data(), d, eps(), r_);
      reference::rms_norm(at(o.laurel, row), vec(o.post_laurel), lau.data(), d, eps(), r_);
      for (std::size_t i = 0; i < d; ++i) {
        const float a = r_(double{active[i]} + double{attn[i]});
        const float l = r_(double{x[i]} + double{lau[i]});
        out[i] = r_(double{r_(double{a} + double{l})} / std::sqrt(2.0));
      }
      reference::rms_norm(out, vec(o.ffn_norm), at(o.normed, row), d, eps(), r_);
    }
  }

  void run(const op::AltupCorrect& o) {
    const std::size_t d = o.h.width, n = o.n_streams;
    std::vector<float> ff(d), inn(d), m(n), c(n);
    for (std::size_t row = 0; row < n_rows(); ++row) {
      const float *residual = at(o.residual, row), *predicted = at(o.predicted, row);
      reference::rms_norm(at(o.h, row), vec(o.post_ffn), ff.data(), d, eps(), r_);
      for (std::size_t i = 0; i < d; ++i) ff[i] = r_(double{residual[i]} + double{ff[i]});
      reference::route(ff.data(), vec(o.router.norm), vec(o.router.router), o.router.scale, d, n, eps(), m.data(), r_);
      reference::matvec(vec(o.coefs), m.data(), c.data(), n, n, r_);
      for (std::size_t i = 0; i < d; ++i) inn[i] = r_(double{ff[i]} - double{predicted[i]});
      float* s = at(o.streams, row);
      for (std::size_t j = 0; j < n; ++j) {
        const float coef = r_(double{c[j]} + 1.0);
        for (std::size_t i = 0; i < d; ++i)
          s[j * d + i] = r_(double{r_(double{inn[i]} * double{coef})} + double{predicted[j * d + i]});
      }
      const float* scale = vec(o.correct_scale);
      for (std::size_t i = 0; i < d; ++i)
        at(o.gate_in, row)[i] = scale != nullptr ? r_(double{s[i]} * double{scale[i]}) : s[i];
    }
  }

  void run(const op::PleInject& o) {
    const std::size_t d = o.gate_in.width, width = o.ple.width;
    std::vector<float> g(width), h(d);
    for (std::size_t row = 0; row < n_rows(); ++row) {
      reference::matvec(vec(o.gate), at(o.gate_in, row), g.data(), width, d, r_);
      const float* ple = at(o.ple, row);
      for (std::size_t i = 0; i < width; ++i) g[i] = r_(double{reference::gelu(g[i], r_)} * double{ple[i]});
      reference::matvec(vec(o.proj), g.data(), h.data(), d, width, r_);
      reference::rms_norm(h.data(), vec(o.post_norm), h.data(), d, eps(), r_);
      float* s = at(o.streams, row);
      for (std::size_t j = 1; j < o.n_streams; ++j)
        for (std::size_t i = 0; i < d; ++i) s[j * d + i] = r_(double{s[j * d + i]} + double{h[i]});
    }
  }

  void run(const op::AltupMerge& o) {
    const std::size_t d = o.out.width, n = o.n_streams;
    std::vector<float> u(d);
    std::vector<double> sum(d);
    for (std::size_t row = 0; row < n_rows(); ++row) {
      const float* s = at(o.streams, row);
      const float target = r_(std::sqrt(double{reference::magnitude(s, d, r_)}));
      for (std::size_t i = 0; i < d; ++i) sum[i] = s[i];
      for (std::size_t j = 1; j < n; ++j) {
        match_magnitude(at(o.projected, row) + (j - 1) * d, target, u.data(), d);
        for (std::size_t i = 0; i < d; ++i) sum[i] += double{u[i]};
      }
      for (std::size_t i = 0; i < d; ++i) u[i] = r_(sum[i] / static_cast<double>(n));
      reference::rms_norm(u.data(), vec(o.norm), at(o.out, row), d, eps(), r_);
    }
  }

  const Plan& plan_;
  StepRange range_;
  Limits limits_;
  Placement placement_;
  Rounding r_;
  std::vector<std::vector<float>> own_;
  BatchRows rows_;
  const std::vector<RowPlace>* step_rows_ = nullptr;
  const Batch* batch_ = nullptr;
};

class ReferenceBackend final : public Backend {
 public:
  ReferenceBackend() { info_ = {"reference", "plain f32 loops, one thread: correct, not fast", true, 0}; }

  const DeviceInfo& info() const override { return info_; }

  std::vector<Claim> claims(const Plan& plan, const Limits&) const override {
    return {{{0, static_cast<std::uint32_t>(plan.steps.size())}, 0}};
  }

  Cost estimate(const Plan& plan, StepRange range, std::uint32_t rows, std::uint32_t depth) const override {
    constexpr double kMultiplyAddsPerSecond = 1e9;  // not measured: sums in double, one thread
    const PlanWork work = work_of(plan, range, {rows, rows, 1, static_cast<double>(depth)}, DType::f16);
    return {(work.multiply_adds + work.attention_multiply_adds) / kMultiplyAddsPerSecond};
  }

  std::size_t resident_bytes(const WeightRef& weight) const override {
    return weight.use == WeightUse::rows ? 0 : weight.n * weight.k * sizeof(float);
  }

  Result<std::unique_ptr<Weight>> prepare(const WeightRef& weight, const Progress& progress) override {
    if (progress && !progress(weight.n_bytes())) return Error{ErrorCode::cancelled, "loading was cancelled"};
    try {
      return std::make_unique<ReferenceWeight>(weight);
    } catch (const std::bad_alloc&) {
      return Error{ErrorCode::out_of_memory, fmt::format("reference: no memory for '{}' ({} MB in f32)", weight.name,
                                                         weight.n * weight.k / 250000)};
    }
  }

  Result<std::unique_ptr<Buffer>> allocate(std::size_t n_bytes, Memory) override {
    try {
      return std::make_unique<HostBuffer>(n_bytes);
    } catch (const std::bad_alloc&) {
      return Error{ErrorCode::out_of_memory, fmt::format("reference: no memory for a buffer of {} bytes", n_bytes)};
    }
  }
  Result<std::unique_ptr<Buffer>> import(const External& memory) override {
    if (memory.host == nullptr) return Error{ErrorCode::unsupported, "reference: only host memory can be imported"};
    return std::make_unique<HostBuffer>(memory);
  }

  Result<std::unique_ptr<Program>> compile(const Plan& plan, StepRange range, const Limits& limits,
                                           const Placement& placement) override {
    return std::make_unique<ReferenceProgram>(plan, range, limits, placement);
  }

  Result<Fence> copy(const CopyRequest& request, std::span<const Fence> after) override {
    for (const Fence& fence : after)
      if (fence.backend != nullptr) UNICORN_TRY(fence.backend->wait(fence, kNoDeadline));
    const std::size_t n = kv_block_bytes(*request.layer, *request.limits);
    for (const KvCopy& c : request.blocks) {
      if ((std::size_t{c.block} + 1) * n > c.buffer->n_bytes())
        return Error{ErrorCode::invalid_argument,
                     fmt::format("reference: KV block {} lies outside its buffer", c.block)};
      std::byte* block = c.buffer->host() + std::size_t{c.block} * n;
      if (c.to_host)
        std::memcpy(c.host, block, n);
      else
        std::memcpy(block, c.host, n);
    }
    return Fence{};
  }
  Status wait(const Fence&, Deadline) override { return Ok{}; }

 private:
  DeviceInfo info_;
};

}  // namespace

std::unique_ptr<Backend> create_reference_backend() { return std::make_unique<ReferenceBackend>(); }

}  // namespace unicorn
