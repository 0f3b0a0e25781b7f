// Sampler: logits → token. Order of operations: bias, penalties, (greedy: argmax) temperature, top-k, top-p, min-p, draw.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "engine/engine.h"

namespace unicorn {

class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options);  // seed 0 is replaced by a fresh one

  // The next token after `history` (prompt and answer so far). The lowest id wins a tie. At least one logit is finite,
  // or the result is the lowest id that is not banned.
  TokenId sample(std::span<const float> logits, std::span<const TokenId> history);

  std::uint64_t seed() const { return options_.seed; }

 private:
  SamplingOptions options_;
  std::mt19937_64 random_;
  std::vector<float> logits_;
  std::vector<TokenId> order_;
};

// Errors: invalid_argument, naming the option ("temperature must be a number ≥ 0, not nan").
Status check_sampling(const SamplingOptions& options, std::size_t n_vocab);

}  // namespace unicorn
