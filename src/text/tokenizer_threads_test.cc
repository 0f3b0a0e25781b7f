#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "text/test_vocabularies.h"

namespace unicorn {
namespace {

// What encoding learns about a vocabulary on the way (which pieces stay whole) is shared: TSan watches this.
TEST(TokenizerThreads, OneTokenizerServesManyThreads) {
  const Tokenizer fresh = testing::tokenizer_of(testing::read_file(testing::demo_path()), "tokenizer.json");
  std::mt19937 random(1);
  std::vector<std::string> texts;
  for (int i = 0; i < 300; ++i) texts.push_back(testing::random_text(random));
  std::vector<std::vector<TokenId>> ids[4];
  std::vector<std::thread> threads;
  for (auto& mine : ids) {
    threads.emplace_back([&] {
      for (const std::string& text : texts) mine.push_back(fresh.encode(text));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& mine : ids) EXPECT_EQ(mine, ids[0]);
  for (std::size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(fresh.decode(ids[0][i]), texts[i]);
}

}  // namespace
}  // namespace unicorn
