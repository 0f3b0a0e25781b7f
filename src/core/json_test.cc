#include "core/json.h"

#include <gtest/gtest.h>
#include <simdjson.h>

#include <string>

namespace unicorn {
namespace {

TEST(ParseJson, KeepsTheOrderOfKeys) {
  const auto json = parse_json(R"({"z": 1, "a": [true, null, "x"], "m": {"k": 1.5}})", "test");
  ASSERT_TRUE(json.ok());
  EXPECT_EQ(dump_json(*json), R"({"z":1,"a":[true,null,"x"],"m":{"k":1.5}})");
}

TEST(ParseJson, NamesTheSourceAndThePlace) {
  const auto json = parse_json("{\"a\": 1,}", "config.json");
  ASSERT_FALSE(json.ok());
  EXPECT_EQ(json.error().code, ErrorCode::corrupt_file);
  EXPECT_TRUE(json.error().message.starts_with("config.json: not valid JSON")) << json.error().message;
  EXPECT_NE(json.error().message.find("column 9"), std::string::npos) << json.error().message;
}

TEST(ParseJson, RefusesWhatIsNotJson) {
  for (const char* text :
       {"", " ", "{", "[1, 2", "nul", "01", "1e999", "\"\\x\"", "\"\xff\"", "\"\x01\"", "{} {}", "[1]x", "\"\\ud800\""})
    EXPECT_FALSE(parse_json(text, "test").ok()) << text;
}

TEST(ParseJson, LimitsDepth) {
  const auto nested = [](std::size_t depth, const char* open, const char* close) {
    std::string text;
    for (std::size_t i = 0; i < depth; ++i) text += open;
    text += "0";
    for (std::size_t i = 0; i < depth; ++i) text += close;
    return text;
  };
  EXPECT_TRUE(parse_json(nested(200, "[", "]"), "test").ok());
  EXPECT_TRUE(parse_json(nested(200, "{\"a\":", "}"), "test").ok());
  for (const std::size_t depth : {201u, 202u, 1000u, 1'000'000u}) {
    const auto array = parse_json(nested(depth, "[", "]"), "test");
    ASSERT_FALSE(array.ok()) << depth;
    EXPECT_EQ(array.error().message, "test: JSON nested deeper than 200 levels");
    EXPECT_FALSE(parse_json(nested(depth, "{\"a\":", "}"), "test").ok()) << depth;
  }
  EXPECT_FALSE(parse_json(std::string(1'000'000, '['), "test").ok());  // never closed
  EXPECT_FALSE(parse_json("[[0]," + nested(300, "[", "]") + "]", "test").ok());
}

TEST(ParseJson, ReportsBadBytesInValidUtf8) {
  for (const std::string text : {"\xff\xfe", "{\"a\xc0\": 1}", "[\"\xed\xa0\x80\"]", "\xf0\x9f", "tru\xc3"}) {
    const auto json = parse_json(text, "test");
    ASSERT_FALSE(json.ok());
    const std::string& message = json.error().message;
    EXPECT_TRUE(simdjson::validate_utf8(message.data(), message.size())) << message;
  }
}

TEST(ParseJson, KeepsItsMessagesShort) {
  const auto json = parse_json("[\"" + std::string(100'000, 'a') + "\"x]", "test");
  ASSERT_FALSE(json.ok());
  EXPECT_LT(json.error().message.size(), 400u);
}

TEST(DumpJson, ReplacesInvalidUtf8) {
  Json json;
  json["said"] = "ok \xff\xc3 \xf0\x9f";
  json["\xfe"] = 1;
  const std::string text = dump_json(json);
  EXPECT_TRUE(simdjson::validate_utf8(text.data(), text.size()));
  EXPECT_TRUE(parse_json(text, "test").ok());
}

TEST(DumpJson, WritesWhatItReads) {
  const std::string text = R"({"n":-12,"u":18446744073709551615,"f":0.1,"s":"a\"\\\n\u0000é","e":{},"l":[]})";
  const auto json = parse_json(text, "test");
  ASSERT_TRUE(json.ok());
  EXPECT_EQ(dump_json(*json), text);
  EXPECT_NE(dump_json(*json, 2).find("\n  \"n\": -12"), std::string::npos);
}

}  // namespace
}  // namespace unicorn
