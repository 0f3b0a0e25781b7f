#include "backends/cpu/worker.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include "quant/block.h"

namespace unicorn::cpu {
namespace {

template <class Body>
constexpr bool kByRows = requires { std::remove_cvref_t<Body>::kByRows; };

template <class Body>
std::string_view task_name(const Body&, const Op& op) {
  if constexpr (requires { Body::kName; })
    return Body::kName;
  else
    return op_name(op);
}

// The panels of outputs [begin, end) as a matrix of their own. Layouts panels (begin a multiple of 16) and rows.
PackedView outputs_of(const PackedView& w, std::size_t begin, std::size_t end) {
  PackedView view = w;
  view.data += (w.layout == Layout::panels ? begin / kPanelRows : begin) * w.stride;
  view.n = end - begin;
  return view;
}

MatmulFn kernel_for(const KernelTable& kernels, const PackedView& w) {
  const auto dtype = static_cast<std::size_t>(w.dtype);
  switch (w.layout) {
    case Layout::panels:
      return kernels.matmul[dtype];
    case Layout::rows:
      return kernels.matmul_dense_rows[dtype];
    case Layout::columns:
      return kernels.matmul_columns[dtype];
  }
  return nullptr;
}

}  // namespace

// Consecutive steps on the same rows go row by row, all of them on one row while it is in the cache, rather than step by
// step: in prefill the streams of AltUp alone are 16 MB for each step.
void Worker::run(std::span<const Task> tasks) {
  tracing_ = p_.tracing_ && member_ == 0;
  if (tracing_) last_ = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < tasks.size();) {
    const Task& first = tasks[i];
    std::size_t end = i + 1;
    if (!is_by_rows(first)) {
      std::visit(
          [&](const auto& o) {
            if constexpr (!kByRows<decltype(o)>) run(first, o);
          },
          first.body);
      trace(first, true);
    } else {
      while (end < tasks.size() && is_by_rows(tasks[end]) && tasks[end].rows == first.rows &&
             tasks[end].repeated == first.repeated)
        ++end;
      const std::size_t m = p_.n_rows(first.rows);
      const Slice mine = first.repeated ? Slice{0, m} : slice_of(m, 1, member_, n_members_);
      for (std::size_t row = mine.begin; row < mine.end; ++row)
        for (const Task& t : tasks.subspan(i, end - i)) {
          std::visit(
              [&](const auto& o) {
                if constexpr (kByRows<decltype(o)>) this->row(t, o, row);
              },
              t.body);
          trace(t, row == mine.begin);
        }
    }
    i = end;
  }
}

bool Worker::is_by_rows(const Task& t) {
  return std::visit([](const auto& o) { return kByRows<decltype(o)>; }, t.body);
}

void Worker::trace(const Task& t, bool counts) {
  if (!tracing_) return;
  const auto now = std::chrono::steady_clock::now();
  const std::string_view name =
      std::visit([&](const auto& o) { return task_name(o, p_.plan_.steps[t.step].op); }, t.body);
  auto& entries = p_.trace_.entries;
  auto it = std::find_if(entries.begin(), entries.end(), [&](const RunTrace::Entry& e) { return e.name == name; });
  if (it == entries.end()) it = entries.insert(entries.end(), {name, 0, 0});
  it->calls += counts ? 1 : 0;
  it->us += std::chrono::duration<double, std::micro>(now - last_).count();
  last_ = now;
}

void Worker::run(const Task&, const task::Barrier&) { p_.pool_.barrier(); }

// f32 as Hugging Face computes the angles: at position 32,767 their last bits matter.
void Worker::run(const Task&, const task::Angles&) {
  const std::size_t n = p_.rows_.all.size();
  for (std::size_t i = 0; i < p_.ropes_.size(); ++i) {
    const RopeTable& rope = p_.ropes_[i];
    const std::size_t half = rope.head_dim / 2;
    const Slice mine = slice_of(n, 1, (member_ + i) % n_members_, n_members_);
    for (std::size_t row = mine.begin; row < mine.end; ++row) {
      const auto pos = static_cast<float>(p_.rows_.all[row].pos);
      for (std::size_t j = 0; j < half; ++j) {
        const float angle = rope.inverse_frequency[j] * pos;
        rope.cos[row * half + j] = std::cos(angle);
        rope.sin[row * half + j] = std::sin(angle);
      }
    }
  }
}

