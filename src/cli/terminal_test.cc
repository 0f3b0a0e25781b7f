#include "cli/terminal.h"

#include <gtest/gtest.h>

namespace unicorn {
namespace {

TEST(ShownText, ControlCharactersAreNotObeyed) {
  EXPECT_EQ(shown_text("plain\n\ttext"), "plain\n\ttext");
  EXPECT_EQ(shown_text("\x1b[2J"), "\xEF\xBF\xBD[2J");
  EXPECT_EQ(shown_text("a\rb\x07"),
            "a\xEF\xBF\xBD"
            "b\xEF\xBF\xBD");
  EXPECT_EQ(shown_text("\xC2\x9B"
                       "31m"),
            "\xEF\xBF\xBD"
            "31m");  // U+009B: CSI in one character
  EXPECT_EQ(shown_text("\xC2\xA0\xC3\xA9"), "\xC2\xA0\xC3\xA9");
  EXPECT_EQ(shown_text("\xC2"), "\xC2");
}

TEST(HumanBytes, ThreeFiguresAtMost) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(999), "999 B");
  EXPECT_EQ(human_bytes(1000), "1.0 kB");
  EXPECT_EQ(human_bytes(42'100'000), "42.1 MB");
  EXPECT_EQ(human_bytes(999'960), "1.0 MB");
  EXPECT_EQ(human_bytes(4'200'000'000), "4.2 GB");
}

}  // namespace
}  // namespace unicorn
