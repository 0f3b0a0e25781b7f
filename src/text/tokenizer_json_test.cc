#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "text/test_vocabularies.h"
#include "text/tokenizer.h"

namespace unicorn {
namespace {

using ::testing::HasSubstr;
using Ids = std::vector<TokenId>;

// The smallest tokenizer.json that is one.
Json small() {
  auto json = parse_json(R"({
    "added_tokens": [{"id": 0, "content": "<bos>", "special": true}, {"id": 5, "content": "<x>", "special": false}],
    "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "special_tokens": {"<bos>": {"id": "<bos>", "ids": [0], "tokens": ["<bos>"]}}},
    "decoder": {"type": "Sequence", "decoders": [
      {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]},
    "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
      "vocab": {"<bos>": 0, "<unk>": 1, "▁": 2, "a": 3, "▁a": 4}, "merges": [["▁", "a"]]}})",
                         "small");
  UNICORN_CHECK(json.ok());
  return std::move(json).value();
}

Result<Vocab> read(const std::string& json) { return vocab_from_tokenizer_json(json, "t.json"); }

std::string error_of(const std::string& json) {
  const auto vocab = read(json);
  return vocab.ok() ? "no error" : vocab.error().message;
}

std::string error_of(const Json& changes) {
  Json json = small();
  json.merge_patch(changes);
  return error_of(json.dump());
}

TEST(TokenizerJson, WhatAFileSaysIsInTheVocab) {
  const auto vocab = read(small().dump());
  ASSERT_TRUE(vocab.ok()) << vocab.error().message;
  EXPECT_EQ(vocab->pieces, (std::vector<std::string>{"<bos>", "<unk>", "▁", "a", "▁a"}));
  EXPECT_EQ(vocab->merges, (std::vector<std::pair<TokenId, TokenId>>{{2, 3}}));
  ASSERT_EQ(vocab->added.size(), 2u);
  EXPECT_EQ(vocab->added[1].id, 5);
  EXPECT_EQ(vocab->added[1].text, "<x>");
  EXPECT_FALSE(vocab->added[1].special);
  EXPECT_EQ(vocab->bos, 0);
  EXPECT_EQ(vocab->unk, 1);
  EXPECT_EQ(vocab->eos, -1);
  EXPECT_TRUE(vocab->add_bos);
  const auto tokenizer = Tokenizer::create(*vocab, "t.json");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->size(), 6u);
  EXPECT_EQ(tokenizer->encode(" a<x>aqq", {.add_bos = true}), (Ids{0, 4, 5, 3, 1}));
}

TEST(TokenizerJson, TheDemoAndGemmaFilesAreRead) {
  EXPECT_EQ(testing::demo().vocab().bos, 2);
  EXPECT_EQ(testing::demo().vocab().eos, 1);
  EXPECT_EQ(testing::demo().vocab().unk, 3);
  EXPECT_EQ(testing::demo().vocab().pad, 0);
  EXPECT_EQ(testing::demo().vocab().merges.size(), 7666u);
  EXPECT_EQ(testing::gemma3().vocab().bos, 2);
  EXPECT_EQ(testing::gemma3().vocab().eos, 1);
  EXPECT_EQ(testing::gemma3().vocab().added.size(), 6415u);
  EXPECT_TRUE(testing::gemma3().vocab().add_bos);
}

TEST(TokenizerJson, OrderAndOlderFormsDoNotMatter) {
  Json json = small(), reversed;
  for (auto item = json.rbegin(); item != json.rend(); ++item) reversed[item.key()] = item.value();
  Json model;
  for (auto item = json["model"].rbegin(); item != json["model"].rend(); ++item) model[item.key()] = item.value();
  reversed["model"] = model;  // the merges before the vocabulary
  reversed["model"]["merges"] = {"▁ a"};
  reversed["normalizer"] = {{"type", "Sequence"}, {"normalizers", {json["normalizer"]}}};
  reversed["pre_tokenizer"] = nullptr;
  reversed["post_processor"] = nullptr;
  const auto vocab = read(reversed.dump());
  ASSERT_TRUE(vocab.ok()) << vocab.error().message;
  EXPECT_EQ(vocab->merges, (std::vector<std::pair<TokenId, TokenId>>{{2, 3}}));
  EXPECT_FALSE(vocab->add_bos);
  EXPECT_EQ(vocab->bos, 0);
}