void Worker::row(const Task& t, const task::Embed& o, std::size_t row) {
  const auto id = static_cast<std::size_t>(p_.batch_->ids[batch_row(t.rows, row)]);
  float* out = o.out.row(member_, row);
  o.table->row(id < o.table->n() ? id : 0, out);
  for (std::size_t i = 0; i < o.width; ++i) out[i] *= o.scale;
  constexpr std::size_t kRowsMapped = 16;
  if (row % kRowsMapped == kRowsMapped - 1 || row + 1 == p_.n_rows(t.rows)) o.table->let_go_of_rows();
}

void Worker::row(const Task&, const task::CopyRows& o, std::size_t row) {
  std::memcpy(o.to.row(member_, row), o.from.row(member_, row), o.width * sizeof(float));
}

void Worker::row(const Task&, const task::TakeRows& o, std::size_t row) {
  std::memcpy(o.to.row(member_, row), o.from.row(member_, p_.batch_->output_rows[row]), o.width * sizeof(float));
}

void Worker::row(const Task&, const task::Norm& o, std::size_t row) {
  for (std::size_t c = 0; c < o.width; c += o.group)
    p_.elements_.rms_norm(o.x.row(member_, row) + c, o.w, o.out.row(member_, row) + c, o.group, p_.plan_.rms_eps);
}

void Worker::row(const Task&, const task::AddNorm& o, std::size_t row) {
  p_.elements_.add_rms_norm(o.x.row(member_, row), o.h.row(member_, row), o.post, o.next, o.x_out.row(member_, row),
                            o.out.row(member_, row), o.width, p_.plan_.rms_eps);
}

void Worker::row(const Task& t, const task::NormRope& o, std::size_t row) {
  const RopeTable& rope = p_.ropes_[o.rope];
  const std::size_t at = batch_row(t.rows, row) * (o.head_dim / 2);
  for (std::size_t c = 0; c < o.n_heads * o.head_dim; c += o.head_dim)
    p_.elements_.norm_rope(o.x.row(member_, row) + c, o.w, rope.cos + at, rope.sin + at, o.out.row(member_, row) + c,
                           o.head_dim, p_.plan_.rms_eps);
}

void Worker::row(const Task&, const task::PleCombine& o, std::size_t row) {
  for (std::size_t c = 0; c < o.width; c += o.group)
    p_.elements_.ple_combine(o.projected.row(member_, row) + c, o.rows.row(member_, row) + c, o.w, o.projection_scale,
                             o.combine_scale, o.out.row(member_, row) + c, o.group, p_.plan_.rms_eps);
}

void Worker::row(const Task&, const task::AltupInit& o, std::size_t row) {
  p_.elements_.altup_init(o.e.row(member_, row), o.projected.row(member_, row), o.streams.row(member_, row),
                          o.n_streams, o.d);
}

void Worker::row(const Task&, const task::AltupPredict& o, std::size_t row) {
  p_.elements_.altup_predict({.streams = o.streams.row(member_, row),
                              .router = o.router,
                              .coefs = o.coefs,
                              .next_norm = o.next_norm,
                              .predicted = o.predicted.row(member_, row),
                              .normed = o.normed.row(member_, row),
                              .n_streams = o.n_streams,
                              .n_predicted = o.n_predicted,
                              .d = o.d,
                              .eps = p_.plan_.rms_eps});
}

void Worker::row(const Task&, const task::LaurelMerge& o, std::size_t row) {
  p_.elements_.laurel_merge({.active = o.active.row(member_, row),
                             .o = o.o.row(member_, row),
                             .x = o.x.row(member_, row),
                             .laurel = o.laurel.row(member_, row),
                             .post_attn = o.post_attn,
                             .post_laurel = o.post_laurel,
                             .ffn_norm = o.ffn_norm,
                             .out = o.out.row(member_, row),
                             .normed = o.normed.row(member_, row),
                             .d = o.d,
                             .eps = p_.plan_.rms_eps});
}

void Worker::row(const Task&, const task::AltupCorrect& o, std::size_t row) {
  p_.elements_.altup_correct({.h = o.h.row(member_, row),
                              .residual = o.residual.row(member_, row),
                              .predicted = o.predicted.row(member_, row),
                              .post_ffn = o.post_ffn,
                              .router = o.router,
                              .coefs = o.coefs,
                              .correct_scale = o.correct_scale,
                              .streams = o.streams.row(member_, row),
                              .gate_in = o.gate_in.row(member_, row),
                              .n_streams = o.n_streams,
                              .d = o.d,
                              .eps = p_.plan_.rms_eps});
}

