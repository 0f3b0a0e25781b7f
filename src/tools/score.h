// Scoring: how likely a model finds given tokens. Log-probabilities are computed in double from the final logits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>
#include <vector>

#include "core/result.h"
#include "engine/engine.h"

namespace unicorn {

// log p(id) under softmax(logits). Precondition: 0 <= id < logits.size(). NaN when a logit is NaN.
double log_prob(std::span<const float> logits, TokenId id);

struct TokenLogit {
  TokenId id;
  float logit;
};
// The n largest logits, largest first; of equal ones the lower id first.
std::vector<TokenLogit> top_logits(std::span<const float> logits, std::size_t n);

struct ScoredToken {
  std::size_t pos;
  TokenId id;
  double logprob;                 // of id, given those before it; NaN for the first
  std::span<const float> logits;  // of what comes after it, f32[n_vocab]; valid during the call
};
// Called for every position in order. An error ends the scoring and is what `score` returns.
using ScoreSink = std::function<Status(const ScoredToken&)>;

// Runs `ids` as one sequence and hands every position to `sink`. Errors: those of Engine::forward and of the sink.
Status score(Engine& engine, std::span<const TokenId> ids, const ScoreSink& sink, const std::stop_token& stop = {});

struct Perplexity {
  std::size_t n_tokens = 0;  // scored
  std::size_t n_windows = 0;
  double nll = 0;  // mean negative log-likelihood, natural logarithm
  double perplexity() const;
};
// Called after each window with the figures so far.
using PerplexityProgress = std::function<void(const Perplexity&)>;

// Cuts `ids` (without BOS) into windows of n_ctx - 1 tokens and scores each after a BOS of its own, so every token is
// scored once, given those before it in its window. Errors: invalid_argument (no ids, n_ctx < 2), and those of score.
Result<Perplexity> perplexity(Engine& engine, std::span<const TokenId> ids, TokenId bos, std::uint32_t n_ctx,
                              const PerplexityProgress& progress = {}, const std::stop_token& stop = {});

}  // namespace unicorn
