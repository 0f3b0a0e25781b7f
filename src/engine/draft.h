// Speculation without a second model: the next tokens are guessed from what was said before (prompt lookup), and one
// pass computes them all. The caller samples each row as it would have one by one and keeps guesses while they agree, so
// the answer is the same, token for token, sampled or greedy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/token_id.h"

namespace unicorn {

// What followed the latest earlier occurrence of the history's last tokens (four of them, else three, else two): at most
// max tokens, empty when they never occurred.
std::vector<TokenId> look_up_draft(std::span<const TokenId> history, std::size_t max);

// Whether guessing pays, from the passes so far: tokens per second with guesses against without.
class DraftGauge {
 public:
  bool should_guess();  // to be asked before each pass
  void passed(std::size_t n_guessed, std::size_t n_tokens, double seconds);

 private:
  double plain_s_ = 0;  // per pass without guesses, smoothed; 0: none yet
  double draft_s_ = 0, draft_n_ = 0;  // seconds and tokens of passes with guesses, the older the less
  std::uint32_t n_drafts_ = 0;  // passes with guesses since guessing was last taken up
  std::uint32_t rest_ = 0, next_rest_ = 16;  // passes to go without; how many the next time
};

}  // namespace unicorn
