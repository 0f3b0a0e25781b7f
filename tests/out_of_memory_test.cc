// Memory runs out at every allocation in turn: the engine says so and goes on living. A program of its own, because it
// replaces operator new.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

#include "engine/engine.h"
#include "text/chat_template.h"

namespace {

constexpr long kNever = -1;
thread_local long n_left = kNever;  // allocations of this thread until one fails

}  // namespace

void* operator new(std::size_t n) {
  if (n_left == 0) {
    n_left = kNever;
    throw std::bad_alloc();
  }
  if (n_left > 0) --n_left;
  if (void* p = std::malloc(n > 0 ? n : 1)) return p;
  throw std::bad_alloc();
}
// Not inlined: g++ 12 then takes free() for the wrong partner of new.
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }

namespace unicorn {
namespace {

// Calls f with its first, second, third … allocation failing until one call needs no more of them; returns how many
// failed. f returns a Result.
template <class F>
int fail_each_allocation(F f) {
  for (int n = 0;; ++n) {
    n_left = n;
    auto result = f();
    const bool failed = n_left == kNever;
    n_left = kNever;
    if (!failed) {
      EXPECT_TRUE(result.ok());
      return n;
    }
    // Some allocations can be done without (a sort falls back to one in place).
    if (!result.ok()) {
      EXPECT_EQ(result.error().code, ErrorCode::out_of_memory) << n << ": " << result.error().message;
    }
  }
}

class OutOfMemory : public ::testing::Test {
 protected:
  static EngineOptions options() {
    EngineOptions o;
    o.model = UNICORN_DEMO_MODEL_DIR;
    o.n_threads = 1;  // the only thread is the one whose allocations fail
    o.n_ctx = 128;
    o.max_rows = 16;
    return o;
  }
};

TEST_F(OutOfMemory, AnAnswerCanBeAskedForAgain) {
  auto engine = Engine::load(options());
  ASSERT_TRUE(engine.ok()) << engine.error().message;
  const std::vector<ChatMessage> messages{{"user", "Hello"}};
  const std::vector<TokenId> prompt = (*engine)->chat_prompt(messages).value();
  GenerateOptions how;
  how.max_tokens = 4;
  how.sampling.temperature = 0;
  how.sampling.repetition_penalty = 1.1f;
  Session session(**engine);
  const std::vector<TokenId> want = session.generate(prompt, how).value().ids;
  const int n = fail_each_allocation([&]() -> Result<Generation> {
    session.reset();
    return session.generate(prompt, how);
  });
  EXPECT_GT(n, 20);
  EXPECT_EQ(session.generate(prompt, how).value().ids, want);
  EXPECT_GT(fail_each_allocation([&] { return (*engine)->chat_prompt(messages); }), 0);
  EXPECT_GT(fail_each_allocation([&] { return (*engine)->prompt("Hello"); }), 0);
}

TEST_F(OutOfMemory, ASequenceKeepsWhatWasFinished) {
  auto engine = Engine::load(options());
  ASSERT_TRUE(engine.ok()) << engine.error().message;
  const std::vector<TokenId> ids{2,   300, 301, 302, 303, 304, 305, 306, 307,
                                 308, 309, 310, 311, 312, 313, 314, 315, 316};
  const auto last_logits = [&](Sequence& s) {
    std::vector<float> logits;
    const Work work{&s, std::span(ids).subspan(s.ids().size()), Outputs::last};
    const Status status = (*engine)->forward(
        {&work, 1}, [&](const RowOutput& row) { logits.assign(row.logits.begin(), row.logits.end()); });
    return status.ok() ? Result<std::vector<float>>(std::move(logits)) : Result<std::vector<float>>(status.error());
  };
  std::vector<float> want;
  {
    Sequence s = (*engine)->new_sequence().value();
    want = last_logits(s).value();
  }
  for (int n = 0;; ++n) {
    Sequence s = (*engine)->new_sequence().value();
    n_left = n;
    const bool ok = last_logits(s).ok();
    const bool failed = n_left == kNever;
    n_left = kNever;
    if (!failed) break;
    if (ok) continue;
    if (s.ids().size() == ids.size()) s.truncate(ids.size() - 1);  // the sink failed, behind the last pass
    EXPECT_EQ(last_logits(s).value(), want) << n;
  }
  EXPECT_GT(fail_each_allocation([&] { return (*engine)->new_sequence(); }), 0);
}

}  // namespace
}  // namespace unicorn
