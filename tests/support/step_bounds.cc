#include "tests/support/step_bounds.h"

#include <algorithm>
#include <cmath>

#include "quant/block.h"

namespace unicorn::testing {
namespace {

using Doubles = std::vector<double>;

constexpr double kUlp = 0x1p-23;      // of 1.0f
constexpr double kRound = kUlp / 2;   // one rounding
constexpr double kGeluSlope = 1.13;   // max |gelu'|
constexpr std::size_t kBlock = 32;

double rms(const Doubles& x) {
  double s = 0;
  for (double v : x) s += v * v;
  return std::sqrt(s / static_cast<double>(x.size()));
}
double sum_error(std::size_t n) { return (static_cast<double>(n) / 32 + 9) * kRound; }  // 32 chains and a folding tree
double norm_error(std::size_t n) { return sum_error(n) / 2 + 5 * kRound; }

class Bounds {
 public:
  Bounds(const Plan& plan, const Step& step, const Limits& limits, const Batch& batch,
         const std::vector<RowPlace>& rows, const StepInputs& in, bool int8)
      : plan_(plan), step_(step), limits_(limits), batch_(batch), rows_(rows), in_(in), int8_(int8) {}

  std::vector<StepBounds> make() {
    for (const TensorRef& ref : access(step_).writes) out_.push_back({ref, {}});
    for (row_ = 0; row_ < rows_.size(); ++row_) std::visit([this](const auto& o) { add(o); }, step_.op);
    return std::move(out_);
  }

 private:
  void put(std::size_t write, const Doubles& bound) {
    out_[write].bound.insert(out_[write].bound.end(), bound.begin(), bound.end());
  }

  Doubles values(const TensorRef& ref) const {
    const float* p = in_.row(ref, row_);
    return {p, p + ref.width};
  }
  Doubles weight(WeightId id) const {
    if (id == kNoWeight) return {};
    const WeightRef& w = plan_.weights[index(id)];
    std::vector<float> row(w.k);
    Doubles all;
    for (std::size_t i = 0; i < w.n; ++i) {
      w.read_row_f32(i, row.data());
      all.insert(all.end(), row.begin(), row.end());
    }
    return all;
  }

  struct Values {
    Doubles exact, error;
  };

  // x · Wᵀ, x known to within x.error.
  Values product(const Values& x, WeightId id) const {
    const WeightRef& w = plan_.weights[index(id)];
    const std::size_t k = w.k;
    const bool blocks = int8_ && is_quantised(w.as);
    Doubles step(k);  // what becoming int8 may change in each x: half a step of its block's scale, itself rounded
    if (blocks)
      for (std::size_t b = 0; b < k; b += kBlock) {
        double top = 0;
        for (std::size_t i = b; i < std::min(b + kBlock, k); ++i)
          top = std::max(top, std::fabs(x.exact[i]) + x.error[i]);
        for (std::size_t i = b; i < std::min(b + kBlock, k); ++i) step[i] = top / 254 * (1 + 130 * kRound) + 1e-30;
      }
    // Float weights: one chain over k. Blocks: sums in a block are exact; scales, and sums over blocks, round.
    const double chain = (blocks ? 4 * static_cast<double>(k) / kBlock + 8 : static_cast<double>(k) + 2) * kRound;
    std::vector<float> row(k);
    Values y{Doubles(w.n), Doubles(w.n)};
    for (std::size_t j = 0; j < w.n; ++j) {
      w.read_row_f32(j, row.data());
      double dot = 0, error = 0, sum = 0;
      for (std::size_t i = 0; i < k; ++i) {
        dot += double{row[i]} * x.exact[i];
        error += std::fabs(double{row[i]}) * (x.error[i] + step[i]);
        // A K-quant's weight is a difference d·q − m of larger numbers, each of which is multiplied and summed alone.
        sum += (blocks ? 4 : 1) * std::fabs(double{row[i]}) * (std::fabs(x.exact[i]) + x.error[i] + step[i]);
      }
      y.exact[j] = dot;
      y.error[j] = error + chain * sum + kRound * std::fabs(dot);
    }
    return y;
  }
  Values exactly(const TensorRef& ref) const { return {values(ref), Doubles(ref.width)}; }