TEST(TokenizerJson, OtherTypesAreRefusedByName) {
  EXPECT_EQ(error_of(Json{{"model", {{"type", "Unigram"}}}}), "t.json: model is Unigram, only BPE is supported");
  EXPECT_EQ(error_of(Json{{"model", {{"dropout", 0.1}}}}), "t.json: model.dropout is set, only null is supported");
  EXPECT_EQ(error_of(Json{{"model", {{"byte_fallback", false}}}}),
            "t.json: model.byte_fallback is not true, only byte fallback is supported");
  EXPECT_EQ(error_of(Json{{"model", {{"fuse_unk", false}}}}),
            "t.json: model.fuse_unk is not true, which needs all 256 byte tokens");
  EXPECT_EQ(error_of(Json{{"model", {{"end_of_word_suffix", "</w>"}}}}),
            "t.json: model.end_of_word_suffix is \"</w>\", only null is supported");
  EXPECT_EQ(error_of(Json{{"normalizer", {{"type", "NFKC"}}}}),
            "t.json: normalizer is NFKC, only Replace of ' ' by U+2581 is supported");
  EXPECT_EQ(error_of(Json{{"normalizer", nullptr}}),
            "t.json: normalizer is null, only Replace of ' ' by U+2581 is supported");
  EXPECT_EQ(error_of(Json{{"pre_tokenizer", {{"type", "ByteLevel"}}}}),
            "t.json: pre_tokenizer is ByteLevel, only Split at ' ' is supported");
  EXPECT_EQ(error_of(Json{{"pre_tokenizer", {{"pattern", {{"String", "x"}}}}}}),
            "t.json: pre_tokenizer is Split, only Split at ' ' is supported");
  EXPECT_EQ(error_of(Json{{"decoder", {{"type", "WordPiece"}}}}),
            "t.json: decoder is WordPiece, only a Sequence of Replace, ByteFallback and Fuse is supported");
  Json decoders = small()["decoder"]["decoders"];
  decoders.push_back({{"type", "Strip"}});
  EXPECT_EQ(error_of(Json{{"decoder", {{"decoders", decoders}}}}),
            "t.json: decoder.decoders[3] is Strip, only Replace of U+2581 by ' ', ByteFallback, Fuse is supported");
  EXPECT_EQ(error_of(Json{{"post_processor", {{"type", "BertProcessing"}}}}),
            "t.json: post_processor is BertProcessing, only TemplateProcessing is supported");
  EXPECT_EQ(error_of(Json{{"post_processor", {{"single", {small()["post_processor"]["single"][0]}}}}}),
            "t.json: post_processor.single is not [SpecialToken, Sequence] or [Sequence]");
  for (const char* flag : {"lstrip", "rstrip", "single_word"}) {
    EXPECT_EQ(error_of(Json{{"added_tokens", {{{"id", 9}, {"content", "x"}, {flag, true}}}}}),
              std::string("t.json: added_tokens[0].") + flag + " is true, only false is supported");
  }
}

