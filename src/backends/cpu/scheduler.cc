#include "backends/cpu/scheduler.h"

#include <algorithm>

namespace unicorn::cpu {

Scheduler::Scheduler(CpuProgram& program, const BatchKind& kind)
    : p_(program), kind_(kind), state_(program.plan_.tensors.size(), State::unset) {
  for (std::size_t t = 0; t < state_.size(); ++t)
    if (p_.external_[t]) state_[t] = State::shared;
}

bool works_by_rows(const Op& op) {
  return !std::holds_alternative<op::Embed>(op) && !std::holds_alternative<op::Matmul>(op) &&
         !std::holds_alternative<op::KvStore>(op) && !std::holds_alternative<op::Attention>(op) &&
         !std::holds_alternative<op::Ffn>(op) && !std::holds_alternative<op::Logits>(op);
}

TaskList Scheduler::make() && {
  if (!p_.ropes_.empty() && kind_.all != BatchKind::Amount::none) {
    step_index_ = p_.range_.begin;
    step_ = &p_.plan_.steps[step_index_];
    use(memory_of(Extra::angles), Split::free, true);
    emit(task::Angles{}, false, Rows::all);
  }
  for (step_index_ = p_.range_.begin; step_index_ < p_.range_.end; ++step_index_) {
    step_ = &p_.plan_.steps[step_index_];
    if (kind_.amount(step_->rows) == BatchKind::Amount::none) continue;
    keep_other_columns();
    std::visit([this](const auto& o) { add(o); }, step_->op);
  }
  UNICORN_CHECK(waiting_store_ == nullptr);
  // What others read must lie where they look.
  step_index_ = p_.range_.end - 1;
  for (std::uint32_t t = 0; t < state_.size(); ++t)
    if (p_.external_[t] && state_[t] == State::own) make_shared(TensorId{t});
  return std::move(list_);
}

// ---- memory, and the barriers between its uses ----

Scheduler::Operand Scheduler::operand(const TensorRef& ref) {
  const std::size_t i = index(ref.id);
  const bool own = state_[i] == State::own;
  return {(own ? p_.own_[i] : p_.tensors_[i]).columns(ref.offset), memory_of(ref.id), own};
}

Place Scheduler::read(const Operand& x, Split split) {
  if (!x.own) use(x.memory, split, false);
  return x.place;
}

Place Scheduler::write_rows(const TensorRef& ref) {
  if (!repeats()) return write_shared(ref, by_rows());
  const std::size_t i = index(ref.id);
  state_[i] = State::own;
  return p_.own_[i].columns(ref.offset);
}

Place Scheduler::write_shared(const TensorRef& ref, Split split) {
  const std::size_t i = index(ref.id);
  state_[i] = State::shared;
  use(memory_of(ref.id), split, true);
  return p_.tensors_[i].columns(ref.offset);
}

// A step that writes some columns of a tensor must find the others where it writes.
void Scheduler::keep_other_columns() {
  if (std::holds_alternative<op::KvStore>(step_->op)) return;
  for (const TensorRef& ref : access(*step_).writes) {
    if (ref.width == p_.plan_.tensors[index(ref.id)].width || state_[index(ref.id)] == State::unset) continue;
    if (repeats() && works_by_rows(step_->op))
      make_own(ref.id);
    else
      make_shared(ref.id);
  }
}

void Scheduler::make_own(TensorId id) {
  const std::size_t i = index(id);
  if (state_[i] == State::own) return;
  if (state_[i] == State::shared) {
    use(i, Split::free, false);
    emit(task::CopyRows{p_.tensors_[i], p_.own_[i], p_.plan_.tensors[i].width}, true, p_.plan_.tensors[i].rows);
  }
  state_[i] = State::own;
}

void Scheduler::make_shared(TensorId id) {
  const std::size_t i = index(id);
  if (state_[i] == State::own) {
    const Rows rows = p_.plan_.tensors[i].rows;
    use(i, rows == Rows::all ? Split::all_rows : Split::output_rows, true);
    emit(task::CopyRows{p_.own_[i], p_.tensors_[i], p_.plan_.tensors[i].width}, false, rows);
  }
  state_[i] = State::shared;
}

void Scheduler::barrier() {
  list_.tasks.push_back({task::Barrier{}, step_index_, Rows::all, false});
  ++list_.n_barriers;
  current_.clear();
}

void Scheduler::emit(Task::Body body, bool repeated, Rows rows) {
  const auto clash = [](const Use& a, const Use& b) {
    return a.memory == b.memory && (a.writes || b.writes) && (a.split != b.split || a.split == Split::free);
  };
  const bool wait = std::any_of(next_.begin(), next_.end(), [&](const Use& n) {
    return std::any_of(current_.begin(), current_.end(), [&](const Use& c) { return clash(c, n); });
  });
  if (wait) barrier();
  list_.tasks.push_back({std::move(body), step_index_, rows, repeated});
  current_.insert(current_.end(), next_.begin(), next_.end());
  next_.clear();
}

// ---- matrix products ----

// Brings x into the form its weights read: int8 blocks of the member's own (few rows) or in a shared buffer.
Scheduler::Input Scheduler::input(const Operand& x, std::size_t k, bool as_blocks, bool hidden) {
  task::Input in{x.place, k, 0, repeats()};
  if (!as_blocks) return {in, x, false};
  if (!in.own_blocks) {
    in.buffer = hidden ? SharedMemory::kHiddenBlocks : next_blocks_++ % SharedMemory::kHiddenBlocks;
    use(memory_of(Extra::blocks0, in.buffer), by_rows(), true);
  }
  const Place place = read(x, repeats() ? Split::free : by_rows());
  emit(task::Quantise{place, k, in.buffer}, repeats());
  return {in, x, true};
}

// What a product with this input reads. (Float weights read x itself.)
task::Input Scheduler::read_input(const Input& in) {
  if (!in.x.own) use(in.x.memory, Split::free, false);
  if (in.blocks && !in.task.own_blocks) use(memory_of(Extra::blocks0, in.task.buffer), Split::free, false);
  return in.task;
}

// What a grain of a weight costs: the bytes it reads where few rows make memory the bound, else its multiply-adds, of
// which a register of floats holds a quarter of what it holds of int8.
double Scheduler::cost_of_grain(const PackedMatrix& w) const {
  const bool few = repeats();
  return few ? static_cast<double>(row_bytes(w.dtype(), w.k()))
             : static_cast<double>(w.k()) * (reads_blocks(w) ? 1 : 4);
}

// Equal shares of `weights`, whose grains are counted through. Eight pieces a share: fine enough for members to finish
// within a few percent of one another, coarse enough to read memory in long runs. max_grains: of a piece.
task::Shares Scheduler::shares_of(const std::vector<const PackedMatrix*>& weights, std::size_t grain,
                                  std::size_t max_grains) const {
  constexpr std::uint32_t kPieces = 8;
  const std::size_t n_members = p_.pool_.size();
  double total = 0;
  for (const PackedMatrix* w : weights) total += static_cast<double>((w->n() + grain - 1) / grain) * cost_of_grain(*w);
  task::Shares shares;
  shares.first.push_back(0);
  double done = 0;
  std::uint32_t at = 0;
  for (const PackedMatrix* w : weights)
    for (std::size_t g = 0; g < (w->n() + grain - 1) / grain; ++g, ++at) {
      while (shares.first.size() < n_members &&
             done >= total * static_cast<double>(shares.first.size()) / static_cast<double>(n_members) - 1e-6)
        shares.first.push_back(at);
      done += cost_of_grain(*w);
    }
  while (shares.first.size() <= n_members) shares.first.push_back(at);
  std::uint32_t largest = 1;
  for (std::size_t t = 0; t < n_members; ++t) largest = std::max(largest, shares.first[t + 1] - shares.first[t]);
  shares.piece = static_cast<std::uint32_t>(std::clamp<std::size_t>((largest + kPieces - 1) / kPieces, 1, max_grains));
  return shares;
}

task::Shares Scheduler::hidden_shares(const PackedMatrix& up) const {
  const std::size_t m = repeats() ? kFewRows : p_.max_rows(step_->rows), grain = p_.hidden_grain();
  return shares_of({&up}, grain, std::max<std::size_t>(1, p_.scratch_floats_ / 2 / m / grain));
}

void Scheduler::product(const Input& in, const PackedMatrix* w, const Place& y, task::Then then) {
  task::Matmul m;
  m.in = read_input(in);
  m.parts = {{w, y}};
  m.shares = shares_of({w}, p_.kernels_.n_grain);
  m.then = then;
  emit(std::move(m), false);
}

void Scheduler::add(const op::Matmul& o) {
  const bool blocks =
      std::any_of(o.parts.begin(), o.parts.end(), [&](const op::MatmulPart& p) { return reads_blocks(*matrix(p.w)); });
  task::Matmul m;
  m.in = read_input(input(operand(o.x), o.x.width, blocks));
  std::vector<const PackedMatrix*> weights;
  for (const op::MatmulPart& part : o.parts) {
    m.parts.push_back({matrix(part.w), write_shared(part.y, Split::free)});
    weights.push_back(matrix(part.w));
  }
  m.shares = shares_of(weights, p_.kernels_.n_grain);
  emit(std::move(m), false);
}

void Scheduler::add(const op::Logits& o) {
  const PackedMatrix* w = matrix(o.w);
  const Input in = input(operand(o.x), o.x.width, reads_blocks(*w));
  const Place y = write_shared(o.out, Split::free);
  product(in, w, y, o.softcap > 0 ? task::Then{task::Then::Kind::softcap, o.softcap, {}} : task::Then{});
}

void Scheduler::add(const op::Ffn& o) {
  const PackedMatrix *gate = matrix(o.gate), *up = matrix(o.up), *down = matrix(o.down);
  Operand hidden = scratch(p_.shared_.hidden, Extra::hidden);
  // Who makes a tile of hidden makes its blocks, too; but the survivors of a sparse row fall where they like.
  const bool as_blocks = reads_blocks(*down) && !(repeats() && o.sparsity_z);
  const auto destination = [&](const Place& place) {
    if (as_blocks) use(memory_of(Extra::blocks0, SharedMemory::kHiddenBlocks), Split::free, true);
    return task::Hidden{place, as_blocks, SharedMemory::kHiddenBlocks};
  };
  const Input in = input(operand(o.x), o.x.width, reads_blocks(*gate) || reads_blocks(*up));
  use(hidden.memory, Split::free, true);
  if (!o.sparsity_z) {
    emit(task::GateUp{read_input(in), gate, up, hidden_shares(*up), destination(hidden.place)}, false);
  } else {
    product(in, gate, hidden.place);
    const task::Cut cut{hidden.place, o.d_ff, *o.sparsity_z, o.sample_std};
    if (repeats()) {
      // Members read the whole gate for its cutoff while others may be done with theirs: the result goes elsewhere.
      use(hidden.memory, Split::free, false);
      hidden = scratch(p_.shared_.hidden_few, Extra::hidden_few);
    } else {
      use(hidden.memory, by_rows(), true);
      emit(cut, false);
    }
    use(hidden.memory, Split::free, true);
    emit(task::CutUp{read_input(in), up, hidden_shares(*up), cut, destination(hidden.place), repeats()}, false);
  }
  const Input down_in = as_blocks ? Input{{hidden.place, o.d_ff, SharedMemory::kHiddenBlocks, false}, hidden, true}
                                  : input(hidden, o.d_ff, reads_blocks(*down), true);
  const Place y = write_shared(o.out, Split::free);
  product(down_in, down, y);
}

void Scheduler::add(const op::PleInject& o) {
  const std::size_t d = o.gate_in.width, width = o.ple.width;
  const PackedMatrix *gate = matrix(o.gate), *proj = matrix(o.proj);
  const Operand g = scratch(p_.shared_.ple_gate, Extra::ple_gate), h = scratch(p_.shared_.ple_proj, Extra::ple_proj);
  const Input gate_in = input(operand(o.gate_in), d, reads_blocks(*gate));
  const Place ple = read(operand(o.ple), Split::free);
  use(g.memory, Split::free, true);
  product(gate_in, gate, g.place, {task::Then::Kind::geglu, 0, ple});
  const Input proj_in = input(g, width, reads_blocks(*proj));
  use(h.memory, Split::free, true);
  product(proj_in, proj, h.place);
  if (repeats()) make_own(o.streams.id);
  const Place from = read(h, repeats() ? Split::free : by_rows());
  emit_rows(task::AddToStreams{from, write_rows(o.streams), vector(o.post_norm), o.n_streams, d});
}

// ---- rows ----

void Scheduler::add(const op::Embed& o) {
  emit(task::Embed{p_.weights_[index(o.table)], o.scale, write_shared(o.out, by_rows()), o.out.width}, false);
}

void Scheduler::add(const op::RmsNorm& o) {
  const Place x = read_rows(o.x);
  emit_rows(task::Norm{x, write_rows(o.out), vector(o.w), o.group, o.x.width});
}

void Scheduler::add(const op::AddRmsNorm& o) {
  const Place x = read_rows(o.x), h = read_rows(o.h);
  const Place x_out = write_rows(o.x);
  emit_rows(task::AddNorm{x, h, x_out, write_rows(o.out), vector(o.post), vector(o.next), o.x.width});
}

void Scheduler::add(const op::QNormRope& o) {
  const Place q = read_rows(o.q);
  use(memory_of(Extra::angles), Split::free, false);
  emit_rows(
      task::NormRope{q, write_rows(o.q), vector(o.w), o.q.width / o.head_dim, o.head_dim, rope(o.rope, o.head_dim)});
}

void Scheduler::add(const op::TakeOutputRows& o) {
  const Place x = read(operand(o.x), Split::free);
  emit_rows(task::TakeRows{x, write_rows(o.out), o.out.width});
}

void Scheduler::add(const op::PleCombine& o) {
  const Place projected = read_rows(o.projected), rows = read_rows(o.rows);
  emit_rows(task::PleCombine{projected, rows, write_rows(o.out), vector(o.norm), o.ple_width, o.out.width,
                             o.projection_scale, o.combine_scale});
}

void Scheduler::add(const op::AltupInit& o) {
  const Place e = read_rows(o.e), projected = read_rows(o.projected);
  emit_rows(task::AltupInit{e, projected, write_rows(o.streams), o.streams.width / o.e.width, o.e.width});
}

void Scheduler::add(const op::AltupPredict& o) {
  const std::size_t d = o.normed.width;
  const Place streams = read_rows(o.streams);
  const Place predicted = write_rows(o.predicted);
  emit_rows(task::AltupPredict{streams, predicted, write_rows(o.normed), router(o.router), vector(o.coefs),
                               vector(o.next_norm), o.n_streams, o.predicted.width / d, d});
}

void Scheduler::add(const op::LaurelMerge& o) {
  const Place active = read_rows(o.active), h = read_rows(o.o), x = read_rows(o.x), laurel = read_rows(o.laurel);
  const Place out = write_rows(o.out);
  emit_rows(task::LaurelMerge{active, h, x, laurel, out, write_rows(o.normed), vector(o.post_attn),
                              vector(o.post_laurel), vector(o.ffn_norm), o.out.width});
}

void Scheduler::add(const op::AltupCorrect& o) {
  const Place h = read_rows(o.h), residual = read_rows(o.residual), predicted = read_rows(o.predicted);
  const Place streams = write_rows(o.streams);
  emit_rows(task::AltupCorrect{h, residual, predicted, streams, write_rows(o.gate_in), vector(o.post_ffn),
                               router(o.router), vector(o.coefs), vector(o.correct_scale), o.n_streams, o.h.width});
}

void Scheduler::add(const op::AltupMerge& o) {
  const Place streams = read_rows(o.streams), projected = read_rows(o.projected);
  emit_rows(task::AltupMerge{streams, projected, write_rows(o.out), vector(o.norm), o.n_streams, o.out.width});
}

// ---- attention ----

std::size_t Scheduler::rope(const Rope& rope, std::size_t head_dim) const {
  for (std::size_t i = 0; i < p_.ropes_.size(); ++i) {
    const RopeTable& table = p_.ropes_[i];
    if (table.rope.theta == rope.theta && table.rope.freq_scale == rope.freq_scale && table.head_dim == head_dim)
      return i;
  }
  UNICORN_CHECK(false);
  return 0;
}

// With one row per segment, nobody but the unit that holds a row's last keys reads what the row stores; so the
// attention that follows may store it, and a barrier is saved.
bool Scheduler::store_can_wait(std::uint32_t step) const {
  if (!kind_.one_row_each || kind_.amount(step_->rows) != BatchKind::Amount::few) return false;
  const auto& store = std::get<op::KvStore>(step_->op);
  for (std::uint32_t s = step + 1; s < p_.range_.end; ++s) {
    const Step& later = p_.plan_.steps[s];
    if (later.rows != step_->rows) return false;
    if (const auto* attention = std::get_if<op::Attention>(&later.op)) return attention->kv_layer == store.kv_layer;
    if (!std::holds_alternative<op::QNormRope>(later.op)) return false;
  }
  return false;
}

task::StoreKv Scheduler::store_task(const op::KvStore& o, bool in_place) {
  const Operand k = operand(o.k), v = operand(o.v);
  return {k.place,          v.place,       in_place && !k.own && !v.own,
          vector(o.k_norm), o.normalise_v, rope(o.rope, p_.plan_.kv_layers[o.kv_layer].head_dim),
          o.kv_layer};
}

void Scheduler::add(const op::KvStore& o) {
  if (store_can_wait(step_index_)) {
    waiting_store_ = &o;
    return;
  }
  const task::StoreKv store = store_task(o, true);
  for (const TensorRef& ref : {o.k, o.v})
    if (const Operand x = operand(ref); !x.own) use(x.memory, by_rows(), store.in_place);
  use(memory_of(Extra::angles), Split::free, false);
  use(memory_of_kv(o.kv_layer), Split::free, true);
  emit(store, false);
}

void Scheduler::add(const op::Attention& o) {
  const KvLayer& layer = p_.plan_.kv_layers[o.kv_layer];
  const AttentionShape shape{step_->rows, o.window, layer.n_kv_heads, o.n_heads / layer.n_kv_heads, layer.head_dim};
  std::size_t work = 0;
  while (!(p_.attention_[work].shape() == shape)) ++work;

  task::Attend a{};
  a.q = read(operand(o.q), Split::free);
  if (waiting_store_ != nullptr) {
    a.stores = true;
    a.store = store_task(*waiting_store_, false);
    read(operand(waiting_store_->k), Split::free);
    read(operand(waiting_store_->v), Split::free);
    use(memory_of(Extra::angles), Split::free, false);
  }
  use(memory_of_kv(o.kv_layer), Split::free, waiting_store_ != nullptr);
  waiting_store_ = nullptr;
  use(memory_of(Extra::attention, work), Split::free, true);
  a.out = write_shared(o.out, Split::free);
  a.kv_layer = o.kv_layer;
  a.work = work;
  a.counter = n_attention_++;
  a.scale = o.scale;
  emit(std::move(a), false);
}

}  // namespace unicorn::cpu
