#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "engine/draft.h"
#include "engine/engine.h"
#include "engine/out_of_memory.h"
#include "engine/sampler.h"
#include "engine/stop_rules.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"

namespace unicorn {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Tokens → text for the caller: whole UTF-8, stop strings cut off.
class Answer {
 public:
  Answer(const Tokenizer* tokenizer, const GenerateOptions& options, const Session::TextSink& sink)
      : stops_(options.stop), sink_(sink) {
    if (tokenizer != nullptr) detokenizer_.emplace(*tokenizer, !options.ignore_eos);
  }
  bool push(TokenId id) { return emit(detokenizer_ ? stops_.push(detokenizer_->push(id)) : std::string{}); }
  bool finish() {
    bool more = !detokenizer_ || emit(stops_.push(detokenizer_->finish()));
    return emit(stops_.finish()) && more;
  }
  bool stopped() const { return stops_.found(); }
  std::string take() { return std::move(text_); }

 private:
  bool emit(const std::string& piece) {
    if (piece.empty()) return true;
    text_ += piece;
    return !sink_ || sink_(piece);
  }

  std::optional<Detokenizer> detokenizer_;
  StopStrings stops_;
  const Session::TextSink& sink_;
  std::string text_;
};

}  // namespace

std::string_view finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::context_full:
      return "context_full";
    case FinishReason::cancelled:
      return "cancelled";
  }
  return "unknown";
}

double Generation::prefill_tps() const { return prefill_s > 0 ? static_cast<double>(n_prefilled) / prefill_s : 0; }

double Generation::decode_tps() const {
  return decode_s > 0 && ids.size() > 1 ? static_cast<double>(ids.size() - 1) / decode_s : 0;
}

struct Session::Impl {
  Engine* engine;
  std::optional<Sequence> sequence;
};

Session::Session(Engine& engine) : impl_(std::make_unique<Impl>(Impl{&engine, std::nullopt})) {}
Session::Session(Session&&) noexcept = default;
Session::~Session() = default;

std::span<const TokenId> Session::cached() const {
  return impl_->sequence ? impl_->sequence->ids() : std::span<const TokenId>{};
}

void Session::reset() { impl_->sequence.reset(); }

Result<Generation> Session::generate(std::span<const TokenId> prompt, const GenerateOptions& options,
                                     const TextSink& sink) {
  return or_out_of_memory([&] { return run(prompt, options, sink); });
}

Result<Generation> Session::run(std::span<const TokenId> prompt, const GenerateOptions& options, const TextSink& sink) {
  Engine& engine = *impl_->engine;
  const std::size_t n_ctx = engine.options().n_ctx;
  UNICORN_TRY(check_sampling(options.sampling, engine.model().n_vocab));
  if (prompt.empty()) return Error{ErrorCode::invalid_argument, "the prompt is empty"};
  if (prompt.size() > n_ctx)
    return Error{ErrorCode::context_full,
                 fmt::format("the prompt has {} tokens, the context holds {}; raise --ctx", prompt.size(), n_ctx)};
  if (!impl_->sequence) {
    UNICORN_ASSIGN(impl_->sequence, engine.new_sequence());
  }
  Sequence& sequence = *impl_->sequence;

  Generation g;
  g.prompt_ids.assign(prompt.begin(), prompt.end());
  const std::span<const TokenId> known = sequence.ids();
  const auto differs = std::mismatch(known.begin(), known.end(), prompt.begin(), prompt.end()).first;
  // The last prompt token is always computed: its logits are what the answer begins with.
  const std::size_t shared = std::min(static_cast<std::size_t>(differs - known.begin()), prompt.size() - 1);
  g.n_cached = sequence.truncate(shared);

  Sampler sampler(options.sampling);
  g.seed = sampler.seed();
  std::vector<TokenId> history = g.prompt_ids;  // with what was sampled so far
  std::vector<TokenId> sampled;                 // by the latest pass, in order
  std::vector<TokenId> draft;                   // what that pass computed beyond the token it had to
  // Row i follows the first i guesses; it counts while those were what was sampled.
  const auto sample = [&](const RowOutput& row) {
    const std::size_t n = sampled.size();
    if (n > 0 && (n > draft.size() || sampled[n - 1] != draft[n - 1])) return;
    sampled.push_back(sampler.sample(row.logits, history));
    history.push_back(sampled.back());
  };
  const auto advance = [&](std::span<const TokenId> ids) {
    const Work work{&sequence, ids, draft.empty() ? Outputs::last : Outputs::all};
    sampled.clear();
    return engine.forward({&work, 1}, sample, options.cancel);
  };
  const auto cancelled = [](const Status& status) {
    return !status.ok() && status.error().code == ErrorCode::cancelled;
  };

  auto start = Clock::now();
  Status status = advance(prompt.subspan(g.n_cached));
  g.prefill_s = seconds_since(start);
  g.n_prefilled = sequence.ids().size() - g.n_cached;
  if (cancelled(status)) {
    g.finish = FinishReason::cancelled;
    return g;
  }
  UNICORN_TRY(std::move(status));

  Answer answer(engine.tokenizer(), options, sink);
  const std::span<const TokenId> stops = engine.stop_ids();
  g.finish = FinishReason::length;
  DraftGauge gauge;
  std::size_t at = 0;  // in `sampled`
  start = Clock::now();
  while (g.ids.size() < options.max_tokens) {
    const TokenId next = sampled[at++];
    if (!options.ignore_eos && std::find(stops.begin(), stops.end(), next) != stops.end()) {
      g.finish = FinishReason::stop;
      break;
    }
    g.ids.push_back(next);
    g.decode_s = seconds_since(start);
    if (!answer.push(next) || options.cancel.stop_requested()) {
      g.finish = FinishReason::cancelled;
      break;
    }
    if (answer.stopped()) {
      g.finish = FinishReason::stop;
      break;
    }
    if (g.ids.size() == options.max_tokens) break;
    if (at < sampled.size()) continue;
    const std::size_t n_computed = sequence.ids().size();
    if (n_computed == n_ctx) {
      g.finish = FinishReason::context_full;
      break;
    }
    // One pass holds them all: only then are the rows of wrong guesses sure to be given up without losing others.
    const std::size_t pass_rows = std::min(engine.options().max_rows, engine.options().max_output_rows);
    const std::size_t room = std::min({std::size_t{options.max_draft}, pass_rows - 1, n_ctx - n_computed - 1,
                                       std::size_t{options.max_tokens} - g.ids.size() - 1});
    draft.clear();
    if (room > 0 && gauge.should_guess()) draft = look_up_draft(history, room);
    std::vector<TokenId> ids{next};
    ids.insert(ids.end(), draft.begin(), draft.end());
    const auto pass = Clock::now();
    status = advance(ids);
    at = 0;
    if (cancelled(status)) {
      sequence.truncate(n_computed);
      g.finish = FinishReason::cancelled;
      break;
    }
    UNICORN_TRY(std::move(status));
    gauge.passed(draft.size(), sampled.size(), seconds_since(pass));
    g.n_drafted += draft.size();
    g.n_accepted += sampled.size() - 1;
    const std::size_t n_right = n_computed + sampled.size();
    UNICORN_CHECK(sequence.truncate(n_right) == n_right);  // without the rows of wrong guesses
  }
  sequence.truncate(prompt.size() + g.ids.size());  // and of what came after the end
  if (!answer.finish()) g.finish = FinishReason::cancelled;
  if (answer.stopped()) g.finish = FinishReason::stop;
  g.text = answer.take();
  return g;
}

}  // namespace unicorn
