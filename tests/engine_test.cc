// The engine as its users see it, on the demo model: sessions, prefixes, limits, cancellation, many sequences, long prompts.
#include "engine/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <thread>

#include "plan/backend.h"
#include "text/chat_template.h"

namespace unicorn {
namespace {

std::unique_ptr<Engine> load(EngineOptions options = {}) {
  if (options.model.empty()) options.model = UNICORN_DEMO_MODEL_DIR;
  if (options.n_threads == 0) options.n_threads = 2;
  Result<std::unique_ptr<Engine>> engine = Engine::load(options);
  UNICORN_CHECK_MSG(engine.ok(), engine.error().message);
  return std::move(engine).value();
}

EngineOptions with_slice(const char* slice, std::optional<DType> weights = {}) {
  EngineOptions o;
  o.slice = slice;
  o.weights = weights;
  return o;
}

std::string load_error(EngineOptions options) {
  if (options.model.empty()) options.model = UNICORN_DEMO_MODEL_DIR;
  const auto engine = Engine::load(options);
  return engine.ok() ? "" : engine.error().message;
}

GenerateOptions greedy(std::uint32_t n) {
  GenerateOptions o;
  o.max_tokens = n;
  o.sampling.temperature = 0;
  return o;
}

std::vector<TokenId> some_ids(std::size_t n, std::uint32_t seed = 1) {
  std::vector<TokenId> ids{2};
  while (ids.size() < n) {
    seed = seed * 1664525u + 1013904223u;
    ids.push_back(static_cast<TokenId>(262 + (seed >> 8) % 7900));
  }
  return ids;
}

std::vector<float> last_logits(Engine& engine, std::span<const TokenId> ids) {
  Result<Sequence> s = engine.new_sequence();
  UNICORN_CHECK_MSG(s.ok(), s.error().message);
  std::vector<float> logits;
  const Work work{&*s, ids, Outputs::last};
  const Status status =
      engine.forward({&work, 1}, [&](const RowOutput& row) { logits.assign(row.logits.begin(), row.logits.end()); });
  UNICORN_CHECK_MSG(status.ok(), status.error().message);
  return logits;
}

TEST(Session, AnswersAndStopsAtTheEndOfTheTurn) {
  const auto engine = load();
  Session session(*engine);
  const std::vector<ChatMessage> messages{{"user", "Hello"}};
  const auto prompt = engine->chat_prompt(messages);
  ASSERT_TRUE(prompt.ok());
  std::string streamed;
  const auto g = session.generate(*prompt, greedy(100), [&](std::string_view text) {
    streamed += text;
    return true;
  });
  ASSERT_TRUE(g.ok()) << g.error().message;
  EXPECT_EQ(g->text, "Hello! I am a very small demo model. Ask me what a word means, or give me a small sum.");
  EXPECT_EQ(streamed, g->text);
  EXPECT_EQ(g->finish, FinishReason::stop);
  EXPECT_EQ(g->ids.size(), 20u);
}

TEST(Session, APrefixInTheCacheChangesNothingButTheWork) {
  const auto engine = load();
  const std::vector<TokenId> prompt = some_ids(300);
  Session cold(*engine);
  const auto want = cold.generate(prompt, greedy(20));
  ASSERT_TRUE(want.ok());
  cold.reset();
  Session warm(*engine);
  for (std::size_t n : {1u, 50u, 200u, 299u, 300u}) {
    const auto g = warm.generate(std::span(prompt).first(n), greedy(5));
    ASSERT_TRUE(g.ok());
  }
  const auto again = warm.generate(prompt, greedy(20));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->n_cached, 299u);
  EXPECT_EQ(again->ids, want->ids);
}

// Greedy answers of a small model repeat themselves, so guesses are right often; sampled ones are wrong often.
TEST(Session, GuessingAheadChangesNothingButTheWork) {
  for (const DType kv : {DType::f16, DType::q8_0}) {
    EngineOptions engine_options;
    engine_options.kv = kv;
    const auto engine = load(engine_options);
    std::size_t n_accepted = 0, n_drafted = 0;
    for (const float temperature : {0.0f, 0.7f})
      for (std::uint32_t seed : {1u, 2u, 3u}) {
        std::vector<TokenId> prompt = some_ids(40, seed);
        prompt.insert(prompt.end(), prompt.begin() + 1, prompt.end());  // something to find
        GenerateOptions options = greedy(300);  // beyond the window of the sliding layers
        options.ignore_eos = true;
        options.sampling.temperature = temperature;
        options.sampling.seed = seed;
        options.sampling.repetition_penalty = temperature > 0 ? 1.1f : 1.0f;
        options.max_draft = 0;
        Session plain(*engine);
        const auto want = plain.generate(prompt, options);
        ASSERT_TRUE(want.ok());
        EXPECT_EQ(want->n_drafted, 0u);
        plain.reset();
        Session guessing(*engine);
        options.max_draft = 7;
        const auto g = guessing.generate(prompt, options);
        ASSERT_TRUE(g.ok());
        EXPECT_EQ(g->ids, want->ids);
        EXPECT_EQ(g->text, want->text);
        // What is cached afterwards is the answer and nothing else: going on from it, too, gives the same.
        std::vector<TokenId> longer = prompt;
        longer.insert(longer.end(), g->ids.begin(), g->ids.end());
        ASSERT_LE(guessing.cached().size(), longer.size());
        EXPECT_TRUE(std::equal(guessing.cached().begin(), guessing.cached().end(), longer.begin()));
        longer.push_back(500);
        options.max_tokens = 8;
        const auto more = guessing.generate(longer, options);
        ASSERT_TRUE(more.ok());
        EXPECT_GE(more->n_cached, longer.size() - 2);
        guessing.reset();
        options.max_draft = 0;
        Session fresh(*engine);
        EXPECT_EQ(fresh.generate(longer, options)->ids, more->ids);
        n_drafted += g->n_drafted;
        n_accepted += g->n_accepted;
      }
    EXPECT_GT(n_accepted, 100u);
    EXPECT_LT(n_accepted, n_drafted);
  }
}

TEST(Session, GuessesEndWhereTheAnswerEnds) {
  const auto engine = load();
  // The answer is in the prompt, so that a guess runs beyond its end.
  const std::vector<ChatMessage> hello{{"user", "Hello"}};
  const auto once = engine->chat_prompt(hello);
  ASSERT_TRUE(once.ok());
  Session first(*engine);
  GenerateOptions options = greedy(100);
  options.max_draft = 0;
  const auto answer = first.generate(*once, options);
  ASSERT_TRUE(answer.ok());
  first.reset();
  const std::vector<ChatMessage> again{{"user", "Hello"}, {"assistant", answer->text}, {"user", "Hello"}};
  const auto prompt = engine->chat_prompt(again);
  ASSERT_TRUE(prompt.ok());
  for (const std::uint32_t n : {100u, 1u, 2u, 5u, 0u})
    for (const char* stop : {"", "small"}) {
      options.max_tokens = n;
      options.stop = *stop == 0 ? std::vector<std::string>{} : std::vector<std::string>{stop};
      options.max_draft = 0;
      Session plain(*engine);
      const auto want = plain.generate(*prompt, options);
      ASSERT_TRUE(want.ok());
      plain.reset();
      options.max_draft = 7;
      Session guessing(*engine);
      const auto g = guessing.generate(*prompt, options);
      ASSERT_TRUE(g.ok());
      EXPECT_EQ(g->ids, want->ids);
      EXPECT_EQ(g->text, want->text);
      EXPECT_EQ(g->finish, want->finish);
      EXPECT_LE(guessing.cached().size(), prompt->size() + g->ids.size());
    }
}

TEST(Session, APromptThatDivergesBehindTheWindowStartsOver) {
  EngineOptions options;
  options.max_rows = 16;
  const auto engine = load(options);
  const std::vector<TokenId> long_prompt = some_ids(600);
  std::vector<TokenId> other(long_prompt.begin(), long_prompt.begin() + 100);
  other.push_back(500);
  Session session(*engine);
  const auto want = session.generate(other, greedy(12));
  ASSERT_TRUE(want.ok());
  session.reset();
  ASSERT_TRUE(session.generate(long_prompt, greedy(3)).ok());
  const auto g = session.generate(other, greedy(12));
  ASSERT_TRUE(g.ok());
  EXPECT_EQ(g->n_cached, 0u) << "the sliding layers' rows before position 101 were given back";
  EXPECT_EQ(g->ids, want->ids);
}

TEST(Session, StopStringsAreCutOff) {
  const auto engine = load();
  Session session(*engine);
  const std::vector<ChatMessage> messages{{"user", "Hello"}};
  GenerateOptions options = greedy(100);
  options.stop = {"demo model", "never"};
  const auto g = session.generate(*engine->chat_prompt(messages), options);
  ASSERT_TRUE(g.ok());
  EXPECT_EQ(g->text, "Hello! I am a very small ");
  EXPECT_EQ(g->finish, FinishReason::stop);
}

TEST(Session, AFullContextEndsTheAnswer) {
  EngineOptions options;
  options.n_ctx = 40;
  const auto engine = load(options);
  Session session(*engine);
  GenerateOptions o = greedy(1000);
  o.ignore_eos = true;
  const auto g = session.generate(some_ids(30), o);
  ASSERT_TRUE(g.ok()) << g.error().message;
  EXPECT_EQ(g->finish, FinishReason::context_full);
  EXPECT_EQ(g->ids.size(), 11u) << "ten more rows fit, and the last one's logits are still an answer";
  const auto too_long = session.generate(some_ids(41), o);
  ASSERT_FALSE(too_long.ok());
  EXPECT_EQ(too_long.error().code, ErrorCode::context_full);
  EXPECT_TRUE(session.generate(some_ids(40), greedy(1)).ok());
}

TEST(Session, CancellationStopsBetweenTokensAndTheSessionLivesOn) {
  const auto engine = load();
  Session session(*engine);
  const std::vector<TokenId> prompt = some_ids(50);
  int pieces = 0;
  GenerateOptions o = greedy(100);
  o.ignore_eos = true;
  const auto g = session.generate(prompt, o, [&](std::string_view) { return ++pieces < 3; });
  ASSERT_TRUE(g.ok());
  EXPECT_EQ(g->finish, FinishReason::cancelled);
  EXPECT_LT(g->ids.size(), 20u);

  std::stop_source source;
  source.request_stop();
  o.cancel = source.get_token();
  const auto at_once = session.generate(prompt, o);
  ASSERT_TRUE(at_once.ok());
  EXPECT_EQ(at_once->finish, FinishReason::cancelled);
  EXPECT_TRUE(at_once->ids.empty());
  EXPECT_TRUE(session.generate(prompt, greedy(3)).ok());
}

TEST(Session, ACancelledPrefillCountsWhatItComputed) {
  class StopsInTheThirdPass final : public StepObserver {
   public:
    void on_step(std::uint32_t step, TensorId, std::span<const float>, std::size_t) override {
      if (step == 0 && ++passes_ == 3) source.request_stop();
    }
    std::stop_source source;

   private:
    int passes_ = 0;
  };
  EngineOptions options;
  options.max_rows = 16;
  const auto engine = load(options);
  Session session(*engine);
  ASSERT_TRUE(session.generate(some_ids(10), greedy(1)).ok());
  StopsInTheThirdPass observer;
  engine->observe(&observer);
  GenerateOptions o = greedy(5);
  o.cancel = observer.source.get_token();
  const std::vector<TokenId> prompt = some_ids(100);
  const auto g = session.generate(prompt, o);
  engine->observe(nullptr);
  ASSERT_TRUE(g.ok());
  EXPECT_EQ(g->finish, FinishReason::cancelled);
  EXPECT_EQ(g->n_cached, 10u);
  EXPECT_EQ(g->n_prefilled, 48u) << "three passes of 16 rows";
  EXPECT_DOUBLE_EQ(g->prefill_tps(), 48 / g->prefill_s);
  const auto rest = session.generate(prompt, greedy(1));
  ASSERT_TRUE(rest.ok());
  EXPECT_EQ(rest->n_cached, 58u) << "what was computed is not lost";
  EXPECT_EQ(rest->n_prefilled, 42u);
}

TEST(Session, BadRequestsAreErrors) {
  const auto engine = load();
  Session session(*engine);
  EXPECT_FALSE(session.generate({}, greedy(1)).ok());
  EXPECT_FALSE(session.generate(std::vector<TokenId>{2, 8256}, greedy(1)).ok());
  EXPECT_FALSE(session.generate(std::vector<TokenId>{-1}, greedy(1)).ok());
  GenerateOptions o = greedy(1);
  o.sampling.top_p = 2;
  EXPECT_FALSE(session.generate(some_ids(3), o).ok());
  EXPECT_TRUE(session.generate(std::vector<TokenId>{2, 8255}, greedy(1)).ok())
      << "the embedding's last row is a token like any other";
}

TEST(Engine, TheSameRowHasTheSameBits) {
  const std::vector<TokenId> ids = some_ids(400);
  std::vector<float> want;
  for (const DType kv : {DType::f16, DType::q8_0})
    for (const std::optional<DType> weights : {std::optional<DType>{}, std::optional<DType>{DType::q8_0}}) {
      want.clear();
      for (const std::size_t n_threads : {1u, 2u, 3u})
        for (const std::uint32_t max_rows : {512u, 61u, 1u}) {
          if (max_rows == 1 && n_threads != 2) continue;
          EngineOptions o;
          o.n_threads = n_threads;
          o.max_rows = max_rows;
          o.kv = kv;
          o.weights = weights;
          const auto engine = load(o);
          const std::vector<float> logits = last_logits(*engine, ids);
          if (want.empty()) want = logits;
          EXPECT_EQ(logits, want) << n_threads << " threads, chunks of " << max_rows << ", kv " << dtype_name(kv);
        }
    }
}

// 32,768 tokens of a random small Gemma 3n: tables of a thousand blocks, windows that moved on hundreds of times.
TEST(Engine, ALongPromptIsTheSameInAnyChunks) {
  std::vector<TokenId> ids = some_ids(32768);
  for (TokenId& id : ids) id %= 100;
  std::vector<float> want;
  for (const auto& [max_rows, n_threads] : {std::pair{512u, 2u}, std::pair{777u, 1u}}) {
    EngineOptions o;
    o.model = UNICORN_SOURCE_DIR "/tests/data/golden/tiny/gemma3n-period5";
    o.n_ctx = 32768;
    o.max_rows = max_rows;
    o.n_threads = n_threads;
    const std::vector<float> logits = last_logits(*load(o), ids);
    ASSERT_TRUE(std::all_of(logits.begin(), logits.end(), [](float v) { return std::isfinite(v); }));
    if (want.empty()) want = logits;
    EXPECT_EQ(logits, want) << "chunks of " << max_rows << ", " << n_threads << " threads";
  }
}

TEST(Engine, SixteenSequencesAnswerAsOneDoes) {
  EngineOptions o;
  o.n_sequences = 16;
  o.max_rows = 96;
  o.n_ctx = 512;
  const auto engine = load(o);
  std::vector<std::vector<TokenId>> prompts;
  std::vector<std::vector<float>> alone;
  for (std::uint32_t i = 0; i < 16; ++i) {
    prompts.push_back(some_ids(20 + 13 * i, i + 1));
    alone.push_back(last_logits(*engine, prompts.back()));
  }
  std::vector<Sequence> sequences;
  for (int i = 0; i < 16; ++i) sequences.push_back(std::move(engine->new_sequence()).value());
  EXPECT_FALSE(engine->new_sequence().ok());
  std::vector<Work> work;
  for (std::size_t i = 0; i < 16; ++i) work.push_back({&sequences[i], prompts[i], Outputs::last});
  std::size_t n = 0;
  ASSERT_TRUE(engine
                  ->forward(work,
                            [&](const RowOutput& row) {
                              EXPECT_TRUE(std::equal(row.logits.begin(), row.logits.end(), alone[row.work].begin()))
                                  << "sequence " << row.work;
                              EXPECT_EQ(row.pos, prompts[row.work].size() - 1);
                              ++n;
                            })
                  .ok());
  EXPECT_EQ(n, 16u);
}

TEST(Engine, EveryRowOnRequestEqualsTheLastRowAlone) {
  const auto engine = load();
  const std::vector<TokenId> ids = some_ids(150);
  std::vector<std::vector<float>> rows;
  {
    Result<Sequence> s = engine->new_sequence();
    const Work work{&*s, ids, Outputs::all};
    ASSERT_TRUE(engine
                    ->forward({&work, 1},
                              [&](const RowOutput& row) { rows.emplace_back(row.logits.begin(), row.logits.end()); })
                    .ok());
  }
  ASSERT_EQ(rows.size(), ids.size());
  for (std::size_t n : {1u, 77u, 150u}) EXPECT_EQ(last_logits(*engine, std::span(ids).first(n)), rows[n - 1]) << n;
}

TEST(Engine, TwoEnginesLiveInOneProcess) {
  const auto a = load(), b = load(with_slice("small"));
  const std::vector<TokenId> ids = some_ids(60);
  const std::vector<float> want_a = last_logits(*a, ids), want_b = last_logits(*b, ids);
  EXPECT_NE(want_a, want_b);
  std::thread other([&] {
    for (int i = 0; i < 5; ++i) EXPECT_EQ(last_logits(*b, ids), want_b);
  });
  for (int i = 0; i < 5; ++i) EXPECT_EQ(last_logits(*a, ids), want_a);
  other.join();
}

TEST(Engine, BadOptionsAreNamed) {
  const auto with = [](auto change) {
    EngineOptions o;
    change(o);
    return load_error(o);
  };
  EXPECT_NE(with([](EngineOptions& o) { o.model = "/nonexistent.gguf"; }).find("/nonexistent.gguf"), std::string::npos);
  EXPECT_NE(with([](EngineOptions& o) { o.device = "gpu"; }).find("'gpu'"), std::string::npos);
  EXPECT_NE(with([](EngineOptions& o) { o.slice = "ffn=9999"; }).find("1024"), std::string::npos);
  EXPECT_NE(with([](EngineOptions& o) { o.kv = DType::q4_0; }).find("q4_0"), std::string::npos);
  EXPECT_NE(with([](EngineOptions& o) { o.n_ctx = 4'000'000'000u; }).find("GB"), std::string::npos);
}

TEST(Engine, LoadingCanBeGivenUp) {
  EngineOptions o;
  o.model = UNICORN_DEMO_MODEL_DIR;
  o.progress = [](double) { return false; };
  const auto engine = Engine::load(o);
  ASSERT_FALSE(engine.ok());
  EXPECT_EQ(engine.error().code, ErrorCode::cancelled);
}

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
  double ab = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    ab += double{a[i]} * double{b[i]};
    aa += double{a[i]} * double{a[i]};
    bb += double{b[i]} * double{b[i]};
  }
  return ab / std::sqrt(aa * bb);
}

// The same weights on both devices: all that differs is the rounding of activations to 8 bits, a relative error of
// about 0.4 % per product that largely cancels. A wrong block layout or scale leaves no correlation at all.
TEST(Engine, EveryWeightTypeRunsAsOnTheReference) {
  const std::vector<TokenId> ids = some_ids(12);
  for (std::size_t t = 0; t < kNDTypes; ++t) {
    const auto dtype = static_cast<DType>(t);
    for (const char* slice : {"full", "small"}) {
      EngineOptions o = with_slice(slice, dtype);
      o.n_ctx = 64;
      const std::vector<float> got = last_logits(*load(o), ids);
      o.device = "reference";
      EXPECT_GT(cosine(got, last_logits(*load(o), ids)), 0.99) << dtype_name(dtype) << " " << slice;
    }
  }
}

}  // namespace
}  // namespace unicorn
