#include "engine/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

namespace unicorn {
namespace {

constexpr float kBanned = -std::numeric_limits<float>::infinity();

TokenId argmax(std::span<const float> logits) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < logits.size(); ++i)
    if (logits[i] > logits[best] || std::isnan(logits[best])) best = i;
  return static_cast<TokenId>(best);
}

std::uint64_t fresh_seed() {
  std::random_device device;
  const std::uint64_t seed = (std::uint64_t{device()} << 32) | device();
  return seed != 0 ? seed : 1;
}

}  // namespace

Status check_sampling(const SamplingOptions& o, std::size_t n_vocab) {
  const auto bad = [](const char* name, const char* range, float value) {
    return Error{ErrorCode::invalid_argument, fmt::format("{} must be {}, not {}", name, range, value)};
  };
  if (!(o.temperature >= 0) || std::isinf(o.temperature))
    return bad("temperature", "a number of at least 0", o.temperature);
  if (!(o.top_p > 0 && o.top_p <= 1)) return bad("top_p", "above 0 and at most 1", o.top_p);
  if (!(o.min_p >= 0 && o.min_p <= 1)) return bad("min_p", "between 0 and 1", o.min_p);
  if (!(o.repetition_penalty > 0) || std::isinf(o.repetition_penalty))
    return bad("repetition_penalty", "above 0", o.repetition_penalty);
  if (!std::isfinite(o.presence_penalty)) return bad("presence_penalty", "a number", o.presence_penalty);
  if (!std::isfinite(o.frequency_penalty)) return bad("frequency_penalty", "a number", o.frequency_penalty);
  for (const auto& [id, bias] : o.logit_bias) {
    if (id < 0 || static_cast<std::size_t>(id) >= n_vocab)
      return Error{ErrorCode::invalid_argument,
                   fmt::format("logit_bias: token id {} is outside the vocabulary of {}", id, n_vocab)};
    if (std::isnan(bias)) return bad("logit_bias", "a number", bias);
  }
  return Ok{};
}

Sampler::Sampler(const SamplingOptions& options) : options_(options) {
  if (options_.seed == 0) options_.seed = fresh_seed();
  random_.seed(options_.seed);
}

TokenId Sampler::sample(std::span<const float> logits, std::span<const TokenId> history) {
  const SamplingOptions& o = options_;
  const bool penalised = o.repetition_penalty != 1 || o.presence_penalty != 0 || o.frequency_penalty != 0;
  if (o.temperature == 0 && !penalised && o.logit_bias.empty()) return argmax(logits);

  logits_.assign(logits.begin(), logits.end());
  for (const auto& [id, bias] : o.logit_bias) logits_[static_cast<std::size_t>(id)] += bias;
  if (penalised) {
    const std::size_t n =
        o.penalty_window == 0 ? history.size() : std::min<std::size_t>(history.size(), o.penalty_window);
    std::unordered_map<TokenId, std::uint32_t> counts;
    for (TokenId id : history.last(n)) ++counts[id];
    for (const auto& [id, count] : counts) {
      float& logit = logits_[static_cast<std::size_t>(id)];
      logit = logit > 0 ? logit / o.repetition_penalty : logit * o.repetition_penalty;
      logit -= o.presence_penalty + o.frequency_penalty * static_cast<float>(count);
    }
  }
  if (o.temperature == 0) return argmax(logits_);

  order_.clear();
  for (std::size_t i = 0; i < logits_.size(); ++i)
    if (logits_[i] > kBanned) order_.push_back(static_cast<TokenId>(i));  // false for NaN, too
  if (order_.empty()) return argmax(logits_);
  const auto better = [&](TokenId a, TokenId b) {
    const float x = logits_[static_cast<std::size_t>(a)], y = logits_[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  };
  // top-p over the whole vocabulary needs it sorted; a top-k first makes that cheap.
  const std::size_t k = o.top_k == 0 ? order_.size() : std::min<std::size_t>(o.top_k, order_.size());
  std::partial_sort(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(k), order_.end(), better);
  order_.resize(k);

  std::vector<double> weight(order_.size());
  const double top = logits_[static_cast<std::size_t>(order_[0])];
  double sum = 0;
  for (std::size_t i = 0; i < weight.size(); ++i) {
    const double logit = logits_[static_cast<std::size_t>(order_[i])];
    weight[i] = logit == top ? 1.0 : std::exp((logit - top) / double{o.temperature});
    sum += weight[i];
  }
  // Kept: the smallest set of the best whose probability reaches top_p, of those only what is ≥ min_p · the best.
  double kept = 0;
  std::size_t n = 0;
  while (n < weight.size() && (n == 0 || (kept < double{o.top_p} * sum && weight[n] >= double{o.min_p})))
    kept += weight[n++];
  double draw = std::uniform_real_distribution<double>(0.0, kept)(random_);
  for (std::size_t i = 0; i < n; ++i) {
    draw -= weight[i];
    if (draw < 0) return order_[i];
  }
  return order_[n - 1];
}

}  // namespace unicorn
