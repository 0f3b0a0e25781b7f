// Scheduler: the steps of a range as a list of tasks for one kind of batch.
//
// A barrier is put where it is needed and nowhere else: between two tasks that touch the same memory, one of them
// writing, unless both split it over the members in the same way (by rows of the same domain), or each member has a
// copy of its own.
#pragma once

#include "backends/cpu/program.h"

namespace unicorn::cpu {

class Scheduler {
 public:
  Scheduler(CpuProgram& program, const BatchKind& kind);
  TaskList make() &&;

 private:
  enum class Split : std::uint8_t { all_rows, output_rows, free };  // how members share a piece of memory
  struct Use {
    std::size_t memory;
    Split split;
    bool writes;
  };
  enum class State : std::uint8_t { unset, shared, own };
  struct Operand {  // a tensor's columns, or scratch memory
    Place place;
    std::size_t memory;
    bool own;
  };

  // Numbers of the pieces of memory.
  std::size_t memory_of(TensorId id) const { return index(id); }
  std::size_t memory_of_kv(std::uint32_t layer) const { return p_.plan_.tensors.size() + layer; }
  enum class Extra : std::uint8_t {
    hidden,
    hidden_few,
    ple_gate,
    ple_proj,
    angles,
    blocks0,
    blocks1,
    blocks2,
    attention
  };
  std::size_t memory_of(Extra extra, std::size_t i = 0) const {
    return p_.plan_.tensors.size() + p_.plan_.kv_layers.size() + static_cast<std::size_t>(extra) + i;
  }

  bool repeats() const { return kind_.amount(step_->rows) == BatchKind::Amount::few; }
  Split by_rows() const { return step_->rows == Rows::all ? Split::all_rows : Split::output_rows; }

  Operand operand(const TensorRef& ref);                       // as it stands
  Operand scratch(const Place& place, Extra extra) const { return {place, memory_of(extra), false}; }
  Place read(const Operand& x, Split split);
  Place read_rows(const TensorRef& ref) { return read(operand(ref), repeats() ? Split::free : by_rows()); }
  Place write_rows(const TensorRef& ref);                      // by a task that splits or repeats its rows
  Place write_shared(const TensorRef& ref, Split split);
  void keep_other_columns();
  void make_own(TensorId id);
  void make_shared(TensorId id);
  void use(std::size_t memory, Split split, bool writes) { next_.push_back({memory, split, writes}); }
  void barrier();
  void emit(Task::Body body, bool repeated) { emit(std::move(body), repeated, step_->rows); }
  void emit(Task::Body body, bool repeated, Rows rows);
  void emit_rows(Task::Body body) { emit(std::move(body), repeats()); }

  struct Input {  // x of matrix products
    task::Input task;
    Operand x;
    bool blocks;  // in int8 blocks
  };
  Input input(const Operand& x, std::size_t k, bool as_blocks, bool hidden = false);
  task::Input read_input(const Input& in);
  double cost_of_grain(const PackedMatrix& w) const;
  task::Shares shares_of(const std::vector<const PackedMatrix*>& weights, std::size_t grain,
                         std::size_t max_grains = SIZE_MAX) const;
  task::Shares hidden_shares(const PackedMatrix& up) const;
  void product(const Input& in, const PackedMatrix* w, const Place& y, task::Then then = {});
  const PackedMatrix* matrix(WeightId id) const { return p_.weights_[index(id)]->packed(); }
  const float* vector(WeightId id) const { return id == kNoWeight ? nullptr : p_.weights_[index(id)]->vector(); }
  const float* router(const op::AltupRouter& r) const { return p_.routers_.at({r.norm, r.router}).data(); }
  std::size_t rope(const Rope& rope, std::size_t head_dim) const;
  bool store_can_wait(std::uint32_t step) const;
  task::StoreKv store_task(const op::KvStore& o, bool in_place);

  void add(const op::Embed& o);
  void add(const op::Matmul& o);
  void add(const op::RmsNorm& o);
  void add(const op::AddRmsNorm& o);
  void add(const op::QNormRope& o);
  void add(const op::KvStore& o);
  void add(const op::Attention& o);
  void add(const op::Ffn& o);
  void add(const op::TakeOutputRows& o);
  void add(const op::Logits& o);
  void add(const op::PleCombine& o);
  void add(const op::AltupInit& o);
  void add(const op::AltupPredict& o);
  void add(const op::LaurelMerge& o);
  void add(const op::AltupCorrect& o);
  void add(const op::PleInject& o);
  void add(const op::AltupMerge& o);

  CpuProgram& p_;
  BatchKind kind_;
  TaskList list_;
  std::vector<State> state_;
  std::vector<Use> current_;  // since the last barrier
  std::vector<Use> next_;     // of the task in the making
  std::uint32_t step_index_ = 0;
  const Step* step_ = nullptr;
  std::size_t next_blocks_ = 0;
  std::size_t n_attention_ = 0;
  const op::KvStore* waiting_store_ = nullptr;  // left to the attention that follows
};

// Steps whose rows few-row batches repeat, rather than split.
bool works_by_rows(const Op& op);

}  // namespace unicorn::cpu
