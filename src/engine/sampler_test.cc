#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

namespace unicorn {
namespace {

SamplingOptions plain() {
  SamplingOptions o;
  o.top_k = 0;
  o.top_p = 1.0f;
  o.seed = 7;
  return o;
}

std::map<TokenId, int> draw(const SamplingOptions& o, const std::vector<float>& logits, int n,
                            const std::vector<TokenId>& history = {}) {
  Sampler sampler(o);
  std::map<TokenId, int> counts;
  for (int i = 0; i < n; ++i) ++counts[sampler.sample(logits, history)];
  return counts;
}

TEST(Sampler, GreedyTakesTheLowestOfTheBest) {
  SamplingOptions o = plain();
  o.temperature = 0;
  EXPECT_EQ(Sampler(o).sample(std::vector<float>{1, 3, 2, 3}, {}), 1);
}

TEST(Sampler, DrawsWithTheSoftmaxOfTheLogits) {
  // Three probabilities 0.6, 0.3, 0.1; the count's standard deviation is below 70 of 20,000: five of them are 350.
  const std::vector<float> logits{std::log(0.6f), std::log(0.3f), std::log(0.1f)};
  const auto counts = draw(plain(), logits, 20000);
  EXPECT_NEAR(counts.at(0), 12000, 350);
  EXPECT_NEAR(counts.at(1), 6000, 350);
  EXPECT_NEAR(counts.at(2), 2000, 350);
}

TEST(Sampler, TemperatureSharpens) {
  SamplingOptions o = plain();
  o.temperature = 0.5f;  // probabilities squared: 0.8, 0.2
  const auto counts = draw(o, {std::log(2.0f), 0.0f}, 20000);
  EXPECT_NEAR(counts.at(0), 16000, 350);
}

TEST(Sampler, TopKKeepsExactlyTheBestK) {
  SamplingOptions o = plain();
  o.top_k = 2;
  const auto counts = draw(o, {0.0f, 1.0f, 0.5f, 1.0f}, 2000);
  EXPECT_EQ(counts.size(), 2u);
  EXPECT_TRUE(counts.contains(1) && counts.contains(3));
}

TEST(Sampler, TopPKeepsTheSmallestSetThatReachesIt) {
  SamplingOptions o = plain();
  const std::vector<float> logits{std::log(0.5f), std::log(0.3f), std::log(0.2f)};
  o.top_p = 0.49f;
  EXPECT_EQ(draw(o, logits, 500).size(), 1u);
  o.top_p = 0.75f;
  EXPECT_EQ(draw(o, logits, 500).size(), 2u);
}

TEST(Sampler, MinPDropsWhatIsFarBelowTheBest) {
  SamplingOptions o = plain();
  o.min_p = 0.5f;
  const auto counts = draw(o, {std::log(0.5f), std::log(0.3f), std::log(0.2f)}, 500);
  EXPECT_EQ(counts.size(), 2u);
}

TEST(Sampler, PenaltiesAndBias) {
  SamplingOptions o = plain();
  o.temperature = 0;
  o.repetition_penalty = 2.0f;
  EXPECT_EQ(Sampler(o).sample(std::vector<float>{1.5f, 1.0f, -1.0f}, std::vector<TokenId>{0}), 1);
  EXPECT_EQ(Sampler(o).sample(std::vector<float>{-1.0f, -1.5f}, std::vector<TokenId>{0}), 1)
      << "a negative logit is multiplied";
  o.repetition_penalty = 1.0f;
  o.frequency_penalty = 0.3f;
  EXPECT_EQ(Sampler(o).sample(std::vector<float>{1.5f, 1.0f}, std::vector<TokenId>{0, 0}), 1);
  EXPECT_EQ(Sampler(o).sample(std::vector<float>{1.5f, 1.0f}, std::vector<TokenId>{0}), 0);
  o.frequency_penalty = 0;
  o.presence_penalty = 0.6f;
  EXPECT_EQ(Sampler(o).sample(std::vector<float>{1.5f, 1.0f}, std::vector<TokenId>{0, 0, 0}), 1);
  o.penalty_window = 1;
  EXPECT_EQ(Sampler(o).sample(std::vector<float>{1.5f, 1.0f}, std::vector<TokenId>{0, 1}), 0)
      << "0 lies outside the window";
  o = plain();
  o.logit_bias = {{2, 100.0f}};
  EXPECT_EQ(draw(o, {1, 1, 1}, 50).at(2), 50);
  o.logit_bias = {{0, -std::numeric_limits<float>::infinity()}};
  EXPECT_FALSE(draw(o, {9, 1, 1}, 200).contains(0));
}

TEST(Sampler, TheSameSeedGivesTheSameTokens) {
  const std::vector<float> logits(100, 0.0f);
  Sampler a(plain()), b(plain());
  for (int i = 0; i < 50; ++i) EXPECT_EQ(a.sample(logits, {}), b.sample(logits, {}));
  SamplingOptions fresh = plain();
  fresh.seed = 0;
  EXPECT_NE(Sampler(fresh).seed(), 0u);
}

TEST(Sampler, SurvivesNonFiniteLogits) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(Sampler(plain()).sample(std::vector<float>{kNan, -kInf, 1.0f}, {}), 2);
  EXPECT_EQ(Sampler(plain()).sample(std::vector<float>{0.0f, kInf, 1.0f}, {}), 1);
  const TokenId id = Sampler(plain()).sample(std::vector<float>{-kInf, -kInf}, {});
  EXPECT_TRUE(id == 0 || id == 1);
}

TEST(Sampler, OptionsOutOfRangeAreNamed) {
  SamplingOptions o;
  o.temperature = std::numeric_limits<float>::quiet_NaN();
  EXPECT_NE(check_sampling(o, 10).error().message.find("temperature"), std::string::npos);
  o = {};
  o.top_p = 0;
  EXPECT_FALSE(check_sampling(o, 10).ok());
  o = {};
  o.logit_bias = {{10, 1.0f}};
  EXPECT_FALSE(check_sampling(o, 10).ok());
  EXPECT_TRUE(check_sampling(SamplingOptions{}, 10).ok());
}

}  // namespace
}  // namespace unicorn
