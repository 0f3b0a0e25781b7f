#include "engine/draft.h"

#include <algorithm>

namespace unicorn {

std::vector<TokenId> look_up_draft(std::span<const TokenId> history, std::size_t max) {
  constexpr std::size_t kLongest = 4, kShortest = 2;
  std::size_t best = 0, from = 0;  // length of the match, and where what followed it begins
  for (std::size_t end = history.size(); end-- > kShortest;) {  // [0, end) is the earlier part, latest first
    std::size_t n = 0;
    while (n < kLongest && n < end && history[end - 1 - n] == history[history.size() - 1 - n]) ++n;
    if (n <= best || n < kShortest) continue;
    best = n;
    from = end;
    if (best == kLongest) break;
  }
  if (best == 0) return {};
  const auto draft = history.subspan(from, std::min(max, history.size() - from));
  return {draft.begin(), draft.end()};
}

bool DraftGauge::should_guess() {
  if (rest_ > 0) {
    --rest_;
    return false;
  }
  constexpr std::uint32_t kEnough = 8;
  if (n_drafts_ < kEnough || plain_s_ == 0 || draft_n_ * plain_s_ > draft_s_) return true;
  constexpr std::uint32_t kLongestRest = 256;
  rest_ = next_rest_;
  next_rest_ = std::min(2 * next_rest_, kLongestRest);
  n_drafts_ = 0;
  draft_s_ = draft_n_ = 0;
  return false;
}

void DraftGauge::passed(std::size_t n_guessed, std::size_t n_tokens, double seconds) {
  constexpr double kOlder = 0.9;
  if (n_guessed == 0) {
    plain_s_ = plain_s_ == 0 ? seconds : kOlder * plain_s_ + (1 - kOlder) * seconds;
    return;
  }
  ++n_drafts_;
  draft_s_ = kOlder * draft_s_ + seconds;
  draft_n_ = kOlder * draft_n_ + static_cast<double>(n_tokens);
}

}  // namespace unicorn
