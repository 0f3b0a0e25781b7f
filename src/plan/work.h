// What a range of steps asks of any device: the operations and bytes that nothing can avoid. For estimates, and for the
// limit that a measured speed is set against.
#pragma once

#include <cstdint>

#include "plan/backend.h"

namespace unicorn {

struct BatchShape {
  std::uint32_t n_rows = 1;  // of Rows::all
  std::uint32_t n_output_rows = 1;  // of Rows::output
  std::uint32_t n_sequences = 1;  // n_rows are divided evenly over them
  double depth = 0;  // KV rows before the first row of each
};

struct PlanWork {
  double multiply_adds = 0;  // of products with weights
  double attention_multiply_adds = 0;  // of queries with keys and of weights with values
  double weight_bytes = 0;  // each weight once; of a sparse FFN's up and down what the rows' survivors need
  double kv_bytes = 0;  // each KV row once per sequence and attention step
  double bytes() const { return weight_bytes + kv_bytes; }
};

// The gate of a sparse FFN is taken to be normally distributed: a share of 1 - Φ(z) survives.
PlanWork work_of(const Plan& plan, StepRange range, const BatchShape& batch, DType kv_dtype);
PlanWork work_of(const Plan& plan, const BatchShape& batch, DType kv_dtype);  // of the whole plan

}  // namespace unicorn
