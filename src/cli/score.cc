// unicorn score: tokens in, the log-probability of each and the likeliest ones after it out.
#include "tools/score.h"

#include <fmt/format.h>

#include <cmath>
#include <memory>

#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "cli/prompt_options.h"
#include "cli/terminal.h"
#include "text/tokenizer.h"
#include "tools/npy.h"

namespace unicorn {

namespace {

struct ScoreOptions {
  ModelOptions model;
  PromptOptions prompt;
  DumpOptions dump;
  std::uint32_t top = 8;
  std::optional<std::string> logits_file;
};

// Rows per pass whose logits are wanted: more would compute no faster and hold n_vocab floats each.
constexpr std::uint32_t kOutputRows = 64;

struct Scores {
  std::vector<TokenId> ids;
  std::vector<double> logprobs;
  std::vector<std::vector<TokenLogit>> top;
};

Result<Scores> compute(Engine& engine, const ScoreOptions& options, std::vector<TokenId> ids,
                       std::optional<NpyWriter>& npy, const std::stop_token& stop) {
  Scores scores{.ids = std::move(ids), .logprobs = {}, .top = {}};
  ProgressLine line;
  UNICORN_TRY(score(
      engine, scores.ids,
      [&](const ScoredToken& token) -> Status {
        line.show(fmt::format("scored {} of {} tokens", token.pos, scores.ids.size()));
        scores.logprobs.push_back(token.logprob);
        scores.top.push_back(top_logits(token.logits, options.top));
        if (npy) return npy->append(token.logits);
        return Ok{};
      },
      stop));
  if (npy) UNICORN_TRY(npy->finish(engine.model().n_vocab));
  return scores;
}

Json to_json(const Engine& engine, const Scores& scores) {
  Json logprobs = Json::array(), tops = Json::array();
  for (const double logprob : scores.logprobs)
    logprobs.push_back(std::isfinite(logprob) ? Json(logprob) : Json(nullptr));
  for (const auto& row : scores.top) {
    Json top = Json::array();
    for (const TokenLogit& t : row) top.push_back(Json{{"id", t.id}, {"logit", t.logit}});
    tops.push_back(std::move(top));
  }
  return Json{{"ids", scores.ids},
              {"logprobs", std::move(logprobs)},
              {"logits_top", std::move(tops)},
              {"model", engine.model().name},
              {"device", engine.device_description()}};
}

std::string shown_piece(const Engine& engine, TokenId id) {
  if (engine.tokenizer() == nullptr) return {};
  return dump_json(Json(engine.tokenizer()->piece_bytes(id)));  // quoted and escaped
}

void print_table(const Engine& engine, const Scores& scores) {
  constexpr std::size_t kTopShown = 3;
  print("{:>6} {:>8} {:>9}  {:<20} then likeliest (logit)\n", "pos", "id", "logprob", "token");
  double sum = 0;
  for (std::size_t i = 0; i < scores.ids.size(); ++i) {
    if (i > 0) sum += scores.logprobs[i];
    std::string after;
    for (std::size_t t = 0; t < std::min(scores.top[i].size(), kTopShown); ++t)
      after += fmt::format("{}{} {} ({:.3f})", t == 0 ? "" : ", ", scores.top[i][t].id,
                           shown_piece(engine, scores.top[i][t].id), scores.top[i][t].logit);
    const std::string logprob = i == 0 ? "-" : fmt::format("{:.4f}", scores.logprobs[i]);
    print("{:>6} {:>8} {:>9}  {:<20} {}\n", i, scores.ids[i], logprob, shown_piece(engine, scores.ids[i]), after);
  }
  const double n = static_cast<double>(scores.ids.size()) - 1;
  if (n > 0) print("mean log-probability {:.6f}, perplexity {:.4f}\n", sum / n, std::exp(-sum / n));
}

int run(const ScoreOptions& options) {
  const Result<Prompt> prompt = read_prompt(options.prompt);
  if (!prompt.ok()) return fail_prompt(options.prompt, prompt.error());
  std::optional<NpyWriter> npy;
  if (options.logits_file) {  // before the model: an unwritable path should not cost a minute
    Result<NpyWriter> writer = NpyWriter::create(*options.logits_file);
    if (!writer.ok()) return fail(writer.error());
    npy = std::move(writer).value();
  }
  Interrupt interrupt;
  ModelOptions model = options.model;
  model.engine.max_output_rows = kOutputRows;
  const auto* given = std::get_if<std::vector<TokenId>>(&*prompt);
  if (model.engine.n_ctx == 0 && given != nullptr)
    model.engine.n_ctx = static_cast<std::uint32_t>(given->size());  // no more is needed
  Result<std::unique_ptr<Engine>> engine = load_engine(model, interrupt);
  if (!engine.ok()) return fail(engine.error());
  Result<std::vector<TokenId>> ids = given != nullptr ? *given : (*engine)->prompt(std::get<std::string>(*prompt));
  if (!ids.ok()) return fail(ids.error());
  const Result<std::unique_ptr<TensorDump>> dump = start_dump(**engine, options.dump);
  if (!dump.ok()) return fail(dump.error());

  const Result<Scores> scores = compute(**engine, options, *std::move(ids), npy, interrupt.token());
  if (!scores.ok()) return fail(scores.error());
  if (options.model.json)
    write_json(to_json(**engine, *scores));
  else
    print_table(**engine, *scores);
  if (const Status dumped = finish_dump(**engine, dump->get(), options.dump); !dumped.ok()) return fail(dumped.error());
  return kExitOk;
}

}  // namespace

Action add_score(CLI::App& app) {
  constexpr std::uint64_t kMaxTop = 1 << 20;
  auto options = std::make_shared<ScoreOptions>();
  add_model_options(app, options->model);
  add_prompt_options(app, options->prompt);
  add_count(app, "--top", options->top, "How many of the likeliest next tokens to list at each position (default: 8)",
            0, kMaxTop);
  add_text(app, "--logits", "FILE.npy", options->logits_file, "Write all logits there: float32 [tokens, n_vocab]");
  add_dump_options(app, options->dump);
  app.footer(
      "Examples:\n"
      "  unicorn score --prompt 'The sky is blue'\n"
      "  unicorn score model.gguf --ids 2,651,7217,563 --top 8 --json\n"
      "  unicorn score model/ --ids @ids.txt --logits logits.npy\n\n"
      "logprobs[i] is the logarithm of the probability of ids[i] given those before it; logits_top[i] is what comes "
      "after\n"
      "ids[i]. A text gets a BOS token in front; ids are taken as they are.");
  return [options] { return run(*options); };
}

}  // namespace unicorn