TEST(TokenizerJson, ErrorsNameTheFileAndTheEntry) {
  const auto added = [](const Json& token) { return error_of(Json{{"added_tokens", {token}}}); };
  EXPECT_EQ(added({{"id", -5}, {"content", "x"}}), "t.json: added_tokens[0].id is -5, expected an id of 0 … 4194303");
  EXPECT_EQ(added({{"id", 1LL << 40}, {"content", "x"}}),
            "t.json: added_tokens[0].id is 1099511627776, expected an id of 0 … 4194303");
  EXPECT_EQ(added({{"id", 1.5}, {"content", "x"}}), "t.json: added_tokens[0].id is not a whole number that fits");
  EXPECT_EQ(added({{"id", "1"}, {"content", "x"}}), "t.json: added_tokens[0].id is not a whole number that fits");
  EXPECT_EQ(added({{"content", "x"}}), "t.json: added_tokens[0].id is missing");
  EXPECT_EQ(added({{"id", 9}}), "t.json: added_tokens[0].content is missing");
  EXPECT_EQ(added({{"id", 9}, {"content", "a"}}), "t.json: added_tokens[0] 'a' has id 9, but model.vocab gives it 3");
  EXPECT_EQ(added(3), "t.json: added_tokens[0] has another JSON type than expected");

  const auto merges = [](std::string_view list) {
    return error_of(Json{{"model", {{"merges", *parse_json(list, "merges")}}}});
  };
  const auto model = [](const Json& changes) { return error_of(Json{{"model", changes}}); };
  EXPECT_EQ(model({{"vocab", {{"b", -1}}}}), "t.json: model.vocab is -1, expected an id of 0 … 4194303 (piece 'b')");
  EXPECT_EQ(model({{"vocab", {{"b", 4000000}}}}), "t.json: model.vocab gives 'b' id 4000000, but has only 6 entries");
  EXPECT_EQ(model({{"vocab", {{"b", 3}}}}), "t.json: model.vocab gives id 3 to both 'a' and 'b'");
  EXPECT_EQ(model({{"vocab", {{"b", "3"}}}}), "t.json: model.vocab is not a whole number that fits (piece 'b')");
  EXPECT_EQ(model({{"vocab", 3}}), "t.json: model.vocab has another JSON type than expected");
  EXPECT_EQ(model({{"vocab", nullptr}}), "t.json: model.vocab is missing");
  EXPECT_EQ(merges(R"([["a", "z"]])"), "t.json: model.merges[0] joins 'z', which is not in model.vocab");
  EXPECT_EQ(merges(R"([["▁", "a"], ["a"]])"), "t.json: model.merges[1] has fewer than two parts");
  EXPECT_EQ(merges(R"([["a", "a", "a"]])"), "t.json: model.merges[0] has more than two parts");
  EXPECT_EQ(merges(R"(["a b c"])"), "t.json: model.merges[0] is 'a b c', expected two pieces and a space between them");
  EXPECT_EQ(model({{"unk_token", "?"}}), "t.json: model.unk_token is \"?\", which is not in model.vocab");
  EXPECT_EQ(error_of(Json{{"model", nullptr}}), "t.json: model is missing");
  EXPECT_EQ(error_of(Json{{"post_processor", {{"special_tokens", {{"<bos>", {{"ids", {7}}}}}}}}}),
            "t.json: post_processor.special_tokens has no single id for '<bos>'");

  EXPECT_THAT(error_of(std::string("{\"a\": ")), HasSubstr("t.json: is not valid JSON"));
  EXPECT_THAT(error_of(std::string()), HasSubstr("t.json: is not valid JSON"));
  EXPECT_THAT(error_of(std::string("[]")), HasSubstr("t.json: has another JSON type than expected"));
  EXPECT_THAT(error_of(small().dump() + "{}"), HasSubstr("t.json: has more text after the JSON object"));
  EXPECT_THAT(error_of(small().dump() + "\xFF"), HasSubstr("t.json: is not valid JSON"));
  EXPECT_THAT(error_of(std::string(R"({"model": {"vocab": {"a": 0, "a": 1}}})")),
              HasSubstr("t.json: model.vocab gives 'a' both id 0 and id 1"));
  std::string long_setting = "{\"decoder\": {\"x\": \"" + std::string(100'000, 'x') + "\"}}";
  EXPECT_THAT(error_of(long_setting), HasSubstr("t.json: decoder is 100009 bytes long"));
}

TEST(TokenizerJson, IdsMayLeaveGaps) {
  Json json = small();
  json["model"]["vocab"]["b"] = 1000;
  json["added_tokens"].push_back({{"id", 2000}, {"content", "<y>"}, {"special", true}});
  auto vocab = read(json.dump());
  ASSERT_TRUE(vocab.ok()) << vocab.error().message;
  const auto tokenizer = Tokenizer::create(std::move(*vocab), "t.json");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->size(), 2001u);
  EXPECT_EQ(tokenizer->encode("b<y>", {.parse_special = true}), (Ids{1000, 2000}));
  EXPECT_EQ(tokenizer->decode(Ids{1000, 999, 2000}), "b<y>");
}

}  // namespace
}  // namespace unicorn
