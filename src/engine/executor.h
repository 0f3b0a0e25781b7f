// Executor: one plan, placed on devices and compiled once; then only run.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/placement.h"
#include "plan/backend.h"

namespace unicorn {

class Executor {
 public:
  // Prepares every weight on the devices that use it, allocates KV and shared tensors, compiles each range.
  // `devices` has every device that `placement` names; others are let go. `plan` must outlive the executor.
  // Errors: unsupported (a device does not claim what it was given), those of the backends.
  static Result<std::unique_ptr<Executor>> create(const Plan& plan, const std::vector<PlacedRange>& placement,
                                                  const Limits& limits, Devices devices, const Progress& progress);

  // Runs the whole plan on a batch and waits for it.
  Status run(const Batch& batch, StepObserver* observer);

  // Results of the latest run, by output row.
  std::span<const float> logits(std::size_t output_row) const { return row(plan_.logits, output_row); }
  std::span<const float> hidden(std::size_t output_row) const { return row(plan_.hidden, output_row); }

  std::size_t weight_bytes() const { return weight_bytes_; }
  std::size_t kv_bytes() const { return kv_bytes_; }
  std::string description() const;

 private:
  explicit Executor(const Plan& plan) : plan_(plan) {}
  std::span<const float> row(TensorId tensor, std::size_t output_row) const;

  struct Device {
    std::unique_ptr<Backend> backend;
    std::vector<std::unique_ptr<Weight>> weights;  // by WeightId
    std::vector<std::unique_ptr<Buffer>> buffers;  // allocated and imported
    Placement placement;
  };
  struct Range {
    Device* device;
    std::unique_ptr<Program> program;
  };

  const Plan& plan_;
  std::map<std::string, Device, std::less<>> devices_;
  std::vector<Range> ranges_;
  std::vector<std::byte*> shared_;  // by TensorId: host address of tensors that several ranges see, or the host does
  std::size_t weight_bytes_ = 0, kv_bytes_ = 0;
};

}  // namespace unicorn
