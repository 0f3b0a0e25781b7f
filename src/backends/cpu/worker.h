// Worker: one member of the pool carrying out a list of tasks.
#pragma once

#include <chrono>

#include "backends/cpu/program.h"

namespace unicorn::cpu {

class Worker {
 public:
  Worker(CpuProgram& program, std::size_t member)
      : p_(program),
        self_(program.members_[member]),
        member_(member),
        n_members_(program.pool_.size()),
        n_shared_tasks_(program.n_shared_tasks_) {}

  void run(std::span<const Task> tasks);
  std::uint64_t n_shared_tasks() const { return n_shared_tasks_; }  // of the program, so far

 private:
  template <class F>
  void for_grains(const task::Shares& shares, std::uint32_t n_groups, F f);
  static ActivationView rows_of(const ActivationView& view, std::size_t begin, std::size_t end);
  std::uint32_t row_groups(const task::Shares& shares, std::size_t m) const;
  static bool is_by_rows(const Task& t);
  void trace(const Task& t, bool counts);

  ActivationView view(const task::Input& in, std::size_t m) const;
  void then(const task::Then& then, const Place& y, std::size_t row, std::size_t row_end, std::size_t begin,
            std::size_t end) const;
  void up_tiles(const task::Input& in, std::size_t m, const PackedMatrix& up, const PackedMatrix* gate,
                const task::Shares& shares, const task::Hidden& hidden, const task::Cut* cut, const float* cutoffs);
  void survivors(const task::CutUp& o, std::size_t row, float cutoff, const ActivationView& x);
  void store_kv(const task::StoreKv& o, const RowPlace& place, std::size_t row, std::size_t batch_row,
                std::uint32_t head) const;
  std::size_t batch_row(Rows rows, std::size_t row) const {
    return rows == Rows::all ? row : p_.batch_->output_rows[row];
  }
  std::span<const RowPlace> places(Rows rows) const { return rows == Rows::all ? p_.rows_.all : p_.rows_.output; }

  void row(const Task& t, const task::Embed& o, std::size_t row);
  void row(const Task& t, const task::CopyRows& o, std::size_t row);
  void row(const Task& t, const task::TakeRows& o, std::size_t row);
  void row(const Task& t, const task::Norm& o, std::size_t row);
  void row(const Task& t, const task::AddNorm& o, std::size_t row);
  void row(const Task& t, const task::NormRope& o, std::size_t row);
  void row(const Task& t, const task::PleCombine& o, std::size_t row);
  void row(const Task& t, const task::AltupInit& o, std::size_t row);
  void row(const Task& t, const task::AltupPredict& o, std::size_t row);
  void row(const Task& t, const task::LaurelMerge& o, std::size_t row);
  void row(const Task& t, const task::AltupCorrect& o, std::size_t row);
  void row(const Task& t, const task::AddToStreams& o, std::size_t row);
  void row(const Task& t, const task::AltupMerge& o, std::size_t row);
  void row(const Task& t, const task::Quantise& o, std::size_t row);
  void row(const Task& t, const task::Cut& o, std::size_t row);
  void row(const Task& t, const task::StoreKv& o, std::size_t row);

  void run(const Task& t, const task::Barrier& o);
  void run(const Task& t, const task::Angles& o);
  void run(const Task& t, const task::Matmul& o);
  void run(const Task& t, const task::GateUp& o);
  void run(const Task& t, const task::CutUp& o);
  void run(const Task& t, const task::Attend& o);

  CpuProgram& p_;
  Member& self_;
  std::size_t member_, n_members_;
  std::uint64_t n_shared_tasks_;
  bool tracing_ = false;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace unicorn::cpu
