// unicorn chat: a talk in turns. The prefix stays in the KV cache; Ctrl-C stops the answer, not the program.
#include <fmt/format.h>

#include <memory>

#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/conversation.h"
#include "cli/line_editor.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "cli/sampling_options.h"
#include "cli/terminal.h"

namespace unicorn {

namespace {

struct ChatOptions {
  ModelOptions model;
  GenerateOptions generate{.max_tokens = 1024, .sampling = {}, .stop = {}, .ignore_eos = false, .cancel = {}};
  std::string system;
};

constexpr std::string_view kHelp =
    "/help           this list\n"
    "/reset          forget the conversation\n"
    "/system [TEXT]  what the model should keep to, from a new conversation on; without TEXT: show it\n"
    "/stats          speed of the last answer, and how full the context is\n"
    "/exit           leave (or Ctrl-D)\n"
    "A line that ends in \\ goes on in the next one; Alt-Enter does the same. Ctrl-C stops an answer.\n";

class Chat {
 public:
  Chat(Engine& engine, Conversation conversation, const ChatOptions& options, Interrupt& interrupt)
      : engine_(engine),
        conversation_(std::move(conversation)),
        options_(options),
        interrupt_(interrupt),
        session_(engine),
        interactive_(stdin_is_terminal()) {
    conversation_.set_system(options.system);
  }

  int run() {
    const bool editing = interactive_ && (stdout_is_terminal() || stderr_is_terminal());
    const auto reader = editing ? terminal_reader(history_file(), use_colour()) : pipe_reader();
    if (interactive_) greet();
    bool hinted = false;
    while (true) {
      if (!interactive_ && interrupt_.requested()) return kExitInterrupted;  // a script's Ctrl-C ends it all
      const Input input = reader->read();
      if (input.kind == Input::Kind::end) return exit_code_;
      if (input.kind == Input::Kind::interrupted) {
        if (input.was_empty && hinted) note("(to leave, type /exit or press Ctrl-D)");
        hinted = input.was_empty;
        continue;
      }
      hinted = false;
      if (input.text.find_first_not_of(" \t\r\n") == std::string::npos) continue;
      reader->remember(input.text);
      if (is_command(input.text)) {
        if (!command(input.text)) return exit_code_;
      } else if (!answer(input.text)) {
        return kExitError;  // nobody reads any more
      }
    }
  }

 private:
  // "/word", perhaps with something after it; "/etc/passwd" is a message.
  static bool is_command(std::string_view text) {
    const std::string_view word = text.substr(0, text.find_first_of(" \t\n"));
    return word.size() > 1 && word[0] == '/' &&
           word.find_first_not_of("abcdefghijklmnopqrstuvwxyz", 1) == std::string_view::npos;
  }

  // What is not part of an answer: on a terminal beside it, else out of its way.
  template <class... Args>
  void say(fmt::format_string<Args...> format, Args&&... args) {
    const std::string text = fmt::format(format, std::forward<Args>(args)...);
    if (interactive_ && !options_.model.json && stdout_is_terminal())
      print("{}{}{}\n", use_colour() ? "\x1b[2m" : "", text, use_colour() ? "\x1b[0m" : "");
    else
      note("{}", text);
    std::fflush(stdout);
  }

  void greet() {
    say("{} on {}", engine_.model().name, engine_.device_description());
    say("/help lists commands, Ctrl-C stops an answer, Ctrl-D leaves");
  }

  bool command(const std::string& text) {  // false: leave
    const std::string word = text.substr(0, text.find_first_of(" \t\n"));
    const std::size_t rest = text.find_first_not_of(" \t\n", word.size());
    if (word == "/exit" || word == "/quit") return false;
    if (word == "/help") {
      say("{}", kHelp.substr(0, kHelp.size() - 1));
    } else if (word == "/reset") {
      conversation_.reset();
      say("the conversation is forgotten");
    } else if (word == "/stats") {
      stats();
    } else if (word == "/system" && rest == std::string::npos) {
      say("{}", conversation_.system().empty() ? "no system text" : conversation_.system());
    } else if (word == "/system") {
      conversation_.set_system(text.substr(rest));
      say("a new conversation begins with this system text");
    } else {
      const std::string near = nearest(word, {"/help", "/reset", "/system", "/stats", "/exit"});
      say("{} is not a command{}; /help lists them", word, near.empty() ? "" : fmt::format("; did you mean {}?", near));
    }
    return true;
  }

  std::size_t n_ctx() const { return engine_.options().n_ctx; }

  void stats() {
    const std::size_t cached = session_.cached().size();
    say("context: {} of {} tokens, {} turns", cached, n_ctx(), conversation_.n_turns());
    if (!last_) return;
    say("last answer: prefill {} tokens, {:.1f} t/s ({} were in the cache); decode {} tokens, {:.1f} t/s; {}",
        last_->n_prefilled, last_->prefill_tps(), last_->n_cached, last_->ids.size(), last_->decode_tps(),
        finish_reason_name(last_->finish));
  }

