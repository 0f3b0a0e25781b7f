// Adding a family: a file like gemma3.cc, a line in build_plan.cc, and its config in config.cc.
// A model family writes its forward pass as a Plan, once. The plan looks into the mapped files: keep them mapped.
#pragma once

#include "model/config.h"
#include "model/weight_source.h"
#include "plan/plan.h"

namespace unicorn {

// Errors: not_found / corrupt_file, naming the tensor, what was found and what was expected.
Result<Plan> build_gemma3n(const ModelConfig& config, const WeightSource& weights);
Result<Plan> build_gemma3(const ModelConfig& config, const WeightSource& weights);
Result<Plan> build_plan(const ModelConfig& config, const WeightSource& weights);  // by config.family

}  // namespace unicorn
