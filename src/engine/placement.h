// Placement: which device runs which steps of a plan.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plan/backend.h"

namespace unicorn {

using Devices = std::map<std::string, std::unique_ptr<Backend>, std::less<>>;  // by name, as the registry has them

struct PlacedRange {
  std::string device;
  StepRange range;
};

// Spec: device names separated by commas, each with the layers it takes: "cpu", "reference@0-3,cpu",
// "reference@0-3;8,cpu". Names without layers share what is left, alternating layer by layer: "reference,cpu".
// What comes before the first layer goes with it, what comes after the last layer with the last.
// Error: invalid_argument, naming the part.
Result<std::vector<PlacedRange>> place(const Plan& plan, std::string_view spec);

// What a device claims of the plan that covers `range`.
std::optional<Claim> claim_over(const Backend& device, const Plan& plan, StepRange range, const Limits& limits);

// The device that claims the whole plan and estimates the least time for one token after half a context; empty when
// none claims it.
std::string fastest_device(const Devices& devices, const Plan& plan, const Limits& limits);

}  // namespace unicorn
