#include "text/utf8.h"

#include <gtest/gtest.h>

#include "text/test_vocabularies.h"

namespace unicorn {
namespace {

TEST(Utf8, EveryCodePointIsReadBack) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c == 0xD800) c = 0xE000;
    std::string text;
    testing::append_utf8(c, text);
    const CodePoint read = first_code_point(text + "x");
    ASSERT_EQ(read.value, c);
    ASSERT_EQ(read.n_bytes, text.size());
    for (std::size_t size = 1; size < text.size(); ++size) {
      const CodePoint cut = first_code_point(std::string_view(text).substr(0, size));
      ASSERT_EQ(cut.n_bytes, 0) << static_cast<unsigned>(c);
      ASSERT_TRUE(cut.truncated) << static_cast<unsigned>(c);
    }
  }
}

TEST(Utf8, WhatCannotBecomeACodePointIsNotTruncated) {
  for (std::string_view bad :
       {"\x80",         "\xBF",         "\xC0\x80",         "\xC1\xBF",         "\xE0\x80\x80",     "\xE0\x9F\xBF",
        "\xED\xA0\x80", "\xED\xBF\xBF", "\xF0\x80\x80\x80", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
        "\xFE",         "\xFF",         "\xC3\x28",         "\xE2\x82\x28",     "\xE2\x28\xA1",     "\xF0\x9F\x98\x28",
        "\xE0\x80",     "\xF4\x90"}) {
    const CodePoint c = first_code_point(bad);
    EXPECT_EQ(c.n_bytes, 0) << ::testing::PrintToString(bad);
    EXPECT_FALSE(c.truncated) << ::testing::PrintToString(bad);
    EXPECT_FALSE(is_utf8(bad));
  }
  EXPECT_TRUE(is_utf8(""));
  EXPECT_TRUE(is_utf8("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x99\x82"));
  EXPECT_FALSE(is_utf8("a\xF0\x9F\x99"));
}

}  // namespace
}  // namespace unicorn
