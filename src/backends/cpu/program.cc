#include "backends/cpu/program.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "backends/cpu/scheduler.h"
#include "backends/cpu/worker.h"

namespace unicorn::cpu {
namespace {

constexpr std::size_t kTileFloats = 64 * 1024;  // a member's tile of `up` (256 KiB): in the L2 beside its weights

std::size_t round_up(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

// From one row to the next. Products write a few columns of many rows: at a distance of whole pages these would all
// fall into the same few cache sets.
std::size_t row_stride(std::size_t width) {
  constexpr std::size_t kPageFloats = 4096 / sizeof(float), kLineFloats = 64 / sizeof(float);
  return width % kPageFloats == 0 ? width + kLineFloats : width;
}

}  // namespace

// Checks a range and gives a program its memory.
class Compiler {
 public:
  Compiler(CpuProgram& program, const Placement& placement)
      : p_(program), plan_(program.plan_), placement_(placement) {}

  Status run() {
    UNICORN_CHECK(p_.range_.begin <= p_.range_.end && p_.range_.end <= plan_.steps.size());
    p_.tensors_.resize(plan_.tensors.size());
    p_.own_.resize(plan_.tensors.size());
    p_.external_.resize(plan_.tensors.size());
    p_.weights_.resize(plan_.weights.size());
    p_.kv_.resize(plan_.kv_layers.size());
    max_rows_ = std::max(p_.limits_.max_rows, p_.limits_.max_output_rows);
    for (std::uint32_t s = p_.range_.begin; s < p_.range_.end; ++s) {
      step_ = &plan_.steps[s];
      UNICORN_TRY(weights());
      UNICORN_TRY(std::visit([this](const auto& o) { return check(o); }, step_->op));
      UNICORN_TRY(tensors());
    }
    return allocate();
  }

 private:
  Error bad(ErrorCode code, std::string what) const {
    return Error{code, fmt::format("cpu: step '{}' of layer {}: {}", op_name(step_->op), step_->layer, what)};
  }

  // ---- weights ----

  Status weights() {
    for (WeightId id : access(*step_).weights) {
      const std::size_t i = index(id);
      const Weight* w = i < placement_.weights.size() ? placement_.weights[i] : nullptr;
      if (w == nullptr)
        return bad(ErrorCode::invalid_argument, fmt::format("weight '{}' was not prepared", plan_.weights[i].name));
      p_.weights_[i] = static_cast<const CpuWeight*>(w);
    }
    return Ok{};
  }

  const CpuWeight& weight(WeightId id) const { return *p_.weights_[index(id)]; }

  Status matrix(WeightId id, std::size_t n, std::size_t k) {
    const CpuWeight& w = weight(id);
    if (w.packed() == nullptr)
      return bad(ErrorCode::unsupported, fmt::format("weight '{}' was not prepared for products", w.name()));
    if (w.n() != n || w.k() != k)
      return bad(ErrorCode::invalid_argument,
                 fmt::format("weight '{}' is [{}, {}], expected [{}, {}]", w.name(), w.n(), w.k(), n, k));
    max_k_ = std::max(max_k_, k);
    return Ok{};
  }

  Status vector(WeightId id, std::size_t n, bool may_be_none = false) {
    if (id == kNoWeight)
      return may_be_none ? Status(Ok{}) : Status(bad(ErrorCode::invalid_argument, "a weight is missing"));
    const CpuWeight& w = weight(id);
    if (w.vector() == nullptr)
      return bad(ErrorCode::unsupported, fmt::format("weight '{}' was not prepared as a vector", w.name()));
    if (w.n() * w.k() != n)
      return bad(ErrorCode::invalid_argument,
                 fmt::format("weight '{}' has {} values, expected {}", w.name(), w.n() * w.k(), n));
    return Ok{};
  }

