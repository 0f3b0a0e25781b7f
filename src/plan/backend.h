// Backend: one device. It prepares weights, claims ranges of a plan, compiles them into Programs and runs batches.
// Virtual calls happen per buffer, per compile and per run, never per element or per row.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/token_id.h"
#include "plan/plan.h"

namespace unicorn {

using BlockId = std::uint32_t;
inline constexpr BlockId kNoBlock = 0xffffffffu;  // a block that fell out of every window

// ---- Batches: counts are data.

// Consecutive rows of one sequence: a prefill chunk, a decoded token or a draft.
struct Segment {
  std::uint32_t row = 0, n_rows = 0;
  std::uint32_t pos = 0;  // position of the first row; row i sits in KV slot pos + i
  std::span<const std::span<const BlockId>> kv;  // per KV group: table[slot / kv_block_tokens]
  std::span<const std::int32_t>
      parent;  // draft tree: index of each row's parent in the segment, -1 = the prefix; empty: causal
};

struct Batch {
  std::span<const Segment> segments;
  std::span<const TokenId> ids;                // one per row
  std::span<const std::uint32_t> output_rows;  // rows whose logits are wanted, ascending
};

// ---- Limits: sizes are limits. A program is compiled once for at most this much.
struct Limits {
  std::uint32_t max_rows = 512;
  std::uint32_t max_output_rows = 64;
  std::uint32_t max_sequences = 1;
  std::uint32_t max_positions = 4096;
  std::uint32_t kv_block_tokens = 32;
  std::vector<std::uint32_t> kv_blocks;  // per KV group: how many blocks its pool holds
  DType kv_dtype = DType::f16;           // f32, f16, bf16 or q8_0
};

// ---- Memory.
enum class Memory : std::uint8_t { device, shared, staging };

class Buffer {  // owned by whoever holds the unique_ptr; must not outlive its backend
 public:
  virtual ~Buffer() = default;
  virtual std::size_t n_bytes() const = 0;
  virtual std::byte* host() const = 0;  // nullptr when the host cannot reach it
};

struct External {  // memory that somebody else owns and keeps alive
  std::byte* host = nullptr;
  std::size_t n_bytes = 0;
  int dma_buf = -1;
};

class Weight {  // a prepared weight; opaque but for its cost
 public:
  virtual ~Weight() = default;
  virtual std::size_t resident_bytes() const = 0;  // device or host memory it holds beyond the mapped file
};

// Told how many source bytes were consumed; returns false to cancel.
using Progress = std::function<bool(std::size_t bytes)>;

// KV rows in canonical form. Buffer of one KV layer: blocks of
//   { K[n_kv_heads][kv_block_tokens][row], V[n_kv_heads][kv_block_tokens][row] }, row = row_bytes(kv_dtype, head_dim).
// Block b of a layer lies at b · kv_block_bytes. Host backends use it as it is; others convert in `copy`.
std::size_t kv_block_bytes(const KvLayer& layer, const Limits& limits);

// ---- Placement: where a compiled range finds what it shares with others.
struct Placement {
  // Buffers (of this backend: allocated or imported) of tensors that other ranges read or write, by TensorId;
  // max rows of their domain × width f32. Null: private to the range.
  std::vector<Buffer*> tensors;
  std::vector<Buffer*> kv;              // by KV layer; null when the range does not touch it
  std::vector<const Weight*> weights;   // by WeightId, from this backend's prepare; null when unused
};

// Sees every step's results, in host memory, right after the step. For dumps, checks and tests: slow by nature.
class StepObserver {
 public:
  virtual ~StepObserver() = default;
  virtual void on_step(std::uint32_t step, TensorId tensor, std::span<const float> values, std::size_t n_rows) = 0;
};

struct Io {
  StepObserver* observer = nullptr;
};

// ---- Running.
class Backend;
struct Fence {  // a point in a backend's work; default-constructed: already passed
  Backend* backend = nullptr;
  std::uint64_t value = 0;
};
using Deadline = std::chrono::steady_clock::time_point;
inline constexpr Deadline kNoDeadline = Deadline::max();

class Program {  // one claimed range of steps, made ready for one device
 public:
  virtual ~Program() = default;
  // Starts the range on a batch once the fences in `after` have passed. A device returns at once; a host backend
  // computes in the calling thread and returns a passed fence. Errors: invalid_argument (the batch exceeds the
  // limits or names a block outside its pool), device_lost.
  virtual Result<Fence> submit(const Batch& batch, const Io& io, std::span<const Fence> after) = 0;
};

struct Claim {
  StepRange range;
  // About what a program compiled for any part of the range holds for itself: beyond weights, KV and the plan's tensors.
  std::size_t program_bytes = 0;
};

struct Cost {  // of one run; for comparing devices, and no better than the device knows itself
  double seconds = 0;
};

struct DeviceInfo {
  std::string id;  // "cpu", "reference", "vulkan:0"
  std::string description;  // "AMD Ryzen 7 8845HS, 8 cores, avx512_vnni"
  bool unified_memory = true;
  std::size_t memory_bytes = 0;  // total
};

struct KvCopy {  // one block of one KV layer between a backend's buffer and canonical host bytes
  Buffer* buffer;
  BlockId block;
  std::byte* host;
  bool to_host;
};
struct CopyRequest {
  std::span<const KvCopy> blocks;
  const KvLayer* layer = nullptr;
  const Limits* limits = nullptr;
};

class Backend {  // one device; thread-compatible
 public:
  virtual ~Backend() = default;
  virtual const DeviceInfo& info() const = 0;
  virtual std::vector<Claim> claims(const Plan& plan, const Limits& limits) const = 0;
  // Running `range` on `rows` rows, each with `depth` positions before it.
  virtual Cost estimate(const Plan& plan, StepRange range, std::uint32_t rows, std::uint32_t depth) const = 0;
  // What Weight::resident_bytes() will say of this weight once it is prepared: known before any of it is read.
  virtual std::size_t resident_bytes(const WeightRef& weight) const = 0;
  virtual Result<std::unique_ptr<Weight>> prepare(const WeightRef& weight, const Progress& progress) = 0;
  virtual Result<std::unique_ptr<Buffer>> allocate(std::size_t n_bytes, Memory memory) = 0;
  virtual Result<std::unique_ptr<Buffer>> import(const External& memory) = 0;
  virtual Result<std::unique_ptr<Program>> compile(const Plan& plan, StepRange range, const Limits& limits,
                                                   const Placement& placement) = 0;
  // Error: invalid_argument, when a block lies outside its buffer; blocks before it in the request were copied.
  virtual Result<Fence> copy(const CopyRequest& request, std::span<const Fence> after) = 0;
  virtual Status wait(const Fence& fence, Deadline deadline) = 0;
};

}  // namespace unicorn
