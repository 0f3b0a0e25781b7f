#include "cli/sampling_options.h"

#include <fmt/format.h>

#include <limits>

#include "cli/options.h"

namespace unicorn {

void add_generate_options(CLI::App& app, GenerateOptions& options) {
  constexpr std::uint64_t kMaxU32 = std::numeric_limits<std::uint32_t>::max();
  constexpr std::string_view kGroup = "Generation";
  SamplingOptions& sampling = options.sampling;
  const auto help = [](std::string_view text, auto value) { return fmt::format("{} (default: {})", text, value); };
  std::vector<CLI::Option*> all = {
      add_count(app, "-n,--max-tokens", options.max_tokens, help("Tokens to generate at most", options.max_tokens), 0,
                kMaxU32),
      add_number(app, "--temp,--temperature", sampling.temperature,
                 help("Temperature; 0 always takes the likeliest token", sampling.temperature), 0, 1000),
      add_count(app, "--top-k", sampling.top_k, help("Only among the N likeliest; 0: off", sampling.top_k), 0, kMaxU32),
      add_number(app, "--top-p", sampling.top_p,
                 help("Only among the likeliest with this share together; 1: off", sampling.top_p), 0, 1),
      add_number(app, "--min-p", sampling.min_p,
                 help("Only what is at least this share as likely as the likeliest; 0: off", sampling.min_p), 0, 1),
      add_number(app, "--repetition-penalty", sampling.repetition_penalty,
                 help("Divides the logits of tokens seen lately; 1: off", sampling.repetition_penalty), 0.01, 100),
      add_number(app, "--presence-penalty", sampling.presence_penalty,
                 help("Subtracted from tokens seen lately; 0: off", sampling.presence_penalty), -100, 100),
      add_number(app, "--frequency-penalty", sampling.frequency_penalty,
                 help("Subtracted for each time seen lately; 0: off", sampling.frequency_penalty), -100, 100),
      add_count(app, "--penalty-window", sampling.penalty_window,
                help("What 'lately' means, in tokens; 0: all", sampling.penalty_window), 0, kMaxU32),
      add_parsed(
          app, "--logit-bias", "ID=X", "Add X to a token's logit, -inf: never; may come again",
          [&sampling](const std::string& text) -> Status {
            UNICORN_ASSIGN(const auto bias, parse_logit_bias(text));
            sampling.logit_bias.push_back(bias);
            return Ok{};
          },
          true),
      add_count(
          app, "--draft", options.max_draft,
          help("Tokens guessed ahead from what was said before; the answer stays the same; 0: off", options.max_draft),
          0, 64),
      add_count(app, "--seed", sampling.seed, "Seed of the random numbers; 0: a fresh one (default: 0)", 0,
                std::numeric_limits<std::uint64_t>::max()),
      add_parsed(
          app, "--stop", "TEXT", "End the answer where TEXT would begin; may come again",
          [&options](const std::string& text) -> Status {
            if (text.empty()) return Error{ErrorCode::invalid_argument, "the text is empty"};
            options.stop.push_back(text);
            return Ok{};
          },
          true),
      app.add_flag("--ignore-eos", options.ignore_eos, "Go on after tokens that end an answer"),
  };
  for (CLI::Option* option : all) option->group(std::string(kGroup));
}

}  // namespace unicorn
