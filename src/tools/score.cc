#include "tools/score.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace unicorn {

namespace {

float largest(std::span<const float> values) {
  constexpr std::size_t kLanes = 8;  // independent maxima, which the compiler may keep in one register
  float lanes[kLanes];
  std::fill_n(lanes, kLanes, -std::numeric_limits<float>::infinity());
  std::size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes)
    for (std::size_t l = 0; l < kLanes; ++l) lanes[l] = values[i + l] > lanes[l] ? values[i + l] : lanes[l];
  float best = *std::max_element(lanes, lanes + kLanes);
  for (; i < values.size(); ++i) best = std::max(best, values[i]);
  return best;
}

}  // namespace

double log_prob(std::span<const float> logits, TokenId id) {
  UNICORN_CHECK(id >= 0 && static_cast<std::size_t>(id) < logits.size());
  const double max = largest(logits);
  // What lies 50 below the largest adds less than 2e-22 of it, a quarter of a million of them less than double's
  // last bit: exp is not called for them. (The condition is written so that a NaN is not skipped.)
  constexpr double kNegligible = -50.0;
  double sum = 0;
  for (const float logit : logits) {
    const double below = static_cast<double>(logit) - max;
    if (!(below < kNegligible)) sum += std::exp(below);
  }
  return static_cast<double>(logits[static_cast<std::size_t>(id)]) - max - std::log(sum);
}

std::vector<TokenLogit> top_logits(std::span<const float> logits, std::size_t n) {
  n = std::min(n, logits.size());
  const auto before = [](const TokenLogit& a, const TokenLogit& b) {
    if (std::isnan(a.logit) || std::isnan(b.logit)) return !std::isnan(a.logit) && std::isnan(b.logit);
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
  };
  // A heap of the best n so far, its root the worst of them: most logits are turned away by one comparison.
  std::vector<TokenLogit> best;
  best.reserve(n + 1);
  for (std::size_t i = 0; i < logits.size() && n > 0; ++i) {
    const TokenLogit candidate{static_cast<TokenId>(i), logits[i]};
    if (best.size() == n) {
      if (!before(candidate, best.front())) continue;
      std::pop_heap(best.begin(), best.end(), before);
      best.pop_back();
    }
    best.push_back(candidate);
    std::push_heap(best.begin(), best.end(), before);
  }
  std::sort_heap(best.begin(), best.end(), before);
  return best;
}

Status score(Engine& engine, std::span<const TokenId> ids, const ScoreSink& sink, const std::stop_token& stop) {
  UNICORN_ASSIGN(Sequence sequence, engine.new_sequence());
  Status sunk;
  std::stop_source give_up;  // when the sink fails, or the caller asks
  const std::stop_callback forward_stop(stop, [&give_up] { give_up.request_stop(); });
  double logprob = std::numeric_limits<double>::quiet_NaN();
  const Work work{&sequence, ids, Outputs::all};
  Status done = engine.forward(
      {&work, 1},
      [&](const RowOutput& row) {
        if (!sunk.ok()) return;
        sunk = sink({row.pos, ids[row.pos], logprob, row.logits});
        if (!sunk.ok()) give_up.request_stop();
        if (row.pos + 1 < ids.size()) logprob = log_prob(row.logits, ids[row.pos + 1]);
      },
      give_up.get_token());
  if (!sunk.ok()) return sunk;
  return done;
}

double Perplexity::perplexity() const { return std::exp(nll); }

Result<Perplexity> perplexity(Engine& engine, std::span<const TokenId> ids, TokenId bos, std::uint32_t n_ctx,
                              const PerplexityProgress& progress, const std::stop_token& stop) {
  if (ids.empty()) return Error{ErrorCode::invalid_argument, "there are no tokens to score"};
  if (n_ctx < 2)
    return Error{ErrorCode::invalid_argument,
                 "a window holds BOS and at least one token: the context must be at least 2"};
  Perplexity result;
  double sum = 0;
  std::vector<TokenId> window;
  while (!ids.empty()) {
    const std::size_t n = std::min<std::size_t>(ids.size(), n_ctx - 1);
    window.assign(1, bos);
    window.insert(window.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(n));
    UNICORN_TRY(score(
        engine, window,
        [&](const ScoredToken& token) -> Status {
          if (token.pos > 0) sum -= token.logprob;
          return Ok{};
        },
        stop));
    ids = ids.subspan(n);
    result.n_tokens += n;
    ++result.n_windows;
    result.nll = sum / static_cast<double>(result.n_tokens);
    if (progress) progress(result);
  }
  return result;
}

}  // namespace unicorn
