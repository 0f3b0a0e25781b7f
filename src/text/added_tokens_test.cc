#include "text/added_tokens.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace unicorn {
namespace {

TEST(AddedTokens, LeftmostWinsThenLongest) {
  AddedTokenMatcher matcher;
  matcher.add("ab", 1, false);
  matcher.add("abcd", 2, false);
  matcher.add("bcde", 3, false);
  matcher.add("", 4, false);
  matcher.finish();
  auto match = matcher.next("xabcde", 0, true);
  EXPECT_EQ(match.id, 2);
  EXPECT_EQ(match.begin, 1u);
  EXPECT_EQ(match.end, 5u);
  match = matcher.next("xabcxbcde", 0, true);  // "abc" is only the start of "abcd"
  EXPECT_EQ(match.id, 1);
  match = matcher.next("xabcxbcde", match.end, true);
  EXPECT_EQ(match.id, 3);
  match = matcher.next("xabcxbcde", match.end, true);
  EXPECT_EQ(match.id, -1);
  EXPECT_EQ(match.begin, 9u);
}

TEST(AddedTokens, SpecialOnesAreSeenOnlyWhenAsked) {
  AddedTokenMatcher matcher;
  matcher.add("<a>", 1, true);
  matcher.add("<a", 2, false);
  matcher.finish();
  EXPECT_EQ(matcher.next("<a>", 0, true).id, 1);
  EXPECT_EQ(matcher.next("<a>", 0, false).id, 2);
}

TEST(AddedTokens, NothingToFind) {
  AddedTokenMatcher matcher;
  matcher.finish();
  EXPECT_TRUE(matcher.empty());
  EXPECT_EQ(matcher.next("abc", 0, true).id, -1);
}

TEST(AddedTokens, AgreesWithTryingEveryTokenEverywhere) {
  std::mt19937 random(1);
  const auto word = [&](std::size_t max) {
    std::string text(random() % (max + 1), ' ');
    for (char& c : text) c = "ab\xE2\xFF"[random() % 4];
    return text;
  };
  for (int round = 0; round < 300; ++round) {
    std::vector<std::string> tokens;
    for (int i = 0; i < 12; ++i) tokens.push_back(word(5));
    AddedTokenMatcher matcher;
    for (std::size_t i = 0; i < tokens.size(); ++i) matcher.add(tokens[i], static_cast<TokenId>(i), i % 3 == 0);
    matcher.finish();
    const std::string text = word(60);
    for (const bool with_special : {false, true}) {
      for (std::size_t at = 0; at <= text.size();) {
        std::string_view want;
        std::size_t begin = at;
        for (; begin < text.size() && want.empty(); ++begin) {
          for (std::size_t i = 0; i < tokens.size(); ++i) {
            // Of equal texts the later is kept, with its own flag.
            const bool hidden =
                std::find(tokens.begin() + static_cast<std::ptrdiff_t>(i) + 1, tokens.end(), tokens[i]) != tokens.end();
            if (hidden || (i % 3 == 0 && !with_special) || tokens[i].size() <= want.size()) continue;
            if (std::string_view(text).substr(begin).starts_with(tokens[i])) want = tokens[i];
          }
          if (!want.empty()) break;
        }
        const auto match = matcher.next(text, at, with_special);
        ASSERT_EQ(match.begin, begin);
        ASSERT_EQ(text.substr(match.begin, match.end - match.begin), want);
        if (match.id < 0) break;
        ASSERT_EQ(tokens[static_cast<std::size_t>(match.id)], want);
        at = match.end;
      }
    }
  }
}

}  // namespace
}  // namespace unicorn
