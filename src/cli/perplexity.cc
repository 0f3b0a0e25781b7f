// unicorn perplexity: how well a model predicts a text.
#include <fmt/format.h>

#include <cmath>
#include <memory>

#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "cli/terminal.h"
#include "text/tokenizer.h"
#include "tools/score.h"

namespace unicorn {

namespace {

struct PerplexityOptions {
  ModelOptions model;
  std::optional<std::string> file, ids;
  std::uint64_t max_tokens = 0;  // 0: all
  std::optional<TokenId> bos;
};

constexpr std::uint32_t kOutputRows = 64;  // as in score.cc

struct Input {  // one of the two
  std::vector<TokenId> ids;
  std::string text;
};

// Read before the model is, so that a wrong name or id does not cost the loading of one.
Result<Input> read_input(const PerplexityOptions& options) {
  Input input;
  if (options.ids) {
    UNICORN_ASSIGN(input.ids, read_ids(*options.ids));
  } else {
    UNICORN_ASSIGN(input.text, read_text(*options.file));
  }
  return input;
}

// What is to be scored, without BOS: every window gets its own.
Result<std::vector<TokenId>> ids_of(const Engine& engine, const Input& input) {
  if (!input.ids.empty()) return input.ids;
  const Tokenizer* tokenizer = engine.tokenizer();
  if (tokenizer == nullptr)
    return Error{ErrorCode::not_found,
                 fmt::format("{}: came without a tokenizer; pass token ids with --ids", engine.model().path)};
  return tokenizer->encode(input.text, {.add_bos = false, .parse_special = true});
}

Result<TokenId> bos_of(const Engine& engine, const PerplexityOptions& options) {
  if (options.bos) return *options.bos;
  if (engine.tokenizer() != nullptr && engine.tokenizer()->vocab().bos >= 0) return engine.tokenizer()->vocab().bos;
  return Error{ErrorCode::not_found,
               fmt::format("{}: its BOS token is not known; name it with --bos ID", engine.model().path)};
}

Result<Perplexity> measure(Engine& engine, const PerplexityOptions& options, const Input& input,
                           const std::stop_token& stop) {
  UNICORN_ASSIGN(std::vector<TokenId> ids, ids_of(engine, input));
  UNICORN_ASSIGN(const TokenId bos, bos_of(engine, options));
  if (!ids.empty() && ids.front() == bos) ids.erase(ids.begin());
  if (options.max_tokens > 0 && ids.size() > options.max_tokens) ids.resize(options.max_tokens);
  const std::uint32_t n_ctx = engine.options().n_ctx;
  const std::size_t n_windows = n_ctx < 2 ? 0 : (ids.size() + n_ctx - 2) / (n_ctx - 1);
  if (stderr_is_terminal()) note("{} tokens in {} windows of {}", ids.size(), n_windows, n_ctx);
  ProgressLine line;
  return perplexity(
      engine, ids, bos, n_ctx,
      [&](const Perplexity& so_far) {
        line.show(fmt::format("window {} of {}, perplexity {:.4f}", so_far.n_windows, n_windows, so_far.perplexity()));
      },
      stop);
}

int run(const PerplexityOptions& options) {
  if (!options.file && !options.ids)
    return fail_usage("no text: give one with -f FILE (- is standard input), or --ids @FILE");
  const Result<Input> input = read_input(options);
  if (!input.ok()) return fail(input.error());
  Interrupt interrupt;
  ModelOptions model = options.model;
  model.engine.max_output_rows = kOutputRows;
  Result<std::unique_ptr<Engine>> engine = load_engine(model, interrupt);
  if (!engine.ok()) return fail(engine.error());
  const Result<Perplexity> result = measure(**engine, options, *input, interrupt.token());
  if (!result.ok()) return fail(result.error());
  if (options.model.json)
    write_json(Json{{"tokens", result->n_tokens},
                    {"nll", result->nll},
                    {"perplexity", result->perplexity()},
                    {"windows", result->n_windows},
                    {"n_ctx", (*engine)->options().n_ctx},
                    {"model", (*engine)->model().name},
                    {"device", (*engine)->device_description()}});
  else
    print("{} tokens, nll {:.6f}, perplexity {:.4f}\n", result->n_tokens, result->nll, result->perplexity());
  return kExitOk;
}

}  // namespace

Action add_perplexity(CLI::App& app) {
  auto options = std::make_shared<PerplexityOptions>();
  add_model_options(app, options->model);
  CLI::Option* file = add_text(app, "-f,--file", "FILE", options->file, "The text; - is standard input");
  add_text(app, "--ids", "LIST", options->ids, "Token ids instead of a text: 2,106,107 or @FILE")->excludes(file);
  add_count(app, "--max-tokens", options->max_tokens, "Only the first N tokens; 0: all (default: 0)", 0,
            std::uint64_t{1} << 40);
  add_count(app, "--bos", options->bos, "BOS token of the windows (default: the tokenizer's)", 0, 0x7fffffff);
  app.footer(
      "Examples:\n"
      "  unicorn perplexity -f README.md\n"
      "  unicorn perplexity model.gguf -f wiki.test.raw --ctx 2048 --json\n\n"
      "The tokens are cut into windows of the context length (--ctx), each with a BOS token in front; every token is "
      "scored\n"
      "once, given those before it in its window. nll is the mean negative log-likelihood per token, perplexity is "
      "exp(nll).");
  return [options] { return run(*options); };
}

}  // namespace unicorn
