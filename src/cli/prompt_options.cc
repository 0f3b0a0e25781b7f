#include "cli/prompt_options.h"

#include <fmt/format.h>

#include "cli/arguments.h"
#include "cli/options.h"
#include "cli/terminal.h"

namespace unicorn {

namespace {

Result<Prompt> read_file(const std::string& path) {
  UNICORN_ASSIGN(std::string text, read_text(path));
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  if (text.empty())
    return Error{ErrorCode::invalid_argument,
                 fmt::format("{} is empty: nothing to answer", path == "-" ? "standard input" : path)};
  return Prompt(std::move(text));
}

}  // namespace

CLI::Option* add_prompt_options(CLI::App& app, PromptOptions& options) {
  CLI::Option* text = add_text(app, "-p,--prompt", "TEXT", options.text, "The prompt");
  CLI::Option* file =
      add_text(app, "-f,--prompt-file", "FILE", options.file, "The prompt is in a file; - is standard input");
  CLI::Option* ids = add_text(app, "--ids", "LIST", options.ids,
                              "Token ids, taken as they are: 2,106,107 or @FILE (commas or spaces)");
  text->excludes(file)->excludes(ids);
  file->excludes(ids);
  return ids;
}

Result<Prompt> read_prompt(const PromptOptions& options) {
  if (options.ids) {
    UNICORN_ASSIGN(std::vector<TokenId> ids, read_ids(*options.ids));
    return Prompt(std::move(ids));
  }
  if (options.file) return read_file(*options.file);
  if (options.text) {
    if (options.text->empty()) return Error{ErrorCode::invalid_argument, "the prompt is empty"};
    return Prompt(*options.text);
  }
  if (stdin_is_terminal())
    return Error{ErrorCode::invalid_argument,
                 "no prompt: give one with --prompt TEXT, --prompt-file FILE or --ids LIST, or pipe it in; 'unicorn "
                 "chat' asks for one"};
  return read_file("-");
}

int fail_prompt(const PromptOptions& options, const Error& error) {
  // A file that is missing or wrong is an error of the run; everything else was typed.
  const bool typed = error.code == ErrorCode::invalid_argument;
  return typed ? fail_usage(options.ids ? "--ids: " + error.message : error.message) : fail(error);
}

}  // namespace unicorn
