#include "text/detokenizer.h"

#include <gtest/gtest.h>

#include <random>

#include "text/test_vocabularies.h"
#include "text/utf8.h"

namespace unicorn {
namespace {

using testing::demo;
using testing::gemma3;

constexpr std::string_view kBad = kReplacementCharacter;

TokenId byte(int value) { return 238 + value; }  // in Gemma 3's vocabulary

std::string bad(int n) {
  std::string text;
  for (; n > 0; --n) text += kBad;
  return text;
}

TEST(Detokenizer, StreamingEqualsDecodingForValidText) {
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    const std::string text = testing::random_text(random);
    for (const Tokenizer* tokenizer : {&gemma3(), &demo()}) {
      Detokenizer stream(*tokenizer);
      std::string out;
      for (const TokenId id : tokenizer->encode(text)) {
        const std::string part = stream.push(id);
        ASSERT_TRUE(is_utf8(part));
        out += part;
      }
      ASSERT_EQ(out, text);
      ASSERT_EQ(stream.finish(), "");
    }
  }
}

TEST(Detokenizer, ACodePointIsHeldBackUntilItIsWhole) {
  Detokenizer stream(gemma3());
  EXPECT_EQ(stream.push(byte(0xF0)), "");
  EXPECT_EQ(stream.push(byte(0x9F)), "");
  EXPECT_EQ(stream.push(byte(0x99)), "");
  EXPECT_EQ(stream.push(2), "");  // a skipped control token changes nothing
  EXPECT_EQ(stream.push(byte(0x82)), "\xF0\x9F\x99\x82");
  EXPECT_EQ(stream.push(9259), "Hello");
  EXPECT_EQ(stream.finish(), "");
}

TEST(Detokenizer, InvalidBytesAreReplacedAsSoonAsTheyAreKnownToBe) {
  Detokenizer stream(gemma3());
  EXPECT_EQ(stream.push(byte(0xFF)), bad(1));
  EXPECT_EQ(stream.push(byte(0xF0)), "");
  EXPECT_EQ(stream.push(byte(0x9F)), "");
  EXPECT_EQ(stream.push(byte('a')), bad(2) + "a");
  EXPECT_EQ(stream.push(byte(0xE2)), "");
  EXPECT_EQ(stream.push(byte(0xE2)), bad(1));
  EXPECT_EQ(stream.push(byte(0x82)), "");
  EXPECT_EQ(stream.push(1902), bad(2) + " world");
  EXPECT_EQ(stream.push(byte(0xC3)), "");
  EXPECT_EQ(stream.finish(), bad(1));
  EXPECT_EQ(stream.push(byte(0xA9)), bad(1));  // nothing is left of what was before
  EXPECT_EQ(stream.finish(), "");
}

TEST(Detokenizer, ControlTokensAreShownWhenAsked) {
  Detokenizer stream(gemma3(), /*skip_special=*/false);
  EXPECT_EQ(stream.push(byte(0xC3)), "");
  EXPECT_EQ(stream.push(106), bad(1) + "<end_of_turn>");
  Detokenizer quiet(gemma3());
  EXPECT_EQ(quiet.push(106), "");
  EXPECT_EQ(quiet.push(-1), "");
  EXPECT_EQ(quiet.push(1 << 30), "");
}

TEST(Detokenizer, AnyIdsGiveUtf8AndOneReplacementPerLostByte) {
  std::mt19937 random(2);
  for (int i = 0; i < 3000; ++i) {
    Detokenizer stream(gemma3());
    std::string out, raw;
    for (int k = 0; k < 12; ++k) {
      const TokenId id =
          random() % 4 == 0 ? static_cast<TokenId>(random() % gemma3().size()) : byte(static_cast<int>(random() % 256));
      const std::string part = stream.push(id);
      ASSERT_TRUE(is_utf8(part));
      out += part;
      if (!gemma3().is_control(id)) raw += gemma3().piece_bytes(id);
    }
    out += stream.finish();
    std::string want;
    while (!raw.empty()) {
      const CodePoint c = first_code_point(raw);
      want += c.n_bytes == 0 ? std::string(kBad) : raw.substr(0, c.n_bytes);
      raw.erase(0, c.n_bytes == 0 ? 1 : c.n_bytes);
    }
    ASSERT_EQ(out, want);
  }
}

}  // namespace
}  // namespace unicorn
