#include "engine/placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>

namespace unicorn {
namespace {

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text = text.substr(at + 1);
  }
}

std::optional<std::uint32_t> parse_layer(std::string_view text, std::uint32_t n_layers) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value >= n_layers) return std::nullopt;
  return value;
}

}  // namespace

Result<std::vector<PlacedRange>> place(const Plan& plan, std::string_view spec) {
  const auto bad = [&](std::string_view part, std::string_view why) {
    return Error{ErrorCode::invalid_argument, fmt::format("device '{}': '{}' {}", spec, part, why)};
  };
  std::vector<std::string> of_layer(std::max(plan.n_layers, 1u));
  std::vector<std::string> rest;
  for (std::string_view part : split(spec, ',')) {
    const std::size_t at = part.find('@');
    const std::string name(part.substr(0, at));
    if (name.empty()) return bad(part, "names no device");
    if (at == std::string_view::npos) {
      rest.push_back(name);
      continue;
    }
    for (std::string_view range : split(part.substr(at + 1), ';')) {
      const std::size_t dash = range.find('-');
      const auto first = parse_layer(range.substr(0, dash), plan.n_layers);
      const auto last = dash == std::string_view::npos ? first : parse_layer(range.substr(dash + 1), plan.n_layers);
      if (!first || !last || *first > *last)
        return bad(range, fmt::format("is not a range of layers below {}", plan.n_layers));
      for (std::uint32_t l = *first; l <= *last; ++l) of_layer[l] = name;
    }
  }
  std::size_t turn = 0;
  for (std::string& device : of_layer)
    if (device.empty()) {
      if (rest.empty()) return bad(spec, "leaves layers without a device");
      device = rest[turn++ % rest.size()];
    }
  std::vector<PlacedRange> ranges;
  for (std::uint32_t s = 0; s < plan.steps.size(); ++s) {
    const std::int32_t layer = std::clamp(plan.steps[s].layer, 0, static_cast<std::int32_t>(of_layer.size()) - 1);
    const std::string& device = of_layer[static_cast<std::size_t>(layer)];
    if (ranges.empty() || ranges.back().device != device) ranges.push_back({device, {s, s}});
    ranges.back().range.end = s + 1;
  }
  return ranges;
}

std::optional<Claim> claim_over(const Backend& device, const Plan& plan, StepRange range, const Limits& limits) {
  for (const Claim& claim : device.claims(plan, limits))
    if (claim.range.begin <= range.begin && range.end <= claim.range.end) return claim;
  return std::nullopt;
}

std::string fastest_device(const Devices& devices, const Plan& plan, const Limits& limits) {
  const StepRange whole{0, static_cast<std::uint32_t>(plan.steps.size())};
  std::string fastest;
  double least = std::numeric_limits<double>::infinity();
  for (const auto& [name, device] : devices) {
    if (!claim_over(*device, plan, whole, limits)) continue;
    const double seconds = device->estimate(plan, whole, 1, limits.max_positions / 2).seconds;
    if (seconds < least || fastest.empty()) fastest = name, least = seconds;
  }
  return fastest;
}

}  // namespace unicorn