void Worker::row(const Task&, const task::AddToStreams& o, std::size_t row) {
  p_.elements_.add_norm(o.h.row(member_, row), o.w, o.streams.row(member_, row) + o.d, o.n_streams - 1, o.d,
                        p_.plan_.rms_eps);
}

void Worker::row(const Task&, const task::AltupMerge& o, std::size_t row) {
  p_.elements_.altup_merge(o.streams.row(member_, row), o.projected.row(member_, row), o.w, o.out.row(member_, row),
                           o.n_streams, o.d, p_.plan_.rms_eps);
}

// ---- matrix products ----

ActivationView Worker::view(const task::Input& in, std::size_t m) const {
  const ActivationRows& rows = in.own_blocks ? self_.blocks : p_.shared_.blocks[in.buffer];
  return rows.view(in.x.row(member_, 0), in.x.ld, m, in.k);
}

void Worker::row(const Task& t, const task::Quantise& o, std::size_t row) {
  p_.kernels_.quantise_rows(view({o.x, o.k, o.buffer, t.repeated}, p_.n_rows(t.rows)), row, row + 1);
}

void Worker::then(const task::Then& then, const Place& y, std::size_t row, std::size_t row_end, std::size_t begin,
                  std::size_t end) const {
  if (then.kind == task::Then::Kind::nothing) return;
  for (; row < row_end; ++row) {
    float* at = y.row(member_, row) + begin;
    if (then.kind == task::Then::Kind::softcap)
      p_.elements_.softcap(at, end - begin, then.cap);
    else
      p_.elements_.geglu(at, then.times.row(member_, row) + begin, at, end - begin);
  }
}

// f(first, end, group): grains of the shares in pieces, each piece for every group of rows.
template <class F>
void Worker::for_grains(const task::Shares& shares, std::uint32_t n_groups, F f) {
  ++n_shared_tasks_;
  const auto n_pieces = [&](std::size_t owner) {
    return (shares.first[owner + 1] - shares.first[owner] + shares.piece - 1) / shares.piece * n_groups;
  };
  p_.shares_.run(member_, n_shared_tasks_, n_pieces, [&](std::size_t owner, std::uint32_t piece) {
    const std::uint32_t first = shares.first[owner] + piece / n_groups * shares.piece;
    f(first, std::min(first + shares.piece, shares.first[owner + 1]), piece % n_groups);
  });
}

// Rows [begin, end) of a view; begin is a multiple of tile_m.
ActivationView Worker::rows_of(const ActivationView& view, std::size_t begin, std::size_t end) {
  ActivationView rows = view;
  rows.m = end - begin;
  rows.x += begin * view.ldx;
  if (begin > 0) rows.blocks += begin * view.n_blocks;
  return rows;
}

// Where outputs alone make too few pieces to go around (a PLE gate has 256), many rows are divided too, down to so many
// that a strip's codes are still unpacked for enough of them.
std::uint32_t Worker::row_groups(const task::Shares& shares, std::size_t m) const {
  constexpr std::size_t kLeastRows = 128, kPieces = 8;
  const std::size_t n_pieces = (shares.first.back() + shares.piece - 1) / shares.piece;
  const std::size_t wanted = (kPieces * n_members_ + n_pieces - 1) / std::max<std::size_t>(n_pieces, 1);
  return static_cast<std::uint32_t>(std::clamp<std::size_t>(m / kLeastRows, 1, std::max<std::size_t>(wanted, 1)));
}

void Worker::run(const Task& t, const task::Matmul& o) {
  const std::size_t m = p_.n_rows(t.rows), grain = p_.kernels_.n_grain;
  const ActivationView x = view(o.in, m);
  const std::uint32_t n_groups = n_members_ == 1 ? 1 : row_groups(o.shares, m);
  for_grains(o.shares, n_groups, [&](std::size_t first, std::size_t last, std::size_t group) {
    const std::size_t row = slice_of(m, x.tile_m, group, n_groups).begin;
    const std::size_t row_end = slice_of(m, x.tile_m, group, n_groups).end;
    const ActivationView rows = rows_of(x, row, row_end);
    std::size_t offset = 0;  // grains of the parts before
    for (const task::Matmul::Part& part : o.parts) {
      const std::size_t n = part.w->n(), n_grains = (n + grain - 1) / grain;
      const std::size_t from = std::max(first, offset), to = std::min(last, offset + n_grains);
      if (from < to) {
        const std::size_t begin = (from - offset) * grain, end = std::min(n, (to - offset) * grain);
        matmul(p_.kernels_, *part.w, rows, part.y.row(member_, row), part.y.ld, begin, end);
        then(o.then, part.y, row, row_end, begin, end);
      }
      offset += n_grains;
    }
  });
}

