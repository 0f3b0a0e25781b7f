#include "tools/score.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace unicorn {
namespace {

std::vector<float> random_logits(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 8);
  std::vector<float> logits(n);
  for (float& l : logits) l = normal(random);
  return logits;
}

TEST(LogProb, EqualsTheDefinition) {
  for (const std::size_t n : {1, 2, 7, 8, 9, 1000, 262144}) {
    const std::vector<float> logits = random_logits(n, 1);
    long double sum = 0;
    for (const float l : logits) sum += std::exp(static_cast<long double>(l));
    const TokenId id = static_cast<TokenId>(n / 2);
    const long double want = static_cast<long double>(logits[n / 2]) - std::log(sum);
    EXPECT_NEAR(log_prob(logits, id), static_cast<double>(want),
                1e-12 * std::max(1.0, std::abs(static_cast<double>(want))));
  }
}

TEST(LogProb, LargeAndEqualLogitsDoNotOverflow) {
  EXPECT_NEAR(log_prob(std::vector<float>(4, 3e38f), 2), -std::log(4.0), 1e-15);
  EXPECT_NEAR(log_prob(std::vector<float>{1000, 0}, 1), -1000, 1e-12);
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(log_prob(std::vector<float>{0, -infinity}, 0), 0.0);
  EXPECT_EQ(log_prob(std::vector<float>{0, -infinity}, 1), -std::numeric_limits<double>::infinity());
}

TEST(LogProb, ANaNIsNotHidden) {
  EXPECT_TRUE(std::isnan(log_prob(std::vector<float>{0, std::numeric_limits<float>::quiet_NaN(), 1}, 0)));
}

TEST(TopLogits, LargestFirstAndTiesByIds) {
  const std::vector<float> logits = {1, 5, 3, 5, -2, 3};
  const auto top = top_logits(logits, 4);
  ASSERT_EQ(top.size(), 4u);
  EXPECT_EQ(top[0].id, 1);
  EXPECT_EQ(top[1].id, 3);
  EXPECT_EQ(top[2].id, 2);
  EXPECT_EQ(top[3].id, 5);
  EXPECT_EQ(top_logits(logits, 99).size(), 6u);
  EXPECT_TRUE(top_logits(logits, 0).empty());
}

TEST(TopLogits, EqualsAFullSort) {
  const std::vector<float> logits = random_logits(5000, 2);
  std::vector<TokenId> order(logits.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<TokenId>(i);
  std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) {
    return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)];
  });
  const auto top = top_logits(logits, 50);
  for (std::size_t i = 0; i < top.size(); ++i) EXPECT_EQ(top[i].id, order[i]);
}

TEST(TopLogits, NaNsComeLast) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto top = top_logits(std::vector<float>{nan, 1, nan, 2}, 2);
  EXPECT_EQ(top[0].id, 3);
  EXPECT_EQ(top[1].id, 1);
}

}  // namespace
}  // namespace unicorn
