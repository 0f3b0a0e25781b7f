// A plan compiled step by step on one backend, every tensor visible: for tests that look at single steps.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "plan/backend.h"

namespace unicorn::testing {

class StepChain {
 public:
  // `whole`: one program for the whole plan instead of one per step; private tensors then, but for hidden and logits.
  StepChain(const Plan& plan, const Limits& limits, std::unique_ptr<Backend> backend, bool whole = false)
      : plan_(plan), limits_(limits), backend_(std::move(backend)) {
    placement_.tensors.resize(plan.tensors.size());
    placement_.kv.resize(plan.kv_layers.size());
    for (const WeightRef& w : plan.weights) {
      weights_.push_back(take(backend_->prepare(w, {})));
      placement_.weights.push_back(weights_.back().get());
    }
    for (std::uint32_t t = 0; t < plan.tensors.size(); ++t) {
      if (whole && TensorId{t} != plan.hidden && TensorId{t} != plan.logits) continue;
      const TensorInfo& info = plan.tensors[t];
      placement_.tensors[t] = buffer((info.rows == Rows::all ? limits.max_rows : limits.max_output_rows) *
                                     std::size_t{info.width} * sizeof(float));
    }
    for (std::size_t l = 0; l < plan.kv_layers.size(); ++l)
      placement_.kv[l] = buffer(limits.kv_blocks[plan.kv_layers[l].group] * kv_block_bytes(plan.kv_layers[l], limits));
    const auto n = static_cast<std::uint32_t>(plan.steps.size());
    if (whole)
      programs_.push_back(take(backend_->compile(plan, {0, n}, limits, placement_)));
    else
      for (std::uint32_t s = 0; s < n; ++s)
        programs_.push_back(take(backend_->compile(plan, {s, s + 1}, limits, placement_)));
  }

  std::size_t n_programs() const { return programs_.size(); }
  void run(std::size_t program, const Batch& batch, StepObserver* observer = nullptr) {
    const Result<Fence> fence = programs_[program]->submit(batch, {observer}, {});
    UNICORN_CHECK_MSG(fence.ok(), fence.error().message);
    UNICORN_CHECK(backend_->wait(*fence, kNoDeadline).ok());
  }
  void run_all(const Batch& batch) {
    for (std::size_t p = 0; p < programs_.size(); ++p) run(p, batch);
  }
  Program& program(std::size_t i) { return *programs_[i]; }

  float* tensor(TensorId id) { return reinterpret_cast<float*>(placement_.tensors[index(id)]->host()); }
  float* row(const TensorRef& ref, std::size_t r) {
    return tensor(ref.id) + r * plan_.tensors[index(ref.id)].width + ref.offset;
  }
  std::vector<float> logits(std::size_t output_row) {
    const std::size_t width = plan_.tensors[index(plan_.logits)].width;
    const float* row = tensor(plan_.logits) + output_row * width;
    return {row, row + width};
  }
  Buffer& kv(std::size_t layer) { return *placement_.kv[layer]; }
  Buffer& tensor_buffer(TensorId id) { return *placement_.tensors[index(id)]; }

 private:
  template <class T>
  static T take(Result<T> r) {
    UNICORN_CHECK_MSG(r.ok(), r.error().message);
    return std::move(r).value();
  }
  Buffer* buffer(std::size_t n_bytes) {
    buffers_.push_back(take(backend_->allocate(n_bytes, Memory::shared)));
    return buffers_.back().get();
  }

  const Plan& plan_;
  Limits limits_;
  std::unique_ptr<Backend> backend_;
  std::vector<std::unique_ptr<Weight>> weights_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  Placement placement_;
  std::vector<std::unique_ptr<Program>> programs_;
};

}  // namespace unicorn::testing