  Status router(const op::AltupRouter& r, std::uint32_t n_streams, std::size_t d) {
    if (n_streams < 1 || n_streams > kMaxStreams)
      return bad(ErrorCode::unsupported, fmt::format("{} streams, at most {} are supported", n_streams, kMaxStreams));
    UNICORN_TRY(vector(r.norm, d));
    UNICORN_TRY(vector(r.router, n_streams * d));
    std::vector<float>& folded = p_.routers_[{r.norm, r.router}];
    if (!folded.empty()) return Ok{};
    const float *norm = weight(r.norm).vector(), *matrix = weight(r.router).vector();
    folded.resize(n_streams * d);
    for (std::size_t i = 0; i < folded.size(); ++i) folded[i] = matrix[i] * norm[i % d] * r.scale;
    return Ok{};
  }

  Status rope(const Rope& rope, std::size_t head_dim) {
    if (head_dim == 0 || head_dim % 2 != 0)
      return bad(ErrorCode::unsupported, fmt::format("head_dim {} is not even", head_dim));
    for (const RopeTable& table : p_.ropes_)
      if (table.rope.theta == rope.theta && table.rope.freq_scale == rope.freq_scale && table.head_dim == head_dim)
        return Ok{};
    RopeTable table{rope, head_dim, std::vector<float>(head_dim / 2), {}};
    for (std::size_t i = 0; i < head_dim / 2; ++i) {
      const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
      table.inverse_frequency[i] = 1.0f / std::pow(rope.theta, exponent) * rope.freq_scale;
    }
    p_.ropes_.push_back(std::move(table));
    return Ok{};
  }

  Status kv_layer(std::uint32_t layer) {
    const KvLayer& kv = plan_.kv_layers[layer];
    const Limits& limits = p_.limits_;
    const DType dtype = limits.kv_dtype;
    if (dtype != DType::f32 && dtype != DType::f16 && dtype != DType::bf16 && dtype != DType::q8_0)
      return bad(ErrorCode::unsupported,
                 fmt::format("a KV cache of {}; f32, f16, bf16 and q8_0 are supported", dtype_name(dtype)));
    if (kv.head_dim % dtype_info(dtype).block != 0)
      return bad(ErrorCode::unsupported, fmt::format("a KV cache of {} needs head_dim to be a multiple of {}, it is {}",
                                                     dtype_name(dtype), dtype_info(dtype).block, kv.head_dim));
    if (limits.kv_block_tokens == 0 || limits.kv_block_tokens > 4096)
      return bad(ErrorCode::unsupported, fmt::format("KV blocks of {} tokens", limits.kv_block_tokens));
    Buffer* buffer = layer < placement_.kv.size() ? placement_.kv[layer] : nullptr;
    const std::size_t n_bytes =
        kv.group < limits.kv_blocks.size() ? limits.kv_blocks[kv.group] * kv_block_bytes(kv, limits) : 0;
    if (buffer == nullptr || buffer->host() == nullptr || buffer->n_bytes() < n_bytes)
      return bad(ErrorCode::invalid_argument, fmt::format("KV layer {} has no buffer of {} bytes", layer, n_bytes));
    p_.kv_[layer] = buffer->host();
    return Ok{};
  }

  Status width(const TensorRef& ref, std::size_t want) const {
    if (ref.width == want) return Ok{};
    return bad(ErrorCode::invalid_argument, fmt::format("tensor '{}' has {} columns here, expected {}",
                                                        plan_.tensors[index(ref.id)].name, ref.width, want));
  }

  // ---- steps ----

