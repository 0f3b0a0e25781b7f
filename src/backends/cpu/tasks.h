// Tasks: what a compiled range of steps does, as a flat list with barriers between them. Every member of the thread
// pool walks the same list. scheduler.h makes lists, execute.cc carries tasks out.
//
// A task's rows are either split over the members, or, when the batch has few rows, repeated: every member computes
// all of them into a copy of its own, which costs less than the barrier that sharing them would need.
#pragma once

#include <cstdint>
#include <string_view>
#include <variant>
#include <vector>

#include "backends/cpu/packed_matrix.h"
#include "backends/cpu/weight.h"
#include "plan/plan.h"

namespace unicorn::cpu {

// Where an operand lies: row r for member t at base + t · member_stride + r · ld. member_stride 0: one for all.
struct Place {
  float* base = nullptr;
  std::size_t member_stride = 0;
  std::size_t ld = 0;

  float* row(std::size_t member, std::size_t r) const { return base + member * member_stride + r * ld; }
  Place columns(std::size_t offset) const { return {base + offset, member_stride, ld}; }
};

namespace task {

// kByRows: the work on a row reads and writes that row alone (TakeRows: reads one of another domain).

struct Barrier {
  static constexpr std::string_view kName = "barrier";
};

struct Angles {
  static constexpr std::string_view kName =
      "angles";  // cosines and sines of every row's position, for every Rope of the range
};

struct Embed {
  static constexpr bool kByRows = true;
  const CpuWeight* table;
  float scale;
  Place out;
  std::size_t width;
};

struct CopyRows {
  static constexpr bool kByRows = true;
  static constexpr std::string_view kName = "copy_rows";
  Place from, to;
  std::size_t width;
};

struct TakeRows {  // output row i is row output_rows[i]
  static constexpr bool kByRows = true;
  Place from, to;
  std::size_t width;
};

struct Norm {
  static constexpr bool kByRows = true;
  Place x, out;
  const float* w;
  std::size_t group, width;
};

struct AddNorm {
  static constexpr bool kByRows = true;
  Place x, h, x_out, out;
  const float *post, *next;
  std::size_t width;
};

struct NormRope {
  static constexpr bool kByRows = true;
  Place x, out;
  const float* w;
  std::size_t n_heads, head_dim, rope;
};

struct PleCombine {
  static constexpr bool kByRows = true;
  Place projected, rows, out;
  const float* w;
  std::size_t group, width;
  float projection_scale, combine_scale;
};

struct AltupInit {
  static constexpr bool kByRows = true;
  Place e, projected, streams;
  std::size_t n_streams, d;
};

struct AltupPredict {
  static constexpr bool kByRows = true;
  Place streams, predicted, normed;
  const float *router, *coefs, *next_norm;
  std::size_t n_streams, n_predicted, d;
};

struct LaurelMerge {
  static constexpr bool kByRows = true;
  Place active, o, x, laurel, out, normed;
  const float *post_attn, *post_laurel, *ffn_norm;
  std::size_t d;
};

struct AltupCorrect {
  static constexpr bool kByRows = true;
  Place h, residual, predicted, streams, gate_in;
  const float *post_ffn, *router, *coefs, *correct_scale;
  std::size_t n_streams, d;
};

struct AddToStreams {
  static constexpr bool kByRows = true;
  static constexpr std::string_view kName = "add_to_streams";  // streams 1 … += rms(h, w)
  Place h, streams;
  const float* w;
  std::size_t n_streams, d;
};

struct AltupMerge {
  static constexpr bool kByRows = true;
  Place streams, projected, out;
  const float* w;
  std::size_t n_streams, d;
};

struct Quantise {
  static constexpr bool kByRows = true;
  static constexpr std::string_view kName = "quantise";  // x → int8 blocks
  Place x;
  std::size_t k;
  std::size_t buffer;  // which of the shared ActivationRows; repeated: the member's own
};

struct Input {  // x of a matrix product: as it is, and in the blocks of a shared buffer or of the member's own
  Place x;
  std::size_t k = 0;
  std::size_t buffer = 0;
  bool own_blocks = false;
};

struct Then {  // what follows a product element by element
  enum class Kind : std::uint8_t { nothing, softcap, geglu } kind = Kind::nothing;
  float cap = 0;
  Place times;  // geglu: y = gelu(y) ∘ times
};

// How members divide outputs: member t begins with grains [first[t], first[t + 1]).
struct Shares {
  std::vector<std::uint32_t> first;
  std::uint32_t piece = 1;  // grains taken at a time
};

struct Matmul {  // y = x · Wᵀ for every part; the parts' grains are counted through
  struct Part {
    const PackedMatrix* w;
    Place y;
  };
  Input in;
  std::vector<Part> parts;
  Shares shares;
  Then then;
};

// Where the FFN's hidden row goes: f32, and, unless `down` reads f32, as blocks of a shared buffer instead.
struct Hidden {
  Place place;
  bool blocks;
  std::size_t buffer;
};

struct GateUp {
  static constexpr std::string_view kName = "ffn_gate_up";  // hidden = gelu(x · gateᵀ) ∘ (x · upᵀ)
  Input in;
  const PackedMatrix *gate, *up;
  Shares shares;
  Hidden hidden;
};

struct Cut {
  static constexpr bool kByRows = true;
  static constexpr std::string_view kName =
      "ffn_cut";  // gate = max(gate - cutoff, 0), cutoff = mean + z·std of the row
  Place gate;
  std::size_t width;
  float z;
  bool sample_std;
};

// A sparse layer after its gate: hidden = gelu(gate) ∘ (x · upᵀ). With `cuts`, the gate is cut first (hidden is another
// place then), and where `up` is laid out by rows, only its surviving ones are read.
struct CutUp {
  static constexpr std::string_view kName = "ffn_cut_up";
  Input in;
  const PackedMatrix* up;
  Shares shares;
  Cut cut;
  Hidden hidden;
  bool cuts;
};

struct StoreKv {
  static constexpr bool kByRows = true;
  Place k, v;
  bool in_place;  // k and v may be overwritten
  const float* k_norm;
  bool normalise_v;
  std::size_t rope;
  std::uint32_t kv_layer;
};

struct Attend {
  Place q, out;
  std::uint32_t kv_layer;
  std::size_t work;  // index of the work list (attention.h)
  std::size_t counter;  // index of its shared counter
  float scale;
  bool stores;  // the unit of a row's last keys stores its K and V first
  StoreKv store;
};

}  // namespace task

struct Task {
  using Body = std::variant<task::Barrier, task::Angles, task::Embed, task::CopyRows, task::TakeRows, task::Norm,
                            task::AddNorm, task::NormRope, task::PleCombine, task::AltupInit, task::AltupPredict,
                            task::LaurelMerge, task::AltupCorrect, task::AddToStreams, task::AltupMerge, task::Quantise,
                            task::Matmul, task::GateUp, task::CutUp, task::Cut, task::StoreKv, task::Attend>;
  Body body;
  std::uint32_t step = 0;
  Rows rows = Rows::all;
  bool repeated = false;  // every member does all rows
};

}  // namespace unicorn::cpu
