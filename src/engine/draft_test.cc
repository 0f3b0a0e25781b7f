#include "engine/draft.h"

#include <gtest/gtest.h>

namespace unicorn {
namespace {

using Ids = std::vector<TokenId>;

TEST(Draft, IsWhatFollowedTheSameTokensBefore) {
  EXPECT_EQ(look_up_draft(Ids{7, 1, 2, 3, 9, 8, 1, 2}, 3), (Ids{3, 9, 8}));
  EXPECT_EQ(look_up_draft(Ids{7, 1, 2, 3, 9, 8, 1, 2}, 1), (Ids{3}));
}

TEST(Draft, PrefersTheLongestMatchThenTheLatest) {
  EXPECT_EQ(look_up_draft(Ids{5, 1, 2, 30, 1, 2, 40, 5, 1, 2}, 1), (Ids{30}));
  EXPECT_EQ(look_up_draft(Ids{1, 2, 30, 1, 2, 40, 5, 1, 2}, 1), (Ids{40}));
}

TEST(Draft, RunsIntoTheRepetitionItself) { EXPECT_EQ(look_up_draft(Ids{4, 1, 1, 1}, 5), (Ids{1})); }

TEST(Draft, IsEmptyWithoutAnEarlierOccurrence) {
  EXPECT_EQ(look_up_draft(Ids{}, 3), Ids{});
  EXPECT_EQ(look_up_draft(Ids{1}, 3), Ids{});
  EXPECT_EQ(look_up_draft(Ids{1, 2}, 3), Ids{});
  EXPECT_EQ(look_up_draft(Ids{1, 2, 3, 4, 5, 2}, 3), Ids{}) << "one token alone is no occurrence";
  EXPECT_EQ(look_up_draft(Ids{1, 2, 1, 2}, 0), Ids{});
}

// Guesses cost 1.5 passes each; `accepted` tokens come of a pass.
std::size_t guesses_of_1000(double accepted) {
  DraftGauge gauge;
  std::size_t n = 0;
  for (int pass = 0; pass < 1000; ++pass) {
    const bool guess = pass > 0 && gauge.should_guess();
    n += guess ? 1 : 0;
    gauge.passed(guess ? 3 : 0, guess ? static_cast<std::size_t>(accepted) : 1, guess ? 1.5 : 1.0);
  }
  return n;
}

TEST(DraftGauge, GoesOnWhereItPaysAndStopsWhereNot) {
  EXPECT_EQ(guesses_of_1000(3), 999u);
  EXPECT_LT(guesses_of_1000(1), 80u);
}

TEST(DraftGauge, TriesAgainAfterARest) {
  DraftGauge gauge;
  gauge.passed(0, 1, 1.0);
  int tried = 0;
  for (int pass = 0; pass < 400; ++pass)
    if (gauge.should_guess()) {
      ++tried;
      gauge.passed(3, 1, 2.0);
    }
  EXPECT_GT(tried, 8);
}

}  // namespace
}  // namespace unicorn