  Status check(const op::Embed& o) {
    if (weight(o.table).use() != WeightUse::rows && weight(o.table).use() != WeightUse::both)
      return bad(ErrorCode::unsupported, fmt::format("weight '{}' was not prepared for rows", weight(o.table).name()));
    return width(o.out, weight(o.table).k());
  }
  Status check(const op::Matmul& o) {
    if (o.parts.empty()) return bad(ErrorCode::invalid_argument, "no weights");
    for (const op::MatmulPart& part : o.parts) UNICORN_TRY(matrix(part.w, part.y.width, o.x.width));
    return Ok{};
  }
  Status check(const op::RmsNorm& o) {
    if (o.group == 0 || o.x.width % o.group != 0)
      return bad(ErrorCode::invalid_argument, "columns are no multiple of the group");
    UNICORN_TRY(width(o.out, o.x.width));
    return vector(o.w, o.group, true);
  }
  Status check(const op::AddRmsNorm& o) {
    UNICORN_TRY(width(o.h, o.x.width));
    UNICORN_TRY(width(o.out, o.x.width));
    UNICORN_TRY(vector(o.post, o.x.width));
    return vector(o.next, o.x.width);
  }
  Status check(const op::QNormRope& o) {
    UNICORN_TRY(rope(o.rope, o.head_dim));
    if (o.q.width % o.head_dim != 0) return bad(ErrorCode::invalid_argument, "columns are no multiple of head_dim");
    return vector(o.w, o.head_dim, true);
  }
  Status check(const op::KvStore& o) {
    const KvLayer& layer = plan_.kv_layers[o.kv_layer];
    UNICORN_TRY(kv_layer(o.kv_layer));
    UNICORN_TRY(rope(o.rope, layer.head_dim));
    UNICORN_TRY(width(o.k, std::size_t{layer.n_kv_heads} * layer.head_dim));
    UNICORN_TRY(width(o.v, std::size_t{layer.n_kv_heads} * layer.head_dim));
    scratch_ = std::max<std::size_t>(scratch_, layer.head_dim);
    return vector(o.k_norm, layer.head_dim, true);
  }
  Status check(const op::Attention& o) {
    const KvLayer& layer = plan_.kv_layers[o.kv_layer];
    UNICORN_TRY(kv_layer(o.kv_layer));
    if (o.n_heads == 0 || layer.n_kv_heads == 0 || o.n_heads % layer.n_kv_heads != 0)
      return bad(ErrorCode::unsupported, fmt::format("{} heads over {} KV heads", o.n_heads, layer.n_kv_heads));
    UNICORN_TRY(width(o.q, std::size_t{o.n_heads} * layer.head_dim));
    UNICORN_TRY(width(o.out, o.q.width));
    const AttentionShape shape{step_->rows, o.window, layer.n_kv_heads, o.n_heads / layer.n_kv_heads, layer.head_dim};
    if (std::none_of(p_.attention_.begin(), p_.attention_.end(),
                     [&](const AttentionWork& w) { return w.shape() == shape; }))
      p_.attention_.emplace_back(shape);
    ++p_.n_attention_steps_;
    max_queries_ = std::max(max_queries_, AttentionWork::max_queries(shape.group));
    max_head_dim_ = std::max<std::size_t>(max_head_dim_, layer.head_dim);
    return Ok{};
  }
  Status check(const op::Ffn& o) {
    UNICORN_TRY(matrix(o.gate, o.d_ff, o.x.width));
    UNICORN_TRY(matrix(o.up, o.d_ff, o.x.width));
    UNICORN_TRY(matrix(o.down, o.out.width, o.d_ff));
    max_ff_ = std::max<std::size_t>(max_ff_, o.d_ff);
    if (o.sparsity_z) scratch_ = std::max(scratch_, 2 * std::size_t{o.d_ff});
    return Ok{};
  }
  Status check(const op::TakeOutputRows& o) { return width(o.out, o.x.width); }
  Status check(const op::Logits& o) { return matrix(o.w, o.out.width, o.x.width); }
  Status check(const op::PleCombine& o) {
    UNICORN_TRY(width(o.projected, o.out.width));
    UNICORN_TRY(width(o.rows, o.out.width));
    if (o.ple_width == 0 || o.out.width % o.ple_width != 0)
      return bad(ErrorCode::invalid_argument, "columns are no multiple of ple_width");
    return vector(o.norm, o.ple_width);
  }
  Status streams(const TensorRef& streams, const TensorRef& others, std::size_t d, std::size_t n) const {
    if (n < 1 || n > kMaxStreams)
      return bad(ErrorCode::unsupported, fmt::format("{} streams, at most {} are supported", n, kMaxStreams));
    UNICORN_TRY(width(streams, n * d));
    return width(others, (n - 1) * d);
  }
  Status check(const op::AltupInit& o) {
    return streams(o.streams, o.projected, o.e.width, o.streams.width / o.e.width);
  }
  Status check(const op::AltupMerge& o) {
    UNICORN_TRY(streams(o.streams, o.projected, o.out.width, o.n_streams));
    return vector(o.norm, o.out.width);
  }
  Status check(const op::AltupPredict& o) {
    const std::size_t d = o.normed.width, n = o.n_streams;
    UNICORN_TRY(router(o.router, o.n_streams, d));
    UNICORN_TRY(width(o.streams, n * d));
    if (o.predicted.width % d != 0 || o.predicted.width < d || o.predicted.width > n * d)
      UNICORN_TRY(width(o.predicted, n * d));
    UNICORN_TRY(vector(o.coefs, n * n * n));
    return vector(o.next_norm, d);
  }
  Status check(const op::LaurelMerge& o) {
    for (const TensorRef* ref : {&o.active, &o.o, &o.x, &o.laurel, &o.normed}) UNICORN_TRY(width(*ref, o.out.width));
    for (WeightId w : {o.post_attn, o.post_laurel, o.ffn_norm}) UNICORN_TRY(vector(w, o.out.width));
    return Ok{};
  }
  Status check(const op::AltupCorrect& o) {
    const std::size_t d = o.h.width, n = o.n_streams;
    UNICORN_TRY(router(o.router, o.n_streams, d));
    for (const TensorRef* ref : {&o.residual, &o.gate_in}) UNICORN_TRY(width(*ref, d));
    for (const TensorRef* ref : {&o.predicted, &o.streams}) UNICORN_TRY(width(*ref, n * d));
    UNICORN_TRY(vector(o.post_ffn, d));
    UNICORN_TRY(vector(o.coefs, n * n));
    return vector(o.correct_scale, d, true);
  }
  Status check(const op::PleInject& o) {
    const std::size_t d = o.gate_in.width;
    UNICORN_TRY(
        streams(o.streams, {o.streams.id, 0, static_cast<std::uint32_t>((o.n_streams - 1) * d)}, d, o.n_streams));
    UNICORN_TRY(matrix(o.gate, o.ple.width, d));
    UNICORN_TRY(matrix(o.proj, d, o.ple.width));
    max_ple_ = std::max<std::size_t>(max_ple_, o.ple.width);
    max_d_ = std::max(max_d_, d);
    return vector(o.post_norm, d);
  }

