#include "text/merges.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "text/quote.h"

namespace unicorn {
namespace {

using ::testing::HasSubstr;

TextTable table_of(const std::vector<std::string>& pieces) {
  TextTable texts;
  std::size_t n_bytes = 0;
  for (const std::string& piece : pieces) n_bytes += piece.size();
  texts.reserve(pieces.size(), n_bytes);
  for (std::size_t id = 0; id < pieces.size(); ++id) {
    texts.push_back(pieces[id]);
    texts.index(static_cast<TokenId>(id));
  }
  return texts;
}

std::vector<std::string> written(const std::vector<Merge>& merges, const TextTable& texts) {
  std::vector<std::string> lines;
  for (const Merge& m : merges) {
    lines.push_back(std::string(texts[m.left]) + "+" + std::string(texts[m.right]));
    EXPECT_EQ(std::string(texts[m.left]) + std::string(texts[m.right]), texts[m.merged]);
  }
  return lines;
}

TEST(Merges, RebuiltByScoreThenByLongerLeftPart) {
  const TextTable texts =
      table_of({"a", "b", "c", "\xC3\xA9", "ab", "bc", "abc", std::string("\xC3\xA9") + "a", "<c>"});
  std::vector<PieceUse> uses(texts.size(), PieceUse::merged);
  uses[8] = PieceUse::none;
  const std::vector<float> scores = {0, 0, 0, 0, -3, -1, -2, -2, 0};
  EXPECT_EQ(written(rebuild_merges(scores, texts, uses), texts),
            (std::vector<std::string>{"b+c", "ab+c", "a+bc", "\xC3\xA9+a", "a+b"}));
  // Without scores a lower id comes first, and what is preferred before everything.
  EXPECT_EQ(written(rebuild_merges({}, texts, uses), texts),
            (std::vector<std::string>{"a+b", "b+c", "ab+c", "a+bc", "\xC3\xA9+a"}));
  uses[6] = PieceUse::preferred;
  EXPECT_EQ(written(rebuild_merges({}, texts, uses), texts),
            (std::vector<std::string>{"ab+c", "a+bc", "a+b", "b+c", "\xC3\xA9+a"}));
}

TEST(Merges, ScoresThatAreNoNumbersComeLast) {
  const TextTable texts = table_of({"a", "b", "ab", "ba"});
  const std::vector<PieceUse> uses(4, PieceUse::merged);
  const std::vector<float> scores = {0, 0, std::numeric_limits<float>::quiet_NaN(), -5};
  EXPECT_EQ(written(rebuild_merges(scores, texts, uses), texts), (std::vector<std::string>{"b+a", "a+b"}));
}

TEST(Merges, ListedPairsMustJoinToAPiece) {
  const TextTable texts = table_of({"a", "b", "ab", "<a>", "<a>b"});
  std::vector<PieceUse> uses(5, PieceUse::merged);
  uses[3] = PieceUse::none;
  using Pairs = std::vector<std::pair<TokenId, TokenId>>;
  auto merges = resolve_merges(Pairs{{0, 1}, {3, 1}}, texts, uses, "x.json");
  ASSERT_TRUE(merges.ok());
  EXPECT_EQ(written(*merges, texts), std::vector<std::string>{"a+b"});  // "<a>" never comes from text

  merges = resolve_merges(Pairs{{0, 1}, {1, 0}}, texts, uses, "x.json");
  ASSERT_FALSE(merges.ok());
  EXPECT_EQ(merges.error().message, "x.json: merges[1] joins 'b' and 'a', but 'ba' is not a piece");
  EXPECT_EQ(merges.error().code, ErrorCode::corrupt_file);
  for (const auto& pair : Pairs{{-1, 0}, {0, 5}, {0, std::numeric_limits<TokenId>::max()}}) {
    merges = resolve_merges(Pairs{pair}, texts, uses, "x.json");
    ASSERT_FALSE(merges.ok());
    EXPECT_THAT(merges.error().message, HasSubstr("x.json: merges[0] joins ids"));
  }
}

TEST(Quote, EscapesAndShortens) {
  EXPECT_EQ(quote("a\nb\xFF"), "'a\\x0ab\\xff'");
  EXPECT_EQ(quote("\xC3\xA9"), "'\xC3\xA9'");
  EXPECT_EQ(quote(std::string(50, 'x')), "'" + std::string(40, 'x') + "…'");
  EXPECT_EQ(quote(std::string(39, 'x') + "\xC3\xA9"), "'" + std::string(39, 'x') + "…'");
}

}  // namespace
}  // namespace unicorn
