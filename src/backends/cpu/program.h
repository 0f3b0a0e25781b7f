// CpuProgram: one range of a plan, made ready for the CPU: memory for its activations, and lists of tasks (tasks.h) for
// the kinds of batch there are.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <vector>

#include "backends/cpu/activation_rows.h"
#include "backends/cpu/attention.h"
#include "backends/cpu/dispatch.h"
#include "backends/cpu/host_buffer.h"
#include "backends/cpu/kernels/element_kernels.h"
#include "backends/cpu/tasks.h"
#include "backends/cpu/tools.h"
#include "backends/cpu/work_shares.h"
#include "core/thread_pool.h"
#include "plan/batch_rows.h"

namespace unicorn::cpu {

// Up to so many rows, members repeat the steps between matrix products instead of sharing them out.
inline constexpr std::uint32_t kFewRows = 4;

// What a list of tasks is made for.
struct BatchKind {
  enum class Amount : std::uint8_t { none, few, many };
  Amount all, output;
  bool one_row_each;  // every segment has one row
  friend auto operator<=>(const BatchKind&, const BatchKind&) = default;
  Amount amount(Rows rows) const { return rows == Rows::all ? all : output; }
};

struct TaskList {
  std::vector<Task> tasks;
  std::uint32_t n_barriers = 0;
};

// Memory that tasks share, besides tensors and KV layers; and where row domains keep their int8 blocks.
struct SharedMemory {
  Place hidden;  // [rows][largest d_ff], the FFN between its halves
  Place hidden_few;  // [kFewRows][largest d_ff]
  Place ple_gate;  // [rows][largest ple_width]
  Place ple_proj;  // [rows][largest d_model]
  static constexpr std::size_t kBlockBuffers = 3;
  static constexpr std::size_t kHiddenBlocks = 2;  // the one that is wide enough for hidden
  std::array<ActivationRows, kBlockBuffers> blocks;
};

struct RopeTable {
  Rope rope;
  std::size_t head_dim;
  std::vector<float> inverse_frequency;  // [head_dim / 2]
  HostMemory memory;
  float *cos = nullptr, *sin = nullptr;  // [max_rows][head_dim / 2], by batch row
};

struct alignas(64) Member {  // what one member of the pool has for itself
  ActivationRows blocks;  // for kFewRows
  ActivationRows row_blocks;  // for one row
  float* scratch = nullptr;
  std::vector<std::uint32_t> survivors;
  AttentionScratch attention;
};

class CpuProgram final : public Program {
 public:
  // `plan`, `pool` and what `placement` points to must outlive the program.
  // Errors: unsupported (a dtype, a shape), invalid_argument (a weight or buffer is missing or has a wrong size),
  // out_of_memory.
  static Result<std::unique_ptr<CpuProgram>> compile(const Plan& plan, StepRange range, const Limits& limits,
                                                     const Placement& placement, const KernelTable& kernels,
                                                     ThreadPool& pool);

  Result<Fence> submit(const Batch& batch, const Io& io, std::span<const Fence> after) override;

  void set_tracing(bool on) { tracing_ = on; }
  const RunTrace& trace() const { return trace_; }

 private:
  // Columns of hidden come in whole blocks.
  std::size_t hidden_grain() const { return std::lcm(kernels_.n_grain, kBlock); }

  friend class Compiler;
  friend class Scheduler;
  friend class Worker;

  CpuProgram(const Plan& plan, StepRange range, const Limits& limits, const KernelTable& kernels, ThreadPool& pool)
      : plan_(plan),
        range_(range),
        limits_(limits),
        kernels_(kernels),
        elements_(element_kernels(kernels.isa)),
        pool_(pool),
        shares_(pool.size()) {}

  const TaskList& list_for(const BatchKind& kind);
  std::size_t n_rows(Rows rows) const { return rows == Rows::all ? rows_.all.size() : rows_.output.size(); }
  std::size_t max_rows(Rows rows) const { return rows == Rows::all ? limits_.max_rows : limits_.max_output_rows; }
  void run(std::span<const Task> tasks);
  void observe(const TaskList& list, StepObserver& observer);

  const Plan& plan_;
  StepRange range_;
  Limits limits_;
  const KernelTable& kernels_;
  const ElementKernels& elements_;
  ThreadPool& pool_;

  // Compiled once.
  std::vector<const CpuWeight*> weights_;  // by WeightId
  std::vector<Place> tensors_;  // by TensorId: shared by all members
  std::vector<Place> own_;  // by TensorId: kFewRows rows for each member, or null
  std::vector<bool> external_;  // by TensorId: other ranges or the host see it
  std::vector<std::byte*> kv_;  // by KV layer
  std::map<std::pair<WeightId, WeightId>, std::vector<float>> routers_;  // (norm, router) → folded
  std::vector<RopeTable> ropes_;
  SharedMemory shared_;
  std::vector<Member> members_;
  std::vector<HostMemory> memory_;
  std::size_t scratch_floats_ = 0;
  std::vector<AttentionWork> attention_;
  std::size_t n_attention_steps_ = 0;
  std::unique_ptr<std::atomic<std::uint32_t>[]> counters_;  // by attention step
  std::map<BatchKind, TaskList> lists_;
  WorkShares shares_;
  std::uint64_t n_shared_tasks_ = 0;  // so far

  // The batch in work.
  const Batch* batch_ = nullptr;
  BatchRows rows_;

  bool tracing_ = false;
  RunTrace trace_;
};

}  // namespace unicorn::cpu