  // ---- memory ----

  Status tensors() {
    const StepAccess a = access(*step_);
    for (const auto* refs : {&a.reads, &a.writes})
      for (const TensorRef& ref : *refs) {
        const std::size_t i = index(ref.id);
        const TensorInfo& info = plan_.tensors[i];
        if (std::size_t{ref.offset} + ref.width > info.width || ref.width == 0)
          return bad(ErrorCode::invalid_argument,
                     fmt::format("columns {} to {} of tensor '{}', which has {}", ref.offset, ref.offset + ref.width,
                                 info.name, info.width));
        used_.insert(i);
        if (refs == &a.writes && works_by_rows(step_->op)) own_.insert(i);
      }
    return Ok{};
  }

  Result<float*> floats(std::size_t n) {
    UNICORN_ASSIGN(HostMemory memory, HostMemory::allocate(n * sizeof(float)));
    p_.memory_.push_back(std::move(memory));
    return p_.memory_.back().floats();
  }

  Status allocate() {
    for (std::size_t i : used_) {
      const TensorInfo& info = plan_.tensors[i];
      const std::size_t n = p_.max_rows(info.rows) * info.width;
      Buffer* buffer = i < placement_.tensors.size() ? placement_.tensors[i] : nullptr;
      p_.external_[i] = buffer != nullptr;
      p_.tensors_[i].ld = info.width;
      if (buffer == nullptr) {
        p_.tensors_[i].ld = row_stride(info.width);
        UNICORN_ASSIGN(p_.tensors_[i].base, floats(p_.max_rows(info.rows) * p_.tensors_[i].ld));
        continue;
      }
      if (buffer->host() == nullptr || buffer->n_bytes() < n * sizeof(float))
        return Error{ErrorCode::invalid_argument, fmt::format("cpu: the buffer of tensor '{}' is smaller than {} rows",
                                                              info.name, p_.max_rows(info.rows))};
      p_.tensors_[i].base = reinterpret_cast<float*>(buffer->host());
    }
    const auto shared = [&](Place& place, std::size_t rows, std::size_t width) -> Status {
      place.ld = row_stride(width);
      if (width == 0) return Ok{};
      UNICORN_ASSIGN(place.base, floats(rows * place.ld));
      return Ok{};
    };
    UNICORN_TRY(shared(p_.shared_.hidden, max_rows_, max_ff_));
    UNICORN_TRY(shared(p_.shared_.hidden_few, kFewRows, max_ff_));
    UNICORN_TRY(shared(p_.shared_.ple_gate, max_rows_, max_ple_));
    UNICORN_TRY(shared(p_.shared_.ple_proj, max_rows_, max_d_));
    for (std::size_t b = 0; b < SharedMemory::kBlockBuffers; ++b)
      p_.shared_.blocks[b] =
          ActivationRows(p_.kernels_, max_rows_, b == SharedMemory::kHiddenBlocks ? max_ff_ : max_k_);
    for (RopeTable& rope : p_.ropes_) {
      const std::size_t n = p_.limits_.max_rows * (rope.head_dim / 2);
      UNICORN_ASSIGN(rope.cos, floats(n));
      UNICORN_ASSIGN(rope.sin, floats(n));
    }
    p_.counters_ = std::make_unique<std::atomic<std::uint32_t>[]>(p_.n_attention_steps_);
    return members();
  }