  // rms(x) · w. To first order, an error e of x moves out by |w|·s·(|e_i| + |x_i|·rms(e)/rms(x)).
  Values norm(const Values& x, const Doubles& w) const {
    const std::size_t n = x.exact.size();
    const double eps = plan_.rms_eps, size = std::sqrt(std::pow(rms(x.exact), 2) + eps), s = 1 / size;
    const double moved = rms(x.error) / size;
    Values y{Doubles(n), Doubles(n)};
    for (std::size_t i = 0; i < n; ++i) {
      const double wi = w.empty() ? 1.0 : w[i];
      y.exact[i] = x.exact[i] * s * wi;
      y.error[i] = 1.1 * std::fabs(wi) * s * (x.error[i] + std::fabs(x.exact[i]) * moved) +
                   (norm_error(n) + kUlp) * std::fabs(y.exact[i]);
    }
    return y;
  }
  Values sum(const Values& a, const Values& b) const {
    Values y = a;
    for (std::size_t i = 0; i < y.exact.size(); ++i) {
      y.exact[i] += b.exact[i];
      y.error[i] += b.error[i] + 2 * kRound * (std::fabs(a.exact[i]) + std::fabs(b.exact[i]));
    }
    return y;
  }
  static double gelu(double x) { return 0.5 * x * (1 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))); }
  Values geglu(const Values& g, const Values& u) const {
    Values y = g;
    for (std::size_t i = 0; i < y.exact.size(); ++i) {
      const double a = gelu(g.exact[i]), slope = kGeluSlope * g.error[i];
      // The kernels' gelu: relative (6 + 4·|2u|) ulp, and |2u|·|gelu| < 4 where x is negative; 16 ulp of |x| elsewhere.
      const double own = 16 * kUlp * std::max(1.0, std::fabs(g.exact[i]));
      y.exact[i] = a * u.exact[i];
      y.error[i] = (slope + own) * (std::fabs(u.exact[i]) + u.error[i]) + std::fabs(a) * u.error[i] +
                   kUlp * std::fabs(y.exact[i]);
    }
    return y;
  }
  Values route(const Values& x, const op::AltupRouter& r, std::size_t n) const {
    const Doubles w = weight(r.norm), matrix = weight(r.router);
    const Values t = norm(x, w);
    const std::size_t d = t.exact.size();
    Values m{Doubles(n), Doubles(n)};
    for (std::size_t j = 0; j < n; ++j) {
      double dot = 0, all = 0, error = 0;
      for (std::size_t i = 0; i < d; ++i) {
        const double c = matrix[j * d + i] * double{r.scale};
        dot += c * t.exact[i];
        all += std::fabs(c * t.exact[i]);
        error += std::fabs(c) * t.error[i];
      }
      m.exact[j] = std::tanh(dot);
      m.error[j] = error + (sum_error(d) + 4 * kUlp) * all + 4 * kUlp * std::fabs(m.exact[j]) + kRound;
    }
    return m;
  }
  Values small_product(const Doubles& w, const Values& m, std::size_t n, std::size_t k) const {
    Values c{Doubles(n), Doubles(n)};
    for (std::size_t j = 0; j < n; ++j)
      for (std::size_t q = 0; q < k; ++q) {
        c.exact[j] += w[j * k + q] * m.exact[q];
        c.error[j] += std::fabs(w[j * k + q]) * (m.error[q] + static_cast<double>(k + 1) * kRound);
      }
    return c;
  }
  Values scaled(Values x, double by) const {
    for (double& v : x.exact) v *= by;
    for (std::size_t i = 0; i < x.error.size(); ++i)
      x.error[i] = x.error[i] * std::fabs(by) + kUlp * std::fabs(x.exact[i]);
    return x;
  }

  // ---- the steps ----

