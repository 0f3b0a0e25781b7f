// MatFormer slices: which layers of a file are kept, and how much of each FFN.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "model/config.h"

namespace unicorn {
namespace {

Error invalid(std::string_view spec, std::string message) {
  return Error{ErrorCode::invalid_argument, fmt::format("slice '{}': {}", spec, message)};
}

std::optional<std::uint32_t> parse_count(std::string_view text) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "5" or "5-9"
std::optional<std::pair<std::uint32_t, std::uint32_t>> parse_range(std::string_view text, std::uint32_t n) {
  const std::size_t dash = text.find('-');
  const auto first = parse_count(text.substr(0, dash));
  const auto last = dash == std::string_view::npos ? first : parse_count(text.substr(dash + 1));
  if (!first || !last || *first > *last || *last >= n) return std::nullopt;
  return std::pair{*first, *last};
}

struct Choice {
  std::vector<std::uint32_t> widths;  // per layer of the file
  std::set<std::uint32_t> skip;
};

Result<Choice> parse(const ModelConfig& c, std::string_view spec) {
  const std::uint32_t n = c.n_layers_in_file;
  Choice choice;
  for (const LayerConfig& l : c.layers) choice.widths.push_back(l.d_ff);
  if (spec == "full") return choice;
  if (spec == "small" || spec == "e2b") {
    if (spec == "small" && c.small) {
      choice.skip.insert(c.small->skip.begin(), c.small->skip.end());
      std::fill(choice.widths.begin(), choice.widths.end(), c.small->d_ff);
      return choice;
    }
    if (n != 35 || c.layers[0].d_ff != 16384)
      return invalid(spec, spec == "small"
                               ? "this model names no slice of its own; use ffn=… and skip=…"
                               : fmt::format("needs an E4B model (35 layers of width 16384), this has {} of {}", n,
                                             c.layers[0].d_ff));
    for (std::uint32_t l = 20; l <= 24; ++l) choice.skip.insert(l);
    std::fill(choice.widths.begin(), choice.widths.end(), 8192u);
    return choice;
  }
  std::string_view key;
  std::vector<std::uint32_t> list;
  std::vector<std::pair<std::uint32_t, std::pair<std::uint32_t, std::uint32_t>>> at_layers;  // width, range
  std::string_view rest = spec;
  while (!rest.empty()) {
    const std::size_t comma = rest.find(',');
    std::string_view item = rest.substr(0, comma);
    rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
    if (const std::size_t equals = item.find('='); equals != std::string_view::npos) {
      key = item.substr(0, equals);
      item = item.substr(equals + 1);
    }
    if (key == "skip") {
      const auto range = parse_range(item, n);
      if (!range) return invalid(spec, fmt::format("'{}' is not a layer or a range of layers below {}", item, n));
      for (std::uint32_t l = range->first; l <= range->second; ++l) choice.skip.insert(l);
    } else if (key == "ffn") {
      const std::size_t at = item.find('@');
      const auto width = parse_count(item.substr(0, at));
      if (!width || *width == 0) return invalid(spec, fmt::format("'{}' is not a width", item));
      if (at == std::string_view::npos) {
        list.push_back(*width);
      } else {
        const auto range = parse_range(item.substr(at + 1), n);
        if (!range) return invalid(spec, fmt::format("'{}' names no layers below {}", item, n));
        at_layers.push_back({*width, *range});
      }
    } else {
      return invalid(spec, "expected full, e2b, small, or ffn=… and skip=… (for example ffn=8192,skip=20-24)");
    }
  }
  if (list.size() == 1) std::fill(choice.widths.begin(), choice.widths.end(), list[0]);
  if (list.size() > 1) {
    if (list.size() != n)
      return invalid(spec,
                     fmt::format("{} widths for {} layers; give one, or one per layer of the file", list.size(), n));
    choice.widths = list;
  }
  for (const auto& [width, range] : at_layers)
    for (std::uint32_t l = range.first; l <= range.second; ++l) choice.widths[l] = width;
  return choice;
}

}  // namespace

Status apply_slice(ModelConfig& c, std::string_view spec) {
  if (spec.empty() || spec == "full") return Ok{};
  if (c.family != Family::gemma3n)
    return Error{ErrorCode::unsupported,
                 fmt::format("slice '{}': {} is not a MatFormer model", spec, family_name(c.family))};
  UNICORN_ASSIGN(const Choice choice, parse(c, spec));
  std::set<std::uint32_t> donors;
  if (c.n_kv_shared > 0)
    for (const bool sliding : {false, true})
      for (std::uint32_t l = c.first_shared(); l-- > 0;)
        if (c.layers[l].sliding == sliding) {
          donors.insert(l);
          break;
        }
  std::vector<LayerConfig> kept;
  std::uint32_t shared = c.n_kv_shared;
  for (std::uint32_t l = 0; l < c.n_layers(); ++l) {
    if (choice.skip.contains(l)) {
      if (donors.contains(l))
        return invalid(spec, fmt::format("layer {} cannot be skipped: later layers read its K and V", l));
      if (l >= c.first_shared()) --shared;
      continue;
    }
    if (choice.widths[l] > c.layers[l].d_ff)
      return invalid(spec, fmt::format("layer {} has an FFN of width {}, {} was asked for", l, c.layers[l].d_ff,
                                       choice.widths[l]));
    kept.push_back(c.layers[l]);
    kept.back().d_ff = choice.widths[l];
  }
  if (kept.empty()) return invalid(spec, "no layer is left");
  c.layers = std::move(kept);
  c.n_kv_shared = shared;
  return Ok{};
}

}  // namespace unicorn
