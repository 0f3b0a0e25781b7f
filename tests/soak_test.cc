// Minutes of sessions that come and go on the demo model: random prompts, sampled and greedy, cancelled from the sink and
// from another thread. What must not happen: an error, or memory that grows.
//   UNICORN_SOAK_SECONDS   how long (default 300)
#include <gtest/gtest.h>
#include <malloc.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <random>
#include <thread>

#include "engine/engine.h"

namespace unicorn {
namespace {

using Clock = std::chrono::steady_clock;

// Bytes this process keeps in memory that no file backs.
std::size_t resident_bytes() {
  ::malloc_trim(0);  // what is free is not leaked
  std::ifstream statm("/proc/self/statm");
  std::size_t total = 0, resident = 0, shared = 0;
  statm >> total >> resident >> shared;
  return (resident - shared) * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

TEST(Soak, SessionsComeAndGoAndMemoryStays) {
  const char* wanted = std::getenv("UNICORN_SOAK_SECONDS");
  const auto seconds = std::chrono::seconds(wanted != nullptr ? std::atoi(wanted) : 300);
  EngineOptions options;
  options.model = UNICORN_DEMO_MODEL_DIR;
  options.n_threads = 2;
  options.n_ctx = 512;
  options.n_sequences = 3;
  const auto loaded = Engine::load(options);
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  Engine& engine = **loaded;

  std::mt19937 random(1);
  const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
  std::optional<Session> sessions[3];
  std::size_t n_generations = 0, n_cancelled = 0, n_tokens = 0;
  const auto generate = [&] {
    std::optional<Session>& session = sessions[below(3)];
    if (!session || below(4) == 0) {
      session.reset();  // gives its sequence back before the next one asks for it
      session.emplace(engine);
    }
    std::vector<TokenId> prompt{2};
    for (std::uint32_t n = below(12) == 0 ? below(500) : below(60); n > 0; --n)
      prompt.push_back(static_cast<TokenId>(262 + below(7900)));
    GenerateOptions o;
    o.max_tokens = 1 + below(40);
    o.sampling.temperature = below(2) == 0 ? 0.0f : 1.0f;
    o.sampling.seed = 1 + below(1000);
    o.ignore_eos = below(2) == 0;
    std::stop_source source;
    o.cancel = source.get_token();
    std::thread other;
    if (below(5) == 0)
      other = std::thread([&source, us = below(40'000)] {
        std::this_thread::sleep_for(std::chrono::microseconds(us));
        source.request_stop();
      });
    const std::uint32_t refuse_after = below(5) == 0 ? below(5) : ~0u;
    std::uint32_t n_pieces = 0;
    const auto g = session->generate(prompt, o, [&](std::string_view) { return n_pieces++ < refuse_after; });
    if (other.joinable()) other.join();
    ASSERT_TRUE(g.ok()) << g.error().message;
    ++n_generations;
    n_cancelled += g->finish == FinishReason::cancelled;
    n_tokens += g->ids.size();
  };

  // First every KV block and buffer is touched once: three full contexts at a time, and a quarter of the time of all
  // else. From then on memory may vary by a few pages, not grow.
  for (std::optional<Session>& session : sessions) {
    session.emplace(engine);
    std::vector<TokenId> prompt{2};
    while (prompt.size() < options.n_ctx - 8) prompt.push_back(static_cast<TokenId>(262 + below(7900)));
    GenerateOptions o;
    o.max_tokens = 16;
    o.ignore_eos = true;
    ASSERT_TRUE(session->generate(prompt, o).ok());
  }
  const auto start = Clock::now();
  while (Clock::now() - start < seconds / 4 && !HasFatalFailure()) generate();
  const std::size_t before = resident_bytes();
  while (Clock::now() - start < seconds && !HasFatalFailure()) generate();
  const std::size_t after = resident_bytes();
  std::printf("  %zu generations, %zu of them cancelled, %zu tokens; %.1f MB, then %.1f MB\n", n_generations,
              n_cancelled, n_tokens, static_cast<double>(before) / 1e6, static_cast<double>(after) / 1e6);
  EXPECT_GT(n_cancelled, 0u);
  EXPECT_LE(after, before + (2u << 20));
}

}  // namespace
}  // namespace unicorn