  void add(const op::Embed& o) {
    const WeightRef& w = plan_.weights[index(o.table)];
    std::vector<float> row(w.k);
    const std::size_t at = step_.rows == Rows::all ? row_ : batch_.output_rows[row_];
    const auto id = static_cast<std::size_t>(batch_.ids[at]);
    w.read_row_f32(id < w.n ? id : 0, row.data());
    Doubles bound;
    for (float v : row) bound.push_back(kUlp * std::fabs(double{v} * double{o.scale}));
    put(0, bound);
  }
  void add(const op::Matmul& o) {
    const Values x = exactly(o.x);
    for (std::size_t p = 0; p < o.parts.size(); ++p) put(p, product(x, o.parts[p].w).error);
  }
  void add(const op::RmsNorm& o) {
    const Doubles w = weight(o.w);
    Doubles bound;
    for (std::uint32_t c = 0; c < o.x.width; c += o.group) {
      const Values y = norm(exactly({o.x.id, o.x.offset + c, o.group}), w);
      bound.insert(bound.end(), y.error.begin(), y.error.end());
    }
    put(0, bound);
  }
  void add(const op::AddRmsNorm& o) {
    const Values x = sum(exactly(o.x), norm(exactly(o.h), weight(o.post)));
    put(0, x.error);
    put(1, norm(x, weight(o.next)).error);
  }
  Doubles rotated(const TensorRef& ref, WeightId w, std::uint32_t head_dim) const {
    Doubles bound;
    const Doubles weights = weight(w);
    for (std::uint32_t c = 0; c < ref.width; c += head_dim) {
      const Values y = norm(exactly({ref.id, ref.offset + c, head_dim}), weights);
      for (std::uint32_t i = 0; i < head_dim; ++i) {
        const std::uint32_t j = (i + head_dim / 2) % head_dim;
        bound.push_back(y.error[i] + y.error[j] + 4 * kUlp * (std::fabs(y.exact[i]) + std::fabs(y.exact[j])));
      }
    }
    return bound;
  }
  void add(const op::QNormRope& o) { put(0, rotated(o.q, o.w, o.head_dim)); }
  void add(const op::KvStore& o) {
    const std::uint32_t d = plan_.kv_layers[o.kv_layer].head_dim;
    put(0, rotated(o.k, o.k_norm, d));
    Doubles bound;
    for (std::uint32_t c = 0; c < o.v.width; c += d) {
      const Values y = norm(exactly({o.v.id, o.v.offset + c, d}), {});
      for (double e : y.error) bound.push_back(o.normalise_v ? e : 0.0);
    }
    put(1, bound);
  }
  void add(const op::Attention& o) {
    const KvLayer& layer = plan_.kv_layers[o.kv_layer];
    const std::size_t d = layer.head_dim, group = o.n_heads / layer.n_kv_heads;
    const RowPlace& place = rows_[row_];
    const Segment& segment = batch_.segments[place.segment];
    const std::size_t n_row_bytes = row_bytes(limits_.kv_dtype, d), tokens = limits_.kv_block_tokens;
    const Doubles q = values(o.q);
    std::vector<float> kv(d);
    Doubles bound;
    for (std::size_t h = 0; h < o.n_heads; ++h) {
      double k_size = 0, v_top = 0, q_size = 0;
      std::size_t seen = 0;
      for (std::size_t i = 0; i < d; ++i) q_size += q[h * d + i] * q[h * d + i];
      const std::uint32_t first = o.window == 0 || place.pos + 1 <= o.window ? 0 : place.pos + 1 - o.window;
      for (std::uint32_t slot = first; slot <= place.slot; ++slot) {
        if (!sees_slot(segment, place, slot)) continue;
        ++seen;
        for (const bool value : {false, true}) {
          const std::byte* at =
              in_.kv(o.kv_layer) + block_of(segment, layer.group, slot, limits_) * kv_block_bytes(layer, limits_) +
              ((value ? layer.n_kv_heads : 0) + h / group) * tokens * n_row_bytes + slot % tokens * n_row_bytes;
          decode_row(limits_.kv_dtype, at, kv.data(), d);
          double s = 0;
          for (float x : kv) {
            s += double{x} * x;
            if (value) v_top = std::max(v_top, std::fabs(double{x}));
          }
          if (!value) k_size = std::max(k_size, std::sqrt(s));
        }
      }
      // As an error e of a score scales its weight by e^e, above and below the line; |q·k| ≤ |q||k|.
      const double score = std::sqrt(q_size) * k_size * double{o.scale};
      const double relative =
          2 * (static_cast<double>(d) / 8 + 8) * kRound * score + (static_cast<double>(seen) / 2 + 40) * kUlp;
      bound.insert(bound.end(), d, relative * v_top);
    }
    put(0, bound);
  }
  void add(const op::Ffn& o) {
    const Values x = exactly(o.x);
    Values g = product(x, o.gate);
    if (o.sparsity_z) {
      const double n = static_cast<double>(o.d_ff);
      double mean = 0, squares = 0;
      for (double v : g.exact) mean += v / n;
      for (double v : g.exact) squares += (v - mean) * (v - mean);
      const double deviation = std::sqrt(squares / (o.sample_std ? n - 1 : n));
      // The mean moves by at most the mean error, the deviation by at most the errors' own size.
      double mean_error = 0;
      for (double e : g.error) mean_error += e / n;
      const double cut_error =
          mean_error + double{*o.sparsity_z} * rms(g.error) * 1.1 + 4 * kUlp * (std::fabs(mean) + 2 * deviation);
      for (std::size_t i = 0; i < g.exact.size(); ++i) {
        g.exact[i] = std::max(g.exact[i] - (mean + double{*o.sparsity_z} * deviation), 0.0);
        g.error[i] += cut_error;
      }
    }
    put(0, product(geglu(g, product(x, o.up)), o.down).error);
  }
  void add(const op::TakeOutputRows& o) { put(0, Doubles(o.out.width)); }
  void add(const op::Logits& o) {
    Values z = product(exactly(o.x), o.w);
    if (o.softcap > 0)
      for (double& e : z.error) e += 6 * kUlp * double{o.softcap};
    put(0, z.error);
  }
  void add(const op::PleCombine& o) {
    Doubles bound;
    for (std::uint32_t c = 0; c < o.out.width; c += o.ple_width) {
      const Values p =
          norm(scaled(exactly({o.projected.id, o.projected.offset + c, o.ple_width}), double{o.projection_scale}),
               weight(o.norm));
      const Values y = scaled(sum(p, exactly({o.rows.id, o.rows.offset + c, o.ple_width})), double{o.combine_scale});
      bound.insert(bound.end(), y.error.begin(), y.error.end());
    }
    put(0, bound);
  }
  Values matched(const TensorRef& u, double target) const {
    Values y = exactly(u);
    const double size = std::sqrt(std::max(std::pow(rms(y.exact), 2), 1e-5));
    for (std::size_t i = 0; i < y.exact.size(); ++i) {
      y.exact[i] *= target / size;
      y.error[i] = (2 * norm_error(y.exact.size()) + 2 * kUlp) * std::fabs(y.exact[i]);
    }
    return y;
  }
  void add(const op::AltupInit& o) {
    const std::uint32_t d = o.e.width;
    const double target = rms(values(o.e));
    Doubles bound(d);
    for (std::uint32_t c = 0; c < o.projected.width; c += d) {
      const Values y = matched({o.projected.id, o.projected.offset + c, d}, target);
      bound.insert(bound.end(), y.error.begin(), y.error.end());
    }
    put(0, bound);
  }
  void add(const op::AltupMerge& o) {
    const std::uint32_t d = o.out.width, n = o.n_streams;
    Values total = exactly({o.streams.id, o.streams.offset, d});
    const double target = rms(total.exact);
    for (std::uint32_t c = 0; c < o.projected.width; c += d)
      total = sum(total, matched({o.projected.id, o.projected.offset + c, d}, target));
    put(0, norm(scaled(total, 1.0 / n), weight(o.norm)).error);
  }
  void add(const op::AltupPredict& o) {
    const std::uint32_t d = o.normed.width, n = o.n_streams;
    const Values s = exactly(o.streams);
    const Values m = route({Doubles(s.exact.begin(), s.exact.begin() + d), Doubles(d)}, o.router, n);
    const Values c = small_product(weight(o.coefs), m, std::size_t{n} * n, n);
    Doubles bound;
    Values active;
    for (std::uint32_t j = 0; j < o.predicted.width / d; ++j) {
      Values p{Doubles(d), Doubles(d)};
      for (std::uint32_t i = 0; i < d; ++i) {
        double value = s.exact[j * d + i], all = std::fabs(value);
        for (std::uint32_t q = 0; q < n; ++q) {
          const double term = c.exact[j * n + q] * s.exact[q * d + i];
          value += term;
          all += std::fabs(term);
          p.error[i] += c.error[j * n + q] * std::fabs(s.exact[q * d + i]);
        }
        p.exact[i] = value;
        p.error[i] += (n + 3) * kRound * all;
      }
      bound.insert(bound.end(), p.error.begin(), p.error.end());
      if (j == 0) active = p;
    }
    put(0, bound);
    put(1, norm(active, weight(o.next_norm)).error);
  }
  void add(const op::LaurelMerge& o) {
    const Values attn = sum(exactly(o.active), norm(exactly(o.o), weight(o.post_attn)));
    const Values lau = sum(exactly(o.x), norm(exactly(o.laurel), weight(o.post_laurel)));
    const Values y = scaled(sum(attn, lau), std::sqrt(0.5));
    put(0, y.error);
    put(1, norm(y, weight(o.ffn_norm)).error);
  }
  void add(const op::AltupCorrect& o) {
    const std::uint32_t d = o.h.width, n = o.n_streams;
    const Values ff = sum(exactly(o.residual), norm(exactly(o.h), weight(o.post_ffn)));
    const Values m = route(ff, o.router, n);
    const Values c = small_product(weight(o.coefs), m, n, n);
    const Doubles p = values(o.predicted), scale = weight(o.correct_scale);
    Doubles bound, gate;
    for (std::uint32_t j = 0; j < n; ++j)
      for (std::uint32_t i = 0; i < d; ++i) {
        const double inn = ff.exact[i] - p[i], coef = c.exact[j] + 1, value = inn * coef + p[j * d + i];
        const double inn_error = ff.error[i] + kUlp * (std::fabs(ff.exact[i]) + std::fabs(p[i]));
        const double e = inn_error * std::fabs(coef) +
                         (std::fabs(inn) + inn_error) * (c.error[j] + kUlp * (1 + std::fabs(c.exact[j]))) +
                         2 * kUlp * (std::fabs(value) + std::fabs(inn * coef));
        bound.push_back(e);
        if (j == 0) gate.push_back((scale.empty() ? 1 : std::fabs(scale[i])) * (e + kUlp * std::fabs(value)));
      }
    put(0, bound);
    put(1, gate);
  }
  void add(const op::PleInject& o) {
    const std::uint32_t d = o.gate_in.width;
    const Values h =
        norm(product(geglu(product(exactly(o.gate_in), o.gate), exactly(o.ple)), o.proj), weight(o.post_norm));
    Doubles bound(d);
    for (std::uint32_t j = 1; j < o.n_streams; ++j) {
      const Values y = sum(exactly({o.streams.id, o.streams.offset + j * d, d}), h);
      bound.insert(bound.end(), y.error.begin(), y.error.end());
    }
    put(0, bound);
  }

  const Plan& plan_;
  const Step& step_;
  const Limits& limits_;
  const Batch& batch_;
  const std::vector<RowPlace>& rows_;
  const StepInputs& in_;
  bool int8_;
  std::size_t row_ = 0;
  std::vector<StepBounds> out_;
};

}  // namespace

std::vector<StepBounds> step_bounds(const Plan& plan, const Step& step, const Limits& limits, const Batch& batch,
                                    const std::vector<RowPlace>& rows, const StepInputs& in, bool int8_activations) {
  return Bounds(plan, step, limits, batch, rows, in, int8_activations).make();
}

}  // namespace unicorn::testing
