#include "engine/stop_rules.h"

#include <gtest/gtest.h>

namespace unicorn {
namespace {

// The text that comes out, whatever pieces it went in by.
std::string through(const std::vector<std::string>& stops, const std::string& text, std::size_t piece,
                    bool* found = nullptr) {
  StopStrings s(stops);
  std::string out;
  for (std::size_t i = 0; i < text.size(); i += piece) out += s.push(text.substr(i, piece));
  out += s.finish();
  if (found != nullptr) *found = s.found();
  return out;
}

TEST(StopStrings, CutBeforeTheFirstOneHoweverTheTextArrives) {
  for (std::size_t piece = 1; piece < 12; ++piece) {
    bool found = false;
    EXPECT_EQ(through({"END", "\n\n"}, "one\ntwo END three\n\n", piece, &found), "one\ntwo ") << piece;
    EXPECT_TRUE(found);
  }
}

TEST(StopStrings, WhatOnlyBeganLikeOneComesOutInTheEnd) {
  for (std::size_t piece = 1; piece < 8; ++piece) {
    bool found = true;
    EXPECT_EQ(through({"abcd", ""}, "xxabcabc", piece, &found), "xxabcabc");
    EXPECT_FALSE(found);
  }
}

TEST(StopStrings, OverlappingBeginnings) {
  EXPECT_EQ(through({"aab"}, "aaab", 1), "a");
  EXPECT_EQ(through({"abab", "bac"}, "abac", 1), "a");
}

TEST(StopStrings, HoldsBackNoMoreThanItMust) {
  StopStrings s({"###"});
  EXPECT_EQ(s.push("text #"), "text ");
  EXPECT_EQ(s.push("x"), "#x");
}

}  // namespace
}  // namespace unicorn