// hidden = gelu(g) ∘ (x · upᵀ), a tile of columns at a time so that both halves stay in the cache: g is x · gateᵀ, or
// what the sparse gate's cut leaves (`cut` done by now, unless cutoffs are given).
void Worker::up_tiles(const task::Input& in, std::size_t m, const PackedMatrix& up, const PackedMatrix* gate,
                      const task::Shares& shares, const task::Hidden& hidden, const task::Cut* cut,
                      const float* cutoffs) {
  const ActivationView x = view(in, m);
  const std::size_t grain = p_.hidden_grain();
  for_grains(shares, 1, [&](std::size_t first, std::size_t last, std::size_t) {
    const std::size_t c = first * grain, end = std::min(up.n(), last * grain), n = end - c;
    float *g = self_.scratch, *u = self_.scratch + m * n;
    const auto product = [&](const PackedMatrix& w, float* y) {
      const PackedView outputs = outputs_of(w.view(), c, end);
      kernel_for(p_.kernels_, outputs)(outputs, x, y, n, 0, n);
    };
    if (gate != nullptr) product(*gate, g);
    product(up, u);
    constexpr std::size_t kRowsAhead = 8;  // no prefetcher sees a stride of a whole row coming
    for (std::size_t row = 0; row < m; ++row) {
      if (gate == nullptr && row + kRowsAhead < m)
        for (std::size_t i = 0; i < n; i += 16) __builtin_prefetch(cut->gate.row(member_, row + kRowsAhead) + c + i);
      const float* from = gate != nullptr ? g + row * n : cut->gate.row(member_, row) + c;
      float* to = hidden.blocks ? g + row * n : hidden.place.row(member_, row) + c;
      if (cutoffs != nullptr) {
        p_.elements_.cut(from, cutoffs[row], to, n);
        from = to;
      }
      p_.elements_.geglu(from, u + row * n, to, n);
    }
    if (hidden.blocks)
      p_.kernels_.quantise_columns(p_.shared_.blocks[hidden.buffer].view(nullptr, 0, m, up.n()), g, n, c / kBlock,
                                   end / kBlock);
  });
}

void Worker::run(const Task& t, const task::GateUp& o) {
  up_tiles(o.in, p_.n_rows(t.rows), *o.up, o.gate, o.shares, o.hidden, nullptr, nullptr);
}

void Worker::row(const Task&, const task::Cut& o, std::size_t row) {
  float* g = o.gate.row(member_, row);
  p_.elements_.cut(g, p_.elements_.gaussian_cutoff(g, o.width, o.z, o.sample_std), g, o.width);
}

void Worker::run(const Task& t, const task::CutUp& o) {
  const std::size_t m = p_.n_rows(t.rows);
  if (!o.cuts) return up_tiles(o.in, m, *o.up, nullptr, o.shares, o.hidden, &o.cut, nullptr);
  float cutoffs[kFewRows] = {};
  for (std::size_t row = 0; row < m; ++row)
    cutoffs[row] = p_.elements_.gaussian_cutoff(o.cut.gate.row(member_, row), o.cut.width, o.cut.z, o.cut.sample_std);
  if (o.up->layout() != Layout::rows) return up_tiles(o.in, m, *o.up, nullptr, o.shares, o.hidden, &o.cut, cutoffs);
  for (std::size_t row = 0; row < m; ++row) {
    ActivationView x = view(o.in, m);
    if (m > 1) {  // a row of its own: blocks of several rows lie interleaved
      x = self_.row_blocks.view(o.in.x.row(member_, row), o.in.x.ld, 1, o.in.k);
      if (reads_blocks(*o.up)) p_.kernels_.quantise_rows(x, 0, 1);
    }
    survivors(o, row, cutoffs[row], x);
  }
}

