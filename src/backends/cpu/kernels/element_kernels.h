// ElementKernels: everything of a plan that is not a matrix product, one row (or head, or KV block) at a time, for one
// instruction set. Each entry's formula and layout stand in the .inl file of its name. Preconditions were checked when
// the plan was compiled; nothing here can fail.
//
// The same row, the same bits: every entry's result depends on its row and n alone.
//
// Files built with instruction-set flags include this header: it holds no inline functions.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/kernel_table.h"
#include "core/dtype.h"

namespace unicorn::cpu {

inline constexpr std::size_t kMaxStreams = 8;

struct AltupPredictArgs {
  const float* streams;  // [n_streams][d]
  const float* router;   // [n_streams][d], norm weight and scale folded in
  const float* coefs;    // [n_streams²][n_streams]
  const float* next_norm;
  float *predicted, *normed;  // [n_predicted][d], [d]; predicted may be streams
  std::size_t n_streams, n_predicted, d;
  float eps;
};

struct LaurelMergeArgs {
  const float *active, *o, *x, *laurel;
  const float *post_attn, *post_laurel, *ffn_norm;
  float *out, *normed;
  std::size_t d;
  float eps;
};

struct AltupCorrectArgs {
  const float *h, *residual, *predicted;
  const float* post_ffn;
  const float* router;         // as in AltupPredictArgs
  const float* coefs;          // [n_streams][n_streams]
  const float* correct_scale;  // may be null
  float *streams, *gate_in;    // [n_streams][d], [d]; streams may be predicted, gate_in may be h
  std::size_t n_streams, d;
  float eps;
};

// One KV block against a tile of queries. K has n_keys rows, and zeros up to a multiple of 4 after the last key that is
// seen; scores has room for n_keys rounded up to 16 per query.
struct AttentionArgs {
  const float* q;
  std::size_t ldq, n_queries;
  const float *k, *v;
  std::size_t ld_kv, n_keys, head_dim;
  float scale;
  const std::uint16_t *begin, *end;  // query j sees keys [begin[j], end[j])
  const std::uint8_t* hidden;  // null, or per query and key: not 0 = not seen after all (draft trees)
  std::size_t ld_hidden;
  float* scores;
  std::size_t ld_scores;
  float *top, *sum, *acc;  // per query: -inf, 0 and head_dim zeros at the start; acc rows lie head_dim apart
};

struct ElementKernels {
  const char* name;
  std::size_t lanes;

  void (*rms_norm)(const float* x, const float* w, float* out, std::size_t n, float eps);
  void (*add_rms_norm)(const float* x, const float* h, const float* post, const float* next, float* x_out, float* out,
                       std::size_t n, float eps);
  void (*add_norm)(const float* h, const float* w, float* x, std::size_t n_streams, std::size_t n, float eps);
  void (*norm_rope)(const float* x, const float* w, const float* cos, const float* sin, float* out, std::size_t n,
                    float eps);
  void (*geglu)(const float* gate, const float* up, float* out, std::size_t n);
  void (*softcap)(float* x, std::size_t n, float cap);
  float (*gaussian_cutoff)(const float* g, std::size_t n, float z, bool sample_std);
  void (*cut)(const float* g, float cutoff, float* out, std::size_t n);
  std::size_t (*survivors)(const float* g, float cutoff, std::size_t n, std::uint32_t* indices);
  void (*ple_combine)(const float* projected, const float* rows, const float* w, float projection_scale,
                      float combine_scale, float* out, std::size_t n, float eps);
  void (*altup_init)(const float* e, const float* u, float* streams, std::size_t n_streams, std::size_t d);
  void (*altup_predict)(const AltupPredictArgs& args);
  void (*laurel_merge)(const LaurelMergeArgs& args);
  void (*altup_correct)(const AltupCorrectArgs& args);
  void (*altup_merge)(const float* s0, const float* u, const float* w, float* out, std::size_t n_streams, std::size_t d,
                      float eps);

  void (*kv_load)(DType dtype, const std::byte* in, float* out, std::size_t n);
  void (*kv_store)(DType dtype, const float* in, std::byte* out, std::size_t n);
  void (*attention_block)(const AttentionArgs& args);
  void (*attention_merge)(float* acc, float* top, float* sum, const float* later_acc, float later_top, float later_sum,
                          std::size_t d);
  void (*attention_finish)(const float* acc, float sum, float* out, std::size_t d);

  // For tests: f over a row.
  void (*exp)(const float* x, float* out, std::size_t n);
  void (*tanh)(const float* x, float* out, std::size_t n);
  void (*gelu)(const float* x, float* out, std::size_t n);
};

// The table that goes with a matrix kernel table's instruction set.
const ElementKernels& element_kernels(Isa isa);

extern const ElementKernels kElementScalar;
#if defined(__x86_64__)
extern const ElementKernels kElementAvx2;
extern const ElementKernels kElementAvx512;
#endif

}  // namespace unicorn::cpu
