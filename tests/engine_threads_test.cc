// Engines, sessions and their threads on a random model of a few MB: what runs under AddressSanitizer and
// ThreadSanitizer, where the demo model would take minutes. That answers are right is engine_test.cc's business.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "engine/engine.h"
#include "tools/generate_model.h"

namespace unicorn {
namespace {

namespace fs = std::filesystem;

class EngineThreads : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    GenerateModelOptions o;
    o.shape = "tiny";
    o.type = "q4_0";
    o.n_threads = 2;
    o.out = path();
    const auto made = generate_model(o);
    ASSERT_TRUE(made.ok()) << made.error().message;
  }
  static void TearDownTestSuite() { fs::remove(path()); }
  static fs::path path() {
    return fs::temp_directory_path() / ("unicorn_engine_threads_" + std::to_string(::getpid()) + ".gguf");
  }
  static std::unique_ptr<Engine> load(std::size_t n_threads) {
    EngineOptions o;
    o.model = path().string();
    o.n_threads = n_threads;
    o.n_ctx = 1024;
    o.max_rows = 32;  // a prompt of 70 is three passes, and crosses the window
    o.n_sequences = 2;
    auto engine = Engine::load(o);
    UNICORN_CHECK_MSG(engine.ok(), engine.error().message);
    return std::move(engine).value();
  }
  static std::vector<TokenId> prompt(std::size_t n, std::uint32_t seed) {
    std::vector<TokenId> ids{2};
    for (; ids.size() < n; seed = seed * 1664525u + 1013904223u)
      ids.push_back(static_cast<TokenId>(10 + (seed >> 8) % 250));
    return ids;
  }
  static GenerateOptions greedy(std::uint32_t n) {
    GenerateOptions o;
    o.max_tokens = n;
    o.sampling.temperature = 0;
    o.ignore_eos = true;
    return o;
  }
  // Two sessions in turns: prefill, decode, and a second prompt that goes on from the first.
  static std::vector<std::vector<TokenId>> two_sessions(Engine& engine) {
    std::vector<std::vector<TokenId>> answers;
    Session a(engine), b(engine);
    for (const std::size_t n : {70u, 75u})
      for (Session* session : {&a, &b}) {
        const auto g = session->generate(prompt(n, session == &a ? 1 : 2), greedy(3));
        EXPECT_TRUE(g.ok()) << g.error().message;
        if (g.ok()) answers.push_back(g->ids);
      }
    return answers;
  }
};

TEST_F(EngineThreads, TwoSessionsAnswerAlikeOnAnyNumberOfThreads) {
  const auto want = two_sessions(*load(1));
  ASSERT_EQ(want.size(), 4u);
  for (const std::size_t n_threads : {2u, 4u}) EXPECT_EQ(two_sessions(*load(n_threads)), want) << n_threads;
}

TEST_F(EngineThreads, AnotherThreadCancelsAndTheSessionLivesOn) {
  const auto engine = load(3);
  Session session(*engine);
  const auto want = session.generate(prompt(40, 3), greedy(2));
  ASSERT_TRUE(want.ok());
  session.reset();
  std::stop_source source;
  GenerateOptions o = greedy(980);
  o.cancel = source.get_token();
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    source.request_stop();
  });
  const auto g = session.generate(prompt(40, 3), o);
  other.join();
  ASSERT_TRUE(g.ok()) << g.error().message;
  EXPECT_EQ(g->finish, FinishReason::cancelled);
  const auto again = session.generate(prompt(40, 3), greedy(2));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->ids, want->ids);
}

TEST_F(EngineThreads, TwoEnginesRunAtOnce) {
  std::vector<std::vector<TokenId>> first, second;
  std::thread other([&] { first = two_sessions(*load(2)); });
  second = two_sessions(*load(2));
  other.join();
  EXPECT_EQ(first, second);
}

}  // namespace
}  // namespace unicorn