  // Room that a prompt leaves for its answer: what was asked for, but at most a quarter of the context.
  std::size_t reserved() const { return std::min<std::size_t>(options_.generate.max_tokens, n_ctx() / 4); }

  bool answer(const std::string& message) {  // false: stdout is gone
    const Result<Conversation::Prompt> prompt = conversation_.ask(message, n_ctx() - reserved());
    if (!prompt.ok()) return report(prompt.error());
    if (prompt->n_dropped > 0)
      say("[the context is full: the oldest {} dropped]",
          prompt->n_dropped == 1 ? "turn was" : fmt::format("{} turns were", prompt->n_dropped));

    GenerateOptions how = options_.generate;
    how.cancel = interactive_ ? interrupt_.renew() : interrupt_.token();
    bool lost = false;
    const Session::TextSink stream = [&](std::string_view text) {
      lost = !options_.model.json && !write_text(text);
      return !lost;
    };
    Result<Generation> generation = session_.generate(prompt->ids, how, stream);
    if (!generation.ok()) {
      conversation_.take_back();
      return report(generation.error());
    }
    last_ = std::move(generation).value();
    // A message that was stopped before its first token was never answered.
    if (last_->ids.empty() && last_->finish == FinishReason::cancelled)
      conversation_.take_back();
    else
      conversation_.answer(last_->ids);
    if (lost) return false;
    end_answer(*last_);
    return true;
  }

  bool report(const Error& error) {
    if (options_.model.json) write_json(Json{{"error", error.message}});
    note("unicorn: {}", error.message);
    if (!interactive_) exit_code_ = kExitError;
    return true;
  }

  void end_answer(const Generation& g) {
    if (options_.model.json)
      write_json(Json{{"prompt_ids", g.prompt_ids},
                      {"ids", g.ids},
                      {"text", g.text},
                      {"finish", finish_reason_name(g.finish)},
                      {"prefill_tps", g.prefill_tps()},
                      {"decode_tps", g.decode_tps()},
                      {"n_cached", g.n_cached}});
    else if (!g.text.ends_with('\n'))
      write_text("\n");
    if (g.finish == FinishReason::cancelled) say("[stopped]");
    if (g.finish == FinishReason::length) say("[stopped after {} tokens; -n allows more]", g.ids.size());
    if (g.finish == FinishReason::context_full) say("[stopped: the context of {} tokens is full]", n_ctx());
    const std::size_t used = g.prompt_ids.size() + g.ids.size();
    if (interactive_ && used * 5 >= n_ctx() * 4)
      say("[{} of {} tokens of context used; then the oldest turns will be dropped. /reset begins anew]", used,
          n_ctx());
    if (interactive_ && !options_.model.json) write_text("\n");
  }

  Engine& engine_;
  Conversation conversation_;
  const ChatOptions& options_;
  Interrupt& interrupt_;
  Session session_;
  const bool interactive_;
  std::optional<Generation> last_;
  int exit_code_ = kExitOk;
};

int run(const ChatOptions& options) {
  std::unique_ptr<Engine> engine;
  Interrupt interrupt(stdin_is_terminal() ? Interrupt::Second::stops_again : Interrupt::Second::ends_the_program);
  Result<std::unique_ptr<Engine>> loaded = load_engine(options.model, interrupt);
  if (!loaded.ok()) return fail(loaded.error());
  engine = std::move(loaded).value();
  if (engine->tokenizer() == nullptr)
    return fail(
        {ErrorCode::unsupported, fmt::format("{}: came without a tokenizer, so it cannot chat", engine->model().path)});
  Result<Conversation> conversation = Conversation::create(*engine->tokenizer());
  if (!conversation.ok()) return fail(conversation.error());
  return Chat(*engine, std::move(conversation).value(), options, interrupt).run();
}

}  // namespace

Action add_chat(CLI::App& app) {
  auto options = std::make_shared<ChatOptions>();
  add_model_options(app, options->model);
  add_text(app, "--system", "TEXT", options->system, "What the model should keep to");
  add_generate_options(app, options->generate);
  app.footer(
      "Examples:\n"
      "  unicorn chat\n"
      "  unicorn chat gemma-3n-E2B-it-Q4_0.gguf --system 'Answer in one sentence.' --temp 0.7\n"
      "  printf 'Hello\\nWhat is 12 + 30?\\n' | unicorn chat --temp 0\n\n"
      "From a pipe, every line is a message; --json prints one object per answer. /help lists what can be typed.\n"
      "The history is kept in $XDG_STATE_HOME/unicorn/chat_history (~/.local/state without it).");
  return [options] { return run(*options); };
}

}  // namespace unicorn