// The survivors are shared out evenly; between two members' first ones, each fills the rest with zeros.
void Worker::survivors(const task::CutUp& o, std::size_t row, float cutoff, const ActivationView& x) {
  const float* gate = o.cut.gate.row(member_, row);
  const std::size_t count = p_.elements_.survivors(gate, cutoff, o.cut.width, self_.survivors.data());
  const Slice mine = slice_of(count, 1, member_, n_members_);
  const std::size_t n = mine.end - mine.begin;
  const std::uint32_t* indices = self_.survivors.data() + mine.begin;
  const auto first_of = [&](std::size_t member, std::size_t i) {
    return member == 0 ? 0 : i < count ? self_.survivors[i] : o.cut.width;
  };
  const std::size_t begin = first_of(member_, mine.begin), end = first_of(member_ + 1, mine.end);
  float* hidden = o.hidden.place.row(member_, row);
  std::fill(hidden + begin, hidden + (member_ + 1 == n_members_ ? o.cut.width : end), 0.0f);
  if (n == 0) return;
  float *g = self_.scratch, *u = self_.scratch + o.cut.width;
  for (std::size_t i = 0; i < n; ++i) g[i] = gate[indices[i]] - cutoff;
  p_.kernels_.matmul_rows[static_cast<std::size_t>(o.up->dtype())](o.up->view(), x, indices, n, u);
  p_.elements_.geglu(g, u, g, n);
  for (std::size_t i = 0; i < n; ++i) hidden[indices[i]] = g[i];
}

// ---- attention ----

void Worker::store_kv(const task::StoreKv& o, const RowPlace& place, std::size_t row, std::size_t batch_row,
                      std::uint32_t head) const {
  const KvLayer& layer = p_.plan_.kv_layers[o.kv_layer];
  const RopeTable& rope = p_.ropes_[o.rope];
  const std::size_t d = layer.head_dim, tokens = p_.limits_.kv_block_tokens;
  const DType dtype = p_.limits_.kv_dtype;
  const std::size_t n_row_bytes = row_bytes(dtype, d), half = layer.n_kv_heads * tokens * n_row_bytes;
  const Segment& segment = p_.batch_->segments[place.segment];
  std::byte* at = p_.kv_[o.kv_layer] + std::size_t{block_of(segment, layer.group, place.slot, p_.limits_)} * 2 * half +
                  (head * tokens + place.slot % tokens) * n_row_bytes;
  const auto encode = [&](const float* x, std::byte* out) {
    if (dtype == DType::q8_0)
      encode_row(dtype, x, out, d);
    else
      p_.elements_.kv_store(dtype, x, out, d);
  };
  float* k = o.k.row(member_, row) + head * d;
  float* v = o.v.row(member_, row) + head * d;
  float* k_out = o.in_place ? k : self_.scratch;
  p_.elements_.norm_rope(k, o.k_norm, rope.cos + batch_row * (d / 2), rope.sin + batch_row * (d / 2), k_out, d,
                         p_.plan_.rms_eps);
  encode(k_out, at);
  if (o.normalise_v) {
    float* v_out = o.in_place ? v : self_.scratch;
    p_.elements_.rms_norm(v, nullptr, v_out, d, p_.plan_.rms_eps);
    v = v_out;
  }
  encode(v, at + half);
}

void Worker::row(const Task& t, const task::StoreKv& o, std::size_t row) {
  for (std::uint32_t h = 0; h < p_.plan_.kv_layers[o.kv_layer].n_kv_heads; ++h)
    store_kv(o, places(t.rows)[row], row, batch_row(t.rows, row), h);
}

void Worker::run(const Task& t, const task::Attend& o) {
  const std::span<const RowPlace> rows = places(t.rows);
  const Attention attention{p_.elements_,
                            p_.attention_[o.work],
                            *p_.batch_,
                            rows,
                            p_.limits_,
                            p_.plan_.kv_layers[o.kv_layer],
                            p_.kv_[o.kv_layer],
                            o.q,
                            o.out,
                            o.scale};
  attention.run(p_.counters_[o.counter], self_.attention, member_,
                [&](std::uint32_t first, std::uint32_t n, std::uint32_t head) {
                  if (!o.stores) return;
                  for (std::uint32_t row = first; row < first + n; ++row)
                    store_kv(o.store, rows[row], row, batch_row(t.rows, row), head);
                });
}

}  // namespace unicorn::cpu
