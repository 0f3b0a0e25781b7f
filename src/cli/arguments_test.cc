#include "cli/arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>

namespace unicorn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ParseIds, CommasAndWhitespaceSeparate) {
  EXPECT_THAT(parse_ids("1,2,3").value(), ElementsAre(1, 2, 3));
  EXPECT_THAT(parse_ids(" 1 2\t3\n").value(), ElementsAre(1, 2, 3));
  EXPECT_THAT(parse_ids("1, 2 ,3 ,\n4").value(), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(parse_ids("[1, 2]").value(), ElementsAre(1, 2));
  EXPECT_THAT(parse_ids("0").value(), ElementsAre(0));
  EXPECT_THAT(parse_ids("2147483647").value(), ElementsAre(2147483647));
}

TEST(ParseIds, WhatIsNoTokenIdIsNamed) {
  for (const char* text :
       {"-1", "1,-2", "1.5", "0x10", "+1", "2147483648", "1,,2", "1,", ",1", "one", "1;2", "[1", "1]"}) {
    SCOPED_TRACE(text);
    const auto ids = parse_ids(text);
    ASSERT_FALSE(ids.ok());
    EXPECT_EQ(ids.error().code, ErrorCode::invalid_argument);
  }
  EXPECT_THAT(parse_ids("1,x").error().message, HasSubstr("'x'"));
  EXPECT_THAT(parse_ids("1,x").error().message, HasSubstr("entry 2"));
  EXPECT_THAT(parse_ids("").error().message, HasSubstr("empty"));
  EXPECT_THAT(parse_ids("[]").error().message, HasSubstr("empty"));
}

TEST(ParseIds, AMessageDoesNotRepeatAWholeFile) {
  EXPECT_LT(parse_ids(std::string(100000, 'x')).error().message.size(), 300u);
}

TEST(ReadIds, AFileIsNamedByAnAtSign) {
  const auto path = std::filesystem::temp_directory_path() / ("unicorn-ids-" + std::to_string(getpid()));
  std::ofstream(path) << "4\n5,6\n";
  EXPECT_THAT(read_ids("@" + path.string()).value(), ElementsAre(4, 5, 6));
  std::ofstream(path) << "4 five";
  const auto bad = read_ids("@" + path.string());
  EXPECT_EQ(bad.error().code, ErrorCode::corrupt_file);
  EXPECT_THAT(bad.error().message, HasSubstr(path.string()));
  std::filesystem::remove(path);
  EXPECT_EQ(read_ids("@" + path.string()).error().code, ErrorCode::not_found);
  EXPECT_EQ(read_ids("@/tmp").error().code, ErrorCode::io);
  EXPECT_FALSE(read_ids("@").ok());
}

TEST(ParseCount, RangeAndFormAreChecked) {
  EXPECT_EQ(parse_count("7", 1, 10).value(), 7u);
  EXPECT_EQ(parse_count("18446744073709551615", 0, UINT64_MAX).value(), UINT64_MAX);
  for (const char* text :
       {"", " ", "-1", "+1", "1.0", "1e3", "nan", "7 ", " 7", "0", "11", "99999999999999999999999"}) {
    SCOPED_TRACE(text);
    EXPECT_FALSE(parse_count(text, 1, 10).ok());
  }
  EXPECT_THAT(parse_count("99999999999999999999999", 1, 10).error().message, HasSubstr("out of range"));
}

TEST(ParseNumber, OnlyFiniteNumbersInRange) {
  EXPECT_EQ(parse_number("0", 0, 1).value(), 0.0);
  EXPECT_EQ(parse_number("+0.5", 0, 1).value(), 0.5);
  EXPECT_EQ(parse_number("1e-3", 0, 1).value(), 1e-3);
  EXPECT_EQ(parse_number("-2", -5, 5).value(), -2.0);
  for (const char* text : {"", "nan", "NaN", "-nan", "inf", "-inf", "infinity", "1e999", "0.5x", "0,5", "--1", "+-1",
                           "++1", "2", "-0.1"}) {
    SCOPED_TRACE(text);
    EXPECT_FALSE(parse_number(text, 0, 1).ok());
  }
}

TEST(ParseCounts, AListOfAtLeastOne) {
  EXPECT_THAT(parse_counts("512,2048", 0, 10000).value(), ElementsAre(512u, 2048u));
  EXPECT_THAT(parse_counts("0", 0, 10000).value(), ElementsAre(0u));
  EXPECT_FALSE(parse_counts("", 0, 10000).ok());
  EXPECT_FALSE(parse_counts("512,", 0, 10000).ok());
  EXPECT_FALSE(parse_counts("512,-1", 0, 10000).ok());
  EXPECT_FALSE(parse_counts("99999", 0, 10000).ok());
}

TEST(ParseLogitBias, AnIdAndASignedNumber) {
  EXPECT_EQ(parse_logit_bias("5=-2.5").value(), std::pair(TokenId{5}, -2.5f));
  EXPECT_EQ(parse_logit_bias("5=+1").value(), std::pair(TokenId{5}, 1.0f));
  EXPECT_EQ(parse_logit_bias("0=3").value(), std::pair(TokenId{0}, 3.0f));
  EXPECT_TRUE(std::isinf(parse_logit_bias("5=-inf").value().second));
  for (const char* text : {"", "5", "5=", "=1", "-5=1", "5=nan", "5=inf", "5=x", "x=1", "5=1=2", "99999999999=1"}) {
    SCOPED_TRACE(text);
    EXPECT_FALSE(parse_logit_bias(text).ok());
  }
}

TEST(Nearest, FindsTypingErrorsAndNothingElse) {
  const std::vector<std::string> commands = {"run",     "chat",  "score",   "perplexity", "tokenize",
                                             "inspect", "bench", "devices", "compare"};
  EXPECT_EQ(nearest("rum", commands), "run");
  EXPECT_EQ(nearest("chta", commands), "chat");
  EXPECT_EQ(nearest("perp", commands), "perplexity");
  EXPECT_EQ(nearest("tokenise", commands), "tokenize");
  EXPECT_EQ(nearest("benhc", commands), "bench");
  EXPECT_EQ(nearest("frobnicate", commands), "");
  EXPECT_EQ(nearest("", commands), "");
  EXPECT_EQ(nearest("x", {}), "");
}

}  // namespace
}  // namespace unicorn
