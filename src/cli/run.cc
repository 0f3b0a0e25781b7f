// unicorn run: one prompt, one answer, streamed.
#include <fmt/format.h>

#include <memory>

#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "cli/prompt_options.h"
#include "cli/sampling_options.h"
#include "cli/terminal.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace unicorn {

namespace {

struct RunOptions {
  ModelOptions model;
  PromptOptions prompt;
  GenerateOptions generate;
  DumpOptions dump;
  bool chat = false, quiet = false;
  std::optional<std::string> system;
};

Result<std::vector<TokenId>> prompt_ids(const Engine& engine, const RunOptions& options, const Prompt& prompt) {
  if (const auto* ids = std::get_if<std::vector<TokenId>>(&prompt)) return *ids;
  const std::string& text = std::get<std::string>(prompt);
  if (!options.chat) return engine.prompt(text);
  std::vector<ChatMessage> messages;
  if (options.system) messages.push_back({"system", *options.system});
  messages.push_back({"user", text});
  return engine.chat_prompt(messages);
}

Json to_json(const Engine& engine, const Generation& g) {
  return Json{{"prompt_ids", g.prompt_ids},
              {"ids", g.ids},
              {"text", g.text},
              {"finish", finish_reason_name(g.finish)},
              {"prefill_tps", g.prefill_tps()},
              {"decode_tps", g.decode_tps()},
              {"drafted", g.n_drafted},
              {"accepted", g.n_accepted},
              {"prefill_s", g.prefill_s},
              {"decode_s", g.decode_s},
              {"load_s", engine.load_stats().seconds},
              {"seed", g.seed},
              {"model", engine.model().name},
              {"device", engine.device_description()}};
}

void print_summary(const Generation& g) {
  note("prefill {} tokens, {:.1f} t/s | decode {} tokens, {:.1f} t/s | {}", g.n_prefilled, g.prefill_tps(),
       g.ids.size(), g.decode_tps(), finish_reason_name(g.finish));
}

// The end of the text that was streamed: a newline, so that the shell's prompt begins a line of its own.
void end_text(const Engine& engine, const Generation& g) {
  if (engine.tokenizer() == nullptr) write_text(fmt::format("{}", fmt::join(g.ids, " ")));
  if (!g.text.ends_with('\n')) write_text("\n");
}

Result<Generation> generate(Engine& engine, const RunOptions& options, const Prompt& prompt, Interrupt& interrupt) {
  UNICORN_ASSIGN(const std::vector<TokenId> ids, prompt_ids(engine, options, prompt));
  GenerateOptions how = options.generate;
  how.cancel = interrupt.token();
  if (options.dump.folder) how.max_draft = 0;  // every pass of a dump is one token's
  const Session::TextSink stream = [&options](std::string_view text) { return options.model.json || write_text(text); };
  Session session(engine);
  return session.generate(ids, how, stream);
}

int run(const RunOptions& options) {
  Result<Prompt> prompt = read_prompt(options.prompt);
  if (!prompt.ok()) return fail_prompt(options.prompt, prompt.error());
  Interrupt interrupt;
  Result<std::unique_ptr<Engine>> engine = load_engine(options.model, interrupt);
  if (!engine.ok()) return fail(engine.error());
  const Result<std::unique_ptr<TensorDump>> dump = start_dump(**engine, options.dump);
  if (!dump.ok()) return fail(dump.error());

  const Result<Generation> generation = generate(**engine, options, *prompt, interrupt);
  if (!generation.ok()) return fail(generation.error());
  if (options.model.json)
    write_json(to_json(**engine, *generation));
  else
    end_text(**engine, *generation);
  if (!options.quiet) print_summary(*generation);
  if (const Status dumped = finish_dump(**engine, dump->get(), options.dump); !dumped.ok()) return fail(dumped.error());
  return interrupt.requested() ? kExitInterrupted : kExitOk;
}

}  // namespace

Action add_run(CLI::App& app) {
  auto options = std::make_shared<RunOptions>();
  add_model_options(app, options->model);
  CLI::Option* ids = add_prompt_options(app, options->prompt);
  CLI::Option* chat =
      app.add_flag("--chat", options->chat, "Wrap the prompt in the model's chat format, for instruction-tuned models");
  chat->excludes(ids);
  add_text(app, "--system", "TEXT", options->system, "What the model should keep to, with --chat")->needs(chat);
  app.add_flag("-q,--quiet", options->quiet, "No summary on stderr");
  add_generate_options(app, options->generate);
  add_dump_options(app, options->dump);
  app.footer(
      "Examples:\n"
      "  unicorn run --chat --prompt 'What does \"river\" mean?'\n"
      "  unicorn run gemma-3n-E2B-it-Q4_0.gguf --chat --system 'Answer in French.' -p 'Good morning!'\n"
      "  unicorn run model/ -p 'Once upon a time' -n 64 --temp 0 --json\n"
      "  unicorn run model.gguf --ids @prompt-ids.txt -n 48 --temp 0 --ignore-eos --json\n"
      "  git diff | unicorn run model.gguf --chat --system 'Write a commit message for this diff.'\n\n"
      "The text is on stdout, everything else on stderr. Exit status: 0; 1 failed; 2 used wrongly; 130 stopped by "
      "Ctrl-C.");
  return [options] { return run(*options); };
}

}  // namespace unicorn
