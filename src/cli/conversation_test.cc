#include "cli/conversation.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace unicorn {
namespace {

using ::testing::HasSubstr;
using Ids = std::vector<TokenId>;

constexpr TokenId kBos = 2, kStart = 4, kEnd = 5, kFirstByte = 6;

// Six control tokens, then a token for every byte: text is as long in tokens as it is in bytes.
Tokenizer byte_tokenizer(bool with_turns = true) {
  Vocab vocab;
  vocab.pieces = {
      "<pad>", "<eos>", "<bos>", "<unk>", with_turns ? "<start_of_turn>" : "<a>", with_turns ? "<end_of_turn>" : "<b>"};
  vocab.types.assign(vocab.pieces.size(), TokenType::control);
  vocab.types[3] = TokenType::unknown;
  for (std::size_t i = 0; i < vocab.pieces.size(); ++i)
    vocab.added.push_back({static_cast<TokenId>(i), vocab.pieces[i], true});
  for (int byte = 0; byte < 256; ++byte) {
    vocab.pieces.push_back(fmt::format("<0x{:02X}>", byte));
    vocab.types.push_back(TokenType::byte);
  }
  vocab.pad = 0, vocab.eos = 1, vocab.bos = kBos, vocab.unk = 3;
  return Tokenizer::create(std::move(vocab)).value();
}

Ids text_ids(std::string_view text) {
  Ids ids;
  for (const char c : text) ids.push_back(kFirstByte + static_cast<unsigned char>(c));
  return ids;
}

Ids join(const std::vector<Ids>& parts) {
  Ids all;
  for (const Ids& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

Ids user_turn(std::string_view text) {
  return join({{kStart}, text_ids("user\n"), text_ids(text), {kEnd}, text_ids("\n"), {kStart}, text_ids("model\n")});
}

TEST(Conversation, PromptsGrowByExactlyWhatWasSaid) {
  const Tokenizer tokenizer = byte_tokenizer();
  Conversation talk = Conversation::create(tokenizer).value();
  const Ids first = talk.ask("Hello", 1000).value().ids;
  EXPECT_EQ(first, join({{kBos}, user_turn("Hello")}));

  const Ids odd = {kFirstByte + 'x', 0, 3, kFirstByte + 'y'};  // ids that no text would give
  talk.answer(odd);
  const Ids second = talk.ask("More", 1000).value().ids;
  EXPECT_EQ(second, join({first, odd, {kEnd}, text_ids("\n"), user_turn("More")}));
}

TEST(Conversation, EqualsTheChatFormatWhenTheAnswerIsOrdinaryText) {
  const Tokenizer tokenizer = byte_tokenizer();
  Conversation talk = Conversation::create(tokenizer).value();
  talk.set_system("Be brief.");
  ASSERT_TRUE(talk.ask("One", 1000).ok());
  talk.answer(text_ids("Two"));
  const Ids ids = talk.ask("Three", 1000).value().ids;
  const ChatFormat format = ChatFormat::for_tokenizer(tokenizer).value();
  EXPECT_EQ(
      ids, format.encode(tokenizer, {{"system", "Be brief."}, {"user", "One"}, {"assistant", "Two"}, {"user", "Three"}})
               .value());
}

TEST(Conversation, TextNeverBecomesAControlToken) {
  const Tokenizer tokenizer = byte_tokenizer();
  Conversation talk = Conversation::create(tokenizer).value();
  const Ids ids = talk.ask("<end_of_turn>", 1000).value().ids;
  EXPECT_EQ(std::count(ids.begin(), ids.end(), kEnd), 1);
}

TEST(Conversation, TheOldestTurnsMakeRoomAndTheSystemTextStays) {
  const Tokenizer tokenizer = byte_tokenizer();
  Conversation talk = Conversation::create(tokenizer).value();
  talk.set_system("S");
  for (const char* message : {"first", "second", "third"}) {
    ASSERT_EQ(talk.ask(message, 1000).value().n_dropped, 0u);
    talk.answer(text_ids("ok"));
  }
  EXPECT_EQ(talk.n_turns(), 3u);
  const std::size_t whole = talk.ask("fourth", 1000).value().ids.size();
  talk.take_back();

  const auto prompt = talk.ask("fourth", whole - 1).value();
  EXPECT_EQ(prompt.n_dropped, 1u);
  EXPECT_EQ(talk.n_turns(), 3u);
  const Ids begin = join({{kBos, kStart}, text_ids("user\nS\n\nsecond")});
  EXPECT_TRUE(std::equal(begin.begin(), begin.end(), prompt.ids.begin()));
  EXPECT_LE(prompt.ids.size(), whole - 1);
}

TEST(Conversation, AMessageThatCannotFitChangesNothing) {
  const Tokenizer tokenizer = byte_tokenizer();
  Conversation talk = Conversation::create(tokenizer).value();
  ASSERT_TRUE(talk.ask("one", 60).ok());
  talk.answer(text_ids("ok"));
  const auto refused = talk.ask(std::string(100, 'x'), 60);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::context_full);
  EXPECT_THAT(refused.error().message, HasSubstr("60"));
  EXPECT_EQ(talk.n_turns(), 1u);
  EXPECT_TRUE(talk.ask("two", 1000).ok());
}

TEST(Conversation, ATakenBackMessageWasNeverPut) {
  const Tokenizer tokenizer = byte_tokenizer();
  Conversation talk = Conversation::create(tokenizer).value();
  ASSERT_TRUE(talk.ask("stopped", 1000).ok());
  talk.take_back();
  EXPECT_EQ(talk.ask("Hello", 1000).value().ids, join({{kBos}, user_turn("Hello")}));
}

TEST(Conversation, AVocabularyWithoutTurnsCannotChat) {
  const Tokenizer tokenizer = byte_tokenizer(false);
  const auto talk = Conversation::create(tokenizer);
  ASSERT_FALSE(talk.ok());
  EXPECT_EQ(talk.error().code, ErrorCode::unsupported);
}

}  // namespace
}  // namespace unicorn
