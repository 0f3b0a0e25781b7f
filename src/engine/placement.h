// Placement: which device runs which steps of a plan.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "plan/plan.h"

namespace unicorn {

struct PlacedRange {
  std::string device;
  StepRange range;
};

// Spec: device names separated by commas, each with the layers it takes: "cpu", "reference@0-3,cpu",
// "reference@0-3;8,cpu". Names without layers share what is left, alternating layer by layer: "reference,cpu".
// What comes before the first layer goes with it, what comes after the last layer with the last.
// Error: invalid_argument, naming the part.
Result<std::vector<PlacedRange>> place(const Plan& plan, std::string_view spec);

}  // namespace unicorn
