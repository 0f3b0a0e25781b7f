// Worker: one member of the pool carrying out a list of tasks.
#pragma once

#include "backends/cpu/program.h"

namespace unicorn::cpu {

class Worker {
 public:
  Worker(CpuProgram& program, std::size_t member)
      : p_(program), self_(program.members_[member]), member_(member), n_members_(program.pool_.size()) {}

  void run(std::span<const Task> tasks);

 private:
  // f(row) for the task's rows that are this member's.
  template <class F>
  void for_rows(const Task& t, F f) const;
  ActivationView view(const task::Input& in, std::size_t m) const;
  void then(const task::Then& then, const Place& y, std::size_t m, std::size_t begin, std::size_t end) const;
  void up_tiles(const task::Input& in, std::size_t m, const PackedMatrix& up, const PackedMatrix* gate, const task::Hidden& hidden,
                const task::Cut* cut, const float* cutoffs);
  void survivors(const task::CutUp& o, std::size_t row, float cutoff, const ActivationView& x);
  void store_kv(const task::StoreKv& o, const RowPlace& place, std::size_t row, std::size_t batch_row, std::uint32_t head) const;
  std::size_t batch_row(Rows rows, std::size_t row) const { return rows == Rows::all ? row : p_.batch_->output_rows[row]; }
  std::span<const RowPlace> places(Rows rows) const { return rows == Rows::all ? p_.rows_.all : p_.rows_.output; }

  void run(const Task& t, const task::Barrier& o);
  void run(const Task& t, const task::Angles& o);
  void run(const Task& t, const task::Embed& o);
  void run(const Task& t, const task::CopyRows& o);
  void run(const Task& t, const task::TakeRows& o);
  void run(const Task& t, const task::Norm& o);
  void run(const Task& t, const task::AddNorm& o);
  void run(const Task& t, const task::NormRope& o);
  void run(const Task& t, const task::PleCombine& o);
  void run(const Task& t, const task::AltupInit& o);
  void run(const Task& t, const task::AltupPredict& o);
  void run(const Task& t, const task::LaurelMerge& o);
  void run(const Task& t, const task::AltupCorrect& o);
  void run(const Task& t, const task::AddToStreams& o);
  void run(const Task& t, const task::AltupMerge& o);
  void run(const Task& t, const task::Quantise& o);
  void run(const Task& t, const task::Matmul& o);
  void run(const Task& t, const task::GateUp& o);
  void run(const Task& t, const task::Cut& o);
  void run(const Task& t, const task::CutUp& o);
  void run(const Task& t, const task::StoreKv& o);
  void run(const Task& t, const task::Attend& o);

  CpuProgram& p_;
  Member& self_;
  std::size_t member_, n_members_;
};

}  // namespace unicorn::cpu
