// How far an f32 implementation of a step may be from the exact result, given the step's inputs. Worked out per output
// value from the sums it needs; nothing here is fitted.
#pragma once

#include <vector>

#include "plan/backend.h"
#include "plan/batch_rows.h"

namespace unicorn::testing {

// Inputs of a step: full rows of every tensor it reads, as they were before it ran.
class StepInputs {
 public:
  virtual ~StepInputs() = default;
  virtual const float* row(const TensorRef& ref, std::size_t r) const = 0;
  virtual const std::byte* kv(std::uint32_t layer) const = 0;  // after a store, of the layer attention reads
};

struct StepBounds {
  TensorRef tensor;
  std::vector<double> bound;  // [rows][width]
};

// Bounds of everything the step writes, in the order of access(step).writes. `int8_activations`: products with
// quantised weights see x as blocks of 32 int8 with one scale.
std::vector<StepBounds> step_bounds(const Plan& plan, const Step& step, const Limits& limits, const Batch& batch,
                                    const std::vector<RowPlace>& rows, const StepInputs& in, bool int8_activations);

}  // namespace unicorn::testing