  // Each member's memory starts on a page of its own: nobody else writes there.
  Status members() {
    constexpr std::size_t kPageFloats = 4096 / sizeof(float);
    std::size_t own_floats = 0;
    for (std::size_t i : own_) own_floats += round_up(kFewRows * std::size_t{plan_.tensors[i].width}, 16);
    p_.scratch_floats_ = std::max(kTileFloats, 2 * max_rows_ * p_.hidden_grain());
    const std::size_t scratch = std::max(scratch_, p_.scratch_floats_);
    const std::size_t attention = AttentionScratch::n_floats(max_queries_, max_head_dim_, p_.limits_.kv_block_tokens);
    const std::size_t n = p_.pool_.size();
    const std::size_t stride = round_up(own_floats + round_up(scratch, 16) + attention, kPageFloats);
    UNICORN_ASSIGN(float* const base, floats(stride * n));
    std::size_t offset = 0;
    for (std::size_t i : own_) {
      const std::size_t width = plan_.tensors[i].width;
      p_.own_[i] = {base + offset, stride, width};
      offset += round_up(kFewRows * width, 16);
    }
    p_.members_.resize(n);
    for (std::size_t t = 0; t < n; ++t) {
      Member& member = p_.members_[t];
      float* const memory = base + t * stride + own_floats;
      member.scratch = memory;
      member.blocks = ActivationRows(p_.kernels_, kFewRows, std::max(max_k_, max_ff_));
      member.row_blocks = ActivationRows(p_.kernels_, 1, max_k_);
      member.survivors.resize(max_ff_);
      member.attention =
          AttentionScratch(memory + round_up(scratch, 16), max_queries_, max_head_dim_, p_.limits_.kv_block_tokens);
    }
    return Ok{};
  }

  CpuProgram& p_;
  const Plan& plan_;
  const Placement& placement_;
  const Step* step_ = nullptr;
  std::set<std::size_t> used_, own_;  // tensors
  std::size_t max_rows_ = 0, max_k_ = 0, max_ff_ = 0, max_ple_ = 0, max_d_ = 0, scratch_ = 0;
  std::size_t max_queries_ = 1, max_head_dim_ = 1;
};

Result<std::unique_ptr<CpuProgram>> CpuProgram::compile(const Plan& plan, StepRange range, const Limits& limits,
                                                        const Placement& placement, const KernelTable& kernels,
                                                        ThreadPool& pool) {
  if (plan.activation != Activation::f32)
    return Error{ErrorCode::unsupported, "cpu: only f32 activations are supported (the reference backend runs bf16)"};
  std::unique_ptr<CpuProgram> program(new CpuProgram(plan, range, limits, kernels, pool));
  UNICORN_TRY(Compiler(*program, placement).run());
  return program;
}

const TaskList& CpuProgram::list_for(const BatchKind& kind) {
  auto it = lists_.find(kind);
  if (it == lists_.end()) it = lists_.emplace(kind, Scheduler(*this, kind).make()).first;
  return it->second;
}

Result<Fence> CpuProgram::submit(const Batch& batch, const Io& io, std::span<const Fence> after) {
  for (const Fence& fence : after)
    if (fence.backend != nullptr) UNICORN_TRY(fence.backend->wait(fence, kNoDeadline));
  UNICORN_ASSIGN(rows_, place_rows(plan_, limits_, batch));
  if (rows_.all.empty() || range_.begin == range_.end) return Fence{};
  batch_ = &batch;

  const auto amount = [&](Rows rows) {
    const std::size_t n = n_rows(rows);
    if (n == 0) return BatchKind::Amount::none;
    return n <= kFewRows && io.observer == nullptr ? BatchKind::Amount::few : BatchKind::Amount::many;
  };
  BatchKind kind{amount(Rows::all), amount(Rows::output), false};
  if (io.observer == nullptr)
    kind.one_row_each =
        std::all_of(batch.segments.begin(), batch.segments.end(), [](const Segment& s) { return s.n_rows == 1; });
  const TaskList& list = list_for(kind);

  for (AttentionWork& work : attention_)
    work.plan(work.shape().rows == Rows::all ? rows_.all : rows_.output, limits_, pool_.size());
  for (std::size_t i = 0; i < n_attention_steps_; ++i) counters_[i].store(0, std::memory_order_relaxed);
  for (std::uint32_t s = range_.begin; s < range_.end; ++s)
    if (const auto* embed = std::get_if<op::Embed>(&plan_.steps[s].op)) {
      const CpuWeight& table = *weights_[index(embed->table)];
      if (table.use() != WeightUse::rows) continue;
      const auto ask = [&](std::uint32_t row) {
        const auto id = static_cast<std::size_t>(batch.ids[row]);
        table.will_need_row(id < table.n() ? id : 0);
      };
      if (plan_.steps[s].rows == Rows::all)
        for (std::uint32_t row = 0; row < batch.ids.size(); ++row) ask(row);
      else
        for (std::uint32_t row : batch.output_rows) ask(row);
    }

  if (io.observer != nullptr)
    observe(list, *io.observer);
  else
    run(list.tasks);
  ++trace_.runs;
  trace_.barriers += list.n_barriers + 1;
  trace_.last_barriers = list.n_barriers + 1;
  batch_ = nullptr;
  return Fence{};
}

void CpuProgram::run(std::span<const Task> tasks) {
  std::uint64_t n_shared = 0;
  pool_.run([&](std::size_t member) {
    Worker worker(*this, member);
    worker.run(tasks);
    if (member == 0) n_shared = worker.n_shared_tasks();
  });
  n_shared_tasks_ = n_shared;
}

void CpuProgram::observe(const TaskList& list, StepObserver& observer) {
  std::size_t at = 0;
  std::vector<float> values;
  for (std::uint32_t s = range_.begin; s < range_.end; ++s) {
    std::size_t end = at;
    while (end < list.tasks.size() && list.tasks[end].step <= s) ++end;
    if (end > at) run(std::span(list.tasks).subspan(at, end - at));
    at = end;
    const Step& step = plan_.steps[s];
    const std::size_t m = n_rows(step.rows);
    for (const TensorRef& ref : access(step).writes) {
      values.resize(m * ref.width);
      for (std::size_t row = 0; row < m; ++row)
        std::copy_n(tensors_[index(ref.id)].columns(ref.offset).row(0, row), ref.width,
                    values.data() + row * ref.width);
      observer.on_step(s, ref.id, values, m);
    }
  }
}

void set_tracing(Program& program, bool on) { static_cast<CpuProgram&>(program).set_tracing(on); }
const RunTrace& trace(const Program& program) { return static_cast<const CpuProgram&>(program).trace(); }

}  // namespace unicorn::cpu
